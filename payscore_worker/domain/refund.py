"""The refund, its states, what it needs now, and what becomes of it (reference payscore-api G; design 10).

It is written together with its trip: the trip's row reserves what is under way, so that no two refunds can send back
more than was paid.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from payscore_worker.domain.next_step import (
    IN_HAND,
    Rest,
)
from payscore_worker.domain.trip import (
    Debit,
    Payment,
    Problem,
    Trip,
    TripState,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)

MAX_OUT_REFUND_NO: Final = 64
"""What WeChat allows (reference payscore-api G.1)."""

MAX_REFUNDS: Final = 50
"""Of one payment (reference payscore-api G.1)."""

REFUNDABLE_FOR: Final = timedelta(days=365)
"""After the payment (reference payscore-api G.1)."""

GAP: Final = timedelta(seconds=70)
"""Between two refunds of one payment: WeChat wants a minute, as its own clock counts it (payscore-api G.1)."""

POLL_DELAYS: Final = (*([MINUTE] * 5), 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR)
"""Between questions about a refund that WeChat has accepted; the last one again and again (reference payscore-api G.3).
A bank takes one to three working days."""

LONGEST_PROCESSING: Final = timedelta(days=15)
"""The longest holidays, and three working days; a refund that takes longer is for a person."""

PAUSES: Final = (MINUTE, 2 * MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 2 * HOUR)
"""After each refused send of a refund, and each refused question about it; one more than these is for a person."""

HOPELESS: Final = frozenset({Refusal.ACCOUNT_ABNORMAL, Refusal.INVALID_PARAMETER, Refusal.REENTRY_MISMATCH})
"""The refusals that no waiting will change: a second one of the same kind is for a person."""

ABNORMAL: Final = "refund_abnormal"
CLOSED: Final = "refund_closed"
SLOW: Final = "refund_slow"
AMOUNT_DIFFERS: Final = "refund_amount_differs"
"""What is told of a refund that did not come off: in the merchant platform (ABNORMAL), under a new number (CLOSED)."""
GIVEN_UP: Final = "refund_given_up"
"""What is told of a refund that WeChat Pay does not have, and that a person has ended."""


class RefundState(StrEnum):
    """Where a refund stands (design 10)."""

    REQUESTED = "REQUESTED"
    ACCEPTED = "ACCEPTED"
    """WeChat has taken it; the money is on its way."""
    REFUNDED = "REFUNDED"
    FAILED = "FAILED"
    """Nothing went back, says WeChat's signed word; or WeChat has no such refund, and a person gave it up."""


OVER: Final = frozenset({RefundState.REFUNDED, RefundState.FAILED})
UNDER_WAY: Final = tuple(state for state in RefundState if state not in OVER)
"""What these promise stays reserved on the trip."""


class RefundPhase(StrEnum):
    """Where WeChat says the refund stands (reference payscore-api G.1)."""

    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    ABNORMAL = "ABNORMAL"
    """The money cannot be delivered, and a person must say where it should go."""
    CLOSED = "CLOSED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequested:
    """The ride service wants money sent back."""

    trip_id: str
    refund_id: str
    amount_fen: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSeen:
    """The refund as WeChat's signed word shows it."""

    phase: RefundPhase
    wechatpay_refund_id: str = ""
    transaction_id: str = ""
    amount_fen: int | None = None
    total_fen: int | None = None
    payer_refund_fen: int | None = None
    refunded_at: datetime | None = None

    @property
    def is_clear(self) -> bool:
        """Whether it says enough to be believed: of money that went back, also how much."""
        if self.phase is RefundPhase.SUCCESS:
            return self.amount_fen is not None
        return self.phase is not RefundPhase.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A send or a question that brought no word of WeChat's."""

    step: str
    refusal: Refusal
    code: str
    message: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A person has ended a refund that WeChat refuses for good: who, and why."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """One refund of one debit of a trip."""

    refund_id: str
    trip_id: str
    out_refund_no: str
    mchid: str
    transaction_id: str
    total_fen: int
    """Of the debit."""
    amount_fen: int
    reason: str
    generation: int
    """Its place in the trip's journal: it has one body for as long as it lives."""
    requested_at: datetime
    send_after: datetime
    state: RefundState = RefundState.REQUESTED

    is_prepared: bool = False
    """The body is stored, and may be on its way."""
    wechatpay_refund_id: str = ""
    accepted_at: datetime | None = None
    patient_since: datetime | None = None
    """From when its slowness counts: its acceptance, or a person's look."""
    payer_refund_fen: int | None = None
    """What the passenger gets of it; the rest was a coupon."""
    refunded_at: datetime | None = None

    refused: Refused | None = None
    """A send was refused; where the refund stands is to be asked."""
    refusals: int = 0
    refused_as: str = ""
    """The last refusal."""
    unanswered: int = 0
    """Questions in a row that brought no word."""
    ask_after: datetime | None = None
    polls: int = 0
    asked_at: datetime | None = None
    problem: Problem | None = None
    problem_told: str = ""
    """The last problem that was announced, by code and step; the same one again is not."""
    given_up: GivenUp | None = None
    version: int = 0


Pair = tuple[Trip, Refund]
"""A refund and its trip, which are written together."""


def out_refund_no_for(refund_id: str, prefix: str = "") -> str:
    """Make the refund number from the refund's id alone, so that no crash can make a second one (design rule 12)."""
    if _FITS_WECHAT.fullmatch(prefix + refund_id):
        return prefix + refund_id
    return prefix + hashlib.sha256(refund_id.encode()).hexdigest()[: MAX_OUT_REFUND_NO - len(prefix)]


_FITS_WECHAT: Final = re.compile(rf"[0-9A-Za-z_-]{{1,{MAX_OUT_REFUND_NO}}}")
"""WeChat takes `|`, `*` and `@` too, but would have them escaped in the path of the query."""


# --- Requested ---


def request(trip: Trip, asked: RefundRequested, now: datetime, *, mchid: str, prefix: str = "") -> Pair:
    """Reserve the amount on the trip, and make the refund (design rule 10).

    Raises:
        IllegalTransition: the trip is not paid, or no debit of it can give that much back.

    """
    if trip.state is not TripState.PAID or trip.payment is None:
        raise IllegalTransition(f"trip_id: the trip is {trip.state}, and only what is paid can be refunded")
    if not trip.payment.debits:
        raise IllegalTransition("trip_id: WeChat Pay has collected nothing for this trip")
    if now > trip.payment.paid_at + REFUNDABLE_FOR:
        raise IllegalTransition(f"trip_id: WeChat Pay refunds for {REFUNDABLE_FOR.days} days after the payment")
    debit = _debit_for(trip.payment, asked.amount_fen)
    send_after = max(now, debit.next_refund_at or now)
    refund = Refund(
        refund_id=asked.refund_id,
        trip_id=trip.trip_id,
        out_refund_no=out_refund_no_for(asked.refund_id, prefix),
        mchid=mchid,
        transaction_id=debit.transaction_id,
        total_fen=_collected_fen(trip.payment, debit),
        amount_fen=asked.amount_fen,
        reason=asked.reason,
        generation=trip.bodies + 1,
        requested_at=now,
        send_after=send_after,
    )
    reserved = replace(
        debit,
        refunds=debit.refunds + 1,
        reserved_fen=debit.reserved_fen + asked.amount_fen,
        next_refund_at=send_after + GAP,
    )
    return replace(_with_debit(trip, trip.payment, reserved), bodies=trip.bodies + 1), refund


def _debit_for(payment: Payment, amount_fen: int) -> Debit:
    """Choose the debit that has least left of those that have enough, so that what is large stays whole."""
    left = {debit: left_fen(payment, debit) for debit in payment.debits}
    fitting = [debit for debit in payment.debits if left[debit] >= amount_fen]
    open_ = [debit for debit in fitting if debit.refunds < MAX_REFUNDS]
    if fitting and not open_:
        raise IllegalTransition(f"trip_id: WeChat Pay refunds a payment at most {MAX_REFUNDS} times")
    if open_:
        return min(open_, key=lambda debit: left[debit])
    if any(_collected_fen(payment, debit) == 0 for debit in payment.debits):
        raise IllegalTransition("trip_id: WeChat Pay has not said how much each of its debits collected")
    of = f"of {payment.paid_fen} fen paid" if len(left) == 1 else f"in one of {len(left)} debits"
    raise IllegalTransition(f"amount_fen: {amount_fen} is more than the {max(left.values())} fen left {of}")


def mark_of(trip: Trip) -> str:
    """Sum up the money that a person saw before asking for a refund: it is asked for of this, and of nothing else."""
    payment = trip.payment
    if payment is None:
        return trip.state.value
    return f"{trip.state}/{payment.paid_fen}/{payment.reserved_fen}/{payment.refunded_fen}"


def left_fen(payment: Payment, debit: Debit) -> int:
    """Say what can still be refunded of a debit."""
    return _collected_fen(payment, debit) - debit.reserved_fen - debit.refunded_fen


def total_left_fen(payment: Payment) -> int:
    """Say what can still be refunded of a payment, by one refund or several."""
    return sum(left_fen(payment, debit) for debit in payment.debits)


def largest_left_fen(payment: Payment) -> int:
    """Say what one refund can send back: it is of one debit."""
    return max((left_fen(payment, debit) for debit in payment.debits), default=0)


def _collected_fen(payment: Payment, debit: Debit) -> int:
    """Say what a debit collected: one that is alone has collected all; of several, nothing where it was not said."""
    if debit.amount_fen is not None:
        return debit.amount_fen
    return payment.paid_fen if len(payment.debits) == 1 else 0


def see_that_it_is_the_same(refund: Refund, asked: RefundRequested) -> None:
    """Take a request for the second time.

    Raises:
        ConflictingFact: it says otherwise than the first.

    """
    names = [name for name in ("trip_id", "amount_fen", "reason") if getattr(refund, name) != getattr(asked, name)]
    if names:
        raise ConflictingFact(f"refund.requested says otherwise than before in {', '.join(names)}")


# --- What a refund needs now ---


@dataclass(frozen=True, slots=True)
class SendRefund:
    """Ask WeChat for the refund: the same bytes, however often."""


@dataclass(frozen=True, slots=True)
class AskRefund:
    """Ask WeChat where the refund stands."""


@dataclass(frozen=True, slots=True)
class StopWaiting:
    """Leave a refund to a person that WeChat has had in hand for too long."""


RefundStep = Rest | SendRefund | AskRefund | StopWaiting


def next_step(refund: Refund, now: datetime) -> RefundStep:
    """What this refund needs now, decided from its row alone."""
    if refund.problem is not None:
        return Rest()
    if refund.ask_after is not None and now < refund.ask_after:
        return Rest(refund.ask_after)
    match refund.state:
        case RefundState.REQUESTED if refund.refused is not None:
            return AskRefund()
        case RefundState.REQUESTED if not refund.is_prepared and now < refund.send_after:
            return Rest(refund.send_after)
        case RefundState.REQUESTED:
            return SendRefund()
        case RefundState.ACCEPTED:
            return _next_when_accepted(refund, now)
        case RefundState.REFUNDED | RefundState.FAILED:
            return Rest()
        case _:
            assert_never(refund.state)


def _next_when_accepted(refund: Refund, now: datetime) -> RefundStep:
    since = refund.patient_since or refund.requested_at
    asked_at = refund.asked_at or since
    if asked_at >= since + LONGEST_PROCESSING:  # while nobody could ask, it may have gone back: only an answer tells
        return StopWaiting()
    poll_at = asked_at + POLL_DELAYS[min(refund.polls, len(POLL_DELAYS) - 1)]
    return AskRefund() if now >= poll_at else Rest(poll_at)


def due_at(refund: Refund, now: datetime) -> datetime | None:
    """When the reconciler must look at this refund: in time for its next step, or if whoever has it in hand fails."""
    step = next_step(refund, now)
    return step.until if isinstance(step, Rest) else now + IN_HAND


# --- What became of it ---


def prepared(refund: Refund) -> Refund:
    """Mark that the body is about to be sent for the first time."""
    return replace(refund, is_prepared=True)


def refused(refund: Refund, why: Refused, now: datetime) -> Refund:
    """WeChat refused the refund: ask where it stands, after a pause that grows; then a person must look."""
    again = refund.refused_as == why.refusal
    if refund.refusals >= len(PAUSES) or (again and why.refusal in HOPELESS):
        return _troubled_by(refund, why, now)
    return replace(
        refund,
        refused=why,
        refusals=refund.refusals + 1,
        refused_as=why.refusal.value,
        ask_after=now + PAUSES[refund.refusals],
    )


def not_found(refund: Refund, why: Refused, now: datetime) -> Refund:
    """WeChat knows no such refund, says an unsigned answer: send the same bytes, which refund once (payscore-api G.1).

    Once it was accepted, such an answer is no answer.
    """
    if refund.state is RefundState.REQUESTED:
        return replace(refund, refused=None, ask_after=None, unanswered=0)
    return no_answer(refund, why, now)


def no_answer(refund: Refund, why: Refused, now: datetime) -> Refund:
    """A question was refused, or answered with what cannot be: ask again, with pauses that grow."""
    if refund.state in OVER:
        return refund
    if refund.unanswered >= len(PAUSES):
        return _troubled_by(refund, why, now)
    return replace(refund, unanswered=refund.unanswered + 1, ask_after=now + PAUSES[refund.unanswered])


def asked(refund: Refund, now: datetime) -> Refund:
    """Count a question that was answered, and has not moved the refund."""
    return replace(refund, polls=refund.polls + 1, asked_at=now, unanswered=0, ask_after=None)


def waited_too_long(refund: Refund, now: datetime) -> Refund:
    """WeChat has had it in hand for too long."""
    message = f"WeChat Pay has not sent the money back within {LONGEST_PROCESSING.days} days"
    return _troubled(refund, SLOW, message, now)


def see(trip: Trip, refund: Refund, seen: RefundSeen, now: datetime) -> Pair:
    """Take WeChat's signed word on where the refund stands, asked for or not.

    A refund that stands still for a person goes on where the word leads it on.

    Raises:
        ConflictingFact: it contradicts how the refund ended.

    """
    if not seen.is_clear:
        return trip, refund
    if refund.given_up is not None and seen.phase is not RefundPhase.CLOSED:
        raise ConflictingFact(f"WeChat Pay shows a refund as {seen.phase} that was given up here")
    if _differs(refund, seen):
        if _stands_for(refund, AMOUNT_DIFFERS):
            return trip, refund
        ours, theirs = f"{refund.amount_fen} of {refund.total_fen} fen", f"{seen.amount_fen} of {seen.total_fen}"
        return trip, _troubled(refund, AMOUNT_DIFFERS, f"asked for {ours}; WeChat Pay shows {theirs}", now)
    match seen.phase:
        case RefundPhase.PROCESSING:
            return trip, _processing(refund, seen, now)
        case RefundPhase.SUCCESS:
            return _refunded(trip, refund, seen, now)
        case RefundPhase.CLOSED:
            return _closed(trip, refund)
        case RefundPhase.ABNORMAL:
            return trip, _abnormal(refund, seen, now)
        case _:
            return trip, refund


def _differs(refund: Refund, seen: RefundSeen) -> bool:
    """Tell whether WeChat shows another amount than ours; what it does not show contradicts nothing."""
    return seen.amount_fen not in (None, refund.amount_fen) or seen.total_fen not in (None, refund.total_fen)


def _processing(refund: Refund, seen: RefundSeen, now: datetime) -> Refund:
    """Note the acceptance; later, this is word from before, come late."""
    return _accepted(refund, seen, now) if refund.state is RefundState.REQUESTED else refund


def _accepted(refund: Refund, seen: RefundSeen, now: datetime) -> Refund:
    calm = _settled_down(replace(refund, state=RefundState.ACCEPTED, problem=None))
    return replace(
        calm,
        wechatpay_refund_id=seen.wechatpay_refund_id or refund.wechatpay_refund_id,
        accepted_at=refund.accepted_at or now,
        patient_since=refund.patient_since or now,
        asked_at=now,
        polls=0,
    )


def _refunded(trip: Trip, refund: Refund, seen: RefundSeen, now: datetime) -> Pair:
    if refund.state is RefundState.FAILED:
        raise ConflictingFact("WeChat Pay shows a refund as sent that it had closed")
    if refund.state is RefundState.REFUNDED:
        return trip, refund
    over = replace(
        _settled_down(refund),
        state=RefundState.REFUNDED,
        wechatpay_refund_id=seen.wechatpay_refund_id or refund.wechatpay_refund_id,
        accepted_at=refund.accepted_at or now,
        payer_refund_fen=seen.payer_refund_fen,
        refunded_at=seen.refunded_at or now,
        problem=None,
    )
    return _changed(trip, refund, lambda debit: _booked(debit, refund.amount_fen)), over


def _booked(debit: Debit, amount_fen: int) -> Debit:
    return replace(debit, reserved_fen=debit.reserved_fen - amount_fen, refunded_fen=debit.refunded_fen + amount_fen)


def _closed(trip: Trip, refund: Refund) -> Pair:
    if refund.state is RefundState.REFUNDED:
        raise ConflictingFact("WeChat Pay shows a refund as closed that it had sent")
    if refund.state is RefundState.FAILED:
        return trip, refund
    over = replace(_settled_down(refund), state=RefundState.FAILED, problem=None)
    return _changed(trip, refund, lambda debit: _released(debit, refund.amount_fen)), over


def _released(debit: Debit, amount_fen: int) -> Debit:
    return replace(debit, reserved_fen=debit.reserved_fen - amount_fen)


def _abnormal(refund: Refund, seen: RefundSeen, now: datetime) -> Refund:
    """Have a person say where the money should go; once it went back, this is word from before, come late."""
    if refund.state in OVER or _stands_for(refund, ABNORMAL):
        return refund
    message = "WeChat Pay cannot deliver the money: say in the merchant platform where it should go"
    return _troubled(_accepted(refund, seen, now), ABNORMAL, message, now)


def _changed(trip: Trip, refund: Refund, change: Callable[[Debit], Debit]) -> Trip:
    """Change the debit that a refund is of."""
    payment = trip.payment
    debits = () if payment is None else payment.debits
    debit = next((debit for debit in debits if debit.transaction_id == refund.transaction_id), None)
    if payment is None or debit is None:
        raise ConflictingFact(f"trip {trip.trip_id!r} has no debit that refund {refund.refund_id!r} is of")
    return _with_debit(trip, payment, change(debit))


def _with_debit(trip: Trip, payment: Payment, changed: Debit) -> Trip:
    debits = tuple(changed if debit.transaction_id == changed.transaction_id else debit for debit in payment.debits)
    return replace(trip, payment=replace(payment, debits=debits))


# --- In trouble, taken up again ---


def with_problem(refund: Refund, problem: Problem) -> Refund:
    """Stop: a person must look."""
    told = f"{problem.code} {problem.step}"
    return replace(refund, problem=problem, problem_told=told, refused=None, ask_after=None)


def without_problem(refund: Refund, now: datetime) -> Refund:
    """Take the refund up again, and ask at once: a person has looked."""
    calm = replace(refund, refusals=0, refused_as="", unanswered=0, ask_after=None, polls=0)
    since = None if refund.patient_since is None else now
    asked_at = None if since is None else now - POLL_DELAYS[0]
    return replace(calm, problem=None, patient_since=since, asked_at=asked_at)


# --- Given up by a person ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a refund at the moment of the decision."""

    seen: RefundSeen | None
    """None: WeChat Pay says that there is none; unsigned, so it is to be heard twice, some time apart (F.5 c)."""
    certain: bool = False
    """No send of its body can have been accepted."""

    @property
    def text(self) -> str:
        """Say it in a line."""
        return "no such refund" if self.seen is None else self.seen.phase.value


def giving_up_of(refund: Refund, known: Known) -> str:
    """Sum up what a decision rests on: it is made about this, and not about what has become of it meanwhile."""
    problem = "" if refund.problem is None else refund.problem.code
    return f"{refund.state}/{problem}/{refund.version}/{known.text}"


def give_up(trip: Trip, refund: Refund, given_up: GivenUp, known: Known) -> Pair:
    """End a refund that WeChat Pay refuses for good, and free what it had reserved.

    Raises:
        IllegalTransition: says why not, and what to do instead.

    """
    if refund.state in OVER:
        raise IllegalTransition(f"the refund is {refund.state}: there is nothing to give up")
    if known.seen is not None:
        raise IllegalTransition(f"WeChat Pay has the refund as {known.seen.phase}: its word decides, not a person")
    if refund.state is not RefundState.REQUESTED:
        raise IllegalTransition("WeChat Pay has accepted the refund, and its word alone ends it: clear-problem asks it")
    if refund.problem is None:
        raise IllegalTransition("the refund has no problem, and goes on by itself: give it up where it stands still")
    if _stands_for(refund, AMOUNT_DIFFERS):
        raise IllegalTransition("WeChat Pay has shown a refund under this number: clear-problem asks for it again")
    if not known.certain:
        raise IllegalTransition(
            "a send of it may have been accepted, so it may still be sent back: clear-problem sends it again"
        )
    over = replace(_settled_down(refund), state=RefundState.FAILED, problem=None, given_up=given_up)
    return _changed(trip, refund, lambda debit: _released(debit, refund.amount_fen)), over


def _stands_for(refund: Refund, code: str) -> bool:
    """Tell whether a person has this problem in hand already."""
    return refund.problem is not None and refund.problem.code == code


def _troubled(refund: Refund, code: str, message: str, now: datetime) -> Refund:
    step = AskRefund.__name__
    return with_problem(refund, Problem(code=code, message=message, request_id="", step=step, since=now))


def _troubled_by(refund: Refund, why: Refused, now: datetime) -> Refund:
    problem = Problem(
        code=why.code or why.refusal, message=why.message, request_id=why.request_id, step=why.step, since=now
    )
    return with_problem(refund, problem)


def _settled_down(refund: Refund) -> Refund:
    return replace(refund, refused=None, refusals=0, refused_as="", unanswered=0, ask_after=None, problem_told="")
