"""How things stand, for whoever watches: counted now and then over what is unfinished, not over a city's history."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Executable, RowMapping, Table, and_, bindparam, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payscore_worker.domain.refund import UNDER_WAY
from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
)
from payscore_worker.storage.outbox import WAITS, count_unrouted
from payscore_worker.storage.tables import authorisation, refund, trip, trip_event

UNFINISHED: Final = tuple(state.value for state in TripState if state not in TERMINAL)

SINCE: Final = {"NOTED": trip.c.noted_at, "OPEN": trip.c.opened_at, "COMPLETED": trip.c.completed_at}
"""When a trip came to the state it is in."""

REFUND_SINCE: Final = {"REQUESTED": refund.c.requested_at, "ACCEPTED": refund.c.accepted_at}
"""When a refund came to the state it is in."""

CALL_OUT: Final = {
    "create": and_(trip.c.state == "NOTED", trip.c.risk_amount_fen.is_not(None)),
    "complete": and_(trip.c.state == "OPEN", trip.c.end_time.is_not(None)),
}
"""The bytes of a call are stored, and no answer is: it may be on its way, or lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    """How many there are, and how old the oldest is; zero without any."""

    count: int
    oldest: timedelta


NONE: Final = Some(count=0, oldest=timedelta())


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundStanding:
    """What of the money that is to go back is unfinished."""

    states: Mapping[str, Some] = field(default_factory=dict)
    with_problem: Some = NONE
    due_lag: timedelta = timedelta()
    reserved_fen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorisationStanding:
    """What of the passengers' authorisations is in trouble."""

    with_problem: Some = NONE
    due_lag: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is unfinished."""

    states: Mapping[str, Some]
    with_problem: Some
    stale: int
    overdue: int
    due_lag: timedelta
    calls_out: Mapping[str, Some]
    outstanding_fen: int
    outbox: Some
    """What only a relay is missing for; the oldest of those that were never told."""
    refunds: RefundStanding = RefundStanding()
    authorisations: AuthorisationStanding = AuthorisationStanding()
    unrouted: Mapping[str, int] = field(default_factory=dict)
    """Announcements that nobody listens to, by type; of very many the newest are counted."""


async def standing(engine: AsyncEngine, now: datetime, *, limit: timedelta) -> Standing:
    """Count what is unfinished, in one connection; PostgreSQL gives up by itself after the limit."""
    async with engine.connect() as connection:
        await _limit(connection, limit)
        trips = await _one(connection, _trips())
        problems = await _one(connection, _problems(trip))
        due = await _one(connection, _due(trip, now))
        refunds = await _one(connection, _refunds())
        refund_problems = await _one(connection, _problems(refund))
        refund_due = await _one(connection, _due(refund, now))
        authorisation_problems = await _one(connection, _problems(authorisation))
        authorisation_due = await _one(connection, _due(authorisation, now))
        outbox = await _one(connection, _outbox())
        unrouted = (await connection.execute(count_unrouted())).mappings().all()

    def some(name: str, row: RowMapping) -> Some:
        return Some(count=row[f"{name}_count"], oldest=_age(row[f"{name}_since"], now))

    return Standing(
        states={state: some(state, trips) for state in SINCE},
        with_problem=some("problem", problems),
        stale=trips["stale"],
        overdue=trips["overdue"],
        due_lag=_age(due["since"], now),
        calls_out={call: some(call, trips) for call in CALL_OUT},
        outstanding_fen=int(trips["outstanding_fen"]),
        refunds=RefundStanding(
            states={state: some(state, refunds) for state in REFUND_SINCE},
            with_problem=some("problem", refund_problems),
            due_lag=_age(refund_due["since"], now),
            reserved_fen=int(refunds["reserved_fen"]),
        ),
        authorisations=AuthorisationStanding(
            with_problem=some("problem", authorisation_problems),
            due_lag=_age(authorisation_due["since"], now),
        ),
        outbox=some("outbox", outbox),
        unrouted={row["type"]: row["count"] for row in unrouted},
    )


def _trips() -> Executable:
    calm = trip.c.problem.is_(None)
    owed_fen = func.coalesce(trip.c.accepted_fen, trip.c.total_fen)
    awaited = trip.c.paid_elsewhere.is_(None)  # else the money is in, and WeChat Pay is being told so
    columns: list[Any] = [
        func.count().filter(trip.c.stale_since.is_not(None)).label("stale"),
        func.count().filter(trip.c.overdue_since.is_not(None)).label("overdue"),
        func.coalesce(func.sum(owed_fen).filter(trip.c.state == "COMPLETED", awaited), 0).label("outstanding_fen"),
    ]
    columns += _by_state(trip, SINCE)
    for call, out in CALL_OUT.items():
        columns.append(func.count().filter(out, calm).label(f"{call}_count"))
        columns.append(func.min(trip.c.updated_at).filter(out, calm).label(f"{call}_since"))
    return select(*columns).where(trip.c.state.in_(UNFINISHED))


def _refunds() -> Executable:
    columns = _by_state(refund, REFUND_SINCE)
    columns.append(func.coalesce(func.sum(refund.c.amount_fen), 0).label("reserved_fen"))
    return select(*columns).where(refunds_under_way())


def refunds_under_way() -> ColumnElement[bool]:
    """Say which refunds are not over, in the words of the index of them alone: behind a parameter it is of no use."""
    states = [state.value for state in UNDER_WAY]
    return refund.c.state.in_(bindparam(None, states, expanding=True, literal_execute=True))


def _by_state(table: Table, states: Mapping[str, ColumnElement[datetime]]) -> list[Any]:
    columns: list[Any] = []
    for state, since in states.items():
        columns.append(func.count().filter(table.c.state == state).label(f"{state}_count"))
        columns.append(func.min(since).filter(table.c.state == state).label(f"{state}_since"))
    return columns


def _problems(table: Table) -> Executable:
    """Count cases with a problem, those that are over too: there is an index of them alone."""
    since = func.min(table.c.updated_at).label("problem_since")
    return select(func.count().label("problem_count"), since).where(table.c.problem.is_not(None))


def _due(table: Table, now: datetime) -> Executable:
    free = or_(table.c.claimed_until.is_(None), table.c.claimed_until < now)
    return select(func.min(table.c.due_at).label("since")).where(table.c.due_at < now, free)


def _outbox() -> Executable:
    """Leave out what nobody takes, which no relay can help, and take what was put back for no older than it is."""
    since = func.min(trip_event.c.at).filter(trip_event.c.published_at.is_(None))
    return select(func.count().label("outbox_count"), since.label("outbox_since")).where(WAITS)


async def _limit(connection: AsyncConnection, limit: timedelta) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SET LOCAL statement_timeout = {limit // timedelta(milliseconds=1)}"))


async def _one(connection: AsyncConnection, statement: Executable) -> RowMapping:
    return (await connection.execute(statement)).mappings().one()


def _age(since: datetime | None, now: datetime) -> timedelta:
    return timedelta() if since is None else max(now - since, timedelta())
