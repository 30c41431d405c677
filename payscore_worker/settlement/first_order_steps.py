"""Sees to the first of two orders, which was refused for risk: asks whether it runs all the same, and cancels it."""

from payscore_worker.domain.next_step import AskFirstOrder, CancelFirstOrder
from payscore_worker.domain.second_try import cancelling_first, first_over, first_refused, first_seen
from payscore_worker.domain.trip import SecondTry
from payscore_worker.errors import MalformedMessage, Refusal, WechatPayRejected
from payscore_worker.settlement import journal
from payscore_worker.settlement.translation import PLAIN_REASON, seen
from payscore_worker.settlement.trip_calls import NOT_ANSWERED, Run, TripCalls, of
from payscore_worker.storage import CallRecord
from payscore_worker.wechatpay import Call, CallKind
from payscore_worker.wechatpay.payscore import PayScore, Phase


class FirstOrderSteps(TripCalls):
    """What there is to do about an order that was given up for another; nothing of it touches the other."""

    async def take(self, step: AskFirstOrder | CancelFirstOrder, run: Run) -> None:
        """Take one step, as Steps.take says."""
        second = of(run.trip.second)
        payscore = self._payscores.of(second.first_terms)
        match step:
            case AskFirstOrder():
                await self._ask(run, second, payscore)
            case CancelFirstOrder():
                await self._cancel(run, second, payscore)

    async def _ask(self, run: Run, second: SecondTry, payscore: PayScore) -> None:
        record = journal.asking(CallKind.QUERY, self._clock())
        try:
            order, answer = await payscore.query(second.first_order_no)
        except WechatPayRejected as error:
            now = self._clock()
            journal.remember(run.asked, journal.failed(record, error, now))
            if error.refusal is Refusal.ORDER_NOT_FOUND:
                await self._write(run, lambda trip: first_seen(trip, None, now), None)
                return
            await self._not_now(run, error.code, error.message)
            return
        except MalformedMessage as error:
            await self._not_now(run, "malformed_answer", str(error))
            return
        except NOT_ANSWERED as error:
            await self._journal_failure(run, record, error)
            raise
        now, word = self._clock(), seen(order)
        journal.remember(run.asked, journal.accepted(record, answer, now))
        if not payscore.is_ours(order) or order.out_order_no != second.first_order_no:
            await self._not_now(run, "not_ours", "WeChat Pay answered with another order than ours")
        elif order.phase is Phase.UNKNOWN:
            await self._not_now(run, "unknown_state", "WeChat Pay shows a state that no table knows")
        else:
            await self._write(run, lambda trip: first_seen(trip, word, now), None)

    async def _cancel(self, run: Run, second: SecondTry, payscore: PayScore) -> None:
        cancel = payscore.cancel(out_order_no=second.first_order_no, reason=PLAIN_REASON)
        call = Call(CallKind.CANCEL_FIRST, cancel.method, cancel.path, cancel.body)
        record = await self._stored(run, call, cancelling_first, is_stored=second.cancelling)
        if record is None:
            return
        try:
            answer = await payscore.send(Call(CallKind(record.kind), record.method, record.path, record.body))
        except WechatPayRejected as error:
            failed = journal.failed(record, error, self._clock())
            await self._not_now(run, error.code, error.message, answered=failed)
            return
        except NOT_ANSWERED as error:
            await self._journal_failure(run, record, error)
            raise
        now = self._clock()
        if wrong := payscore.contradiction(answer.data, second.first_order_no):
            odd = journal.answered_oddly(record, answer, now)
            await self._not_now(run, "not_ours", f"WeChat Pay answered with another {wrong} than ours", answered=odd)
            return
        await self._write(run, first_over, journal.accepted(record, answer, now))

    async def _not_now(self, run: Run, code: str, message: str, *, answered: CallRecord | None = None) -> None:
        now = self._clock()
        await self._write(run, lambda trip: first_refused(trip, code, message, now), answered)
