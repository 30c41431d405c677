"""Carries out what people decide: says what would come of it, records who does what and why, and does it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from payscore_worker.domain import decisions
from payscore_worker.domain.decisions import Decision, Verb
from payscore_worker.domain.trip import (
    TERMINAL,
    Trip,
    TripState,
    owed_fen,
)
from payscore_worker.errors import IllegalTransition, Rejected, Retryable
from payscore_worker.settlement.sight import Pause, Sight
from payscore_worker.settlement.trips import Settlement
from payscore_worker.storage.actions import Action, Actions, Done
from payscore_worker.storage.reports import Reports

BATCH: Final = 100
"""Trips that are read at a time while many are cleared: each is written by itself, beside the settlement."""

MAX_REASON: Final = 300
MAX_NAME: Final = 40

WORDS: Final = {
    "paid": "the trip is PAID: {fen} fen, which WeChat Pay has collected, are taken for what was owed",
    "collected": "the trip is COMPLETED with {fen} fen, which WeChat Pay collects",
    "written_off": "the trip ends CANCELLED: {fen} fen are written off",
    "waived": "WeChat Pay is told to collect no more; the trip then ends CANCELLED: {fen} fen are written off",
    "asked": "WeChat Pay is asked to collect now; the trip stays COMPLETED until the money is in",
    "order_first": "the order is cancelled at WeChat Pay first; the trip then ends {end}",
    "over": "the trip ends {end}",
    "rebuilt": "what was refused is dropped; a new body is built and sent",
    "cleared": "the trip is taken up again where it stands",
    "refused": "refused: {why}",
    "unasked": "nothing can be decided while WeChat Pay cannot be asked",
}
"""What would come of a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What would come of a decision: one of WORDS, and what stands in its places."""

    key: str
    fen: int | None = None
    end: str = ""
    why: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it can be done."""
        return self.key not in ("refused", "unasked")

    @property
    def text(self) -> str:
        """Say it in a line."""
        return WORDS[self.key].format(fen=self.fen, end=self.end, why=self.why)


def outlook(sight: Sight, decision: Decision, now: datetime) -> Outlook:
    """Say what would come of a decision about what was seen."""
    if sight.known is None and decision.verb is not Verb.CLEAR:
        return Outlook(key="unasked")
    known = sight.known or decisions.Known(order=None)
    try:
        after = decisions.decide(sight.trip, decision, known, now)
    except IllegalTransition as error:
        return Outlook(key="refused", why=str(error))
    return Outlook(key="asked") if decision.verb is Verb.PAY else _told(after, decision.verb)


def _told(after: Trip, verb: Verb) -> Outlook:
    if after.state is TripState.PAID:
        return Outlook(key="paid", fen=owed_fen(after))
    if after.waived is not None:
        return Outlook(key="waived", fen=after.waived.total_fen)
    if after.written_off is not None:
        return Outlook(key="written_off", fen=after.written_off.total_fen)
    if after.look is not None and after.look.alive:
        return Outlook(key="order_first", end=after.state.value)
    if after.state in TERMINAL:
        return Outlook(key="over", end=after.state.value)
    if after.state is TripState.OPEN and (after.cancelled is not None or after.declined is not None):
        end = TripState.DECLINED if after.cancelled is None else TripState.CANCELLED
        return Outlook(key="cleared") if verb is Verb.CLEAR else Outlook(key="order_first", end=end.value)
    if after.state is TripState.COMPLETED and after.accepted_fen is not None:
        return Outlook(key="collected", fen=after.accepted_fen)
    return Outlook(key="rebuilt" if verb is Verb.REBUILD else "cleared")


class Deciding:
    """Does what people decided, once it stands in the record."""

    def __init__(
        self,
        *,
        settlement: Settlement,
        actions: Actions,
        clock: Callable[[], datetime],
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._settlement = settlement
        self._actions = actions
        self._clock = clock
        self._pause = pause

    async def look(self, trip_id: str) -> Sight:
        """See a trip beside what WeChat Pay says of it now.

        Raises:
            Rejected: there is no such trip.

        """
        return await self._settlement.look(trip_id)

    async def decide(self, trip_id: str, decision: Decision, *, mark: str) -> Trip | None:
        """Do what was decided about a sight with this mark; returns the trip, or None where it was only taken up again.

        Raises:
            StorageUnavailable: it could not be recorded, and was not begun.
            SettlementError: as Settlement.decide and Settlement.clear_problem say.

        """
        if decision.verb is Verb.CLEAR:
            await self._clear(trip_id, decision)
            with suppress(Retryable):  # the reconciler goes on with it
                await self._settlement.advance(trip_id)
            return None
        async with self._recorded(trip_id, decision) as done:
            trip = await self._settlement.decide(trip_id, decision, mark=mark, pause=self._pause)
            done.moved = 1
        return trip

    async def clear_all(self, reports: Reports, code: str, *, by: str, reason: str) -> AsyncIterator[str]:
        """Take every trip with one problem up again, by batches, each trip once; yields those that were.

        The workers go on with them: each is due within a minute.
        """
        decision = Decision(verb=Verb.CLEAR, by=by, reason=reason)
        last = ""
        while rows := await reports.problems(code, after=last, limit=BATCH):
            for row in rows:
                last = row["trip_id"]
                with suppress(Rejected):  # somebody else was faster
                    await self._clear(last, decision)
                    yield last

    async def _clear(self, trip_id: str, decision: Decision) -> None:
        async with self._recorded(trip_id, decision) as done:
            await self._settlement.clear_problem(trip_id)
            done.moved = 1

    def _recorded(self, trip_id: str, decision: Decision) -> AbstractAsyncContextManager[Done]:
        action = Action(
            who=decision.by, action=f"trip {decision.verb}", queue="", target=trip_id, reason=decision.reason
        )
        return self._actions.recorded_for_one(action, self._clock)
