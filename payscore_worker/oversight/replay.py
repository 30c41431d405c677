"""What would come of a dead letter if it were replayed: judged by its trip's row and by what WeChat Pay says now."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from payscore_worker.domain import authorisation as authorisations
from payscore_worker.domain import outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.fares import note_lowered, note_paid_elsewhere
from payscore_worker.domain.trip import (
    TERMINAL,
    OrderTerms,
    Trip,
    is_paid_twice,
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
    Refusal,
    Rejected,
    Retryable,
    SettlementError,
    TooEarly,
    TripArchived,
    WechatPayRejected,
)
from payscore_worker.events import (
    AuthorisationEnded,
    AuthorisationRequested,
    EventIn,
    Notification,
    OrderConfirmed,
    OrderPaid,
    RefundChanged,
    RefundRequested,
    ServiceChanged,
    TripCancelled,
    TripEnded,
    TripFareLowered,
    TripPaidElsewhere,
    TripStarted,
    read_event,
)
from payscore_worker.messaging.deadletters import DeadLetter, Decision
from payscore_worker.settlement.refund_steps import contradiction
from payscore_worker.settlement.translation import (
    authorisation_requested,
    cancelled_of,
    ended_of,
    lowered_of,
    paid_elsewhere_of,
    refund_requested,
    refund_seen,
    seen,
    started_of,
    whose,
)
from payscore_worker.storage import Storage
from payscore_worker.wechatpay.payscore import Order, PayScore, PayScores, Phase
from payscore_worker.wechatpay.transactions import read_refund

ASK_SECONDS: Final = 20.0
"""A person waits; the client's own tries against a WeChat Pay that is out would take twice as long."""

Queues = Mapping[str, Mapping[str, type[EventIn]]]
"""The event types that each queue carries."""


@dataclass(frozen=True, slots=True)
class Word:
    """What WeChat Pay says of an order: the order, or that there is none, or why it could not be asked."""

    order: Order | None = None
    unknown: str = ""

    @property
    def text(self) -> str:
        """Say it in a line."""
        if self.unknown:
            return f"could not be asked: {self.unknown}"
        if self.order is None:
            return "no such order"
        return f"{self.order.phase}, paid {self.order.paid_fen} of {self.order.total_fen} fen"


@dataclass(frozen=True, slots=True)
class Prospect:
    """A dead letter beside what is known of its trip, and what follows."""

    trip: Trip | None
    word: Word | None
    """None where nothing is to be asked: the letter is about no order, or cannot be read."""
    decision: Decision


class Judge:
    """Judges dead letters one by one; changes nothing."""

    def __init__(
        self,
        *,
        storage: Storage,
        payscores: PayScores | str,
        queues: Queues,
        out_order_no_prefix: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._payscores = payscores
        """Or why there is none."""
        self._queues = queues
        self._prefix = out_order_no_prefix
        self._clock = clock
        self._silent = ""
        """Why WeChat Pay is asked no more."""

    async def decide(self, letter: DeadLetter) -> Decision:
        """Decide whether a letter may go back.

        Raises:
            StorageUnavailable: the database cannot be asked; nothing should go back then.

        """
        return (await self.prospect(letter, ask_always=False)).decision

    async def prospect(self, letter: DeadLetter, *, ask_always: bool = True) -> Prospect:
        """Look at everything that bears on a letter; `ask_always`: WeChat Pay too where its word would not matter.

        Raises:
            StorageUnavailable: the database cannot be asked.

        """
        trip = await self._trip(letter.trip_id) if letter.trip_id else None
        word = None
        try:
            event = self._read(letter)
            if ask_always or self._matters(event, trip):
                word = await self._ask(letter, trip)
            decision = await self._decide(event, trip, word)
        except (ConflictingFact, IllegalTransition) as error:
            decision = Decision(allowed=False, why=str(error))
        except Rejected as error:
            if ask_always:
                word = await self._ask(letter, trip)
            decision = Decision(allowed=True, why=f"will be dead-lettered again: {error}")
        return Prospect(trip, word, decision)

    # --- What is known ---

    def _read(self, letter: DeadLetter) -> EventIn:
        expected = self._queues[letter.queue]
        message_id = letter.message_id or None
        return read_event(letter.body, content_type=letter.content_type, message_id=message_id, expected=expected).event

    async def _trip(self, name: str) -> Trip | None:
        return await self._storage.load(name) or await self._storage.load_by_out_order_no(name)

    @staticmethod
    def _matters(event: EventIn, trip: Trip | None) -> bool:
        """Tell whether WeChat Pay's word could speak against it: a trip that is over is moved by no event."""
        row_alone = isinstance(event, RefundRequested | AuthorisationRequested | AuthorisationEnded | Notification)
        return not row_alone and (trip is None or trip.state not in TERMINAL)

    async def _ask(self, letter: DeadLetter, trip: Trip | None) -> Word | None:
        if not letter.trip_id:
            return None
        if self._silent or isinstance(self._payscores, str):
            return Word(unknown=self._silent or str(self._payscores))
        out_order_no = out_order_no_for(letter.trip_id, self._prefix) if trip is None else trip.out_order_no
        try:
            async with asyncio.timeout(ASK_SECONDS):
                order, _ = await _speaking(self._payscores, trip).query(out_order_no)
        except WechatPayRejected as error:
            return Word() if error.refusal is Refusal.ORDER_NOT_FOUND else Word(unknown=str(error))
        except TimeoutError:
            return self._give_up_asking(f"no answer within {ASK_SECONDS:.0f} seconds")
        except Retryable as error:
            return self._give_up_asking(str(error))
        except SettlementError as error:
            return Word(unknown=str(error))
        return Word(order)

    def _give_up_asking(self, why: str) -> Word:
        """Ask no more: the next question would take as long, and there may be hundreds."""
        self._silent = why
        return Word(unknown=why)

    # --- What follows ---

    async def _decide(self, event: EventIn, trip: Trip | None, word: Word | None) -> Decision:
        match event:
            case TripStarted() | TripEnded() | TripCancelled():
                return self._about_a_fact(event, trip or self._new(event.trip_id), word)
            case TripFareLowered() | TripPaidElsewhere():
                return self._about_a_fare(event, trip or await self._known(event.trip_id), word)
            case OrderPaid() | OrderConfirmed():
                return self._about_an_order(event, trip)
            case ServiceChanged():
                return Decision(allowed=True, why="counts unless something newer is known of the passenger")
            case RefundRequested():
                return await self._about_a_request(event)
            case AuthorisationRequested():
                return await self._about_an_authorisation(event)
            case AuthorisationEnded():
                return Decision(allowed=True, why="ends what the passenger has authorised, if he has")
            case RefundChanged():
                return await self._about_a_refund(event)
            case _:
                raise TypeError(f"no rule for {type(event).__name__}")

    def _new(self, trip_id: str) -> Trip:
        return Trip(
            trip_id=trip_id, out_order_no=out_order_no_for(trip_id, self._prefix), version=0, noted_at=self._clock()
        )

    def _about_a_fact(self, event: TripStarted | TripEnded | TripCancelled, trip: Trip, word: Word | None) -> Decision:
        """Note the fact, as the handler would, and let WeChat Pay's word meet what comes of it."""
        noted = _noted(event, trip)
        if trip.state in TERMINAL:
            if noted == trip:
                return Decision(allowed=True, why=f"changes nothing: it is noted, and the trip is {trip.state}")
            return Decision(allowed=False, why=f"the trip is {trip.state} without it, and stays so")
        return self._let_meet(noted, trip, word)

    def _about_a_fare(self, event: TripFareLowered | TripPaidElsewhere, trip: Trip, word: Word | None) -> Decision:
        """Note what is told of a fare after the trip has ended, as the handler would."""
        try:
            noted = self._noted_of_a_fare(event, trip)
        except TooEarly as error:
            return Decision(allowed=True, why=f"will be dead-lettered again unless the end comes soon: {error}")
        if trip.state in TERMINAL:
            return Decision(allowed=True, why=_outlook_when_over(noted, trip))
        return self._let_meet(noted, trip, word)

    def _noted_of_a_fare(self, event: TripFareLowered | TripPaidElsewhere, trip: Trip) -> Trip:
        match event:
            case TripFareLowered():
                return note_lowered(trip, lowered_of(event))
            case TripPaidElsewhere():
                return note_paid_elsewhere(trip, paid_elsewhere_of(event), self._clock())
            case _:
                assert_never(event)

    def _let_meet(self, noted: Trip, trip: Trip, word: Word | None) -> Decision:
        """Let WeChat Pay's word meet what would be noted."""
        if word is not None and word.order is not None and word.order.phase is not Phase.UNKNOWN:
            self._meet(noted, word.order)
        return Decision(allowed=True, why=_outlook(noted, trip, word))

    def _meet(self, trip: Trip, order: Order) -> None:
        """Let the trip see the order.

        Raises:
            ConflictingFact: a person would have to look at what comes of it.

        """
        if not self._is_ours(order, trip) or order.out_order_no != trip.out_order_no:
            raise ConflictingFact("WeChat Pay answers with another order than ours")
        after = outcomes.see(trip, seen(order), self._clock())
        if after.problem is not None:
            raise ConflictingFact(f"{after.problem.message} (WeChat Pay: {Word(order).text})")

    def _about_an_order(self, event: OrderPaid | OrderConfirmed, trip: Trip | None) -> Decision:
        if isinstance(self._payscores, str):
            return Decision(allowed=True, why=f"not judged: {self._payscores}")
        order = self._payscores.current.read_order(event.resource)
        if not self._is_ours(order, trip):
            raise Rejected("the notification names another mchid, appid or service_id")
        if trip is None:
            raise Rejected(f"no trip has the out_order_no {order.out_order_no!r}")
        if order.phase is Phase.UNKNOWN:
            return Decision(allowed=True, why="changes nothing: it does not say where the order stands")
        after = outcomes.see(trip, seen(order), self._clock())
        if after == trip:
            return Decision(allowed=True, why=f"changes nothing: the trip is {trip.state}")
        if after.problem is not None and trip.problem is None:
            raise ConflictingFact(after.problem.message)
        if after.opened_at is not None is trip.opened_at and after.state is trip.state:
            return Decision(allowed=True, why=f"shows that the order runs; the trip is {trip.state}")
        return Decision(allowed=True, why=f"takes the trip from {trip.state} to {after.state}")

    async def _about_a_request(self, event: RefundRequested) -> Decision:
        """Let the trip reserve the amount, as the handler would."""
        asked = refund_requested(event)
        noted = await self._storage.load_refund(asked.refund_id)
        if noted is not None:
            refunds.see_that_it_is_the_same(noted, asked)
            return Decision(allowed=True, why=f"noted already; the refund is {noted.state}")
        trip = await self._known(asked.trip_id)
        refunds.request(trip, asked, self._clock(), mchid="", prefix=self._prefix)
        return Decision(allowed=True, why=f"is noted; {asked.amount_fen} fen go back")

    async def _about_an_authorisation(self, event: AuthorisationRequested) -> Decision:
        """Compare with what was requested under its id, as the handler would."""
        asked = authorisation_requested(event)
        number = authorisations.authorization_code_for(asked.request_id, self._prefix)
        noted = await self._storage.load_authorisation(number)
        if noted is None:
            return Decision(allowed=True, why="is noted; the passenger is told what he signs with")
        authorisations.requested_again(noted, asked, self._clock())
        return Decision(allowed=True, why=f"noted already; the authorisation is {noted.state}")

    async def _about_a_refund(self, event: RefundChanged) -> Decision:
        told = read_refund(event.resource)
        refund = await self._storage.load_refund_by_out_refund_no(told.out_refund_no)
        if refund is None:
            raise Rejected(f"no refund has the out_refund_no {told.out_refund_no!r}")
        if wrong := contradiction(refund, told):
            raise Rejected(f"the notification names another {wrong}")
        word = refund_seen(told)
        if not word.is_clear:
            raise MalformedMessage("refund_status: does not say where the refund stands, or how much it is")
        trip = await self._known(refund.trip_id)
        _, after = refunds.see(trip, refund, word, self._clock())
        if after == refund:
            return Decision(allowed=True, why=f"changes nothing: the refund is {refund.state}")
        if after.problem is not None:
            return Decision(allowed=True, why=f"leaves the refund to a person: {after.problem.code}")
        return Decision(allowed=True, why=f"takes the refund from {refund.state} to {after.state}")

    async def _known(self, trip_id: str) -> Trip:
        trip = await self._storage.load(trip_id)
        if trip is not None:
            return trip
        archived = await self._storage.archived(trip_id)
        if archived is not None:
            raise TripArchived(f"trip_id: the trip ended as {archived.state}, and is archived in {archived.archive}")
        raise Rejected(f"trip_id: trip {trip_id!r} is not known")

    def _is_ours(self, order: Order, trip: Trip | None) -> bool:
        return not isinstance(self._payscores, str) and self._payscores.of(_terms(trip)).is_ours(order)


def _speaking(payscores: PayScores, trip: Trip | None) -> PayScore:
    """Speak of an order under its terms, or under those of the account that its trip names."""
    terms = _terms(trip)
    return payscores.present(*whose(trip)) if trip is not None and terms is None else payscores.of(terms)


def _terms(trip: Trip | None) -> OrderTerms | None:
    return None if trip is None or trip.opening is None else trip.opening.terms


def _noted(event: TripStarted | TripEnded | TripCancelled, trip: Trip) -> Trip:
    match event:
        case TripStarted():
            return note_started(trip, started_of(event))
        case TripEnded():
            return note_ended(trip, ended_of(event))
        case TripCancelled():
            return note_cancelled(trip, cancelled_of(event))
        case _:
            assert_never(event)


def _outlook_when_over(noted: Trip, trip: Trip) -> str:
    if noted == trip:
        return f"changes nothing: it is noted, and the trip is {trip.state}"
    if is_paid_twice(noted):
        return f"is noted; WeChat Pay has collected as well, so {too_much_fen(noted)} fen came in twice"
    if back_fen := too_much_fen(noted):
        return f"is noted; {back_fen} fen go back"
    if noted.state is not trip.state:
        return f"takes the trip from {trip.state} to {noted.state}"
    return f"is noted; the trip is {trip.state}, and stays so"


def _outlook(noted: Trip, trip: Trip, word: Word | None) -> str:
    what = "noted already; takes the trip up again" if noted == trip else f"is noted; the trip is {trip.state}"
    if trip.problem is not None:
        what = f"is noted; the trip stands still until its problem {trip.problem.code} is cleared"
    return what if word is None else f"{what}; WeChat Pay: {word.text}"
