"""A refund beside what WeChat Pay says of it now: what a person sees who is about to give it up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from payscore_worker.domain.outcomes import APART
from payscore_worker.domain.refund import Known, Pair, Refund, RefundSeen, giving_up_of
from payscore_worker.errors import Refusal, Rejected, SettlementError, WechatPayRejected
from payscore_worker.settlement import journal
from payscore_worker.settlement.refund_steps import contradiction
from payscore_worker.settlement.sight import ASK_SECONDS, Pause
from payscore_worker.settlement.translation import refund_seen
from payscore_worker.storage import CallRecord, Storage
from payscore_worker.wechatpay import CallKind
from payscore_worker.wechatpay.transactions import Refunds


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSight:
    """What is to be seen of a refund."""

    pair: Pair
    known: Known | None
    """None: WeChat Pay could not be asked."""
    unknown: str = ""
    """Why not."""
    asked: tuple[CallRecord, ...] = ()
    """The question that was answered, for the journal."""

    @property
    def refund(self) -> Refund:
        """The refund as it stands here."""
        return self.pair[1]

    @property
    def text(self) -> str:
        """Say in a line what WeChat Pay says."""
        return f"could not be asked: {self.unknown}" if self.known is None else self.known.text

    @property
    def mark(self) -> str:
        """Sum up what is to be decided about; empty where nothing can be."""
        return "" if self.known is None else giving_up_of(self.refund, self.known)


class RefundOnlooker:
    """Asks WeChat Pay about a refund; changes nothing."""

    def __init__(self, *, storage: Storage, refunds: Refunds, clock: Callable[[], datetime]) -> None:
        self._storage = storage
        self._refunds = refunds
        self._clock = clock

    async def look(self, pair: Pair, *, pause: Pause | None = None) -> RefundSight:
        """Look at a refund. `pause`: one that WeChat Pay is said not to have is asked about twice (F.5 c)."""
        sight = await self._ask(pair)
        if pause is None or sight.known is None or sight.known.seen is not None:
            return sight
        await pause(APART.total_seconds())
        return _both(sight, await self._ask(pair))

    async def _ask(self, pair: Pair) -> RefundSight:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                seen, asked = await self._answer(pair[1])
        except TimeoutError:
            return RefundSight(pair=pair, known=None, unknown=f"no answer within {ASK_SECONDS:.0f} seconds")
        except SettlementError as error:
            return RefundSight(pair=pair, known=None, unknown=str(error))
        known = Known(seen=seen, certain=await self._is_certain(pair[1]))
        return RefundSight(pair=pair, known=known, asked=(asked,))

    async def _answer(self, refund: Refund) -> tuple[RefundSeen | None, CallRecord]:
        """Ask for the refund; none is an answer, too.

        Raises:
            SettlementError: that is no answer about this refund.

        """
        refunds = self._refunds.of(refund.mchid)  # to another merchant, WeChat Pay would say that there is none
        record = journal.asking(CallKind.REFUND_QUERY, self._clock(), generation=refund.generation)
        try:
            told, answer = await refunds.query(refund.out_refund_no)
        except WechatPayRejected as error:
            if error.refusal is not Refusal.RESOURCE_NOT_FOUND:
                raise
            return None, journal.failed(record, error, self._clock())
        if wrong := contradiction(refund, told):
            raise Rejected(f"it answered with another {wrong} than ours")
        seen = refund_seen(told)
        if not seen.is_clear:
            raise Rejected("it does not say where the refund stands")
        return seen, journal.accepted(record, answer, self._clock())

    async def _is_certain(self, refund: Refund) -> bool:
        """Tell whether no send of its journaled bytes can have been accepted."""
        record = await self._storage.last_call(refund.trip_id, CallKind.REFUND, refund.generation)
        return record is None or record.is_surely_without_effect


def _both(first: RefundSight, second: RefundSight) -> RefundSight:
    """Take the second answer; in the journal, a repeated question is one entry with more attempts."""
    attempts = sum(one.attempts for one in first.asked)
    asked = tuple(replace(one, attempts=one.attempts + attempts) for one in second.asked)
    return replace(second, asked=asked or first.asked)
