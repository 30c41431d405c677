"""What a merchant is told of a debit (reference ordinary-payment-api 4, payscore-api G.1)."""

import pytest

from payscore_worker.simulator import (
    Behaviour,
    Fault,
    FaultKind,
    Passenger,
    RefundOutcome,
    Simulator,
)

from .bodies import FAMILIES, Json, a_refund
from .clock import Clock
from .merchant import Merchant
from .refunding import accepted, ended, ride
from .refusals import field_of, refusal_of

PATH = "/v3/pay/transactions/id"
UNKNOWN = (404, "ORDER_NOT_EXIST", "订单不存在", 0)


async def told(merchant: Merchant, transaction_id: str) -> Json:
    response = await merchant.get(f"{PATH}/{transaction_id}", mchid=merchant.keys.mchid)
    assert response.status_code == 200, response.text
    entity: Json = response.json()
    return entity


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_debit_is_told(merchant: Merchant, simulator: Simulator, clock: Clock, family: str) -> None:
    transaction_id = await ride(merchant, simulator, clock, family=family)
    entity = await told(merchant, transaction_id)
    assert entity.pop("success_time").endswith("+08:00")
    assert entity.pop("out_trade_no").startswith("PS")
    assert entity == {
        "appid": merchant.keys.appid,
        "mchid": merchant.keys.mchid,
        "transaction_id": transaction_id,
        "trade_type": "AUTH",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "payer": {"openid": "passenger-of-trip-1"},
        "amount": {"total": 3200, "payer_total": 3200, "currency": "CNY", "payer_currency": "CNY"},
    }


async def test_the_number_that_wechat_pay_made_up_refunds(merchant: Merchant, transaction_id: str) -> None:
    """It is to be had here alone."""
    body = a_refund(transaction_id, out_trade_no=(await told(merchant, transaction_id))["out_trade_no"])
    del body["transaction_id"]
    assert (await accepted(merchant, body))["transaction_id"] == transaction_id


async def test_what_a_coupon_paid_is_told(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    simulator.set_order("trip-1", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=100))
    entity = await told(merchant, await ride(merchant, simulator, clock))
    assert (entity["amount"]["total"], entity["amount"]["payer_total"]) == (3200, 3100)
    assert [coupon["amount"] for coupon in entity["promotion_detail"]] == [100]


@pytest.mark.parametrize("outcome", [RefundOutcome.SUCCESS, RefundOutcome.CLOSED, RefundOutcome.NEVER])
async def test_a_debit_of_which_anything_was_asked_back_says_so(
    merchant: Merchant, simulator: Simulator, transaction_id: str, outcome: RefundOutcome
) -> None:
    simulator.set_order("trip-1", Passenger(refund=outcome))
    await accepted(merchant, a_refund(transaction_id))
    assert (await told(merchant, transaction_id))["trade_state"] == "REFUND"
    await ended(merchant, simulator)
    assert (await told(merchant, transaction_id))["trade_state"] == "REFUND"


async def test_a_refund_that_was_refused_leaves_it_as_it_was(merchant: Merchant, transaction_id: str) -> None:
    assert (await merchant.refund(a_refund(transaction_id, 3300))).status_code == 400
    assert (await told(merchant, transaction_id))["trade_state"] == "SUCCESS"


async def test_a_debit_that_never_was_is_unknown(merchant: Merchant) -> None:
    response = await merchant.get(f"{PATH}/4200000000202611280000000000000001", mchid=merchant.keys.mchid)
    assert refusal_of(response) == UNKNOWN


async def test_to_another_merchant_it_is_unknown(merchant: Merchant, transaction_id: str) -> None:
    assert refusal_of(await merchant.get(f"{PATH}/{transaction_id}", mchid="1900000001")) == UNKNOWN


async def test_the_merchant_is_named(merchant: Merchant, transaction_id: str) -> None:
    assert field_of(await merchant.get(f"{PATH}/{transaction_id}")) == "mchid"


async def test_the_number_is_not_named_twice(merchant: Merchant, transaction_id: str) -> None:
    response = await merchant.get(f"{PATH}/{transaction_id}", mchid=merchant.keys.mchid, transaction_id=transaction_id)
    assert field_of(response) == "/transaction_id"


async def test_a_query_may_come_too_early(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    simulator.add_fault(Fault(FaultKind.NOT_YET, call="transaction_query", out_order_no="trip-1"))
    response = await merchant.get(f"{PATH}/{transaction_id}", mchid=merchant.keys.mchid)
    assert refusal_of(response) == UNKNOWN
    assert (await told(merchant, transaction_id))["trade_state"] == "SUCCESS"


@pytest.mark.parametrize("member", ["mchid", "appid"])
async def test_it_may_be_about_somebody_else(
    merchant: Merchant, simulator: Simulator, transaction_id: str, member: str
) -> None:
    true = await told(merchant, transaction_id)
    simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, call="transaction_query", variant=member))
    false = await told(merchant, transaction_id)
    assert {name for name in true if true[name] != false[name]} == {member}


@pytest.mark.parametrize("kind", [FaultKind.STALE, FaultKind.AMOUNT_DIFFERS, FaultKind.DETAILS])
async def test_a_fault_that_cannot_show_waits(
    merchant: Merchant, simulator: Simulator, transaction_id: str, kind: FaultKind
) -> None:
    fault = simulator.add_fault(Fault(kind))
    await told(merchant, transaction_id)
    assert fault.strikes == 0
