"""Doubts: a refusal that says nothing final is followed by a question, and that by a decision."""

from dataclasses import replace

import pytest

from payscore_worker import outcomes
from payscore_worker.errors import Refusal
from payscore_worker.trip import (
    AskOrder,
    CancelOrder,
    CompleteOrder,
    DeclineReason,
    OpenOrder,
    OrderPhase,
    Rest,
    TripState,
    next_step,
)
from tests.builders import NOW, PAYAFTER, SITUATIONS, a_doubt, an_order


def test_a_complete_refused_for_its_state_is_taken_as_done_when_the_order_shows_our_total() -> None:
    trip = outcomes.refused(SITUATIONS["completing"](), a_doubt(Refusal.REENTRY_MISMATCH), NOW)

    trip = outcomes.asked(trip, an_order(OrderPhase.COLLECTING), NOW)

    assert (trip.state, trip.doubt, trip.refusals) == (TripState.COMPLETED, None, 0)


def test_a_complete_refused_for_its_time_is_built_anew_once_the_order_shows_that_it_had_no_effect() -> None:
    trip = outcomes.refused(SITUATIONS["completing"](), a_doubt(Refusal.BAD_TIME), NOW)

    trip = outcomes.asked(trip, an_order(finish_ticket="ticket"), NOW)

    assert trip.end_time is None
    assert next_step(trip, NOW, PAYAFTER) == CompleteOrder()


def test_the_bytes_stay_binding_while_one_attempt_with_them_may_have_been_accepted() -> None:
    before = SITUATIONS["completing"]()
    trip = outcomes.refused(before, a_doubt(Refusal.BAD_TIME, uncertain=True), NOW)

    trip = outcomes.asked(trip, an_order(finish_ticket="ticket"), NOW)

    assert trip.end_time == before.end_time


def test_a_create_refused_for_its_time_is_built_anew_once_the_order_is_known_not_to_exist() -> None:
    trip = outcomes.refused(SITUATIONS["creating"](), a_doubt(Refusal.BAD_TIME, step="OpenOrder"), NOW)

    trip = outcomes.not_found(trip, a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder"), NOW)

    assert trip.opening is None
    assert trip.doubt is None


def test_a_create_refused_for_its_time_is_not_built_anew_for_a_trip_that_was_cancelled() -> None:
    trip = outcomes.refused(SITUATIONS["creating, cancelled"](), a_doubt(Refusal.BAD_TIME, step="OpenOrder"), NOW)

    trip = outcomes.not_found(trip, a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder"), NOW)

    assert trip.state is TripState.CANCELLED


def test_one_not_found_after_an_unknown_create_proves_nothing_the_same_bytes_go_again() -> None:
    before = SITUATIONS["creating"]()
    doubt = a_doubt(Refusal.WRONG_STATE, step="OpenOrder", uncertain=True)

    trip = outcomes.not_found(outcomes.refused(before, doubt, NOW), a_doubt(Refusal.ORDER_NOT_FOUND), NOW)

    assert trip.opening == before.opening
    assert next_step(trip, NOW, PAYAFTER) == OpenOrder()


def test_an_uncertain_refusal_for_risk_declines_only_once_the_order_is_known_not_to_exist() -> None:
    doubt = a_doubt(Refusal.RISK_REFUSED, step="OpenOrder", uncertain=True)
    trip = outcomes.refused(SITUATIONS["creating"](), doubt, NOW)
    assert next_step(trip, NOW, PAYAFTER) == AskOrder()

    trip = outcomes.not_found(trip, a_doubt(Refusal.ORDER_NOT_FOUND), NOW)

    assert trip.state is TripState.DECLINED
    assert trip.declined is not None
    assert trip.declined.reason is DeclineReason.RISK_REFUSED


def test_an_uncertain_refusal_for_risk_does_not_decline_an_order_that_stands() -> None:
    doubt = a_doubt(Refusal.RISK_REFUSED, step="OpenOrder", uncertain=True)

    trip = outcomes.asked(outcomes.refused(SITUATIONS["creating"](), doubt, NOW), an_order(), NOW)

    assert trip.state is TripState.OPEN


def test_an_order_that_wechat_does_not_know_any_more_is_a_problem() -> None:
    trip = outcomes.not_found(SITUATIONS["completed"](), a_doubt(Refusal.ORDER_NOT_FOUND, code="ORDER_NOT_EXIST"), NOW)

    assert trip.problem is not None
    assert trip.problem.code == "ORDER_NOT_EXIST"


def test_a_debit_in_flight_is_waited_for_before_asking() -> None:
    trip = outcomes.refused(SITUATIONS["cancelling"](), a_doubt(Refusal.DEBIT_IN_FLIGHT, step="CancelOrder"), NOW)

    assert next_step(trip, NOW, PAYAFTER) == Rest(NOW + outcomes.DEBIT_PAUSE)
    assert next_step(trip, NOW + outcomes.DEBIT_PAUSE, PAYAFTER) == AskOrder()


def test_a_fare_above_wechats_limit_cancels_the_order_and_then_declines() -> None:
    trip = outcomes.refused(SITUATIONS["completing"](), a_doubt(Refusal.AMOUNT_OVER_LIMIT), NOW)
    assert (trip.state, next_step(trip, NOW, PAYAFTER)) == (TripState.OPEN, CancelOrder())

    trip = outcomes.order_cancelled(trip)

    assert trip.state is TripState.DECLINED
    assert trip.declined is not None
    assert trip.declined.reason is DeclineReason.AMOUNT_OVER_LIMIT


def test_a_passenger_who_left_the_service_is_declined_and_one_who_did_not_is_a_problem_of_ours() -> None:
    doubt = a_doubt(Refusal.NOT_PERMITTED, step="OpenOrder", code="NO_AUTH")
    trip = outcomes.refused(SITUATIONS["creating"](), doubt, NOW)

    left = outcomes.service_answered(trip, enabled=False, now=NOW)
    stayed = outcomes.service_answered(trip, enabled=True, now=NOW)

    assert left.declined is not None
    assert left.declined.reason is DeclineReason.SERVICE_NOT_ENABLED
    assert stayed.problem is not None
    assert stayed.problem.code == "NO_AUTH"


def test_a_cleared_problem_starts_the_count_of_refusals_anew() -> None:
    trip = replace(SITUATIONS["with a problem"](), refusals=2)

    cleared = outcomes.without_problem(trip)

    assert (cleared.problem, cleared.refusals) == (None, 0)


@pytest.mark.parametrize("paid_fen", [0, 3_199, 3_201, None])
def test_a_trip_is_paid_only_when_the_collected_amount_is_what_we_completed_with(paid_fen: int | None) -> None:
    seen = outcomes.see(SITUATIONS["completed"](), an_order(OrderPhase.DONE, paid_fen=paid_fen), NOW)

    assert seen.state is TripState.COMPLETED
    assert seen.problem is not None
    assert seen.problem.code == "amount_differs"
