"""What becomes of an order that the passenger confirms, and of one that he enables the service for while riding."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import AskServiceState, CancelOrder, next_step
from payscore_worker.domain.outcomes import QUESTION_PAUSES
from payscore_worker.domain.trip import (
    Declined,
    DeclineReason,
    OrderPhase,
    OrderSeen,
    Trip,
    TripState,
    note_ended,
    note_started,
)
from payscore_worker.errors import Refusal
from tests.builders import (
    CONFIRM_BY,
    CONFIRM_SITUATIONS,
    CONFIRMING,
    HOUR,
    NOW,
    PAYAFTER,
    SITUATIONS,
    a_cancellation,
    a_doubt,
    a_payment_elsewhere,
    a_start,
    a_trip,
    an_end,
    an_order,
    asked_to_confirm,
)

SECOND: Final = timedelta(seconds=1)
CREATED: Final = an_order(OrderPhase.CREATED)


def a_situation(name: str, **changes: Any) -> Trip:
    return replace(CONFIRM_SITUATIONS[name](), **changes)


def created(trip: Trip, order: OrderSeen = CREATED, *, package: str = "package", by: datetime = CONFIRM_BY) -> Trip:
    return outcomes.created(trip, order, NOW, package=package, confirm_by=by)


# --- Asked to confirm ---


@pytest.mark.parametrize("phase", [OrderPhase.CREATED, OrderPhase.ACCEPTED])
def test_an_accepted_create_asks_the_passenger_to_confirm_until_a_time(phase: OrderPhase) -> None:
    before = a_situation("creating", doubt=a_doubt(), refusals=3, refused_as="unclear")

    trip = created(before, an_order(phase))

    assert (trip.state, trip.order_id, trip.opened_at) == (TripState.OPEN, CREATED.order_id, None)
    assert (trip.package, trip.confirm_by) == ("package", CONFIRM_BY)
    assert (trip.doubt, trip.refusals, trip.refused_as) == (None, 0, "")


def test_a_page_that_was_lost_comes_with_the_same_bytes_and_ends_what_was_counted_of_them() -> None:
    before = a_situation("accepted, no page", doubt=a_doubt(), refusals=3, problem_told="X OpenOrder")

    trip = created(before)

    assert trip == replace(before, package="package", confirm_by=CONFIRM_BY, doubt=None, refusals=0, problem_told="")


def test_a_trip_that_stood_still_for_want_of_the_page_goes_on() -> None:
    trip = created(a_situation("with a problem, no page"))

    assert (trip.problem, trip.package, trip.confirm_by) == (None, "package", CONFIRM_BY)


def test_nobody_is_asked_to_confirm_twice() -> None:
    before = asked_to_confirm()

    again = created(before, by=CONFIRM_BY + HOUR, package="another")

    assert (again.confirm_by, again.package) == (CONFIRM_BY, "package")


def test_nobody_is_asked_to_confirm_without_the_page() -> None:
    trip = created(a_situation("creating"), package="")

    assert (trip.state, trip.confirm_by) == (TripState.OPEN, None)


@pytest.mark.parametrize(
    "trip",
    [
        a_situation("creating, cancelled"),
        a_situation("accepted, no page", declined=Declined(reason=DeclineReason.NOT_CONFIRMED, message="")),
        a_situation("accepted, no page", paid_elsewhere=a_payment_elsewhere(), ended=an_end()),
    ],
)
def test_nobody_is_asked_to_confirm_what_is_given_up(trip: Trip) -> None:
    after = created(trip)

    assert (after.package, after.confirm_by) == ("", None)
    assert next_step(after, NOW, CONFIRMING) == CancelOrder()


@pytest.mark.parametrize(("started_at", "opened_at"), [(NOW - SECOND, NOW - SECOND), (None, NOW)])
def test_an_order_that_runs_at_once_asks_nobody(started_at: datetime | None, opened_at: datetime) -> None:
    trip = created(a_situation("creating"), an_order(started_at=started_at))

    assert (trip.state, trip.opened_at, trip.confirm_by, trip.package) == (TripState.OPEN, opened_at, None, "")


def test_an_order_that_needs_no_confirmation_asks_nobody() -> None:
    trip = created(SITUATIONS["creating"](), an_order(OrderPhase.ACCEPTED))

    assert (trip.state, trip.confirm_by, trip.package) == (TripState.OPEN, None, "")


# --- Waited for ---


def test_an_order_that_waits_for_its_passenger_is_as_it_should_be() -> None:
    waits = asked_to_confirm()

    assert outcomes.see(waits, CREATED, NOW) is waits


def test_a_question_while_the_passenger_is_waited_for_is_counted_and_ends_every_doubt() -> None:
    before = replace(asked_to_confirm(), polls=2, asked_at=NOW - HOUR, doubt=a_doubt(), missed_at=NOW)
    refused = outcomes.question_refused(before, a_doubt(step="AskOrder"), NOW)

    trip = outcomes.asked(refused, CREATED, NOW)

    assert trip == replace(before, polls=3, asked_at=NOW, doubt=None, missed_at=None)


def test_an_order_that_was_confirmed_is_open_from_the_time_that_wechat_shows() -> None:
    asked = replace(asked_to_confirm(), polls=3, asked_at=NOW)

    trip = outcomes.asked(asked, an_order(started_at=NOW + SECOND), NOW + HOUR)

    assert (trip.opened_at, trip.polls, trip.asked_at) == (NOW + SECOND, 0, None)


def test_an_order_that_ran_and_waits_for_a_confirmation_again_is_asked_about_for_hours_and_then_told() -> None:
    trip, now = a_situation("confirmed"), NOW
    for pause in QUESTION_PAUSES:
        trip = outcomes.asked(trip, CREATED, now)
        assert trip.problem is None
        now += pause

    trip = outcomes.asked(trip, CREATED, now)

    assert trip.problem is not None
    assert (trip.problem.code, trip.problem.message, trip.problem.step) == (
        "unknown_state",
        "WeChat Pay waits for a confirmation of an order that ran",
        "AskOrder",
    )


@pytest.mark.parametrize("situation", ["asked, cancelled", "not confirmed", "asked, paid elsewhere"])
def test_an_order_that_is_given_up_may_wait_for_its_confirmation_until_it_is_cancelled(situation: str) -> None:
    before = a_situation(situation)

    assert outcomes.asked(replace(before, doubt=a_doubt(step="CancelOrder")), CREATED, NOW) == before


def test_an_order_that_is_given_up_and_was_confirmed_is_not_open_and_is_cancelled() -> None:
    declined = outcomes.see(a_situation("not confirmed"), an_order(), NOW)

    assert declined.opened_at is None
    assert next_step(declined, NOW, CONFIRMING) == CancelOrder()


def test_an_order_that_expired_before_it_was_confirmed_declines_as_not_confirmed() -> None:
    expired = an_order(OrderPhase.EXPIRED)

    assert outcomes.see(asked_to_confirm(), expired, NOW).declined == Declined(
        reason=DeclineReason.NOT_CONFIRMED, message="the order expired before the passenger confirmed it"
    )
    assert outcomes.see(a_situation("confirmed"), expired, NOW).declined == Declined(
        reason=DeclineReason.EXPIRED, message="the order expired before it was completed"
    )


def test_an_order_that_was_revoked_before_it_was_confirmed_declines_as_revoked() -> None:
    trip = outcomes.see(asked_to_confirm(), an_order(OrderPhase.REVOKED), NOW)

    assert trip.declined == Declined(
        reason=DeclineReason.REVOKED, message="the order was revoked before it was completed"
    )


# --- The passenger has enabled the service while riding ---


def without_the_service(**changes: Any) -> Trip:
    """Have a trip that was declined because its passenger had not enabled the service."""
    declined = outcomes.service_answered(note_started(a_trip(), a_start()), enabled=False)
    return replace(declined, **changes)


def test_a_trip_whose_passenger_enables_the_service_while_riding_is_taken_up_again() -> None:
    before = note_started(a_trip(), a_start())

    trip = outcomes.service_opened(without_the_service(refusals=3), NOW, PAYAFTER)

    assert trip == before
    assert next_step(trip, NOW, PAYAFTER) == AskServiceState()


def test_a_trip_is_ridden_until_its_end_is_missing_for_too_long() -> None:
    trip = without_the_service()
    stale_at = trip.noted_at + PAYAFTER.stale_after

    assert outcomes.service_opened(trip, stale_at - SECOND, PAYAFTER).state is TripState.NOTED
    assert outcomes.service_opened(trip, stale_at, PAYAFTER) is trip


@pytest.mark.parametrize(
    "trip",
    [
        note_started(a_trip(), a_start()),
        SITUATIONS["declined"](),
        note_ended(without_the_service(), an_end()),
        without_the_service(cancelled=a_cancellation()),
        without_the_service(bodies=1),
        without_the_service(problem=SITUATIONS["with a problem"]().problem),
        without_the_service(state=TripState.CANCELLED),
        without_the_service(declined=None),
    ],
)
def test_no_other_trip_is_taken_up_because_the_service_was_enabled(trip: Trip) -> None:
    assert outcomes.service_opened(trip, NOW, PAYAFTER) is trip


def test_only_a_trip_that_ends_for_want_of_the_service_is_declined_for_it() -> None:
    started, declined = note_started(a_trip(), a_start()), without_the_service()

    assert outcomes.declines_for_service(started, declined)
    assert not outcomes.declines_for_service(declined, declined)
    assert not outcomes.declines_for_service(started, started)
    assert not outcomes.declines_for_service(started, SITUATIONS["declined"]())
    assert not outcomes.declines_for_service(started, replace(declined, state=TripState.CANCELLED))
    assert not outcomes.declines_for_service(started, replace(declined, declined=None))


def test_a_create_that_may_have_been_refused_for_the_service_is_never_taken_up_by_it() -> None:
    """A second order could run beside it."""
    refused = outcomes.refused(SITUATIONS["creating"](), a_doubt(Refusal.NOT_PERMITTED, step="OpenOrder"), NOW)
    off = outcomes.service_answered(refused, enabled=False)

    assert outcomes.service_opened(off, NOW, PAYAFTER) is off
