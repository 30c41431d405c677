"""Sends money back on a person's word: shows what will be sent, records who asks and why, and asks for it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from payscore_worker.domain.refund import Refund, RefundRequested, left_fen
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import Retryable
from payscore_worker.settlement.refunds import Foreseen, Refunds
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.refunds import CLEAR, REQUEST

WORDS: Final = {
    "asked": "{fen} fen go back; WeChat Pay is asked for it at once",
    "asked_later": "{fen} fen go back; WeChat Pay is asked for it after {at}: it wants a minute between refunds",
    "stands": "it was asked for before, and is {state}: nothing more is asked for",
    "refused": "refused: {why}",
}
"""What would come of a request for a refund."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What there is of a trip's money, in fen."""

    paid_fen: int
    reserved_fen: int
    """Of refunds that are under way."""
    refunded_fen: int
    left_fen: int
    """What can still be refunded, by one refund or several."""
    largest_fen: int
    """What one refund can send back: it is of one debit."""
    refunds: int
    """How many were asked for, those that failed too."""


def money_of(trip: Trip) -> Money:
    """Count what a trip has paid, what of it goes back, and what is left."""
    payment = trip.payment
    if payment is None:
        return Money(paid_fen=0, reserved_fen=0, refunded_fen=0, left_fen=0, largest_fen=0, refunds=0)
    left = [left_fen(payment, debit) for debit in payment.debits]
    return Money(
        paid_fen=payment.paid_fen,
        reserved_fen=payment.reserved_fen,
        refunded_fen=payment.refunded_fen,
        left_fen=sum(left),
        largest_fen=max(left, default=0),
        refunds=sum(debit.refunds for debit in payment.debits),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOutlook:
    """What would come of a request: one of WORDS, and what stands in its places."""

    key: str
    fen: int
    at: datetime | None = None
    state: str = ""
    why: str = ""

    @property
    def allowed(self) -> bool:
        """Whether anything would be asked for."""
        return self.key in ("asked", "asked_later")

    @property
    def text(self) -> str:
        """Say it in a line."""
        at = "" if self.at is None else f"{self.at.astimezone(UTC):%H:%M:%S} UTC"
        return WORDS[self.key].format(fen=self.fen, at=at, state=self.state, why=self.why)


def outlook(foreseen: Foreseen, asked: RefundRequested, now: datetime) -> RefundOutlook:
    """Say what would come of a request."""
    fen, refund = asked.amount_fen, foreseen.refund
    if refund is None:
        return RefundOutlook(key="refused", fen=fen, why=foreseen.why_not)
    if foreseen.stands:
        return RefundOutlook(key="stands", fen=fen, state=refund.state.value)
    if refund.send_after > now:
        return RefundOutlook(key="asked_later", fen=fen, at=refund.send_after)
    return RefundOutlook(key="asked", fen=fen)


def sent(foreseen: Foreseen) -> dict[str, Any]:
    """Read what WeChat Pay would be sent, as it would be sent; empty where nothing would."""
    body: dict[str, Any] = msgspec.json.decode(foreseen.body or b"{}")
    return body


def new_refund_id(now: datetime) -> str:
    """Name a refund that a person asks for: never the same twice, and in WeChat Pay's own alphabet."""
    return f"by-hand-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


class Refunding:
    """Does what people want done about refunds, once it stands in the record."""

    def __init__(self, *, refunds: Refunds, actions: Actions, clock: Callable[[], datetime]) -> None:
        self._refunds = refunds
        self._actions = actions
        self._clock = clock

    async def look(self, trip_id: str) -> Trip:
        """See the trip that money is to go back of.

        Raises:
            Rejected: there is no such trip, or it is archived.

        """
        return await self._refunds.look(trip_id)

    async def find(self, refund_id: str) -> Refund:
        """See a refund as it stands.

        Raises:
            Rejected: there is no such refund.

        """
        return await self._refunds.find(refund_id)

    async def foresee(self, asked: RefundRequested) -> Foreseen:
        """See what would come of a request, and change nothing.

        Raises:
            Rejected: there is no such trip, it is archived, or the refund was requested otherwise before.

        """
        return await self._refunds.foresee(asked)

    async def request(self, asked: RefundRequested, *, by: str, mark: str) -> tuple[Refund, str]:
        """Ask for a refund of a trip that was seen with this mark; returns how it stands, and what it waits for.

        Raises:
            StorageUnavailable: it could not be recorded, and was not begun.
            SettlementError: as Refunds.request_by_hand says.

        """
        what = f"{asked.amount_fen} fen as {asked.refund_id}: {asked.reason}"
        action = Action(who=by, action=REQUEST, queue="", target=asked.trip_id, reason=what)
        async with self._actions.recorded_for_one(action, self._clock) as done:
            await self._refunds.request_by_hand(asked, mark=mark)
            done.moved = 1
        waits = ""
        try:
            await self._refunds.advance(asked.refund_id)
        except Retryable as error:  # it stands noted, and the reconciler goes on with it
            waits = str(error)
        return await self._refunds.find(asked.refund_id), waits

    async def clear_problem(self, refund_id: str, *, by: str, reason: str) -> Refund:
        """Take a refund up again that stood still for a person to look; returns how it stands then.

        Raises:
            StorageUnavailable: it could not be recorded, and was not begun.
            Rejected: there is no such refund, or it has no problem.

        """
        action = Action(who=by, action=CLEAR, queue="", target=refund_id, reason=reason)
        async with self._actions.recorded_for_one(action, self._clock) as done:
            refund = await self._refunds.clear_problem(refund_id)
            done.moved = 1
        return refund
