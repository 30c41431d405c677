"""Money goes back: what is accepted, how it ends, and how the merchant hears of it (reference payscore-api G)."""

import dataclasses
import hashlib
import json
from datetime import datetime
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from payscore_worker.simulator import (
    Behaviour,
    Fault,
    FaultKind,
    Passenger,
    RefundEntry,
    RefundOutcome,
    RefundStatus,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
)
from payscore_worker.simulator.refunds.book import MAX_NUMBERS, MAX_REFUNDS

from .bodies import ABSENT, FAMILIES, NOTIFY_URL, Json, a_complete, a_create, a_refund
from .clock import Clock
from .merchant import REFUNDS, Merchant, check_signature
from .receiver import Receiver
from .refusals import field_of, refusal_of

DAY = 86_400
NO_SUCH_TRANSACTION = (404, "RESOURCE_NOT_EXISTS", "订单不存在", 0)
TOO_SOON = (429, "FREQUENCY_LIMITED", "该笔退款未受理，请降低频率后重试", 268435472)
OVER = (400, "INVALID_REQUEST", "退款金额大于可退金额", 0)


async def ride(
    merchant: Merchant, simulator: Simulator, clock: Clock, out_order_no: str = "trip-1", family: str = "serviceorder"
) -> str:
    """One order of 3200 fen, paid; the transaction_id of its debit."""
    openid = f"passenger-of-{out_order_no}"
    response = await merchant.create(family, a_create(family, out_order_no, openid=openid))
    assert response.status_code == 200, response.text
    clock.advance(600)
    response = await merchant.complete(family, out_order_no, a_complete(family, clock.text()))
    assert response.status_code == 200, response.text
    simulator.pay(out_order_no)
    return transaction_of(simulator, out_order_no)


def transaction_of(simulator: Simulator, out_order_no: str = "trip-1") -> str:
    return simulator.ledger_entry(out_order_no).charges[-1].transaction_id


@pytest.fixture
async def transaction_id(merchant: Merchant, simulator: Simulator, clock: Clock) -> str:
    return await ride(merchant, simulator, clock)


async def accepted(merchant: Merchant, body: Json) -> Json:
    response = await merchant.refund(body)
    assert response.status_code == 200, response.text
    entity: Json = response.json()
    return entity


async def ended(merchant: Merchant, simulator: Simulator, out_refund_no: str = "refund-1") -> Json:
    """The refund when its time has come."""
    simulator.advance(2)
    await simulator.run_once()
    entity: Json = (await merchant.query_refund(out_refund_no)).json()
    return entity


async def heard(simulator: Simulator, receiver: Receiver) -> list[str]:
    """The events of refunds that have arrived."""
    await simulator.run_once()
    events = [arrival.envelope["event_type"] for arrival in receiver.arrivals]
    return [event for event in events if event.startswith("REFUND.")]


# A refund is accepted


async def test_a_refund_is_accepted_and_under_way(
    merchant: Merchant, clock: Clock, keys: SimulatorKeys, transaction_id: str
) -> None:
    response = await merchant.refund(a_refund(transaction_id))
    key = x509.load_pem_x509_certificate(keys.platform.certificate_pem.encode()).public_key()
    assert isinstance(key, RSAPublicKey)
    check_signature(key, response.headers, response.content)
    entity = response.json()
    assert datetime.fromisoformat(entity["create_time"]) == clock.now.replace(microsecond=0)
    assert entity["create_time"].endswith("+08:00")
    assert entity.pop("create_time")
    assert 0 < len(entity.pop("refund_id")) <= 32
    assert 0 < len(entity.pop("out_trade_no")) <= 32
    assert entity == {
        "out_refund_no": "refund-1",
        "transaction_id": transaction_id,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "status": "PROCESSING",
        "funds_account": "AVAILABLE",
        "amount": {
            "total": 3200,
            "refund": 1000,
            "payer_total": 3200,
            "payer_refund": 1000,
            "settlement_refund": 1000,
            "settlement_total": 3200,
            "discount_refund": 0,
            "currency": "CNY",
        },
        "promotion_detail": [],
    }


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_refund_serves_both_families(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    transaction_id = await ride(merchant, simulator, clock, family=family)
    assert (await accepted(merchant, a_refund(transaction_id)))["transaction_id"] == transaction_id


async def test_a_query_shows_the_refund_as_the_create_did(merchant: Merchant, transaction_id: str) -> None:
    entity = await accepted(merchant, a_refund(transaction_id))
    assert (await merchant.query_refund("refund-1")).json() == entity


async def test_an_unknown_refund_does_not_exist(merchant: Merchant, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id))
    assert refusal_of(await merchant.query_refund("refund-2"))[:2] == (404, "RESOURCE_NOT_EXISTS")


async def test_every_refund_has_an_id_of_its_own(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    refund_ids = set()
    for number in range(3):
        transaction_id = await ride(merchant, simulator, clock, f"trip-{number}")
        refund_ids.add((await accepted(merchant, a_refund(transaction_id, out_refund_no=f"r-{number}")))["refund_id"])
    assert len(refund_ids) == 3


# Of which payment


async def test_an_order_number_is_no_number_of_a_payment(merchant: Merchant, transaction_id: str) -> None:
    by_order = a_refund(transaction_id, transaction_id=ABSENT, out_trade_no="trip-1")
    assert refusal_of(await merchant.refund(by_order)) == NO_SUCH_TRANSACTION


async def test_the_number_that_wechat_pay_made_up_will_do(
    merchant: Merchant, clock: Clock, transaction_id: str
) -> None:
    entity = await accepted(merchant, a_refund(transaction_id))
    clock.advance(60)
    second = a_refund("", transaction_id=ABSENT, out_trade_no=entity["out_trade_no"], out_refund_no="refund-2")
    assert (await accepted(merchant, second))["transaction_id"] == transaction_id


@pytest.mark.parametrize("transaction_id", ["4200000000202603010000000000000000", "trip-1"])
async def test_a_payment_that_never_was_is_not_refunded(
    merchant: Merchant, simulator: Simulator, clock: Clock, transaction_id: str
) -> None:
    await ride(merchant, simulator, clock)
    assert refusal_of(await merchant.refund(a_refund(transaction_id[:32]))) == NO_SUCH_TRANSACTION


async def test_what_another_channel_collected_cannot_be_refunded(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    simulator.sync("trip-1")
    assert simulator.ledger_entry("trip-1").charges == []
    for number in ({"transaction_id": "trip-1"}, {"transaction_id": ABSENT, "out_trade_no": "trip-1"}):
        assert refusal_of(await merchant.refund(a_refund("", **number))) == NO_SUCH_TRANSACTION


async def test_each_debit_of_an_order_is_refunded_by_itself(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.set_order("trip-1", Passenger(Behaviour.PAYS_IN_TWO))
    await ride(merchant, simulator, clock)
    simulator.pay("trip-1")
    charges = simulator.ledger_entry("trip-1").charges
    assert [charge.amount_fen for charge in charges] == [1600, 1600]
    for number, charge in enumerate(charges):
        body = a_refund(charge.transaction_id, 1600, total=1600, out_refund_no=f"refund-{number}")
        await accepted(merchant, body)
        await ended(merchant, simulator, f"refund-{number}")
    assert simulator.ledger_entry("trip-1").refunded_fen == 3200


# The members of the request

OPTIONAL: list[Json] = [
    {"reason": "司机绕路"},
    {"reason": "因" * 26 + "ab"},
    {"notify_url": "https://merchant.example/notify/refund"},
    {"notify_url": "https://m.example/" + "n" * 238},
    {"funds_account": "AVAILABLE"},
    {"amount__from": [{"account": "AVAILABLE", "amount": 400}, {"account": "UNAVAILABLE", "amount": 600}]},
    {"goods_detail": [{"merchant_goods_id": "g", "unit_price": 1, "refund_amount": 1, "refund_quantity": 1}]},
    {"out_refund_no": "a|b*c@d_e-F9"},
    {"out_refund_no": "r" * 64},
    {"unknown": "ignored"},
]


@pytest.mark.parametrize("changes", OPTIONAL)
async def test_a_right_member_is_accepted(merchant: Merchant, transaction_id: str, changes: Json) -> None:
    await accepted(merchant, a_refund(transaction_id, **changes))


async def test_an_answer_repeats_where_the_money_is_taken_from(merchant: Merchant, transaction_id: str) -> None:
    parts = [{"account": "AVAILABLE", "amount": 1000}]
    assert (await accepted(merchant, a_refund(transaction_id, amount__from=parts)))["amount"]["from"] == parts


GOODS: Json = {"merchant_goods_id": "g", "unit_price": 1, "refund_amount": 1, "refund_quantity": 1}
WRONG: list[tuple[Json, str]] = [
    ({"transaction_id": ABSENT}, "/transaction_id"),
    ({"out_trade_no": "PS1"}, "/transaction_id"),
    ({"transaction_id": ""}, "/transaction_id"),
    ({"transaction_id": "4" * 33}, "/transaction_id"),
    ({"transaction_id": ABSENT, "out_trade_no": "t" * 33}, "/out_trade_no"),
    ({"out_refund_no": ABSENT}, "/out_refund_no"),
    ({"out_refund_no": ""}, "/out_refund_no"),
    ({"out_refund_no": "r" * 65}, "/out_refund_no"),
    ({"out_refund_no": "refund/1"}, "/out_refund_no"),
    ({"out_refund_no": "refund 1"}, "/out_refund_no"),
    ({"out_refund_no": "退款"}, "/out_refund_no"),
    ({"out_refund_no": "refund-1\n"}, "/out_refund_no"),
    ({"reason": ""}, "/reason"),
    ({"reason": "因" * 27}, "/reason"),
    ({"notify_url": "https://merchant.example/notify?a=b"}, "/notify_url"),
    ({"notify_url": "https://merchant.example"}, "/notify_url"),
    ({"notify_url": "ftp://merchant.example/notify"}, "/notify_url"),
    ({"notify_url": "https://m.example/" + "n" * 239}, "/notify_url"),
    ({"funds_account": "BASIC"}, "/funds_account"),
    ({"amount": ABSENT}, "/amount"),
    ({"amount__refund": ABSENT}, "/amount/refund"),
    ({"amount__refund": 0}, "/amount/refund"),
    ({"amount__refund": -1}, "/amount/refund"),
    ({"amount__refund": "1000"}, "/amount/refund"),
    ({"amount__refund": 10.5}, "/amount/refund"),
    ({"amount__total": ABSENT}, "/amount/total"),
    ({"amount__total": "3200"}, "/amount/total"),
    ({"amount__currency": ABSENT}, "/amount/currency"),
    ({"amount__currency": "USD"}, "/amount/currency"),
    ({"amount__from": [{"account": "AVAILABLE", "amount": 999}]}, "/amount/from"),
    ({"amount__from": [{"account": "BASIC", "amount": 1000}]}, "/amount/from/0/account"),
    ({"amount__from": [{"account": "AVAILABLE", "amount": 0}]}, "/amount/from/0/amount"),
    ({"goods_detail": GOODS}, "/goods_detail"),
    ({"goods_detail": [GOODS | {"merchant_goods_id": "g" * 33}]}, "/goods_detail/0/merchant_goods_id"),
    ({"goods_detail": [GOODS | {"wechatpay_goods_id": "g" * 33}]}, "/goods_detail/0/wechatpay_goods_id"),
    ({"goods_detail": [GOODS | {"goods_name": "g" * 257}]}, "/goods_detail/0/goods_name"),
    ({"goods_detail": [GOODS | {"refund_quantity": 0}]}, "/goods_detail/0/refund_quantity"),
    ({"goods_detail": [GOODS | {"unit_price": -1}]}, "/goods_detail/0/unit_price"),
    ({"goods_detail": [{"merchant_goods_id": "g"}]}, "/goods_detail/0/unit_price"),
    ({"reason": None}, "/reason"),
]


@pytest.mark.parametrize(("changes", "field"), WRONG)
async def test_a_wrong_member_is_named(
    merchant: Merchant, simulator: Simulator, transaction_id: str, changes: Json, field: str
) -> None:
    assert field_of(await merchant.refund(a_refund(transaction_id, **changes))) == field
    assert simulator.ledger().totals.refunds == 0


async def test_unsettled_money_is_for_deposits_only(merchant: Merchant, transaction_id: str) -> None:
    response = await merchant.refund(a_refund(transaction_id, funds_account="UNSETTLED"))
    assert refusal_of(response) == (400, "INVALID_REQUEST", "仅对出行预付押金退款适用", 0)


async def test_a_number_of_another_type_is_named_in_words(merchant: Merchant, transaction_id: str) -> None:
    response = await merchant.refund(a_refund(transaction_id, out_refund_no=1))
    assert refusal_of(response)[1:3] == ("PARAM_ERROR", "此字段需要一个 string 类型的 Json 值")
    response = await merchant.refund(a_refund(transaction_id, goods_detail=GOODS))
    assert refusal_of(response)[1:3] == ("PARAM_ERROR", "此字段需要 JSON 数组对象")


@pytest.mark.parametrize("out_refund_no", ["r" * 65, "refund%201"])
async def test_a_query_names_a_number_that_could_be_one(merchant: Merchant, out_refund_no: str) -> None:
    assert field_of(await merchant.query_refund(out_refund_no)) == "out_refund_no"


async def test_a_number_may_be_escaped_in_the_path(merchant: Merchant, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id, out_refund_no="a|b@c*d"))
    assert (await merchant.query_refund(quote("a|b@c*d", safe=""))).json()["out_refund_no"] == "a|b@c*d"


# How much, how often, how late


@pytest.mark.parametrize("total", [1, 3199, 3201])
async def test_the_total_is_that_of_the_payment(merchant: Merchant, transaction_id: str, total: int) -> None:
    response = await merchant.refund(a_refund(transaction_id, 1, total=total))
    assert refusal_of(response)[:2] == (400, "INVALID_REQUEST")
    await accepted(merchant, a_refund(transaction_id, 1))


async def test_no_more_than_was_paid_is_refunded(merchant: Merchant, transaction_id: str) -> None:
    assert refusal_of(await merchant.refund(a_refund(transaction_id, 3201))) == OVER
    await accepted(merchant, a_refund(transaction_id, 3200))


async def test_no_more_than_remains_is_refunded(merchant: Merchant, clock: Clock, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id, 1000))
    clock.advance(60)
    assert refusal_of(await merchant.refund(a_refund(transaction_id, 2201, out_refund_no="refund-2"))) == OVER
    await accepted(merchant, a_refund(transaction_id, 2200, out_refund_no="refund-2"))
    clock.advance(60)
    assert refusal_of(await merchant.refund(a_refund(transaction_id, 1, out_refund_no="refund-3"))) == OVER


async def test_two_refunds_of_one_payment_lie_a_minute_apart(
    merchant: Merchant, clock: Clock, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    clock.advance(59)
    second = a_refund(transaction_id, out_refund_no="refund-2")
    assert refusal_of(await merchant.refund(second)) == TOO_SOON
    clock.advance(1)
    await accepted(merchant, second)


async def test_the_minute_passes_by_the_clock_that_is_advanced(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.advance(60)
    await accepted(merchant, a_refund(transaction_id, out_refund_no="refund-2"))


async def test_refunds_of_two_payments_need_not_lie_apart(
    merchant: Merchant, simulator: Simulator, clock: Clock, transaction_id: str
) -> None:
    other = await ride(merchant, simulator, clock, "trip-2")
    await accepted(merchant, a_refund(transaction_id))
    await accepted(merchant, a_refund(other, out_refund_no="refund-2"))


async def test_a_refused_refund_does_not_make_the_next_one_too_soon(merchant: Merchant, transaction_id: str) -> None:
    await merchant.refund(a_refund(transaction_id, 9999))
    await accepted(merchant, a_refund(transaction_id, out_refund_no="refund-2"))


class TestWithoutAMinuteBetween:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, refund_gap_seconds=0)

    async def test_two_refunds_follow_at_once(self, merchant: Merchant, transaction_id: str) -> None:
        await accepted(merchant, a_refund(transaction_id))
        await accepted(merchant, a_refund(transaction_id, out_refund_no="refund-2"))

    async def test_fifty_refunds_are_made_of_one_payment_and_no_more(
        self, merchant: Merchant, simulator: Simulator, transaction_id: str
    ) -> None:
        for number in range(MAX_REFUNDS):
            await accepted(merchant, a_refund(transaction_id, 1, out_refund_no=f"refund-{number}"))
        response = await merchant.refund(a_refund(transaction_id, 1, out_refund_no="refund-51"))
        assert (MAX_REFUNDS, refusal_of(response)[:2]) == (50, (400, "INVALID_REQUEST"))
        assert simulator.ledger().totals.refunds == 50

    async def test_numbers_that_were_only_tried_make_room_and_those_accepted_stay(
        self, merchant: Merchant, simulator: Simulator, transaction_id: str
    ) -> None:
        await accepted(merchant, a_refund(transaction_id, 1, out_refund_no="first"))
        for number in range(MAX_NUMBERS + 5):
            await merchant.refund(a_refund(transaction_id, 9999, out_refund_no=f"tried-{number}"))
        refunds = simulator.ledger_entry("trip-1").refunds
        assert len(refunds) == MAX_NUMBERS
        assert [refund.out_refund_no for refund in refunds if refund.refund_id] == ["first"]
        assert simulator.ledger().totals.refused_calls == MAX_NUMBERS + 5


class TestWhereTooSoonIsInvalid:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, refund_too_soon_code="INVALID_REQUEST")

    async def test_the_other_code_is_answered(self, merchant: Merchant, transaction_id: str) -> None:
        await accepted(merchant, a_refund(transaction_id))
        response = await merchant.refund(a_refund(transaction_id, out_refund_no="refund-2"))
        assert refusal_of(response)[:2] == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(("seconds", "status"), [(365 * DAY, 200), (365 * DAY + 1, 400)])
async def test_a_payment_is_refunded_within_365_days(
    merchant: Merchant, simulator: Simulator, transaction_id: str, seconds: int, status: int
) -> None:
    simulator.advance(seconds)
    response = await merchant.refund(a_refund(transaction_id))
    assert response.status_code == status
    if status == 400:
        assert response.json()["code"] == "INVALID_REQUEST"


# The same number again


async def test_the_same_request_again_refunds_once(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    first = await accepted(merchant, a_refund(transaction_id, 3200))
    reordered = dict(reversed(a_refund(transaction_id, 3200).items()))
    assert await accepted(merchant, reordered) == first
    await ended(merchant, simulator)
    assert (await accepted(merchant, a_refund(transaction_id, 3200)))["status"] == "SUCCESS"
    (refund,) = simulator.ledger_entry("trip-1").refunds
    assert (refund.creates, len(refund.bodies)) == (3, 2)
    assert simulator.ledger().totals.refunded_fen == 3200


@pytest.mark.parametrize(
    "changes", [{"amount__refund": 999}, {"reason": "绕路"}, {"notify_url": "https://m.example/n"}]
)
async def test_the_same_number_with_other_parameters_is_refused(
    merchant: Merchant, simulator: Simulator, transaction_id: str, changes: Json
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.advance(60)
    response = await merchant.refund(a_refund(transaction_id, **changes))
    assert refusal_of(response)[:2] == (400, "INVALID_REQUEST")
    assert simulator.ledger().totals.refunds == 1


async def test_the_same_number_for_another_payment_is_refused(
    merchant: Merchant, simulator: Simulator, clock: Clock, transaction_id: str
) -> None:
    other = await ride(merchant, simulator, clock, "trip-2")
    await accepted(merchant, a_refund(transaction_id))
    assert refusal_of(await merchant.refund(a_refund(other)))[:2] == (400, "INVALID_REQUEST")
    (tried,) = simulator.ledger_entry("trip-2").refunds
    assert (tried.out_refund_no, tried.refund_id, tried.refused_count) == ("refund-1", None, 1)


async def test_after_a_refusal_the_same_number_may_be_used_again(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    assert (await merchant.refund(a_refund(transaction_id, 9999))).status_code == 400
    await accepted(merchant, a_refund(transaction_id))
    (refund,) = simulator.ledger_entry("trip-1").refunds
    assert (refund.creates, refund.refused_count, len(refund.bodies)) == (1, 1, 2)


# How it ends


async def test_a_refund_succeeds_after_its_delay(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    clock.advance(1)
    assert await heard(simulator, receiver) == []
    assert (await merchant.query_refund("refund-1")).json()["status"] == "PROCESSING"
    clock.advance(1)
    assert await heard(simulator, receiver) == ["REFUND.SUCCESS"]
    entity = (await merchant.query_refund("refund-1")).json()
    assert entity["status"] == "SUCCESS"
    assert datetime.fromisoformat(entity["success_time"]) == clock.now.replace(microsecond=0)


class TestFasterThanLife:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, refund_after_seconds=300, speed=100)

    async def test_speed_divides_the_delay_of_refunds(
        self, merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, transaction_id: str
    ) -> None:
        await accepted(merchant, a_refund(transaction_id))
        clock.advance(2.5)
        assert await heard(simulator, receiver) == []
        clock.advance(0.5)
        assert await heard(simulator, receiver) == ["REFUND.SUCCESS"]


@pytest.mark.parametrize(("outcome", "status"), [("abnormal", "ABNORMAL"), ("closed", "CLOSED")])
async def test_a_refund_ends_as_its_passenger_was_scripted(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str, outcome: str, status: str
) -> None:
    simulator.set_passenger("passenger-of-trip-1", Passenger(refund=RefundOutcome(outcome)))
    await accepted(merchant, a_refund(transaction_id))
    entity = await ended(merchant, simulator)
    assert (entity["status"], "success_time" in entity) == (status, False)
    assert await heard(simulator, receiver) == [f"REFUND.{status}"]
    assert "success_time" not in receiver.arrivals[-1].resource


async def test_what_was_set_for_the_order_goes_before_what_was_set_for_its_passenger(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.set_passenger("passenger-of-trip-1", Passenger(refund=RefundOutcome.ABNORMAL))
    simulator.set_order("trip-1", Passenger(refund=RefundOutcome.CLOSED))
    await accepted(merchant, a_refund(transaction_id))
    assert (await ended(merchant, simulator))["status"] == "CLOSED"


async def test_a_refund_that_never_ends_is_ended_by_hand(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    simulator.set_order("trip-1", Passenger(refund=RefundOutcome.NEVER))
    await accepted(merchant, a_refund(transaction_id))
    simulator.advance(30 * DAY)
    assert (await ended(merchant, simulator))["status"] == "PROCESSING"
    simulator.end_refund("refund-1", RefundStatus.SUCCESS)
    assert await heard(simulator, receiver) == ["REFUND.SUCCESS"]


async def test_a_refund_that_was_ended_by_hand_does_not_end_again(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.end_refund("refund-1", RefundStatus.ABNORMAL)
    assert (await ended(merchant, simulator))["status"] == "ABNORMAL"
    assert await heard(simulator, receiver) == ["REFUND.ABNORMAL"]


async def test_an_abnormal_refund_holds_its_amount_until_a_person_ends_it(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    simulator.set_order("trip-1", Passenger(refund=RefundOutcome.ABNORMAL))
    await accepted(merchant, a_refund(transaction_id, 3200))
    await ended(merchant, simulator)
    simulator.advance(60)
    assert refusal_of(await merchant.refund(a_refund(transaction_id, 1, out_refund_no="refund-2"))) == OVER
    assert simulator.ledger().totals.refunded_fen == 0
    simulator.end_refund("refund-1", RefundStatus.SUCCESS)
    assert simulator.ledger().totals.refunded_fen == 3200
    assert await heard(simulator, receiver) == ["REFUND.ABNORMAL", "REFUND.SUCCESS"]


async def test_a_closed_refund_gives_its_amount_back(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.set_order("trip-1", Passenger(refund=RefundOutcome.CLOSED))
    await accepted(merchant, a_refund(transaction_id, 3200))
    assert (await ended(merchant, simulator))["status"] == "CLOSED"
    simulator.advance(60)
    simulator.set_order("trip-1", Passenger())
    await accepted(merchant, a_refund(transaction_id, 3200, out_refund_no="refund-2"))
    await ended(merchant, simulator, "refund-2")
    assert simulator.ledger_entry("trip-1").refunded_fen == 3200


async def test_the_number_of_a_closed_refund_stays_its_own(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.end_refund("refund-1", RefundStatus.CLOSED)
    assert (await accepted(merchant, a_refund(transaction_id)))["status"] == "CLOSED"
    assert (await merchant.refund(a_refund(transaction_id, 999))).status_code == 400


async def test_the_account_of_a_passenger_is_gone(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.set_order("trip-1", Passenger(refund=RefundOutcome.ACCOUNT_ABNORMAL))
    assert refusal_of(await merchant.refund(a_refund(transaction_id)))[:2] == (403, "USER_ACCOUNT_ABNORMAL")


async def test_a_merchant_without_money_tops_up_and_uses_the_same_number(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.set_refund_balance(999)
    assert refusal_of(await merchant.refund(a_refund(transaction_id)))[:2] == (403, "NOT_ENOUGH")
    simulator.set_refund_balance(1000)
    await accepted(merchant, a_refund(transaction_id))
    assert simulator.refund_balance_fen == 0
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    assert simulator.refund_balance_fen == 0


async def test_a_closed_refund_returns_to_the_balance(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.set_refund_balance(1000)
    await accepted(merchant, a_refund(transaction_id))
    simulator.end_refund("refund-1", RefundStatus.CLOSED)
    assert simulator.refund_balance_fen == 1000


class TestWithABalance:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, refund_balance_fen=500)

    async def test_the_balance_is_that_of_the_config(self, merchant: Merchant, transaction_id: str) -> None:
        assert (await merchant.refund(a_refund(transaction_id, 501))).status_code == 403
        await accepted(merchant, a_refund(transaction_id, 500))


# Coupons


async def coupon_ride(merchant: Merchant, simulator: Simulator, clock: Clock, coupon_fen: int) -> str:
    simulator.set_order("trip-1", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=coupon_fen))
    return await ride(merchant, simulator, clock)


@pytest.mark.parametrize(
    ("coupon_fen", "refund", "payer_refund"), [(200, 580, 544), (1600, 1, 1), (1700, 1, 0), (3200, 3200, 0)]
)
async def test_the_passenger_is_sent_his_share_rounded_half_up(
    merchant: Merchant, simulator: Simulator, clock: Clock, coupon_fen: int, refund: int, payer_refund: int
) -> None:
    transaction_id = await coupon_ride(merchant, simulator, clock, coupon_fen)
    amount = (await accepted(merchant, a_refund(transaction_id, refund)))["amount"]
    assert (amount["total"], amount["payer_total"]) == (3200, 3200 - coupon_fen)
    assert (amount["payer_refund"], amount["discount_refund"]) == (payer_refund, refund - payer_refund)


async def test_a_refund_says_what_it_takes_back_of_the_coupon(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    transaction_id = await coupon_ride(merchant, simulator, clock, 800)
    (promotion,) = (await accepted(merchant, a_refund(transaction_id, 400)))["promotion_detail"]
    assert (promotion["amount"], promotion["refund_amount"]) == (800, 100)


async def test_the_passenger_never_gets_more_than_he_paid(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    transaction_id = await coupon_ride(merchant, simulator, clock, 1600)
    shares = []
    for number in range(3):
        refund = 1 if number < 2 else 3198
        body = a_refund(transaction_id, refund, out_refund_no=f"refund-{number}")
        shares.append((await accepted(merchant, body))["amount"]["payer_refund"])
        simulator.advance(60)
    assert shares == [1, 1, 1598]


# What the merchant is told


@pytest.mark.parametrize("status", ["SUCCESS", "ABNORMAL", "CLOSED"])
async def test_a_notification_tells_how_it_ended(
    merchant: Merchant,
    simulator: Simulator,
    clock: Clock,
    receiver: Receiver,
    keys: SimulatorKeys,
    transaction_id: str,
    status: str,
) -> None:
    entity = await accepted(merchant, a_refund(transaction_id))
    simulator.end_refund("refund-1", RefundStatus(status))
    await simulator.run_once()
    arrival = receiver.arrivals[-1]
    assert arrival.envelope["event_type"] == f"REFUND.{status}"
    assert arrival.envelope["resource"]["original_type"] == "refund"
    assert arrival.envelope["resource"]["associated_data"] == "refund"
    resource = arrival.resource
    if status == "SUCCESS":
        assert datetime.fromisoformat(resource.pop("success_time")) == clock.now.replace(microsecond=0)
    assert resource == {
        "mchid": keys.mchid,
        "out_trade_no": entity["out_trade_no"],
        "transaction_id": transaction_id,
        "out_refund_no": "refund-1",
        "refund_id": entity["refund_id"],
        "refund_status": status,
        "user_received_account": "支付用户零钱",
        "amount": {"total": 3200, "refund": 1000, "payer_total": 3200, "payer_refund": 1000},
    }


async def test_it_goes_where_the_request_wants_it_and_else_where_the_config_does(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id, notify_url="http://receiver/notify/refund"))
    await ended(merchant, simulator)
    assert receiver.arrivals[-1].url == "http://receiver/notify/refund"
    simulator.advance(60)
    await accepted(merchant, a_refund(transaction_id, out_refund_no="refund-2"))
    await ended(merchant, simulator, "refund-2")
    assert receiver.arrivals[-1].url == NOTIFY_URL


async def test_a_notification_that_is_not_taken_comes_again(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    await simulator.run_once()
    receiver.answers = [500]
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    simulator.advance(15)
    assert await heard(simulator, receiver) == ["REFUND.SUCCESS"] * 2


@pytest.mark.parametrize("only", [{"out_order_no": "trip-1"}, {"openid": "passenger-of-trip-1"}])
async def test_the_notification_of_an_order_or_passenger_meets_its_fault(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str, only: dict[str, str]
) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_LOST, **only))  # type: ignore[arg-type]  # names of texts
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    assert await heard(simulator, receiver) == []


class TestWithTheNewerMembers:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, refund_callback_members="newer")

    async def test_a_notification_has_currency_and_settlement(
        self, merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
    ) -> None:
        entity = await accepted(merchant, a_refund(transaction_id))
        await ended(merchant, simulator)
        assert receiver.arrivals[-1].resource["amount"] == entity["amount"]
        assert {"currency", "settlement_total"} <= receiver.arrivals[-1].resource["amount"].keys()


# What the path names is named nowhere else (reference payscore-api B.1)

REPEATED = (
    "无法将输入源“/query/out_refund_no”映射到目标字段“商户退款单号”中，"
    "此字段并非多重字段但被输入源“/uri_template/out_refund_no”映射过了。"
)


async def test_a_query_does_not_repeat_what_its_path_names(merchant: Merchant, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id))
    response = await merchant.get(f"{REFUNDS}/refund-1", out_refund_no="refund-1")
    assert refusal_of(response)[:3] == (
        400,
        "PARAM_ERROR",
        REPEATED,
    )


# What goes wrong


async def test_a_lost_reply_refunds_once(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    simulator.add_fault(Fault(FaultKind.DROP_REPLY, call="refund", out_order_no="trip-1"))
    with pytest.raises(httpx.RemoteProtocolError):
        await merchant.refund(a_refund(transaction_id))
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    assert simulator.ledger().totals.refunded_fen == 1000


async def test_a_request_that_was_not_processed_is_seen_and_refunds_nothing(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, call="refund", openid="passenger-of-trip-1"))
    body = a_refund(transaction_id)
    assert (await merchant.refund(body)).status_code == 500
    (tried,) = simulator.ledger_entry("trip-1").refunds
    sent = json.dumps(body, ensure_ascii=False).encode()
    assert (tried.refund_id, tried.bodies) == (None, [hashlib.sha256(sent).hexdigest()])
    assert (tried.creates, tried.refused_count) == (0, 0)


async def test_a_refusal_is_scripted(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    simulator.add_fault(Fault(FaultKind.REFUSE, call="refund", status=403, code="NO_AUTH", message="无权限"))
    assert refusal_of(await merchant.refund(a_refund(transaction_id))) == (403, "NO_AUTH", "无权限", 0)
    await accepted(merchant, a_refund(transaction_id))


async def test_a_fault_of_another_order_passes_a_refund_by(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, call="refund", out_order_no="trip-2"))
    await accepted(merchant, a_refund(transaction_id))


async def test_a_call_on_a_refund_is_logged_under_its_order(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    await merchant.query_refund("refund-1")
    await merchant.query_refund("refund-2")
    unknown, query, create = simulator.calls(limit=3)
    assert (create.kind, create.out_order_no, create.openid) == ("refund", "trip-1", "passenger-of-trip-1")
    assert (query.kind, query.out_order_no, query.target) == ("refund_query", "trip-1", f"{REFUNDS}/refund-1")
    assert (unknown.out_order_no, unknown.code) == ("", "RESOURCE_NOT_EXISTS")


async def test_a_query_shows_the_refund_as_it_stood_before(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.STALE, call="refund_query"))
    await accepted(merchant, a_refund(transaction_id))
    await merchant.query_refund("refund-1")
    assert not scripted.spent
    assert (await ended(merchant, simulator))["status"] == "PROCESSING"
    assert (await merchant.query_refund("refund-1")).json()["status"] == "SUCCESS"


async def test_a_query_does_not_know_the_refund_yet(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.add_fault(Fault(FaultKind.NOT_YET))
    assert refusal_of(await merchant.query_refund("refund-1"))[:2] == (404, "RESOURCE_NOT_EXISTS")


async def test_a_signed_answer_is_about_another_refund(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, call="refund", variant="out_refund_no"))
    false = await accepted(merchant, a_refund(transaction_id))
    true = await accepted(merchant, a_refund(transaction_id))
    assert {name for name in true if true[name] != false[name]} == {"out_refund_no", "refund_id"}


@pytest.mark.parametrize("member", ["out_order_no", "mchid", "appid", "service_id"])
async def test_a_refund_shows_no_other_number_to_be_false_about(
    merchant: Merchant, simulator: Simulator, transaction_id: str, member: str
) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, variant=member))
    await accepted(merchant, a_refund(transaction_id))
    assert not scripted.spent


async def test_an_order_shows_no_refund_to_be_false_about(merchant: Merchant, simulator: Simulator) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, variant="out_refund_no"))
    assert (await merchant.create("payafter", a_create("payafter"))).status_code == 200
    assert not scripted.spent


async def test_a_query_shows_another_amount(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.add_fault(Fault(FaultKind.AMOUNT_DIFFERS, call="refund_query", difference_fen=-1))
    amount = (await merchant.query_refund("refund-1")).json()["amount"]
    assert (amount["refund"], amount["payer_refund"], amount["total"]) == (999, 999, 3200)


async def test_a_notification_tells_another_amount(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_AMOUNT_DIFFERS))
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    assert receiver.arrivals[-1].resource["amount"] == {
        "total": 3200,
        "refund": 1100,
        "payer_total": 3200,
        "payer_refund": 1100,
    }


# The judge


async def test_the_ledger_tells_of_every_refund(
    merchant: Merchant, simulator: Simulator, clock: Clock, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id, 1000))
    await ended(merchant, simulator)
    simulator.advance(60)
    await accepted(merchant, a_refund(transaction_id, 200, out_refund_no="refund-2"))
    await merchant.refund(a_refund(transaction_id, 9999, out_refund_no="refund-3"))
    entry = simulator.ledger().orders["trip-1"]
    assert (entry.charged_fen, entry.refunded_fen) == (3200, 1000)
    tried, first, second = entry.refunds
    assert (first.out_refund_no, first.amount_fen, first.status, first.at) == ("refund-1", 1000, "SUCCESS", clock.now)
    assert (second.out_refund_no, second.amount_fen, second.status) == ("refund-2", 200, "PROCESSING")
    assert (tried.out_refund_no, tried.amount_fen, tried.status, tried.at) == ("refund-3", None, None, None)
    assert [refused.refusal.code for refused in tried.refused] == ["INVALID_REQUEST"]
    totals = simulator.ledger().totals
    assert (totals.refunds, totals.refunded_fen, totals.refused_calls) == (2, 1000, 1)


async def test_a_refund_leaves_the_bodies_and_refusals_of_its_order_alone(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    before = simulator.ledger_entry("trip-1")
    await merchant.refund(a_refund(transaction_id, 9999))
    after = simulator.ledger_entry("trip-1")
    assert (after.bodies, after.refused, after.refused_count) == (before.bodies, [], 0)


class TestWithRoomForTwoOrders:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, max_orders=2)

    async def test_the_books_balance_after_refunds_were_forgotten(
        self, merchant: Merchant, simulator: Simulator, clock: Clock
    ) -> None:
        for number in range(5):
            transaction_id = await ride(merchant, simulator, clock, f"trip-{number}")
            await accepted(merchant, a_refund(transaction_id, 100 + number, out_refund_no=f"refund-{number}"))
            await ended(merchant, simulator, f"refund-{number}")
        ledger = simulator.ledger()
        assert (ledger.forgotten.charged_fen, ledger.forgotten.refunded_fen) == (9600, 303)
        assert (ledger.totals.charged_fen, ledger.totals.refunded_fen) == (6400, 207)

    async def test_with_its_order_a_payment_and_its_refunds_are_forgotten(
        self, merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
    ) -> None:
        first = await ride(merchant, simulator, clock, "trip-0")
        await accepted(merchant, a_refund(first))
        for number in (1, 2):
            await ride(merchant, simulator, clock, f"trip-{number}")
        assert refusal_of(await merchant.query_refund("refund-1"))[:2] == (404, "RESOURCE_NOT_EXISTS")
        assert refusal_of(await merchant.refund(a_refund(first))) == NO_SUCH_TRANSACTION
        assert await heard(simulator, receiver) == []
        world = simulator._world
        assert len(world.transactions._by_id) == len(world.transactions._by_out_trade_no) == 2
        assert (simulator._refunds._accounts, simulator._refunds._accepted) == ({}, {})


ASKED = st.lists(
    st.tuples(
        st.sampled_from(["r-1", "r-2", "r-3", "r-4"]),
        st.sampled_from([1, 800, 1600, 2400, 3200, 4000]),
        st.sampled_from([None, *(status for status in RefundStatus if status is not RefundStatus.PROCESSING)]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(asked=ASKED, coupon_fen=st.sampled_from([0, 1, 999, 3200]))
async def test_never_more_goes_back_than_was_paid(
    keys: SimulatorKeys, asked: list[tuple[str, int, RefundStatus | None]], coupon_fen: int
) -> None:
    clock = Clock()
    simulator = Simulator(SimulatorConfig(keys=keys, notify_url=NOTIFY_URL, refund_gap_seconds=0), clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(simulator)), base_url="http://s") as http:
        merchant = Merchant(http, keys, clock)
        if coupon_fen:
            simulator.set_order("trip-1", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=coupon_fen))
        transaction_id = await ride(merchant, simulator, clock)
        for out_refund_no, refund, status in asked:
            response = await merchant.refund(a_refund(transaction_id, refund, out_refund_no=out_refund_no))
            if status and response.is_success and response.json()["status"] == "PROCESSING":
                simulator.end_refund(out_refund_no, status)
    entry = simulator.ledger_entry("trip-1")
    held = [refund for refund in entry.refunds if refund.status not in {None, RefundStatus.CLOSED}]
    assert entry.refunded_fen == sum(_sent_fen(refund) for refund in entry.refunds) <= entry.charged_fen
    assert sum(refund.amount_fen or 0 for refund in held) <= 3200
    assert len({refund.out_refund_no for refund in entry.refunds}) == len(entry.refunds)


def _sent_fen(refund: RefundEntry) -> int:
    return (refund.payer_refund_fen or 0) if refund.status is RefundStatus.SUCCESS else 0


# The admin API


async def test_a_refund_is_ended_over_http(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    entity = await accepted(merchant, a_refund(transaction_id))
    response = await http.post("/admin/refunds/refund-1/end", json={"status": "CLOSED"})
    assert (response.status_code, response.json()["status"]) == (200, "CLOSED")
    shown = (await http.get("/admin/refunds/refund-1")).json()
    assert (shown["ledger"]["refund_id"], shown["ledger"]["status"]) == (entity["refund_id"], "CLOSED")
    assert shown["entity"] == entity | {"status": "CLOSED"}
    assert simulator.refund_entry("refund-1").status is RefundStatus.CLOSED


@pytest.mark.parametrize("status", ["SUCCESS", "ABNORMAL", "CLOSED"])
async def test_a_refund_that_is_over_cannot_end_otherwise(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, transaction_id: str, status: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    response = await http.post("/admin/refunds/refund-1/end", json={"status": status})
    message = f"refund refund-1 is SUCCESS; it cannot become {status}"
    assert (response.status_code, response.json()) == (409, {"code": "CONFLICT", "message": message})


async def test_an_end_must_be_one(http: httpx.AsyncClient, merchant: Merchant, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id))
    assert (await http.post("/admin/refunds/refund-1/end", json={"status": "PROCESSING"})).status_code == 400


async def test_an_unknown_refund_is_not_found_over_http(http: httpx.AsyncClient) -> None:
    assert (await http.get("/admin/refunds/refund-1")).status_code == 404
    assert (await http.post("/admin/refunds/refund-1/end", json={"status": "CLOSED"})).status_code == 404


async def test_the_balance_is_set_over_http(http: httpx.AsyncClient, simulator: Simulator) -> None:
    assert (await http.get("/admin/refund-balance")).json() == {"balance_fen": None}
    assert (await http.put("/admin/refund-balance", json={"balance_fen": 5})).json() == {"ok": True}
    assert (await http.get("/admin/refund-balance")).json() == {"balance_fen": 5}
    assert (await http.put("/admin/refund-balance", json={"balance_fen": -1})).status_code == 400
    await http.put("/admin/refund-balance", json={"balance_fen": None})
    assert simulator.refund_balance_fen is None


@pytest.mark.parametrize("outcome", list(RefundOutcome))
async def test_every_outcome_has_its_name(http: httpx.AsyncClient, outcome: str) -> None:
    assert (await http.put("/admin/passengers", json={"p": {"refund": outcome}})).status_code == 200
    assert (await http.get("/admin/passengers/p")).json()["refund"] == outcome


async def test_a_reset_forgets_refunds(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    simulator.set_refund_balance(5000)
    await accepted(merchant, a_refund(transaction_id))
    simulator.reset()
    assert simulator.refund_balance_fen is None
    assert (await merchant.query_refund("refund-1")).status_code == 404
    assert refusal_of(await merchant.refund(a_refund(transaction_id))) == NO_SUCH_TRANSACTION


@pytest.mark.parametrize(
    "wrong", [{"refund_after_seconds": -1}, {"refund_gap_seconds": -1}, {"refund_balance_fen": -1}]
)
def test_a_wrong_setting_is_refused(config: SimulatorConfig, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        dataclasses.replace(config, **wrong)  # type: ignore[arg-type]  # names of numbers
