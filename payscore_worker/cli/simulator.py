"""`payscore-worker simulator`: a WeChat Pay to develop against."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urljoin

import click

from payscore_worker.bootstrap.simulator import run_simulator
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.serving import serve
from payscore_worker.simulator import (
    Company,
    Service,
    SimulatorConfig,
    SimulatorKeys,
    environment,
    render_environment,
    write_accounts,
)
from payscore_worker.simulator.config import FAMILIES

NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")


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
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME[:FAMILY]",
    help="Another merchant beside the first, with keys of its own; an account of this name for a worker. Repeatable.",
)
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
    accounts: tuple[str, ...],
    print_env: bool,
) -> None:
    """Run a WeChat Pay to develop against."""

    def config(directory: Path, url: str) -> SimulatorConfig:
        keys = SimulatorKeys.load_or_create(directory)
        return SimulatorConfig(
            keys=keys,
            notify_url=url,
            sign_with=sign_with,
            speed=speed,
            pay_after_seconds=pay_after,
            seed=seed,
            services=(Service(appid=keys.appid, service_id=keys.service_id, mode=mode),),
        )

    companies = [Company(name="default", config=config(keys_directory, notify_url), family=family)]
    for one in accounts:
        name, _, own_family = one.partition(":")
        if not NAME.fullmatch(name) or name == "default" or own_family not in ("", *FAMILIES):
            raise click.BadParameter(
                f"{one!r}: a name of letters, digits, _ or -, and perhaps :FAMILY", param_hint="--account"
            )
        own = config(keys_directory / name, urljoin(notify_url, f"/notify/{name}"))
        companies.append(Company(name=name, config=own, family=own_family or family))
    if print_env:
        settings = _settings(companies, keys_directory, base_url=f"http://{host}:{port}")
        click.echo(render_environment(settings), nl=False)
        return
    configs = [company.config for company in companies]
    serve(lambda _environment: run_simulator(configs, host=host, port=port), "payscore-simulator")


def _settings(companies: Sequence[Company], keys_directory: Path, *, base_url: str) -> Mapping[str, str]:
    """Say what a worker must be told; of several merchants, the file that says it."""
    if len(companies) > 1:
        return write_accounts(keys_directory / "accounts", companies, base_url=base_url)
    (one,) = companies
    return environment(one.config, base_url=base_url, family=one.family)
