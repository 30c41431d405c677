"""Takes the steps of a fare after the trip has ended: it is lowered, synced, asked for at once, or sent back."""

from collections.abc import Callable
from datetime import datetime

from payscore_worker.domain import fares, outcomes
from payscore_worker.domain.next_step import (
    LowerOrder,
    PayOrder,
    Rules,
    SendBack,
    SyncOrder,
    pay_step,
    sync_time,
)
from payscore_worker.domain.trip import (
    NOT_SENT_BACK,
    Sync,
)
from payscore_worker.errors import IllegalTransition, MalformedMessage
from payscore_worker.settlement import journal
from payscore_worker.settlement.books import ReturnBooks, TripBooks
from payscore_worker.settlement.translation import modification, odd_answer, seen
from payscore_worker.settlement.trip_calls import Run, TripCalls
from payscore_worker.storage import Storage
from payscore_worker.wechatpay.payscore import PayScores, Phase

FareStep = LowerOrder | SyncOrder | PayOrder | SendBack


class FareSteps(TripCalls):
    """What there is to do about a fare that WeChat Pay was asked for."""

    def __init__(
        self,
        *,
        storage: Storage,
        books: TripBooks,
        returns: ReturnBooks,
        payscores: PayScores,
        rules: Rules,
        refund_prefix: str,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(storage=storage, books=books, payscores=payscores, clock=clock)
        self._returns = returns
        self._rules = rules
        self._refund_prefix = refund_prefix

    async def take(self, step: FareStep, run: Run) -> None:
        """Take one step, as Steps.take says."""
        match step:
            case LowerOrder():
                await self._lower_order(run)
            case SyncOrder():
                await self._sync_order(run)
            case PayOrder():
                await self._pay_order(run)
            case SendBack():
                await self._send_back(run)

    async def _lower_order(self, run: Run) -> None:
        trip, payscore = run.trip, self._speaking(run.trip)
        call, is_stored = payscore.modify(modification(trip)), outcomes.is_lowering_prepared(trip)
        record = await self._stored(run, call, outcomes.lowering, is_stored=is_stored)
        answer = None if record is None else await self._send(run, record, LowerOrder)
        if record is None or answer is None:
            return
        try:
            word = seen(payscore.read_order(answer.data))
        except MalformedMessage as error:
            await self._answered_oddly(run, record, answer, odd_answer(LowerOrder, "malformed_answer", str(error)))
            return
        now = self._clock()
        await self._hear(
            run,
            None,
            lambda trip: outcomes.lowered(trip, word, now),
            answered=journal.accepted(record, answer, now),
        )

    async def _sync_order(self, run: Run) -> None:
        trip, payscore = run.trip, self._speaking(run.trip)
        sync = Sync(paid_time=sync_time(trip))
        call = payscore.sync(out_order_no=trip.out_order_no, paid_time=sync.paid_time)
        is_stored = trip.sync is not None
        record = await self._stored(run, call, lambda trip: outcomes.syncing(trip, sync), is_stored=is_stored)
        answer = None if record is None else await self._send(run, record, SyncOrder)
        if record is None or answer is None:
            return
        try:
            order = payscore.read_created(answer.data)  # one family shows the order, the other only its numbers
        except MalformedMessage as error:
            await self._answered_oddly(run, record, answer, odd_answer(SyncOrder, "malformed_answer", str(error)))
            return
        now, word = self._clock(), seen(order) if order.phase is Phase.DONE else None
        await self._hear(
            run,
            None,
            lambda trip: outcomes.synced(trip, word, now),
            answered=journal.accepted(record, answer, now),
        )

    async def _pay_order(self, run: Run) -> None:
        trip, step = run.trip, pay_step(run.trip, self._clock(), self._rules)
        call = self._speaking(trip).pay(out_order_no=trip.out_order_no)
        is_stored = trip.asking is not None and trip.asking.sent
        record = await self._stored(run, call, lambda trip: outcomes.asking(trip, step), is_stored=is_stored)
        answer = None if record is None else await self._send(run, record, PayOrder)
        if record is None or answer is None:
            return
        await self._hear(run, None, outcomes.asked_to_pay, answered=journal.accepted(record, answer, self._clock()))

    async def _send_back(self, run: Run) -> None:
        """Ask for a refund of what came in and is not ours; the refund is a case of its own from here on."""
        trip, other = run.trip, self._rules.other(run.trip)
        try:
            pair = fares.send_back(
                trip,
                self._clock(),
                mchid=self._speaking(trip).terms.mchid,
                prefix=self._refund_prefix if other is None else other.out_order_no_prefix,
            )
        except IllegalTransition as error:
            await self.stop(run, NOT_SENT_BACK, str(error), step=SendBack.__name__)
            return
        written = await self._returns.write((trip, pair[1]), pair, calls=())
        if written is not None:
            run.trip = written[0]
            return
        newest = await self._books.reload(trip)
        if newest.version == trip.version:  # nobody has moved the trip, so the refund's own id is taken
            await self.stop(
                run, NOT_SENT_BACK, f"another refund has the id {pair[1].refund_id}", step=SendBack.__name__
            )
            return
        run.trip = newest
