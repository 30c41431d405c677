"""What a trip needs of an account of several, of an order to be confirmed, and of a fare after the end."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from payscore_worker.domain import fares, outcomes
from payscore_worker.domain.account import Account
from payscore_worker.domain.next_step import (
    SYNC_MARGIN,
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    Decline,
    LowerOrder,
    OpenOrder,
    PayOrder,
    Rest,
    SayOverdue,
    SendBack,
    Step,
    Stop,
    SyncOrder,
    is_to_be_lowered,
    next_step,
    pay_step,
    risk_amount_fen,
    sync_time,
)
from payscore_worker.domain.trip import (
    Asking,
    DeclineReason,
    Lowering,
    Opening,
    OrderPhase,
    Sync,
    Trip,
    note_ended,
    note_started,
)
from payscore_worker.errors import IllegalTransition, Refusal
from tests.builders import (
    CONFIRM_BY,
    CONFIRM_SITUATIONS,
    CONFIRMING,
    FARE_SITUATIONS,
    HOUR,
    MCHID,
    NOW,
    PAYAFTER,
    SERVICEORDER,
    SITUATIONS,
    a_doubt,
    a_lowered_fare,
    a_payment_elsewhere,
    a_start,
    a_trip,
    an_end,
    an_order,
    asked_to_confirm,
    some_terms,
)

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)


# --- Accounts ---

NORTH: Final = Account(
    name="north",
    mchid="1230000200",
    family="serviceorder",
    risk_amount_fen=30_000,
    need_user_confirm=True,
    introduction="北区打车",
    out_order_no_prefix="north-",
)
SOUTH: Final = replace(NORTH, name="south", mchid="1230000300", need_user_confirm=False)
SEVERAL: Final = replace(PAYAFTER, account="home", others=(SOUTH, NORTH))


def of_account(name: str) -> Trip:
    return note_started(a_trip(), a_start(account=name))


def opened_under(mchid: str, name: str = "") -> Trip:
    terms = some_terms(family="payafter", mchid=mchid)
    return outcomes.opening(of_account(name), Opening(risk_amount_fen=9_900, start_time=None, terms=terms))


def test_a_trip_without_an_order_is_the_accounts_that_its_start_names() -> None:
    assert SEVERAL.other(of_account("north")) is NORTH
    assert SEVERAL.account_of(of_account("north")) == "north"


@pytest.mark.parametrize("trip", [a_trip(), of_account(""), of_account("of last year")])
def test_a_trip_of_no_account_that_is_there_is_the_default_accounts(trip: Trip) -> None:
    assert SEVERAL.other(trip) is None
    assert SEVERAL.account_of(trip) == "home"
    assert SEVERAL.family_of(trip) == "payafter"
    assert risk_amount_fen(trip, SEVERAL) == 20_000
    assert not SEVERAL.is_confirmed(trip)
    assert replace(SEVERAL, need_user_confirm=True).is_confirmed(trip)


def test_an_order_is_the_accounts_whose_mchid_it_was_opened_under_whatever_the_start_names() -> None:
    assert SEVERAL.account_of(opened_under(NORTH.mchid, "south")) == "north"
    assert SEVERAL.account_of(opened_under(MCHID, "south")) == "home"


def test_an_order_whose_terms_were_not_kept_is_the_accounts_that_the_start_names() -> None:
    kept = opened_under(NORTH.mchid, "south")
    assert kept.opening is not None

    assert SEVERAL.account_of(replace(kept, opening=replace(kept.opening, terms=None))) == "south"


def test_an_account_decides_how_its_trips_are_opened() -> None:
    trip = of_account("north")

    assert SEVERAL.family_of(trip) == "serviceorder"
    assert SEVERAL.is_confirmed(trip)
    assert risk_amount_fen(trip, SEVERAL) == 30_000
    assert next_step(trip, NOW, SEVERAL) == OpenOrder()
    assert next_step(of_account("south"), NOW, SEVERAL) == AskServiceState()


def test_an_order_stays_in_the_family_and_with_the_risk_amount_that_it_was_opened_with() -> None:
    trip = opened_under(NORTH.mchid)

    assert SEVERAL.family_of(trip) == "payafter"
    assert risk_amount_fen(trip, SEVERAL) == 9_900


# --- Orders that the passenger confirms ---


def needed(situation: str, now: datetime = NOW) -> Step:
    return next_step(CONFIRM_SITUATIONS[situation](), now, CONFIRMING)


def test_whether_the_service_is_enabled_is_not_asked_where_the_passenger_confirms() -> None:
    assert next_step(SITUATIONS["started"](), NOW, CONFIRMING) == OpenOrder()


def test_a_create_that_is_not_permitted_is_about_us_where_the_passenger_confirms() -> None:
    doubt = a_doubt(Refusal.NOT_PERMITTED, step="OpenOrder")

    assert next_step(replace(CONFIRM_SITUATIONS["creating"](), doubt=doubt), NOW, CONFIRMING) == AskOrder()


def test_an_order_whose_page_was_lost_is_created_once_more_with_the_same_bytes() -> None:
    assert needed("accepted, no page") == OpenOrder()


def test_nobody_is_asked_to_confirm_an_order_that_cannot_take_the_fare() -> None:
    above = note_ended(CONFIRM_SITUATIONS["accepted, no page"](), an_end(total_fen=20_001))

    assert next_step(above, NOW, CONFIRMING) == CancelOrder()
    assert needed("asked, ended above the limit") == CancelOrder()


def test_whether_the_passenger_has_confirmed_is_asked_at_the_poll_delays_and_at_the_last_moment() -> None:
    rules = replace(CONFIRMING, poll_delays=(5 * MINUTE, 20 * MINUTE))
    trip, now, asked = asked_to_confirm(), NOW, []
    while isinstance(step := next_step(trip, now, rules), Rest):
        assert step.until is not None
        assert next_step(trip, step.until - SECOND, rules) == step
        now = step.until
        assert next_step(trip, now, rules) == AskOrder()
        trip = outcomes.asked(trip, an_order(OrderPhase.CREATED), now)
        asked.append(now - NOW)

    assert asked == [5 * MINUTE, 25 * MINUTE, 45 * MINUTE, 55 * MINUTE]
    assert step == Decline(DeclineReason.NOT_CONFIRMED, "the passenger has not confirmed the order")


def test_a_passenger_has_until_the_last_moment() -> None:
    asked = replace(asked_to_confirm(), asked_at=CONFIRM_BY - SECOND, polls=1)

    assert next_step(asked, CONFIRM_BY, CONFIRMING) == AskOrder()
    assert isinstance(next_step(replace(asked, asked_at=CONFIRM_BY), CONFIRM_BY, CONFIRMING), Decline)
    assert isinstance(next_step(replace(asked, asked_at=CONFIRM_BY + SECOND), CONFIRM_BY, CONFIRMING), Decline)


@pytest.mark.parametrize(
    ("situation", "step"),
    [
        ("not confirmed", CancelOrder()),
        ("asked, cancelled", CancelOrder()),
        ("asked, paid elsewhere", CancelOrder()),
        ("confirmed", Rest(NOW + PAYAFTER.stale_after)),
    ],
)
def test_what_a_passenger_was_asked_to_confirm_goes_the_way_of_any_order_once_that_is_decided(
    situation: str, step: Step
) -> None:
    assert needed(situation) == step


# --- Paid elsewhere ---


@pytest.mark.parametrize(
    ("situation", "step"),
    [
        ("creating, paid elsewhere", AskOrder()),
        ("open, paid elsewhere", CancelOrder()),
        ("completing, paid elsewhere", CompleteOrder()),
    ],
)
def test_no_more_is_asked_for_what_was_paid_elsewhere_than_may_stand_at_wechat(situation: str, step: Step) -> None:
    assert next_step(FARE_SITUATIONS[situation](), NOW, PAYAFTER) == step


def test_wechat_is_told_of_a_payment_elsewhere_a_margin_after_its_time_and_that_a_margin_after_the_complete() -> None:
    trip = FARE_SITUATIONS["to be synced"]()
    paid_time, sync_at = NOW + SYNC_MARGIN, NOW + 2 * SYNC_MARGIN

    assert sync_time(trip) == paid_time
    assert next_step(trip, sync_at - SECOND, SERVICEORDER) == Rest(sync_at)
    assert next_step(trip, sync_at, SERVICEORDER) == SyncOrder()


def test_a_payment_after_the_complete_is_told_with_its_own_time() -> None:
    paid_at = NOW + MINUTE
    trip = fares.note_paid_elsewhere(SITUATIONS["completed"](), a_payment_elsewhere(paid_at=paid_at), NOW)

    assert sync_time(trip) == paid_at
    assert next_step(trip, paid_at + SYNC_MARGIN, SERVICEORDER) == SyncOrder()


def test_what_wechat_was_told_is_told_again_with_the_same_time_until_it_has_taken_it() -> None:
    told = replace(FARE_SITUATIONS["to be synced"](), sync=Sync(paid_time=NOW + HOUR))
    taken = replace(FARE_SITUATIONS["to be synced"](), sync=Sync(paid_time=NOW, accepted=True))

    assert sync_time(told) == NOW + HOUR
    assert next_step(told, NOW + HOUR + SYNC_MARGIN, SERVICEORDER) == SyncOrder()
    assert next_step(taken, NOW + SECOND, SERVICEORDER) == Rest(NOW + 5 * SECOND)
    assert next_step(taken, NOW + 5 * SECOND, SERVICEORDER) == AskOrder()


@pytest.mark.parametrize("changes", [{"completed_at": None}, {"paid_elsewhere": None}])
def test_there_is_no_time_to_tell_of_no_payment_elsewhere(changes: dict[str, Any]) -> None:
    with pytest.raises(IllegalTransition, match=r"^there is no payment elsewhere to tell WeChat Pay of$"):
        sync_time(replace(FARE_SITUATIONS["to be synced, sent"](), **changes))


# --- Lowered, or waived ---


def test_a_fare_is_lowered_where_its_family_can_and_collected_as_it_is_where_it_cannot() -> None:
    trip = FARE_SITUATIONS["lowered"]()

    assert next_step(trip, NOW, SERVICEORDER) == LowerOrder()
    assert next_step(trip, NOW, PAYAFTER) == Rest(NOW + 5 * SECOND)


@pytest.mark.parametrize(
    ("situation", "is_to_be"),
    [
        ("lowered", True),
        ("lowered, sent", True),
        ("lowered, taken", False),
        ("lowered, taken, and lowered again", True),
        ("lowered, refused", False),
        ("synced", False),
    ],
)
def test_a_fare_is_to_be_lowered_until_wechat_has_taken_or_refused_it(situation: str, *, is_to_be: bool) -> None:
    assert is_to_be_lowered(FARE_SITUATIONS[situation]()) is is_to_be


def test_a_fare_that_was_not_lowered_is_not_to_be_lowered() -> None:
    completed = SITUATIONS["completed"]()

    assert not is_to_be_lowered(replace(completed, lowering=Lowering(asked_fen=9_999)))
    assert not is_to_be_lowered(replace(completed, lowered=(a_lowered_fare(),)))


def test_a_waived_fare_is_cancelled_or_lowered_to_nothing_or_left_to_a_person() -> None:
    lowers = SITUATIONS["waived, not to be cancelled"]()

    assert next_step(SITUATIONS["waived"](), NOW, PAYAFTER) == CancelOrder()
    assert next_step(lowers, NOW, SERVICEORDER) == LowerOrder()
    assert next_step(lowers, NOW, PAYAFTER) == Stop(
        "waive_refused",
        "WeChat Pay cancels nothing that it collects, and a fare of this family cannot be lowered",
        step="LowerOrder",
    )


def test_a_fare_that_was_waived_and_lowered_to_nothing_is_waited_for() -> None:
    trip = SITUATIONS["waived, lowered to nothing"]()

    assert next_step(trip, NOW, SERVICEORDER) == Rest(NOW + 5 * SECOND)


# --- Asked to collect ---

SLOWLY: Final = replace(SERVICEORDER, poll_delays=(timedelta(days=2),))
"""Nobody asks in these tests where the order stands."""

AT_AGES: Final = replace(SLOWLY, pay_after=(timedelta(hours=20), timedelta(days=1)))


def test_wechat_is_asked_to_collect_at_each_age_that_the_settings_name() -> None:
    trip = SITUATIONS["completed"]()
    first, second = (NOW + age for age in AT_AGES.pay_after)

    assert next_step(trip, first - SECOND, AT_AGES) == Rest(first)
    assert next_step(trip, first, AT_AGES) == PayOrder()
    once = replace(trip, asking=Asking(step=1))
    assert next_step(once, first, AT_AGES) == Rest(second)
    assert next_step(once, second, AT_AGES) == PayOrder()
    twice = replace(trip, asking=Asking(step=2))
    assert next_step(twice, second, AT_AGES) == Rest(NOW + 2 * timedelta(days=1))


def test_ages_to_collect_that_passed_while_nobody_looked_are_one_question() -> None:
    trip = SITUATIONS["completed"]()

    assert [pay_step(trip, NOW + age, AT_AGES) for age in (19 * HOUR, 20 * HOUR, 23 * HOUR, 24 * HOUR)] == [0, 1, 1, 2]
    assert pay_step(replace(trip, completed_at=None), NOW + 24 * HOUR, AT_AGES) == 0


def test_wechat_is_asked_to_collect_when_a_person_has_decided_it() -> None:
    trip = FARE_SITUATIONS["asked for"]()

    assert next_step(trip, NOW, SLOWLY) == PayOrder()
    assert next_step(replace(trip, asking=Asking(step=1, due=True)), NOW, SLOWLY) == PayOrder()
    assert next_step(replace(trip, asking=Asking()), NOW, SLOWLY) == Rest(NOW + timedelta(days=2))


def test_wechat_is_never_asked_to_collect_in_a_family_in_which_it_cannot_be() -> None:
    rules = replace(AT_AGES, family="payafter")
    late = NOW + timedelta(hours=20)

    assert pay_step(SITUATIONS["completed"](), late, rules) == 0
    assert next_step(SITUATIONS["completed"](), late - SECOND, rules) == Rest(NOW + timedelta(days=2))
    assert next_step(FARE_SITUATIONS["asked for"](), NOW, rules) == Rest(NOW + timedelta(days=2))


def test_money_that_is_out_for_too_long_is_asked_for_first_and_then_said_to_be_out() -> None:
    rules = replace(SLOWLY, pay_after=(HOUR,), overdue_after=(HOUR,))
    trip = SITUATIONS["completed"]()

    assert next_step(trip, NOW + HOUR, rules) == PayOrder()
    assert next_step(replace(trip, asking=Asking(step=1)), NOW + HOUR, rules) == SayOverdue(1)


# --- The money is in ---


def test_what_was_paid_above_the_fare_is_sent_back_and_then_the_trip_is_over() -> None:
    assert next_step(FARE_SITUATIONS["paid above the fare"](), NOW, PAYAFTER) == SendBack()
    assert next_step(FARE_SITUATIONS["paid above the fare, sent back"](), NOW, PAYAFTER) == Rest()


def test_what_came_in_twice_is_sent_back_only_where_the_settings_say_so() -> None:
    twice = FARE_SITUATIONS["paid twice"]()

    assert next_step(twice, NOW, replace(PAYAFTER, refunds_paid_twice=True)) == SendBack()
    assert next_step(twice, NOW, PAYAFTER) == Stop(
        "paid_twice", "the passenger has paid elsewhere, and WeChat Pay has collected", step="SendBack"
    )


def test_a_trip_that_was_paid_elsewhere_cancels_the_order_that_runs_all_the_same() -> None:
    assert next_step(FARE_SITUATIONS["paid elsewhere, order runs"](), NOW, PAYAFTER) == CancelOrder()
