"""The trip: its facts, its states, what became of it, and what is owed and paid for it."""

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal

MAX_OUT_ORDER_NO: Final = 32
"""What WeChat allows (reference payscore-api A.2, B.3)."""

LATE_LOOK: Final = timedelta(minutes=15)
"""When an end that no signed word of the order stands behind is looked at once more: by then no send of its create can
be on its way any longer (three tries of thirty seconds on each of two hosts)."""


class TripState(StrEnum):
    """Where a trip stands (design 2)."""

    NOTED = "NOTED"
    OPEN = "OPEN"
    COMPLETED = "COMPLETED"
    PAID = "PAID"
    DECLINED = "DECLINED"
    CANCELLED = "CANCELLED"


TERMINAL: Final = frozenset({TripState.PAID, TripState.DECLINED, TripState.CANCELLED})


COMPLETED_ELSEWHERE: Final = "completed_elsewhere"
"""The problem of an order that was completed, and not by us."""


WAIVE_REFUSED: Final = "waive_refused"
"""The problem of a fare that was waived, and that WeChat goes on collecting."""


PAID_TWICE: Final = "paid_twice"
"""The problem of a trip that was paid elsewhere, and that WeChat collected for as well."""


NOT_SENT_BACK: Final = "not_sent_back"
"""The problem of money that came in and is not ours, and that no refund can send back."""


PAYSCORE: Final = "payscore"
"""The way of a payment that WeChat collected for a PayScore order."""


class OrderPhase(StrEnum):
    """Where WeChat says the order stands, the same for both API families."""

    ACCEPTED = "ACCEPTED"
    """The create was accepted; whether the order runs was not said (the legacy family: reference payscore-api A.2)."""
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    COLLECTING = "COLLECTING"
    DONE = "DONE"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"


class DeclineReason(StrEnum):
    """Why PayScore will not serve this passenger or this trip (contract 2)."""

    SERVICE_NOT_ENABLED = "service_not_enabled"
    RISK_REFUSED = "risk_refused"
    ARREARS = "arrears"
    TOO_MANY_ORDERS = "too_many_orders"
    MINOR_PROTECTED = "minor_protected"
    AMOUNT_OVER_LIMIT = "amount_over_limit"
    REVOKED = "revoked"
    EXPIRED = "expired"
    NOT_CONFIRMED = "not_confirmed"


# --- Facts: what the ride service and WeChat told us -------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The ride began."""

    openid: str = field(repr=False)
    started_at: datetime
    start_location: str = ""
    end_location: str = ""
    estimated_fare_fen: int | None = None
    risk_amount_fen: int | None = None
    introduction: str = ""
    attach: str = ""
    account: str = ""
    """Whose trip it is, as it was said; empty: the default account's."""
    appid: str = ""
    """Of which of its apps the passenger has this openid; empty: the default one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fee:
    """One item of the fare, in fen; the amount is that of the whole item, not of one piece."""

    name: str
    amount_fen: int
    description: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """One deduction from the fare, in fen."""

    name: str
    amount_fen: int
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The ride ended, and this is its fare."""

    ended_at: datetime
    fees: tuple[Fee, ...]
    discounts: tuple[Discount, ...] = ()
    total_fen: int
    start_location: str = ""
    end_location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The ride will not be charged."""

    cancelled_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """The fare is less than was told before."""

    lowered_at: datetime
    fees: tuple[Fee, ...]
    discounts: tuple[Discount, ...] = ()
    total_fen: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidElsewhere:
    """The passenger has paid the fare to the platform itself, and not through WeChat Pay."""

    paid_at: datetime
    amount_fen: int
    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Debit:
    """One collection of the fare, and what of it goes back (reference payscore-api G.1)."""

    transaction_id: str
    amount_fen: int | None = None
    """None: WeChat did not say."""
    refunds: int = 0
    """How many refunds of it were asked for; whether WeChat counts those that failed, it does not say."""
    reserved_fen: int = 0
    """Of refunds that are under way."""
    refunded_fen: int = 0
    next_refund_at: datetime | None = None
    """From when on WeChat takes another refund of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSeen:
    """The order as WeChat's signed word shows it."""

    phase: OrderPhase
    order_id: str = ""
    total_fen: int | None = None
    paid_fen: int | None = None
    paid_at: datetime | None = None
    debits: tuple[Debit, ...] = ()
    """Those that became a transaction, in no order that means anything (reference payscore-api F.5 i)."""
    started_at: datetime | None = None
    finish_ticket: str = field(default="", repr=False)


# --- What became of them ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """Under which terms an order is opened; it is spoken of under these for as long as it lives."""

    family: str
    mchid: str
    appid: str
    service_id: str
    notify_url: str
    need_user_confirm: bool = False
    """The passenger confirms each order, and has authorised nothing before (reference payscore-api B.0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The order we asked for. Noted before the create is first sent, so it may exist at WeChat from here on."""

    risk_amount_fen: int
    start_time: datetime | None
    """None: WeChat takes the moment of acceptance (OnAccept)."""
    is_plain: bool = False
    """Asked for without a word that need not be said; then its start had no place, and its end can have none."""
    terms: OrderTerms | None = None
    """None on the row of a release that did not keep them; the journaled create tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """The money came in."""

    paid_fen: int
    paid_at: datetime
    debits: tuple[Debit, ...] = ()
    """None where nothing was collected, or not through WeChat Pay."""

    @property
    def transaction_ids(self) -> tuple[str, ...]:
        """One for each debit."""
        return tuple(debit.transaction_id for debit in self.debits)

    @property
    def transaction_id(self) -> str:
        """The debit to name where one is named; empty without any."""
        return self.debits[-1].transaction_id if self.debits else ""

    @property
    def reserved_fen(self) -> int:
        """What refunds that are under way will send back."""
        return sum(debit.reserved_fen for debit in self.debits)

    @property
    def refunded_fen(self) -> int:
        """What went back."""
        return sum(debit.refunded_fen for debit in self.debits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """PayScore will not serve; on an OPEN trip: decided, and the order is still to be cancelled."""

    reason: DeclineReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """WeChat refused a call in a way that says nothing final; where the order stands is to be asked."""

    step: str
    refusal: Refusal
    code: str
    message: str
    request_id: str
    uncertain: bool
    """When it was refused, a send of the same bytes had an unknown outcome; the journal knows how it is now."""
    ask_after: datetime | None = None
    again: bool = False
    """The call was refused so the last time, too."""
    service_off: bool = False
    """WeChat has said meanwhile, signed, that the passenger has not enabled the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A question that was refused, or answered with what cannot be: it is asked again (payscore-api F.5 d, e)."""

    step: str
    code: str
    message: str
    request_id: str
    since: datetime
    count: int
    ask_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A trip that is over is looked at once more: its end rests on no signed word of the order."""

    at: datetime
    alive: bool = False
    """The order runs at WeChat, and is to be cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondTry:
    """The order was refused for risk, and is asked for once more, for less, under another number (payscore-api A.2)."""

    out_order_no: str
    first_order_no: str
    first_terms: OrderTerms | None
    risk_amount_fen: int
    """What the second order asks for."""
    look_at: datetime | None
    """When to look at the first order, which must not run; None: that is done."""
    alive: bool = False
    """The first order runs, and is to be cancelled."""
    cancelling: bool = False
    """The body of that is stored."""
    refusals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenOff:
    """A person decided that the money will not come."""

    total_fen: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """A person decided that a fare is not collected: its order is cancelled, though completed (payscore-api B.7)."""

    total_fen: int
    by: str
    reason: str
    lowers: bool = False
    """WeChat cancels nothing that it collects: the fare is lowered to nothing instead."""
    lowered: bool = False
    """WeChat has taken that, and has not yet said that the order is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """What became of a fare that was to be lowered once WeChat was asked for it (design rule 13)."""

    asked_fen: int
    """What WeChat collects, or has collected."""
    before_fen: int | None = None
    """What it collected before it last took a lower fare; a replica that lags may still show it."""
    sent_fen: int | None = None
    """The fare in the body that is stored, and that may be on its way."""
    refused: bool = False
    """WeChat lowers it no more: what is too much goes back once it is paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """WeChat is told that the fare was paid elsewhere (reference payscore-api A.7, B.9)."""

    paid_time: datetime
    accepted: bool = False
    """WeChat has taken it, and has not yet said that the order is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """WeChat is asked to collect now, and not when it would have tried again (reference payscore-api B.9)."""

    step: int = 0
    """How many of the ages at which the settings ask were reached."""
    due: bool = False
    """Decided, and not yet done."""
    sent: bool = False
    """The body of this time is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A person must look; nothing moves until it is cleared."""

    code: str
    message: str
    request_id: str
    step: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One trip: the facts noted so far and how far its settlement has come."""

    trip_id: str
    out_order_no: str
    state: TripState = TripState.NOTED
    noted_at: datetime

    started: Started | None = None
    ended: Ended | None = None
    cancelled: Cancelled | None = None
    lowered: tuple[Lowered, ...] = ()
    """In the order in which they were told; a fare only goes down, so the lowest counts."""
    paid_elsewhere: PaidElsewhere | None = None

    opening: Opening | None = None
    second: SecondTry | None = None
    """Its number is then the trip's."""
    order_id: str = ""
    opened_at: datetime | None = None
    """None on an OPEN trip: WeChat accepted the order, and has not yet said that it runs."""
    confirm_by: datetime | None = None
    """Until when the passenger may confirm the order; None: he was not asked to."""
    end_time: datetime | None = None
    """The end in the complete body; set before its first send, so the amount may stand at WeChat from here on."""
    completed_at: datetime | None = None
    payment: Payment | None = None
    declined: Declined | None = None

    doubt: Doubt | None = None
    refusals: int = 0
    refused_as: str = ""
    """The last refusal of the present call."""
    missed_at: datetime | None = None
    """When WeChat first knew no such order, on our question; one such answer alone proves nothing (F.5 c)."""
    unanswered: Unanswered | None = None
    bodies: int = 0
    """How many request bodies were built for this trip; the next one is a new generation in the journal."""
    rebuilds: int = 0
    """How many bodies of the present call were dropped because every send of them was refused."""
    problem: Problem | None = None
    problem_told: str = ""
    """The last problem that was announced, by code and step; the same one again is not."""
    look: Look | None = None
    accepted_fen: int | None = None
    """What WeChat charges, where a person took it for what was owed."""
    waived: Waived | None = None
    """Decided, and not yet done; once it is, the fare is written off."""
    written_off: WrittenOff | None = None
    lowering: Lowering | None = None
    returned_fen: int = 0
    """What was asked back of a payment because it was too much, or what of it a person has seen to."""
    sync: Sync | None = None
    asking: Asking | None = None
    polls: int = 0
    asked_at: datetime | None = None
    stale_since: datetime | None = None
    overdue_since: datetime | None = None
    """When it was first said that the money is out for too long."""
    overdue_step: int = 0
    """How many of the ages at which that is said were reached."""
    overdue_told_at: datetime | None = None
    """When it was said last."""
    version: int = 0

    service_enabled: bool = False
    """Known for this run only: asked again rather than stored."""
    finish_ticket: str = field(default="", repr=False)
    """What the legacy family completes an order with; tickets stay valid (reference payscore-api A.4)."""
    package: str = field(default="", repr=False)
    """What the page opens with on which the passenger confirms; known for this run only, and told once."""
    enable_token: str = field(default="", repr=False)
    """What a passenger who has not enabled the service does so with; known for this run only, and told once."""


def out_order_no_for(trip_id: str, prefix: str = "") -> str:
    """Make the order number from the trip id alone, so that no crash can open a second order (design 3.2)."""
    if _FITS_WECHAT.fullmatch(prefix + trip_id):
        return prefix + trip_id
    return prefix + hashlib.sha256(trip_id.encode()).hexdigest()[: MAX_OUT_ORDER_NO - len(prefix)]


def second_order_no_for(trip_id: str, prefix: str = "") -> str:
    """Make the number of a trip's second order: the hash of what no trip's id can be, for none is kept with a NUL.

    So no other trip's number is the same, but of one whose id is that hash itself (design rule 12).
    """
    return prefix + hashlib.sha256(f"{trip_id}\0second".encode()).hexdigest()[: MAX_OUT_ORDER_NO - len(prefix)]


_FITS_WECHAT: Final = re.compile(rf"[0-9A-Za-z_-]{{1,{MAX_OUT_ORDER_NO}}}")


# --- Facts are noted: each returns the next trip, the same one when nothing is new, or raises ---------------------


def note_started(trip: Trip, fact: Started) -> Trip:
    """Note the start.

    Raises:
        ConflictingFact: another start is noted already.

    """
    if trip.started == fact:
        return trip
    if trip.started is not None:
        raise ConflictingFact(f"trip.started says otherwise than before in {_differences(trip.started, fact)}")
    return replace(trip, started=fact)


def note_ended(trip: Trip, fact: Ended) -> Trip:
    """Note the end and the fare.

    Raises:
        ConflictingFact: another end is noted already, or the trip was cancelled.

    """
    if trip.ended == fact:
        return trip
    if trip.ended is not None:
        raise ConflictingFact(f"trip.ended says otherwise than before in {_differences(trip.ended, fact)}")
    if trip.cancelled is not None:
        raise ConflictingFact("trip.ended for a trip that was cancelled")
    if trip.problem is not None and trip.problem.code == COMPLETED_ELSEWHERE and trip.state not in TERMINAL:
        return replace(trip, ended=fact, problem=None)  # now its fare can be compared with what WeChat shows
    return replace(trip, ended=fact)


def note_cancelled(trip: Trip, fact: Cancelled) -> Trip:
    """Note the cancellation; with no order asked for yet, that ends the trip.

    Raises:
        ConflictingFact: another cancellation is noted already.
        IllegalTransition: the trip has ended; its fare is owed.

    """
    if trip.cancelled == fact:
        return trip
    if trip.cancelled is not None:
        raise ConflictingFact(f"trip.cancelled says otherwise than before in {_differences(trip.cancelled, fact)}")
    if trip.ended is not None:
        raise IllegalTransition("trip.cancelled after the trip ended; its fare is owed")
    noted = replace(trip, cancelled=fact)
    if noted.state is TripState.NOTED and not noted.bodies:
        return replace(noted, state=TripState.CANCELLED)
    return noted


# --- What is owed, and how it was paid ---


def owed_fen(trip: Trip) -> int:
    """Say what WeChat has to collect: the fare, what it was asked for before that was lowered, or what a person took.

    Raises:
        IllegalTransition: nothing is owed before the trip ends.

    """
    if trip.accepted_fen is not None:
        return trip.accepted_fen
    return fare_fen(trip) if trip.lowering is None else trip.lowering.asked_fen


def fare_fen(trip: Trip) -> int:
    """Say what the trip costs: what was told at its end, or the least that was told since.

    Raises:
        IllegalTransition: the trip has not ended.

    """
    return fare_of(trip).total_fen


def fare_of(trip: Trip) -> Ended:
    """Read the end of the trip with the fare that counts.

    Raises:
        IllegalTransition: the trip has not ended.

    """
    if trip.ended is None:
        raise IllegalTransition("nothing is owed for a trip that has not ended")
    if not trip.lowered:
        return trip.ended
    least = least_lowered(trip)
    return replace(trip.ended, fees=least.fees, discounts=least.discounts, total_fen=least.total_fen)


def least_lowered(trip: Trip) -> Lowered:
    """Name the word by which the fare is what it is; only of a fare that was lowered."""
    return min(trip.lowered, key=lambda fact: fact.total_fen)


def needs_confirm(trip: Trip) -> bool:
    """Tell whether the passenger has to confirm the order that was asked for."""
    return trip.opening is not None and trip.opening.terms is not None and trip.opening.terms.need_user_confirm


def way_of(trip: Trip) -> str:
    """Name the way in which a paid trip was paid: PayScore's, or the channel that the ride service named."""
    return PAYSCORE if trip.paid_elsewhere is None or was_collected(trip) else trip.paid_elsewhere.channel


def was_collected(trip: Trip) -> bool:
    """Tell whether what was paid came through WeChat: it has debited for it, or nobody names another way."""
    return trip.payment is not None and (trip.paid_elsewhere is None or bool(trip.payment.debits))


def is_paid_twice(trip: Trip) -> bool:
    """Tell whether WeChat has collected for a trip that was paid elsewhere."""
    return trip.paid_elsewhere is not None and trip.payment is not None and bool(trip.payment.debits)


def _differences(noted: object, told: object) -> str:
    names: tuple[str, ...] = noted.__dataclass_fields__.keys()  # type: ignore[attr-defined]
    return ", ".join(name for name in names if getattr(noted, name) != getattr(told, name))


def too_much_fen(trip: Trip) -> int:
    """Say what came in, is not ours, and was not asked back yet: above a lowered fare, or all that came in twice."""
    payment = trip.payment
    if payment is None:
        return 0
    if is_paid_twice(trip):
        return payment.paid_fen - max(trip.returned_fen, payment.reserved_fen + payment.refunded_fen)
    if trip.lowering is None or not trip.lowered:
        return 0
    return max(0, payment.paid_fen - fare_fen(trip) - trip.returned_fen)
