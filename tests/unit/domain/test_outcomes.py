"""Doubts: a refusal says nothing final; it is followed by a question, and that by a decision."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import (
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    LowerOrder,
    OpenOrder,
    Rest,
    Stop,
    next_step,
)
from payscore_worker.domain.outcomes import APART, APART_IN_DOUBT, MAX_REBUILDS, PAUSES, QUESTION_PAUSES
from payscore_worker.domain.trip import (
    LATE_LOOK,
    Declined,
    DeclineReason,
    Doubt,
    Look,
    Lowering,
    Opening,
    OrderPhase,
    OrderSeen,
    Payment,
    Problem,
    Trip,
    TripState,
    Unanswered,
    WrittenOff,
    note_cancelled,
    note_ended,
    note_started,
)
from payscore_worker.errors import ConflictingFact, Refusal
from tests.builders import (
    FARE_SITUATIONS,
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
    debits,
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

    again = outcomes.see(paid, an_order(OrderPhase.DONE, debits=debits(*told)), NOW)

    assert again.payment is not None
    assert set(again.payment.transaction_ids) == {"4200001", *told}


def test_other_transactions_than_those_noted_are_another_payment() -> None:
    with pytest.raises(ConflictingFact, match="another payment"):
        outcomes.see(SITUATIONS["paid"](), an_order(OrderPhase.DONE, debits=debits("4200009")), NOW)


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


# --- To the last member: what a change writes, and what it leaves ---


def worn(trip: Trip) -> Trip:
    """Have a trip about whose present call everything was counted and noted that can be."""
    unanswered = Unanswered(
        step="AskOrder", code="OLD", message="早先", request_id="r0", since=NOW - HOUR, count=2, ask_after=NOW
    )
    return replace(
        trip,
        doubt=a_doubt(again=True),
        refusals=3,
        refused_as="wrong_state",
        rebuilds=1,
        unanswered=unanswered,
        missed_at=NOW - HOUR,
        problem_told="OLD AskOrder",
        order_id="1000",
        finish_ticket="ticket",
    )


def fresh(trip: Trip, **changes: Any) -> Trip:
    """Have a trip whose present call is over: nothing is counted of the next one."""
    calm = replace(trip, doubt=None, refusals=0, refused_as="", rebuilds=0)
    return replace(replace(calm, unanswered=None, missed_at=None, problem_told=""), **changes)


def test_each_body_that_is_made_is_counted() -> None:
    opening = Opening(risk_amount_fen=1, start_time=None)

    assert outcomes.opening(replace(a_trip(), bodies=1), opening) == replace(a_trip(), opening=opening, bodies=2)
    assert outcomes.completing(replace(a_trip(), bodies=1), NOW) == replace(a_trip(), end_time=NOW, bodies=2)
    assert outcomes.cancelling(replace(a_trip(), bodies=1)) == replace(a_trip(), bodies=2)


def test_an_order_that_runs_ends_what_was_counted_of_its_create() -> None:
    trip = worn(SITUATIONS["creating"]())

    assert outcomes.opened(trip, an_order(order_id="2000", started_at=NOW - HOUR), NOW) == fresh(
        trip, state=TripState.OPEN, order_id="2000", opened_at=NOW - HOUR
    )
    assert outcomes.opened(trip, an_order(order_id=""), NOW) == fresh(trip, state=TripState.OPEN, opened_at=NOW)


def test_a_completion_ends_what_was_counted_of_it_and_every_thought_of_giving_up() -> None:
    trip = replace(worn(SITUATIONS["completing"]()), declined=Declined(reason=DeclineReason.ARREARS, message="欠费"))

    assert outcomes.completed(trip, NOW) == fresh(
        trip, state=TripState.COMPLETED, completed_at=NOW, declined=None, finish_ticket=""
    )


def test_what_is_said_once_is_noted_with_its_time() -> None:
    assert outcomes.stale(a_trip(), NOW) == replace(a_trip(), stale_since=NOW)
    first = outcomes.overdue(a_trip(), 1, NOW)
    assert first == replace(a_trip(), overdue_since=NOW, overdue_step=1, overdue_told_at=NOW)
    assert outcomes.overdue(first, 3, NOW + HOUR) == replace(first, overdue_step=3, overdue_told_at=NOW + HOUR)


def test_an_order_that_was_cancelled_for_its_fare_declines_and_ends_a_problem() -> None:
    trip = replace(worn(SITUATIONS["open, ended above the limit"]()), problem=SITUATIONS["with a problem"]().problem)
    declined = Declined(reason=DeclineReason.AMOUNT_OVER_LIMIT, message="the fare is above the risk amount")

    assert outcomes.order_cancelled(trip, NOW) == fresh(trip, state=TripState.DECLINED, declined=declined, problem=None)


def test_a_service_that_is_on_ends_the_doubt_and_the_count_of_questions() -> None:
    trip = worn(SITUATIONS["creating"]())

    assert outcomes.service_answered(trip, enabled=True) == replace(
        trip, service_enabled=True, doubt=None, missed_at=None, unanswered=None
    )


def test_a_service_that_is_off_ends_a_trip_that_never_asked_for_an_order_and_it_needs_no_look() -> None:
    trip = worn(SITUATIONS["started"]())
    declined = Declined(reason=DeclineReason.SERVICE_NOT_ENABLED, message="the passenger has not enabled PayScore")

    assert outcomes.service_answered(trip, enabled=False) == fresh(trip, state=TripState.DECLINED, declined=declined)


def test_a_service_that_is_off_is_kept_in_mind_and_the_order_asked_about_at_once() -> None:
    trip = refused_create(Refusal.NOT_PERMITTED)
    assert trip.doubt is not None
    late = replace(trip, doubt=replace(trip.doubt, ask_after=NOW + HOUR), missed_at=NOW)

    off = outcomes.service_answered(late, enabled=False)

    assert off == replace(trip, doubt=replace(trip.doubt, service_off=True, ask_after=None), missed_at=None)


def test_a_service_that_is_off_is_a_doubt_about_the_create_where_there_was_none() -> None:
    off = outcomes.service_answered(SITUATIONS["creating"](), enabled=False)

    assert off.doubt == Doubt(
        step="OpenOrder",
        refusal=Refusal.NOT_PERMITTED,
        code="",
        message="",
        request_id="",
        uncertain=True,
        service_off=True,
    )


def test_a_decision_to_decline_an_order_that_stands_begins_its_cancel_anew() -> None:
    trip = worn(SITUATIONS["open, ended"]())
    declined = Declined(reason=DeclineReason.ARREARS, message="欠费")

    assert outcomes.declined(trip, DeclineReason.ARREARS, "欠费", now=NOW) == fresh(trip, declined=declined)


def test_a_decision_to_decline_while_the_create_may_be_on_its_way_is_looked_at_once_more() -> None:
    trip = worn(SITUATIONS["creating"]())
    declined = Declined(reason=DeclineReason.ARREARS, message="欠费")

    assert outcomes.declined(trip, DeclineReason.ARREARS, "欠费", now=NOW) == fresh(
        trip, state=TripState.DECLINED, declined=declined, look=Look(at=NOW + LATE_LOOK)
    )


def test_settings_that_have_changed_are_a_doubt_about_the_create_that_begins_its_questions_anew() -> None:
    trip = replace(SITUATIONS["creating"](), missed_at=NOW)
    doubt = Doubt(step="OpenOrder", refusal=Refusal.MISCONFIGURED, code="", message="", request_id="", uncertain=True)

    assert outcomes.outdated(trip) == replace(trip, doubt=doubt, missed_at=None)


def test_a_refusal_is_kept_as_a_doubt_and_counted() -> None:
    trip = replace(SITUATIONS["creating"](), refusals=1, refused_as="unclear", missed_at=NOW)
    doubt = a_doubt(Refusal.RISK_REFUSED, step="OpenOrder")

    assert outcomes.refused(trip, doubt, NOW) == replace(
        trip,
        doubt=replace(doubt, ask_after=NOW + timedelta(minutes=1)),
        refusals=2,
        refused_as="risk_refused",
        missed_at=None,
    )


def test_a_refusal_like_the_one_before_is_known_as_such() -> None:
    once = refused_create(Refusal.RISK_REFUSED)
    twice = outcomes.refused(once, a_doubt(Refusal.RISK_REFUSED), NOW)

    assert once.doubt is not None
    assert twice.doubt is not None
    assert (once.doubt.again, twice.doubt.again) == (False, True)


def test_a_first_refusal_is_asked_about_at_once() -> None:
    trip = refused_create(Refusal.RISK_REFUSED)

    assert trip.doubt is not None
    assert trip.doubt.ask_after is None


@pytest.mark.parametrize(
    ("refusal", "step", "refusals", "pause"),
    [
        (Refusal.DEBIT_IN_FLIGHT, "CompleteOrder", 1, timedelta(minutes=3)),  # never sooner than WeChat Pay asks for
        (Refusal.DEBIT_IN_FLIGHT, "CompleteOrder", 2, timedelta(minutes=5)),
        (Refusal.NOT_PERMITTED, "OpenOrder", 2, timedelta(minutes=5)),
        (Refusal.NOT_PERMITTED, "OpenOrder", 5, timedelta(minutes=15)),  # never later than it may have been mended
        (Refusal.NOT_PERMITTED, "CompleteOrder", 5, timedelta(hours=2)),  # nobody is called within the hour
        (Refusal.AMOUNT_OVER_LIMIT, "CompleteOrder", 5, timedelta(seconds=10)),
        (Refusal.UNCLEAR, "CompleteOrder", 5, timedelta(hours=2)),
    ],
)
def test_the_pause_before_the_question_is_that_of_the_refusal(
    refusal: Refusal, step: str, refusals: int, pause: timedelta
) -> None:
    trip = outcomes.refused(replace(SITUATIONS["creating"](), refusals=refusals), a_doubt(refusal, step=step), NOW)

    assert trip.doubt is not None
    assert trip.doubt.ask_after == NOW + pause


def test_a_permission_that_is_refused_to_all_is_asked_for_at_the_longest_pause_for_ever() -> None:
    trip = replace(SITUATIONS["creating"](), refusals=len(PAUSES))
    doubt = a_doubt(Refusal.NOT_ENABLED, step="OpenOrder")

    left = outcomes.refused(trip, doubt, NOW, others_pass=False)

    assert left.doubt is not None
    assert (left.refusals, left.problem, left.doubt.refusal) == (len(PAUSES), None, Refusal.NOT_PERMITTED)
    for other in (replace(doubt, step="CancelOrder"), replace(doubt, refusal=Refusal.UNCLEAR)):
        assert outcomes.refused(trip, other, NOW, others_pass=False).problem is not None
    assert outcomes.refused(trip, doubt, NOW).problem is not None  # others pass, where nobody says otherwise


def test_a_call_that_was_refused_for_hours_is_a_problem_that_says_all_that_wechat_said() -> None:
    trip = replace(worn(SITUATIONS["completing"]()), refusals=len(PAUSES))

    stopped = outcomes.refused(trip, a_doubt(Refusal.UNCLEAR, code="NEW", message="新错误", request_id="r9"), NOW)

    problem = Problem(code="NEW", message="新错误", request_id="r9", step="CompleteOrder", since=NOW)
    told = "NEW CompleteOrder"
    assert stopped == replace(trip, problem=problem, problem_told=told, doubt=None, unanswered=None, missed_at=None)


def test_a_refusal_without_a_code_is_a_problem_by_the_name_of_the_refusal() -> None:
    trip = replace(SITUATIONS["completing"](), refusals=len(PAUSES))

    stopped = outcomes.refused(trip, a_doubt(Refusal.UNCLEAR, code=""), NOW)

    assert stopped.problem is not None
    assert stopped.problem.code == "unclear"


def test_a_refused_question_is_noted_in_full_and_counted_from_the_first() -> None:
    trip, doubt = SITUATIONS["completed"](), a_doubt(step="AskOrder", code="FIRST", message="一", request_id="r1")
    later = NOW + HOUR

    once = outcomes.question_refused(trip, doubt, NOW)
    twice = outcomes.question_refused(once, replace(doubt, code="", message="二", request_id="r2"), later)

    first = Unanswered(
        step="AskOrder",
        code="FIRST",
        message="一",
        request_id="r1",
        since=NOW,
        count=1,
        ask_after=NOW + timedelta(seconds=5),
    )
    assert once == replace(trip, unanswered=first)
    assert twice.unanswered == Unanswered(
        step="AskOrder",
        code="wrong_state",
        message="二",
        request_id="r2",
        since=NOW,
        count=2,
        ask_after=later + timedelta(seconds=15),
    )


def test_that_a_passenger_never_enabled_the_service_counts_the_second_time_only_after_some_time() -> None:
    trip, never = SITUATIONS["started"](), a_doubt(Refusal.NOT_ENABLED, step="AskServiceState")

    once = outcomes.question_refused(trip, never, NOW)
    early = outcomes.question_refused(once, never, NOW + APART - SECOND)

    assert (early.state, early.missed_at) == (TripState.NOTED, NOW)
    assert next_step(early, NOW + APART - SECOND, PAYAFTER) == Rest(NOW + APART)
    twice = outcomes.question_refused(early, never, NOW + APART)
    assert (twice.state, twice.look) == (TripState.DECLINED, None)
    sent = outcomes.question_refused(replace(early, bodies=1), never, NOW + APART)
    assert (sent.state, sent.doubt is not None and sent.doubt.service_off) == (TripState.NOTED, True)


@pytest.mark.parametrize(
    ("situation", "step"), [("open", "AskServiceState"), ("started", "AskOrder"), ("completed", "AskServiceState")]
)
def test_that_the_service_was_never_enabled_ends_no_trip_that_has_an_order_nor_by_another_question(
    situation: str, step: str
) -> None:
    never = a_doubt(Refusal.NOT_ENABLED, step=step)

    trip = outcomes.question_refused(SITUATIONS[situation](), never, NOW)
    again = outcomes.question_refused(trip, never, NOW + HOUR)

    assert (trip.missed_at, again.state) == (None, SITUATIONS[situation]().state)


def test_a_poll_of_a_completed_trip_is_counted_and_ends_doubts_and_refused_questions() -> None:
    trip = replace(worn(SITUATIONS["completed"]()), polls=2)

    assert outcomes.asked(trip, an_order(OrderPhase.COLLECTING), NOW) == replace(
        trip, doubt=None, unanswered=None, missed_at=None, polls=3, asked_at=NOW
    )


def test_a_running_order_gives_its_ticket_and_its_start() -> None:
    trip = replace(worn(SITUATIONS["open, ended"]()), doubt=None)
    order = an_order(finish_ticket="fresh", started_at=NOW - 2 * HOUR)

    assert outcomes.asked(trip, order, NOW) == replace(
        trip, finish_ticket="fresh", opened_at=NOW - 2 * HOUR, unanswered=None, missed_at=None
    )
    assert outcomes.asked(trip, an_order(), NOW).opened_at == trip.opened_at


@pytest.mark.parametrize(
    ("situation", "phase", "code", "message"),
    [
        ("open", OrderPhase.UNKNOWN, "unknown_state", "WeChat Pay shows a state that no table knows"),
        ("completed", OrderPhase.RUNNING, "completion_lost", "WeChat Pay accepted the fare, and shows a running order"),
        ("open", OrderPhase.CREATED, "unknown_state", "WeChat Pay waits for a confirmation of an order that ran"),
    ],
)
def test_an_answer_that_cannot_be_says_what_it_was_if_it_comes_to_a_person(
    situation: str, phase: OrderPhase, code: str, message: str
) -> None:
    trip, now = SITUATIONS[situation](), NOW
    for _ in QUESTION_PAUSES:
        trip = outcomes.asked(trip, an_order(phase), now)
        assert trip.unanswered is not None
        assert (trip.unanswered.step, trip.unanswered.code, trip.unanswered.message) == ("AskOrder", code, message)
        now = trip.unanswered.ask_after

    stopped = outcomes.asked(trip, an_order(phase), now)

    assert stopped.problem == Problem(code=code, message=message, request_id="", step="AskOrder", since=now)


@pytest.mark.parametrize("situation", ["cancelling", "declining"])
def test_an_order_that_is_to_be_cancelled_may_wait_for_its_confirmation(situation: str) -> None:
    trip = SITUATIONS[situation]()

    assert outcomes.asked(trip, an_order(OrderPhase.CREATED), NOW) == trip


@pytest.mark.parametrize("certain", [True, False])
def test_no_order_for_a_trip_that_is_over_lets_it_rest(*, certain: bool) -> None:
    over = worn(SITUATIONS["declined, order may run"]())

    assert outcomes.not_found(over, ABSENT, NOW, certain=certain) == fresh(over, look=None)


def test_no_order_for_a_trip_whose_order_was_seen_alive_after_it_was_over_is_asked_again() -> None:
    alive = SITUATIONS["declined, order runs"]()

    left = outcomes.not_found(alive, ABSENT, NOW, certain=True)

    assert left.look == alive.look
    assert left.unanswered is not None


def test_a_first_no_such_order_is_noted_with_its_time_and_asked_about_again_some_time_later() -> None:
    trip = replace(worn(refused_create(Refusal.RISK_REFUSED)), missed_at=None, doubt=a_doubt(Refusal.RISK_REFUSED))
    doubt = a_doubt(Refusal.RISK_REFUSED, ask_after=NOW + APART_IN_DOUBT)

    once = outcomes.not_found(trip, ABSENT, NOW, certain=False)

    assert once == replace(trip, missed_at=NOW, doubt=doubt, unanswered=None)
    again = outcomes.not_found(once, ABSENT, NOW + SECOND, certain=True)
    assert again == replace(once, doubt=replace(doubt, ask_after=NOW + APART))


def test_no_such_order_twice_ends_the_trip_with_what_wechat_had_said_and_it_is_looked_at_once_more() -> None:
    trip = replace(worn(SITUATIONS["creating"]()), doubt=a_doubt(Refusal.ARREARS, message="欠费"), missed_at=NOW)
    later = NOW + APART

    assert outcomes.not_found(trip, ABSENT, later, certain=True) == fresh(
        trip,
        state=TripState.DECLINED,
        declined=Declined(reason=DeclineReason.ARREARS, message="欠费"),
        look=Look(at=later + LATE_LOOK),
    )


def test_no_such_order_without_a_doubt_sends_the_same_bytes_again() -> None:
    trip = replace(worn(SITUATIONS["creating"]()), doubt=None)

    assert outcomes.not_found(trip, ABSENT, NOW, certain=False) == replace(trip, missed_at=None, unanswered=None)


def test_no_such_order_twice_says_of_a_service_that_is_off_why_the_trip_ends() -> None:
    off = a_doubt(Refusal.NOT_PERMITTED, step="OpenOrder", service_off=True)
    trip = replace(SITUATIONS["creating"](), doubt=off, missed_at=NOW)
    declined = Declined(reason=DeclineReason.SERVICE_NOT_ENABLED, message="the passenger has not enabled PayScore")

    assert outcomes.not_found(trip, ABSENT, NOW + APART, certain=True) == fresh(
        trip, state=TripState.DECLINED, declined=declined, look=Look(at=NOW + APART + LATE_LOOK)
    )


def test_a_complete_whose_bytes_were_dropped_twice_is_for_a_person() -> None:
    doubt = a_doubt(Refusal.INVALID_PARAMETER, code="PARAM_ERROR", message="参数错误", request_id="r1")
    trip = replace(SITUATIONS["completing"](), doubt=doubt, rebuilds=1)

    once = outcomes.asked(trip, an_order(), NOW, certain=True)
    assert (once.end_time, once.rebuilds, once.opening, once.doubt) == (None, 2, trip.opening, None)
    stopped = outcomes.asked(replace(trip, rebuilds=2), an_order(), NOW, certain=True)

    assert stopped.problem == Problem(
        code="PARAM_ERROR", message="参数错误", request_id="r1", step="CompleteOrder", since=NOW
    )


def test_a_cancel_whose_words_are_dropped_leaves_the_bytes_of_create_and_complete() -> None:
    trip = replace(SITUATIONS["declining"](), doubt=a_doubt(Refusal.INVALID_PARAMETER, step="CancelOrder"))

    assert outcomes.asked(trip, an_order(), NOW, certain=True) == replace(trip, doubt=None, rebuilds=1)


def test_a_fare_above_wechats_limit_declines_with_wechats_words_and_only_where_the_complete_was_refused_so() -> None:
    doubt = a_doubt(Refusal.AMOUNT_OVER_LIMIT, message="总金额超过", again=True)
    trip = replace(SITUATIONS["completing"](), doubt=doubt, refusals=2)

    assert outcomes.asked(trip, an_order(), NOW) == fresh(
        trip, declined=Declined(reason=DeclineReason.AMOUNT_OVER_LIMIT, message="总金额超过")
    )
    for other in (
        replace(doubt, again=False),
        replace(doubt, step="CancelOrder"),
        replace(doubt, refusal=Refusal.UNCLEAR),
    ):
        assert outcomes.asked(replace(trip, doubt=other), an_order(), NOW) == replace(trip, doubt=None)


# --- To the last member: what WeChat Pay's word does ---


def test_an_order_that_waits_for_a_confirmation_which_nobody_is_asked_for_is_given_up() -> None:
    trip = worn(SITUATIONS["creating"]())
    message = "WeChat Pay waits for the passenger to confirm an order that needs no confirmation"
    revoked = Declined(reason=DeclineReason.REVOKED, message=message)

    given_up = outcomes.see(trip, an_order(OrderPhase.CREATED, order_id="2000"), NOW)

    assert given_up == fresh(trip, state=TripState.OPEN, order_id="2000", declined=revoked)
    accepted = outcomes.see(trip, an_order(OrderPhase.ACCEPTED, order_id=""), NOW)
    assert accepted == fresh(trip, state=TripState.OPEN)
    assert outcomes.see(accepted, an_order(OrderPhase.CREATED), NOW) == replace(accepted, declined=revoked)


@pytest.mark.parametrize(
    ("phase", "reason", "message"),
    [
        (OrderPhase.EXPIRED, DeclineReason.EXPIRED, "the order expired before it was completed"),
        (OrderPhase.REVOKED, DeclineReason.REVOKED, "the order was revoked before it was completed"),
    ],
)
@pytest.mark.parametrize("situation", ["creating", "open"])
def test_an_order_that_is_gone_declines_and_needs_no_look(
    situation: str, phase: OrderPhase, reason: DeclineReason, message: str
) -> None:
    trip = worn(SITUATIONS[situation]())

    assert outcomes.see(trip, an_order(phase), NOW) == fresh(
        trip, state=TripState.DECLINED, declined=Declined(reason=reason, message=message)
    )


def test_an_order_that_we_did_not_ask_for_is_for_a_person() -> None:
    seen = outcomes.see(SITUATIONS["started"](), an_order(), NOW)

    assert seen.problem == Problem(
        code="unexpected_order",
        message="WeChat Pay shows an order that we did not ask for",
        request_id="",
        step="",
        since=NOW,
    )


def test_a_completion_that_is_adopted_takes_the_orders_number_and_start() -> None:
    trip = replace(worn(SITUATIONS["creating, ended"]()), opened_at=None)
    shown = an_order(OrderPhase.COLLECTING, order_id="2000", started_at=NOW - HOUR)
    completed = {"state": TripState.COMPLETED, "completed_at": NOW, "finish_ticket": ""}

    assert outcomes.see(trip, shown, NOW) == fresh(trip, **completed, order_id="2000", opened_at=NOW - HOUR)
    unsaid = replace(shown, order_id="", started_at=None)
    assert outcomes.see(trip, unsaid, NOW) == fresh(trip, **completed, opened_at=NOW)
    known = replace(trip, opened_at=NOW - 2 * HOUR)
    assert outcomes.see(known, shown, NOW).opened_at == NOW - 2 * HOUR


def test_a_completion_of_another_amount_says_what_wechat_shows() -> None:
    trip = replace(SITUATIONS["open, ended"](), doubt=a_doubt(step="CancelOrder"))

    seen = outcomes.see(trip, an_order(OrderPhase.DONE, total_fen=3_199, paid_fen=3_100), NOW)

    assert seen.problem == Problem(
        code="completed_elsewhere",
        message="the order was completed, and not by us: total 3199, paid 3100",
        request_id="",
        step="CancelOrder",
        since=NOW,
    )


@pytest.mark.parametrize("situation", ["completed", "completing", "creating, ended"])
def test_an_amount_that_differs_is_told_beside_what_is_owed(situation: str) -> None:
    trip = SITUATIONS[situation]()

    seen = outcomes.see(trip, an_order(OrderPhase.DONE, paid_fen=3_199), NOW)

    message = "owed 3200 fen; WeChat Pay shows total 3200, paid 3199"
    assert seen.problem == Problem(code="amount_differs", message=message, request_id="", step="", since=NOW)


def test_a_total_that_differs_is_told_before_the_money_is_in() -> None:
    seen = outcomes.see(SITUATIONS["completed"](), an_order(OrderPhase.COLLECTING, total_fen=3_199), NOW)

    message = "owed 3200 fen; WeChat Pay shows total 3199, paid None"
    assert seen.problem == Problem(code="amount_differs", message=message, request_id="", step="", since=NOW)


@pytest.mark.parametrize("phase", [OrderPhase.COLLECTING, OrderPhase.DONE])
def test_a_completion_about_another_amount_is_not_taken_for_ours_though_ours_was_on_its_way(phase: OrderPhase) -> None:
    trip = SITUATIONS["completing"]()

    seen = outcomes.see(trip, an_order(phase, total_fen=3_199, paid_fen=None), NOW)

    message = "owed 3200 fen; WeChat Pay shows total 3199, paid None"
    problem = Problem(code="amount_differs", message=message, request_id="", step="", since=NOW)
    assert seen == outcomes.with_problem(trip, problem)
    unsaid = outcomes.see(trip, an_order(phase, total_fen=None), NOW)
    assert unsaid.state is (TripState.COMPLETED if phase is OrderPhase.COLLECTING else TripState.PAID)


@pytest.mark.parametrize("phase", [OrderPhase.REVOKED, OrderPhase.EXPIRED])
def test_an_order_that_is_gone_after_its_completion_is_for_a_person(phase: OrderPhase) -> None:
    problem = Problem(
        code="revoked_after_completion",
        message="the order is gone, and the money with it",
        request_id="",
        step="",
        since=NOW,
    )

    assert outcomes.see(SITUATIONS["completed"](), an_order(phase), NOW).problem == problem
    assert outcomes.order_cancelled(SITUATIONS["completed"](), NOW).problem == problem  # by ours, which came too late


@pytest.mark.parametrize("phase", [OrderPhase.RUNNING, OrderPhase.ACCEPTED, OrderPhase.CREATED])
def test_word_from_before_the_completion_changes_nothing(phase: OrderPhase) -> None:
    trip = SITUATIONS["completed"]()

    assert outcomes.see(trip, an_order(phase), NOW) is trip


def test_a_payment_is_noted_with_its_time_and_transactions_and_ends_every_count() -> None:
    trip = worn(SITUATIONS["completed"]())
    done = an_order(OrderPhase.DONE, paid_at=NOW - HOUR, debits=debits("1", "2"))

    assert outcomes.see(trip, done, NOW) == fresh(
        trip,
        state=TripState.PAID,
        payment=Payment(paid_fen=3_200, paid_at=NOW - HOUR, debits=debits("1", "2")),
    )
    undated = outcomes.see(trip, replace(done, paid_at=None, total_fen=None), NOW)
    assert undated.payment is not None
    assert undated.payment.paid_at == NOW


def test_a_fare_of_nothing_is_paid_with_nothing() -> None:
    trip = replace(SITUATIONS["completed"](), accepted_fen=0)

    paid = outcomes.see(trip, an_order(OrderPhase.DONE, total_fen=0, paid_fen=None, debits=()), NOW)

    assert paid.payment == Payment(paid_fen=0, paid_at=NOW)


@pytest.mark.parametrize("total_fen", [3_199, 3_201])
def test_a_trip_is_not_paid_where_the_total_is_another_than_what_is_owed(total_fen: int) -> None:
    trip = outcomes.see(SITUATIONS["completed"](), an_order(OrderPhase.DONE, total_fen=total_fen), NOW)

    assert (trip.state, trip.payment) == (TripState.COMPLETED, None)


@pytest.mark.parametrize("phase", [OrderPhase.RUNNING, OrderPhase.COLLECTING, OrderPhase.REVOKED])
def test_word_from_before_the_payment_contradicts_nothing(phase: OrderPhase) -> None:
    paid = SITUATIONS["paid"]()

    assert outcomes.see(paid, an_order(phase, paid_fen=1, debits=debits("other")), NOW) is paid


def test_a_payment_of_another_amount_is_another_payment() -> None:
    told = "^WeChat Pay shows another payment than the one noted$"

    with pytest.raises(ConflictingFact, match=told):
        outcomes.see(SITUATIONS["paid"](), an_order(OrderPhase.DONE, paid_fen=3_199), NOW)


def test_what_is_known_of_a_payment_changes_nothing_and_what_is_new_is_added_behind() -> None:
    paid = SITUATIONS["paid"]()
    assert paid.payment is not None

    assert outcomes.see(paid, an_order(OrderPhase.DONE, paid_fen=None), NOW) is paid
    assert outcomes.see(paid, an_order(OrderPhase.DONE, debits=()), NOW) is paid
    more = outcomes.see(paid, an_order(OrderPhase.DONE, debits=debits("2", "4200001", "3")), NOW)
    assert more == replace(paid, payment=replace(paid.payment, debits=debits("4200001", "2", "3")))


def test_transactions_of_a_payment_that_was_noted_without_any_are_no_other_payment() -> None:
    paid = SITUATIONS["paid"]()
    assert paid.payment is not None
    bare = replace(paid, payment=replace(paid.payment, debits=()))

    assert outcomes.see(bare, an_order(OrderPhase.DONE), NOW) == paid


@pytest.mark.parametrize("phase", [OrderPhase.ACCEPTED, OrderPhase.RUNNING, OrderPhase.CREATED])
def test_an_order_that_lives_for_a_trip_that_is_over_is_known_by_its_number(phase: OrderPhase) -> None:
    over = replace(worn(SITUATIONS["cancelled, order may run"]()), order_id="1000")

    assert outcomes.see(over, an_order(phase, order_id="2000"), NOW) == replace(
        over, look=Look(at=NOW, alive=True), order_id="2000"
    )
    assert outcomes.see(over, an_order(phase, order_id=""), NOW).order_id == "1000"


def test_an_order_that_is_gone_for_a_trip_that_is_over_ends_the_look_and_what_was_counted() -> None:
    over = worn(SITUATIONS["declined, order may run"]())

    assert outcomes.see(over, an_order(OrderPhase.REVOKED), NOW) == fresh(over, look=None)
    assert outcomes.see(over, an_order(OrderPhase.DONE, total_fen=0), NOW) == fresh(over, look=None)
    looked = replace(over, look=None)
    assert outcomes.see(looked, an_order(OrderPhase.REVOKED), NOW) is looked


@pytest.mark.parametrize("phase", [OrderPhase.COLLECTING, OrderPhase.DONE])
def test_money_for_a_trip_that_is_over_says_what_wechat_shows_and_ends_the_look(phase: OrderPhase) -> None:
    over = SITUATIONS["declined, order may run"]()

    seen = outcomes.see(over, an_order(phase, paid_fen=None), NOW)

    assert seen.problem == Problem(
        code="charged_though_over",
        message="WeChat Pay collects for a trip that is DECLINED: total 3200, paid None",
        request_id="",
        step="",
        since=NOW,
    )
    assert seen.look is None
    unsaid = outcomes.see(over, an_order(phase, total_fen=None), NOW)
    assert unsaid.problem is not None


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_phase_that_no_table_knows_moves_nothing(situation: str) -> None:
    trip = SITUATIONS[situation]()

    assert outcomes.see(trip, an_order(OrderPhase.UNKNOWN), NOW) is trip


def test_a_trip_that_stands_still_stays_so_where_the_word_leads_it_nowhere() -> None:
    stopped = SITUATIONS["with a problem"]()
    elsewhere = SITUATIONS["with a problem, completed elsewhere"]()

    assert outcomes.see(stopped, an_order(OrderPhase.COLLECTING), NOW) is stopped
    assert outcomes.see(elsewhere, an_order(OrderPhase.COLLECTING), NOW + HOUR) is elsewhere


def test_a_trip_that_stands_still_has_the_problem_that_the_word_shows() -> None:
    stopped = SITUATIONS["with a problem"]()

    seen = outcomes.see(stopped, an_order(OrderPhase.REVOKED), NOW)

    assert seen.problem is not None
    assert (seen.problem.code, seen.problem.since) == ("revoked_after_completion", NOW)
    assert seen.problem_told == "revoked_after_completion "


def test_a_trip_that_is_over_and_stands_still_stays_so_when_its_order_is_gone() -> None:
    stopped = SITUATIONS["with a problem, declined"]()

    assert outcomes.see(stopped, an_order(OrderPhase.REVOKED), NOW) is stopped


@pytest.mark.parametrize("situation", ["creating", "open"])
def test_a_cancelled_trip_ends_as_cancelled_and_one_that_was_given_up_for_the_cause_noted_first(
    situation: str,
) -> None:
    cancelled = note_cancelled(SITUATIONS[situation](), a_cancellation())
    noted = Declined(reason=DeclineReason.ARREARS, message="欠费")
    declined = replace(SITUATIONS[situation](), declined=noted)

    over = outcomes.see(cancelled, an_order(OrderPhase.REVOKED), NOW)
    assert (over.state, over.declined) == (TripState.CANCELLED, None)
    over = outcomes.see(declined, an_order(OrderPhase.REVOKED), NOW)
    assert (over.state, over.declined) == (TripState.DECLINED, noted)


def test_a_person_who_takes_a_trip_up_again_begins_every_count_anew_and_leaves_what_was_told() -> None:
    trip = replace(worn(SITUATIONS["with a problem"]()), polls=4, asked_at=NOW)

    assert outcomes.without_problem(trip) == replace(
        trip,
        doubt=None,
        refusals=0,
        refused_as="",
        rebuilds=0,
        unanswered=None,
        problem=None,
        polls=0,
        asked_at=None,
    )


# --- An answer to our question ---


def test_an_answer_that_moves_the_trip_moves_it_as_a_word_does() -> None:
    for situation, phase in (("creating", OrderPhase.RUNNING), ("completed", OrderPhase.DONE)):
        trip, order = SITUATIONS[situation](), an_order(phase)
        assert outcomes.asked(trip, order, NOW) == outcomes.see(trip, order, NOW) != trip
    assert outcomes.asked(SITUATIONS["creating"](), an_order(), NOW).opened_at == NOW


def test_bytes_stay_binding_where_nobody_says_that_no_send_of_them_can_have_been_accepted() -> None:
    trip = outcomes.refused(SITUATIONS["completing"](), a_doubt(Refusal.BAD_TIME), NOW)

    assert outcomes.asked(trip, an_order(), NOW) == replace(trip, doubt=None)


def test_that_an_order_is_gone_ends_the_doubt_of_a_trip_that_is_over() -> None:
    over = replace(SITUATIONS["declined"](), doubt=a_doubt(step="CancelOrder"))

    assert outcomes.asked(over, an_order(OrderPhase.REVOKED), NOW) == SITUATIONS["declined"]()


def test_a_create_whose_bytes_were_dropped_twice_is_for_a_person() -> None:
    doubt = a_doubt(Refusal.INVALID_PARAMETER, step="OpenOrder", code="PARAM_ERROR", message="参数错误")
    trip = replace(SITUATIONS["creating"](), doubt=doubt, missed_at=NOW, rebuilds=MAX_REBUILDS)

    stopped = outcomes.not_found(trip, ABSENT, NOW + APART, certain=True)

    assert (stopped.opening, stopped.rebuilds) == (trip.opening, MAX_REBUILDS)
    assert stopped.problem == Problem(
        code="PARAM_ERROR", message="参数错误", request_id=doubt.request_id, step="OpenOrder", since=NOW + APART
    )


def test_no_such_order_once_does_not_end_a_cancelled_trip_whose_create_was_sent() -> None:
    trip = SITUATIONS["creating, cancelled"]()

    once = outcomes.not_found(trip, ABSENT, NOW, certain=True)

    assert once.doubt == Doubt(
        step="OpenOrder",
        refusal=Refusal.ORDER_NOT_FOUND,
        code="",
        message="",
        request_id="",
        uncertain=True,
        ask_after=NOW + APART,
    )
    assert (once.state, once.missed_at) == (TripState.NOTED, NOW)
    assert outcomes.not_found(once, ABSENT, NOW + APART, certain=True).state is TripState.CANCELLED


@pytest.mark.parametrize("refusal", sorted(outcomes.PARAMETERS))
def test_a_parameter_that_is_refused_after_hours_of_other_refusals_has_its_chance_to_be_mended(
    refusal: Refusal,
) -> None:
    trip = replace(SITUATIONS["completing"](), refusals=len(PAUSES), refused_as="unclear")

    once = outcomes.refused(trip, a_doubt(refusal), NOW)
    again = outcomes.refused(once, a_doubt(refusal), NOW)

    doubt = a_doubt(refusal, ask_after=NOW + PAUSES[-1])
    assert once == replace(trip, doubt=doubt, refused_as=refusal.value)
    assert again.problem is not None


@pytest.mark.parametrize(("refusals", "left"), [(6, 2), (2, 2), (1, 1), (0, 0)])
def test_bytes_that_are_made_anew_begin_their_pauses_anew_though_not_from_the_first(refusals: int, left: int) -> None:
    doubt = a_doubt(Refusal.BAD_TIME)
    trip = replace(SITUATIONS["completing"](), doubt=doubt, rebuilds=1, refusals=refusals)

    assert outcomes.asked(trip, an_order(), NOW, certain=True) == replace(
        trip, doubt=None, end_time=None, rebuilds=2, refusals=left
    )


def test_an_order_that_was_accepted_is_open_once_it_runs_and_is_not_where_it_was_given_up_meanwhile() -> None:
    accepted = worn(SITUATIONS["accepted"]())
    given_up = replace(accepted, declined=Declined(reason=DeclineReason.REVOKED, message=""))
    opened = replace(accepted, opened_at=NOW - HOUR)

    assert outcomes.see(accepted, an_order(started_at=None), NOW) == outcomes.opened(accepted, an_order(), NOW)
    assert outcomes.see(accepted, an_order(), NOW).opened_at == NOW
    for trip in (given_up, opened):
        for phase in (OrderPhase.RUNNING, OrderPhase.CREATED, OrderPhase.ACCEPTED):
            assert outcomes.see(trip, an_order(phase), NOW) is trip
    assert outcomes.see(accepted, an_order(OrderPhase.ACCEPTED), NOW) is accepted


@pytest.mark.parametrize("phase", [OrderPhase.COLLECTING, OrderPhase.DONE])
def test_our_own_completion_is_noted_with_the_time_at_which_it_was_seen(phase: OrderPhase) -> None:
    trip = worn(SITUATIONS["completing"]())

    seen = outcomes.see(trip, an_order(phase), NOW)

    assert seen == outcomes.see(outcomes.completed(trip, NOW), an_order(phase), NOW)
    assert seen.completed_at == NOW


@pytest.mark.parametrize(
    ("step", "refusal", "has_its_chance"),
    [
        ("OpenOrder", Refusal.RISK_REFUSED, True),
        ("OpenOrder", Refusal.AMOUNT_OVER_LIMIT, True),
        ("CompleteOrder", Refusal.AMOUNT_OVER_LIMIT, True),
        ("CompleteOrder", Refusal.RISK_REFUSED, False),
        ("CancelOrder", Refusal.AMOUNT_OVER_LIMIT, False),
        ("OpenOrder", Refusal.WRONG_STATE, False),
    ],
)
def test_after_hours_of_other_refusals_only_one_that_would_end_the_trip_is_followed_by_a_question(
    step: str, refusal: Refusal, *, has_its_chance: bool
) -> None:
    trip = replace(SITUATIONS["completing"](), refusals=len(PAUSES), refused_as="unclear")

    once = outcomes.refused(trip, a_doubt(refusal, step=step), NOW)
    again = outcomes.refused(replace(trip, refused_as=refusal.value), a_doubt(refusal, step=step), NOW)

    assert (once.problem is None) is has_its_chance
    assert again.problem is not None


# --- Waived ---

WAIVED = SITUATIONS["waived"]()
NOTHING = an_order(OrderPhase.DONE, total_fen=0, paid_fen=None, debits=())
GIVEN_UP = WrittenOff(total_fen=3_200, by="wang", reason="客诉")


def refused_waiver(refusal: Refusal, trip: Trip = WAIVED, step: str = "CancelOrder", *, times: int = 2) -> Trip:
    """Have the cancel refused, twice, and WeChat Pay go on collecting."""
    for _ in range(times):
        doubtful = outcomes.refused(trip, a_doubt(refusal, step=step), NOW)
        trip = outcomes.asked(doubtful, an_order(OrderPhase.COLLECTING), NOW, certain=True)
    return trip


def test_a_waived_fare_is_cancelled_first() -> None:
    assert next_step(WAIVED, NOW, SERVICEORDER) == next_step(WAIVED, NOW, PAYAFTER) == CancelOrder()


def test_a_waived_fare_whose_order_was_cancelled_is_written_off() -> None:
    over = outcomes.order_cancelled(replace(WAIVED, refusals=1, problem_told="x"), NOW)

    assert over == replace(WAIVED, state=TripState.CANCELLED, waived=None, written_off=GIVEN_UP)


@pytest.mark.parametrize("over", ["paid elsewhere", "written off"])
def test_a_late_acceptance_of_the_fare_tells_nothing_of_a_trip_that_is_over_without_a_charge(over: str) -> None:
    """Reference payscore-api B.10: another worker's complete is accepted again, with the same bytes."""
    written_off = outcomes.order_cancelled(WAIVED, NOW)
    trip = {"paid elsewhere": FARE_SITUATIONS["paid elsewhere"](), "written off": written_off}[over]

    assert outcomes.complete_accepted(trip, 3_200, NOW) is trip


def test_an_acceptance_of_the_fare_of_a_declined_trip_is_for_a_person() -> None:
    trip = outcomes.complete_accepted(SITUATIONS["declined"](), 3_200, NOW)

    assert trip.problem is not None
    assert trip.problem.code == "charged_though_over"


def test_only_an_order_that_cannot_be_cancelled_in_its_state_is_lowered() -> None:
    """Reference payscore-api B.7: 271316592 in USER_PAYING."""
    for refusal in Refusal:
        if refusal is not Refusal.ORDER_NOT_FOUND:
            step = next_step(refused_waiver(refusal), NOW + HOUR, SERVICEORDER)
            assert step == (LowerOrder() if refusal is Refusal.WRONG_STATE else CancelOrder()), refusal


def test_one_refusal_to_cancel_is_anybodys_and_the_same_is_sent_again() -> None:
    once = refused_waiver(Refusal.WRONG_STATE, times=1)

    assert once.waived == WAIVED.waived
    assert next_step(once, NOW, SERVICEORDER) == next_step(once, NOW, PAYAFTER) == CancelOrder()


def test_two_refusals_for_different_reasons_are_one_of_each() -> None:
    trip = refused_waiver(Refusal.WRONG_STATE, refused_waiver(Refusal.UNCLEAR, times=1), times=1)

    assert next_step(trip, NOW, SERVICEORDER) == CancelOrder()


def test_a_refusal_to_cancel_what_is_collected_is_heard_whatever_was_refused_before() -> None:
    """A debit in flight, for an hour, uses up what other refusals have before a person is called."""
    trip = replace(WAIVED, refusals=len(PAUSES), refused_as="debit_in_flight")

    assert next_step(refused_waiver(Refusal.WRONG_STATE, trip), NOW, SERVICEORDER) == LowerOrder()
    assert outcomes.refused(trip, a_doubt(Refusal.UNCLEAR, step="CancelOrder"), NOW).problem is not None
    cancelling = replace(SITUATIONS["cancelling"](), refusals=len(PAUSES))
    assert outcomes.refused(cancelling, a_doubt(step="CancelOrder"), NOW).problem is not None


def test_another_way_is_taken_with_all_its_tries_before_it() -> None:
    trip = refused_waiver(Refusal.WRONG_STATE, replace(WAIVED, refusals=3))

    assert trip.waived == replace(WAIVED.waived, lowers=True)  # type: ignore[type-var]
    assert (trip.doubt, trip.refusals, trip.refused_as, trip.polls) == (None, 0, "", 2)


def test_a_family_that_lowers_nothing_leaves_the_fare_to_a_person() -> None:
    step = next_step(refused_waiver(Refusal.WRONG_STATE), NOW, PAYAFTER)

    message = "WeChat Pay cancels nothing that it collects, and a fare of this family cannot be lowered"
    assert step == Stop("waive_refused", message, step="LowerOrder")


def test_a_lowering_that_is_refused_is_tried_again_and_nothing_else() -> None:
    lowering = SITUATIONS["waived, not to be cancelled"]()
    trip = refused_waiver(Refusal.WRONG_STATE, lowering, "LowerOrder")

    assert next_step(trip, NOW + HOUR, SERVICEORDER) == LowerOrder()
    assert trip.refusals == 2, "after hours a person is called"


def test_a_debit_in_flight_is_waited_for_before_the_cancel_is_sent_again() -> None:
    doubtful = outcomes.refused(WAIVED, a_doubt(Refusal.DEBIT_IN_FLIGHT, step="CancelOrder"), NOW)

    assert next_step(doubtful, NOW, PAYAFTER) == Rest(NOW + timedelta(minutes=3))


def test_a_lowering_that_is_about_to_be_sent_is_one_more_body() -> None:
    noted = Lowering(asked_fen=3_200, sent_fen=0)

    assert outcomes.lowering(WAIVED) == replace(WAIVED, bodies=WAIVED.bodies + 1, lowering=noted)


@pytest.mark.parametrize("word", [an_order(OrderPhase.COLLECTING, total_fen=0), an_order(OrderPhase.COLLECTING)])
def test_an_accepted_lowering_waits_for_the_end_and_asks_from_the_start_of_the_schedule(word: OrderSeen) -> None:
    """A replica may show the old fare a while: what was accepted is not sent again."""
    before = replace(
        SITUATIONS["waived, not to be cancelled"](),
        doubt=a_doubt(step="LowerOrder"),
        refusals=1,
        refused_as="unclear",
        polls=3,
        asked_at=NOW,
    )

    trip = outcomes.lowered(before, word, NOW)

    assert trip == replace(SITUATIONS["waived, lowered to nothing"](), polls=0, asked_at=None)
    assert next_step(trip, NOW + HOUR, SERVICEORDER) == AskOrder()


def test_an_accepted_lowering_whose_answer_says_that_it_is_over_ends_the_trip() -> None:
    trip = outcomes.lowered(SITUATIONS["waived, not to be cancelled"](), NOTHING, NOW)

    assert (trip.state, trip.waived, trip.written_off) == (TripState.CANCELLED, None, GIVEN_UP)


def test_an_accepted_lowering_whose_answer_says_that_it_was_paid_before_is_a_payment() -> None:
    paid = an_order(OrderPhase.DONE, paid_at=None)

    trip = outcomes.lowered(SITUATIONS["waived, not to be cancelled"](), paid, NOW + HOUR)

    assert trip.payment == Payment(paid_fen=3_200, paid_at=NOW + HOUR, debits=debits("4200001"))


def test_a_lowering_of_a_trip_that_is_no_longer_waived_changes_nothing() -> None:
    paid = SITUATIONS["paid"]()

    assert outcomes.lowered(paid, NOTHING, NOW) is paid


@pytest.mark.parametrize("total_fen", [0, None])
def test_a_fare_of_nothing_is_asked_about_until_its_order_is_over(total_fen: int | None) -> None:
    trip = outcomes.asked(
        SITUATIONS["waived, lowered to nothing"](), an_order(OrderPhase.COLLECTING, total_fen=total_fen), NOW
    )

    assert (trip.state, trip.unanswered, trip.polls, trip.asked_at) == (TripState.COMPLETED, None, 1, NOW)


def test_a_lowering_that_does_not_show_is_asked_about_for_hours_and_then_told() -> None:
    trip, now = SITUATIONS["waived, lowered to nothing"](), NOW
    for _ in range(len(QUESTION_PAUSES)):
        trip = outcomes.asked(trip, an_order(OrderPhase.COLLECTING), now)
        assert trip.problem is None
        assert trip.unanswered is not None
        now = trip.unanswered.ask_after

    trip = outcomes.asked(trip, an_order(OrderPhase.COLLECTING), now)

    assert trip.problem is not None
    assert trip.problem.code == "lowering_lost"
    assert trip.problem.message == "WeChat Pay accepted a lower fare, and shows the old one"


def test_a_fare_that_somebody_lowered_to_nothing_is_waived_and_waited_for() -> None:
    shown = outcomes.see(WAIVED, an_order(OrderPhase.COLLECTING, total_fen=0), NOW)

    assert shown.waived == replace(WAIVED.waived, lowered=True)  # type: ignore[type-var]
    assert outcomes.see(shown, an_order(OrderPhase.COLLECTING, total_fen=0), NOW) is shown


def test_a_fare_of_nothing_that_nobody_waived_is_for_a_person() -> None:
    shown = outcomes.see(SITUATIONS["completed"](), an_order(OrderPhase.COLLECTING, total_fen=0), NOW)

    assert shown.problem is not None
    assert shown.problem.code == "amount_differs"


@pytest.mark.parametrize(("total_fen", "paid_fen"), [(None, None), (3_200, 0), (0, 1)])
def test_a_waived_fare_of_which_something_may_have_been_paid_is_for_a_person(
    total_fen: int | None, paid_fen: int | None
) -> None:
    shown = outcomes.see(WAIVED, an_order(OrderPhase.DONE, total_fen=total_fen, paid_fen=paid_fen), NOW)

    assert shown.problem is not None
    assert shown.problem.code == "amount_differs"


def test_a_debit_that_was_faster_than_the_waiver_is_a_payment() -> None:
    paid = outcomes.see(WAIVED, an_order(OrderPhase.DONE), NOW)

    assert (paid.state, paid.waived, paid.written_off) == (TripState.PAID, None, None)


def test_a_person_who_has_looked_has_it_tried_from_the_beginning() -> None:
    stopped = outcomes.with_problem(
        SITUATIONS["waived, lowered to nothing"](),
        Problem(code="lowering_lost", message="", request_id="", step="AskOrder", since=NOW),
    )

    assert outcomes.without_problem(stopped).waived == WAIVED.waived
    assert outcomes.without_problem(SITUATIONS["with a problem"]()).waived is None
