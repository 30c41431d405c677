"""How things stand, for whoever watches: counted now and then over what is unfinished, not over a city's history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Executable,
    RowMapping,
    Table,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payscore_worker.domain.refund import UNDER_WAY
from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
)
from payscore_worker.storage.belonging import Owners
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

NAMELESS: Final = Owners()
"""Whoever asks for the whole alone need not know of accounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundStanding:
    """What of the money that is to go back is unfinished."""

    states: Mapping[str, Some] = field(default_factory=dict)
    with_problem: Some = NONE
    reserved_fen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What is unfinished of one account's."""

    states: Mapping[str, Some]
    with_problem: Some
    stale: int
    overdue: int
    calls_out: Mapping[str, Some]
    outstanding_fen: int
    refunds: RefundStanding = RefundStanding()
    authorisations_with_problem: Some = NONE


NOTHING: Final = Share(
    states=dict.fromkeys(SINCE, NONE),
    with_problem=NONE,
    stale=0,
    overdue=0,
    calls_out=dict.fromkeys(CALL_OUT, NONE),
    outstanding_fen=0,
    refunds=RefundStanding(states=dict.fromkeys(REFUND_SINCE, NONE)),
)
"""Of an account that has nothing unfinished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Share):
    """What is unfinished of all accounts, and of each, as far as telling them apart costs no more."""

    due_lag: timedelta
    refunds_due_lag: timedelta = timedelta()
    authorisations_due_lag: timedelta = timedelta()
    outbox: Some
    """What only a relay is missing for; the oldest of those that were never told."""
    unrouted: Mapping[str, int] = field(default_factory=dict)
    """Announcements that nobody listens to, by type; of very many the newest are counted."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """By the name of the account: each that there is, and one more for what is nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What was counted, a row for each merchant number, or what a start said in its place."""

    trips: Sequence[RowMapping]
    problems: Sequence[RowMapping]
    refunds: Sequence[RowMapping]
    refund_problems: Sequence[RowMapping]
    authorisation_problems: Sequence[RowMapping]

    def of(self, account: str, owners: Owners) -> "_Counted":
        """Take those of one account."""
        return _Counted(
            **{
                name: [row for row in getattr(self, name) if owners.name(row["mchid"], row["said"]) == account]
                for name in _COUNTED
            }
        )

    def accounts(self, owners: Owners) -> set[str]:
        """Name the accounts that there are, and whose rows there are."""
        found = (owners.name(row["mchid"], row["said"]) for name in _COUNTED for row in getattr(self, name))
        return {owners.default, *owners.names.values(), *found}


_COUNTED: Final = tuple(member.name for member in fields(_Counted))


async def standing(engine: AsyncEngine, now: datetime, *, limit: timedelta, owners: Owners = NAMELESS) -> Standing:
    """Count what is unfinished, in one connection; PostgreSQL gives up by itself after the limit."""
    async with engine.connect() as connection:
        await _limit(connection, limit)
        counted = _Counted(
            trips=await _all(connection, _trips()),
            problems=await _all(connection, _problems(trip, OF_TRIP)),
            refunds=await _all(connection, _refunds()),
            refund_problems=await _all(connection, _problems(refund, OF_REFUND)),
            authorisation_problems=await _all(connection, _problems(authorisation, _OF_AUTHORISATION)),
        )
        (due,) = await _all(connection, _due(trip, now))
        (refund_due,) = await _all(connection, _due(refund, now))
        (authorisation_due,) = await _all(connection, _due(authorisation, now))
        outbox = await _all(connection, _outbox())
        unrouted = await _all(connection, count_unrouted())
    total = _share(counted, now)
    return Standing(
        **{member.name: getattr(total, member.name) for member in fields(total)},
        due_lag=_age(due["since"], now),
        refunds_due_lag=_age(refund_due["since"], now),
        authorisations_due_lag=_age(authorisation_due["since"], now),
        outbox=_some("outbox", outbox, now),
        unrouted={row["type"]: row["count"] for row in unrouted},
        shares={account: _share(counted.of(account, owners), now) for account in counted.accounts(owners)},
    )


def _share(counted: _Counted, now: datetime) -> Share:
    trips, refunds = counted.trips, counted.refunds
    return Share(
        states={state: _some(state, trips, now) for state in SINCE},
        with_problem=_some("problem", counted.problems, now),
        stale=_sum("stale", trips),
        overdue=_sum("overdue", trips),
        calls_out={call: _some(call, trips, now) for call in CALL_OUT},
        outstanding_fen=_sum("outstanding_fen", trips),
        refunds=RefundStanding(
            states={state: _some(state, refunds, now) for state in REFUND_SINCE},
            with_problem=_some("problem", counted.refund_problems, now),
            reserved_fen=_sum("reserved_fen", refunds),
        ),
        authorisations_with_problem=_some("problem", counted.authorisation_problems, now),
    )


def _some(name: str, rows: Sequence[RowMapping], now: datetime) -> Some:
    oldest = max((_age(row[f"{name}_since"], now) for row in rows), default=timedelta())
    return Some(count=_sum(f"{name}_count", rows), oldest=oldest)


def _sum(name: str, rows: Sequence[RowMapping]) -> int:
    return sum(int(row[name]) for row in rows)


def _word(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Read a member of what is kept as JSON; where nothing is, there is none."""
    return column.op("->>")(literal_column(f"'{name}'"))


OF_TRIP: Final = (
    _word(trip.c.terms, "mchid").label("mchid"),
    case((trip.c.terms.is_(None), _word(trip.c.started, "account"))).label("said"),
)
"""Whose a trip is: by its order's terms, or its start before there is an order. These rows are read anyway."""

OF_REFUND: Final = (refund.c.mchid.label("mchid"), null().label("said"))
_OF_AUTHORISATION: Final = (_word(authorisation.c.terms, "mchid").label("mchid"), null().label("said"))


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
    return select(*OF_TRIP, *columns).where(trip.c.state.in_(UNFINISHED)).group_by("mchid", "said")


def _refunds() -> Executable:
    columns = _by_state(refund, REFUND_SINCE)
    columns.append(func.coalesce(func.sum(refund.c.amount_fen), 0).label("reserved_fen"))
    return select(*OF_REFUND, *columns).where(refunds_under_way()).group_by(refund.c.mchid)


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


def _problems(table: Table, whose: Sequence[ColumnElement[Any]]) -> Executable:
    """Count cases with a problem, those that are over too: there is an index of them alone."""
    since = func.min(table.c.updated_at).label("problem_since")
    counted = select(*whose, func.count().label("problem_count"), since).where(table.c.problem.is_not(None))
    return counted.group_by("mchid", "said")


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


async def _all(connection: AsyncConnection, statement: Executable) -> Sequence[RowMapping]:
    return (await connection.execute(statement)).mappings().all()


def _age(since: datetime | None, now: datetime) -> timedelta:
    return timedelta() if since is None else max(now - since, timedelta())
