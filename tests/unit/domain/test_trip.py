"""A trip's order number, times and schedule."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import (
    END_MARGIN,
    IN_HAND,
    SHORTEST_SERVICE,
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    Decline,
    OpenOrder,
    Rest,
    SayOverdue,
    SayStale,
    Step,
    Stop,
    due_at,
    earliest_completion,
    end_time_for,
    next_step,
    over_limit,
    risk_amount_fen,
    service_start,
)
from payscore_worker.domain.trip import (
    Debit,
    DeclineReason,
    Look,
    Opening,
    OrderPhase,
    OrderTerms,
    Payment,
    Trip,
    TripState,
    Unanswered,
    note_cancelled,
    note_ended,
    note_started,
    out_order_no_for,
    owed_fen,
    too_much_fen,
    was_collected,
    way_of,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
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
)

SECOND = timedelta(seconds=1)

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


def test_an_unpaid_trip_is_said_to_be_overdue_once_at_each_age() -> None:
    trip = SITUATIONS["completed"]()
    late, later = (NOW + age for age in PAYAFTER.overdue_after)

    assert next_step(trip, late, PAYAFTER) == SayOverdue(1)
    once = outcomes.overdue(trip, 1, late)
    assert next_step(once, late, PAYAFTER) == AskOrder()
    assert next_step(once, later - SECOND, PAYAFTER) == AskOrder()
    assert next_step(once, later, PAYAFTER) == SayOverdue(2)
    twice = outcomes.overdue(once, 2, later)
    assert next_step(twice, later + 100 * PAYAFTER.overdue_after[1], PAYAFTER) == AskOrder()


def test_ages_that_passed_while_nobody_looked_are_one_word_on_the_last_of_them() -> None:
    assert next_step(SITUATIONS["completed"](), NOW + PAYAFTER.overdue_after[1], PAYAFTER) == SayOverdue(2)


def test_an_unpaid_trip_rests_no_longer_than_to_the_age_that_it_reaches_next() -> None:
    first, second = PAYAFTER.overdue_after
    asked = replace(outcomes.overdue(SITUATIONS["completed"](), 1, NOW + first), polls=9, asked_at=NOW + second - HOUR)

    assert next_step(asked, NOW + second - HOUR, PAYAFTER) == Rest(NOW + second)


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


# --- Facts ---


def test_an_order_number_that_does_not_fit_is_the_digest_of_the_trip_id_alone() -> None:
    digest = hashlib.sha256("行程 1".encode()).hexdigest()

    assert out_order_no_for("行程 1") == digest[:32]
    assert out_order_no_for("行程 1", "fleet-") == "fleet-" + digest[:26]
    assert out_order_no_for("x" * 26, "fleet-") == "fleet-" + "x" * 26


@pytest.mark.parametrize("situation", ["started and ended", "creating, cancelled"])
def test_a_fact_that_was_noted_changes_nothing(situation: str) -> None:
    trip = SITUATIONS[situation]()

    assert note_started(trip, a_start()) is trip
    if trip.ended is not None:
        assert note_ended(trip, an_end()) is trip
    if trip.cancelled is not None:
        assert note_cancelled(trip, a_cancellation()) is trip


@pytest.mark.parametrize(
    ("note", "error", "message"),
    [
        (
            lambda: note_started(SITUATIONS["started"](), a_start(openid="oOther")),
            ConflictingFact,
            "trip.started says otherwise than before in openid",
        ),
        (
            lambda: note_ended(SITUATIONS["started and ended"](), an_end(total_fen=1)),
            ConflictingFact,
            "trip.ended says otherwise than before in total_fen",
        ),
        (
            lambda: note_ended(SITUATIONS["creating, cancelled"](), an_end()),
            ConflictingFact,
            "trip.ended for a trip that was cancelled",
        ),
        (
            lambda: note_cancelled(SITUATIONS["creating, cancelled"](), a_cancellation(reason="其他")),
            ConflictingFact,
            "trip.cancelled says otherwise than before in reason",
        ),
        (
            lambda: note_cancelled(SITUATIONS["started and ended"](), a_cancellation()),
            IllegalTransition,
            "trip.cancelled after the trip ended; its fare is owed",
        ),
    ],
)
def test_a_fact_that_contradicts_another_is_refused_and_says_which(
    note: Callable[[], Trip], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        note()


def test_a_cancellation_ends_the_trip_only_where_no_order_was_ever_asked_for() -> None:
    fact = a_cancellation()

    assert note_cancelled(a_trip(), fact) == replace(a_trip(), cancelled=fact, state=TripState.CANCELLED)
    for situation in ("creating", "open", "creating anew"):
        trip = SITUATIONS[situation]()
        assert note_cancelled(trip, fact) == replace(trip, cancelled=fact)


def test_an_end_frees_a_trip_whose_order_was_completed_elsewhere_and_no_other() -> None:
    elsewhere = SITUATIONS["with a problem, completed elsewhere"]()
    other = SITUATIONS["with a problem, open"]()
    over = replace(elsewhere, state=TripState.DECLINED)

    assert note_ended(elsewhere, an_end()) == replace(elsewhere, ended=an_end(), problem=None)
    assert note_ended(other, an_end()) == replace(other, ended=an_end())
    assert note_ended(over, an_end()) == replace(over, ended=an_end())


def test_what_is_owed_is_the_fare_or_what_a_person_took_for_it() -> None:
    trip = SITUATIONS["completed"]()

    assert owed_fen(trip) == 3_200
    assert owed_fen(replace(trip, accepted_fen=3_000)) == 3_000
    assert owed_fen(replace(trip, accepted_fen=0)) == 0
    with pytest.raises(IllegalTransition, match=r"^nothing is owed for a trip that has not ended$"):
        owed_fen(SITUATIONS["open"]())


@pytest.mark.parametrize(
    ("situation", "way", "collected"),
    [
        ("lowered", "payscore", False),
        ("paid above the fare", "payscore", True),
        ("to be synced", "cash", False),
        ("paid elsewhere", "cash", False),
        ("paid twice", "payscore", True),
    ],
)
def test_a_trip_is_paid_through_wechat_where_that_has_debited_or_nobody_names_another_way(
    situation: str, way: str, *, collected: bool
) -> None:
    trip = FARE_SITUATIONS[situation]()

    assert way_of(trip) == way
    assert was_collected(trip) is collected


def test_a_fare_of_nothing_was_collected_though_nothing_was_debited() -> None:
    assert was_collected(replace(SITUATIONS["paid"](), payment=Payment(paid_fen=0, paid_at=NOW)))


def test_too_much_is_what_was_paid_above_a_lowered_fare_and_was_not_asked_back() -> None:
    above = FARE_SITUATIONS["paid above the fare"]()

    assert too_much_fen(above) == 1_200
    assert too_much_fen(replace(above, returned_fen=1_000)) == 200
    assert too_much_fen(replace(above, returned_fen=1_201)) == 0
    assert too_much_fen(replace(above, lowered=())) == 0
    assert too_much_fen(replace(above, lowering=None)) == 0
    assert too_much_fen(FARE_SITUATIONS["lowered"]()) == 0  # nothing is paid yet


def test_too_much_of_what_came_in_twice_is_all_that_does_not_go_back_already() -> None:
    twice = FARE_SITUATIONS["paid twice"]()
    going = Debit(transaction_id="4200001", reserved_fen=300, refunded_fen=500)
    assert twice.payment is not None
    partly = replace(twice, payment=replace(twice.payment, debits=(going,)))

    assert too_much_fen(twice) == 3_200
    assert too_much_fen(partly) == 2_400
    assert too_much_fen(replace(partly, returned_fen=1_000)) == 2_200


# --- The limit ---


@pytest.mark.parametrize(("total_fen", "over"), [(19_999, False), (20_000, False), (20_001, True)])
def test_a_fare_of_exactly_the_risk_amount_is_within_the_limit(total_fen: int, *, over: bool) -> None:
    started = note_ended(note_started(a_trip(), a_start()), an_end(total_fen=total_fen))
    opened = note_ended(SITUATIONS["open"](), an_end(total_fen=total_fen))

    assert over_limit(started, PAYAFTER) is over
    assert isinstance(next_step(started, NOW, PAYAFTER), Decline) is over
    assert next_step(opened, NOW, PAYAFTER) == (CancelOrder() if over else AskOrder())
    assert not over_limit(started, SERVICEORDER)
    assert not over_limit(SITUATIONS["open"](), PAYAFTER)


def test_the_limit_is_that_of_the_order_or_the_trips_own_or_the_settings() -> None:
    own = note_started(a_trip(), a_start(risk_amount_fen=12_300))
    order = replace(own, opening=Opening(risk_amount_fen=9_900, start_time=None))

    assert risk_amount_fen(order, PAYAFTER) == 9_900
    assert risk_amount_fen(own, PAYAFTER) == 12_300
    assert risk_amount_fen(note_started(a_trip(), a_start()), PAYAFTER) == 20_000
    assert risk_amount_fen(a_trip(), PAYAFTER) == 20_000
    assert over_limit(note_ended(own, an_end(total_fen=12_301)), PAYAFTER)


def test_an_order_is_measured_by_the_family_that_it_was_opened_in() -> None:
    terms = OrderTerms(family="serviceorder", mchid="1", appid="2", service_id="3", notify_url="4")
    trip = SITUATIONS["open, ended above the limit"]()
    assert trip.opening is not None
    elsewhere = replace(trip, opening=replace(trip.opening, terms=terms))

    assert PAYAFTER.family_of(a_trip()) == "payafter"
    assert PAYAFTER.family_of(trip) == "payafter"
    assert PAYAFTER.family_of(elsewhere) == "serviceorder"
    assert next_step(elsewhere, NOW, PAYAFTER) == CompleteOrder()


# --- Steps, and when ---


@pytest.mark.parametrize(
    ("situation", "step"),
    [
        ("nothing noted", Rest(NOW - HOUR + PAYAFTER.stale_after)),
        ("ended, not started", Rest(NOW - HOUR + PAYAFTER.stale_after)),
        ("cancelled, not started", Rest()),
        ("started", AskServiceState()),
        (
            "started, ended above the limit",
            Decline(DeclineReason.AMOUNT_OVER_LIMIT, "the fare is above the risk amount"),
        ),
        ("creating", OpenOrder()),
        ("creating, ended", OpenOrder()),
        ("creating, cancelled", AskOrder()),
        ("accepted", AskOrder()),
        ("open", Rest(NOW - HOUR + PAYAFTER.stale_after)),
        ("open, ended", AskOrder()),
        ("open, ended above the limit", CancelOrder()),
        ("completing", CompleteOrder()),
        ("cancelling", CancelOrder()),
        ("declining", CancelOrder()),
        ("completed", Rest(NOW + timedelta(seconds=5))),
        ("paid", Rest()),
        ("declined", Rest()),
        ("cancelled", Rest()),
        ("declined, order runs", CancelOrder()),
        ("with a problem, creating", Rest()),
    ],
)
def test_each_trip_takes_the_step_that_it_needs(situation: str, step: Step) -> None:
    assert next_step(SITUATIONS[situation](), NOW, PAYAFTER) == step


def test_a_passenger_who_is_known_to_have_enabled_the_service_is_not_asked_about() -> None:
    assert next_step(replace(SITUATIONS["started"](), service_enabled=True), NOW, PAYAFTER) == OpenOrder()


def test_an_order_that_is_being_completed_is_completed_though_its_fare_is_above_the_limit() -> None:
    trip = replace(SITUATIONS["open, ended above the limit"](), end_time=NOW)

    assert next_step(trip, NOW, PAYAFTER) == CompleteOrder()


def test_a_doubt_is_asked_about_once_its_time_has_come() -> None:
    trip = replace(SITUATIONS["creating"](), doubt=a_doubt(step="OpenOrder", ask_after=NOW))

    assert next_step(trip, NOW - SECOND, PAYAFTER) == Rest(NOW)
    assert next_step(trip, NOW, PAYAFTER) == AskOrder()


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, AskServiceState()),
        ({"step": "CompleteOrder"}, AskOrder()),
        ({"service_off": True}, AskOrder()),
        ({"refusal": Refusal.RISK_REFUSED}, AskOrder()),
    ],
)
def test_only_a_create_that_was_not_permitted_asks_for_the_service_and_only_until_that_is_known(
    changes: dict[str, Any], step: Step
) -> None:
    doubt = replace(a_doubt(Refusal.NOT_PERMITTED, step="OpenOrder"), **changes)

    assert next_step(replace(SITUATIONS["creating"](), doubt=doubt), NOW, PAYAFTER) == step


def test_a_late_look_is_taken_at_its_time() -> None:
    trip = replace(SITUATIONS["declined"](), look=Look(at=NOW))

    assert next_step(trip, NOW - SECOND, PAYAFTER) == Rest(NOW)
    assert next_step(trip, NOW, PAYAFTER) == AskOrder()


def test_a_refused_question_holds_up_questions_alone() -> None:
    unanswered = Unanswered(
        step="AskOrder", code="C", message="", request_id="", since=NOW, count=1, ask_after=NOW + HOUR
    )
    asks = replace(SITUATIONS["open, ended"](), unanswered=unanswered)
    service = replace(SITUATIONS["started"](), unanswered=unanswered)
    completes = replace(SITUATIONS["completing"](), unanswered=unanswered)

    for trip in (asks, service):
        assert next_step(trip, NOW + HOUR - SECOND, PAYAFTER) == Rest(NOW + HOUR)
        assert next_step(trip, NOW + HOUR, PAYAFTER) != Rest(NOW + HOUR)
    assert next_step(completes, NOW, PAYAFTER) == CompleteOrder()


def test_a_completed_trip_whose_poll_was_refused_is_polled_when_the_question_may_be_asked_again() -> None:
    unanswered = Unanswered(
        step="AskOrder", code="C", message="", request_id="", since=NOW, count=1, ask_after=NOW + HOUR
    )
    trip = replace(SITUATIONS["completed"](), unanswered=unanswered)

    assert next_step(trip, NOW + HOUR - SECOND, PAYAFTER) == Rest(NOW + HOUR)
    assert next_step(trip, NOW + HOUR, PAYAFTER) == AskOrder()


def test_a_completed_trip_rests_until_the_next_poll_or_until_it_is_overdue_and_is_polled_after_that_too() -> None:
    trip = replace(SITUATIONS["completed"](), polls=2, asked_at=NOW + 5 * HOUR)
    poll_at = NOW + 29 * HOUR

    assert next_step(trip, NOW + 5 * HOUR, PAYAFTER) == Rest(poll_at)
    soon_overdue = replace(PAYAFTER, overdue_after=(28 * HOUR,))
    assert next_step(trip, NOW + 5 * HOUR, soon_overdue) == Rest(NOW + 28 * HOUR)
    assert next_step(trip, NOW + 28 * HOUR - SECOND, soon_overdue) == Rest(NOW + 28 * HOUR)
    assert next_step(trip, NOW + 28 * HOUR, soon_overdue) == SayOverdue(1)
    said = outcomes.overdue(trip, 1, NOW + 28 * HOUR)
    assert next_step(said, NOW + 28 * HOUR, soon_overdue) == Rest(poll_at)
    assert next_step(said, poll_at, soon_overdue) == AskOrder()


def test_a_trip_waits_for_its_other_half_until_the_moment_at_which_it_is_stale() -> None:
    trip = SITUATIONS["open"]()
    stale_at = NOW - HOUR + PAYAFTER.stale_after

    assert next_step(trip, stale_at - SECOND, PAYAFTER) == Rest(stale_at)
    assert next_step(trip, stale_at, PAYAFTER) == SayStale()


def test_a_start_in_the_future_is_waited_for_for_an_hour_and_no_longer() -> None:
    trip = SITUATIONS["open, ended"]()
    wait = SHORTEST_SERVICE + END_MARGIN

    waits = replace(trip, opened_at=NOW + HOUR - wait)
    assert next_step(waits, NOW, PAYAFTER) == Rest(NOW + HOUR)
    stops = replace(trip, opened_at=NOW + HOUR - wait + SECOND)
    assert next_step(stops, NOW, PAYAFTER) == Stop(
        "start_in_future", "the service began for WeChat Pay at 2026-05-01T12:59:50+00:00"
    )


def test_the_earliest_completion_may_be_made_at_that_very_moment() -> None:
    trip = replace(SITUATIONS["open, ended"](), finish_ticket="ticket")
    earliest = earliest_completion(trip)
    assert earliest == NOW - HOUR + timedelta(seconds=11)

    assert next_step(trip, earliest - SECOND, PAYAFTER) == Rest(earliest)
    assert next_step(trip, earliest, PAYAFTER) == CompleteOrder()


@pytest.mark.parametrize(
    ("ended_at", "sent"),
    [
        (NOW - HOUR + SECOND, NOW - HOUR + SECOND),  # a second after the start: the shortest that WeChat Pay takes
        (NOW - HOUR, NOW - END_MARGIN),
        (NOW, NOW - END_MARGIN),
        (NOW - END_MARGIN, NOW - END_MARGIN),
    ],
)
def test_the_end_is_the_trips_own_where_wechat_can_take_it(ended_at: datetime, sent: datetime) -> None:
    assert end_time_for(note_ended(SITUATIONS["open"](), an_end(ended_at=ended_at)), NOW) == sent


def test_what_a_row_cannot_say_is_said_to_be_missing() -> None:
    unopened = replace(SITUATIONS["open, ended"](), opened_at=None)

    with pytest.raises(IllegalTransition, match=r"^the end of a trip that has not ended$"):
        end_time_for(SITUATIONS["open"](), NOW)
    with pytest.raises(IllegalTransition, match=r"^an order that was never opened has no start$"):
        service_start(unopened)
    with pytest.raises(IllegalTransition, match=r"^an order that was never opened has no start$"):
        service_start(replace(unopened, opening=None))
    with pytest.raises(IllegalTransition, match=r"^a COMPLETED trip without the time of its completion$"):
        next_step(replace(SITUATIONS["completed"](), completed_at=None), NOW, PAYAFTER)
