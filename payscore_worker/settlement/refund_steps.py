"""Takes the steps of a refund that need WeChat Pay: stores the bytes, sends them, asks, and writes what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from payscore_worker.domain import refund as outcomes
from payscore_worker.domain.next_step import Rest
from payscore_worker.domain.refund import (
    AskRefund,
    Pair,
    Refund,
    RefundSeen,
    RefundStep,
    Refused,
    SendRefund,
    StopWaiting,
)
from payscore_worker.domain.trip import (
    Problem,
    Trip,
)
from payscore_worker.errors import (
    MalformedMessage,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.settlement import journal
from payscore_worker.settlement.books import RefundBooks
from payscore_worker.settlement.translation import new_refund, odd_refund, refund_refused, refund_seen
from payscore_worker.storage import CallRecord, Storage
from payscore_worker.wechatpay import Answer, Call, CallKind
from payscore_worker.wechatpay.transactions import Refunds, RefundTold

_NOT_ANSWERED: Final = (WechatPayUnavailable, OutcomeUnknown, MerchantRefused)
"""Nothing was said about this refund: the same again, later."""


@dataclass(slots=True)
class RefundRun:
    """One refund while it is advanced, and its trip: the rows in hand."""

    pair: Pair

    @property
    def refund(self) -> Refund:
        """The refund as it stands."""
        return self.pair[1]


class RefundSteps:
    """What there is to do about a refund, one step at a time."""

    def __init__(
        self, *, storage: Storage, books: RefundBooks, refunds: Refunds, clock: Callable[[], datetime]
    ) -> None:
        self._storage = storage
        self._books = books
        self._refunds = refunds
        self._clock = clock

    async def take(self, step: RefundStep, run: RefundRun) -> None:
        """Take one step; the run's refund is then where that led, or as another worker left it.

        Raises:
            Retryable: WeChat Pay, or the database, is out of reach; the same step again is right.
            MalformedMessage: the call cannot be made of what the refund says.

        """
        match step:
            case SendRefund():
                await self._send_refund(run)
            case AskRefund():
                await self._ask_refund(run)
            case StopWaiting():
                now = self._clock()
                await self._move(run, lambda refund: outcomes.waited_too_long(refund, now))
            case Rest():
                return
            case _:
                assert_never(step)

    async def stop(self, run: RefundRun, code: str, message: str, *, step: str) -> None:
        """Leave the refund to a person, and say so."""
        problem = Problem(code=code, message=message, request_id="", step=step, since=self._clock())
        await self._move(run, lambda refund: outcomes.with_problem(refund, problem))

    # --- The call with a body: stored, and each send counted, before it is made ---

    async def _send_refund(self, run: RefundRun) -> None:
        refunds = self._refunds.of(run.refund.mchid)
        record = await (self._begin(run.refund) if run.refund.is_prepared else self._prepare(run))
        if record is None:
            return
        call = Call(CallKind(record.kind), record.method, record.path, record.body)
        try:
            answer = await refunds.send(call)
        except WechatPayRejected as error:
            now, why = self._clock(), refund_refused(SendRefund, error)
            answered = journal.failed(record, error, now)
            await self._move(run, lambda refund: outcomes.refused(refund, why, now), answered=answered)
            return
        except _NOT_ANSWERED as error:
            await self._storage.journal(run.refund, journal.failed(record, error, self._clock()))
            raise
        try:
            told = refunds.read(answer.data)
        except MalformedMessage as error:
            await self._odd_answer(run, odd_refund(SendRefund, "malformed_answer", str(error)), record, answer)
            return
        await self._hear(run, SendRefund, told, record, answer)

    async def _prepare(self, run: RefundRun) -> CallRecord | None:
        """Store the bytes, and with them the mark on the refund that they may be on their way (design 3.1).

        None: another worker moved the refund; look at it again.
        """
        trip, refund = run.pair
        call = self._refunds.of(refund.mchid).request(new_refund(refund))
        record = journal.prepared(call, generation=refund.generation, at=self._clock())
        written = await self._books.write(run.pair, (trip, outcomes.prepared(refund)), calls=[record])
        run.pair = await self._books.reload(run.pair) if written is None else written
        return None if written is None else record

    async def _begin(self, refund: Refund) -> CallRecord:
        """Load the bytes that were stored, and count that they are sent once more."""
        record = await self._storage.begin_send(refund.trip_id, CallKind.REFUND, refund.generation)
        if record is None:
            raise RuntimeError("a refund's row contradicts its journal")
        return record

    # --- The question: nothing is stored before it ---

    async def _ask_refund(self, run: RefundRun) -> None:
        refunds = self._refunds.of(run.refund.mchid)
        record = journal.asking(CallKind.REFUND_QUERY, self._clock(), generation=run.refund.generation)
        try:
            told, answer = await refunds.query(run.refund.out_refund_no)
        except WechatPayRejected as error:
            why, now = refund_refused(AskRefund, error), self._clock()
            no_word = outcomes.not_found if error.refusal is Refusal.RESOURCE_NOT_FOUND else outcomes.no_answer
            answered = journal.failed(record, error, now)
            await self._move(run, lambda refund: no_word(refund, why, now), answered=answered)
            return
        except MalformedMessage as error:
            await self._no_word(run, odd_refund(AskRefund, "malformed_answer", str(error)))
            return
        except _NOT_ANSWERED as error:
            if error.attempts:
                await self._storage.journal(run.refund, journal.failed(record, error, self._clock()))
            raise
        await self._hear(run, AskRefund, told, record, answer)

    # --- Both are answered with the refund ---

    async def _hear(self, run: RefundRun, step: type, told: RefundTold, record: CallRecord, answer: Answer) -> None:
        """Write what WeChat Pay signed, wherever another worker has taken the refund."""
        seen, now = refund_seen(told), self._clock()
        wrong = contradiction(run.refund, told)
        if wrong or not seen.is_clear:
            code = "not_ours" if wrong else "unclear_answer"
            about = f"with another {wrong} than ours" if wrong else "and does not say where the refund stands"
            await self._odd_answer(run, odd_refund(step, code, f"WeChat Pay answered {about}"), record, answer)
            return
        answered = journal.accepted(record, answer, now)
        await self._change(run, lambda trip, refund: _heard(trip, refund, seen, now), answered)

    async def _odd_answer(self, run: RefundRun, odd: Refused, record: CallRecord, answer: Answer) -> None:
        """What became of the call is unknown: of one that changes something, the journal keeps that."""
        await self._no_word(run, odd, answered=journal.answered_oddly(record, answer, self._clock()))

    async def _no_word(self, run: RefundRun, why: Refused, *, answered: CallRecord | None = None) -> None:
        now = self._clock()
        await self._move(run, lambda refund: outcomes.no_answer(refund, why, now), answered=answered)

    # --- Writing ---

    async def _move(
        self, run: RefundRun, change: Callable[[Refund], Refund], *, answered: CallRecord | None = None
    ) -> None:
        """Write what became of a step, on the newest row, unless another worker has taken the refund elsewhere."""
        state = run.refund.state

        def moved(trip: Trip, refund: Refund) -> Pair:
            return trip, change(refund) if refund.state is state and refund.problem is None else refund

        await self._change(run, moved, answered)

    async def _change(
        self, run: RefundRun, change: Callable[[Trip, Refund], Pair], answered: CallRecord | None
    ) -> None:
        calls = [] if answered is None else [answered]
        run.pair = await self._books.change(run.pair, lambda pair: change(*pair), calls=calls)


def contradiction(refund: Refund, told: RefundTold) -> str:
    """Name the member by which a signed word is about another refund than ours; empty where none contradicts."""
    ours = {
        "mchid": refund.mchid,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": refund.transaction_id,
    }
    return next((name for name, value in ours.items() if getattr(told, name) not in ("", value)), "")


def _heard(trip: Trip, refund: Refund, seen: RefundSeen, now: datetime) -> Pair:
    """Take the word, and count the question where it moved nothing."""
    trip, told = outcomes.see(trip, refund, seen, now)
    return trip, outcomes.asked(refund, now) if told is refund and refund.problem is None else told
