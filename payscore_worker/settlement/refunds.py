"""Note that money is to go back; advance a refund, step by step, until it rests."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from payscore_worker import metrics
from payscore_worker.domain import refund as outcomes
from payscore_worker.domain.next_step import (
    Rest,
    Rules,
)
from payscore_worker.domain.refund import GivenUp, Pair, Refund, next_step
from payscore_worker.domain.refund import RefundRequested as Asked
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import (
    ConflictingFact,
    IllegalTransition,
    MalformedMessage,
    MerchantRefused,
    Rejected,
    TripArchived,
    TripBusy,
    WechatPayUnavailable,
)
from payscore_worker.events import EventIn, RefundChanged, RefundRequested, account_of, message_in_hand
from payscore_worker.settlement.books import MAX_CONFLICTS, RefundBooks
from payscore_worker.settlement.refund_sight import RefundOnlooker, RefundSight
from payscore_worker.settlement.refund_steps import RefundRun, RefundSteps, contradiction
from payscore_worker.settlement.sight import Pause
from payscore_worker.settlement.translation import new_refund, refund_requested, refund_seen
from payscore_worker.settlement.turns import Turns
from payscore_worker.storage import Direction, EventRecord, Storage
from payscore_worker.wechatpay.transactions import Refunds as WechatPayRefunds

NOTIFICATIONS: Final = "refund."
"""Before the state that WeChat Pay tells of."""

MAX_STEPS: Final = 8
"""A refund needs at most three steps at a time; more is a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What would come of a request for a refund."""

    trip: Trip
    refund: Refund | None
    """As it would be noted, or as it stands; None: it would be refused."""
    stands: bool = False
    """It was requested before."""
    why_not: str = ""
    body: bytes = b""
    """What WeChat Pay would be sent."""

    @property
    def mark(self) -> str:
        """Sum up what it is asked of."""
        return outcomes.mark_of(self.trip)


class Refunds:
    """Notes requests and advances refunds; safe to be called for one refund many times over, here and elsewhere."""

    kind: Final = Refund
    taken_up: Final = metrics.REFUNDS_TAKEN_UP

    def __init__(
        self,
        *,
        storage: Storage,
        refunds: WechatPayRefunds,
        rules: Rules,
        prefix: str,
        clock: Callable[[], datetime],
        on_announced: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._refunds = refunds
        self._rules = rules
        self._prefix = prefix
        self._clock = clock
        self._turns = Turns()
        self._books = RefundBooks(storage=storage, rules=rules, clock=clock, on_announced=on_announced)
        self._onlooker = RefundOnlooker(storage=storage, refunds=refunds, clock=clock)
        self._steps = RefundSteps(storage=storage, books=self._books, refunds=refunds, clock=clock)

    # --- Facts ---

    async def note_requested(self, event: RefundRequested) -> Refund:
        """Note that money is to go back, and reserve it on the trip; the same again changes nothing.

        Raises:
            ConflictingFact: the refund was requested otherwise before.
            IllegalTransition: the trip is not paid, or less of it is left.
            Rejected: there is no such trip.
            TripArchived: it is archived.

        """
        return await self._request(refund_requested(event), [self._heard("refund.requested", event)])

    async def _request(self, asked: Asked, events: Sequence[EventRecord], *, mark: str | None = None) -> Refund:
        for _ in range(MAX_CONFLICTS):
            # The trip first: a refund that is written after it was loaded is seen next, or keeps us from writing.
            trip = await self._storage.load(asked.trip_id)
            refund = await self._storage.load_refund(asked.refund_id)
            if refund is not None:
                outcomes.see_that_it_is_the_same(refund, asked)
                return refund
            if trip is None:
                raise await self._not_there(asked.trip_id)
            if mark is not None and mark != outcomes.mark_of(trip):
                raise IllegalTransition("the trip's money has changed since you looked: look again")
            pair = self._reserved(trip, asked)
            written = await self._books.write((trip, pair[1]), pair, calls=(), events=events)
            if written is not None:
                return written[1]
        raise TripBusy(f"trip {asked.trip_id} was moved by others {MAX_CONFLICTS} times in a row")

    def _reserved(self, trip: Trip, asked: Asked) -> Pair:
        other = self._rules.other(trip)
        prefix = self._prefix if other is None else other.out_order_no_prefix
        return outcomes.request(trip, asked, self._clock(), mchid=self._mchid(trip), prefix=prefix)

    async def note_changed(self, event: RefundChanged) -> str:
        """Note what a verified notification says of a refund; returns the refund's id.

        Raises:
            MalformedMessage: a member is of another type than documented, or says too little.
            Rejected: no refund of ours has its number, or it is about another payment.
            ConflictingFact: it contradicts how the refund ended.

        """
        told = self._refunds.read(event.resource)
        refund = await self._storage.load_refund_by_out_refund_no(told.out_refund_no)
        if refund is None:
            raise Rejected(f"no refund has the out_refund_no {told.out_refund_no!r}")
        wrong = contradiction(refund, told)
        if wrong or refund.mchid != self._mchid_of(account_of(event)):
            raise Rejected(f"the notification names another {wrong or 'mchid'}")
        seen, now = refund_seen(told), self._clock()
        noted = self._heard(f"{NOTIFICATIONS}{seen.phase.lower()}", event)
        if not seen.is_clear:
            raise MalformedMessage("refund_status: does not say where the refund stands, or how much it is")
        before = (await self._trip(refund.trip_id), refund)
        moves: bool

        def hear(newest: Pair) -> Pair:
            nonlocal moves
            after = outcomes.see(*newest, seen, now)
            moves = after != newest
            return after

        try:
            await self._books.change(before, hear, events=[noted])
        except ConflictingFact:
            await self._storage.note_event(refund.trip_id, noted)
            raise
        if not moves:  # else it was written with what it moved
            await self._storage.note_event(refund.trip_id, noted)
        return refund.refund_id

    async def clear_problem(self, refund_id: str) -> None:
        """Take a refund up again that stood still for a person to look.

        Raises:
            Rejected: there is no such refund, or it has no problem.

        """
        refund = await self._storage.load_refund(refund_id)
        if refund is None or refund.problem is None:
            raise Rejected(f"refund {refund_id!r} " + ("is not known" if refund is None else "has no problem"))
        now = self._clock()
        before = (await self._trip(refund.trip_id), refund)
        await self._books.change(before, lambda pair: (pair[0], outcomes.without_problem(pair[1], now)))

    # --- What people ask for ---

    async def look(self, trip_id: str) -> Trip:
        """See the trip that money is to go back of.

        Raises:
            Rejected: there is no such trip.
            TripArchived: it is archived.

        """
        return await self._trip(trip_id)

    async def find(self, refund_id: str) -> Refund:
        """See a refund as it stands.

        Raises:
            Rejected: there is no such refund.

        """
        refund = await self._storage.load_refund(refund_id)
        if refund is None:
            raise Rejected(f"refund {refund_id!r} is not known")
        return refund

    async def foresee(self, asked: Asked) -> Foreseen:
        """See what would come of a request, and change nothing.

        Raises:
            ConflictingFact: the refund was requested otherwise before.
            Rejected: there is no such trip.
            TripArchived: it is archived.

        """
        trip, refund = await self._trip(asked.trip_id), await self._storage.load_refund(asked.refund_id)
        if refund is not None:
            outcomes.see_that_it_is_the_same(refund, asked)
            return Foreseen(trip=trip, refund=refund, stands=True)
        try:
            _, refund = self._reserved(trip, asked)
            call = self._refunds.of(refund.mchid).request(new_refund(refund))
        except (IllegalTransition, MalformedMessage, MerchantRefused) as error:
            return Foreseen(trip=trip, refund=None, why_not=str(error))
        return Foreseen(trip=trip, refund=refund, body=call.body)

    async def request_by_hand(self, asked: Asked, *, mark: str) -> Refund:
        """Do as `note_requested` on a person's word, which stands in the record of actions: nobody told us of it.

        `mark` is the mark of what that person saw; the same request again changes nothing, whatever it is.

        Raises:
            IllegalTransition: what was seen is no longer so; otherwise as `note_requested`.

        """
        return await self._request(asked, [], mark=mark)

    async def see(self, refund_id: str, *, pause: Pause | None = None) -> RefundSight:
        """See a refund beside what WeChat Pay says of it now, and change nothing.

        Raises:
            Rejected: there is no such refund.

        """
        refund = await self.find(refund_id)
        return await self._onlooker.look((await self._trip(refund.trip_id), refund), pause=pause)

    async def give_up(self, refund_id: str, given_up: GivenUp, *, mark: str, pause: Pause = asyncio.sleep) -> Refund:
        """End a refund on the word of a person who saw it with this mark; WeChat Pay's own word outranks theirs.

        Raises:
            Rejected: there is no such refund.
            WechatPayUnavailable: WeChat Pay cannot be asked, so nothing is decided.
            IllegalTransition: says why not, and what to do instead; or what was seen is no longer so.
            ConflictingFact: WeChat Pay's word contradicts how the refund ended.

        """
        async with self._turns.of(refund_id):
            sight, now = await self.see(refund_id, pause=pause), self._clock()
            known = sight.known
            if known is None:
                for question in sight.asked:
                    await self._storage.journal(sight.refund, question)
                raise WechatPayUnavailable(f"nothing is decided: WeChat Pay {sight.text}")
            if known.seen is not None:
                word = known.seen
                await self._books.change(sight.pair, lambda pair: outcomes.see(*pair, word, now), calls=sight.asked)
                raise IllegalTransition(
                    f"WeChat Pay has the refund as {word.phase}: that is taken, nothing is given up"
                )

            def ended(newest: Pair) -> Pair:
                if outcomes.giving_up_of(newest[1], known) != mark:
                    raise IllegalTransition("the refund has changed since you looked: look again")
                return outcomes.give_up(*newest, given_up, known)

            try:
                _, refund = await self._books.change(sight.pair, ended, calls=sight.asked)
            except IllegalTransition:
                for question in sight.asked:  # WeChat Pay was asked all the same
                    await self._storage.journal(sight.refund, question)
                raise
        return refund

    async def _trip(self, trip_id: str) -> Trip:
        trip = await self._storage.load(trip_id)
        if trip is None:
            raise await self._not_there(trip_id)
        return trip

    async def _not_there(self, trip_id: str) -> Rejected:
        """Say why there is no row of this trip."""
        archived = await self._storage.archived(trip_id)
        if archived is None:
            return Rejected(f"trip_id: trip {trip_id!r} is not known")
        return TripArchived(
            f"trip_id: the trip ended as {archived.state}, and is archived in {archived.archive}; "
            "see there whether it was refunded already, else refund it in the merchant platform"
        )

    def _mchid(self, trip: Trip) -> str:
        """Name the merchant whom the trip was paid to."""
        terms = None if trip.opening is None else trip.opening.terms
        return self._refunds.mchid if terms is None else terms.mchid

    def _mchid_of(self, account: str) -> str:
        """Name the merchant whose keys opened a notification; empty where that account is no longer there."""
        if account in ("", self._rules.account):
            return self._refunds.mchid
        return next((one.mchid for one in self._rules.others if one.name == account), "")

    def _heard(self, type_: str, event: EventIn) -> EventRecord:
        return EventRecord(
            event_id=message_in_hand.get(),
            direction=Direction.IN,
            type=type_,
            at=self._clock(),
            body=msgspec.json.encode(event),
        )

    # --- Advancing ---

    async def advance(self, refund_id: str) -> None:
        """Take a refund as far as it will go now.

        Raises:
            Retryable: something is out of reach; the refund is where it was, and the same call heals it.

        """
        async with self._turns.of(refund_id):
            refund = await self._storage.load_refund(refund_id)
            if refund is not None:
                await self._advance(refund)

    async def take_up(self, case: Refund) -> None:
        """Advance a refund that the reconciler has claimed and loaded."""
        async with self._turns.of(case.refund_id):
            refund = await self._advance(case)
            if refund.version == case.version:
                await self._storage.reschedule(case, due_at=outcomes.due_at(refund, self._clock()))

    async def _advance(self, refund: Refund) -> Refund:
        run = RefundRun((await self._trip(refund.trip_id), refund))
        for _ in range(MAX_STEPS):
            step = next_step(run.refund, self._clock())
            if isinstance(step, Rest):
                return run.refund
            try:
                await self._steps.take(step, run)
            except MalformedMessage as error:
                await self._steps.stop(run, "malformed_call", str(error), step=type(step).__name__)
        raise RuntimeError(f"refund {refund.refund_id} took more than {MAX_STEPS} steps")
