"""`outbox`: what is still to be announced, what nobody listens to, and how to have it told again."""

import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli.desk import see_that_there_is, who
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.errors import SettlementError
from payscore_worker.events import ANNOUNCEMENTS, END_OF_TIME, FIRST_MOMENT
from payscore_worker.settings import DatabaseSettings, Environment, duration
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.outbox import BATCH, MAX_ROWS, Found, OutboxDesk, OutboxStandsStill, Row, Wanted
from payscore_worker.storage.reports import Reports

MERCHANTS_DAY: Final = ZoneInfo("Asia/Shanghai")
"""WeChat Pay's bills and the merchant's books change their date at this midnight."""

COLUMNS: Final = ("at", "type", "trip_id", "event_id", "unroutable", "standing")

TYPES: Final = [kind.TYPE for kind in ANNOUNCEMENTS]


class NothingToReplay(SettlementError):
    """There is no such trip here, or nothing of it was announced."""


class Time(click.ParamType[datetime]):
    """An instant, a date, which begins in Shanghai, or how long ago."""

    name = "time|date|age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's signature
        if isinstance(value, datetime):
            return value
        moment = _moment(str(value))
        if moment is None:
            example = "neither 2026-01-31T18:00:00+08:00, nor a date such as 2026-01-31, nor an age such as 90m, 6h, 2d"
            self.fail(f"{value!r} is {example}", param, ctx)
        if not FIRST_MOMENT <= moment < END_OF_TIME:
            self.fail(f"{value!r} is not between 2000 and 2099", param, ctx)
        return moment


def _moment(text: str) -> datetime | None:
    if re.fullmatch(r"[0-9]{1,5}[smhd]", text):
        return now() - duration(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=MERCHANTS_DAY) if len(text) == len("2026-01-31") else None


@click.group()
def outbox() -> None:
    """Look at announcements, and have them told again."""


# --- Looking ---


@outbox.command("list")
@click.option("--pending", is_flag=True, help="Only what is still to be published.")
@click.option("--unrouted", is_flag=True, help="Only what nobody listens to: tried again, or kept after an hour.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, MAX_ROWS))
@json_option
def list_outbox(*, pending: bool, unrouted: bool, limit: int, as_json: bool) -> None:
    """List announcements that are not told: those that wait, and those that nobody listens to."""
    if pending and unrouted:
        raise click.UsageError("--pending and --unrouted: one of them, or neither for both")
    rows, by_type = run(_listed(Environment(), pending=not unrouted, unrouted=not pending, limit=limit))
    if as_json:
        print_json({"unrouted": by_type, "announcements": [_summary(row) for row in rows]})
        return
    for type_, count in by_type.items():
        click.echo(f"nobody listens to {type_}: {count} announcements")
    if not rows:
        click.echo("nothing waits")
        return
    print_table(COLUMNS, [[_summary(row)[name] for name in COLUMNS] for row in rows])


async def _listed(
    environment: Environment, *, pending: bool, unrouted: bool, limit: int
) -> tuple[list[Row], dict[str, int]]:
    async with _desk(environment) as desk:
        found = [*(await desk.pending(limit) if pending else ()), *(await desk.unrouted(limit) if unrouted else ())]
        rows = {row["id"]: row for row in found}
        return [rows[id] for id in sorted(rows)][:limit], await desk.unrouted_by_type()


def _summary(row: Row) -> dict[str, Any]:
    told = {name: row[name] for name in ("at", "type", "trip_id", "event_id", "unrouted_at")}
    return told | {"unroutable": row["attempts"], "standing": _standing(row)}


def _standing(row: Row) -> str:
    """Say in a word what it waits for."""
    if not row["pending"]:
        return "unrouted"
    return "tried again" if row["attempts"] else "pending"


# --- Telling again ---


@outbox.command()
@click.option("--trip", "trip_id", metavar="ID", help="Of this trip: its id, or its out_order_no.")
@click.option("--since", type=Time(), help="Announced since then.")
@click.option("--until", type=Time(), help="Announced before then; without it, until now.")
@click.option("--unrouted", is_flag=True, help="Only what nobody took.")
@click.option("--type", "type_", type=click.Choice(TYPES), help="Only this type.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def replay(
    *,
    trip_id: str | None,
    since: datetime | None,
    until: datetime | None,
    unrouted: bool,
    type_: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Have what was announced announced again, under the same ids: what a listener needs that has lost data.

    Says what it would put back, and asks, before it does. The relay of a worker publishes it.
    """
    if (trip_id is None) == (since is None):
        raise click.UsageError("say of what: either --trip or --since")
    if until is not None and since is None:
        raise click.UsageError("--until goes with --since")
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since is not before --until")
    wanted = Wanted(trip_id=trip_id, since=since, until=until, type=type_, unrouted=unrouted)
    found, replayed = run(_replay(Environment(), wanted, yes=yes, quiet=as_json))
    if as_json:
        print_json(_preview(found) | {"replayed": replayed})
    else:
        click.echo(f"{replayed} announcements put back; a worker's relay publishes them")
    sys.exit(FINE if replayed == found.count else NOT_FINE)


async def _replay(environment: Environment, wanted: Wanted, *, yes: bool, quiet: bool) -> tuple[Found, int]:
    url = environment.read(DatabaseSettings).database_url
    async with _desk(environment) as desk, engine_for(url) as engine:
        wanted = await _named(Reports(engine), wanted)
        found = await desk.find(wanted)
        _show(found, await Reports(engine).some_archive() if wanted.since else None)
        if not found.count:
            if wanted.trip_id is not None:
                raise NothingToReplay(f"nothing that was announced of trip {wanted.trip_id!r} is to be put back")
            return found, 0
        if not yes:
            click.confirm("put them back?", abort=True, err=True)
        action = Action(who=who(), action="outbox replay", queue="", target=_target(wanted), reason=_narrowed(wanted))
        async with Actions(engine).recorded(action, now) as done:
            try:
                async for count in desk.replay(wanted, found):
                    done.moved += count
                    if not quiet and found.count > BATCH:
                        click.echo(f"{done.moved} of {found.count}")
            except OutboxStandsStill as error:
                raise OutboxStandsStill(f"{done.moved} of {found.count} put back, the rest not yet: {error}") from error
        return found, done.moved


async def _named(reports: Reports, wanted: Wanted) -> Wanted:
    """Find the trip under whichever of its names it was given.

    Raises:
        NothingToReplay: there is none, or it is in an archive file.

    """
    if wanted.trip_id is None:
        return wanted
    row = await reports.trip(wanted.trip_id)
    if row is not None:
        return Wanted(trip_id=row["trip_id"], type=wanted.type, unrouted=wanted.unrouted)
    archived = await reports.archived(wanted.trip_id)
    if archived is None:
        raise NothingToReplay(f"no trip {wanted.trip_id!r}")
    raise NothingToReplay(
        f"trip {archived['trip_id']!r} ended as {archived['state']} and is archived: what was announced of it is in "
        f"{archived['archive']}, and can no longer be told again from here"
    )


def _show(found: Found, archive: str | None) -> None:
    """Say on standard error what would be put back, so that a script's document stays alone."""
    for type_, count in found.by_type.items():
        click.echo(f"{count:>8}  {type_}", err=True)
    span = f", of {found.oldest:%Y-%m-%d %H:%M:%S} to {found.newest:%Y-%m-%d %H:%M:%S} UTC" if found.count else ""
    click.echo(f"{found.count} announcements of {found.trips} trips{span}", err=True)
    if archive is not None:
        click.echo(
            f"archived trips are not among them: their stories are in the archive's files, such as {archive}", err=True
        )


def _preview(found: Found) -> dict[str, Any]:
    told = asdict(found)
    return {name: told[name] for name in ("by_type", "trips", "oldest", "newest")} | {"found": found.count}


def _target(wanted: Wanted) -> str:
    if wanted.trip_id is not None:
        return wanted.trip_id
    ends: Sequence[datetime | None] = (wanted.since, wanted.until or now())
    return "/".join(end.astimezone(UTC).isoformat(timespec="seconds") for end in ends if end is not None)


def _narrowed(wanted: Wanted) -> str:
    return " ".join(filter(None, (wanted.type, "unrouted" if wanted.unrouted else "")))


@asynccontextmanager
async def _desk(environment: Environment) -> AsyncIterator[OutboxDesk]:
    """Open the database, which must be there.

    Raises:
        StorageUnavailable: there is none, or it cannot be reached.

    """
    url = environment.read(DatabaseSettings).database_url
    see_that_there_is(url)
    async with database(environment), engine_for(url) as engine:
        yield OutboxDesk(engine)
