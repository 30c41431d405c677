"""What operators count of a case that was written: its state, its money, what was noted and what is announced."""

from collections.abc import Iterable, Sequence
from typing import Final

from payscore_worker import metrics
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.decisions import VERBS
from payscore_worker.domain.refund import Refund, RefundState
from payscore_worker.domain.trip import (
    Trip,
    fare_fen,
    owed_fen,
    was_collected,
)
from payscore_worker.errors import Refusal
from payscore_worker.storage import Direction, EventRecord
from payscore_worker.wechatpay.refusals import code_label

CALLBACK: Final = "payscore.user_paid"

ELSEWHERE: Final = "elsewhere"
"""By neither a callback nor a question: the ride service has told us of a payment that WeChat Pay has no part in."""

ODD: Final = frozenset({"malformed_call", "malformed_answer", "not_ours", "unclear_answer"})
"""What the steps of a refund call what they cannot send, and a signed word that they cannot use."""

REFUND_CODES: Final = frozenset({refunds.ABNORMAL, refunds.SLOW, refunds.AMOUNT_DIFFERS}) | ODD
"""Problems of refunds that are ours to name."""

AUTHORISATION_CODES: Final = frozenset({"malformed_call", "malformed_answer"}) | {refusal.value for refusal in Refusal}
"""Problems of authorisations that are ours to name."""


def count(before: Trip, after: Trip, events: Iterable[EventRecord], *, account: str) -> None:
    """Count what a write has changed of a trip of this account."""
    noted = _count_events(events)
    if after.state is not before.state or not before.version:
        metrics.of(metrics.STATES_REACHED, account, after.state.value).inc()
    if after.completed_at is not None and before.completed_at is None:
        metrics.of(metrics.COMPLETED_FEN, account).inc(owed_fen(after))
    if after.lowered != before.lowered and before.ended is not None:
        metrics.of(metrics.LOWERED_FEN, account).inc(fare_fen(before) - fare_fen(after))
    if (more_fen := _collected_fen(after) - _collected_fen(before)) > 0:
        metrics.of(metrics.PAID_FEN, account).inc(more_fen)
    if after.payment is not None and before.payment is None:
        metrics.of(metrics.PAID_BY, _learnt_by(after, noted)).inc()
    if after.problem is not None and after.problem_told != before.problem_told:
        code = after.problem.code
        metrics.of(metrics.PROBLEMS, code if code in VERBS else code_label(code)).inc()


def _collected_fen(trip: Trip) -> int:
    """Say what WeChat Pay has collected: nothing of what was paid elsewhere, unless it was paid twice."""
    return trip.payment.paid_fen if trip.payment is not None and was_collected(trip) else 0


def _learnt_by(trip: Trip, noted: Sequence[str]) -> str:
    if not was_collected(trip):
        return ELSEWHERE
    return "callback" if CALLBACK in noted else "query"


def count_refund(before: Refund, after: Refund, events: Iterable[EventRecord], *, account: str) -> None:
    """Count what a write has changed of a refund of this account."""
    _count_events(events)
    if after.state is not before.state or not before.version:
        metrics.of(metrics.REFUNDS_REACHED, after.state.value).inc()
    if after.state is RefundState.REFUNDED is not before.state:
        metrics.of(metrics.REFUNDED_FEN, account).inc(after.amount_fen)
    if after.problem is not None and after.problem_told != before.problem_told:
        code = after.problem.code
        metrics.of(metrics.REFUND_PROBLEMS, code if code in REFUND_CODES else code_label(code)).inc()


def count_authorisation(before: Authorisation, after: Authorisation, events: Iterable[EventRecord]) -> None:
    """Count what a write has changed of an authorisation."""
    _count_events(events)
    if after.state is not before.state or not before.version:
        metrics.of(metrics.AUTHORISATIONS_REACHED, after.state.value).inc()
    if after.problem is not None and after.problem_told != before.problem_told:
        code = after.problem.code
        metrics.of(metrics.AUTHORISATION_PROBLEMS, code if code in AUTHORISATION_CODES else code_label(code)).inc()


def _count_events(events: Iterable[EventRecord]) -> list[str]:
    """Count what was noted and what is announced; returns the types of what was noted."""
    noted = []
    for event in events:
        is_noted = event.direction is Direction.IN
        metrics.of(metrics.EVENTS_NOTED if is_noted else metrics.ANNOUNCEMENTS, event.type).inc()
        if is_noted:
            noted.append(event.type)
    return noted
