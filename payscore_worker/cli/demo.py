"""`demo`: the main job, played before your eyes. `load`: trips without end."""

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click
import uvloop
from rich.console import Console

from payscore_worker import logs
from payscore_worker.bootstrap.wiring import make_topology, until_stopped
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, run
from payscore_worker.demo.briefing import brief
from payscore_worker.demo.killing import kill_again_and_again
from payscore_worker.demo.load import Load
from payscore_worker.demo.plan import BadCsv, PlannedTrip, generated_trips, trips_from_csv, with_second_account
from payscore_worker.demo.run import Progress, Show
from payscore_worker.demo.run import run as run_demo
from payscore_worker.demo.show import progress_shown, show_result
from payscore_worker.messaging.topology import RIDE_EVENTS
from payscore_worker.settings import BrokerSettings, Environment

DEFAULT_TRIPS: Final = 200


@click.command()
@click.option("--trips", type=click.IntRange(1, 100_000), help="How many; 200 by default, or all of the file.")
@click.option("--from-csv", type=click.Path(dir_okay=False, path_type=Path), help="Play the trips of this file.")
@click.option(
    "--family", default="payafter", show_default=True, type=click.Choice(["payafter", "serviceorder", "both"])
)
@click.option("--seed", default=1, show_default=True, help="For the made-up trips.")
@click.option(
    "--database-url",
    type=Text(),
    help="PostgreSQL to use; a schema is made for the demo. By default an SQLite file.",
)
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep logs, keys and database here.")
@click.option(
    "--kill-every",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Kill worker or webhook so often while the trips are played.",
)
@json_option
def demo(
    *,
    trips: int | None,
    from_csv: Path | None,
    family: str,
    seed: int,
    database_url: str | None,
    keep: Path | None,
    kill_every: float | None,
    as_json: bool,
) -> None:
    """Play trips through RabbitMQ, worker, simulated WeChat Pay and webhook."""
    families = ["payafter", "serviceorder"] if family == "both" else [family]
    amqp_url = Environment().read(BrokerSettings).amqp_url
    shows = [
        Show(
            family=one,
            trips=_trips_from(from_csv, trips) if from_csv else _made_up(trips or DEFAULT_TRIPS, seed),
            amqp_url=amqp_url,
            database_url=database_url,
            keep=keep / one if keep else None,
            disturbance=partial(kill_again_and_again, every_seconds=kill_every, seed=seed) if kill_every else None,
        )
        for one in families
    ]
    logs.set_up(as_json=False, level=logging.ERROR)
    sys.exit(FINE if run(_play(shows, as_json=as_json), within_seconds=None) else NOT_FINE)  # its stage has its limits


def _made_up(count: int, seed: int) -> list[PlannedTrip]:
    return with_second_account(generated_trips(count, seed))


def _trips_from(path: Path, count: int | None) -> list[PlannedTrip]:
    try:
        return trips_from_csv(path, count)
    except BadCsv as error:
        raise click.BadParameter(str(error), param_hint="--from-csv") from error


async def _play(shows: Sequence[Show], *, as_json: bool) -> bool:
    console = Console(stderr=as_json)
    results = {}
    for show in shows:
        progress = Progress(trips=len(show.trips))
        async with progress_shown(console, show.family, progress):
            results[show.family] = await run_demo(show, progress)
        if not as_json:
            show_result(console, show.family, results[show.family])
    ok = all(result.verdict.ok for result in results.values())
    if as_json:
        print_json({"ok": ok, "families": {family: result.document() for family, result in results.items()}})
    return ok


@click.command()
@click.option("--trips-a-second", default=2.0, show_default=True, type=click.FloatRange(0.01, 1_000))
@click.option("--simulator-url", type=Text(), help="Tell this simulator which passengers do not simply pay.")
def load(*, trips_a_second: float, simulator_url: str | None) -> None:
    """Play ride service: publish trips until stopped."""
    broker = Environment().read(BrokerSettings)
    uvloop.run(_load(broker, trips_a_second, simulator_url))


async def _load(broker: BrokerSettings, trips_a_second: float, simulator_url: str | None) -> None:
    async def tell(trips: Sequence[PlannedTrip]) -> None:
        if simulator_url is not None:
            await brief(simulator_url, trips)

    work = Load(
        amqp_url=broker.amqp_url,
        exchange=make_topology(broker).name(RIDE_EVENTS),
        trips_a_second=trips_a_second,
        before_block=tell,
    )
    await until_stopped(work.run())
