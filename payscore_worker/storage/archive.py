"""Moves trips that are over, with their calls, events and refunds, out of the database into files, a batch at a time.

A batch is one transaction: its trips are locked, written to a file, the file is read back, and only then are the rows
deleted and a short memory of each trip left in their place. The file's name tells how far that got:

    NAME.jsonl.gz.part      being written; worth nothing
    NAME.jsonl.gz.prepared  whole and on the disk; whether the transaction was committed, the database knows
    NAME.jsonl.gz           its trips are here and nowhere else

A run that broke off is put right by the next one in the same directory, so a trip is in one `.jsonl.gz`, never in two.
"""

import asyncio
import base64
import fcntl
import gzip
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from sqlalchemy import ColumnElement, Select, Table, and_, delete, exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payscore_worker.domain.authorisation import AuthorisationState
from payscore_worker.domain.refund import OVER
from payscore_worker.domain.trip import TERMINAL
from payscore_worker.errors import SchemaOutdated, SettlementError, StorageUnavailable, UnreadableRow
from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.cases import TRIPS
from payscore_worker.storage.engine import BROKEN, cause_of, engine_for, lock_from_the_start, schema_of
from payscore_worker.storage.reading import note_unreadable
from payscore_worker.storage.schema import SCHEMA_REVISION
from payscore_worker.storage.tables import (
    Json,
    archived_trip,
    authorisation,
    passenger,
    refund,
    trip,
    trip_event,
    wechatpay_call,
)

FORMAT: Final = "payscore-archive/1"
"""A header, then a story a line: `trip`, `calls`, `events`, `refunds`; none of these last before schema 0007."""

GO_WITH_THEIR_TRIP: Final = (wechatpay_call, trip_event, refund)
"""What a story consists of, beside the trip."""

BATCH_TRIPS: Final = 500
"""Some three megabytes in memory, and rows locked for a tenth of a second that nobody else wants."""

MAX_BATCH_TRIPS: Final = 5_000
"""SQLite takes no more than 32,766 parameters in a statement, and a batch is held in memory."""

MAX_TRIPS: Final = 1_000_000
"""Of one run; a scheduler starts the next."""

MAX_PASSED_OVER: Final = 1_000
"""Trips that cannot be read, of one run; more is a release that should not be archiving."""

PASSENGERS_KEPT: Final = timedelta(days=90)
"""Nobody should trust for longer what was known of a passenger's service."""

BATCH_PASSENGERS: Final = 5_000
"""Rows locked for a tenth of a second."""

MAX_PASSENGERS: Final = 1_000_000
"""Of one run."""

STATEMENT_SECONDS: Final = 60.0
"""A batch takes a tenth of a second; one that takes longer than this is given up, and changes nothing."""

Row = Mapping[str, Any]


class ArchiveInUse(SettlementError):
    """Another run has this directory in hand."""


class ArchiveUnwritable(SettlementError):
    """The directory or a file in it cannot be written, or did not hold what was written; nothing was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to archive."""

    before: datetime
    """Trips that were last touched before this moment."""
    directory: Path
    batch: int = BATCH_TRIPS
    limit: int = MAX_TRIPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one batch, or a whole run, moved."""

    trips: int = 0
    calls: int = 0
    events: int = 0
    refunds: int = 0
    unreadable: int = 0
    """Trips of a newer release, which stay."""
    files: tuple[str, ...] = ()

    def __add__(self, other: "Moved") -> "Moved":
        return Moved(
            trips=self.trips + other.trips,
            calls=self.calls + other.calls,
            events=self.events + other.events,
            refunds=self.refunds + other.refunds,
            unreadable=self.unreadable + other.unreadable,
            files=self.files + other.files,
        )


class Archive:
    """Archives trips of one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._passed_over: list[str] = []
        """Trips that this release cannot read."""

    @classmethod
    @asynccontextmanager
    async def of(cls, database_url: str) -> AsyncIterator["Archive"]:
        """Open the database for archiving."""
        async with engine_for(database_url) as engine:
            if engine.dialect.name == "sqlite":
                lock_from_the_start(engine)
            yield cls(engine)

    async def count(self, before: datetime) -> Moved:
        """Count what a run would move.

        Raises:
            StorageUnavailable: the database cannot be reached.

        """
        ids = select(trip.c.trip_id).where(_is_over(before))
        async with _transaction(self._engine) as connection:
            trips = await connection.scalar(select(func.count()).select_from(ids.subquery()))
            calls, events, refunds = [
                await connection.scalar(select(func.count()).select_from(table).where(table.c.trip_id.in_(ids)))
                for table in GO_WITH_THEIR_TRIP
            ]
        return Moved(trips=trips or 0, calls=calls or 0, events=events or 0, refunds=refunds or 0)

    async def run(self, plan: Plan, now: datetime) -> AsyncIterator[Moved]:
        """Put right what broke off, then move batches until none is left or the limit is reached.

        Raises:
            ArchiveInUse: another run has the directory.
            ArchiveUnwritable: the directory cannot be written.
            SchemaOutdated: a newer release keeps more of a trip than this one would file.
            StorageUnavailable: the database cannot be reached.
            UnreadableRow: a newer release wrote more trips than can be passed over.

        """
        await self._see_that_all_is_filed()
        with _in_hand(plan.directory):
            await self.put_right(plan.directory)
            left = plan.limit
            while left > 0:
                moved = await self._move(plan, min(plan.batch, left), now)
                if not moved.trips and not moved.unreadable:
                    return
                left -= moved.trips
                yield moved

    async def forget_passengers(self, now: datetime) -> int:
        """Delete what was noted of passengers' service too long ago to be trusted again; returns of how many.

        It is done here, by whoever clears up, rather than by the worker: a look through a table without an index by age
        is for the night, and a row that is forgotten costs one question to WeChat Pay.

        Raises:
            StorageUnavailable: the database cannot be reached.

        """
        old = select(passenger.c.openid).where(passenger.c.as_of < now - PASSENGERS_KEPT).limit(BATCH_PASSENGERS)
        forgotten = 0
        for _ in range(MAX_PASSENGERS // BATCH_PASSENGERS):
            async with _transaction(self._engine) as connection:
                gone = (await connection.execute(delete(passenger).where(passenger.c.openid.in_(old)))).rowcount
            forgotten += gone
            if gone < BATCH_PASSENGERS:
                break
        return forgotten

    async def forget_authorisations(self, before: datetime) -> int:
        """Delete authorisations that are over, or were never signed, and were last touched before; returns how many.

        No money hangs on them: what is asked of WeChat Pay tells whether a passenger has the service. One that is open
        stays, however old it is. What was said and called under a number that is a trip's as well goes with the trip.

        Raises:
            StorageUnavailable: the database cannot be reached.

        """
        forgotten = 0
        for _ in range(MAX_PASSENGERS // BATCH_PASSENGERS):
            async with _transaction(self._engine) as connection:
                gone = list(await connection.scalars(_over_authorisations(before)))
                for table in (wechatpay_call, trip_event):
                    a_trips = exists().where(trip.c.trip_id == table.c.trip_id)
                    await connection.execute(delete(table).where(table.c.trip_id.in_(gone), ~a_trips))
                await connection.execute(delete(authorisation).where(authorisation.c.authorization_code.in_(gone)))
            forgotten += len(gone)
            if len(gone) < BATCH_PASSENGERS:
                break
        return forgotten

    async def _see_that_all_is_filed(self) -> None:
        async with _transaction(self._engine) as connection:
            schema = await connection.run_sync(schema_of)
        if schema.is_ahead:
            found = (
                f"the database is at revision {schema.revision}, and this release would file what {SCHEMA_REVISION} has"
            )
            raise SchemaOutdated(found, f"archive with release {schema.migrated_by or 'that migrated it'}")

    async def put_right(self, directory: Path) -> None:
        """Decide about files of a run that broke off: keep those whose rows are gone, drop those whose rows stand."""
        for prepared in await asyncio.to_thread(_left_behind, directory):
            if await self._is_committed(_final(prepared).name):
                _rename(prepared, _final(prepared))
            else:
                await asyncio.to_thread(prepared.unlink)

    async def _is_committed(self, archive: str) -> bool:
        header = select(archived_trip.c.trip_id).where(archived_trip.c.archive == archive).limit(1)
        async with _transaction(self._engine) as connection:
            return await connection.scalar(header) is not None

    async def _move(self, plan: Plan, trips: int, now: datetime) -> Moved:
        name = f"trips-before-{plan.before:%Y%m%d}-{now:%Y%m%dT%H%M%SZ}-{uuid4().hex[:12]}.jsonl.gz"
        prepared = plan.directory / f"{name}.prepared"
        async with _transaction(self._engine) as connection:
            found = await _all(connection, _batch(plan.before, trips, self._passed_over))
            memories = {row["trip_id"]: memory for row in found if (memory := self._memory(row, name, now)) is not None}
            ids, unreadable = list(memories), len(found) - len(memories)
            if not ids:
                return Moved(unreadable=unreadable)
            rows = [row for row in found if row["trip_id"] in memories]
            calls = await _all(connection, select(wechatpay_call).where(wechatpay_call.c.trip_id.in_(ids)))
            events = await _all(
                connection, select(trip_event).where(trip_event.c.trip_id.in_(ids)).order_by(trip_event.c.id)
            )
            refunds = await _all(
                connection, select(refund).where(refund.c.trip_id.in_(ids)).order_by(refund.c.generation)
            )
            header = {"format": FORMAT, "schema": SCHEMA_REVISION, "archived_at": now, "trips": len(rows)}
            await asyncio.to_thread(_write, prepared, [header, *_stories(rows, calls, events, refunds)])
            await connection.execute(insert(archived_trip), [memory.row() for memory in memories.values()])
            for table in (*GO_WITH_THEIR_TRIP, trip):
                await connection.execute(delete(table).where(table.c.trip_id.in_(ids)))
        _rename(prepared, _final(prepared))
        return Moved(
            trips=len(rows),
            calls=len(calls),
            events=len(events),
            refunds=len(refunds),
            unreadable=unreadable,
            files=(name,),
        )

    def _memory(self, row: Row, archive: str, now: datetime) -> ArchivedTrip | None:
        """Make what is remembered of a trip; None, and the trip stays, where this release cannot read it."""
        try:
            return ArchivedTrip.of(TRIPS.read(row), archive=archive, archived_at=now)
        except UnreadableRow as error:
            if len(self._passed_over) == MAX_PASSED_OVER:
                raise
            note_unreadable(error)
            self._passed_over.append(row["trip_id"])
            return None


# --- The database ---


def _is_over(before: datetime) -> ColumnElement[bool]:
    """Say which trips may go: over, calm, untouched since, with nothing left to announce and no money going back."""
    return and_(
        trip.c.state.in_([state.value for state in TERMINAL]),
        trip.c.noted_at < before,  # follows from the next, and has an index
        trip.c.updated_at < before,
        trip.c.problem.is_(None),
        trip.c.due_at.is_(None),
        ~exists().where(trip_event.c.trip_id == trip.c.trip_id, trip_event.c.pending),
        ~exists().where(refund.c.trip_id == trip.c.trip_id, _goes_on()),
    )


def _over_authorisations(before: datetime) -> Select[Any]:
    """Take those that nothing is to be done about, for this transaction alone."""
    number = authorisation.c.authorization_code
    return (
        select(number)
        .where(
            authorisation.c.state != AuthorisationState.OPEN.value,
            authorisation.c.updated_at < before,
            authorisation.c.problem.is_(None),
            authorisation.c.due_at.is_(None),
            ~exists().where(trip_event.c.trip_id == number, trip_event.c.pending),
        )
        .limit(BATCH_PASSENGERS)
        .with_for_update(skip_locked=True)
    )


def _goes_on() -> ColumnElement[bool]:
    """Say which refunds keep their trip: not over, as far as this release knows, or left to a person."""
    return or_(refund.c.state.not_in([state.value for state in OVER]), refund.c.problem.is_not(None))


def _batch(before: datetime, trips: int, passed_over: Sequence[str]) -> Select[Any]:
    """Take trips for this transaction alone; one that somebody writes at this moment is left for the next run."""
    return (
        select(trip)
        .where(_is_over(before), trip.c.trip_id.not_in(passed_over))
        .limit(trips)
        .with_for_update(skip_locked=True)
    )


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        async with asyncio.timeout(STATEMENT_SECONDS), engine.begin() as connection:
            yield connection
    except (*BROKEN, TimeoutError) as error:
        raise StorageUnavailable(f"archiving: {cause_of(error)}") from error


async def _all(connection: AsyncConnection, statement: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in await connection.execute(statement)]  # noqa: SLF001 - SQLAlchemy's public face of a row


# --- The files ---


@contextmanager
def _in_hand(directory: Path) -> Iterator[None]:
    """Have the directory to ourselves: another run would take our unfinished files for abandoned ones."""
    with _told(directory):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveInUse(f"another run archives into {directory}") from None
        yield
    finally:
        os.close(lock)


def _left_behind(directory: Path) -> list[Path]:
    """List the prepared files of a run that broke off, and drop what was not even that."""
    for part in directory.glob("*.jsonl.gz.part"):
        part.unlink()
    return sorted(directory.glob("*.jsonl.gz.prepared"))


def _write(prepared: Path, documents: Sequence[object]) -> None:
    """Write a file whole, see it on the disk, and read it back."""
    part = prepared.with_suffix(".part")
    lines = b"".join(msgspec.json.encode(document) + b"\n" for document in documents)
    with _told(part):
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # who rides where is nobody's business
        with os.fdopen(handle, "wb") as file:
            file.write(gzip.compress(lines, mtime=0))
            file.flush()
            os.fsync(file.fileno())
        if gzip.decompress(part.read_bytes()) != lines:
            raise ArchiveUnwritable(f"{part} does not hold what was written")
        _rename(part, prepared)


def _rename(old: Path, new: Path) -> None:
    """Rename it so that the new name outlives the power."""
    with _told(new):
        old.rename(new)
        directory = os.open(new.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _final(prepared: Path) -> Path:
    return prepared.with_suffix("")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, gzip.BadGzipFile) as error:
        raise ArchiveUnwritable(f"{path}: {error.strerror or error!r}") from error


def _stories(
    rows: Sequence[Row], calls: Sequence[Row], events: Sequence[Row], refunds: Sequence[Row]
) -> Iterator[dict[str, Any]]:
    """Put each trip together with what belongs to it."""
    stories: dict[str, dict[str, Any]] = {
        row["trip_id"]: {"trip": _plain(row, of=trip), "calls": [], "events": [], "refunds": []} for row in rows
    }
    for call in calls:
        stories[call["trip_id"]]["calls"].append(_plain(call, of=wechatpay_call))
    for noted in events:
        stories[noted["trip_id"]]["events"].append(_plain(noted, of=trip_event))
    for one in refunds:
        stories[one["trip_id"]]["refunds"].append(_plain(one, of=refund))
    yield from stories.values()


def _plain(row: Row, *, of: Table) -> dict[str, Any]:
    """Write bytes as text where they are text, so that the exact bytes can be had back: UTF-8, or else Base64."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if of.c[name].type is Json and value is not None:
            plain[name] = msgspec.Raw(value.encode())
            continue
        if not isinstance(value, bytes):
            plain[name] = value
            continue
        try:
            plain[name] = value.decode()
        except UnicodeDecodeError:
            plain[f"{name}_base64"] = base64.b64encode(value).decode()
    return plain
