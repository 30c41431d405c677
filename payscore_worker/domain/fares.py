"""What is told of a fare after the trip has ended: it was lowered, or paid elsewhere; and what goes back for it.

A fare only goes down (design rule 13), and what comes in twice is never kept in silence (design rule 11).
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from payscore_worker.domain.refund import Pair, RefundRequested, largest_left_fen, request, total_left_fen
from payscore_worker.domain.trip import (
    Lowered,
    Lowering,
    PaidElsewhere,
    Payment,
    Trip,
    TripState,
    fare_fen,
    owed_fen,
    too_much_fen,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Rejected, TooEarly

MAX_LOWERED: Final = 20
"""How often a fare may be lowered: each is kept, so that the same word again is known."""

FARTHEST_PAYMENT: Final = timedelta(hours=1)
"""A payment elsewhere later than this from now is a slip of the pen, or of a time zone."""

RETURN_PREFIX: Final = "back-"
"""Before the order number and what went back before: the same refund however often it is decided (design rule 12)."""

REASON_LOWERED: Final = "车费下调"
REASON_TWICE: Final = "重复支付"
"""What the passenger reads beside money that goes back."""


# --- Lowered ---


def note_lowered(trip: Trip, fact: Lowered) -> Trip:
    """Note that the fare is less: it replaces the old one, or WeChat is asked to collect less, or money goes back.

    Raises:
        TooEarly: the trip has not ended, so there is no fare to compare with.
        ConflictingFact: the trip was cancelled.
        IllegalTransition: the fare is not below the present one, was paid elsewhere or waived, or cannot go back.

    """
    if fact in trip.lowered:
        return trip
    _check_that_it_is_owed(trip, "trip.fare_lowered")
    if trip.waived is not None:
        raise IllegalTransition("trip.fare_lowered for a fare that was waived: nothing of it is collected")
    if trip.paid_elsewhere is not None:
        raise IllegalTransition(
            "trip.fare_lowered for a fare that was paid elsewhere: what is too much goes back there"
        )
    if len(trip.lowered) >= MAX_LOWERED:
        raise IllegalTransition(f"trip.fare_lowered for a fare that was lowered {MAX_LOWERED} times")
    noted = replace(trip, lowered=(*trip.lowered, fact))
    present_fen = min(fare_fen(trip), owed_fen(trip))
    if fact.total_fen >= present_fen:
        if any(fact.lowered_at < other.lowered_at for other in trip.lowered):
            return noted  # an older word that came late: the fare is lower already
        raise IllegalTransition(f"total_fen: {fact.total_fen} is not below the present fare of {present_fen}")
    if trip.state is TripState.DECLINED or not _may_stand_at_wechat(trip):
        return noted
    asked = trip.lowering or Lowering(asked_fen=owed_fen(trip))
    noted = replace(noted, lowering=replace(asked, refused=False), accepted_fen=None)
    _check_that_it_can_go_back(noted)
    return noted


def _may_stand_at_wechat(trip: Trip) -> bool:
    """Tell whether WeChat may have been asked for the fare."""
    return trip.end_time is not None or trip.completed_at is not None


def _check_that_it_can_go_back(trip: Trip) -> None:
    """Refuse to lower what was paid, where not so much of it is left."""
    if trip.state is not TripState.PAID or trip.payment is None:
        return
    left_fen, wanted_fen = total_left_fen(trip.payment), too_much_fen(trip)
    if not trip.payment.debits:
        raise IllegalTransition("trip_id: WeChat Pay has collected nothing for this trip that could go back")
    if wanted_fen > left_fen:
        raise IllegalTransition(
            f"total_fen: {wanted_fen} fen would go back, and {left_fen} fen are left of what was paid"
        )


# --- Paid elsewhere ---


def note_paid_elsewhere(trip: Trip, fact: PaidElsewhere, now: datetime) -> Trip:
    """Note that the passenger has paid otherwise: WeChat is to collect no more, and what it did collect goes back.

    Raises:
        TooEarly: the trip has not ended, so there is no fare to compare with.
        ConflictingFact: another payment elsewhere is noted already, or the trip was cancelled.
        IllegalTransition: the amount is not the fare, or a person has waived it.
        Rejected: it was paid in the future.

    """
    if trip.paid_elsewhere == fact:
        return trip
    if trip.paid_elsewhere is not None:
        raise ConflictingFact("trip.paid_elsewhere says otherwise than before")
    if fact.paid_at - now > FARTHEST_PAYMENT:
        raise Rejected(f"paid_at: {fact.paid_at.isoformat()} lies in the future")
    _check_that_it_is_owed(trip, "trip.paid_elsewhere")
    if trip.waived is not None:
        raise IllegalTransition("trip.paid_elsewhere for a fare that was waived: give the money back, or accept it")
    if fact.amount_fen != fare_fen(trip):
        raise IllegalTransition(f"amount_fen: {fact.amount_fen} is not the fare, which is {fare_fen(trip)}")
    noted = replace(trip, paid_elsewhere=fact)
    is_over = trip.state is TripState.DECLINED or (trip.state is TripState.NOTED and not trip.bodies)
    return paid_elsewhere(noted) if is_over else noted


def paid_elsewhere(trip: Trip) -> Trip:
    """End a trip that WeChat collects nothing for, because the fare was paid elsewhere."""
    fact = trip.paid_elsewhere
    if fact is None:
        raise IllegalTransition("the trip was not paid elsewhere")
    payment = Payment(paid_fen=fact.amount_fen, paid_at=fact.paid_at)
    return replace(trip, state=TripState.PAID, payment=payment, lowering=None, accepted_fen=None)


def _check_that_it_is_owed(trip: Trip, what: str) -> None:
    if trip.cancelled is not None:
        raise ConflictingFact(f"{what} for a trip that was cancelled")
    if trip.state is TripState.CANCELLED:
        raise IllegalTransition(f"{what} for a trip whose fare was written off")
    if trip.ended is None:
        raise TooEarly(f"{what} before trip.ended: there is no fare yet to compare with")


# --- What goes back ---


def send_back(trip: Trip, now: datetime, *, mchid: str, prefix: str = "") -> Pair:
    """Ask for a refund of what is too much, or of as much as one debit can give back; the rest by the next.

    Raises:
        IllegalTransition: no debit can give anything back; says why.

    """
    wanted_fen = too_much_fen(trip)
    largest_fen = wanted_fen if trip.payment is None else min(wanted_fen, largest_left_fen(trip.payment))
    asked = RefundRequested(
        trip_id=trip.trip_id,
        refund_id=f"{RETURN_PREFIX}{trip.out_order_no}-{trip.returned_fen}",
        amount_fen=largest_fen or wanted_fen,
        reason=REASON_LOWERED if trip.paid_elsewhere is None else REASON_TWICE,
    )
    reserved, refund = request(trip, asked, now, mchid=mchid, prefix=prefix)
    return replace(reserved, returned_fen=trip.returned_fen + refund.amount_fen), refund
