"""What people ask of the outbox, and have told again: rare, the same on both databases, by SQLAlchemy Core."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Subquery, and_, func, null, or_, select, union_all, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payscore_worker.errors import SettlementError, StorageUnavailable
from payscore_worker.storage.tables import trip_event

MAX_ROWS: Final = 1000
"""More is a query for the database's own tools."""

MAX_COUNTED: Final = 10_000
"""Where nobody listens to a type, each of its announcements is kept; to count the newest takes some milliseconds."""

BATCH: Final = 500
"""Announcements put back in one transaction: milliseconds of locks, and a fraction of a second of a relay's work."""

MAX_AHEAD: Final = BATCH
"""So many may wait before more is put back: what is announced meanwhile waits behind these, and no longer."""

LOOK_SECONDS: Final = 0.2
"""How often to look whether the relay has come that far."""

STANDSTILL_SECONDS: Final = 60.0
"""A relay publishes a batch in a fraction of a second; one that gets nowhere for so long is none."""

STATEMENT_SECONDS: Final = 60.0
"""A day of a city is counted in seconds; what takes longer is given up, and changes nothing."""

SKEW: Final = timedelta(minutes=5)
"""Times of neighbouring rows differ by the clocks of the workers, and by how long a transaction takes."""

Row = Mapping[str, Any]

OUT: Final = trip_event.c.direction == "out"
WAITS: Final = and_(trip_event.c.pending, trip_event.c.attempts == 0)
"""Nothing but a relay is missing."""
UNHEARD: Final = and_(trip_event.c.pending, trip_event.c.attempts > 0)
"""Nobody took it; it is tried again within the hour."""
KEPT: Final = trip_event.c.unrouted_at.is_not(None)
"""Nobody took it for an hour."""

LISTED: Final = tuple(
    trip_event.c[name]
    for name in ("id", "event_id", "trip_id", "type", "at", "pending", "attempts", "published_at", "unrouted_at")
)


class OutboxStandsStill(SettlementError):
    """What was put back is not published: there is no relay, or no broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which announcements to tell again: those of a trip, or of a span of time."""

    trip_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""
    type: str | None = None
    unrouted: bool = False
    """Only those that nobody took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a replay would put back."""

    first: int
    last: int
    """The ids between which they are: what is announced later is not among them."""
    by_type: Mapping[str, int]
    trips: int
    oldest: datetime | None
    newest: datetime | None

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.by_type.values())


class OutboxDesk:
    """Lists announcements, and puts them back.

    Every method raises StorageUnavailable where the database cannot be reached, or takes too long.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def pending(self, limit: int = MAX_ROWS) -> list[Row]:
        """List what is still to be published, the oldest first."""
        return await self._all(select(*LISTED).where(trip_event.c.pending).order_by(trip_event.c.id).limit(limit))

    async def unrouted(self, limit: int = MAX_ROWS) -> list[Row]:
        """List what nobody listens to, the newest first."""
        newest = _newest_unrouted(limit)
        return await self._all(select(newest).order_by(newest.c.id.desc()).limit(limit))

    async def unrouted_by_type(self) -> dict[str, int]:
        """Count what nobody listens to, among the newest MAX_COUNTED."""
        return {row["type"]: row["count"] for row in await self._all(count_unrouted())}

    async def find(self, wanted: Wanted) -> Found:
        """Count what a replay would put back."""
        async with self._transaction() as connection:
            first, last = await _span(connection, wanted)
            among = and_(trip_event.c.id.between(first, last), _meant(wanted))
            counted = await _rows(
                connection,
                select(
                    trip_event.c.type,
                    func.count().label("count"),
                    func.min(trip_event.c.at).label("oldest"),
                    func.max(trip_event.c.at).label("newest"),
                )
                .where(among)
                .group_by(trip_event.c.type)
                .order_by(trip_event.c.type),
            )
            trips = await connection.scalar(select(func.count(trip_event.c.trip_id.distinct())).where(among))
        return Found(
            first=first,
            last=last,
            by_type={row["type"]: row["count"] for row in counted},
            trips=trips or 0,
            oldest=min((row["oldest"] for row in counted), default=None),
            newest=max((row["newest"] for row in counted), default=None),
        )

    async def replay(self, wanted: Wanted, found: Found) -> AsyncIterator[int]:
        """Put back what was found, the oldest first, batch by batch; tells how many each held.

        They keep ids and bytes. The next batch waits until the relay has almost caught up, so that what is announced
        meanwhile does not wait behind all of them.

        Raises:
            OutboxStandsStill: the relay gets nowhere.

        """
        first = found.first
        while ids := await self._put_back(wanted, first, found.last):
            yield len(ids)
            if len(ids) < BATCH:
                return
            first = ids[-1] + 1
            await self._relay_catches_up()

    async def _put_back(self, wanted: Wanted, first: int, last: int) -> list[int]:
        meant = select(trip_event.c.id).where(trip_event.c.id.between(first, last), _meant(wanted))
        async with self._transaction() as connection:
            ids = list(await connection.scalars(meant.order_by(trip_event.c.id).limit(BATCH)))
            again = update(trip_event).where(trip_event.c.id.in_(ids), OUT)
            told = func.coalesce(trip_event.c.published_at, trip_event.c.unrouted_at)
            values = {"pending": True, "claimed_until": null(), "attempts": 0, "unrouted_at": null()}
            await connection.execute(again.values(published_at=told, **values))
        return ids

    async def _relay_catches_up(self) -> None:
        best, standstill = await self._ahead(), 0.0
        while best > MAX_AHEAD:
            if standstill >= STANDSTILL_SECONDS:
                raise OutboxStandsStill(f"nothing was published for {STANDSTILL_SECONDS:g} s: no worker, or no broker")
            await asyncio.sleep(LOOK_SECONDS)
            ahead = await self._ahead()
            best, standstill = (ahead, 0.0) if ahead < best else (best, standstill + LOOK_SECONDS)

    async def _ahead(self) -> int:
        """Count what waits, as far as it matters."""
        some = select(trip_event.c.id).where(WAITS).limit(2 * (MAX_AHEAD + BATCH)).subquery()
        async with self._transaction() as connection:
            return await connection.scalar(select(func.count()).select_from(some)) or 0

    async def _all(self, statement: Select[Any]) -> list[Row]:
        async with self._transaction() as connection:
            return await _rows(connection, statement)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(STATEMENT_SECONDS), self._engine.begin() as connection:
                yield connection
        except TimeoutError as error:
            raise StorageUnavailable(f"no answer within {STATEMENT_SECONDS:g} seconds") from error
        except (DBAPIError, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StorageUnavailable(f"the outbox: {type(cause).__name__}") from error


def count_unrouted() -> Select[Any]:
    """Ask by type for what nobody listens to, among the newest MAX_COUNTED."""
    newest = _newest_unrouted(MAX_COUNTED)
    return select(newest.c.type, func.count().label("count")).group_by(newest.c.type).order_by(newest.c.type)


def _newest_unrouted(limit: int) -> Subquery:
    """Take the newest from each of the two partial indexes; an OR of both would read the table."""
    walks = [
        select(*LISTED).where(which).order_by(trip_event.c.id.desc()).limit(limit).subquery()
        for which in (KEPT, UNHEARD)
    ]
    return union_all(*(select(walk) for walk in walks)).subquery()


def _meant(wanted: Wanted) -> ColumnElement[bool]:
    """Say which announcements are meant; those that wait to be published for the first time are told anyway."""
    conditions: list[ColumnElement[bool]] = [OUT, or_(~trip_event.c.pending, trip_event.c.attempts > 0)]
    if wanted.trip_id is not None:
        conditions.append(trip_event.c.trip_id == wanted.trip_id)
    if wanted.since is not None:
        conditions.append(trip_event.c.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(trip_event.c.at < wanted.until)
    if wanted.type is not None:
        conditions.append(trip_event.c.type == wanted.type)
    if wanted.unrouted:
        conditions.append(or_(KEPT, UNHEARD))
    return and_(*conditions)


async def _span(connection: AsyncConnection, wanted: Wanted) -> tuple[int, int]:
    """Find the ids between which they are, so that no history is read for an hour of it."""
    ids = select(func.min(trip_event.c.id).label("first"), func.max(trip_event.c.id).label("last"))
    [ends] = await _rows(connection, ids)
    if ends["last"] is None:
        return 0, -1
    if wanted.since is None:
        return ends["first"], ends["last"]
    return await _first_since(connection, wanted.since - SKEW, ends["first"], ends["last"]), ends["last"]


async def _first_since(connection: AsyncConnection, since: datetime, low: int, high: int) -> int:
    """Halve the ids until the first row of that time is found: they rise with the time, but for the skew."""
    while low < high:
        middle = (low + high) // 2
        next_ = select(trip_event.c.at).where(trip_event.c.id >= middle, trip_event.c.id <= high)
        at = await connection.scalar(next_.order_by(trip_event.c.id).limit(1))
        if at is not None and at < since:
            low = middle + 1
        else:
            high = middle
    return low


async def _rows(connection: AsyncConnection, statement: Select[Any]) -> list[Row]:
    return [row._mapping for row in await connection.execute(statement)]  # noqa: SLF001 - SQLAlchemy's public face of a row
