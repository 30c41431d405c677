"""The calls about a trip that have a body: stored, and each send counted, before they are made; and what is written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from payscore_worker.domain import outcomes
from payscore_worker.domain.account import passenger_of
from payscore_worker.domain.trip import (
    Doubt,
    OrderSeen,
    Problem,
    Trip,
    TripState,
)
from payscore_worker.errors import (
    FailureClass,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    Rejected,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.settlement import journal
from payscore_worker.settlement.books import Change, TripBooks
from payscore_worker.settlement.translation import doubt, odd_answer, whose
from payscore_worker.storage import CallRecord, Storage
from payscore_worker.wechatpay import Answer, Call, CallKind
from payscore_worker.wechatpay.payscore import PayScore, PayScores

NOT_ANSWERED: Final = (WechatPayUnavailable, OutcomeUnknown, MerchantRefused)
"""Nothing was said about this order: the same again, later."""

_T = TypeVar("_T")


@dataclass(slots=True)
class Run:
    """One trip while it is advanced: the row in hand, and the questions asked but not yet journaled."""

    trip: Trip
    asked: dict[str, CallRecord] = field(default_factory=dict)


class TripCalls:
    """How a step speaks to WeChat Pay about a trip, and writes what came of it."""

    def __init__(
        self, *, storage: Storage, books: TripBooks, payscores: PayScores, clock: Callable[[], datetime]
    ) -> None:
        self._storage = storage
        self._books = books
        self._payscores = payscores
        self._clock = clock

    async def stop(self, run: Run, code: str, message: str, *, step: str) -> None:
        """Leave the trip to a person, and say so."""
        problem = Problem(code=code, message=message, request_id="", step=step, since=self._clock())
        await self._move(run, lambda trip: outcomes.with_problem(trip, problem))

    def _speaking(self, trip: Trip) -> PayScore:
        """Speak of a trip's order under the terms that it was opened under, if it was."""
        refused_as_it_was = trip.doubt is not None and trip.doubt.refusal is Refusal.MISCONFIGURED
        if trip.opening is None or (trip.state is TripState.NOTED and refused_as_it_was):
            return self._present(trip)
        return self._payscores.of(trip.opening.terms)

    def _present(self, trip: Trip) -> PayScore:
        """Speak under the present terms of the account and the app that the trip names.

        Raises:
            MerchantRefused: the settings have them no longer.

        """
        try:
            return self._payscores.present(*whose(trip))
        except Rejected as gone:
            raise MerchantRefused(str(gone), attempts=0, failure=FailureClass.MISCONFIGURED) from gone

    async def _prepare(self, run: Run, call: Call, mark: Change) -> CallRecord | None:
        """Store the bytes, and with them the mark on the trip that they may be on their way (design 3.1).

        None: another worker moved the trip; look at it again.
        """
        record = journal.prepared(call, generation=run.trip.bodies + 1, at=self._clock())
        prepared = await self._books.write(run.trip, mark(run.trip), calls=[record, *run.asked.values()])
        if prepared is None:
            run.trip = await self._books.reload(run.trip)
            return None
        run.trip = prepared
        run.asked.clear()
        return record

    async def _stored(self, run: Run, call: Call, mark: Change, *, is_stored: bool) -> CallRecord | None:
        """Take the bytes of such a call that were stored before, or store these; None: as `_prepare`."""
        return await (self._begin(run, call.kind) if is_stored else self._prepare(run, call, mark))

    async def _begin(self, run: Run, kind: CallKind) -> CallRecord:
        """Load bytes that were stored, and count that they are sent once more."""
        return of(await self._storage.begin_send(run.trip.trip_id, kind))

    async def _send(self, run: Run, record: CallRecord, step: type) -> Answer | None:
        """Send journaled bytes; None: that was no yes to this order, and the trip has taken note of it."""
        payscore = self._speaking(run.trip)
        call = Call(CallKind(record.kind), record.method, record.path, record.body)
        try:
            answer = await payscore.send(call)
        except WechatPayRejected as error:
            await self._refused(run, record, step, error)
            return None
        except NOT_ANSWERED as error:
            await self._journal_failure(run, record, error)
            raise
        if wrong := payscore.contradiction(answer.data, run.trip.out_order_no):
            message = f"WeChat Pay answered with another {wrong} than ours"
            await self._answered_oddly(run, record, answer, odd_answer(step, "not_ours", message))
            return None
        return answer

    async def _refused(self, run: Run, record: CallRecord, step: type, error: WechatPayRejected) -> None:
        now = self._clock()
        refusal = doubt(step, error, uncertain=error.unsure or record.begun - record.definite > 1)
        others_pass = self._others_pass(run.trip, now)
        await self._move(
            run,
            lambda trip: outcomes.refused(trip, refusal, now, others_pass=others_pass),
            answered=journal.failed(record, error, now),
        )

    def _others_pass(self, trip: Trip, now: datetime) -> bool:
        """Tell whether WeChat Pay has accepted orders of the same merchant of late; only of a create does it matter."""
        del trip, now
        return True

    async def _answered_oddly(self, run: Run, record: CallRecord, answer: Answer, odd: Doubt) -> None:
        now = self._clock()
        await self._move(
            run, lambda trip: outcomes.refused(trip, odd, now), answered=journal.answered_oddly(record, answer, now)
        )

    async def _journal_failure(self, run: Run, record: CallRecord, error: WechatPayError) -> None:
        if error.attempts or record.begun:  # of a question that was not asked, there is nothing to say
            await self._storage.journal(run.trip, journal.failed(record, error, self._clock()))

    # --- Writing ---

    async def _move(self, run: Run, change: Change, *, answered: CallRecord | None = None) -> None:
        """Write what became of a step, on the newest row, unless another worker has taken the trip elsewhere."""
        state = run.trip.state
        await self._write(
            run, lambda trip: change(trip) if trip.state is state and trip.problem is None else trip, answered
        )

    async def _hear(
        self, run: Run, word: OrderSeen | None, change: Change | None = None, *, answered: CallRecord | None = None
    ) -> None:
        """Write what WeChat Pay signed, wherever another worker has taken the trip: an acceptance is never dropped.

        `change`: what follows where the trip stands as we knew it; else, or without a `word`, what always follows.
        """
        state, now = run.trip.state, self._clock()

        def heard(trip: Trip) -> Trip:
            if change is not None and (word is None or (trip.state is state and trip.problem is None)):
                return change(trip)
            return outcomes.see(trip, of(word), now)

        await self._write(run, heard, answered)

    async def _write(self, run: Run, change: Change, answered: CallRecord | None) -> None:
        calls = [*run.asked.values()] if answered is None else [answered, *run.asked.values()]
        run.trip = await self._books.change(run.trip, change, calls=calls)
        run.asked.clear()


def passenger(openid: str, payscore: PayScore, payscores: PayScores) -> str:
    """Say under what to keep whether a passenger has enabled the service: that is so with each merchant for itself."""
    return passenger_of(openid, payscore.terms.mchid, default=payscores.current.terms.mchid)


def of(value: _T | None) -> _T:
    """Take what the trip's state promises to be there."""
    if value is None:
        raise RuntimeError("a trip's row contradicts its state")
    return value
