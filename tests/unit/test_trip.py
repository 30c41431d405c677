"""A trip's order number, times and schedule."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker import outcomes
from payscore_worker.errors import ConflictingFact
from payscore_worker.trip import (
    END_MARGIN,
    IN_HAND,
    SHORTEST_SERVICE,
    AskOrder,
    CompleteOrder,
    Opening,
    OpenOrder,
    OrderPhase,
    Rest,
    SayOverdue,
    SayStale,
    due_at,
    earliest_completion,
    end_time_for,
    next_step,
    note_ended,
    note_started,
    out_order_no_for,
)
from tests.builders import HOUR, NOW, PAYAFTER, SERVICEORDER, SITUATIONS, a_start, a_trip, an_end, an_order

trip_ids = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64)
prefixes = st.from_regex(r"[0-9A-Za-z_-]{0,12}", fullmatch=True)


@given(trip_id=trip_ids, prefix=prefixes)
def test_an_order_number_is_one_that_wechat_takes_and_follows_from_the_trip_id_alone(trip_id: str, prefix: str) -> None:
    out_order_no = out_order_no_for(trip_id, prefix)

    assert out_order_no == out_order_no_for(trip_id, prefix)
    assert out_order_no.startswith(prefix)
    assert 1 <= len(out_order_no) <= 32
    assert all(char.isascii() and (char.isalnum() or char in "_-") for char in out_order_no)


@given(one=trip_ids, other=trip_ids)
def test_two_trips_never_share_an_order_number(one: str, other: str) -> None:
    assert (out_order_no_for(one) == out_order_no_for(other)) == (one == other)


@pytest.mark.parametrize("trip_id", ["t1", "A_b-9", "x" * 32])
def test_a_trip_id_that_wechat_takes_is_the_order_number_itself(trip_id: str) -> None:
    assert out_order_no_for(trip_id) == trip_id


def test_a_trip_id_that_no_longer_fits_with_the_prefix_is_digested() -> None:
    assert out_order_no_for("x" * 30, "fleet-") != "fleet-" + "x" * 30
    assert len(out_order_no_for("x" * 30, "fleet-")) == 32


def test_a_conflict_names_the_members_that_differ() -> None:
    trip = note_started(a_trip(), a_start())

    with pytest.raises(ConflictingFact, match=r"openid, end_location$"):
        note_started(trip, a_start(openid="oOther", end_location="虹桥"))


def test_a_ride_that_outlasts_the_margin_is_completed_with_its_own_end() -> None:
    trip = SITUATIONS["open, ended"]()
    assert trip.ended is not None

    assert end_time_for(trip, NOW) == trip.ended.ended_at


def test_an_end_too_close_to_now_is_moved_behind_wechats_clock() -> None:
    trip = note_ended(SITUATIONS["open"](), an_end(ended_at=NOW - timedelta(seconds=1)))

    assert end_time_for(trip, NOW) == NOW - END_MARGIN


def test_a_ride_that_ended_before_its_order_was_opened_waits_until_an_end_fits_behind_the_start() -> None:
    trip = note_ended(SITUATIONS["creating"](), an_end(ended_at=NOW - HOUR))
    trip = outcomes.opened(trip, an_order(), NOW)

    earliest = earliest_completion(trip)
    assert next_step(trip, NOW, SERVICEORDER) == Rest(earliest)
    assert next_step(trip, earliest, SERVICEORDER) == CompleteOrder()
    assert end_time_for(trip, earliest) >= NOW + SHORTEST_SERVICE
    assert end_time_for(trip, earliest) <= earliest - END_MARGIN


def test_an_order_with_a_start_time_of_its_own_is_measured_from_that() -> None:
    start_time = NOW + timedelta(seconds=10)
    trip = outcomes.opening(note_started(a_trip(), a_start()), Opening(risk_amount_fen=1, start_time=start_time))
    trip = note_ended(outcomes.opened(trip, an_order(), NOW), an_end())

    assert earliest_completion(trip) == start_time + SHORTEST_SERVICE + END_MARGIN


def test_the_start_that_wechat_shows_counts_rather_than_our_clock() -> None:
    shown = NOW - timedelta(seconds=3)

    assert outcomes.opened(SITUATIONS["creating"](), an_order(started_at=shown), NOW).opened_at == shown


def test_a_ticket_in_hand_spares_the_query() -> None:
    trip = SITUATIONS["open, ended"]()

    assert next_step(trip, NOW, PAYAFTER) == AskOrder()
    assert next_step(replace(trip, finish_ticket="ticket"), NOW, PAYAFTER) == CompleteOrder()
    assert next_step(trip, NOW, SERVICEORDER) == CompleteOrder()


def test_only_the_legacy_family_limits_the_fare_by_the_risk_amount() -> None:
    trip = replace(SITUATIONS["started, ended above the limit"](), service_enabled=True)

    assert next_step(trip, NOW, SERVICEORDER) == OpenOrder()


def test_a_completed_trip_is_asked_about_at_the_poll_delays_the_last_one_repeating() -> None:
    trip = SITUATIONS["completed"]()
    asked_at = []
    now = NOW
    for _ in range(4):
        step = next_step(trip, now, PAYAFTER)
        assert isinstance(step, Rest)
        assert step.until is not None
        now = step.until
        assert next_step(trip, now, PAYAFTER) == AskOrder()
        trip = outcomes.asked(trip, an_order(OrderPhase.COLLECTING), now)
        asked_at.append(now - NOW)

    seconds = [moment.total_seconds() for moment in asked_at]
    assert seconds == [5, 35, 35 + 86_400, 35 + 2 * 86_400]


def test_an_unpaid_trip_is_said_to_be_overdue_once() -> None:
    trip = SITUATIONS["completed"]()
    late = NOW + PAYAFTER.overdue_after

    assert next_step(trip, late, PAYAFTER) == SayOverdue()
    assert next_step(outcomes.overdue(trip, late), late, PAYAFTER) == AskOrder()


@pytest.mark.parametrize("situation", ["open", "ended, not started"])
def test_a_trip_whose_other_half_is_missing_is_said_to_be_stale_once(situation: str) -> None:
    trip = SITUATIONS[situation]()
    late = NOW + PAYAFTER.stale_after

    assert next_step(trip, late, PAYAFTER) == SayStale()
    assert next_step(outcomes.stale(trip, late), late, PAYAFTER) == Rest()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_trip_is_due_when_it_rests_until_or_soon_if_whoever_has_it_in_hand_fails(situation: str) -> None:
    trip = SITUATIONS[situation]()
    step = next_step(trip, NOW, PAYAFTER)

    assert due_at(trip, NOW, PAYAFTER) == (step.until if isinstance(step, Rest) else NOW + IN_HAND)


@pytest.mark.parametrize("situation", ["paid", "declined", "cancelled", "with a problem"])
def test_a_trip_that_is_over_or_waits_for_a_person_is_never_due(situation: str) -> None:
    assert due_at(SITUATIONS[situation](), NOW + 365 * 24 * HOUR, PAYAFTER) is None


@pytest.mark.parametrize("situation", SITUATIONS)
def test_openids_and_tickets_are_not_shown_by_the_repr_of_a_trip(situation: str) -> None:
    trip = replace(SITUATIONS[situation](), finish_ticket="secret-ticket")

    assert "oPassenger" not in repr(trip)
    assert "secret-ticket" not in repr(trip)
