"""Builders of test data: a trip in any situation, facts, events."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from payscore_worker import outcomes
from payscore_worker.errors import Refusal
from payscore_worker.trip import (
    Cancelled,
    DeclineReason,
    Discount,
    Doubt,
    Ended,
    Fee,
    Opening,
    OrderPhase,
    OrderSeen,
    Problem,
    Rules,
    Started,
    Trip,
    note_cancelled,
    note_ended,
    note_started,
)

NOW: Final = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)

PAYAFTER: Final = Rules(
    family="payafter",
    ticketed=frozenset({"payafter"}),
    capped=frozenset({"payafter"}),
    risk_amount_fen=20_000,
    poll_delays=(timedelta(seconds=5), timedelta(seconds=30), timedelta(days=1)),
    stale_after=timedelta(days=1),
    overdue_after=timedelta(days=3),
)
SERVICEORDER: Final = replace(PAYAFTER, family="serviceorder")


def a_start(**changes: Any) -> Started:
    return replace(Started(openid="oPassenger", started_at=NOW - HOUR, start_location="静安寺"), **changes)


def an_end(**changes: Any) -> Ended:
    fees = (Fee(name="里程费", amount_fen=3_500),)
    end = Ended(ended_at=NOW - 2 * timedelta(minutes=1), fees=fees, discounts=(_coupon(),), total_fen=3_200)
    return replace(end, **changes)


def _coupon() -> Discount:
    return Discount(name="优惠券", amount_fen=300)


def a_cancellation(**changes: Any) -> Cancelled:
    return replace(Cancelled(cancelled_at=NOW - HOUR / 2, reason="乘客取消"), **changes)


def an_order(phase: OrderPhase = OrderPhase.RUNNING, **changes: Any) -> OrderSeen:
    """What WeChat shows; a completed one shows what an_end() owes."""
    order = OrderSeen(phase=phase, order_id="1000000000202605010001")
    if phase in (OrderPhase.COLLECTING, OrderPhase.DONE):
        order = replace(order, total_fen=3_200)
    if phase is OrderPhase.DONE:
        order = replace(order, paid_fen=3_200, paid_at=NOW, transaction_ids=("4200001",))
    return replace(order, **changes)


def a_doubt(refusal: Refusal = Refusal.WRONG_STATE, **changes: Any) -> Doubt:
    doubt = Doubt(
        step="CompleteOrder",
        refusal=refusal,
        code="INVALID_REQUEST",
        message="单据状态不合法",
        request_id="08F1-271302262",
        uncertain=False,
    )
    return replace(doubt, **changes)


def a_trip(trip_id: str = "t1") -> Trip:
    return Trip(trip_id=trip_id, out_order_no=trip_id, noted_at=NOW - HOUR)


def _creating() -> Trip:
    return outcomes.opening(note_started(a_trip(), a_start()), Opening(risk_amount_fen=20_000, start_time=None))


def _open() -> Trip:
    return outcomes.opened(_creating(), an_order(), NOW - HOUR)


def _completing() -> Trip:
    return outcomes.completing(note_ended(_open(), an_end()), NOW - timedelta(minutes=2))


def _completed() -> Trip:
    return outcomes.completed(_completing(), NOW)


def _problem() -> Trip:
    problem = Problem(code="PARAM_ERROR", message="参数错误", request_id="r1", step="AskOrder", since=NOW)
    return outcomes.with_problem(_completed(), problem)


SITUATIONS: Final[Mapping[str, Callable[[], Trip]]] = {
    "nothing noted": a_trip,
    "started": lambda: note_started(a_trip(), a_start()),
    "ended, not started": lambda: note_ended(a_trip(), an_end()),
    "cancelled, not started": lambda: note_cancelled(a_trip(), a_cancellation()),
    "started and ended": lambda: note_ended(note_started(a_trip(), a_start()), an_end()),
    "started, ended above the limit": lambda: note_ended(note_started(a_trip(), a_start()), an_end(total_fen=20_001)),
    "creating": _creating,
    "creating, ended": lambda: note_ended(_creating(), an_end()),
    "creating, cancelled": lambda: note_cancelled(_creating(), a_cancellation()),
    "open": _open,
    "open, ended": lambda: note_ended(_open(), an_end()),
    "open, ended above the limit": lambda: note_ended(_open(), an_end(total_fen=20_001)),
    "completing": _completing,
    "cancelling": lambda: note_cancelled(_open(), a_cancellation()),
    "declining": lambda: outcomes.declined(_completing(), DeclineReason.AMOUNT_OVER_LIMIT, "总金额超过"),
    "completed": _completed,
    "paid": lambda: outcomes.see(_completed(), an_order(OrderPhase.DONE), NOW),
    "declined": lambda: outcomes.declined(
        note_started(a_trip(), a_start()), DeclineReason.RISK_REFUSED, "综合评估未通过"
    ),
    "cancelled": lambda: outcomes.order_cancelled(note_cancelled(_open(), a_cancellation()), NOW),
    "with a problem": _problem,
}
"""Every situation that the state table decides about."""
