"""What people leaf through: each question bounded in rows, in time and in number, on a connection that cannot write."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, func, or_, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
)
from payscore_worker.errors import StorageUnavailable
from payscore_worker.storage.engine import BROKEN, cause_of
from payscore_worker.storage.outbox import count_unrouted
from payscore_worker.storage.reports import OWED_FEN, STUCK_AFTER, Reports, Row
from payscore_worker.storage.standing import UNFINISHED, Standing, standing
from payscore_worker.storage.tables import archived_trip, operator_action, trip, trip_event
from payscore_worker.storage.values import is_keepable

LIMIT: Final = timedelta(seconds=3)
"""A question that takes longer is the wrong question; the settlement needs the database more."""

AT_ONCE: Final = 2
"""Questions of one process at the same time; others wait their turn, within the same limit."""

PAGE_ROWS: Final = 50
MAX_FOUND: Final = 20
"""A transaction id or an order number names one trip; more than a few would be a defect to see, not to page through."""

PROGRESS_STEPS: Final = 20_000
"""SQLite's own steps between two looks at the clock: under a millisecond."""

LISTED: Final = tuple(
    trip.c[name]
    for name in (
        "trip_id",
        "out_order_no",
        "state",
        "noted_at",
        "started",
        "terms",
        "total_fen",
        "paid_fen",
        "problem",
        "declined_reason",
        "stale_since",
        "overdue_since",
        "due_at",
        "updated_at",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Where a page begins: after this trip."""

    noted_at: datetime
    trip_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which trips to leaf through, the newest first."""

    state: TripState | None = None
    unfinished: bool = False
    with_problem: bool = False
    stuck: bool = False
    """Due for longer than a reconciler takes, or with a problem."""
    older_than: timedelta | None = None
    after: Key | None = None

    @property
    def states(self) -> Sequence[str]:
        """The states in which such a trip can be."""
        possible = UNFINISHED if self.stuck or self.unfinished else tuple(state.value for state in TripState)
        return tuple(state for state in possible if self.state in (None, state))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some trips, and where the next page begins; None on the last one."""

    rows: Sequence[Row]
    following: Key | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What the trips that began within a span owe and have paid, in fen."""

    trips: int
    completed_fen: int
    """Of trips whose amount WeChat Pay has accepted, paid or not."""
    paid_fen: int


class Browsing(Reports):
    """Answers people's questions without slowing the settlement.

    Every method raises StorageUnavailable where the database cannot be reached, or takes too long.
    """

    def __init__(self, engine: AsyncEngine, *, limit: timedelta = LIMIT) -> None:
        super().__init__(engine)
        self._limit = limit
        self._places = asyncio.Semaphore(AT_ONCE)

    async def page(self, wanted: Wanted, now: datetime) -> Page:
        """Read one page; each state is walked along its own index, so that no page sorts a city's history."""
        if not wanted.states:
            return Page(rows=[], following=None)
        walks = [self._walk(state, wanted, now).subquery() for state in wanted.states]
        merged = union_all(*(select(walk) for walk in walks)).subquery()
        newest = select(merged).order_by(merged.c.noted_at.desc(), merged.c.trip_id.desc()).limit(PAGE_ROWS + 1)
        rows = await self._all(newest)
        more = len(rows) > PAGE_ROWS
        rows = rows[:PAGE_ROWS]
        following = Key(noted_at=rows[-1]["noted_at"], trip_id=rows[-1]["trip_id"]) if more else None
        return Page(rows=rows, following=following)

    def _walk(self, state: str, wanted: Wanted, now: datetime) -> Select[Any]:
        conditions: list[ColumnElement[bool]] = [trip.c.state == state]
        if wanted.with_problem:
            conditions.append(trip.c.problem.is_not(None))
        if wanted.stuck:
            conditions.append(or_(trip.c.problem.is_not(None), trip.c.due_at < now - STUCK_AFTER))
        if wanted.older_than is not None:
            conditions.append(trip.c.noted_at < now - wanted.older_than)
        if wanted.after is not None:
            at, trip_id = wanted.after.noted_at, wanted.after.trip_id
            conditions += [trip.c.noted_at <= at, or_(trip.c.noted_at < at, trip.c.trip_id < trip_id)]
        newest = trip.c.noted_at.desc(), trip.c.trip_id.desc()
        return select(*LISTED).where(and_(*conditions)).order_by(*newest).limit(PAGE_ROWS + 1)

    async def find(self, name: str) -> list[str]:
        """Find trips by their id, by the number WeChat knows them under, or by WeChat's transaction id."""
        if not is_keepable(name):
            return []
        meant = or_(trip.c.trip_id == name, trip.c.out_order_no == name, trip.c.transaction_id == name)
        rows = await self._all(select(trip.c.trip_id).where(meant).limit(MAX_FOUND))
        if not rows:
            remembered = or_(archived_trip.c.trip_id == name, archived_trip.c.out_order_no == name)
            rows = await self._all(select(archived_trip.c.trip_id).where(remembered).limit(MAX_FOUND))
        return [row["trip_id"] for row in rows]

    async def money(self, since: datetime) -> Money:
        """Sum up the trips that were noted since then."""
        completed = trip.c.completed_at.is_not(None)
        rows = await self._all(
            select(
                func.count().label("trips"),
                func.coalesce(func.sum(OWED_FEN).filter(completed), 0).label("completed_fen"),
                func.coalesce(func.sum(trip.c.paid_fen).filter(completed), 0).label("paid_fen"),
            ).where(trip.c.state.in_([state.value for state in TripState]), trip.c.noted_at >= since)
        )
        found = rows[0]
        return Money(trips=found["trips"], completed_fen=int(found["completed_fen"]), paid_fen=int(found["paid_fen"]))

    async def ended_since(self, since: datetime) -> dict[str, int]:
        """Count the trips that were noted since then and are over, by state."""
        over = [state.value for state in TERMINAL]
        statement = select(trip.c.state, func.count().label("trips")).where(
            trip.c.state.in_(over), trip.c.noted_at >= since
        )
        return {row["state"]: row["trips"] for row in await self._all(statement.group_by(trip.c.state))}

    async def outbox(self) -> list[Row]:
        """List announcements that are not published yet, the oldest first."""
        columns = [trip_event.c[name] for name in ("id", "trip_id", "type", "at", "attempts", "claimed_until")]
        return await self._all(
            select(*columns).where(trip_event.c.pending).order_by(trip_event.c.id).limit(PAGE_ROWS + 1)
        )

    async def unrouted(self) -> dict[str, int]:
        """Count announcements that nobody listens to, by type."""
        return {row["type"]: row["count"] for row in await self._all(count_unrouted())}

    async def actions(self, count: int = PAGE_ROWS) -> list[Row]:
        """List what people did to dead letters and trips, the newest first."""
        return await self._all(select(operator_action).order_by(operator_action.c.id.desc()).limit(count))

    async def standing(self, now: datetime) -> Standing:
        """Count what is unfinished."""
        async with self._in_turn():
            return await standing(self._engine, now, limit=self._limit)

    async def _all(self, statement: Select[Any] | CompoundSelect[Any]) -> list[Row]:
        async with self._in_turn(), self._engine.connect() as connection:
            await self._restrain(connection)
            return [row._mapping for row in await connection.execute(statement)]  # noqa: SLF001 - SQLAlchemy's public face of a row

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limit.total_seconds()), self._places:
                yield
        except TimeoutError as error:
            raise StorageUnavailable(f"no answer within {self._limit.total_seconds():g} seconds") from error
        except BROKEN as error:
            raise StorageUnavailable(cause_of(error)) from error

    async def _restrain(self, connection: AsyncConnection) -> None:
        """Let the database itself give up after the limit, whatever becomes of us, and refuse to write."""
        if connection.dialect.name == "postgresql":
            milliseconds = self._limit // timedelta(milliseconds=1)
            await connection.execute(text("SET TRANSACTION READ ONLY"))
            await connection.execute(text(f"SET LOCAL statement_timeout = {milliseconds}"))
            return
        until = time.monotonic() + self._limit.total_seconds()
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is not None:
            await driver.set_progress_handler(lambda: int(time.monotonic() > until), PROGRESS_STEPS)
        await connection.execute(text("PRAGMA query_only = ON"))
