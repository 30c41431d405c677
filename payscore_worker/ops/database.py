"""What the database holds, as gauges."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker import metrics
from payscore_worker.events import ANNOUNCEMENTS
from payscore_worker.ops.looking import Looking, Rhythm
from payscore_worker.storage.reports import Reports
from payscore_worker.storage.standing import RefundStanding, Some, standing

UNFINISHED: Final = Rhythm(every=timedelta(seconds=10), limit=timedelta(seconds=5))
"""What is unfinished is little, even of a city."""

ALL: Final = Rhythm(every=timedelta(minutes=1), limit=timedelta(seconds=30))
"""The books go through every trip that is kept; where that takes longer, archive, or let `audit` do it at night."""

TYPES: Final = tuple(kind.TYPE for kind in ANNOUNCEMENTS)

OVER: Final = {"PAID": "settled", "DECLINED": "declined", "CANCELLED": "cancelled"}


class DatabaseLook:
    """Reads the database into the gauges."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def lookings(self) -> list[Looking]:
        """Make the looks, each in its own rhythm."""
        return [Looking("trips", self.look_at_unfinished, UNFINISHED), Looking("books", self.look_at_all, ALL)]

    async def look_at_unfinished(self) -> None:
        """Count what is unfinished."""
        found = await standing(self._engine, self._clock(), limit=UNFINISHED.limit)
        for state, some in found.states.items():
            metrics.of(metrics.TRIPS, state).set(some.count)
            metrics.of(metrics.TRIPS_AGE, state).set(_seconds(some))
        for call, some in found.calls_out.items():
            metrics.of(metrics.UNANSWERED, call).set(some.count)
            metrics.of(metrics.UNANSWERED_AGE, call).set(_seconds(some))
        metrics.of(metrics.TRIPS_LATE, "stale").set(found.stale)
        metrics.of(metrics.TRIPS_LATE, "overdue").set(found.overdue)
        metrics.PROBLEM_TRIPS.set(found.with_problem.count)
        metrics.PROBLEM_AGE.set(_seconds(found.with_problem))
        metrics.TRIPS_DUE_LAG.set(found.due_lag.total_seconds())
        metrics.OUTSTANDING_FEN.set(found.outstanding_fen)
        _show_refunds(found.refunds)
        metrics.PROBLEM_AUTHORISATIONS.set(found.authorisations.with_problem.count)
        metrics.AUTHORISATIONS_DUE_LAG.set(found.authorisations.due_lag.total_seconds())
        metrics.OUTBOX_ROWS.set(found.outbox.count)
        metrics.OUTBOX_AGE.set(_seconds(found.outbox))
        for type_ in {*TYPES, *found.unrouted}:
            metrics.of(metrics.OUTBOX_UNROUTED, type_).set(found.unrouted.get(type_, 0))

    async def look_at_all(self) -> None:
        """Count every trip, and see that none is missing."""
        books = await Reports(self._engine).books()
        entries = {
            "settled": books.settled,
            "declined": books.declined,
            "cancelled": books.cancelled,
            "waiting": books.waiting,
            "with_problem": books.with_problem,
        }
        for entry, trips in {"noted": books.noted, **entries}.items():
            metrics.of(metrics.BOOKS, entry).set(trips)
        for state, entry in OVER.items():
            metrics.of(metrics.TRIPS, state).set(entries[entry])
        metrics.IMBALANCE.set(books.noted - sum(entries.values()))


def _show_refunds(found: RefundStanding) -> None:
    for state, some in found.states.items():
        metrics.of(metrics.REFUNDS, state).set(some.count)
        metrics.of(metrics.REFUNDS_AGE, state).set(_seconds(some))
    metrics.PROBLEM_REFUNDS.set(found.with_problem.count)
    metrics.PROBLEM_REFUNDS_AGE.set(_seconds(found.with_problem))
    metrics.REFUNDS_DUE_LAG.set(found.due_lag.total_seconds())
    metrics.RESERVED_FEN.set(found.reserved_fen)


def _seconds(some: Some) -> float:
    return some.oldest.total_seconds()
