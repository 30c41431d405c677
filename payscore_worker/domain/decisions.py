"""What a person may decide of a trip, given what WeChat Pay's signed word says of its order now.

None of it moves money: what WeChat Pay holds an amount for is never ended here, and every call that follows is made,
and asked about, as any other (reference payscore-api B.5, B.7, B.8, F.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import (
    CancelOrder,
    CompleteOrder,
)
from payscore_worker.domain.second_try import FIRST_ORDER_COLLECTS, FIRST_ORDER_RUNS
from payscore_worker.domain.trip import (
    COMPLETED_ELSEWHERE,
    LATE_LOOK,
    NOT_SENT_BACK,
    PAID_TWICE,
    WAIVE_REFUSED,
    Asking,
    Cancelled,
    Declined,
    DeclineReason,
    Look,
    OrderPhase,
    OrderSeen,
    Payment,
    Trip,
    TripState,
    Waived,
    WrittenOff,
    owed_fen,
)
from payscore_worker.errors import IllegalTransition


class Verb(StrEnum):
    """What a person may decide; the words of the command line."""

    ACCEPT = "accept"
    """What WeChat Pay shows is what was owed."""
    WRITE_OFF = "write-off"
    """The money will not come."""
    REBUILD = "rebuild"
    """The body that was refused is dropped, and built anew."""
    DECLINE = "decline"
    """PayScore is given up; the fare may be asked for another way."""
    CANCEL = "cancel"
    """Nothing is owed."""
    WAIVE = "waive"
    """What WeChat Pay collects is not to be collected."""
    PAY = "pay"
    """WeChat Pay is asked to collect now."""
    CLEAR = "clear-problem"
    """A person has looked: the same again. No word of WeChat Pay is needed for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who decides what, and why; the passenger sees the reason where an order is cancelled for it."""

    verb: Verb
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a trip's order at the moment of the decision."""

    order: OrderSeen | None
    """None: WeChat Pay says that there is none; twice, some time apart, where one was asked for (F.5 c)."""
    certain: frozenset[str] = frozenset()
    """The steps of whose journaled bytes no send can have been accepted."""
    can_pay: bool = False
    """WeChat Pay can be asked to collect now: the order's family has a call for it (reference payscore-api B.9)."""

    @property
    def text(self) -> str:
        """Say it in a line."""
        if self.order is None:
            return "no such order"
        if self.order.total_fen is None and self.order.paid_fen is None:
            return self.order.phase.value
        is_untold = self.order.paid_fen is None and self.order.phase is OrderPhase.DONE
        paid = "?" if is_untold else self.order.paid_fen or 0
        return f"{self.order.phase}, paid {paid} of {self.order.total_fen} fen"


GONE: Final = frozenset({OrderPhase.REVOKED, OrderPhase.EXPIRED})
RUNNING: Final = frozenset({OrderPhase.CREATED, OrderPhase.RUNNING})
GIVEN_UP: Final = frozenset({TripState.DECLINED, TripState.CANCELLED})

VERBS: Final[Mapping[str, tuple[Verb, ...]]] = {
    "amount_differs": (Verb.ACCEPT,),
    COMPLETED_ELSEWHERE: (Verb.ACCEPT,),
    "charged_though_over": (Verb.ACCEPT,),
    "unexpected_order": (Verb.ACCEPT, Verb.DECLINE, Verb.CANCEL),
    "completion_lost": (Verb.REBUILD, Verb.DECLINE, Verb.CANCEL),
    "revoked_after_completion": (Verb.WRITE_OFF, Verb.DECLINE),
    WAIVE_REFUSED: (Verb.ACCEPT, Verb.CLEAR),
    "lowering_lost": (Verb.CLEAR, Verb.ACCEPT),
    "sync_lost": (Verb.CLEAR, Verb.ACCEPT),
    PAID_TWICE: (Verb.CLEAR,),
    NOT_SENT_BACK: (Verb.CLEAR,),
    "start_in_future": (Verb.DECLINE, Verb.CANCEL),
    "malformed_call": (Verb.DECLINE, Verb.CANCEL, Verb.WRITE_OFF),
    "no_finish_ticket": (Verb.CLEAR, Verb.DECLINE, Verb.CANCEL),
    "no_package": (Verb.CLEAR, Verb.DECLINE, Verb.CANCEL),
    FIRST_ORDER_RUNS: (Verb.CLEAR,),
    FIRST_ORDER_COLLECTS: (Verb.CLEAR,),
    "malformed_answer": (Verb.CLEAR,),
    "not_ours": (Verb.CLEAR,),
    "unknown_state": (Verb.CLEAR,),
}
"""What ends each problem that we find ourselves, the likeliest first; the runbook has a heading for each."""

AFTER_REFUSALS: Final = (Verb.CLEAR, Verb.REBUILD, Verb.DECLINE, Verb.CANCEL, Verb.WRITE_OFF)
"""What ends a problem that bears WeChat Pay's own code, or the name of a refusal."""

WITHOUT_PROBLEM: Final = (Verb.DECLINE, Verb.CANCEL, Verb.WRITE_OFF)
"""What may be decided of a trip that only waits, for its other half say."""

WHILE_COLLECTING: Final = (Verb.PAY, Verb.WAIVE)
"""What may be decided of a trip that waits for its money."""


def verbs_for(code: str, state: TripState = TripState.OPEN) -> tuple[Verb, ...]:
    """Name what ends a problem; without a code, what ends a trip that waits in this state."""
    if code:
        return VERBS.get(code, AFTER_REFUSALS)
    return WHILE_COLLECTING if state is TripState.COMPLETED else WITHOUT_PROBLEM


def mark_of(trip: Trip, known: Known) -> str:
    """Sum up what a decision rests on: it is made about this, and not about what has become of it meanwhile."""
    problem = "" if trip.problem is None else trip.problem.code
    return f"{trip.state}/{problem}/{known.text}"


def decide(trip: Trip, decision: Decision, known: Known, now: datetime) -> Trip:
    """Apply a decision.

    Raises:
        IllegalTransition: says why not, and what to do instead.

    """
    needs_word = decision.verb is not Verb.CLEAR
    if needs_word and trip.state is TripState.PAID:
        raise IllegalTransition("the money is in; there is nothing to decide. A refund gives money back")
    if needs_word and known.order is not None and known.order.phase is OrderPhase.UNKNOWN:
        raise IllegalTransition("WeChat Pay does not say where the order stands; decide when it does")
    after = _decided(trip, decision, known, now)
    if after == trip:
        raise IllegalTransition("that is what the trip does already: advance takes it on")
    return after


def _decided(trip: Trip, decision: Decision, known: Known, now: datetime) -> Trip:
    match decision.verb:
        case Verb.ACCEPT:
            return _accept(trip, decision, known, now)
        case Verb.WRITE_OFF:
            return _write_off(trip, decision, known, now)
        case Verb.REBUILD:
            return _rebuild(trip, known, now)
        case Verb.DECLINE:
            return _decline(trip, decision, known, now)
        case Verb.CANCEL:
            return _cancel(trip, decision, known, now)
        case Verb.WAIVE:
            return _waive(trip, decision, known)
        case Verb.PAY:
            return _pay(trip, known)
        case Verb.CLEAR:
            return _clear(trip)
        case _:
            assert_never(decision.verb)


# --- Accept ---


def _accept(trip: Trip, decision: Decision, known: Known, now: datetime) -> Trip:
    """Take the amount that WeChat Pay signed for what was owed; the order of a waived fare is gone."""
    order = known.order
    if order is None:
        raise IllegalTransition("WeChat Pay knows no such order, and shows no amount: write-off, decline or rebuild")
    if order.phase in RUNNING:
        raise IllegalTransition("the order runs, and shows no amount yet: decline or cancel ends it")
    led_on = outcomes.see(replace(trip, problem=None), order, now)
    if led_on.problem is None and led_on.state is not trip.state:
        return led_on  # what it shows is what was owed: nobody has to accept it
    if order.phase in GONE:
        return _clear(trip) if trip.state in GIVEN_UP else _write_off(trip, decision, known, now)
    if led_on.problem is None and trip.waived is not None:
        lowering = None if trip.lowering is None or not trip.lowered else replace(trip.lowering, sent_fen=None)
        return replace(_calm(trip), waived=None, lowering=lowering)  # it is collected after all
    if led_on.problem is None:
        raise IllegalTransition("WeChat Pay shows what is owed; there is nothing to accept: clear-problem")
    amount_fen = _amount_fen(order)
    charged = replace(
        _calm(trip),
        problem_told="",
        accepted_fen=amount_fen,
        declined=None,
        waived=None,
        lowering=None,
        order_id=trip.order_id or order.order_id,
        completed_at=trip.completed_at or now,
        look=None,
    )
    if order.phase is OrderPhase.COLLECTING:
        return replace(charged, state=TripState.COMPLETED)
    paid_at = order.paid_at or now
    payment = Payment(paid_fen=amount_fen, paid_at=paid_at, debits=order.debits)
    return replace(charged, state=TripState.PAID, payment=payment)


def _amount_fen(order: OrderSeen) -> int:
    amount_fen = order.paid_fen if order.phase is OrderPhase.DONE else order.total_fen
    if amount_fen is None:
        raise IllegalTransition("WeChat Pay does not say which amount; accept it when it does")
    return amount_fen


# --- Write off ---


def _write_off(trip: Trip, decision: Decision, known: Known, now: datetime) -> Trip:
    """Give up money that WeChat Pay cannot, or will not, collect: its order is gone, or never was."""
    order = known.order
    _refuse_if_over(trip)
    if order is not None and order.phase in RUNNING:
        raise IllegalTransition("the order runs, and can still be completed: cancel ends it without a charge")
    if order is not None and order.phase is OrderPhase.COLLECTING:
        raise IllegalTransition(f"{_COLLECTS}; once the order is gone, write-off ends the trip")
    if order is not None and order.phase is OrderPhase.DONE and order.paid_fen != 0:
        raise IllegalTransition("WeChat Pay shows money that came in: accept takes it for what was owed")
    if trip.ended is None and trip.accepted_fen is None:
        raise IllegalTransition("no fare is owed: cancel or decline ends the trip")
    written_off = WrittenOff(total_fen=owed_fen(trip), by=decision.by, reason=decision.reason)
    return replace(_over(trip, TripState.CANCELLED, known, now), written_off=written_off)


# --- Waive ---


def _waive(trip: Trip, decision: Decision, known: Known) -> Trip:
    """Have WeChat Pay collect no more: it cancels the order, or where it will not, the fare is lowered to nothing."""
    order = known.order
    _refuse_if_over(trip)
    if trip.state is not TripState.COMPLETED or (order is not None and order.phase in RUNNING):
        raise IllegalTransition("the fare was not asked for yet: cancel ends the trip without a charge")
    if order is None or order.phase in GONE:
        raise IllegalTransition("WeChat Pay has no order any more that it could collect: write-off ends the trip")
    if order.phase is OrderPhase.DONE:
        raise IllegalTransition("WeChat Pay collects nothing any more: clear-problem takes its word for what it shows")
    if order.total_fen not in (None, owed_fen(trip)):
        raise IllegalTransition("WeChat Pay collects another amount than ours: accept it first")
    if trip.paid_elsewhere is not None:
        raise IllegalTransition("the fare was paid elsewhere, and WeChat Pay is being told so: it will collect no more")
    waived = Waived(total_fen=owed_fen(trip), by=decision.by, reason=decision.reason)
    return trip if trip.waived is not None and trip.problem is None else replace(_calm(trip), waived=waived)


# --- Pay ---


def _pay(trip: Trip, known: Known) -> Trip:
    """Have WeChat Pay collect now: it decides nothing, and is worth a try while the money is out."""
    _refuse_if_over(trip)
    if trip.state is not TripState.COMPLETED or known.order is None or known.order.phase is not OrderPhase.COLLECTING:
        raise IllegalTransition("WeChat Pay does not collect for the order now, so it cannot be asked to do so at once")
    if trip.problem is not None:
        raise IllegalTransition("the trip waits for a person: see to its problem first")
    if trip.waived is not None or trip.paid_elsewhere is not None:
        raise IllegalTransition("nothing more is to be collected for it")
    if not known.can_pay:
        raise IllegalTransition("the order is of a family that has no call for it; WeChat Pay keeps trying by itself")
    return replace(trip, asking=replace(trip.asking or Asking(), due=True))


# --- Rebuild ---


def _rebuild(trip: Trip, known: Known, now: datetime) -> Trip:
    """Drop bytes that were refused, so that others are built; never bytes that may have been accepted (B.10)."""
    if trip.problem is None:
        raise IllegalTransition("the trip has no problem; its bytes stay binding")
    order = known.order
    if order is not None and order.phase not in RUNNING:
        led_on = outcomes.see(trip, order, now)
        if led_on.problem is None:
            return led_on
        raise IllegalTransition(f"the order does not stand where a body could be sent: {known.text}")
    match trip.state:
        case TripState.NOTED:
            return _rebuild_create(trip, order, now)
        case TripState.OPEN:
            return _rebuild_the_rest(trip, known)
        case TripState.COMPLETED:
            if order is None:
                raise IllegalTransition("WeChat Pay knows no such order: write-off or decline ends the trip")
            if trip.started is None or trip.ended is None:
                raise IllegalTransition("there is no fare to complete it with: decline or cancel ends the trip")
            return _reopened(trip)
        case TripState.PAID | TripState.DECLINED | TripState.CANCELLED:
            raise IllegalTransition(f"the trip is {trip.state}; no body is to be sent")
        case _:
            assert_never(trip.state)


def _rebuild_create(trip: Trip, order: OrderSeen | None, now: datetime) -> Trip:
    if order is not None:
        led_on = outcomes.see(trip, order, now)
        if led_on.problem is None:
            return led_on
        raise IllegalTransition("WeChat Pay shows an order that we did not ask for: decline or cancel ends it")
    if trip.opening is None:
        raise IllegalTransition("no create is prepared: clear-problem takes the trip up again")
    return replace(_calm(trip), opening=None)


def _rebuild_the_rest(trip: Trip, known: Known) -> Trip:
    if known.order is None:
        raise IllegalTransition("WeChat Pay knows no such order: decline, cancel or write-off ends the trip")
    step = CancelOrder.__name__ if _is_to_be_cancelled(trip) else CompleteOrder.__name__
    if step == CompleteOrder.__name__ and trip.end_time is None:
        raise IllegalTransition("no complete is prepared: clear-problem takes the trip up again")
    if step not in known.certain:
        raise IllegalTransition(
            "a send of these bytes may have been accepted, so they stay binding: clear-problem sends them again"
        )
    if step == CancelOrder.__name__:
        return replace(_calm(trip), rebuilds=1)  # the next body gives no reason that could be refused
    return outcomes.without_complete(_calm(trip))


def _is_to_be_cancelled(trip: Trip) -> bool:
    return trip.cancelled is not None or trip.declined is not None


# --- Decline and cancel ---


def _decline(trip: Trip, decision: Decision, known: Known, now: datetime) -> Trip:
    """Give PayScore up: an order that runs is cancelled first, so that nobody is asked for the fare twice."""
    _refuse_if_over(trip)
    if trip.cancelled is not None:
        raise IllegalTransition("the trip was cancelled, and nothing is owed: cancel ends it")
    given_up = Declined(reason=DeclineReason.REVOKED, message=decision.reason)
    trip = replace(trip, declined=trip.declined or given_up)
    return _without_a_charge(trip, TripState.DECLINED, known, now)


def _cancel(trip: Trip, decision: Decision, known: Known, now: datetime) -> Trip:
    """Charge nothing; of what the ride service told, nothing is forgotten."""
    runs_on = known.order is not None and known.order.phase in RUNNING
    if trip.state in GIVEN_UP and (trip.problem is not None or runs_on):
        return _still_over(trip, known.order, now)
    _refuse_if_over(trip)
    if trip.state is TripState.COMPLETED and (known.order is None or known.order.phase in GONE):
        raise IllegalTransition("the fare was asked for, and the order is gone: write-off, or decline, ends the trip")
    cancelled = trip.cancelled or Cancelled(cancelled_at=now, reason=decision.reason)
    trip = replace(trip, cancelled=cancelled, accepted_fen=0)
    return _without_a_charge(trip, TripState.CANCELLED, known, now)


def _without_a_charge(trip: Trip, end: TripState, known: Known, now: datetime) -> Trip:
    """End a trip at once, or its order first."""
    order = known.order
    if order is None or order.phase in GONE:
        return _over(trip, end, known, now)
    if order.phase is OrderPhase.COLLECTING:
        raise IllegalTransition(_COLLECTS)
    if order.phase is OrderPhase.DONE:
        raise IllegalTransition("WeChat Pay has charged: accept takes that for what was owed")
    running = _reopened(trip) if trip.state is TripState.COMPLETED else _calm(trip)
    return replace(running, state=TripState.OPEN, order_id=trip.order_id or order.order_id)


def _still_over(trip: Trip, order: OrderSeen | None, now: datetime) -> Trip:
    """Keep a trip over: an order that runs on is cancelled; money is another matter."""
    if order is None:
        return _clear(trip)
    over = outcomes.see(_calm(trip), order, now)
    if over.problem is not None:
        raise IllegalTransition("WeChat Pay charges for it: accept takes that for what was owed")
    return over


# --- What they share ---

_COLLECTS: Final = "WeChat Pay collects for the order: waive has it collect no more"


def _clear(trip: Trip) -> Trip:
    if trip.problem is None:
        raise IllegalTransition("the trip has no problem")
    return outcomes.without_problem(trip)


def _refuse_if_over(trip: Trip) -> None:
    if trip.state not in GIVEN_UP:
        return
    if trip.problem is None:
        raise IllegalTransition(f"the trip is {trip.state}; there is nothing to decide")
    raise IllegalTransition(f"the trip is {trip.state}: accept, or cancel once nothing is charged any more")


def _calm(trip: Trip) -> Trip:
    return replace(outcomes.without_problem(trip), missed_at=None)


def _reopened(trip: Trip) -> Trip:
    """Take a fare back that WeChat Pay accepted, and has lost: its order runs."""
    return replace(
        _calm(trip),
        state=TripState.OPEN,
        end_time=None,
        completed_at=None,
        overdue_since=None,
        overdue_step=0,
        overdue_told_at=None,
        waived=None,
        lowering=None,
        sync=None,
        asking=None,
        accepted_fen=None if trip.cancelled is None else trip.accepted_fen,
    )


def _over(trip: Trip, end: TripState, known: Known, now: datetime) -> Trip:
    """End without a charge; look once more, late, where no signed word stands behind it and a create was ever sent."""
    look = Look(at=now + LATE_LOOK) if trip.bodies and known.order is None else None
    return replace(_calm(trip), state=end, problem_told="", look=look, waived=None)
