"""A trip that was refused for risk and is asked for once more, for less: when, and what of its first order."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import AskFirstOrder, CancelFirstOrder, Rest, next_step
from payscore_worker.domain.second_try import (
    FIRST_ORDER_COLLECTS,
    FIRST_ORDER_RUNS,
    PAUSES,
    cancelling_first,
    first_over,
    first_refused,
    first_seen,
    second_try_of,
)
from payscore_worker.domain.trip import (
    LATE_LOOK,
    Opening,
    OrderPhase,
    OrderSeen,
    Problem,
    SecondTry,
    Trip,
    fare_fen,
    note_ended,
    note_started,
    out_order_no_for,
    second_order_no_for,
)
from tests.builders import (
    NOW,
    PAYAFTER,
    SECOND_SITUATIONS,
    SERVICEORDER,
    SITUATIONS,
    TRYING_AGAIN,
    a_start,
    a_trip,
    an_end,
    an_order,
    some_terms,
    tried_again,
)

LATER: Final = NOW + timedelta(hours=1)


def second_of(trip: Trip) -> SecondTry:
    assert trip.second is not None
    return trip.second


def open_beside_the_first() -> Trip:
    return SECOND_SITUATIONS["second open, first runs"]()


def refused_for_hours(trip: Trip) -> Trip:
    return replace(trip, second=replace(second_of(trip), refusals=len(PAUSES)))


def test_the_second_try_says_all_that_the_first_order_was_and_the_second_is() -> None:
    opening = Opening(risk_amount_fen=20_000, start_time=None, terms=some_terms(family="payafter"))
    trip = outcomes.opening(note_started(a_trip(), a_start()), opening)

    assert second_try_of(trip, TRYING_AGAIN, NOW, prefix="city-") == SecondTry(
        out_order_no=second_order_no_for("t1", "city-"),
        first_order_no="t1",
        first_terms=opening.terms,
        risk_amount_fen=10_000,
        look_at=NOW + LATE_LOOK,
    )


def test_nothing_is_tried_again_that_was_or_that_was_not_asked_for_or_where_nothing_is_set() -> None:
    lower = replace(TRYING_AGAIN, second_risk_amount_fen=5_000)

    assert second_try_of(SECOND_SITUATIONS["second asked for"](), lower, NOW, prefix="") is None
    assert second_try_of(SITUATIONS["started"](), TRYING_AGAIN, NOW, prefix="") is None
    assert second_try_of(SITUATIONS["creating"](), PAYAFTER, NOW, prefix="") is None


@pytest.mark.parametrize("phase", [OrderPhase.ACCEPTED, OrderPhase.CREATED, OrderPhase.RUNNING])
def test_a_first_order_that_lives_is_to_be_cancelled_at_once(phase: OrderPhase) -> None:
    before = SECOND_SITUATIONS["second open"]()

    after = first_seen(before, an_order(phase), LATER)

    assert after == replace(before, second=replace(second_of(before), alive=True, look_at=LATER))
    assert next_step(after, LATER, TRYING_AGAIN) == CancelFirstOrder()


@pytest.mark.parametrize("total_fen", [None, 1, 3_200])
def test_money_for_the_first_order_stops_the_trip_and_names_the_order(total_fen: int | None) -> None:
    before = open_beside_the_first()

    stopped = first_seen(before, an_order(OrderPhase.DONE, total_fen=total_fen), LATER)

    problem = Problem(
        code=FIRST_ORDER_COLLECTS,
        message="WeChat Pay collects for the first order 't1', which we never completed",
        request_id="",
        step="CancelFirstOrder",
        since=LATER,
    )
    assert stopped == outcomes.with_problem(first_over(before), problem)


def test_a_first_order_that_was_completed_for_nothing_is_over() -> None:
    before = open_beside_the_first()

    assert first_seen(before, an_order(OrderPhase.DONE, total_fen=0, paid_fen=0), LATER) == first_over(before)


@pytest.mark.parametrize("order", [None, an_order(OrderPhase.REVOKED), an_order(OrderPhase.EXPIRED)])
def test_a_first_order_that_is_gone_or_is_not_there_is_over(order: OrderSeen | None) -> None:
    before = open_beside_the_first()

    assert first_seen(before, order, LATER) == first_over(before)
    assert second_of(first_over(before)) == replace(second_of(before), alive=False, look_at=None)


def test_a_first_order_that_was_seen_to_is_seen_to_whatever_comes_late() -> None:
    before = SECOND_SITUATIONS["second open, first seen to"]()

    assert first_seen(before, an_order(), LATER) == before
    assert first_refused(before, "CODE", "不能取消", LATER) == before


def test_of_a_trip_with_one_order_nothing_is_said() -> None:
    trip = SITUATIONS["open"]()

    assert first_seen(trip, an_order(), NOW) == first_refused(trip, "CODE", "", NOW) == first_over(trip) == trip
    assert cancelling_first(trip) == trip


def test_the_cancel_of_the_first_order_is_a_body_of_its_own() -> None:
    before = open_beside_the_first()

    after = cancelling_first(before)

    assert after == replace(before, bodies=before.bodies + 1, second=replace(second_of(before), cancelling=True))


def test_a_refusal_has_the_first_order_asked_about_again_and_is_counted() -> None:
    after = first_refused(open_beside_the_first(), "CODE", "不能取消", NOW)

    assert (second_of(after).alive, second_of(after).refusals) == (False, 1)
    assert next_step(after, NOW, TRYING_AGAIN) == Rest(NOW + PAUSES[0])
    assert next_step(after, NOW + PAUSES[0], TRYING_AGAIN) == AskFirstOrder()


@pytest.mark.parametrize(("message", "end"), [("不能取消", "CODE 不能取消"), ("", "CODE")])
def test_a_person_is_told_which_order_may_run_and_what_wechat_pay_said(message: str, end: str) -> None:
    before = open_beside_the_first()

    stopped = first_refused(refused_for_hours(before), "CODE", message, LATER)

    problem = Problem(
        code=FIRST_ORDER_RUNS,
        message=f"the first order 't1' may run, and WeChat Pay refuses to show or to cancel it: {end}",
        request_id="",
        step="CancelFirstOrder",
        since=LATER,
    )
    looked_at_again = replace(before, second=replace(second_of(before), alive=False, refusals=0))
    assert stopped == outcomes.with_problem(looked_at_again, problem)


def test_the_second_number_is_no_trips_own() -> None:
    """Design rule 12: no id that is like the trip's makes it, nor it itself, and it fits WeChat Pay with any prefix."""
    second = second_order_no_for("t1", "city-")

    assert second == second_order_no_for("t1", "city-")
    assert second.startswith("city-")
    assert len(second) == 32
    assert second not in {out_order_no_for(name, "city-") for name in ("t1", "t1-2", "t1\n2", "t1second", second)}
    assert second_order_no_for("t1") != second_order_no_for("t2")


@pytest.mark.parametrize(
    ("asked_fen", "is_tried"), [(10_001, True), (10_000, False), (9_999, False)], ids=["more", "as much", "less"]
)
def test_only_what_asked_for_more_is_tried_again(asked_fen: int, is_tried: bool) -> None:  # noqa: FBT001
    opening = Opening(risk_amount_fen=asked_fen, start_time=None)
    trip = outcomes.opening(note_started(a_trip(), a_start()), opening)

    assert (second_try_of(trip, TRYING_AGAIN, NOW, prefix="") is not None) is is_tried


def test_a_fare_of_all_that_the_second_order_may_take_is_tried_again() -> None:
    trip = note_ended(SITUATIONS["creating"](), an_end(total_fen=10_000))

    assert second_try_of(trip, TRYING_AGAIN, NOW, prefix="") is not None


def test_a_fare_that_the_second_order_cannot_take_is_not_tried_again_where_that_is_its_cap() -> None:
    """0.8."""
    trip = note_ended(SITUATIONS["creating"](), an_end(total_fen=10_001))
    current = replace(SERVICEORDER, second_risk_amount_fen=10_000)

    assert fare_fen(trip) == 10_001
    assert second_try_of(trip, TRYING_AGAIN, NOW, prefix="") is None
    assert second_try_of(trip, current, NOW, prefix="") is not None


def test_what_was_tried_again_is_asked_for_anew_under_its_own_number() -> None:
    trip, before = tried_again(), SITUATIONS["creating"]()

    assert trip.out_order_no == second_order_no_for("t1")
    assert (trip.opening, trip.doubt, trip.refusals, trip.refused_as) == (None, None, 0, "")
    assert trip.bodies == before.bodies
    assert trip.second is not None
    assert trip.second.look_at == NOW + outcomes.APART + LATE_LOOK


def test_a_first_order_that_was_given_to_a_person_is_looked_at_again_once_they_have_seen_to_it() -> None:
    stopped = first_refused(refused_for_hours(open_beside_the_first()), "CODE", "不能取消", NOW)
    assert stopped.problem is not None
    assert stopped.problem.step == "CancelFirstOrder"

    again = outcomes.without_problem(stopped)

    assert next_step(again, NOW, TRYING_AGAIN) == AskFirstOrder()
    assert not again.second or not again.second.refusals


def test_the_pauses_between_refusals_grow() -> None:
    trip, pauses = open_beside_the_first(), []
    for _ in PAUSES:
        trip = first_refused(trip, "CODE", "不能取消", NOW)
        assert trip.second is not None
        assert trip.second.look_at is not None
        pauses.append(trip.second.look_at - NOW)

    assert tuple(pauses) == PAUSES == tuple(sorted(PAUSES))
