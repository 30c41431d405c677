"""A fare that is told of after the end: what of it is noted, what is refused, and what goes back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.fares import (
    FARTHEST_PAYMENT,
    MAX_LOWERED,
    note_lowered,
    note_paid_elsewhere,
    paid_elsewhere,
    send_back,
)
from payscore_worker.domain.refund import GAP, out_refund_no_for
from payscore_worker.domain.trip import (
    Cancelled,
    Debit,
    Lowering,
    Payment,
    Trip,
    TripState,
    fare_fen,
    fare_of,
    note_ended,
    owed_fen,
    too_much_fen,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Rejected, TooEarly
from tests.builders import (
    FARE_SITUATIONS,
    HOUR,
    LOWERED_FEN,
    MCHID,
    NOW,
    SITUATIONS,
    a_lowered_fare,
    a_paid_trip,
    a_payment_elsewhere,
    an_end,
    debits,
)

SECOND: Final = timedelta(seconds=1)


def lowered_often(times: int) -> Trip:
    trip = SITUATIONS["completed"]()
    for number in range(times):
        trip = note_lowered(trip, a_lowered_fare(3_000 - number))
    return trip


# --- Lowered ---


def test_a_lower_fare_takes_the_place_of_the_one_told_at_the_end() -> None:
    fact = a_lowered_fare(2_000)
    trip = note_lowered(SITUATIONS["open, ended"](), fact)

    assert trip == replace(SITUATIONS["open, ended"](), lowered=(fact,))
    assert fare_of(trip) == an_end(fees=fact.fees, discounts=(), total_fen=2_000)
    assert owed_fen(trip) == 2_000


@pytest.mark.parametrize("situation", ["completing", "completed", "paid"])
def test_what_wechat_may_have_been_asked_for_stays_asked_for_until_it_takes_less(situation: str) -> None:
    trip = note_lowered(SITUATIONS[situation](), a_lowered_fare(2_000))

    assert trip.lowering == Lowering(asked_fen=3_200)
    assert (owed_fen(trip), fare_fen(trip)) == (3_200, 2_000)


def test_an_order_that_was_completed_was_asked_for_its_fare_whoever_chose_its_end() -> None:
    trip = replace(SITUATIONS["completed"](), end_time=None)

    assert note_lowered(trip, a_lowered_fare()).lowering == Lowering(asked_fen=3_200)


def test_what_a_person_took_for_the_fare_is_what_wechat_was_asked_for() -> None:
    trip = note_lowered(replace(SITUATIONS["completed"](), accepted_fen=3_000), a_lowered_fare(2_000))

    assert trip.lowering == Lowering(asked_fen=3_000)
    assert trip.accepted_fen is None


def test_a_fare_that_is_lowered_once_more_is_asked_to_be_lowered_though_wechat_has_refused_before() -> None:
    refused = FARE_SITUATIONS["lowered, refused"]()
    assert refused.lowering is not None
    assert refused.lowering.refused

    trip = note_lowered(refused, a_lowered_fare(1_500))

    assert trip.lowering == replace(refused.lowering, refused=False)


def test_of_a_trip_that_was_declined_a_lower_fare_is_noted_and_wechat_asked_for_nothing() -> None:
    declined = replace(note_ended(SITUATIONS["declined"](), an_end()), end_time=NOW)

    assert note_lowered(declined, a_lowered_fare()) == replace(declined, lowered=(a_lowered_fare(),))


def test_the_same_word_again_is_the_same_trip() -> None:
    lowered, elsewhere = FARE_SITUATIONS["lowered"](), FARE_SITUATIONS["to be synced"]()

    assert note_lowered(lowered, a_lowered_fare()) is lowered
    assert note_paid_elsewhere(elsewhere, a_payment_elsewhere(), NOW) is elsewhere


def test_an_older_word_that_came_late_is_kept_and_changes_no_fare() -> None:
    lowered = FARE_SITUATIONS["lowered"]()
    late = a_lowered_fare(2_500, lowered_at=NOW - SECOND)

    trip = note_lowered(lowered, late)

    assert trip == replace(lowered, lowered=(*lowered.lowered, late))
    assert fare_fen(trip) == LOWERED_FEN


def test_a_word_is_older_if_any_that_was_noted_is_later() -> None:
    """The fare was lowered twice, and the two words came in the wrong order."""
    lowered = replace(
        FARE_SITUATIONS["lowered"](), lowered=(a_lowered_fare(2_500, lowered_at=NOW - HOUR), a_lowered_fare(2_000))
    )
    between = a_lowered_fare(2_200, lowered_at=NOW - SECOND)

    assert note_lowered(lowered, between).lowered == (*lowered.lowered, between)


@pytest.mark.parametrize("total_fen", [2_000, 2_001])
def test_a_word_of_the_same_time_that_is_not_lower_is_refused(total_fen: int) -> None:
    with pytest.raises(IllegalTransition, match=rf"^total_fen: {total_fen} is not below the present fare of 2000$"):
        note_lowered(FARE_SITUATIONS["lowered"](), a_lowered_fare(total_fen, reason="其他"))


def test_a_fare_is_lowered_to_less_than_what_a_person_took_for_it() -> None:
    accepted = replace(SITUATIONS["completed"](), accepted_fen=3_000)

    assert fare_fen(note_lowered(accepted, a_lowered_fare(2_999))) == 2_999
    with pytest.raises(IllegalTransition, match=r"^total_fen: 3000 is not below the present fare of 3000$"):
        note_lowered(accepted, a_lowered_fare(3_000))


def test_a_fare_is_lowered_twenty_times_and_no_more() -> None:
    trip = lowered_often(MAX_LOWERED)
    assert MAX_LOWERED == 20

    with pytest.raises(IllegalTransition, match=r"^trip\.fare_lowered for a fare that was lowered 20 times$"):
        note_lowered(trip, a_lowered_fare(1))


# --- Lowered when it is paid ---


def test_what_was_paid_is_lowered_by_as_much_as_can_go_back() -> None:
    refunded = replace(a_paid_trip(), payment=Payment(paid_fen=3_200, paid_at=NOW, debits=(a_debit(2_000),)))

    trip = note_lowered(refunded, a_lowered_fare(2_000))
    assert too_much_fen(trip) == 1_200

    with pytest.raises(
        IllegalTransition, match=r"^total_fen: 1201 fen would go back, and 1200 fen are left of what was paid$"
    ):
        note_lowered(refunded, a_lowered_fare(1_999))


def a_debit(refunded_fen: int) -> Debit:
    return Debit(transaction_id="4200001", amount_fen=3_200, refunded_fen=refunded_fen)


def test_what_wechat_has_not_collected_cannot_go_back() -> None:
    with pytest.raises(
        IllegalTransition, match=r"^trip_id: WeChat Pay has collected nothing for this trip that could go back$"
    ):
        note_lowered(replace(a_paid_trip(), payment=Payment(paid_fen=3_200, paid_at=NOW)), a_lowered_fare())


def test_only_of_what_is_known_to_be_paid_is_it_asked_whether_it_can_go_back() -> None:
    uncollected = Payment(paid_fen=3_200, paid_at=NOW)

    for trip in (
        replace(SITUATIONS["completed"](), payment=uncollected),
        replace(SITUATIONS["paid"](), payment=None),
    ):
        assert note_lowered(trip, a_lowered_fare()).lowered == (a_lowered_fare(),)


# --- Paid elsewhere ---


def test_a_trip_that_wechat_was_never_asked_about_is_paid_by_the_payment_elsewhere() -> None:
    before = SITUATIONS["started and ended"]()

    trip = note_paid_elsewhere(before, a_payment_elsewhere(paid_at=NOW - HOUR), NOW)

    assert trip == replace(
        before,
        state=TripState.PAID,
        paid_elsewhere=a_payment_elsewhere(paid_at=NOW - HOUR),
        payment=Payment(paid_fen=3_200, paid_at=NOW - HOUR),
    )


def test_a_trip_that_was_declined_is_paid_by_the_payment_elsewhere() -> None:
    declined = note_ended(SITUATIONS["declined, order may run"](), an_end())

    trip = note_paid_elsewhere(declined, a_payment_elsewhere(), NOW)

    assert trip.state is TripState.PAID
    assert trip.payment == Payment(paid_fen=3_200, paid_at=NOW)


@pytest.mark.parametrize("situation", ["creating, ended", "open, ended", "completing", "completed"])
def test_a_trip_whose_order_may_stand_at_wechat_is_not_over_by_a_payment_elsewhere(situation: str) -> None:
    before = SITUATIONS[situation]()

    assert note_paid_elsewhere(before, a_payment_elsewhere(), NOW) == replace(
        before, paid_elsewhere=a_payment_elsewhere()
    )


def test_what_is_paid_elsewhere_is_the_fare_as_it_was_lowered() -> None:
    lowered = FARE_SITUATIONS["lowered"]()

    assert note_paid_elsewhere(lowered, a_payment_elsewhere(amount_fen=2_000), NOW).paid_elsewhere is not None
    with pytest.raises(IllegalTransition, match=r"^amount_fen: 3200 is not the fare, which is 2000$"):
        note_paid_elsewhere(lowered, a_payment_elsewhere(), NOW)


def test_a_payment_elsewhere_may_lie_an_hour_ahead_and_no_more() -> None:
    trip = SITUATIONS["completed"]()
    latest = NOW + FARTHEST_PAYMENT
    assert FARTHEST_PAYMENT == HOUR

    assert note_paid_elsewhere(trip, a_payment_elsewhere(paid_at=latest), NOW).paid_elsewhere is not None
    with pytest.raises(Rejected, match=r"^paid_at: 2026-05-01T13:00:01\+00:00 lies in the future$"):
        note_paid_elsewhere(trip, a_payment_elsewhere(paid_at=latest + SECOND), NOW)


def test_a_trip_that_was_paid_elsewhere_is_asked_for_no_more() -> None:
    trip = replace(FARE_SITUATIONS["lowered"](), paid_elsewhere=a_payment_elsewhere(), accepted_fen=3_000)

    over = paid_elsewhere(trip)

    assert over.state is TripState.PAID
    assert over.lowering is None
    assert over.accepted_fen is None


def test_no_trip_is_paid_elsewhere_that_nobody_said_so_of() -> None:
    with pytest.raises(IllegalTransition, match=r"^the trip was not paid elsewhere$"):
        paid_elsewhere(SITUATIONS["completed"]())


# --- What is refused ---


def test_a_second_payment_elsewhere_that_says_otherwise_is_refused() -> None:
    with pytest.raises(ConflictingFact, match=r"^trip\.paid_elsewhere says otherwise than before$"):
        note_paid_elsewhere(FARE_SITUATIONS["to be synced"](), a_payment_elsewhere(channel="card"), NOW)


TOLD: Final[dict[str, Callable[[Trip], Trip]]] = {
    "trip.fare_lowered": lambda trip: note_lowered(trip, a_lowered_fare(1_000)),
    "trip.paid_elsewhere": lambda trip: note_paid_elsewhere(trip, a_payment_elsewhere(), NOW),
}


@pytest.mark.parametrize("told", TOLD)
def test_what_is_told_of_a_fare_that_is_not_owed_is_refused_and_says_why(told: str) -> None:
    ended = SITUATIONS["started and ended"]()
    cancelled = replace(ended, cancelled=Cancelled(cancelled_at=NOW, reason="乘客取消"))

    with pytest.raises(ConflictingFact, match=rf"^{told} for a trip that was cancelled$"):
        TOLD[told](cancelled)
    with pytest.raises(IllegalTransition, match=rf"^{told} for a trip whose fare was written off$"):
        TOLD[told](replace(ended, state=TripState.CANCELLED))
    with pytest.raises(TooEarly, match=rf"^{told} before trip\.ended: there is no fare yet to compare with$"):
        TOLD[told](SITUATIONS["open"]())


def test_what_is_told_of_a_fare_that_was_waived_or_paid_elsewhere_is_refused_and_says_why() -> None:
    with pytest.raises(
        IllegalTransition, match=r"^trip\.fare_lowered for a fare that was waived: nothing of it is collected$"
    ):
        note_lowered(SITUATIONS["waived"](), a_lowered_fare())
    with pytest.raises(
        IllegalTransition,
        match=r"^trip\.paid_elsewhere for a fare that was waived: give the money back, or accept it$",
    ):
        note_paid_elsewhere(SITUATIONS["waived"](), a_payment_elsewhere(), NOW)
    with pytest.raises(
        IllegalTransition,
        match=r"^trip\.fare_lowered for a fare that was paid elsewhere: what is too much goes back there$",
    ):
        note_lowered(FARE_SITUATIONS["to be synced"](), a_lowered_fare())


# --- What goes back ---


def test_what_was_paid_above_a_lowered_fare_is_asked_back_as_a_refund_like_any_other() -> None:
    before = FARE_SITUATIONS["paid above the fare"]()

    trip, refund = send_back(before, NOW, mchid=MCHID, prefix="fleet-")

    assert refund.refund_id == "back-t1-0"
    assert refund.out_refund_no == out_refund_no_for("back-t1-0", "fleet-")
    assert (refund.trip_id, refund.mchid, refund.reason) == ("t1", MCHID, "车费下调")
    assert (refund.amount_fen, refund.requested_at) == (1_200, NOW)
    assert trip.returned_fen == 1_200
    assert trip.payment is not None
    assert trip.payment.reserved_fen == 1_200
    assert not too_much_fen(trip)


def test_without_a_prefix_a_refund_has_the_number_of_its_id() -> None:
    _, refund = send_back(FARE_SITUATIONS["paid above the fare"](), NOW, mchid=MCHID)

    assert refund.out_refund_no == out_refund_no_for("back-t1-0")


def test_what_came_in_twice_goes_back_whole_and_says_so_to_the_passenger() -> None:
    trip, refund = send_back(FARE_SITUATIONS["paid twice"](), NOW, mchid=MCHID)

    assert (refund.amount_fen, refund.reason) == (3_200, "重复支付")
    assert trip.returned_fen == 3_200


def test_what_several_debits_collected_goes_back_by_as_many_refunds_each_of_a_number_of_its_own() -> None:
    paid = a_paid_trip(2_000, 1_200)
    trip = note_lowered(paid, a_lowered_fare(200))

    once, first = send_back(trip, NOW, mchid=MCHID)
    twice, second = send_back(once, NOW, mchid=MCHID)

    assert (first.refund_id, first.amount_fen) == ("back-t1-0", 2_000)
    assert (second.refund_id, second.amount_fen) == ("back-t1-2000", 1_000)
    assert twice.returned_fen == 3_000
    assert not too_much_fen(twice)


def test_a_later_refund_of_the_same_debit_waits_its_turn() -> None:
    once, _ = send_back(FARE_SITUATIONS["paid above the fare"](), NOW, mchid=MCHID)
    trip = note_lowered(once, a_lowered_fare(1_500))

    twice, refund = send_back(trip, NOW, mchid=MCHID)

    assert (refund.refund_id, refund.amount_fen, refund.send_after) == ("back-t1-1200", 500, NOW + GAP)
    assert twice.returned_fen == 1_700


def test_money_of_which_nothing_is_left_cannot_go_back_and_says_how_much_would_have_to() -> None:
    """A person has refunded it meanwhile."""
    paid = FARE_SITUATIONS["paid above the fare"]()
    gone = replace(paid, payment=Payment(paid_fen=3_200, paid_at=NOW, debits=(a_debit(3_200),)))

    with pytest.raises(IllegalTransition, match=r"^amount_fen: 1200 is more than the 0 fen left of 3200 fen paid$"):
        send_back(gone, NOW, mchid=MCHID)


def test_money_of_which_wechat_does_not_say_where_it_is_cannot_go_back() -> None:
    paid = FARE_SITUATIONS["paid above the fare"]()
    untold = replace(paid, payment=Payment(paid_fen=3_200, paid_at=NOW, debits=debits("4200001", "4200002")))

    with pytest.raises(IllegalTransition, match=r"^trip_id: WeChat Pay has not said how much each of its debits"):
        send_back(untold, NOW, mchid=MCHID)


def test_of_a_trip_that_is_not_paid_nothing_goes_back() -> None:
    completed = outcomes.lowering(FARE_SITUATIONS["lowered"]())

    with pytest.raises(IllegalTransition, match=r"^trip_id: the trip is COMPLETED, and only what is paid can be"):
        send_back(completed, NOW, mchid=MCHID)
