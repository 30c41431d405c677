"""Doubts: a refusal says nothing final; it is followed by a question, and that by a decision."""

from dataclasses import replace
from datetime import timedelta

import pytest

from payscore_worker import outcomes
from payscore_worker.errors import ConflictingFact, Refusal
from payscore_worker.outcomes import APART, APART_IN_DOUBT, MAX_REBUILDS, PAUSES, QUESTION_PAUSES
from payscore_worker.trip import (
    LATE_LOOK,
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    DeclineReason,
    Look,
    OpenOrder,
    OrderPhase,
    Rest,
    Stop,
    Trip,
    TripState,
    next_step,
    note_cancelled,
    note_ended,
    note_started,
)
from tests.builders import (
    HOUR,
    NOW,
    PAYAFTER,
    SERVICEORDER,
    SITUATIONS,
    a_cancellation,
    a_doubt,
    a_start,
    a_trip,
    an_end,
    an_order,
)

ABSENT = a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder", code="ORDER_NOT_EXIST")
SECOND = timedelta(seconds=1)


def refused_create(refusal: Refusal, situation: str = "creating", **changes: object) -> Trip:
    return outcomes.refused(SITUATIONS[situation](), a_doubt(refusal, step="OpenOrder", **changes), NOW)


def absent_twice(trip: Trip, *, certain: bool = True) -> Trip:
    """Ask twice, as far apart as it takes, and hear both times that there is no order."""
    once = outcomes.not_found(trip, ABSENT, NOW, certain=certain)
    return outcomes.not_found(once, ABSENT, NOW + (APART if certain else APART_IN_DOUBT), certain=certain)


# --- A refused create ---


@pytest.mark.parametrize("refusal", sorted(outcomes.DECLINING))
def test_a_refusal_that_would_decline_asks_where_the_order_stands(refusal: Refusal) -> None:
    trip = refused_create(refusal)

    assert (trip.state, next_step(trip, NOW, PAYAFTER)) == (TripState.NOTED, AskOrder())


@pytest.mark.parametrize("refusal", sorted(outcomes.DECLINING))
def test_one_answer_that_there_is_no_order_declines_nothing_and_a_second_one_some_time_later_does(
    refusal: Refusal,
) -> None:
    once = outcomes.not_found(refused_create(refusal), ABSENT, NOW, certain=True)
    assert (once.state, next_step(once, NOW, PAYAFTER)) == (TripState.NOTED, Rest(NOW + APART))

    early = outcomes.not_found(once, ABSENT, NOW + APART - SECOND, certain=True)
    assert early.state is TripState.NOTED

    twice = outcomes.not_found(once, ABSENT, NOW + APART, certain=True)
    assert twice.declined is not None
    assert (twice.state, twice.declined.reason) == (TripState.DECLINED, outcomes.DECLINING[refusal])


def test_where_a_send_may_still_be_on_its_way_the_two_answers_lie_minutes_apart() -> None:
    once = outcomes.not_found(refused_create(Refusal.RISK_REFUSED), ABSENT, NOW, certain=False)

    assert outcomes.not_found(once, ABSENT, NOW + APART, certain=False).state is TripState.NOTED
    assert outcomes.not_found(once, ABSENT, NOW + APART_IN_DOUBT, certain=False).state is TripState.DECLINED


def test_a_running_order_wins_over_a_refusal() -> None:
    once = outcomes.not_found(refused_create(Refusal.RISK_REFUSED), ABSENT, NOW, certain=True)

    found = outcomes.asked(once, an_order(), NOW + APART)

    assert (found.state, found.doubt, found.missed_at) == (TripState.OPEN, None, None)


def test_an_order_that_was_revoked_is_word_enough_and_is_not_looked_at_again() -> None:
    over = outcomes.asked(refused_create(Refusal.RISK_REFUSED), an_order(OrderPhase.REVOKED), NOW)

    assert (over.state, over.look) == (TripState.DECLINED, None)


@pytest.mark.parametrize("refusal", [Refusal.WRONG_STATE, Refusal.UNCLEAR, Refusal.REENTRY_MISMATCH])
def test_one_answer_that_there_is_no_order_is_enough_to_send_the_same_bytes_again(refusal: Refusal) -> None:
    before = SITUATIONS["creating"]()

    trip = outcomes.not_found(refused_create(refusal), ABSENT, NOW, certain=False)

    assert (trip.opening, trip.doubt) == (before.opening, None)
    assert next_step(trip, NOW, PAYAFTER) == OpenOrder()


def test_refusals_in_a_row_are_followed_by_questions_with_pauses_that_grow_and_after_hours_by_a_person() -> None:
    trip, now, pauses = SITUATIONS["creating"](), NOW, []
    for _ in PAUSES:
        trip = outcomes.refused(trip, a_doubt(Refusal.UNCLEAR, step="OpenOrder"), now)
        step = next_step(trip, now, PAYAFTER)
        until = step.until if isinstance(step, Rest) else now
        assert until is not None
        pauses.append(until - now)
        now = until
        trip = outcomes.not_found(trip, ABSENT, now, certain=True)
    assert pauses == list(PAUSES)
    assert now - NOW >= 3 * HOUR

    trip = outcomes.refused(trip, a_doubt(Refusal.UNCLEAR, step="OpenOrder", code="NEW_CODE"), now)

    assert trip.problem is not None
    assert (trip.problem.code, trip.problem.step) == ("NEW_CODE", "OpenOrder")


@pytest.mark.parametrize("refusal", sorted(outcomes.PARAMETERS))
def test_a_create_refused_for_a_parameter_is_built_anew_once_the_order_is_known_not_to_exist(refusal: Refusal) -> None:
    trip = refused_create(refusal)
    assert outcomes.not_found(trip, ABSENT, NOW, certain=True).opening is not None

    trip = absent_twice(trip)

    assert (trip.opening, trip.doubt, trip.rebuilds) == (None, None, 1)


def test_bodies_are_built_anew_a_bounded_number_of_times() -> None:
    trip = replace(refused_create(Refusal.INVALID_PARAMETER, code="PARAM_ERROR"), rebuilds=MAX_REBUILDS)

    stopped = absent_twice(trip)

    assert stopped.opening is not None
    assert stopped.problem is not None
    assert stopped.problem.code == "PARAM_ERROR"


def test_refusals_of_other_kinds_do_not_use_up_the_chance_of_a_body_to_be_built_anew() -> None:
    worn = replace(SITUATIONS["creating"](), refusals=len(PAUSES), refused_as=Refusal.DEBIT_IN_FLIGHT.value)
    doubt = a_doubt(Refusal.INVALID_PARAMETER, step="OpenOrder", code="PARAM_ERROR")

    first = outcomes.refused(worn, doubt, NOW)
    assert first.problem is None
    anew = absent_twice(first)
    again = outcomes.refused(first, doubt, NOW)

    assert (anew.opening, anew.refusals) == (None, 1)
    assert again.problem is not None


def test_refusals_of_other_kinds_do_not_keep_a_trip_from_being_declined() -> None:
    worn = replace(SITUATIONS["creating"](), refusals=len(PAUSES), refused_as=Refusal.NOT_PERMITTED.value)

    refused = outcomes.refused(worn, a_doubt(Refusal.RISK_REFUSED, step="OpenOrder"), NOW)

    assert refused.problem is None
    assert absent_twice(refused).state is TripState.DECLINED


def test_a_create_refused_for_its_time_is_not_built_anew_for_a_trip_that_was_cancelled() -> None:
    assert absent_twice(refused_create(Refusal.BAD_TIME, "creating, cancelled")).state is TripState.CANCELLED


def test_a_trip_that_was_cancelled_before_its_create_was_answered_is_asked_about_and_opens_nothing() -> None:
    trip = SITUATIONS["creating, cancelled"]()
    assert next_step(trip, NOW, PAYAFTER) == AskOrder()

    assert absent_twice(trip).state is TripState.CANCELLED
    assert next_step(outcomes.asked(trip, an_order(), NOW), NOW, PAYAFTER) == CancelOrder()


def test_a_create_refused_under_settings_that_have_changed_is_prepared_anew_once_there_is_no_order() -> None:
    trip = outcomes.outdated(SITUATIONS["creating"]())
    assert next_step(trip, NOW, PAYAFTER) == AskOrder()

    trip = absent_twice(trip)

    assert (trip.opening, trip.rebuilds) == (None, 0)


# --- Not permitted ---


def test_not_permitted_asks_for_the_service_first() -> None:
    trip = refused_create(Refusal.NOT_PERMITTED, code="NO_AUTH")

    assert next_step(trip, NOW, PAYAFTER) == AskServiceState()


def test_a_service_that_is_off_ends_the_trip_at_once_where_no_order_was_asked_for() -> None:
    left = outcomes.service_answered(note_started(a_trip(), a_start()), enabled=False)

    assert left.declined is not None
    assert (left.state, left.declined.reason) == (TripState.DECLINED, DeclineReason.SERVICE_NOT_ENABLED)


@pytest.mark.parametrize("certain", [True, False])
def test_a_service_that_is_off_says_nothing_of_an_order_that_may_run(certain: bool) -> None:  # noqa: FBT001
    """That its create was refused nobody has signed."""
    left = outcomes.service_answered(refused_create(Refusal.NOT_PERMITTED), enabled=False)

    assert (left.state, next_step(left, NOW, PAYAFTER)) == (TripState.NOTED, AskOrder())
    assert outcomes.asked(left, an_order(), NOW).state is TripState.OPEN
    over = absent_twice(left, certain=certain)
    assert over.declined is not None
    assert over.declined.reason is DeclineReason.SERVICE_NOT_ENABLED


def test_not_permitted_though_enabled_sends_the_same_bytes_again() -> None:
    trip = refused_create(Refusal.NOT_PERMITTED)

    stayed = outcomes.service_answered(trip, enabled=True)

    assert (stayed.problem, stayed.opening) == (None, trip.opening)
    assert next_step(stayed, NOW, PAYAFTER) == OpenOrder()


def test_not_permitted_for_hours_is_for_a_person_only_where_other_trips_are_let_through() -> None:
    trip = replace(SITUATIONS["creating"](), refusals=len(PAUSES))
    doubt = a_doubt(Refusal.NOT_PERMITTED, step="OpenOrder", code="NO_AUTH")

    alone = outcomes.refused(trip, doubt, NOW, others_pass=True)
    like_all = outcomes.refused(trip, doubt, NOW, others_pass=False)

    assert alone.problem is not None
    assert like_all.problem is None
    assert next_step(like_all, NOW, PAYAFTER) == Rest(NOW + outcomes.LONGEST_UNPERMITTED)


def test_that_a_passenger_never_enabled_the_service_is_believed_the_second_time() -> None:
    trip = note_started(a_trip(), a_start())
    never = a_doubt(Refusal.NOT_ENABLED, step="AskServiceState")

    once = outcomes.question_refused(trip, never, NOW)
    assert (once.state, next_step(once, NOW, PAYAFTER)) == (TripState.NOTED, Rest(NOW + APART))
    twice = outcomes.question_refused(once, never, NOW + APART)

    assert twice.declined is not None
    assert twice.declined.reason is DeclineReason.SERVICE_NOT_ENABLED


def test_a_create_refused_because_the_passenger_never_enabled_the_service_is_asked_about_like_not_permitted() -> None:
    assert next_step(refused_create(Refusal.NOT_ENABLED), NOW, PAYAFTER) == AskServiceState()


# --- Questions ---


@pytest.mark.parametrize("situation", ["completed", "open, ended", "started"])
@pytest.mark.parametrize("refusal", [one for one in Refusal if one is not Refusal.NOT_ENABLED])
def test_a_refused_question_is_asked_again_for_hours_before_a_person_is_called(
    situation: str, refusal: Refusal
) -> None:
    trip, now = SITUATIONS[situation](), NOW
    doubt = a_doubt(refusal, step="AskOrder", code="CODE")
    for pause in QUESTION_PAUSES:
        trip = outcomes.question_refused(trip, doubt, now)
        assert trip.problem is None
        assert next_step(trip, now, PAYAFTER) == Rest(now + pause)
        now += pause
        assert isinstance(next_step(trip, now, PAYAFTER), AskOrder | AskServiceState)
    assert now - NOW >= 3 * HOUR

    trip = outcomes.question_refused(trip, doubt, now)

    assert trip.problem is not None
    assert trip.problem.code == "CODE"


def test_an_answer_ends_the_count_of_refused_questions() -> None:
    trip = outcomes.question_refused(SITUATIONS["completed"](), a_doubt(step="AskOrder"), NOW)

    assert outcomes.asked(trip, an_order(OrderPhase.COLLECTING), NOW).unanswered is None


@pytest.mark.parametrize("situation", ["open, ended", "completed"])
def test_no_order_after_an_accepted_create_is_lag(situation: str) -> None:
    trip = outcomes.not_found(SITUATIONS[situation](), ABSENT, NOW, certain=True)

    assert trip.problem is None
    assert next_step(trip, NOW + QUESTION_PAUSES[0], PAYAFTER) == AskOrder()


@pytest.mark.parametrize("phase", [OrderPhase.RUNNING, OrderPhase.CREATED, OrderPhase.UNKNOWN])
def test_an_answer_that_cannot_be_is_asked_for_again(phase: OrderPhase) -> None:
    trip = outcomes.asked(SITUATIONS["completed"](), an_order(phase), NOW)

    assert (trip.state, trip.problem) == (TripState.COMPLETED, None)
    assert next_step(trip, NOW, PAYAFTER) == Rest(NOW + QUESTION_PAUSES[0])


def test_a_running_order_shown_for_hours_after_the_completion_is_for_a_person() -> None:
    trip = SITUATIONS["completed"]()
    for _ in range(len(QUESTION_PAUSES) + 1):
        trip = outcomes.asked(trip, an_order(), NOW)

    assert trip.problem is not None
    assert trip.problem.code == "completion_lost"


# --- A refused complete or cancel ---


def test_a_complete_refused_for_its_state_is_taken_as_done_when_the_order_shows_our_total() -> None:
    trip = outcomes.refused(SITUATIONS["completing"](), a_doubt(Refusal.REENTRY_MISMATCH), NOW)

    trip = outcomes.asked(trip, an_order(OrderPhase.COLLECTING), NOW)

    assert (trip.state, trip.doubt, trip.refusals) == (TripState.COMPLETED, None, 0)


@pytest.mark.parametrize("refusal", sorted(outcomes.PARAMETERS))
def test_a_complete_refused_for_a_parameter_is_built_anew_once_the_order_shows_that_it_had_no_effect(
    refusal: Refusal,
) -> None:
    trip = outcomes.refused(SITUATIONS["completing"](), a_doubt(refusal), NOW)

    trip = outcomes.asked(trip, an_order(finish_ticket="fresh"), NOW, certain=True)

    assert (trip.end_time, trip.finish_ticket, trip.rebuilds) == (None, "fresh", 1)
    assert next_step(trip, NOW, PAYAFTER) == CompleteOrder()


def test_the_bytes_stay_binding_while_one_send_of_them_may_have_been_accepted() -> None:
    before = SITUATIONS["completing"]()
    trip = outcomes.refused(before, a_doubt(Refusal.BAD_TIME, uncertain=True), NOW)

    trip = outcomes.asked(trip, an_order(finish_ticket="ticket"), NOW, certain=False)

    assert trip.end_time == before.end_time


def test_a_fare_above_wechats_limit_is_refused_twice_before_the_order_is_cancelled() -> None:
    doubt = a_doubt(Refusal.AMOUNT_OVER_LIMIT)
    trip = outcomes.refused(SITUATIONS["completing"](), doubt, NOW)
    assert (trip.state, next_step(trip, NOW, PAYAFTER)) == (TripState.OPEN, AskOrder())
    trip = outcomes.asked(trip, an_order(), NOW, certain=True)
    assert next_step(trip, NOW, PAYAFTER) == CompleteOrder()

    trip = outcomes.asked(outcomes.refused(trip, doubt, NOW), an_order(), NOW, certain=True)
    assert next_step(trip, NOW, PAYAFTER) == CancelOrder()
    trip = outcomes.order_cancelled(trip, NOW)

    assert trip.declined is not None
    assert (trip.state, trip.declined.reason) == (TripState.DECLINED, DeclineReason.AMOUNT_OVER_LIMIT)


def test_a_debit_in_flight_is_waited_for_before_asking() -> None:
    trip = outcomes.refused(SITUATIONS["cancelling"](), a_doubt(Refusal.DEBIT_IN_FLIGHT, step="CancelOrder"), NOW)

    assert next_step(trip, NOW, PAYAFTER) == Rest(NOW + outcomes.DEBIT_PAUSE)
    assert next_step(trip, NOW + outcomes.DEBIT_PAUSE, PAYAFTER) == AskOrder()


def test_a_cancel_refused_for_its_words_says_others_once_the_order_shows_that_it_had_no_effect() -> None:
    doubt = a_doubt(Refusal.INVALID_PARAMETER, step="CancelOrder")

    trip = outcomes.asked(outcomes.refused(SITUATIONS["cancelling"](), doubt, NOW), an_order(), NOW, certain=True)

    assert trip.rebuilds == 1
    assert next_step(trip, NOW, PAYAFTER) == CancelOrder()


# --- Over, and looked at once more ---


def test_an_end_that_rests_on_no_signed_word_of_the_order_is_looked_at_once_more() -> None:
    over = absent_twice(refused_create(Refusal.RISK_REFUSED))
    look_at = NOW + APART + LATE_LOOK

    assert over.look == Look(at=look_at)
    assert next_step(over, NOW + APART, PAYAFTER) == Rest(look_at)
    assert next_step(over, look_at, PAYAFTER) == AskOrder()


def test_a_trip_that_never_asked_for_an_order_is_not_looked_at_again() -> None:
    over = outcomes.service_answered(note_started(a_trip(), a_start()), enabled=False)

    assert (over.state, over.look) == (TripState.DECLINED, None)


@pytest.mark.parametrize("gone", [None, OrderPhase.REVOKED, OrderPhase.EXPIRED])
def test_a_late_look_that_finds_nothing_lets_the_trip_rest(gone: OrderPhase | None) -> None:
    over = absent_twice(refused_create(Refusal.RISK_REFUSED))

    if gone is None:
        looked = outcomes.not_found(over, ABSENT, NOW, certain=True)
    else:
        looked = outcomes.asked(over, an_order(gone), NOW)

    assert (looked.state, looked.look) == (TripState.DECLINED, None)
    assert next_step(looked, NOW + 365 * 24 * HOUR, PAYAFTER) == Rest()


def test_an_order_that_runs_for_a_trip_that_is_over_is_cancelled_and_the_trip_stays_as_it_ended() -> None:
    over = absent_twice(refused_create(Refusal.RISK_REFUSED))

    found = outcomes.asked(over, an_order(), NOW)
    assert next_step(found, NOW, PAYAFTER) == CancelOrder()
    cancelled = outcomes.order_cancelled(found, NOW)

    assert (cancelled.state, cancelled.declined, cancelled.look) == (TripState.DECLINED, over.declined, None)


def test_an_acceptance_that_comes_after_the_trip_was_given_up_is_not_dropped() -> None:
    over = absent_twice(refused_create(Refusal.RISK_REFUSED))

    assert next_step(outcomes.see(over, an_order(), NOW), NOW, PAYAFTER) == CancelOrder()


def test_money_for_a_trip_that_is_over_is_shown_to_a_person() -> None:
    trip = outcomes.see(SITUATIONS["declined"](), an_order(OrderPhase.DONE), NOW)

    assert trip.problem is not None
    assert (trip.state, trip.problem.code) == (TripState.DECLINED, "charged_though_over")


# --- Trips that stand still ---


@pytest.mark.parametrize("situation", ["completed", "completing", "open, ended"])
def test_a_signed_payment_in_full_settles_a_trip_that_stands_still(situation: str) -> None:
    stopped = outcomes.question_refused(SITUATIONS[situation](), a_doubt(step="AskOrder"), NOW)
    for _ in QUESTION_PAUSES:
        stopped = outcomes.question_refused(stopped, a_doubt(step="AskOrder"), NOW)
    assert stopped.problem is not None

    paid = outcomes.see(stopped, an_order(OrderPhase.DONE), NOW)

    assert (paid.state, paid.problem) == (TripState.PAID, None)


@pytest.mark.parametrize("paid_fen", [0, 3_199, 3_201, None])
def test_a_trip_is_paid_only_when_the_collected_amount_is_what_we_completed_with(paid_fen: int | None) -> None:
    seen = outcomes.see(SITUATIONS["completed"](), an_order(OrderPhase.DONE, paid_fen=paid_fen), NOW)

    assert seen.state is TripState.COMPLETED
    assert seen.problem is not None
    assert seen.problem.code == "amount_differs"


def test_a_completion_that_was_not_ours_is_adopted_where_it_is_about_what_is_owed() -> None:
    trip = SITUATIONS["open, ended"]()

    assert outcomes.see(trip, an_order(OrderPhase.COLLECTING), NOW).state is TripState.COMPLETED
    assert outcomes.see(trip, an_order(OrderPhase.DONE), NOW).state is TripState.PAID
    other = outcomes.see(trip, an_order(OrderPhase.COLLECTING, total_fen=3_199), NOW)
    assert other.problem is not None
    assert other.problem.code == "completed_elsewhere"


def test_a_completion_that_came_before_the_end_is_compared_once_the_end_is_noted() -> None:
    stopped = outcomes.see(SITUATIONS["open"](), an_order(OrderPhase.COLLECTING), NOW)
    assert stopped.problem is not None

    ended = note_ended(stopped, an_end())

    assert ended.problem is None
    assert next_step(ended, NOW, PAYAFTER) == AskOrder()
    assert outcomes.asked(ended, an_order(OrderPhase.COLLECTING), NOW).state is TripState.COMPLETED


def test_a_cleared_problem_starts_every_count_anew_and_asks_at_once() -> None:
    trip = replace(SITUATIONS["with a problem"](), refusals=2, rebuilds=2, polls=9, asked_at=NOW)

    cleared = outcomes.without_problem(trip)

    assert (cleared.problem, cleared.refusals, cleared.rebuilds, cleared.polls) == (None, 0, 0, 0)
    assert next_step(cleared, NOW + PAYAFTER.poll_delays[0], PAYAFTER) == AskOrder()


# --- Payments ---


@pytest.mark.parametrize("told", [(), ("4200001",), ("4200001", "4200002"), ("4200002", "4200001")])
def test_what_is_absent_or_in_another_order_is_no_other_payment(told: tuple[str, ...]) -> None:
    paid = SITUATIONS["paid"]()

    again = outcomes.see(paid, an_order(OrderPhase.DONE, transaction_ids=told), NOW)

    assert again.payment is not None
    assert set(again.payment.transaction_ids) == {"4200001", *told}


def test_other_transactions_than_those_noted_are_another_payment() -> None:
    with pytest.raises(ConflictingFact, match="another payment"):
        outcomes.see(SITUATIONS["paid"](), an_order(OrderPhase.DONE, transaction_ids=("4200009",)), NOW)


# --- What else ---


def test_a_failed_create_is_cancelled_and_was_never_open() -> None:
    trip = outcomes.see(SITUATIONS["creating"](), an_order(OrderPhase.CREATED), NOW)

    assert (trip.opened_at, trip.order_id) == (None, an_order().order_id)
    assert next_step(trip, NOW, PAYAFTER) == CancelOrder()


def test_a_service_that_begins_far_in_the_future_cannot_be_completed_and_is_for_a_person() -> None:
    trip = replace(note_ended(SITUATIONS["open"](), an_end()), opened_at=NOW + 2 * HOUR)

    step = next_step(trip, NOW, SERVICEORDER)

    assert isinstance(step, Stop)
    assert step.code == "start_in_future"


def test_a_cancellation_of_a_trip_whose_order_was_never_asked_for_needs_no_look() -> None:
    assert note_cancelled(note_started(a_trip(), a_start()), a_cancellation()).look is None
