"""Money goes back: which refunds are accepted, and how they end (reference payscore-api G.1, G.3)."""

import dataclasses
from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payscore_worker.simulator import (
    Behaviour,
    Passenger,
    RefundOutcome,
    RefundStatus,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
)
from payscore_worker.simulator.refunds.book import MAX_NUMBERS, MAX_REFUNDS

from .bodies import ABSENT, FAMILIES, Json, a_complete, a_create, a_refund
from .clock import Clock
from .merchant import Merchant, check_signature
from .receiver import Receiver
from .refunding import NO_SUCH_TRANSACTION, OVER, accepted, ended, heard, ride
from .refusals import refusal_of

DAY = 86_400
TOO_SOON = (429, "FREQUENCY_LIMITED", "该笔退款未受理，请降低频率后重试", 268435472)


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
