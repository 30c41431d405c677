"""What becomes of a trip once a step was taken: WeChat accepted, refused, or told where the order stands."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from payscore_worker.trip import (
    TERMINAL,
    Declined,
    DeclineReason,
    Doubt,
    Opening,
    OrderPhase,
    OrderSeen,
    Payment,
    Problem,
    Trip,
    TripState,
)

DEBIT_PAUSE: Final = timedelta(minutes=3)
"""The wait WeChat asks for while it is collecting (reference payscore-api B.7)."""

SECOND_THOUGHT: Final = timedelta(minutes=1)
"""The wait before asking again about a call that was refused twice: the state at WeChat may lag."""

MAX_REFUSALS: Final = 3
"""Refusals of one call, each followed by a question, after which a person must look."""

DECLINING: Final[Mapping[Refusal, DeclineReason]] = {
    Refusal.RISK_REFUSED: DeclineReason.RISK_REFUSED,
    Refusal.ARREARS: DeclineReason.ARREARS,
    Refusal.TOO_MANY_ORDERS: DeclineReason.TOO_MANY_ORDERS,
    Refusal.MINOR_PROTECTED: DeclineReason.MINOR_PROTECTED,
    Refusal.AMOUNT_OVER_LIMIT: DeclineReason.AMOUNT_OVER_LIMIT,
}
"""The refusals that are an outcome: WeChat will not serve this passenger or this amount."""

ASKING_FIRST: Final = frozenset(
    {
        Refusal.ORDER_NOT_FOUND,
        Refusal.WRONG_STATE,
        Refusal.REENTRY_MISMATCH,
        Refusal.DEBIT_IN_FLIGHT,
        Refusal.BAD_TIME,
        Refusal.UNCLEAR,
    }
)
"""The refusals that say nothing final: ask where the order stands, then decide (reference payscore-api F.1)."""


# --- Accepted ---


def opening(trip: Trip, what: Opening) -> Trip:
    """Mark that the create is about to be sent for the first time."""
    return replace(trip, opening=what, bodies=trip.bodies + 1)


def opened(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """WeChat accepted the order."""
    order_id = order.order_id or trip.order_id
    opened_at = order.started_at or now
    return _settled_down(replace(trip, state=TripState.OPEN, order_id=order_id, opened_at=opened_at))


def completing(trip: Trip, end_time: datetime) -> Trip:
    """Mark that the complete is about to be sent for the first time."""
    return replace(trip, end_time=end_time, bodies=trip.bodies + 1)


def cancelling(trip: Trip) -> Trip:
    """Mark that the cancel is about to be sent for the first time."""
    return replace(trip, bodies=trip.bodies + 1)


def completed(trip: Trip, now: datetime) -> Trip:
    """WeChat accepted the amount; the money is not yet in."""
    return _settled_down(replace(trip, state=TripState.COMPLETED, completed_at=now, declined=None))


def order_cancelled(trip: Trip) -> Trip:
    """WeChat cancelled the order, as we asked."""
    return _gone(trip, DeclineReason.AMOUNT_OVER_LIMIT, "the fare is above the risk amount")


def stale(trip: Trip, now: datetime) -> Trip:
    """The start or the end is missing for too long; said once."""
    return replace(trip, stale_since=now)


def overdue(trip: Trip, now: datetime) -> Trip:
    """The money is out for too long; said once."""
    return replace(trip, overdue_since=now)


def service_answered(trip: Trip, *, enabled: bool, now: datetime) -> Trip:
    """WeChat said whether the passenger has enabled the service."""
    if not enabled:
        return _gone(trip, DeclineReason.SERVICE_NOT_ENABLED, "the passenger has not enabled PayScore")
    if trip.doubt is not None:
        return _troubled_by(trip, trip.doubt, now)  # NO_AUTH although enabled: our configuration
    return replace(trip, service_enabled=True)


def declined(trip: Trip, reason: DeclineReason, message: str) -> Trip:
    """PayScore will not serve; an order that stands is to be cancelled first."""
    if trip.state is TripState.OPEN:
        return replace(trip, declined=Declined(reason=reason, message=message), doubt=None, refusals=0)
    return _gone(trip, reason, message)


# --- Refused ---


def refused(trip: Trip, doubt: Doubt, now: datetime) -> Trip:
    """WeChat refused a step: that is an outcome, a question to ask first, or a problem."""
    if _declines(doubt) and not doubt.uncertain:
        return declined(trip, DECLINING[doubt.refusal], doubt.message)
    if not _asks_first(doubt) or trip.refusals + 1 >= MAX_REFUSALS:
        return _troubled_by(trip, doubt, now)
    return replace(trip, doubt=replace(doubt, ask_after=_ask_after(trip, doubt, now)), refusals=trip.refusals + 1)


def _declines(doubt: Doubt) -> bool:
    if doubt.step == "CompleteOrder":
        return doubt.refusal is Refusal.AMOUNT_OVER_LIMIT
    return doubt.step == "OpenOrder" and doubt.refusal in DECLINING


def _asks_first(doubt: Doubt) -> bool:
    if doubt.step not in ("OpenOrder", "CompleteOrder", "CancelOrder"):
        return False  # a question that is refused is not answered by another one
    if doubt.refusal is Refusal.NOT_PERMITTED:
        return doubt.step == "OpenOrder"  # NO_AUTH: has the passenger left, or is it our configuration?
    return doubt.refusal in ASKING_FIRST or _declines(doubt)


def _ask_after(trip: Trip, doubt: Doubt, now: datetime) -> datetime | None:
    if doubt.refusal is Refusal.DEBIT_IN_FLIGHT:
        return now + DEBIT_PAUSE
    return now + SECOND_THOUGHT if trip.refusals else None


# --- Asked ---


def asked(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """WeChat told, on our question, where the order stands."""
    seen = see(trip, order, now)
    if seen.state is not trip.state or seen.problem is not None:
        return seen
    if seen.state is TripState.COMPLETED:
        return replace(seen, doubt=None, polls=trip.polls + 1, asked_at=now)
    seen = replace(seen, finish_ticket=order.finish_ticket, opened_at=order.started_at or trip.opened_at)
    return seen if trip.doubt is None else _still_before_the_call(seen, trip.doubt)


def not_found(trip: Trip, doubt: Doubt, now: datetime) -> Trip:
    """WeChat knows no such order: `doubt` is its answer to our question."""
    if trip.state is not TripState.NOTED or trip.doubt is None:
        return _troubled_by(trip, doubt, now)
    return _still_before_the_call(trip, trip.doubt)


def _still_before_the_call(trip: Trip, doubt: Doubt) -> Trip:
    """Resolve the doubt: the refused call had no effect, as the order's state shows."""
    calm = replace(trip, doubt=None)
    if _declines(doubt):
        return declined(calm, DECLINING[doubt.refusal], doubt.message)
    if doubt.refusal is Refusal.BAD_TIME and not doubt.uncertain:
        return _rebuilding(calm, doubt)
    return calm  # the same bytes again; MAX_REFUSALS bounds it


def _rebuilding(trip: Trip, doubt: Doubt) -> Trip:
    """Drop the body: WeChat refused its time at every attempt, and the order stands still (payscore-api B.10)."""
    if doubt.step != "OpenOrder":
        return replace(trip, end_time=None)
    if trip.cancelled is not None:
        return _settled_down(replace(trip, state=TripState.CANCELLED))
    return replace(trip, opening=None)


# --- Seen ---


def see(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """Take WeChat's signed word on where the order stands, asked for or not; a trip with a problem does not move.

    Raises:
        ConflictingFact: it contradicts a settlement that is over.

    """
    if trip.problem is not None:
        return trip
    if order.phase is OrderPhase.UNKNOWN and trip.state not in TERMINAL:
        return _troubled(trip, "unknown_state", "WeChat Pay shows a state that no table knows", now)
    match trip.state:
        case TripState.NOTED:
            return _see_when_noted(trip, order, now)
        case TripState.OPEN:
            return _see_when_open(trip, order, now)
        case TripState.COMPLETED:
            return _see_when_completed(trip, order, now)
        case TripState.PAID:
            return _see_when_paid(trip, order)
        case TripState.DECLINED | TripState.CANCELLED:
            return _see_when_given_up(trip, order)
        case _:
            assert_never(trip.state)


def _see_when_noted(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    if trip.opening is None:
        return _troubled(trip, "unexpected_order", "WeChat Pay shows an order that we did not ask for", now)
    match order.phase:
        case OrderPhase.RUNNING:
            return opened(trip, order, now)
        case OrderPhase.CREATED:
            message = "WeChat Pay waits for the passenger to confirm an order that needs no confirmation"
            return declined(opened(trip, order, now), DeclineReason.REVOKED, message)
        case OrderPhase.COLLECTING | OrderPhase.DONE:
            return _troubled(trip, "completed_elsewhere", "the order was completed, and not by us", now)
        case _:
            return _revoked(trip, order)


def _see_when_open(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    match order.phase:
        case OrderPhase.RUNNING | OrderPhase.CREATED:
            return trip
        case OrderPhase.COLLECTING | OrderPhase.DONE if trip.end_time is None:
            return _troubled(trip, "completed_elsewhere", "the order was completed, and not by us", now)
        case OrderPhase.COLLECTING | OrderPhase.DONE:
            return _see_when_completed(completed(trip, now), order, now)
        case _:
            return _revoked(trip, order)


def _see_when_completed(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    match order.phase:
        case OrderPhase.COLLECTING:
            return trip if order.total_fen in (None, _owed_fen(trip)) else _amount_differs(trip, order, now)
        case OrderPhase.DONE:
            return _paid(trip, order, now) if _is_paid_in_full(trip, order) else _amount_differs(trip, order, now)
        case OrderPhase.REVOKED | OrderPhase.EXPIRED:
            return _troubled(trip, "revoked_after_completion", "the order is gone, and the money with it", now)
        case _:
            return _troubled(trip, "completion_lost", "WeChat Pay accepted the amount and shows a running order", now)


def _see_when_paid(trip: Trip, order: OrderSeen) -> Trip:
    if order.phase is not OrderPhase.DONE or trip.payment is None:
        return trip  # word from before the payment, come late
    if (order.paid_fen or 0, order.transaction_id) != (trip.payment.paid_fen, trip.payment.transaction_id):
        raise ConflictingFact("WeChat Pay shows another payment than the one noted")
    return trip


def _see_when_given_up(trip: Trip, order: OrderSeen) -> Trip:
    if order.phase in (OrderPhase.COLLECTING, OrderPhase.DONE) and order.total_fen != 0:
        raise ConflictingFact(f"WeChat Pay collects for a trip that is {trip.state}")
    return trip


def _revoked(trip: Trip, order: OrderSeen) -> Trip:
    if order.phase is OrderPhase.EXPIRED:
        return _gone(trip, DeclineReason.EXPIRED, "the order expired before it was completed")
    return _gone(trip, DeclineReason.REVOKED, "the order was revoked before it was completed")


def _is_paid_in_full(trip: Trip, order: OrderSeen) -> bool:
    owed_fen = _owed_fen(trip)
    return (order.paid_fen or 0) == owed_fen and order.total_fen in (None, owed_fen)


def _owed_fen(trip: Trip) -> int:
    if trip.ended is None:
        raise IllegalTransition("nothing is owed for a trip that has not ended")
    return trip.ended.total_fen


def _paid(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    payment = Payment(
        paid_fen=order.paid_fen or 0,
        paid_at=order.paid_at or now,
        transaction_id=order.transaction_id,
    )
    return _settled_down(replace(trip, state=TripState.PAID, payment=payment))


def _amount_differs(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    message = f"owed {_owed_fen(trip)} fen; WeChat Pay shows total {order.total_fen}, paid {order.paid_fen}"
    return _troubled(trip, "amount_differs", message, now)


# --- Given up, in trouble, taken up again ---


def with_problem(trip: Trip, problem: Problem) -> Trip:
    """Stop: a person must look."""
    return replace(trip, problem=problem, doubt=None)


def without_problem(trip: Trip) -> Trip:
    """Take the trip up again: a person has looked."""
    return replace(trip, problem=None, doubt=None, refusals=0)


def _gone(trip: Trip, reason: DeclineReason, message: str) -> Trip:
    """End without a charge, for the cause noted first: the cancelled trip, the decision to decline, or this one."""
    if trip.cancelled is not None:
        return _settled_down(replace(trip, state=TripState.CANCELLED))
    cause = trip.declined or Declined(reason=reason, message=message)
    return _settled_down(replace(trip, state=TripState.DECLINED, declined=cause))


def _troubled(trip: Trip, code: str, message: str, now: datetime) -> Trip:
    step = "" if trip.doubt is None else trip.doubt.step
    return with_problem(trip, Problem(code=code, message=message, request_id="", step=step, since=now))


def _troubled_by(trip: Trip, doubt: Doubt, now: datetime) -> Trip:
    problem = Problem(
        code=doubt.code or doubt.refusal,
        message=doubt.message,
        request_id=doubt.request_id,
        step=doubt.step,
        since=now,
    )
    return with_problem(trip, problem)


def _settled_down(trip: Trip) -> Trip:
    return replace(trip, doubt=None, refusals=0)
