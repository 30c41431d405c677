"""What people ask about refunds: rare reads, the same on both databases, as bounded as those about trips."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, func, or_, select

from payscore_worker.storage.reports import MAX_ACTIONS, MAX_ROWS, Reports, Row, has_problem
from payscore_worker.storage.standing import Some
from payscore_worker.storage.tables import operator_action, refund
from payscore_worker.storage.values import is_keepable

REQUEST: Final = "refund request"
CLEAR: Final = "refund clear-problem"
GIVE_UP: Final = "refund give-up"
"""How the record names what people do about refunds.

A request has the trip for its target, since a refund may never come of it; its reason names the amount and the refund.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundFilter:
    """Which refunds to list."""

    trip_id: str | None = None
    state: str | None = None
    with_problem: bool = False
    limit: int = 100


class RefundReports:
    """Answers questions about refunds as other reports do, also about rows of a newer release.

    Every method raises StorageUnavailable where the database cannot be reached.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def refunds(self, wanted: RefundFilter) -> list[Row]:
        """List refunds, the newest first."""
        if not is_keepable(wanted.trip_id):
            return []
        newest = refund.c.requested_at.desc(), refund.c.refund_id.desc()
        statement = select(refund).order_by(*newest).limit(min(wanted.limit, MAX_ROWS))
        if wanted.trip_id is not None:
            statement = statement.where(refund.c.trip_id == wanted.trip_id)
        if wanted.state is not None:
            statement = statement.where(refund.c.state == wanted.state)
        if wanted.with_problem:
            statement = statement.where(refund.c.problem.is_not(None))
        return await self._reports.rows(statement)

    async def refund(self, name: str) -> Row | None:
        """Find a refund by its id, or by the number WeChat knows it under."""
        if not is_keepable(name):
            return None
        meant = or_(refund.c.refund_id == name, refund.c.out_refund_no == name)
        rows = await self._reports.rows(select(refund).where(meant).limit(2))
        return next((row for row in rows if row["refund_id"] == name), rows[0]) if rows else None

    async def of_trip(self, trip_id: str) -> list[Row]:
        """List the refunds of a trip, in the order in which they were asked for."""
        its = select(refund).where(refund.c.trip_id == trip_id)
        return await self._reports.rows(its.order_by(refund.c.generation).limit(MAX_ROWS))

    async def actions_on(self, trip_id: str, refund_ids: Sequence[str]) -> list[Row]:
        """List what people did about the refunds of a trip, the earliest first; some requests were refused."""
        target, action = operator_action.c.target, operator_action.c.action
        about = or_(
            and_(target == trip_id, action == REQUEST),
            and_(target.in_(refund_ids), action.in_((CLEAR, GIVE_UP))),
        )
        statement = select(operator_action).where(about).order_by(operator_action.c.id).limit(MAX_ACTIONS)
        return await self._reports.rows(statement)

    async def problems(self, code: str, *, after: str, limit: int) -> list[Row]:
        """List refunds with one problem by their ids, those after one of them."""
        wanted = and_(has_problem(refund, code), refund.c.refund_id > after)
        return await self._reports.rows(
            select(refund.c.refund_id, refund.c.state).where(wanted).order_by(refund.c.refund_id).limit(limit)
        )

    async def problems_by_state(self, code: str) -> dict[str, int]:
        """Count the refunds with one problem, by state."""
        counted = select(refund.c.state, func.count().label("refunds")).where(has_problem(refund, code))
        rows = await self._reports.rows(counted.group_by(refund.c.state).order_by(refund.c.state))
        return {row["state"]: row["refunds"] for row in rows}

    async def with_problem(self, now: datetime) -> Some:
        """Count the refunds that stand still for a person to look; there is an index of them alone."""
        columns: list[Any] = [func.count().label("refunds"), func.min(refund.c.updated_at).label("since")]
        (row,) = await self._reports.rows(select(*columns).where(refund.c.problem.is_not(None)))
        oldest = timedelta() if row["since"] is None else max(now - row["since"], timedelta())
        return Some(count=row["refunds"], oldest=oldest)


LISTED: Final = (
    "refund_id",
    "trip_id",
    "out_refund_no",
    "transaction_id",
    "amount_fen",
    "total_fen",
    "payer_refund_fen",
    "reason",
    "state",
    "requested_at",
    "send_after",
    "accepted_at",
    "refunded_at",
    "due_at",
)
"""What reports say of a refund."""
