"""`archive`: moves trips that are long over out of the database into files."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli.output import json_option, print_json, run
from payscore_worker.settings import DatabaseSettings, Environment
from payscore_worker.storage.archive import BATCH_TRIPS, MAX_BATCH_TRIPS, MAX_TRIPS, Archive, Moved, Plan

MERCHANTS_DAY: Final = ZoneInfo("Asia/Shanghai")
"""WeChat Pay's bills and the merchant's books change their date at this midnight."""

MAX_DAYS: Final = 36_500


class Before(click.ParamType[datetime]):
    """A date, which begins in Shanghai, or an age in days."""

    name = "date|age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's signature
        if isinstance(value, datetime):
            return value
        moment = self._moment(str(value))
        if moment is None:
            self.fail(f"{value!r} is neither a date such as 2026-01-31 nor an age such as 1095d", param, ctx)
        if moment > now():
            self.fail(f"{value!r} lies in the future", param, ctx)
        return moment

    def _moment(self, text: str) -> datetime | None:
        if age := re.fullmatch(r"([0-9]{1,5})d", text):
            days = min(int(age[1]), MAX_DAYS)
            return datetime.now(MERCHANTS_DAY).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
        try:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=MERCHANTS_DAY)
        except ValueError:
            return None


@click.command()
@click.option(
    "--before", required=True, type=Before(), help="Trips last touched before this date, or so many days ago."
)
@click.option(
    "--to",
    "directory",
    default="archive",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files go; made if it is not there.",
)
@click.option("--batch", default=BATCH_TRIPS, show_default=True, type=click.IntRange(1, MAX_BATCH_TRIPS))
@click.option("--limit", default=MAX_TRIPS, show_default=True, type=click.IntRange(1), help="Stop after so many trips.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def archive(*, before: datetime, directory: Path, batch: int, limit: int, dry_run: bool, as_json: bool) -> None:
    """Move trips that are over, with all that belongs to them, into files, and forget all but what guards the money."""
    plan = Plan(before=before, directory=directory, batch=batch, limit=limit)
    moved, forgotten, authorisations = run(
        _count(Environment(), plan) if dry_run else _move(Environment(), plan, quiet=as_json)
    )
    if as_json:
        print_json(
            {
                "before": before,
                "dry_run": dry_run,
                "trips": moved.trips,
                "calls": moved.calls,
                "events": moved.events,
                "refunds": moved.refunds,
                "unreadable": moved.unreadable,
                "passengers": forgotten,
                "authorisations": authorisations,
                "files": moved.files,
            }
        )
        return
    verb = "would be moved" if dry_run else "moved"
    belongings = f"{moved.calls} calls, {moved.events} events and {moved.refunds} refunds"
    click.echo(f"{moved.trips} trips {verb}, with {belongings}")
    if moved.unreadable:
        click.echo(f"{moved.unreadable} trips of a newer release cannot be read by this one, and stay", err=True)
    if forgotten:
        click.echo(f"the service state of {forgotten} passengers was too old to be trusted, and is forgotten")
    if authorisations:
        click.echo(f"{authorisations} authorisations that are over, or were never signed, are forgotten")


async def _count(environment: Environment, plan: Plan) -> tuple[Moved, int, int]:
    async with database(environment), Archive.of(environment.read(DatabaseSettings).database_url) as archive:
        return await archive.count(plan.before), 0, 0


async def _move(environment: Environment, plan: Plan, *, quiet: bool) -> tuple[Moved, int, int]:
    total = Moved()
    async with database(environment), Archive.of(environment.read(DatabaseSettings).database_url) as archive:
        async for moved in archive.run(plan, now()):
            total += moved
            if moved.files and not quiet:
                click.echo(f"{', '.join(moved.files)}: {moved.trips} trips")
        return total, await archive.forget_passengers(now()), await archive.forget_authorisations(plan.before)
