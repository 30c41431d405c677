"""What people ask about trips: rare reads, the same on both databases, by SQLAlchemy Core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.domain.refund import OVER, UNDER_WAY, RefundState
from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
    too_much_fen,
)
from payscore_worker.errors import StorageUnavailable, UnreadableRow
from payscore_worker.storage.belonging import Owners
from payscore_worker.storage.cases import TRIPS
from payscore_worker.storage.engine import BROKEN, cause_of
from payscore_worker.storage.standing import OF_REFUND, OF_TRIP
from payscore_worker.storage.tables import archived_trip, operator_action, refund, trip, trip_event, wechatpay_call
from payscore_worker.storage.values import is_keepable

MAX_ROWS: Final = 1000
"""More is a query for the database's own tools."""

STUCK_AFTER: Final = timedelta(minutes=5)
"""A trip is due for longer than this only if no reconciler gets it anywhere."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TripFilter:
    """Which trips to list."""

    state: str | None = None
    with_problem: bool = False
    stuck: bool = False
    limit: int = 100


MAX_NAMED: Final = 20
"""Trips that a finding names; more would not help whoever reads it."""

ANNOUNCED_WITHIN: Final = timedelta(minutes=5)
"""An announcement that waits longer has no relay, or no broker."""

MAX_PARKED: Final = 1000
"""Trips with a problem that WeChat Pay is asked about in one audit, and refunds with one; more of them are one problem,
and not many."""

BATCH_TRIPS: Final = 1000
"""Trips whose refunds are asked for in one statement; a database takes only so many parameters."""

MAX_DOUBTFUL: Final = 10_000
"""Trips that are over, and whose order may not be; those that changed last."""

MAX_ACTIONS: Final = 200
"""What people did about one trip; more is a script's doing."""

COLLECTED: Final = func.coalesce(trip.c.transaction_id, "") != ""
"""WeChat Pay has debited for it."""

PAID_ELSEWHERE: Final = and_(trip.c.state == "PAID", trip.c.paid_elsewhere.is_not(None), ~COLLECTED)
"""A trip that WeChat Pay has collected nothing for, since its fare was paid otherwise."""

MAY_SEND_BACK: Final = and_(
    trip.c.state == "PAID", COLLECTED, or_(trip.c.lowered.is_not(None), trip.c.paid_elsewhere.is_not(None))
)
"""A trip for which too much may have come in; it is due while it has not asked for all of that back."""

OWED_FEN: Final = func.coalesce(trip.c.accepted_fen, trip.c.total_fen)
"""What a person took for what was owed, else the fare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Every trip is in exactly one of these; `noted` is counted from the facts that came in."""

    noted: int
    settled: int
    declined: int
    cancelled: int
    waiting: int
    with_problem: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBooks:
    """The trips of one account in its books, their money, and what its refunds say of the same, in fen."""

    settled: int = 0
    declined: int = 0
    cancelled: int = 0
    waiting: int = 0
    with_problem: int = 0
    owed_fen: int = 0
    """Of trips whose amount WeChat Pay has accepted."""
    paid_fen: int = 0
    """Of them, collected by WeChat Pay."""
    elsewhere_fen: int = 0
    """Of them, paid without WeChat Pay."""
    outstanding_fen: int = 0
    twice_fen: int = 0
    """Collected by WeChat Pay, too, of trips that were paid without it: all of it is too much."""
    refunded_fen: int = 0
    reserved_fen: int = 0
    refunds_done_fen: int = 0
    """What the refunds under the account's own number say, where the two before are what its trips say."""
    refunds_under_way_fen: int = 0

    def __add__(self, other: "AccountBooks") -> "AccountBooks":
        names = (member.name for member in fields(self))
        return AccountBooks(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundBooks:
    """How many refunds there are in each state, of how much, and with which problems."""

    count: Mapping[str, int]
    amount_fen: Mapping[str, int]
    problems: Mapping[str, int]
    """By code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful:
    """A trip that is over, though its order was asked for and not cancelled by us."""

    trip_id: str
    over_since: datetime
    opened_at: datetime | None
    """When we heard that its order runs, by our clock."""
    alive: bool
    """WeChat Pay showed that it runs."""
    look_at: datetime | None
    """When it is looked at once more."""
    looked_at: datetime | None
    """When WeChat Pay was last asked."""


OF_AUTHORISATIONS: Final = (
    "authorisation.requested",
    "authorisation.ended",
    "payscore.user_open_service",
    "payscore.user_close_service",
)
"""What is noted of authorisations, under their own numbers: no trip needs to be there for it."""


class Reports:
    """Answers questions about what is stored, also by a newer release: what this one cannot read is shown as it is.

    Every method raises StorageUnavailable where the database cannot be reached.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def trips(self, wanted: TripFilter, now: datetime) -> list[Row]:
        """List trips, the newest first."""
        statement = select(trip).order_by(trip.c.noted_at.desc()).limit(min(wanted.limit, MAX_ROWS))
        if wanted.state is not None:
            statement = statement.where(trip.c.state == wanted.state)
        if wanted.with_problem:
            statement = statement.where(trip.c.problem.is_not(None))
        if wanted.stuck:
            unfinished = trip.c.state.not_in([state.value for state in TERMINAL])
            statement = statement.where(unfinished, or_(trip.c.problem.is_not(None), trip.c.due_at < now - STUCK_AFTER))
        return await self._all(statement)

    async def trip(self, trip_id: str) -> Row | None:
        """Find a trip by its id, or by the number WeChat knows it under."""
        if not is_keepable(trip_id):
            return None
        rows = await self._all(select(trip).where(or_(trip.c.trip_id == trip_id, trip.c.out_order_no == trip_id)))
        return rows[0] if rows else None

    async def archived(self, trip_id: str) -> Row | None:
        """Find what is remembered of an archived trip, by its id or by the number WeChat knows it under."""
        if not is_keepable(trip_id):
            return None
        meant = or_(archived_trip.c.trip_id == trip_id, archived_trip.c.out_order_no == trip_id)
        rows = await self._all(select(archived_trip).where(meant))
        return rows[0] if rows else None

    async def some_archive(self) -> str | None:
        """Name a file that archived trips are in; None where none was ever archived."""
        rows = await self._all(select(archived_trip.c.archive).limit(1))
        return rows[0]["archive"] if rows else None

    async def calls(self, trip_id: str) -> list[Row]:
        """List the WeChat Pay calls of a trip, in the order in which they were prepared."""
        return await self._all(
            select(wechatpay_call)
            .where(wechatpay_call.c.trip_id == trip_id)
            .order_by(wechatpay_call.c.prepared_at, wechatpay_call.c.generation, wechatpay_call.c.kind)
        )

    async def events(self, trip_id: str) -> list[Row]:
        """List what was noted and announced of a trip, in order."""
        return await self._all(select(trip_event).where(trip_event.c.trip_id == trip_id).order_by(trip_event.c.id))

    async def actions_on(self, trip_id: str) -> list[Row]:
        """List what people did about a trip, the earliest first."""
        about_trips = and_(operator_action.c.target == trip_id, operator_action.c.action.startswith("trip "))
        return await self._all(
            select(operator_action).where(about_trips).order_by(operator_action.c.id).limit(MAX_ACTIONS)
        )

    async def problems(self, code: str, *, after: str, limit: int) -> list[Row]:
        """List trips with one problem by their ids, those after one of them."""
        wanted = and_(has_problem(trip, code), trip.c.trip_id > after)
        return await self._all(
            select(trip.c.trip_id, trip.c.state, trip.c.problem).where(wanted).order_by(trip.c.trip_id).limit(limit)
        )

    async def problems_by_state(self, code: str) -> dict[str, int]:
        """Count the trips with one problem, by state."""
        rows = await self._all(
            select(trip.c.state, func.count().label("trips"))
            .where(has_problem(trip, code))
            .group_by(trip.c.state)
            .order_by(trip.c.state)
        )
        return {row["state"]: row["trips"] for row in rows}

    async def all_trips(self) -> list[Row]:
        """List every trip: for judges of a demo or a test, not for a city."""
        return await self._all(select(trip))

    async def wechatpay_attempts(self) -> int:
        """Count the attempts of every journaled call."""
        rows = await self._all(select(func.coalesce(func.sum(wechatpay_call.c.attempts), 0).label("attempts")))
        return int(rows[0]["attempts"])

    async def trips_by_state(self) -> dict[str, int]:
        """Count the trips in each state."""
        rows = await self._all(select(trip.c.state, func.count().label("trips")).group_by(trip.c.state))
        return {row["state"]: row["trips"] for row in rows}

    async def books(self) -> Books:
        """Count what was noted, and what became of it."""
        of_trips = trip_event.c.direction == "in", trip_event.c.type.not_in(OF_AUTHORISATIONS)
        heard = select(func.count(trip_event.c.trip_id.distinct())).where(*of_trips)
        calm = trip.c.problem.is_(None)
        over = {"settled": "PAID", "declined": "DECLINED", "cancelled": "CANCELLED"}
        columns = {entry: func.count().filter(trip.c.state == state, calm) for entry, state in over.items()}
        columns["waiting"] = func.count().filter(trip.c.state.not_in(over.values()), calm)
        columns["with_problem"] = func.count().filter(trip.c.problem.is_not(None))
        # One statement, for one moment: between two, trips would come in.
        (row,) = await self._all(
            select(heard.scalar_subquery().label("noted"), *(count.label(entry) for entry, count in columns.items()))
        )
        return Books(**row)

    async def account_books(self, owners: Owners) -> dict[str, AccountBooks]:
        """Count the trips and the money of each account, and of `(unknown)` where there is something of it."""
        found = {name: AccountBooks() for name in (owners.default, *owners.names.values())}
        # One statement, for one moment: between two, money would move.
        for row in await self._all(union_all(_books_of_trips(), _books_of_refunds())):
            counted = {member.name: int(row[member.name]) for member in fields(AccountBooks)}
            name = owners.name(row["mchid"], row["said"])
            found[name] = found.get(name, AccountBooks()) + AccountBooks(**counted)
        return found

    async def contradictions(self, now: datetime) -> dict[str, list[str]]:
        """Find trips whose row, journal and events do not fit together; one more than MAX_NAMED of each at most."""
        over = trip.c.state.in_([state.value for state in TERMINAL])
        unknown = trip.c.state.not_in([state.value for state in TripState])
        checks: dict[str, Any] = {
            # What came in twice is whatever WeChat Pay debited, and all of it too much.
            "paid is what was owed": and_(
                trip.c.state == "PAID",
                trip.c.paid_fen != OWED_FEN,
                or_(trip.c.paid_elsewhere.is_(None), ~COLLECTED),
            ),
            # An end is only missing where somebody else has completed the order, or nobody, of what was paid elsewhere.
            "paid trips were completed by us": and_(
                trip.c.state == "PAID", trip.c.end_time.is_not(None), ~_has_call("complete")
            ),
            "paid trips are announced as paid": and_(trip.c.state == "PAID", ~_has_announced("settlement.paid")),
            "declined trips are announced": and_(trip.c.state == "DECLINED", ~_has_announced("settlement.declined")),
            "cancelled trips are announced": and_(
                trip.c.state == "CANCELLED",
                ~_has_announced("settlement.cancelled"),
                ~_has_announced("settlement.written_off"),
            ),
            "problems are announced": and_(trip.c.problem.is_not(None), ~_has_announced("settlement.problem")),
            "open orders were asked for": and_(
                trip.c.state.in_(["OPEN", "COMPLETED"]), trip.c.bodies > 0, ~_has_call("create")
            ),
            "trips that are over are not due": and_(
                over, trip.c.due_at.is_not(None), trip.c.look_at.is_(None), ~MAY_SEND_BACK
            ),
            "somebody will look at every unfinished trip": and_(
                ~over, trip.c.due_at.is_(None), trip.c.problem.is_(None), trip.c.stale_since.is_(None)
            ),
            "every trip is in a state that this release knows": unknown,
            "due trips are taken up": and_(
                or_(~over, trip.c.look_at.is_not(None), MAY_SEND_BACK),
                trip.c.due_at < now - STUCK_AFTER,
                trip.c.problem.is_(None),
            ),
        }
        found = {check: await self._trip_ids(select(trip.c.trip_id).where(wrong)) for check, wrong in checks.items()}
        # What nobody takes is no fault of ours, and what a person has told again was published once before.
        first_time = and_(trip_event.c.pending, trip_event.c.attempts == 0, trip_event.c.published_at.is_(None))
        late = and_(first_time, trip_event.c.at < now - ANNOUNCED_WITHIN)
        found["what is too much goes back"] = await self._kept_too_much()
        found["announcements are published"] = await self._trip_ids(select(trip_event.c.trip_id).where(late).distinct())
        return found

    async def _kept_too_much(self) -> list[str]:
        """Find trips that were paid too much, and that nobody will ask anything back for; of very many the newest."""
        at_rest = and_(MAY_SEND_BACK, trip.c.due_at.is_(None), trip.c.problem.is_(None))
        newest = select(trip).where(at_rest).order_by(trip.c.updated_at.desc()).limit(MAX_DOUBTFUL)
        kept = [row["trip_id"] for row in await self._all(newest) if _is_too_much(row)]
        return kept[: MAX_NAMED + 1]

    async def refund_books(self) -> RefundBooks:
        """Count refunds and their money by state, and the problems among them by code."""
        refunds = func.count().label("refunds")
        by_state = await self._all(
            select(refund.c.state, refunds, func.sum(refund.c.amount_fen).label("amount_fen"))
            .group_by(refund.c.state)
            .order_by(refund.c.state)
        )
        code: ColumnElement[Any] = _code_of(refund).label("code")
        by_code = select(code, refunds).where(refund.c.problem.is_not(None)).group_by(code).order_by(code)
        problems = await self._all(by_code)
        return RefundBooks(
            count={row["state"]: row["refunds"] for row in by_state},
            amount_fen={row["state"]: int(row["amount_fen"]) for row in by_state},
            problems={row["code"] or "": row["refunds"] for row in problems},
        )

    async def refund_contradictions(self, now: datetime) -> dict[str, list[str]]:
        """Find trips whose row and refunds do not fit together; one more than MAX_NAMED of each at most."""
        over = refund.c.state.in_([state.value for state in OVER])
        under_way = refund.c.state.in_([state.value for state in UNDER_WAY])
        calm = refund.c.problem.is_(None)
        told = and_(trip_event.c.trip_id == refund.c.trip_id, trip_event.c.direction == "out")
        went_back = exists().where(told, trip_event.c.type == "settlement.refunded")
        in_trouble = exists().where(told, trip_event.c.type == "settlement.refund_problem")
        checks: dict[str, Any] = {
            "every refund is of a trip": ~exists().where(trip.c.trip_id == refund.c.trip_id),
            "every refund is in a state that this release knows": refund.c.state.not_in(
                [state.value for state in RefundState]
            ),
            "money that went back is announced": and_(refund.c.state == "REFUNDED", ~went_back),
            "refunds that failed or wait for a person are announced": and_(
                or_(refund.c.state == "FAILED", refund.c.problem.is_not(None)), ~in_trouble
            ),
            "refunds that are over are not due": and_(over, refund.c.due_at.is_not(None)),
            "somebody will look at every refund under way": and_(under_way, refund.c.due_at.is_(None), calm),
            "due refunds are taken up": and_(under_way, refund.c.due_at < now - STUCK_AFTER, calm),
        }
        found = {
            check: await self._trip_ids(select(refund.c.trip_id).where(wrong).distinct())
            for check, wrong in checks.items()
        }
        return {**await self._refunds_against_their_trips(), **found}

    async def _refunds_against_their_trips(self) -> dict[str, list[str]]:
        """Compare what trips say of their refunds with what these say, both in one statement: else money would move."""
        promised = func.sum(refund.c.amount_fen).filter(refund.c.state.in_([state.value for state in UNDER_WAY]))
        sent = func.sum(refund.c.amount_fen).filter(refund.c.state == "REFUNDED")
        sums = (
            select(refund.c.trip_id, promised.label("reserved_fen"), sent.label("refunded_fen"))
            .group_by(refund.c.trip_id)
            .subquery()
        )
        reserved_fen, refunded_fen = (_or_zero(column) for column in (trip.c.reserved_fen, trip.c.refunded_fen))
        checks = {
            "a trip reserves what its refunds promise": reserved_fen != _or_zero(sums.c.reserved_fen),
            "a trip has sent back what its refunds have": refunded_fen != _or_zero(sums.c.refunded_fen),
            "no more goes back than was paid": reserved_fen + refunded_fen > _or_zero(trip.c.paid_fen),
        }
        both = trip.outerjoin(sums, sums.c.trip_id == trip.c.trip_id)
        return {
            check: await self._trip_ids(select(trip.c.trip_id).select_from(both).where(wrong))
            for check, wrong in checks.items()
        }

    async def refunds_of(self, trip_ids: Sequence[str]) -> list[Row]:
        """List the refunds of these trips, those of one in the order in which they were requested."""
        found: list[Row] = []
        for first in range(0, len(trip_ids), BATCH_TRIPS):
            some = trip_ids[first : first + BATCH_TRIPS]
            statement = select(refund).where(refund.c.trip_id.in_(some))
            found += await self._all(statement.order_by(refund.c.trip_id, refund.c.generation))
        return found

    async def parked_refunds(self) -> list[Row]:
        """List the refunds with a problem, whatever their state, the newest first."""
        parked = refund.c.problem.is_not(None)
        return await self._all(select(refund).where(parked).order_by(refund.c.requested_at.desc()).limit(MAX_PARKED))

    async def _trip_ids(self, statement: Select[Any]) -> list[str]:
        return [row["trip_id"] for row in await self._all(statement.limit(MAX_NAMED + 1))]

    async def sample(self, count: int) -> list[Row]:
        """Draw trips at random."""
        return await self._all(select(trip).order_by(func.random()).limit(count))

    async def parked(self) -> list[Row]:
        """List the trips with a problem, whatever their state, the newest first."""
        parked = trip.c.problem.is_not(None)
        return await self._all(select(trip).where(parked).order_by(trip.c.noted_at.desc()).limit(MAX_PARKED))

    async def doubtful(self) -> list[Doubtful]:
        """List trips that ended without a charge, whose create may have been accepted, and was not cancelled by us.

        Nor, where the fare was paid elsewhere, told so: then the trip ends on a signed word that the order is over.
        """
        last = select(func.max(trip_event.c.at)).where(
            trip_event.c.trip_id == trip.c.trip_id, trip_event.c.direction == "out"
        )
        ends = ["settlement.declined", "settlement.cancelled", "settlement.written_off"]
        over_since = func.coalesce(
            last.where(trip_event.c.type.in_(ends)).scalar_subquery(),
            last.where(trip_event.c.type == "settlement.paid").scalar_subquery(),
        )
        opened_at = last.where(trip_event.c.type == "settlement.opened")
        looked_at = select(func.max(wechatpay_call.c.answered_at)).where(
            wechatpay_call.c.trip_id == trip.c.trip_id, wechatpay_call.c.kind == "query"
        )
        accepted = wechatpay_call.c.outcome == "accepted"
        cancelled = or_(_has_call("cancel", accepted), _has_call("sync", accepted))
        in_doubt = or_(trip.c.order_alive.is_(True), and_(_has_call("create", _may_have_been_accepted()), ~cancelled))
        rows = await self._all(
            select(
                trip.c.trip_id,
                trip.c.updated_at,
                trip.c.look_at,
                trip.c.order_alive,
                over_since.label("over_since"),
                opened_at.scalar_subquery().label("opened_at"),
                looked_at.scalar_subquery().label("looked_at"),
            )
            .where(or_(trip.c.state.in_(["DECLINED", "CANCELLED"]), PAID_ELSEWHERE), in_doubt)
            .order_by(trip.c.updated_at.desc())
            .limit(MAX_DOUBTFUL)
        )
        return [
            Doubtful(
                trip_id=row["trip_id"],
                over_since=row["over_since"] or row["updated_at"],
                opened_at=row["opened_at"],
                alive=bool(row["order_alive"]),
                look_at=row["look_at"],
                looked_at=row["looked_at"],
            )
            for row in rows
        ]

    async def pending_announcements(self) -> int:
        """Count what waits in the outbox."""
        rows = await self._all(select(func.count().label("rows")).where(trip_event.c.pending))
        return int(rows[0]["rows"])

    async def rows(self, statement: Select[Any]) -> list[Row]:
        """Answer a question that another report asks, within the bounds of this one."""
        return await self._all(statement)

    async def _all(self, statement: Select[Any] | CompoundSelect[Any]) -> list[Row]:
        try:
            async with self._engine.connect() as connection:
                return [row._mapping for row in await connection.execute(statement)]  # noqa: SLF001 - SQLAlchemy's public face of a row
        except BROKEN as error:
            raise StorageUnavailable(f"the database could not be asked: {cause_of(error)}") from error


def _books_of_trips() -> Select[Any]:
    calm, state = trip.c.problem.is_(None), trip.c.state
    is_over = state.in_(["PAID", "DECLINED", "CANCELLED"])
    owed = func.coalesce(OWED_FEN, trip.c.paid_fen)  # nobody has told us the fare of what others completed by hand
    is_elsewhere = trip.c.paid_elsewhere.is_not(None)
    sums = {
        "settled": func.count().filter(state == "PAID", calm),
        "declined": func.count().filter(state == "DECLINED", calm),
        "cancelled": func.count().filter(state == "CANCELLED", calm),
        "waiting": func.count().filter(~is_over, calm),
        "with_problem": func.count().filter(~calm),
        "owed_fen": func.sum(owed).filter(state.in_(["COMPLETED", "PAID"])),
        "paid_fen": func.sum(trip.c.paid_fen).filter(state == "PAID", ~is_elsewhere),
        "elsewhere_fen": func.sum(case((PAID_ELSEWHERE, trip.c.paid_fen), else_=owed)).filter(
            state.in_(["COMPLETED", "PAID"]), is_elsewhere
        ),
        "outstanding_fen": func.sum(owed).filter(state == "COMPLETED", ~is_elsewhere),
        "twice_fen": func.sum(trip.c.paid_fen).filter(state == "PAID", is_elsewhere, COLLECTED),
        "refunded_fen": func.sum(trip.c.refunded_fen),
        "reserved_fen": func.sum(trip.c.reserved_fen),
    }
    return select(*OF_TRIP, *_in_order(sums)).group_by("mchid", "said")


def _books_of_refunds() -> Select[Any]:
    under_way = refund.c.state.in_([state.value for state in UNDER_WAY])
    sums = {
        "refunds_done_fen": func.sum(refund.c.amount_fen).filter(refund.c.state == "REFUNDED"),
        "refunds_under_way_fen": func.sum(refund.c.amount_fen).filter(under_way),
    }
    return select(*OF_REFUND, *_in_order(sums)).group_by(refund.c.mchid)


def _in_order(sums: Mapping[str, ColumnElement[int]]) -> list[ColumnElement[int]]:
    """Line sums up as columns, zero where there is none."""
    names = (member.name for member in fields(AccountBooks))
    return [func.coalesce(sums.get(name, literal_column("0")), 0).label(name) for name in names]


def _is_too_much(row: Row) -> bool:
    """Tell whether a trip was paid too much, and has not asked for it back; of a newer release's, nobody can say."""
    try:
        return too_much_fen(TRIPS.read(row)) > 0
    except UnreadableRow:
        return False


def has_problem(table: Table, code: str) -> ColumnElement[bool]:
    """Say so of a case with this problem; there are indexes of those that have one."""
    return and_(table.c.problem.is_not(None), _code_of(table) == code)


def _code_of(table: Table) -> ColumnElement[str]:
    code: ColumnElement[str] = table.c.problem.op("->>")(literal_column("'code'"))
    return code


def _or_zero(fen: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(fen, 0)


def _has_call(kind: str, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(wechatpay_call.c.trip_id == trip.c.trip_id, wechatpay_call.c.kind == kind, *conditions)


def _may_have_been_accepted() -> ColumnElement[bool]:
    """Say so of a journaled call by the rule of CallRecord.is_surely_without_effect."""
    call = wechatpay_call.c
    refused = and_(call.outcome == "refused", call.uncertain.is_(False))
    uncounted = case((refused, False), else_=True)
    counted = func.coalesce(call.definite, 0) < call.begun
    return or_(call.outcome == "accepted", case((call.begun.is_(None), uncounted), else_=counted))


def _has_announced(type_: str) -> ColumnElement[bool]:
    return exists().where(
        trip_event.c.trip_id == trip.c.trip_id, trip_event.c.direction == "out", trip_event.c.type == type_
    )
