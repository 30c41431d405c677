"""`payscore-worker simulator`: a WeChat Pay to develop against."""

from pathlib import Path
from typing import Literal

import click

from payscore_worker.bootstrap.simulator import run_simulator
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.serving import serve
from payscore_worker.simulator import Service, SimulatorConfig, SimulatorKeys, environment, render_environment


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
@click.option(
    "--mode",
    default="no_confirm",
    show_default=True,
    type=click.Choice(["no_confirm", "need_confirm"]),
    help="Whether the passenger confirms each order.",
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
    mode: Literal["no_confirm", "need_confirm"],
    speed: float,
    pay_after: float,
    seed: int,
    print_env: bool,
) -> None:
    """Run a WeChat Pay to develop against."""
    keys = SimulatorKeys.load_or_create(keys_directory)
    config = SimulatorConfig(
        keys=keys,
        notify_url=notify_url,
        sign_with=sign_with,
        speed=speed,
        pay_after_seconds=pay_after,
        seed=seed,
        services=(Service(appid=keys.appid, service_id=keys.service_id, mode=mode),),
    )
    if print_env:
        click.echo(render_environment(environment(config, base_url=f"http://{host}:{port}", family=family)), nl=False)
        return
    serve(lambda _environment: run_simulator(config, host=host, port=port), "payscore-simulator")
