"""Sends money back on a person's word, takes refunds up again, gives them up: shown first, recorded, then done."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from payscore_worker.domain import refund as outcomes
from payscore_worker.domain.refund import GivenUp, Refund, RefundRequested, largest_left_fen, total_left_fen
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import IllegalTransition, Rejected, Retryable
from payscore_worker.settlement.refund_sight import RefundSight
from payscore_worker.settlement.refunds import Foreseen, Refunds
from payscore_worker.settlement.sight import Pause
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.refunds import CLEAR, GIVE_UP, REQUEST, RefundReports

BATCH: Final = 100
"""Refunds that are read at a time while many are cleared: each is written by itself, beside the settlement."""

WORDS: Final = {
    "asked": "{fen} fen go back; WeChat Pay is asked for it at once",
    "asked_later": "{fen} fen go back; WeChat Pay is asked for it after {at}: it wants a minute between refunds",
    "stands": "it was asked for before, and is {state}: nothing more is asked for",
    "given_up": "{fen} fen are reserved no longer; the refund ends FAILED, and nothing goes back by it any more",
    "refused": "refused: {why}",
    "unasked": "nothing can be decided while WeChat Pay cannot be asked",
}
"""What would come of a request for a refund, or of giving one up."""


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
    return Money(
        paid_fen=payment.paid_fen,
        reserved_fen=payment.reserved_fen,
        refunded_fen=payment.refunded_fen,
        left_fen=total_left_fen(payment),
        largest_fen=largest_left_fen(payment),
        refunds=sum(debit.refunds for debit in payment.debits),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOutlook:
    """What would come of it: one of WORDS, and what stands in its places."""

    key: str
    fen: int
    at: datetime | None = None
    state: str = ""
    why: str = ""

    @property
    def allowed(self) -> bool:
        """Whether anything would be done."""
        return self.key in ("asked", "asked_later", "given_up")

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


def giving_up(sight: RefundSight) -> RefundOutlook:
    """Say what would come of giving up what was seen."""
    fen = sight.refund.amount_fen
    if sight.known is None:
        return RefundOutlook(key="unasked", fen=fen)
    try:
        outcomes.give_up(*sight.pair, GivenUp(by="", reason=""), sight.known)
    except IllegalTransition as error:
        return RefundOutlook(key="refused", fen=fen, why=str(error))
    return RefundOutlook(key="given_up", fen=fen)


def sent(foreseen: Foreseen) -> dict[str, Any]:
    """Read what WeChat Pay would be sent, as it would be sent; empty where nothing would."""
    body: dict[str, Any] = msgspec.json.decode(foreseen.body or b"{}")
    return body


def new_refund_id(now: datetime) -> str:
    """Name a refund that a person asks for: never the same twice, and in WeChat Pay's own alphabet."""
    return f"by-hand-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


class Refunding:
    """Does what people want done about refunds, once it stands in the record."""

    def __init__(
        self, *, refunds: Refunds, actions: Actions, clock: Callable[[], datetime], pause: Pause = asyncio.sleep
    ) -> None:
        self._refunds = refunds
        self._actions = actions
        self._clock = clock
        self._pause = pause

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
        await self._clear(refund_id, by=by, reason=reason)
        with suppress(Retryable):  # the reconciler goes on with it
            await self._refunds.advance(refund_id)
        return await self._refunds.find(refund_id)

    async def clear_all(self, reports: RefundReports, code: str, *, by: str, reason: str) -> AsyncIterator[str]:
        """Take every refund with one problem up again, by batches, each refund once; yields those that were.

        The workers go on with them: each is due within a minute.
        """
        last = ""
        while rows := await reports.problems(code, after=last, limit=BATCH):
            for row in rows:
                last = row["refund_id"]
                with suppress(Rejected):  # somebody else was faster
                    await self._clear(last, by=by, reason=reason)
                    yield last

    async def _clear(self, refund_id: str, *, by: str, reason: str) -> None:
        action = Action(who=by, action=CLEAR, queue="", target=refund_id, reason=reason)
        async with self._actions.recorded_for_one(action, self._clock) as done:
            await self._refunds.clear_problem(refund_id)
            done.moved = 1

    async def see(self, refund_id: str) -> RefundSight:
        """See a refund beside what WeChat Pay says of it now.

        Raises:
            Rejected: there is no such refund.

        """
        return await self._refunds.see(refund_id)

    async def give_up(self, refund_id: str, *, by: str, reason: str, mark: str) -> Refund:
        """End a refund that was seen with this mark, and that WeChat Pay refuses for good; returns how it stands then.

        Raises:
            StorageUnavailable: it could not be recorded, and was not begun.
            SettlementError: as Refunds.give_up says.

        """
        action = Action(who=by, action=GIVE_UP, queue="", target=refund_id, reason=reason)
        async with self._actions.recorded_for_one(action, self._clock) as done:
            given_up = GivenUp(by=by, reason=reason)
            refund = await self._refunds.give_up(refund_id, given_up, mark=mark, pause=self._pause)
            done.moved = 1
        return refund
