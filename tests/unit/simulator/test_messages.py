"""Messages that a merchant has WeChat Pay send about an order, before it is debited (reference payscore-api B.9)."""

import httpx
import pytest

from payscore_worker.simulator import Fault, FaultKind, Simulator

from .bodies import ABSENT, Json, a_complete, a_create, changed
from .clock import Clock
from .merchant import BASES, Merchant
from .refusals import field_of, refusal_of

KINDS = ("send-prepaidmessage", "send-pendingmessage")
WRONG_STATE = (400, "INVALID_ORDER_STATE", "当前订单状态不合法")

by_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
async def running(merchant: Merchant) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))


async def sent(merchant: Merchant, kind: str, out_order_no: str = "trip-1", /, **changes: object) -> httpx.Response:
    body: Json = {
        "service_id": merchant.keys.service_id,
        "post_payments": [{"name": "车费", "amount": 3500}],
        "post_discounts": [{"name": "优惠", "description": "立减", "amount": 300}],
        "total_amount": 3200,
        "prepaid_time": "20261128120000",
    }
    return await merchant.post(f"{BASES['serviceorder']}/{out_order_no}/{kind}", changed(body, changes))


@by_kind
async def test_a_message_is_sent_and_answered_with_nothing(merchant: Merchant, kind: str) -> None:
    response = await sent(merchant, kind)
    assert (response.status_code, response.content) == (204, b"")


@by_kind
async def test_a_message_is_sent_once(merchant: Merchant, kind: str) -> None:
    await sent(merchant, kind)
    assert refusal_of(await sent(merchant, kind)) == (400, "INVALID_REQUEST", "同一订单的同类消息只能发送一次", 0)


async def test_each_kind_is_sent_once(merchant: Merchant) -> None:
    assert [(await sent(merchant, kind)).status_code for kind in KINDS] == [204, 204]


async def test_another_order_has_messages_of_its_own(merchant: Merchant) -> None:
    await merchant.create("serviceorder", a_create("serviceorder", "trip-2"))
    assert [(await sent(merchant, KINDS[0], trip)).status_code for trip in ("trip-1", "trip-2")] == [204, 204]


async def test_a_refused_message_is_not_sent(merchant: Merchant) -> None:
    assert (await sent(merchant, KINDS[0], total_amount=1)).status_code == 400
    assert (await sent(merchant, KINDS[0])).status_code == 204


async def test_a_lost_reply_leaves_it_sent(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_AFTER, call="send_prepaid_message"))
    assert (await sent(merchant, KINDS[0])).status_code == 500
    assert refusal_of(await sent(merchant, KINDS[0]))[1] == "INVALID_REQUEST"


@by_kind
async def test_an_owing_order_is_told_of(merchant: Merchant, clock: Clock, kind: str) -> None:
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    assert (await sent(merchant, kind)).status_code == 204


@by_kind
async def test_nothing_is_told_of_an_order_that_is_over(
    merchant: Merchant, simulator: Simulator, clock: Clock, kind: str
) -> None:
    await merchant.create("serviceorder", a_create("serviceorder", "trip-2"))
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    simulator.pay("trip-1")
    await merchant.cancel("serviceorder", "trip-2")
    assert refusal_of(await sent(merchant, kind)) == (*WRONG_STATE, 271302262)
    assert refusal_of(await sent(merchant, kind, "trip-2")) == (*WRONG_STATE, 271302333)
    assert refusal_of(await sent(merchant, kind, "trip-3"))[:2] == (404, "ORDER_NOT_EXIST")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"service_id": ABSENT}, "/service_id"),
        ({"post_payments": ABSENT}, "/post_payments"),
        ({"post_payments": []}, "/post_payments"),
        ({"post_payments__0__name": "车" * 21}, "/post_payments/0/name"),
        ({"post_discounts__0__amount": ABSENT}, "/post_discounts/0/amount"),
        ({"total_amount": ABSENT}, "/total_amount"),
        ({"total_amount": -1}, "/total_amount"),
        ({"prepaid_time": ABSENT}, "/prepaid_time"),
        ({"prepaid_time": "2026-11-28T12:00:00+08:00"}, "/prepaid_time"),
        ({"out_order_no": "trip-1"}, "/out_order_no"),
    ],
)
@by_kind
async def test_a_message_points_to_what_is_wrong(merchant: Merchant, kind: str, changes: Json, field: str) -> None:
    assert field_of(await sent(merchant, kind, **changes)) == field


async def test_its_total_is_the_sum_of_its_items(merchant: Merchant) -> None:
    assert refusal_of(await sent(merchant, KINDS[0], total_amount=3500))[2] == "最终总金额计算非法"


async def test_a_message_of_another_service_is_refused(merchant: Merchant) -> None:
    assert refusal_of(await sent(merchant, KINDS[0], service_id="500001"))[:2] == (403, "NO_AUTH")


async def test_the_legacy_family_sends_none(merchant: Merchant) -> None:
    response = await merchant.post(f"{BASES['payafter']}/trip-1/{KINDS[0]}", {})
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("kind", [FaultKind.UNREADABLE, FaultKind.ANOTHER_ORDER])
async def test_an_answer_without_a_body_cannot_be_false(
    merchant: Merchant, simulator: Simulator, kind: FaultKind
) -> None:
    fault = simulator.add_fault(Fault(kind, call="send_prepaid_message"))
    assert (await sent(merchant, KINDS[0])).status_code == 204
    assert fault.strikes == 0
