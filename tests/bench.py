"""Measures what a trip costs: `make bench`, or `make bench ARGS='--trips 6433 --from-csv FILE'`."""

import asyncio
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from rich import box
from rich.console import Console
from rich.table import Table

from payscore_worker.demo.plan import PlannedTrip, generated_trips, trips_from_csv
from payscore_worker.demo.run import Progress, Result, Show
from payscore_worker.demo.run import run as run_demo
from payscore_worker.settings import BrokerSettings, Environment

FAMILIES: Final = {"payafter": 4, "serviceorder": 3}
"""Signed calls a trip."""

SIGNATURES: Final = 500


@click.command()
@click.option("--trips", default=1000, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--from-csv", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--sqlite", is_flag=True, help="Also on SQLite.")
def bench(*, trips: int, from_csv: Path | None, sqlite: bool) -> None:
    """Settle trips in both families and print what each cost the worker."""
    databases = {"postgresql": os.environ["PAYSCORE_TEST_DATABASE_URL"]} | ({"sqlite": "sqlite"} if sqlite else {})
    plan = trips_from_csv(from_csv, trips) if from_csv else _paying(trips)
    rows = [
        (family, name, asyncio.run(_settle(plan, family, url)), _rsa_floor_ms(FAMILIES[family]))
        for family in FAMILIES
        for name, url in databases.items()
    ]
    _show(rows)


def _paying(count: int) -> Sequence[PlannedTrip]:
    """Make trips that take all four calls."""
    return [trip for trip in generated_trips(count * 2, 1) if trip.must_end == "PAID"][:count]


async def _settle(trips: Sequence[PlannedTrip], family: str, database_url: str) -> Result:
    show = Show(
        family=family,
        trips=trips,
        amqp_url=Environment().read(BrokerSettings).amqp_url,
        database_url=None if database_url == "sqlite" else database_url,
    )
    result = await run_demo(show, Progress(trips=len(trips)))
    if not result.verdict.ok:
        raise click.ClickException(f"{family}: {'; '.join(result.verdict.problems)}")
    return result


def _rsa_floor_ms(calls: int) -> float:
    """Measure what the signatures of a trip cost: one to make and one to check for each call, one for the callback."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public, text = key.public_key(), b"x" * 600
    began = time.process_time()
    for _ in range(SIGNATURES):
        signature = key.sign(text, padding.PKCS1v15(), SHA256())
        public.verify(signature, text, padding.PKCS1v15(), SHA256())
    return (time.process_time() - began) * 1000 / SIGNATURES * calls


def _show(rows: Sequence[tuple[str, str, Result, float]]) -> None:
    table = Table(
        title=f"one worker process · {os.cpu_count()} cores · Python {platform.python_version()}",
        title_justify="left",
        caption="CPU in ms a trip, and what its RSA alone costs; memory after 500 trips and at the end",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in ("family", "database"):
        table.add_column(column, no_wrap=True)
    for column in ("trips", "CPU ms", "RSA ms", "trips/s", "memory MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for family, database, result, floor_ms in rows:
        worker: dict[str, Any] = result.document()["worker"]
        table.add_row(
            family,
            database,
            str(result.trips),
            f"{worker['cpu_ms_per_trip']:.1f}",
            f"{floor_ms:.1f}",
            f"{result.trips / result.seconds:.0f}",
            f"{worker['rss_mb_warmed_up'] or worker['rss_mb']:.0f} → {worker['rss_mb']:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    bench()
