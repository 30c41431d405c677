"""The long-running roles, and what stands before them: `worker`, `webhook`, `console`, `simulator`, `migrate`."""

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
import structlog
import uvloop

from payscore_worker import bootstrap, logs
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.output import NOT_FINE, run
from payscore_worker.settings import Environment, LogSettings
from payscore_worker.simulator import SimulatorConfig, SimulatorKeys, environment, render_environment

log = structlog.stdlib.get_logger(__name__)


@click.command()
@click.option("--with-console", is_flag=True, hidden=True, help="Show the console too; for the demo.")
def worker(*, with_console: bool) -> None:
    """Run consumers, relay and reconciler until SIGTERM."""
    _serve(partial(bootstrap.run_worker, with_console=with_console), "payscore-worker")


@click.command()
def webhook() -> None:
    """Receive WeChat Pay's callbacks until SIGTERM."""
    _serve(bootstrap.run_webhook, "payscore-webhook")


@click.command()
def console() -> None:
    """Show the ops console until SIGTERM."""
    _serve(bootstrap.run_console, "payscore-console")


@click.command()
def migrate() -> None:
    """Bring the database to the current schema; one that a newer release has migrated is left as it is."""
    schema = run(bootstrap.run_migrate(Environment()))
    newer = ", of a newer release, on which this one runs; nothing was changed" if schema.is_ahead else ""
    click.echo(f"the database is at revision {schema.revision}{newer}")


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    type=Text(),
    help="Address to listen on; the admin API asks nobody.",
)
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option(
    "--notify-url",
    type=Text(),
    default="http://127.0.0.1:8080/notify/payscore",
    show_default=True,
    help="Where callbacks go; serviceorder orders name their own.",
)
@click.option(
    "--keys",
    "keys_directory",
    default=".run/simulator",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where its keys are kept; made on the first start.",
)
@click.option("--family", default="payafter", show_default=True, type=click.Choice(["payafter", "serviceorder"]))
@click.option(
    "--sign-with",
    default="certificate",
    show_default=True,
    type=click.Choice(["certificate", "public_key"]),
    help="What callbacks are signed with, and responses where they are asked for it.",
)
@click.option("--speed", default=1.0, show_default=True, help="How much faster than WeChat Pay it debits and re-sends.")
@click.option("--pay-after", default=2.0, show_default=True, help="Seconds from completion to debit, before speed.")
@click.option("--seed", default=0, show_default=True, help="For faults with a probability.")
@click.option("--print-env", is_flag=True, help="Print the settings that a worker needs to talk to it, and stop.")
def simulator(
    *,
    host: str,
    port: int,
    notify_url: str,
    keys_directory: Path,
    family: str,
    sign_with: Literal["certificate", "public_key"],
    speed: float,
    pay_after: float,
    seed: int,
    print_env: bool,
) -> None:
    """Run a WeChat Pay to develop against."""
    config = SimulatorConfig(
        keys=SimulatorKeys.load_or_create(keys_directory),
        notify_url=notify_url,
        sign_with=sign_with,
        speed=speed,
        pay_after_seconds=pay_after,
        seed=seed,
    )
    if print_env:
        click.echo(render_environment(environment(config, base_url=f"http://{host}:{port}", family=family)), nl=False)
        return
    _serve(lambda _environment: bootstrap.run_simulator(config, host=host, port=port), "payscore-simulator")


def _serve(role: Callable[[Environment], Coroutine[Any, Any, None]], service: str) -> None:
    variables = Environment()
    settings = variables.read(LogSettings)
    logs.set_up(as_json=settings.as_json, level=settings.level)
    try:
        with bootstrap.traces(variables, service):
            uvloop.run(role(variables))  # which says itself from when on it has something in hand
    except ExceptionGroup as group:
        for error in group.exceptions:
            log.error("role_failed", exc_info=error)  # noqa: TRY400 - each of the group has its own traceback
        sys.exit(NOT_FINE)
