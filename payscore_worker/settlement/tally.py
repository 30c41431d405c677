"""What operators count of a trip that was written: its state, its money, what was noted and what is announced."""

from collections.abc import Iterable
from typing import Final

from payscore_worker import metrics
from payscore_worker.domain.decisions import VERBS
from payscore_worker.domain.trip import Trip, owed_fen
from payscore_worker.storage import Direction, EventRecord
from payscore_worker.wechatpay.refusals import code_label

CALLBACK: Final = "payscore.user_paid"


def count(before: Trip, after: Trip, events: Iterable[EventRecord]) -> None:
    """Count what a write has changed."""
    noted = [event.type for event in events if event.direction is Direction.IN]
    for event in events:
        told = metrics.EVENTS_NOTED if event.direction is Direction.IN else metrics.ANNOUNCEMENTS
        metrics.of(told, event.type).inc()
    if after.state is not before.state or not before.version:
        metrics.of(metrics.STATES_REACHED, after.state.value).inc()
    if after.completed_at is not None and before.completed_at is None:
        metrics.COMPLETED_FEN.inc(owed_fen(after))
    if after.payment is not None and before.payment is None:
        metrics.PAID_FEN.inc(after.payment.paid_fen)
        metrics.of(metrics.PAID_BY, "callback" if CALLBACK in noted else "query").inc()
    if after.problem is not None and after.problem_told != before.problem_told:
        code = after.problem.code
        metrics.of(metrics.PROBLEMS, code if code in VERBS else code_label(code)).inc()
