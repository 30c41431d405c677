"""What the database holds, as gauges."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker import metrics
from payscore_worker.events import ANNOUNCEMENTS
from payscore_worker.ops.looking import Looking, Rhythm
from payscore_worker.storage.belonging import Owners
from payscore_worker.storage.reports import Reports
from payscore_worker.storage.standing import NOTHING, RefundStanding, Share, Some, standing

UNFINISHED: Final = Rhythm(every=timedelta(seconds=10), limit=timedelta(seconds=5))
"""What is unfinished is little, even of a city."""

ALL: Final = Rhythm(every=timedelta(minutes=1), limit=timedelta(seconds=30))
"""The books go through every trip that is kept; where that takes longer, archive, or let `audit` do it at night."""

TYPES: Final = tuple(kind.TYPE for kind in ANNOUNCEMENTS)

EVERYBODY: Final = ""
"""For Prometheus, no label at all: telling the trips of a city's history apart would read all their terms."""

OVER: Final = {"PAID": "settled", "DECLINED": "declined", "CANCELLED": "cancelled"}


class DatabaseLook:
    """Reads the database into the gauges."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], datetime], owners: Owners) -> None:
        self._engine = engine
        self._clock = clock
        self._owners = owners
        self._shown: dict[str, Share] = {}

    def lookings(self) -> list[Looking]:
        """Make the looks, each in its own rhythm."""
        return [Looking("trips", self.look_at_unfinished, UNFINISHED), Looking("books", self.look_at_all, ALL)]

    async def look_at_unfinished(self) -> None:
        """Count what is unfinished."""
        found = await standing(self._engine, self._clock(), limit=UNFINISHED.limit, owners=self._owners)
        self._shown = {**dict.fromkeys(self._shown, NOTHING), **found.shares}  # what was shown is zero once it is gone
        for account, share in self._shown.items():
            _show_trips(account, share)
            _show_refunds(account, share.refunds)
            metrics.of(metrics.PROBLEM_AUTHORISATIONS, account).set(share.authorisations_with_problem.count)
        metrics.TRIPS_DUE_LAG.set(found.due_lag.total_seconds())
        metrics.REFUNDS_DUE_LAG.set(found.refunds_due_lag.total_seconds())
        metrics.AUTHORISATIONS_DUE_LAG.set(found.authorisations_due_lag.total_seconds())
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
            metrics.of(metrics.TRIPS, EVERYBODY, state).set(entries[entry])
        metrics.IMBALANCE.set(books.noted - sum(entries.values()))


def _show_trips(account: str, found: Share) -> None:
    for state, some in found.states.items():
        metrics.of(metrics.TRIPS, account, state).set(some.count)
        metrics.of(metrics.TRIPS_AGE, account, state).set(_seconds(some))
    for call, some in found.calls_out.items():
        metrics.of(metrics.UNANSWERED, account, call).set(some.count)
        metrics.of(metrics.UNANSWERED_AGE, account, call).set(_seconds(some))
    metrics.of(metrics.TRIPS_LATE, account, "stale").set(found.stale)
    metrics.of(metrics.TRIPS_LATE, account, "overdue").set(found.overdue)
    metrics.of(metrics.PROBLEM_TRIPS, account).set(found.with_problem.count)
    metrics.of(metrics.PROBLEM_AGE, account).set(_seconds(found.with_problem))
    metrics.of(metrics.OUTSTANDING_FEN, account).set(found.outstanding_fen)


def _show_refunds(account: str, found: RefundStanding) -> None:
    for state, some in found.states.items():
        metrics.of(metrics.REFUNDS, account, state).set(some.count)
        metrics.of(metrics.REFUNDS_AGE, account, state).set(_seconds(some))
    metrics.of(metrics.PROBLEM_REFUNDS, account).set(found.with_problem.count)
    metrics.of(metrics.PROBLEM_REFUNDS_AGE, account).set(_seconds(found.with_problem))
    metrics.of(metrics.RESERVED_FEN, account).set(found.reserved_fen)


def _seconds(some: Some) -> float:
    return some.oldest.total_seconds()
