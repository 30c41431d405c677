"""Note a fact; advance a trip, step by step, until it rests."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec

from payscore_worker import metrics
from payscore_worker.domain import decisions, outcomes
from payscore_worker.domain.decisions import Decision
from payscore_worker.domain.fares import note_lowered, note_paid_elsewhere
from payscore_worker.domain.next_step import (
    Rest,
    Rules,
    due_at,
    next_step,
)
from payscore_worker.domain.trip import (
    Trip,
    note_cancelled,
    note_ended,
    note_started,
    out_order_no_for,
    too_much_fen,
)
from payscore_worker.errors import (
    ConflictingFact,
    IllegalTransition,
    MalformedMessage,
    NotHeardOf,
    Rejected,
    Retryable,
    TripArchived,
    WechatPayUnavailable,
)
from payscore_worker.events import (
    ClientJump,
    EventIn,
    Notification,
    OrderPaid,
    TripCancelled,
    TripEnded,
    TripFareLowered,
    TripPaidElsewhere,
    TripStarted,
    account_of,
    message_in_hand,
)
from payscore_worker.settlement.books import Change, ReturnBooks, TripBooks
from payscore_worker.settlement.sight import Onlooker, Pause, Sight
from payscore_worker.settlement.translation import (
    cancelled_of,
    ended_of,
    lowered_of,
    paid_elsewhere_of,
    seen,
    started_of,
    whose,
)
from payscore_worker.settlement.trip_calls import Run, passenger
from payscore_worker.settlement.trip_steps import Steps, Terms
from payscore_worker.settlement.turns import Turns
from payscore_worker.storage import Direction, EventRecord, ServiceNote, Storage
from payscore_worker.wechatpay.payscore import Order, PayScore, PayScores, ServiceChange

FARTHEST_START: Final = timedelta(hours=1)
"""A trip that began later than this from now is a slip of the pen, or of a time zone."""

MAX_RIDES: Final = 16
"""Trips of one passenger that are taken up when the service is opened, the newest first: nobody rides more at once."""

MAX_STEPS: Final = 16
"""A trip needs at most seven steps and a few questions; more is a bug."""


class Settlement:
    """Notes facts and advances trips; safe to be called for one trip many times over, here and elsewhere."""

    kind: Final = Trip
    taken_up: Final = metrics.TAKEN_UP

    def __init__(
        self,
        *,
        storage: Storage,
        payscores: PayScores,
        rules: Rules,
        terms: Terms,
        clock: Callable[[], datetime],
        on_announced: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._payscores = payscores
        self._rules = rules
        self._terms = terms
        self._clock = clock
        self._turns = Turns()
        self._books = TripBooks(storage=storage, rules=rules, clock=clock, jump=self._jump, on_announced=on_announced)
        returns = ReturnBooks(storage=storage, rules=rules, clock=clock, on_announced=on_announced)
        self._steps = Steps(
            storage=storage,
            books=self._books,
            returns=returns,
            payscores=payscores,
            rules=rules,
            terms=terms,
            clock=clock,
        )
        self._onlooker = Onlooker(storage=storage, payscores=payscores, clock=clock)

    # --- Facts ---

    async def note_started(self, event: TripStarted) -> None:
        """Note that a trip began.

        Raises:
            ConflictingFact: the trip began otherwise before.
            Rejected: it began in the future, or names an account or an app that is not ours.

        """
        if event.started_at - self._clock() > FARTHEST_START:
            raise Rejected(f"started_at: {event.started_at.isoformat()} lies in the future")
        fact = started_of(event)
        self._payscores.present(fact.account, fact.appid)
        await self._note(event.trip_id, "trip.started", event, lambda trip: self._numbered(note_started(trip, fact)))

    def _numbered(self, trip: Trip) -> Trip:
        """Give a trip whose account is known now the number that follows from it, unless one may stand at WeChat."""
        other = self._rules.other(trip)
        if other is None or trip.bodies:
            return trip
        number = out_order_no_for(trip.trip_id, other.out_order_no_prefix)
        return trip if number == trip.out_order_no else replace(trip, out_order_no=number)

    async def note_ended(self, event: TripEnded) -> None:
        """Note that a trip ended, and its fare.

        Raises:
            ConflictingFact: the trip ended otherwise before, or was cancelled.

        """
        fact = ended_of(event)
        await self._note(event.trip_id, "trip.ended", event, lambda trip: note_ended(trip, fact))

    async def note_cancelled(self, event: TripCancelled) -> None:
        """Note that a trip will not be charged.

        Raises:
            ConflictingFact: the trip was cancelled otherwise before.
            IllegalTransition: the trip has ended.

        """
        fact = cancelled_of(event)
        await self._note(event.trip_id, "trip.cancelled", event, lambda trip: note_cancelled(trip, fact))

    async def note_lowered(self, event: TripFareLowered) -> None:
        """Note that the fare of a trip is less than was told before (design rule 13).

        Raises:
            TooEarly: it has not ended, or no such trip is known yet.
            ConflictingFact: it was cancelled.
            IllegalTransition: the fare is not below the present one, or what was paid cannot go back.
            TripArchived: it is archived.

        """
        fact = lowered_of(event)
        await self._note_of_ended(event.trip_id, "trip.fare_lowered", event, lambda trip: note_lowered(trip, fact))

    async def note_paid_elsewhere(self, event: TripPaidElsewhere) -> None:
        """Note that the fare of a trip was paid otherwise, so that WeChat Pay is to collect no more (design rule 11).

        Raises:
            TooEarly: it has not ended, or no such trip is known yet.
            ConflictingFact: it was cancelled, or paid elsewhere otherwise.
            IllegalTransition: the amount is not the fare, or the fare was waived or written off.
            TripArchived: it is archived.

        """
        fact, now = paid_elsewhere_of(event), self._clock()
        await self._note_of_ended(
            event.trip_id, "trip.paid_elsewhere", event, lambda trip: note_paid_elsewhere(trip, fact, now)
        )

    async def note_paid(self, event: OrderPaid) -> str:
        """Note what a verified notification of a payment says of an order, as `note_order`."""
        return await self.note_order("payscore.user_paid", event)

    async def note_order(self, type_: str, event: Notification) -> str:
        """Note what a verified notification says of an order; returns the trip's id.

        Raises:
            MalformedMessage: a member is of another type than documented.
            Rejected: the order is not ours, or no trip, archived or not, has its number.
            ConflictingFact: it contradicts a settlement that is over.

        """
        order = self._payscores.current.read_order(event.resource)
        trip = await self._storage.load_by_out_order_no(order.out_order_no)
        if trip is None:
            return await self._compare_payment(order, event)
        if not self._is_ours(order, trip) or not self._is_of_account(order.mchid, event):
            raise Rejected("the notification names another mchid, appid or service_id")
        word, noted = seen(order), self._heard(type_, event)
        moves: bool

        def hear(newest: Trip) -> Trip:
            nonlocal moves
            told = outcomes.see(newest, word, self._clock())
            moves = told is not newest
            return told

        try:
            heard = await self._books.change(trip, hear, events=[noted])
        except ConflictingFact:
            await self._storage.note_event(trip.trip_id, noted)
            raise
        if not moves:  # else it was written with what it moved
            await self._storage.note_event(trip.trip_id, noted)
        if too_much_fen(heard):
            await self.advance(trip.trip_id)  # what goes back need not wait for the reconciler
        return trip.trip_id

    def _is_ours(self, order: Order, trip: Trip) -> bool:
        """Tell whether an order is the one that this trip was opened with, or would be."""
        return self._payscores.of(None if trip.opening is None else trip.opening.terms).is_ours(order)

    def _is_of_account(self, mchid: str, event: Notification) -> bool:
        """Tell whether it was that merchant's keys that opened a notification."""
        return mchid == self._payscores.present(account_of(event), "").terms.mchid

    def _heard(self, type_: str, event: EventIn) -> EventRecord:
        return EventRecord(
            event_id=message_in_hand.get(),
            direction=Direction.IN,
            type=type_,
            at=self._clock(),
            body=msgspec.json.encode(event),
        )

    async def note_service(self, change: ServiceChange, payscore: PayScore) -> None:
        """Note that a passenger opened or closed a merchant's PayScore service, if what is known of it is ever used."""
        if not self._terms.service_state_ttl:
            return
        note = ServiceNote(enabled=change.enabled, as_of=change.changed_at or self._clock())
        await self._storage.note_service(passenger(change.openid, payscore, self._payscores), note)

    async def service_opened(self, openid: str, mchid: str) -> None:
        """Have the orders of the trips opened that a passenger rides on though they were declined without the service.

        Those of the merchant whose service it is: another company's may still be off.

        One that cannot be advanced now is due, and the reconciler goes on with it.
        """
        for declined in await self._storage.not_enabled(openid, limit=MAX_RIDES):
            if not self._is_with(mchid, declined):
                continue
            now = self._clock()
            trip = await self._books.change(declined, partial(outcomes.service_opened, now=now, rules=self._rules))
            if trip.version != declined.version:
                with suppress(Retryable):
                    await self.advance(trip.trip_id)

    def _is_with(self, mchid: str, trip: Trip) -> bool:
        """Tell whether an order for a trip would be opened with this merchant."""
        with suppress(Rejected):  # by an account that is gone, none is
            return self._payscores.present(*whose(trip)).terms.mchid == mchid
        return False

    async def clear_problem(self, trip_id: str) -> None:
        """Take a trip up again that stood still for a person to look.

        Raises:
            Rejected: there is no such trip, or it has no problem.

        """
        trip = await self._storage.load(trip_id)
        if trip is None or trip.problem is None:
            raise Rejected(f"trip {trip_id!r} " + ("is not known" if trip is None else "has no problem"))
        await self._books.change(trip, outcomes.without_problem)

    # --- What people decide ---

    async def look(self, trip_id: str, *, pause: Pause | None = None) -> Sight:
        """See a trip beside what WeChat Pay says of it now.

        Raises:
            Rejected: there is no such trip.
            StorageUnavailable: the database is out of reach.

        """
        trip = await self._storage.load(trip_id)
        if trip is None:
            raise Rejected(f"trip {trip_id!r} is not known")
        run = Run(trip)
        await self._steps.recall(run)
        return await self._onlooker.look(run.trip, pause=pause)

    async def decide(self, trip_id: str, decision: Decision, *, mark: str, pause: Pause = asyncio.sleep) -> Trip:
        """Do what a person decided about what they saw; `mark` is the mark of that sight.

        Raises:
            Rejected: there is no such trip.
            WechatPayUnavailable: WeChat Pay cannot be asked, so nothing is decided.
            IllegalTransition: says why not, and what to do instead; or what was seen is no longer so.

        """
        async with self._turns.of(trip_id):
            sight = await self.look(trip_id, pause=pause)
            known, now = sight.known, self._clock()
            if known is None:
                raise WechatPayUnavailable(f"nothing is decided: WeChat Pay {sight.text}")

            def decided(newest: Trip) -> Trip:
                if decisions.mark_of(newest, known) != mark:
                    raise IllegalTransition("the trip, or its order, has changed since you looked: look again")
                return decisions.decide(newest, decision, known, now)

            try:
                trip = await self._books.change(sight.trip, decided, calls=sight.asked)
            except IllegalTransition:
                for question in sight.asked:  # WeChat Pay's word was heard all the same
                    await self._storage.journal(sight.trip, question)
                raise
        with suppress(Retryable):  # it stands decided, and the reconciler goes on with it
            await self.advance(trip_id)
        return await self._books.reload(trip)

    async def _note(self, trip_id: str, type_: str, event: EventIn, fact: Change) -> None:
        now = self._clock()
        trip = await self._storage.load(trip_id) or self._new_trip(trip_id, now)
        try:
            await self._books.change(trip, fact, events=[self._heard(type_, event)])
        except TripArchived:
            await self._compare_fact(fact(self._new_trip(trip_id, now)))

    async def _note_of_ended(self, trip_id: str, type_: str, event: EventIn, fact: Change) -> None:
        """Note what only a trip that is known can be told."""
        trip = await self._storage.load(trip_id)
        if trip is None:
            archived = await self._storage.archived(trip_id)
            if archived is None:
                raise NotHeardOf(f"trip_id: trip {trip_id!r} is not known")
            raise TripArchived(
                f"trip_id: the trip ended as {archived.state}, and is archived in {archived.archive}; "
                "what goes back now is refunded in the merchant platform"
            )
        await self._books.change(trip, fact, events=[self._heard(type_, event)])

    async def _compare_fact(self, told: Trip) -> None:
        """Take a fact of an archived trip: said before, it changes nothing; it never begins the trip anew (ADR 11)."""
        archived = await self._storage.archived(told.trip_id)
        if archived is None:
            raise TripArchived(f"another trip has the out_order_no {told.out_order_no!r} of trip {told.trip_id!r}")
        if not archived.knows(told):
            raise TripArchived(f"the trip ended as {archived.state}, and is archived in {archived.archive}")

    async def _compare_payment(self, order: Order, event: Notification) -> str:
        """Take WeChat Pay's word on an order that no trip has; returns the trip's id where the trip is archived."""
        if not self._is_of_account(order.mchid, event):
            raise Rejected("the notification names another mchid")
        archived = await self._storage.archived_by_out_order_no(order.out_order_no)
        if archived is None:
            raise Rejected(f"no trip has the out_order_no {order.out_order_no!r}")
        told = outcomes.see(archived.trip, seen(order), self._clock())
        if told.problem is not None:
            raise ConflictingFact(told.problem.message)
        if archived.payment is not None and not archived.payment.debits and order.debits:
            raise ConflictingFact("WeChat Pay has collected for a trip that was paid without it, and is archived")
        return archived.trip_id

    def _new_trip(self, trip_id: str, now: datetime) -> Trip:
        out_order_no = out_order_no_for(trip_id, self._terms.out_order_no_prefix)
        return Trip(trip_id=trip_id, out_order_no=out_order_no, noted_at=now)

    # --- Advancing ---

    async def advance(self, trip_id: str) -> None:
        """Take a trip as far as it will go now.

        Raises:
            Retryable: something is out of reach; the trip is where it was, and the same call heals it.

        """
        async with self._turns.of(trip_id):
            trip = await self._storage.load(trip_id)
            if trip is not None:
                await self._advance(Run(trip))

    async def take_up(self, case: Trip) -> None:
        """Advance a trip that the reconciler has claimed and loaded."""
        async with self._turns.of(case.trip_id):
            run = Run(case)
            await self._advance(run)
            if run.trip.version == case.version:
                await self._storage.reschedule(case, due_at=due_at(run.trip, self._clock(), self._rules))

    async def _advance(self, run: Run) -> None:
        await self._steps.recall(run)
        for _ in range(MAX_STEPS):
            step = next_step(run.trip, self._clock(), self._rules)
            if isinstance(step, Rest):
                return
            try:
                await self._steps.take(step, run)
            except MalformedMessage as error:
                await self._steps.stop(run, "malformed_call", str(error), step=type(step).__name__)
        raise RuntimeError(f"trip {run.trip.trip_id} took more than {MAX_STEPS} steps")

    def _jump(self, trip: Trip) -> ClientJump | None:
        if trip.package:
            return self._payscores.of(None if trip.opening is None else trip.opening.terms).confirm_jump(trip.package)
        return self._payscores.present(*whose(trip)).enable_jump(trip.out_order_no, trip.enable_token)
