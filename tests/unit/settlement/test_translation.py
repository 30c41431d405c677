"""The words of one side in those of the next: every member arrives, and under its own name."""

from dataclasses import fields, replace
from typing import Any

import pytest

from payscore_worker.domain import authorisation as authorisations
from payscore_worker.domain import outcomes
from payscore_worker.domain.authorisation import EndService, GiveParameters, Requested
from payscore_worker.domain.next_step import (
    AskOrder,
    OpenOrder,
)
from payscore_worker.domain.refund import AskRefund, RefundPhase, RefundRequested, RefundSeen, Refused, SendRefund
from payscore_worker.domain.trip import (
    Cancelled,
    Debit,
    DeclineReason,
    Discount,
    Doubt,
    Ended,
    Fee,
    Lowered,
    Opening,
    OrderPhase,
    OrderSeen,
    PaidElsewhere,
    Started,
    Trip,
    note_ended,
    note_started,
)
from payscore_worker.errors import Refusal, WechatPayRejected
from payscore_worker.events import AuthorisationRequested as AuthorisationRequestedEvent
from payscore_worker.events import DiscountItem as TripDiscount
from payscore_worker.events import FeeItem as TripFee
from payscore_worker.events import RefundRequested as RefundRequestedEvent
from payscore_worker.events import TripCancelled, TripEnded, TripFareLowered, TripPaidElsewhere, TripStarted
from payscore_worker.settlement import translation
from payscore_worker.wechatpay.payscore import (
    Completion,
    Debited,
    DiscountItem,
    FeeItem,
    Modification,
    NewOrder,
    Order,
    Phase,
)
from payscore_worker.wechatpay.transactions import NewRefund, RefundStatus, RefundTold
from tests.builders import FARE_SITUATIONS, HOUR, NOW, SITUATIONS, a_refund, a_trip, some_terms

STARTED = Started(
    openid="oPassenger",
    started_at=NOW - HOUR,
    start_location="静安寺",
    end_location="虹桥火车站",
    estimated_fare_fen=3_000,
    risk_amount_fen=12_300,
    introduction="专车出行",
    attach="city=021",
    account="north",
    appid="wx2",
)
ENDED = Ended(
    ended_at=NOW,
    fees=(
        Fee(name="里程费", amount_fen=3_000, description="十公里", count=2),
        Fee(name="过路费", amount_fen=500, description="延安高架"),
    ),
    discounts=(
        Discount(name="优惠券", amount_fen=200, description="新人"),
        Discount(name="会员", amount_fen=100, description="金卡"),
    ),
    total_fen=3_200,
    start_location="静安寺南门",
    end_location="虹桥机场",
)
LOWERED = Lowered(
    lowered_at=NOW,
    fees=(Fee(name="里程费", amount_fen=2_200, description="八公里", count=2),),
    discounts=(Discount(name="优惠券", amount_fen=200, description="新人"),),
    total_fen=2_000,
    reason="绕路退费",
)
OPENING = Opening(risk_amount_fen=9_900, start_time=NOW - HOUR / 2)


def the_trip(**changes: Any) -> Trip:
    trip = replace(a_trip(), out_order_no="n1", finish_ticket="ticket")
    return replace(note_ended(note_started(trip, STARTED), ENDED), **changes)


# --- Facts ---


def test_a_start_is_taken_as_it_was_told() -> None:
    event = TripStarted(trip_id="t1", **{field.name: getattr(STARTED, field.name) for field in fields(STARTED)})

    assert translation.started_of(event) == STARTED


def test_a_start_that_names_no_account_and_no_app_is_the_default_ones() -> None:
    started = translation.started_of(TripStarted(trip_id="t1", openid="oPassenger", started_at=NOW))

    assert (started.account, started.appid) == ("", "")


def test_account_and_app_of_a_trip_are_those_of_its_start() -> None:
    assert translation.whose(the_trip()) == ("north", "wx2")
    assert translation.whose(a_trip()) == ("", "")


def test_a_lower_fare_is_taken_as_it_was_told() -> None:
    event = TripFareLowered(
        trip_id="t1",
        lowered_at=NOW,
        fees=(TripFee(name="里程费", amount_fen=2_200, description="八公里", count=2),),
        discounts=(TripDiscount(name="优惠券", amount_fen=200, description="新人"),),
        total_fen=2_000,
        reason="绕路退费",
    )

    assert translation.lowered_of(event) == LOWERED


def test_a_payment_elsewhere_is_taken_as_it_was_told() -> None:
    event = TripPaidElsewhere(trip_id="t1", paid_at=NOW, amount_fen=3_200, channel="cash")

    assert translation.paid_elsewhere_of(event) == PaidElsewhere(paid_at=NOW, amount_fen=3_200, channel="cash")


def test_an_end_is_taken_as_it_was_told() -> None:
    event = TripEnded(
        trip_id="t1",
        ended_at=NOW,
        fees=(
            TripFee(name="里程费", amount_fen=3_000, description="十公里", count=2),
            TripFee(name="过路费", amount_fen=500, description="延安高架"),
        ),
        discounts=(
            TripDiscount(name="优惠券", amount_fen=200, description="新人"),
            TripDiscount(name="会员", amount_fen=100, description="金卡"),
        ),
        total_fen=3_200,
        start_location="静安寺南门",
        end_location="虹桥机场",
    )

    assert translation.ended_of(event) == ENDED


def test_a_cancellation_is_taken_as_it_was_told() -> None:
    event = TripCancelled(trip_id="t1", cancelled_at=NOW, reason="乘客取消")

    assert translation.cancelled_of(event) == Cancelled(cancelled_at=NOW, reason="乘客取消")


# --- Orders ---


def test_an_order_is_asked_for_with_the_trips_words_and_the_amount_and_time_that_were_settled_on() -> None:
    assert translation.new_order(the_trip(), STARTED, OPENING, introduction="网约车出行") == NewOrder(
        out_order_no="n1",
        openid="oPassenger",
        introduction="专车出行",
        risk_amount_fen=9_900,
        start_time=NOW - HOUR / 2,
        start_location="静安寺",
        end_location="虹桥火车站",
        attach="city=021",
    )


@pytest.mark.parametrize("needs", [True, False])
def test_an_order_is_confirmed_by_the_passenger_where_its_terms_say_so(needs: bool) -> None:  # noqa: FBT001 - either
    opening = replace(OPENING, terms=some_terms(need_user_confirm=needs))

    for write in (translation.new_order, translation.plain_order):
        order = write(the_trip(), STARTED, opening, introduction="网约车出行")
        assert order.need_user_confirm is needs


def test_a_trip_that_introduces_itself_with_nothing_is_introduced_by_the_setting() -> None:
    started = replace(STARTED, introduction="")

    order = translation.new_order(the_trip(), started, OPENING, introduction="网约车出行")

    assert order.introduction == "网约车出行"


def test_an_order_whose_words_were_refused_is_asked_for_without_a_word_of_the_trips() -> None:
    assert translation.plain_order(the_trip(), STARTED, OPENING, introduction="网约车出行") == NewOrder(
        out_order_no="n1",
        openid="oPassenger",
        introduction="网约车出行",
        risk_amount_fen=9_900,
        start_time=NOW - HOUR / 2,
    )


def test_a_fare_is_told_with_all_its_items_and_the_places_as_they_were_given_before() -> None:
    assert translation.completion(the_trip(), STARTED, ENDED, end_time=NOW + HOUR) == Completion(
        out_order_no="n1",
        fees=(
            FeeItem(name="里程费", amount_fen=3_000, description="十公里", count=2),
            FeeItem(name="过路费", amount_fen=500, description="延安高架"),
        ),
        discounts=(
            DiscountItem(name="优惠券", amount_fen=200, description="新人"),
            DiscountItem(name="会员", amount_fen=100, description="金卡"),
        ),
        total_fen=3_200,
        end_time=NOW + HOUR,
        start_location="静安寺",
        end_location="虹桥机场",
        planned_end_location="虹桥火车站",
        finish_ticket="ticket",
    )


@pytest.mark.parametrize(
    ("opening", "places"),
    [
        (None, ("静安寺", "虹桥火车站")),
        (OPENING, ("静安寺", "虹桥火车站")),
        (replace(OPENING, is_plain=True), ("", "")),
    ],
)
def test_an_order_that_was_opened_without_places_is_completed_without_them(
    opening: Opening | None, places: tuple[str, str]
) -> None:
    told = translation.completion(the_trip(opening=opening), STARTED, ENDED, end_time=NOW)

    assert (told.start_location, told.planned_end_location) == places
    assert told.end_location == "虹桥机场"


def test_a_fare_whose_words_were_refused_is_told_in_one_item_that_comes_to_the_same() -> None:
    plain = translation.plain_completion(the_trip(), ENDED, end_time=NOW + HOUR)

    assert plain == Completion(
        out_order_no="n1",
        fees=(FeeItem(name="行程费用", amount_fen=3_500),),
        discounts=(DiscountItem(name="优惠", amount_fen=300),),
        total_fen=3_200,
        end_time=NOW + HOUR,
        finish_ticket="ticket",
    )


@pytest.mark.parametrize("discounts", [(), (Discount(name="优惠券", amount_fen=0),)])
def test_a_fare_without_a_deduction_tells_of_none(discounts: tuple[Discount, ...]) -> None:
    ended = replace(ENDED, discounts=discounts, total_fen=3_500)

    assert translation.plain_completion(the_trip(), ended, end_time=NOW).discounts == ()


def test_a_deduction_of_one_fen_is_told_too() -> None:
    ended = replace(ENDED, discounts=(Discount(name="优惠券", amount_fen=1),), total_fen=3_499)

    plain = translation.plain_completion(the_trip(), ended, end_time=NOW)

    assert plain.discounts == (DiscountItem(name="优惠", amount_fen=1),)


def test_a_trip_without_a_ticket_completes_without_one() -> None:
    trip = the_trip(finish_ticket="")

    assert translation.completion(trip, STARTED, ENDED, end_time=NOW).finish_ticket is None
    assert translation.plain_completion(trip, ENDED, end_time=NOW).finish_ticket is None


# --- Why an order is cancelled: the passenger sees it ---


@pytest.mark.parametrize(
    ("trip", "reason"),
    [
        (SITUATIONS["cancelling"](), "乘客取消"),
        (SITUATIONS["open, ended above the limit"](), "车费超出可用额度，请用其他方式支付"),
        (SITUATIONS["declining"](), "车费超出可用额度，请用其他方式支付"),
        (
            outcomes.declined(SITUATIONS["open"](), DeclineReason.RISK_REFUSED, "综合评估未通过", now=NOW),
            "本次行程请用其他方式支付",
        ),
        (SITUATIONS["declined, order runs"](), "本次行程请用其他方式支付"),
        (SITUATIONS["waived"](), "客诉"),
        (FARE_SITUATIONS["open, paid elsewhere"](), "本次行程已用其他方式支付"),
    ],
)
def test_the_passenger_is_told_why_the_order_is_cancelled(trip: Trip, reason: str) -> None:
    assert translation.cancel_reason(trip) == reason


@pytest.mark.parametrize("situation", ["cancelling", "declining", "waived"])
def test_a_reason_that_was_refused_is_not_said_again(situation: str) -> None:
    assert translation.cancel_reason(replace(SITUATIONS[situation](), rebuilds=1)) == "行程取消"


def test_a_fare_is_lowered_to_the_items_and_for_the_reason_of_the_least_that_was_told() -> None:
    more = replace(LOWERED, total_fen=2_500, reason="其他")

    assert translation.modification(the_trip(lowered=(more, LOWERED))) == Modification(
        out_order_no="n1",
        fees=(FeeItem(name="里程费", amount_fen=2_200, description="八公里", count=2),),
        discounts=(DiscountItem(name="优惠券", amount_fen=200, description="新人"),),
        total_fen=2_000,
        reason="绕路退费",
    )


def test_a_fare_that_was_waived_is_lowered_to_one_item_of_nothing() -> None:
    trip = replace(SITUATIONS["waived, not to be cancelled"](), out_order_no="n1")
    assert trip.waived is not None

    assert translation.modification(trip) == Modification(
        out_order_no="n1", fees=(FeeItem(name="行程费用", amount_fen=0),), total_fen=0, reason="客诉"
    )


# --- What WeChat Pay shows, and refuses ---


def an_order_shown(**changes: Any) -> Order:
    order = Order(
        mchid="1230000109",
        appid="wx1",
        service_id="500001",
        out_order_no="n1",
        order_id="1000",
        phase=Phase.DONE,
        total_fen=3_200,
        paid_fen=3_100,
        debits=(
            Debited(transaction_id="4200001", amount_fen=3_000),
            Debited(transaction_id="4200002", amount_fen=None),
        ),
        paid_at=NOW,
        started_at=NOW - HOUR,
        finish_ticket="ticket",
        package="",
        paid_through="NEWTON",
    )
    return replace(order, **changes)


def test_what_is_shown_of_an_order_is_taken_as_it_is() -> None:
    assert translation.seen(an_order_shown()) == OrderSeen(
        phase=OrderPhase.DONE,
        order_id="1000",
        total_fen=3_200,
        paid_fen=3_100,
        paid_at=NOW,
        debits=(Debit(transaction_id="4200001", amount_fen=3_000), Debit(transaction_id="4200002")),
        started_at=NOW - HOUR,
        finish_ticket="ticket",
    )
    assert translation.seen(an_order_shown(finish_ticket=None)).finish_ticket == ""


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_of_an_order_has_the_same_name_for_a_trip(phase: Phase) -> None:
    assert translation.seen(an_order_shown(phase=phase)).phase.value == phase.value


@pytest.mark.parametrize("uncertain", [True, False])
def test_a_refusal_is_taken_with_the_step_that_met_it(*, uncertain: bool) -> None:
    error = WechatPayRejected("参数错误", refusal=Refusal.BAD_TIME, status=400, code="PARAM_ERROR", request_id="r1")

    assert translation.doubt(OpenOrder, error, uncertain=uncertain) == Doubt(
        step="OpenOrder",
        refusal=Refusal.BAD_TIME,
        code="PARAM_ERROR",
        message="参数错误",
        request_id="r1",
        uncertain=uncertain,
    )


def test_the_refusal_of_a_question_leaves_no_send_in_doubt() -> None:
    error = WechatPayRejected("参数错误", refusal=Refusal.UNCLEAR, status=400, code="PARAM_ERROR")

    assert not translation.doubt(AskOrder, error).uncertain


@pytest.mark.parametrize("request_id", ["r1", ""])
def test_an_answer_that_cannot_be_is_a_doubt_that_settles_nothing(request_id: str) -> None:
    told = {"request_id": request_id} if request_id else {}

    assert translation.odd_answer(AskOrder, "not_ours", "another order", **told) == Doubt(
        step="AskOrder",
        refusal=Refusal.UNCLEAR,
        code="not_ours",
        message="another order",
        request_id=request_id,
        uncertain=True,
    )


# --- Refunds ---


def test_a_refund_is_asked_for_as_the_ride_service_says() -> None:
    event = RefundRequestedEvent(trip_id="t1", refund_id="r1", amount_fen=1_000, reason="绕路")

    assert translation.refund_requested(event) == RefundRequested(
        trip_id="t1", refund_id="r1", amount_fen=1_000, reason="绕路"
    )


def test_a_refund_is_asked_of_wechat_for_its_debit_and_under_its_own_number() -> None:
    refund = a_refund(out_refund_no="n-r1", total_fen=3_100, transaction_id="4200002")

    assert translation.new_refund(refund) == NewRefund(
        out_refund_no="n-r1", transaction_id="4200002", amount_fen=1_000, total_fen=3_100, reason="绕路"
    )


def a_refund_told(**changes: Any) -> RefundTold:
    told = RefundTold(
        mchid="1230000109",
        out_refund_no="n-r1",
        refund_id="503",
        transaction_id="4200001",
        status=RefundStatus.SUCCESS,
        amount_fen=1_000,
        total_fen=3_200,
        payer_refund_fen=900,
        succeeded_at=NOW - HOUR,
    )
    return replace(told, **changes)


def test_what_is_shown_of_a_refund_is_taken_as_it_is() -> None:
    assert translation.refund_seen(a_refund_told()) == RefundSeen(
        phase=RefundPhase.SUCCESS,
        wechatpay_refund_id="503",
        transaction_id="4200001",
        amount_fen=1_000,
        total_fen=3_200,
        payer_refund_fen=900,
        refunded_at=NOW - HOUR,
    )


@pytest.mark.parametrize("status", RefundStatus)
def test_every_status_of_a_refund_has_the_same_name_for_us(status: RefundStatus) -> None:
    assert translation.refund_seen(a_refund_told(status=status)).phase.value == status.value


@pytest.mark.parametrize("step", [SendRefund, AskRefund])
def test_a_refused_refund_is_taken_with_the_step_that_met_it(step: type) -> None:
    error = WechatPayRejected("余额不足", refusal=Refusal.NOT_ENOUGH, status=403, code="NOT_ENOUGH", request_id="r1")

    assert translation.refund_refused(step, error) == Refused(
        step=step.__name__, refusal=Refusal.NOT_ENOUGH, code="NOT_ENOUGH", message="余额不足", request_id="r1"
    )


def test_an_answer_about_a_refund_that_cannot_be_is_no_word() -> None:
    assert translation.odd_refund(AskRefund, "not_ours", "another refund") == Refused(
        step="AskRefund", refusal=Refusal.UNCLEAR, code="not_ours", message="another refund", request_id=""
    )


# --- Authorisations ---


def test_an_authorisation_is_requested_as_the_ride_service_says() -> None:
    event = AuthorisationRequestedEvent(request_id="q1", openid="oPassenger", client="h5")

    assert translation.authorisation_requested(event) == Requested(request_id="q1", openid="oPassenger", client="h5")


@pytest.mark.parametrize("step", [GiveParameters, EndService])
def test_a_refused_authorisation_is_taken_with_the_step_that_met_it(step: type) -> None:
    error = WechatPayRejected("无权限", refusal=Refusal.NOT_PERMITTED, status=403, code="NO_AUTH", request_id="08F1")

    assert translation.authorisation_refused(step, error) == authorisations.Refused(
        step=step.__name__, refusal=Refusal.NOT_PERMITTED, code="NO_AUTH", message="无权限", request_id="08F1"
    )


def test_an_answer_about_an_authorisation_that_cannot_be_is_no_word() -> None:
    assert translation.odd_authorisation(EndService, "state: missing") == authorisations.Refused(
        step="EndService",
        refusal=Refusal.UNCLEAR,
        code="malformed_answer",
        message="state: missing",
        request_id="",
    )
