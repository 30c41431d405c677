"""What becomes of a fare after the end: lowered, paid elsewhere, or asked for; and what WeChat Pay shows of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.fares import note_lowered, note_paid_elsewhere
from payscore_worker.domain.next_step import LowerOrder, OpenOrder, Rest, SyncOrder, next_step
from payscore_worker.domain.outcomes import APART, DEBIT_PAUSE, PAUSES, QUESTION_PAUSES
from payscore_worker.domain.trip import (
    LATE_LOOK,
    Asking,
    Debit,
    Look,
    Lowering,
    OrderPhase,
    OrderSeen,
    Payment,
    Problem,
    Sync,
    Trip,
    TripState,
    too_much_fen,
)
from payscore_worker.errors import ConflictingFact, Refusal
from tests.builders import (
    FARE_SITUATIONS,
    HOUR,
    LOWERED_FEN,
    NOW,
    SERVICEORDER,
    SITUATIONS,
    a_doubt,
    a_lowered_fare,
    a_payment_elsewhere,
    an_end,
    an_order,
    debits,
)

ABSENT: Final = a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder")
COLLECTING: Final = an_order(OrderPhase.COLLECTING)
LOWER: Final = an_order(OrderPhase.COLLECTING, total_fen=LOWERED_FEN)
DONE: Final = an_order(OrderPhase.DONE)
NO_DEBIT: Final = an_order(OrderPhase.DONE, debits=())
PAID_LOWER: Final = an_order(OrderPhase.DONE, total_fen=LOWERED_FEN, paid_fen=LOWERED_FEN)

COUNTED: Final[dict[str, Any]] = {
    "doubt": a_doubt(),
    "refusals": 3,
    "refused_as": "wrong_state",
    "polls": 2,
    "asked_at": NOW - HOUR,
}
"""What was counted of the calls and the questions before."""

NOTHING_COUNTED: Final[dict[str, Any]] = {"doubt": None, "refusals": 0, "refused_as": "", "polls": 0, "asked_at": None}


def a_fare(situation: str, **changes: Any) -> Trip:
    return replace(FARE_SITUATIONS[situation](), **changes)


def refused_before(situation: str, step: str, refusal: Refusal, *, times: int = 1) -> Trip:
    """Have a call refused for the same reason as often as this, the last time being in doubt."""
    trip = a_fare(situation, refusals=times - 1, refused_as=refusal.value if times > 1 else "")
    return outcomes.refused(trip, a_doubt(refusal, step=step), NOW)


# --- Lowered ---


def test_a_lower_fare_that_is_about_to_be_sent_is_one_more_body_of_the_fare_as_it_is_now() -> None:
    before = a_fare("lowered")

    trip = outcomes.lowering(before)

    assert trip == replace(before, lowering=Lowering(asked_fen=3_200, sent_fen=LOWERED_FEN), bodies=before.bodies + 1)


@pytest.mark.parametrize(
    ("trip", "is_prepared"),
    [
        (SITUATIONS["completed"](), False),
        (a_fare("lowered"), False),
        (a_fare("lowered, sent"), True),
        (a_fare("lowered, sent", waived=SITUATIONS["waived"]().waived), False),
        (outcomes.lowering(SITUATIONS["waived"]()), True),
    ],
)
def test_a_body_that_lowers_the_fare_is_sent_again_but_a_waived_fare_has_one_of_its_own(
    trip: Trip, *, is_prepared: bool
) -> None:
    assert outcomes.is_lowering_prepared(trip) is is_prepared


@pytest.mark.parametrize("total_fen", [LOWERED_FEN, None])
def test_an_accepted_lower_fare_is_what_wechat_collects_and_what_it_collected_before_is_remembered(
    total_fen: int | None,
) -> None:
    before = a_fare("lowered, sent", **COUNTED)

    trip = outcomes.lowered(before, replace(LOWER, total_fen=total_fen), NOW)

    taken = Lowering(asked_fen=LOWERED_FEN, before_fen=3_200)
    assert trip == replace(before, lowering=taken, **NOTHING_COUNTED)


def test_an_accepted_lower_fare_that_was_paid_before_is_a_payment_and_goes_back() -> None:
    trip = outcomes.lowered(a_fare("lowered, sent"), replace(DONE, paid_at=None), NOW + HOUR)

    assert trip.payment == Payment(paid_fen=3_200, paid_at=NOW + HOUR, debits=DONE.debits)
    assert too_much_fen(trip) == 1_200


def test_a_lower_fare_that_was_accepted_after_the_money_was_in_changes_nothing() -> None:
    paid = a_fare("paid above the fare")

    assert outcomes.lowered(paid, LOWER, NOW) is paid


def test_a_lower_fare_that_was_accepted_for_a_trip_that_was_given_up_is_for_a_person() -> None:
    trip = outcomes.lowered(SITUATIONS["declined, order may run"](), LOWER, NOW + HOUR)

    assert trip.problem is not None
    assert (trip.problem.code, trip.problem.since) == ("charged_though_over", NOW + HOUR)


@pytest.mark.parametrize("trip", [SITUATIONS["completed"](), a_fare("lowered")])
def test_of_an_accepted_lower_fare_that_we_did_not_send_only_the_answer_counts(trip: Trip) -> None:
    assert outcomes.lowered(trip, COLLECTING, NOW) is trip


def test_a_complete_whose_body_is_dropped_tells_the_fare_as_it_is_then() -> None:
    trip = outcomes.without_complete(a_fare("completing, lowered"))

    assert (trip.end_time, trip.lowering) == (None, None)


# --- Paid elsewhere ---


def test_a_payment_elsewhere_that_wechat_is_about_to_be_told_of_is_one_more_body() -> None:
    before = a_fare("to be synced")

    assert outcomes.syncing(before, Sync(paid_time=NOW)) == replace(
        before, sync=Sync(paid_time=NOW), bodies=before.bodies + 1
    )


def test_a_payment_elsewhere_that_wechat_has_taken_is_asked_about_from_the_start_of_the_schedule() -> None:
    before = a_fare("to be synced, sent", **COUNTED)
    assert before.sync is not None
    heard = replace(before, sync=replace(before.sync, accepted=True), **NOTHING_COUNTED)

    assert outcomes.synced(before, None, NOW) == heard
    assert outcomes.synced(before, COLLECTING, NOW) == heard


def test_a_payment_elsewhere_after_which_the_order_is_over_is_the_payment() -> None:
    trip = outcomes.synced(a_fare("to be synced, sent"), NO_DEBIT, NOW)

    assert (trip.state, trip.payment) == (TripState.PAID, Payment(paid_fen=3_200, paid_at=NOW))


@pytest.mark.parametrize("trip", [a_fare("to be synced"), a_fare("paid twice")])
def test_an_answer_about_a_payment_elsewhere_that_nobody_waits_for_is_taken_as_any_word(trip: Trip) -> None:
    assert outcomes.synced(trip, None, NOW) is trip
    assert outcomes.synced(trip, COLLECTING, NOW) is trip


@pytest.mark.parametrize("situation", ["to be synced", "to be synced, sent"])
def test_a_debit_in_the_answer_about_a_payment_elsewhere_is_a_payment(situation: str) -> None:
    trip = outcomes.synced(a_fare(situation), replace(DONE, paid_at=None), NOW + HOUR)

    assert trip.payment == Payment(paid_fen=3_200, paid_at=NOW + HOUR, debits=DONE.debits)


@pytest.mark.parametrize("total_fen", [None, 3_200, LOWERED_FEN])
def test_an_order_that_is_over_without_a_debit_was_paid_elsewhere_whichever_of_our_fares_it_shows(
    total_fen: int | None,
) -> None:
    lowered = a_fare("lowered, sent")
    before = note_paid_elsewhere(lowered, a_payment_elsewhere(amount_fen=LOWERED_FEN), NOW)
    counted = replace(before, doubt=a_doubt(), refusals=3, refused_as="wrong_state", rebuilds=1)

    trip = outcomes.see(counted, replace(NO_DEBIT, total_fen=total_fen), NOW)

    assert trip == replace(
        before, state=TripState.PAID, payment=Payment(paid_fen=LOWERED_FEN, paid_at=NOW), lowering=None
    )


def test_an_order_that_is_over_without_a_debit_and_shows_another_fare_is_for_a_person() -> None:
    for situation in ("to be synced", "synced"):
        trip = outcomes.see(a_fare(situation), replace(NO_DEBIT, total_fen=2_999), NOW)
        assert trip.problem is not None
        assert trip.problem.code == "amount_differs"


def test_an_order_that_is_over_without_a_debit_was_paid_in_full_where_nobody_has_paid_elsewhere() -> None:
    trip = outcomes.see(SITUATIONS["completed"](), NO_DEBIT, NOW)

    assert trip.payment == Payment(paid_fen=3_200, paid_at=NOW)


def test_what_was_debited_for_a_fare_that_was_paid_elsewhere_came_in_twice() -> None:
    trip = outcomes.see(a_fare("synced"), DONE, NOW)

    assert trip.state is TripState.PAID
    assert too_much_fen(trip) == 3_200


def test_a_debit_that_shows_after_the_payment_elsewhere_came_in_twice_and_is_no_other_payment() -> None:
    paid = a_fare("paid elsewhere", look=Look(at=NOW), refusals=2)

    trip = outcomes.see(paid, replace(DONE, paid_fen=3_000), NOW + HOUR)

    twice = Payment(paid_fen=3_000, paid_at=NOW, debits=DONE.debits)
    assert trip == replace(paid, payment=twice, look=None, refusals=0)
    assert too_much_fen(outcomes.see(paid, replace(DONE, paid_fen=None), NOW)) == 3_200


def test_an_order_that_is_over_as_it_was_ends_the_look_at_a_trip_that_was_paid_elsewhere() -> None:
    paid = a_fare("paid elsewhere")
    looked = replace(paid, look=Look(at=NOW), refusals=2)

    assert outcomes.see(paid, NO_DEBIT, NOW) is paid
    assert outcomes.see(looked, NO_DEBIT, NOW) == paid


def test_an_order_that_runs_for_a_trip_that_was_paid_elsewhere_is_to_be_cancelled() -> None:
    paid = a_fare("paid elsewhere")

    assert outcomes.see(paid, an_order(), NOW).look == Look(at=NOW, alive=True)


def test_a_trip_without_an_order_that_was_paid_elsewhere_is_paid_once_two_answers_say_there_is_none() -> None:
    before = a_fare("creating, paid elsewhere")

    once = outcomes.not_found(before, ABSENT, NOW, certain=True)
    assert (once.state, next_step(once, NOW, SERVICEORDER)) == (TripState.NOTED, Rest(NOW + APART))

    twice = outcomes.not_found(once, ABSENT, NOW + APART, certain=True)
    assert (twice.state, twice.payment) == (TripState.PAID, Payment(paid_fen=3_200, paid_at=NOW))
    assert twice.look == Look(at=NOW + APART + LATE_LOOK)


def test_an_order_that_is_cancelled_for_a_payment_elsewhere_leaves_that_payment() -> None:
    trip = outcomes.order_cancelled(a_fare("open, paid elsewhere"), NOW)

    assert (trip.state, trip.payment, trip.declined) == (
        TripState.PAID,
        Payment(paid_fen=3_200, paid_at=NOW),
        None,
    )


# --- Asked to collect ---


def test_wechat_that_is_about_to_be_asked_to_collect_is_sent_one_more_body() -> None:
    before = a_fare("asked for")

    assert outcomes.asking(before, 2) == replace(
        before, asking=Asking(step=2, due=True, sent=True), bodies=before.bodies + 1
    )


def test_wechat_that_was_asked_to_collect_is_soon_asked_whether_it_has() -> None:
    before = a_fare("asked for", asking=Asking(step=2, due=True, sent=True), **COUNTED)

    assert outcomes.asked_to_pay(before) == replace(before, asking=Asking(step=2), **NOTHING_COUNTED)


def test_a_trip_that_wechat_was_not_asked_to_collect_for_stays_as_it_is() -> None:
    trip = replace(SITUATIONS["completed"](), refusals=3)

    assert outcomes.asked_to_pay(trip) is trip


def test_nobody_is_asked_to_collect_what_is_paid() -> None:
    assert outcomes.see(a_fare("asked for"), DONE, NOW).asking is None


# --- Refused ---

LEFT: Final = [("lowered, sent", "LowerOrder"), ("asked for, sent", "PayOrder")]


@pytest.mark.parametrize(("situation", "step"), LEFT)
def test_a_call_that_need_not_succeed_is_followed_by_a_question_after_hours_and_by_no_person(
    situation: str, step: str
) -> None:
    trip = refused_before(situation, step, Refusal.UNCLEAR, times=len(PAUSES) + 1)

    assert trip.problem is None
    assert next_step(trip, NOW, SERVICEORDER) == Rest(NOW + PAUSES[-1])


def test_a_call_about_a_fare_that_must_succeed_is_for_a_person_after_hours() -> None:
    sync = refused_before("to be synced, sent", "SyncOrder", Refusal.UNCLEAR, times=len(PAUSES) + 1)
    waived = replace(SITUATIONS["waived, not to be cancelled"](), refusals=len(PAUSES), refused_as="unclear")

    assert sync.problem is not None
    assert outcomes.refused(waived, a_doubt(Refusal.UNCLEAR, step="LowerOrder"), NOW).problem is not None


def test_a_fare_that_wechat_twice_did_not_lower_is_collected_as_it_is() -> None:
    before = refused_before("lowered, sent", "LowerOrder", Refusal.WRONG_STATE, times=2)

    trip = outcomes.asked(before, COLLECTING, NOW)

    assert trip.lowering == Lowering(asked_fen=3_200, sent_fen=LOWERED_FEN, refused=True)
    assert (trip.doubt, trip.refusals, trip.refused_as) == (None, 0, "")


def test_wechat_that_twice_did_not_collect_at_once_is_left_to_collect_when_it_would() -> None:
    before = replace(
        refused_before("asked for, sent", "PayOrder", Refusal.WRONG_STATE, times=2),
        asking=Asking(step=1, due=True, sent=True),
    )

    trip = outcomes.asked(before, COLLECTING, NOW)

    assert trip.asking == Asking(step=1)
    assert (trip.doubt, trip.refusals, trip.refused_as) == (None, 0, "")


@pytest.mark.parametrize(("situation", "step"), LEFT)
@pytest.mark.parametrize(
    ("refusal", "times", "is_left"),
    [
        (Refusal.WRONG_STATE, 1, False),
        (Refusal.WRONG_STATE, 2, True),
        (Refusal.DEBIT_IN_FLIGHT, 2, False),
        (Refusal.DEBIT_IN_FLIGHT, len(PAUSES) - 1, False),
        (Refusal.DEBIT_IN_FLIGHT, len(PAUSES), True),
    ],
)
def test_one_refusal_and_a_debit_in_flight_are_no_reason_to_leave_a_call(
    situation: str, step: str, refusal: Refusal, times: int, *, is_left: bool
) -> None:
    trip = outcomes.asked(refused_before(situation, step, refusal, times=times), COLLECTING, NOW)

    assert (next_step(trip, NOW, SERVICEORDER) == Rest(NOW + SERVICEORDER.poll_delays[1])) is is_left
    assert trip.doubt is None
    assert (trip.polls, trip.asked_at) == (1, NOW)


def test_a_refused_call_that_was_decided_otherwise_meanwhile_leaves_nothing() -> None:
    pay = refused_before("asked for, sent", "PayOrder", Refusal.WRONG_STATE, times=2)
    lower = refused_before("lowered, sent", "LowerOrder", Refusal.WRONG_STATE, times=2)

    assert outcomes.asked(replace(pay, asking=None), COLLECTING, NOW).asking is None
    assert outcomes.asked(replace(lower, lowering=None), LOWER, NOW) == replace(
        lower, lowering=None, polls=1, asked_at=NOW, doubt=None, refusals=0, refused_as=""
    )


def test_a_waived_fare_that_wechat_twice_did_not_lower_to_nothing_is_lowered_again() -> None:
    waived = SITUATIONS["waived, not to be cancelled"]()
    refused = outcomes.refused(
        replace(waived, refusals=1, refused_as="wrong_state"), a_doubt(Refusal.WRONG_STATE, step="LowerOrder"), NOW
    )

    trip = outcomes.asked(refused, COLLECTING, NOW)

    assert trip.lowering is None
    assert next_step(trip, NOW, SERVICEORDER) == LowerOrder()


def test_a_debit_in_flight_is_waited_for_before_the_fare_is_asked_about() -> None:
    trip = refused_before("lowered, sent", "LowerOrder", Refusal.DEBIT_IN_FLIGHT)

    assert next_step(trip, NOW, SERVICEORDER) == Rest(NOW + DEBIT_PAUSE)


# --- What WeChat Pay goes on collecting ---


@pytest.mark.parametrize(
    ("situation", "fen"),
    [
        ("lowered", LOWERED_FEN),
        ("lowered, sent", LOWERED_FEN),
        ("lowered, sent, and lowered again", LOWERED_FEN),
        ("lowered, sent, and lowered again", 1_500),
    ],
)
def test_a_lower_fare_that_wechat_shows_is_taken_though_nobody_heard_it_accept_it(situation: str, fen: int) -> None:
    before = a_fare(situation, **COUNTED)

    trip = outcomes.see(before, replace(LOWER, total_fen=fen), NOW)

    assert trip == replace(before, lowering=Lowering(asked_fen=fen, before_fen=3_200), **NOTHING_COUNTED)


@pytest.mark.parametrize(
    ("situation", "fen"),
    [("lowered, sent", 3_200), ("lowered, taken", LOWERED_FEN), ("lowered, taken", 3_200), ("lowered, taken", None)],
)
def test_what_wechat_collects_or_collected_before_is_known(situation: str, fen: int | None) -> None:
    trip = a_fare(situation)

    assert outcomes.see(trip, replace(LOWER, total_fen=fen), NOW) is trip


@pytest.mark.parametrize(
    "trip",
    [
        a_fare("lowered, sent", lowered=()),
        SITUATIONS["completed"](),
        replace(a_fare("lowered, sent"), waived=SITUATIONS["waived"]().waived),
    ],
)
def test_a_lower_fare_that_nobody_asked_for_is_for_a_person(trip: Trip) -> None:
    seen = outcomes.see(trip, LOWER, NOW)

    assert seen.problem is not None
    assert seen.problem.code == "amount_differs"


def test_an_old_fare_that_wechat_goes_on_showing_is_asked_about_for_hours_and_then_told() -> None:
    trip, now = a_fare("lowered, taken"), NOW
    for pause in QUESTION_PAUSES:
        trip = outcomes.asked(trip, COLLECTING, now)
        now += pause
        assert next_step(trip, now - timedelta(seconds=1), SERVICEORDER) == Rest(now)

    trip = outcomes.asked(trip, COLLECTING, now)

    assert trip.problem is not None
    assert (trip.problem.code, trip.problem.message, trip.problem.step) == (
        "lowering_lost",
        "WeChat Pay accepted a lower fare, and shows the old one",
        "AskOrder",
    )


def test_an_order_that_goes_on_collecting_after_the_payment_elsewhere_was_told_is_told_after_hours() -> None:
    trip, now = a_fare("synced"), NOW
    for pause in QUESTION_PAUSES:
        trip = outcomes.asked(trip, COLLECTING, now)
        now += pause

    trip = outcomes.asked(trip, COLLECTING, now)

    assert trip.problem is not None
    assert (trip.problem.code, trip.problem.message, trip.problem.step) == (
        "sync_lost",
        "WeChat Pay accepted that the fare was paid elsewhere, and goes on collecting",
        "AskOrder",
    )


def test_an_order_that_collects_while_wechat_is_still_to_be_told_of_the_payment_elsewhere_is_as_it_should_be() -> None:
    trip = outcomes.asked(a_fare("to be synced, sent"), COLLECTING, NOW)

    assert (trip.unanswered, trip.polls, trip.asked_at) == (None, 1, NOW)


# --- What was paid ---


@pytest.mark.parametrize(
    ("situation", "order", "asked_fen", "too_much"),
    [
        ("lowered, sent", DONE, 3_200, 1_200),
        ("lowered, sent", PAID_LOWER, LOWERED_FEN, 0),
        ("lowered, sent", replace(PAID_LOWER, total_fen=None), LOWERED_FEN, 0),
        ("lowered", PAID_LOWER, LOWERED_FEN, 0),
        ("lowered, taken", PAID_LOWER, LOWERED_FEN, 0),
        ("lowered, taken", DONE, 3_200, 1_200),
    ],
)
def test_any_of_our_fares_that_was_paid_is_a_payment_and_what_of_it_is_too_much_goes_back(
    situation: str, order: OrderSeen, asked_fen: int, too_much: int
) -> None:
    trip = outcomes.see(a_fare(situation), order, NOW)

    assert trip.payment == Payment(paid_fen=order.paid_fen or 0, paid_at=NOW, debits=order.debits)
    assert trip.lowering is not None
    assert trip.lowering.asked_fen == asked_fen
    assert too_much_fen(trip) == too_much


@pytest.mark.parametrize(
    "order",
    [
        replace(PAID_LOWER, paid_fen=2_999, total_fen=None),
        replace(PAID_LOWER, total_fen=3_200),
        replace(PAID_LOWER, paid_fen=None),
    ],
)
def test_a_payment_that_is_not_one_of_our_fares_in_full_is_for_a_person(order: OrderSeen) -> None:
    trip = outcomes.see(a_fare("lowered, sent"), order, NOW)

    assert (trip.state, trip.payment) == (TripState.COMPLETED, None)
    assert trip.problem is not None
    assert trip.problem.code == "amount_differs"


def test_amounts_of_debits_that_were_not_told_before_are_learned_and_what_is_noted_of_them_stays() -> None:
    known = (Debit(transaction_id="1", reserved_fen=5), Debit(transaction_id="2", amount_fen=700))
    paid = SITUATIONS["paid"]()
    assert paid.payment is not None
    before = replace(paid, payment=replace(paid.payment, debits=known))
    told = (
        Debit(transaction_id="1", amount_fen=2_500),
        Debit(transaction_id="2", amount_fen=1),
        Debit(transaction_id="3", amount_fen=1),
    )

    trip = outcomes.see(before, replace(DONE, debits=told), NOW)

    assert trip.payment is not None
    assert trip.payment.debits == (
        Debit(transaction_id="1", amount_fen=2_500, reserved_fen=5),
        Debit(transaction_id="2", amount_fen=700),
        Debit(transaction_id="3", amount_fen=1),
    )


def test_a_payment_above_a_lowered_fare_is_compared_like_any_other() -> None:
    paid = a_fare("paid above the fare")

    assert outcomes.see(paid, DONE, NOW) is paid
    assert outcomes.see(paid, COLLECTING, NOW) is paid
    with pytest.raises(ConflictingFact, match=r"^WeChat Pay shows another payment than the one noted$"):
        outcomes.see(paid, replace(DONE, debits=debits("9")), NOW)


# --- Taken up again ---


def stopped(trip: Trip, code: str) -> Trip:
    problem = Problem(code=code, message="", request_id="", step="AskOrder", since=NOW)
    return outcomes.with_problem(trip, problem)


@pytest.mark.parametrize("code", ["paid_twice", "not_sent_back"])
def test_money_that_a_person_has_seen_to_is_not_sent_back_any_more(code: str) -> None:
    before = a_fare("paid above the fare, sent back", returned_fen=200, polls=3, asked_at=NOW)

    trip = outcomes.without_problem(stopped(before, code))

    assert trip == replace(before, returned_fen=1_200, problem_told=f"{code} AskOrder")
    assert not too_much_fen(trip)


def test_money_is_seen_to_by_none_who_has_looked_at_something_else() -> None:
    before = a_fare("paid above the fare")

    assert too_much_fen(outcomes.without_problem(stopped(before, "amount_differs"))) == 1_200


def test_a_lower_fare_that_wechat_has_lost_is_sent_again_once_a_person_has_looked() -> None:
    trip = outcomes.without_problem(stopped(a_fare("lowered, taken"), "lowering_lost"))

    assert trip.lowering == Lowering(asked_fen=3_200)
    assert next_step(trip, NOW, SERVICEORDER) == LowerOrder()


LowerFare = Callable[[], Trip]


@pytest.mark.parametrize(
    ("before", "code"),
    [
        (lambda: a_fare("lowered, sent"), "lowering_lost"),
        (lambda: a_fare("lowered, taken"), "amount_differs"),
        (lambda: a_fare("lowered, taken", waived=SITUATIONS["waived"]().waived), "lowering_lost"),
        (SITUATIONS["completed"], "lowering_lost"),
    ],
)
def test_what_wechat_collects_stays_known_where_no_lower_fare_was_lost(before: LowerFare, code: str) -> None:
    assert outcomes.without_problem(stopped(before(), code)).lowering == before().lowering


def test_a_trip_that_is_taken_up_again_tells_wechat_of_the_payment_elsewhere() -> None:
    trip = outcomes.without_problem(stopped(a_fare("to be synced, sent"), "sync_refused"))

    assert next_step(trip, NOW + HOUR, SERVICEORDER) == SyncOrder()


def test_a_create_that_was_refused_is_not_sent_again_for_what_was_paid_elsewhere() -> None:
    refused = outcomes.refused(SITUATIONS["creating, ended"](), a_doubt(Refusal.UNCLEAR, step="OpenOrder"), NOW)
    trip = note_paid_elsewhere(refused, a_payment_elsewhere(), NOW)

    once = outcomes.not_found(trip, ABSENT, NOW, certain=True)

    assert next_step(once, NOW, SERVICEORDER) != OpenOrder()
    assert once.state is TripState.NOTED


def test_a_lower_fare_is_noted_of_a_trip_that_stands_still_and_goes_on_where_the_word_says() -> None:
    before = note_lowered(stopped(SITUATIONS["completed"](), "amount_differs"), a_lowered_fare())

    trip = outcomes.see(before, PAID_LOWER, NOW)

    assert (trip.state, trip.problem) == (TripState.PAID, None)
    assert too_much_fen(trip) == 0


def test_an_order_completed_elsewhere_with_the_lowered_fare_is_adopted() -> None:
    trip = note_lowered(SITUATIONS["open, ended"](), a_lowered_fare())

    assert outcomes.see(trip, LOWER, NOW).state is TripState.COMPLETED
    assert outcomes.see(trip, COLLECTING, NOW).problem is not None
    assert an_end().total_fen == COLLECTING.total_fen
