"""A trip beside its order as WeChat Pay shows it now: what a person sees who is about to decide."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from payscore_worker.domain.decisions import Known, mark_of
from payscore_worker.domain.outcomes import APART
from payscore_worker.domain.trip import (
    OrderSeen,
    Trip,
)
from payscore_worker.errors import Refusal, Rejected, SettlementError, WechatPayRejected
from payscore_worker.settlement import journal
from payscore_worker.settlement.translation import SENT_BY, seen, whose
from payscore_worker.storage import CallRecord, Storage
from payscore_worker.wechatpay import CallKind
from payscore_worker.wechatpay.payscore import PAYING, PayScores

ASK_SECONDS: Final = 20.0
"""A person waits; the client's own tries against a WeChat Pay that is out would take twice as long."""

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is to be seen of a trip."""

    trip: Trip
    known: Known | None
    """None: WeChat Pay could not be asked."""
    unknown: str = ""
    """Why not."""
    asked: tuple[CallRecord, ...] = ()
    """The question that was answered, for the journal."""

    @property
    def text(self) -> str:
        """Say in a line what WeChat Pay says."""
        return f"could not be asked: {self.unknown}" if self.known is None else self.known.text

    @property
    def mark(self) -> str:
        """Sum up what is to be decided about; empty where nothing can be."""
        return "" if self.known is None else mark_of(self.trip, self.known)


class Onlooker:
    """Asks WeChat Pay about an order, under the terms that it was opened under; changes nothing."""

    def __init__(self, *, storage: Storage, payscores: PayScores, clock: Callable[[], datetime]) -> None:
        self._storage = storage
        self._payscores = payscores
        self._clock = clock

    async def look(self, trip: Trip, *, pause: Pause | None = None) -> Sight:
        """Look at a trip. `pause`: an order that was asked for, and is said not to be, is asked about twice (F.5 c)."""
        sight = await self._ask(trip)
        if pause is None or not trip.bodies or sight.known is None or sight.known.order is not None:
            return sight
        await pause(APART.total_seconds())
        return await self._ask(trip)

    async def _ask(self, trip: Trip) -> Sight:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                order, asked = await self._answer(trip)
        except TimeoutError:
            return Sight(trip=trip, known=None, unknown=f"no answer within {ASK_SECONDS:.0f} seconds")
        except SettlementError as error:
            return Sight(trip=trip, known=None, unknown=str(error))
        terms = None if trip.opening is None else trip.opening.terms
        can_pay = self._payscores.of(terms).family in PAYING
        known = Known(order=order, certain=await self._certain(trip), can_pay=can_pay)
        return Sight(trip=trip, known=known, asked=(asked,))

    async def _answer(self, trip: Trip) -> tuple[OrderSeen | None, CallRecord]:
        """Ask for the order; none is an answer, too.

        Raises:
            SettlementError: that is no answer about this order.

        """
        record = journal.asking(CallKind.QUERY, self._clock())
        terms = None if trip.opening is None else trip.opening.terms
        payscore = self._payscores.present(*whose(trip)) if terms is None else self._payscores.of(terms)
        try:
            order, answer = await payscore.query(trip.out_order_no)
        except WechatPayRejected as error:
            if error.refusal is not Refusal.ORDER_NOT_FOUND:
                raise
            return None, journal.failed(record, error, self._clock())
        if not payscore.is_ours(order) or order.out_order_no != trip.out_order_no:
            raise Rejected("it answered with another order than ours")
        return seen(order), journal.accepted(record, answer, self._clock())

    async def _certain(self, trip: Trip) -> frozenset[str]:
        """Name the steps of whose journaled bytes no send can have been accepted."""
        records = {step: await self._storage.last_call(trip.trip_id, kind) for step, kind in SENT_BY.items()}
        return frozenset(step for step, record in records.items() if record is None or record.is_surely_without_effect)
