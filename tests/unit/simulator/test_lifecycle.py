"""What happens to an order, in both families."""

import httpx
import pytest

from payscore_worker.simulator import Behaviour, Passenger, Simulator

from .bodies import FAMILIES, a_complete, a_create
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver
from .refusals import refusal_of

pytestmark = pytest.mark.parametrize("family", FAMILIES)

RIDING = {"payafter": ("USER_ACCEPTED", None), "serviceorder": ("DOING", "USER_CONFIRM")}
OWING = {"payafter": ("FINISHED", None), "serviceorder": ("DOING", "MCH_COMPLETE")}
PAID = {"payafter": ("USER_PAID", None), "serviceorder": ("DONE", None)}
FREE = {"payafter": ("FINISHED", None), "serviceorder": ("DONE", None)}


async def state(merchant: Merchant, family: str) -> tuple[str, str | None]:
    entity = (await merchant.query(family, "trip-1")).json()
    return entity["state"], entity.get("state_description")


async def create(merchant: Merchant, family: str, out_order_no: str = "trip-1", openid: str = "passenger-1") -> None:
    response = await merchant.create(family, a_create(family, out_order_no, openid=openid))
    assert response.status_code == 200, response.text


async def ride(merchant: Merchant, clock: Clock, family: str, total: int = 3200) -> httpx.Response:
    """Creates the order, rides for ten minutes, completes it."""
    await create(merchant, family)
    clock.advance(600)
    response = await merchant.complete(family, "trip-1", a_complete(family, clock.text(-10), total))
    assert response.status_code == 200, response.text
    return response


async def test_a_trip_is_opened_completed_and_paid(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "AVAILABLE"
    await create(merchant, family)
    assert await state(merchant, family) == RIDING[family]

    clock.advance(600)
    await merchant.complete(family, "trip-1", a_complete(family, clock.text()))
    assert await state(merchant, family) == OWING[family]

    clock.advance(2)
    await simulator.run_once()
    assert await state(merchant, family) == PAID[family]
    assert [arrival.envelope["event_type"] for arrival in receiver.arrivals] == ["PAYSCORE.USER_PAID"]
    assert simulator.ledger().orders["trip-1"].charged_fen == 3200


async def test_nothing_is_debited_before_its_time(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await ride(merchant, clock, family)
    clock.advance(1.9)
    await simulator.run_once()
    assert await state(merchant, family) == OWING[family]


async def test_an_order_is_debited_once(merchant: Merchant, simulator: Simulator, clock: Clock, family: str) -> None:
    response = await ride(merchant, clock, family)
    simulator.pay("trip-1")
    clock.advance(1000)
    await simulator.run_once()
    assert response.status_code == 200
    assert [charge.amount_fen for charge in simulator.ledger().orders["trip-1"].charges] == [3200]


async def test_a_trip_that_costs_nothing_is_over_at_once(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    await ride(merchant, clock, family, total=0)
    assert await state(merchant, family) == FREE[family]
    clock.advance(1000)
    await simulator.run_once()
    entity = (await merchant.query(family, "trip-1")).json()
    assert entity["total_amount"] == 0
    assert "collection" not in entity
    assert not receiver.arrivals
    assert simulator.ledger().orders["trip-1"].charges == []


# The same parameters again (reference payscore-api B.10)


async def test_the_same_create_succeeds_again(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    first = await merchant.create(family, a_create(family))
    clock.advance(3600)
    again = await merchant.create(family, dict(reversed(a_create(family).items())))
    assert again.status_code == 200
    assert again.json() == first.json()
    assert simulator.orders_created == ["trip-1"]


async def test_the_same_create_succeeds_when_its_start_time_has_passed(
    merchant: Merchant, clock: Clock, family: str
) -> None:
    start = {"payafter": "service_start_time", "serviceorder": "time_range__start_time"}[family]
    body = a_create(family, **{start: clock.text(60)})
    await merchant.create(family, body)
    clock.advance(120)
    assert (await merchant.create(family, body)).status_code == 200


async def test_another_create_under_the_same_number_is_refused(merchant: Merchant, family: str) -> None:
    await create(merchant, family)
    response = await merchant.create(family, a_create(family, service_introduction="专车出行"))
    assert refusal_of(response) == (400, "INVALID_REQUEST", "订单重入参数校验失败", 271316598)


async def test_a_number_is_one_order_in_both_families(merchant: Merchant, family: str) -> None:
    other = FAMILIES[1 - FAMILIES.index(family)]
    await create(merchant, other)
    assert refusal_of(await merchant.create(family, a_create(family)))[3] == 271316598
    assert refusal_of(await merchant.query(family, "trip-1"))[1] == "ORDER_NOT_EXIST"


async def test_the_same_complete_succeeds_again_and_charges_once(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await create(merchant, family)
    clock.advance(600)
    body = a_complete(family, clock.text())
    if family == "payafter":
        body["finish_ticket"] = await merchant.finish_ticket("trip-1")
    for _ in range(2):
        assert (await merchant.complete(family, "trip-1", body)).status_code == 200
        clock.advance(10)
        await simulator.run_once()
    assert simulator.ledger().orders["trip-1"].charged_fen == 3200


async def test_another_complete_is_refused(merchant: Merchant, clock: Clock, family: str) -> None:
    await ride(merchant, clock, family)
    body = a_complete(family, clock.text()) | {"finish_ticket": "another"}
    response = await merchant.complete(family, "trip-1", body)
    assert refusal_of(response) == (400, "PARAM_ERROR", "订单重入参数校验失败", 271316598)


async def test_the_same_cancel_succeeds_again(merchant: Merchant, family: str) -> None:
    await create(merchant, family)
    for _ in range(2):
        response = await merchant.cancel(family, "trip-1")
        assert response.status_code == 200
        assert response.json()["out_order_no"] == "trip-1"
    assert (await state(merchant, family))[0] == "REVOKED"


async def test_a_cancel_for_another_reason_is_refused(merchant: Merchant, family: str) -> None:
    await create(merchant, family)
    await merchant.cancel(family, "trip-1")
    response = await merchant.cancel(family, "trip-1", reason="别的原因")
    assert refusal_of(response) == (400, "INVALID_REQUEST", "订单重入参数校验失败", 271316598)


# Calls that come at the wrong time


async def test_a_completed_order_cannot_be_cancelled(merchant: Merchant, clock: Clock, family: str) -> None:
    await ride(merchant, clock, family)
    response = await merchant.cancel(family, "trip-1")
    assert refusal_of(response) == (400, "INVALID_REQUEST", "当前订单状态不满足撤销条件", 271316592)


async def test_a_paid_order_cannot_be_cancelled(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await ride(merchant, clock, family)
    simulator.pay("trip-1")
    assert refusal_of(await merchant.cancel(family, "trip-1"))[3] == 271316592


async def test_a_cancelled_order_cannot_be_completed(merchant: Merchant, clock: Clock, family: str) -> None:
    await create(merchant, family)
    clock.advance(600)
    body = a_complete(family, clock.text()) | {"finish_ticket": "any"}
    await merchant.cancel(family, "trip-1")
    response = await merchant.complete(family, "trip-1", body)
    assert refusal_of(response) == (400, "PARAM_ERROR", "当前订单状态不合法", 271302333)


async def test_an_expired_order_can_neither_be_completed_nor_cancelled(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await create(merchant, family)
    simulator.expire("trip-1")
    clock.advance(600)
    body = a_complete(family, clock.text()) | {"finish_ticket": "any"}
    assert refusal_of(await merchant.complete(family, "trip-1", body))[3] == 271302262
    assert refusal_of(await merchant.cancel(family, "trip-1"))[3] == 271316592
    assert (await state(merchant, family))[0] == "EXPIRED"


async def test_cancelling_an_order_that_was_revoked_behind_our_back_says_so(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    await create(merchant, family)
    simulator.revoke("trip-1")
    assert refusal_of(await merchant.cancel(family, "trip-1"))[:2] == (400, "ORDER_CANCELED")


async def test_an_unknown_order_does_not_exist(merchant: Merchant, clock: Clock, family: str) -> None:
    clock.advance(600)
    body = a_complete(family, clock.text()) | {"finish_ticket": "any"}
    for response in (
        await merchant.query(family, "trip-9"),
        await merchant.complete(family, "trip-9", body),
        await merchant.cancel(family, "trip-9"),
        await merchant.sync(family, "trip-9", clock()),
    ):
        assert refusal_of(response) == (404, "ORDER_NOT_EXIST", "查询单据不存在", 271317510)


# Passengers whom WeChat Pay will not serve


@pytest.mark.parametrize(
    ("behaviour", "refusal"),
    [
        (Behaviour.NOT_ENABLED, (403, "NO_AUTH", "商户暂无权限使用此服务", 0)),
        (Behaviour.RISK_REFUSED, (400, "INVALID_REQUEST", "综合评估未通过", 271300099)),
        (Behaviour.ARREARS, (400, "INVALID_REQUEST", "存在待处理的超时未支付订单", 271299627)),
        (Behaviour.TOO_MANY_ORDERS, (400, "INVALID_REQUEST", "用户进行中的订单数量超过上限", 0)),
        (Behaviour.MINOR_PROTECTED, (400, "INVALID_REQUEST", "青少年模式下无法使用此功能", 268560785)),
    ],
)
async def test_a_passenger_is_refused(
    merchant: Merchant, simulator: Simulator, family: str, behaviour: Behaviour, refusal: tuple[int, str, str, int]
) -> None:
    simulator.set_passenger("passenger-1", Passenger(behaviour))
    assert refusal_of(await merchant.create(family, a_create(family))) == refusal
    assert refusal_of(await merchant.query(family, "trip-1"))[1] == "ORDER_NOT_EXIST"
    assert simulator.orders_created == []


async def test_a_refused_number_may_be_used_again(merchant: Merchant, simulator: Simulator, family: str) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.RISK_REFUSED))
    await merchant.create(family, a_create(family))
    simulator.set_passenger("passenger-1", Passenger())
    await create(merchant, family)


async def test_what_is_set_for_an_order_goes_before_its_passenger(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    simulator.set_order("trip-2", Passenger(Behaviour.ARREARS))
    await create(merchant, family, "trip-1")
    assert refusal_of(await merchant.create(family, a_create(family, "trip-2")))[3] == 271299627


async def test_a_fourth_running_order_of_a_passenger_is_refused_until_one_ends(merchant: Merchant, family: str) -> None:
    for number in (1, 2, 3):
        await create(merchant, family, f"trip-{number}")
    fourth = a_create(family, "trip-4")
    assert refusal_of(await merchant.create(family, fourth))[:2] == (400, "INVALID_REQUEST")
    await create(merchant, family, "trip-5", openid="passenger-2")
    await merchant.cancel(family, "trip-2")
    assert (await merchant.create(family, fourth)).status_code == 200
    assert refusal_of(await merchant.create(family, a_create(family, "trip-6")))[:2] == (400, "INVALID_REQUEST")


# Passengers who pay in their own way


async def test_one_who_pays_late_is_debited_late(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_LATE, seconds=86_400))
    await ride(merchant, clock, family)
    clock.advance(86_399)
    await simulator.run_once()
    assert await state(merchant, family) == OWING[family]
    clock.advance(1)
    await simulator.run_once()
    assert await state(merchant, family) == PAID[family]


async def test_one_who_never_pays_owes_for_ever(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NEVER_PAYS))
    await ride(merchant, clock, family)
    clock.advance(10 * 365 * 86_400)
    await simulator.run_once()
    assert await state(merchant, family) == OWING[family]
    assert not receiver.arrivals


async def test_one_who_pays_another_amount_is_charged_less(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=500))
    await ride(merchant, clock, family)
    clock.advance(2)
    await simulator.run_once()
    entity = receiver.arrivals[0].resource
    paid = entity["total_amount"] if family == "payafter" else entity["collection"]["paid_amount"]
    assert paid == 2700
    assert simulator.ledger().orders["trip-1"].charged_fen == 2700
    assert simulator.ledger().orders["trip-1"].total_fen == 3200


async def test_a_coupon_is_worth_no_more_than_the_total(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=10_000))
    await ride(merchant, clock, family)
    simulator.pay("trip-1")
    assert [charge.amount_fen for charge in simulator.ledger().orders["trip-1"].charges] == [0]


async def test_time_that_is_brought_forward_brings_a_late_debit(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_LATE, seconds=3 * 86_400))
    await ride(merchant, clock, family)
    simulator.advance(3 * 86_400)
    await simulator.run_once()
    assert await state(merchant, family) == PAID[family]


# Behind the merchant's back


async def test_a_revoked_order_is_not_debited(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await ride(merchant, clock, family)
    simulator.revoke("trip-1")
    clock.advance(10)
    await simulator.run_once()
    assert (await state(merchant, family))[0] == "REVOKED"
    assert simulator.ledger().orders["trip-1"].charged_fen == 0


async def test_an_order_paid_elsewhere_is_paid_without_a_charge(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    await ride(merchant, clock, family)
    simulator.sync("trip-1")
    clock.advance(10)
    await simulator.run_once()
    assert await state(merchant, family) == PAID[family]
    assert simulator.ledger().orders["trip-1"].charged_fen == 0
    assert not receiver.arrivals


async def test_a_merchant_syncs_what_was_paid_elsewhere(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await ride(merchant, clock, family)
    clock.advance(60)
    response = await merchant.sync(family, "trip-1", clock())
    assert response.status_code == 200, response.text
    assert await state(merchant, family) == PAID[family]
    assert simulator.ledger().orders["trip-1"].charged_fen == 0


async def test_a_running_order_cannot_be_synced(merchant: Merchant, clock: Clock, family: str) -> None:
    await create(merchant, family)
    response = await merchant.sync(family, "trip-1", clock())
    assert refusal_of(response) == (400, "INVALID_ORDER_STATE", "当前订单状态不合法", 271302332)


# After all is over


async def test_a_reset_forgets_everything_but_the_keys(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_LATE, seconds=5))
    await ride(merchant, clock, family)
    simulator.reset()
    clock.advance(10)
    await simulator.run_once()
    assert refusal_of(await merchant.query(family, "trip-1"))[0] == 404
    assert simulator.passenger("passenger-1") == Passenger()
    assert not receiver.arrivals
