"""What a passenger does in WeChat by himself: pays, lets debits fail, closes the service (reference C.4)."""

import dataclasses

import pytest

from payscore_worker.simulator import (
    Behaviour,
    PageRefused,
    Passenger,
    Service,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
)

from .bodies import FAMILIES, a_complete, a_create
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver

by_family = pytest.mark.parametrize("family", FAMILIES)


async def running(merchant: Merchant, family: str = "serviceorder") -> None:
    assert (await merchant.create(family, a_create(family))).status_code == 200


async def completed(merchant: Merchant, clock: Clock, family: str = "serviceorder") -> None:
    clock.advance(600)
    response = await merchant.complete(family, "trip-1", a_complete(family, clock.text()))
    assert response.status_code == 200, response.text


async def charged(simulator: Simulator, clock: Clock) -> int:
    clock.advance(2)
    await simulator.run_once()
    return simulator.ledger_entry("trip-1").charged_fen


@by_family
async def test_who_put_payment_off_is_debited_when_he_pays(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    await running(merchant, family)
    simulator.wallet.put_off("trip-1", "passenger-1")
    await completed(merchant, clock, family)
    assert await charged(simulator, clock) == 0
    simulator.wallet.pay("trip-1", "passenger-1")
    assert await charged(simulator, clock) == 3200
    assert [arrival.envelope["event_type"] for arrival in receiver.arrivals] == ["PAYSCORE.USER_PAID"]


async def test_a_debit_that_is_under_way_can_be_let_fail(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    await running(merchant)
    await completed(merchant, clock)
    simulator.wallet.put_off("trip-1", "passenger-1")
    assert await charged(simulator, clock) == 0
    simulator.wallet.let_debit("trip-1", "passenger-1")
    assert await charged(simulator, clock) == 3200


async def test_putting_off_leaves_the_rest_of_the_passenger_as_it_is(merchant: Merchant, simulator: Simulator) -> None:
    passenger = Passenger(coupon_fen=7)
    simulator.set_passenger("passenger-1", passenger)
    await running(merchant)
    simulator.wallet.put_off("trip-1", "passenger-1")
    (order,) = simulator.wallet.orders("passenger-1")
    assert simulator.wallet.puts_off(order)
    assert simulator.passenger("passenger-1") == passenger
    simulator.wallet.let_debit("trip-1", "passenger-1")
    assert not simulator.wallet.puts_off(order)


async def test_only_what_is_owed_is_paid(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await running(merchant)
    with pytest.raises(PageRefused, match="order trip-1 is running"):
        simulator.wallet.pay("trip-1", "passenger-1")
    await completed(merchant, clock)
    simulator.wallet.pay("trip-1", "passenger-1")
    for act in (simulator.wallet.pay, simulator.wallet.put_off, simulator.wallet.let_debit):
        with pytest.raises(PageRefused, match="order trip-1 is paid"):
            act("trip-1", "passenger-1")
    assert await charged(simulator, clock) == 3200


async def test_a_passenger_touches_his_own_orders_alone(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await running(merchant)
    await completed(merchant, clock)
    for act in (simulator.wallet.pay, simulator.wallet.put_off, simulator.wallet.let_debit, simulator.wallet.order):
        for out_order_no, openid in (("trip-1", "passenger-2"), ("trip-2", "passenger-1")):
            with pytest.raises(PageRefused, match=f"no order {out_order_no} of this passenger's"):
                act(out_order_no, openid)
    assert simulator.wallet.orders("passenger-2") == []


async def test_his_orders_come_newest_first(merchant: Merchant, simulator: Simulator) -> None:
    for number in (1, 2, 3):
        await merchant.create("serviceorder", a_create("serviceorder", f"trip-{number}"))
    assert [order.out_order_no for order in simulator.wallet.orders("passenger-1")] == ["trip-3", "trip-2", "trip-1"]


@by_family
async def test_the_service_is_not_closed_while_an_order_runs_or_is_owed(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    service_id = merchant.keys.service_id
    await running(merchant, family)
    with pytest.raises(PageRefused, match="存在未完成订单"):
        simulator.wallet.close("passenger-1", service_id)
    await completed(merchant, clock, family)
    with pytest.raises(PageRefused, match="存在未完成订单"):
        simulator.wallet.close("passenger-1", service_id)
    assert simulator.wallet.has_enabled("passenger-1")
    simulator.wallet.pay("trip-1", "passenger-1")
    simulator.wallet.close("passenger-1", service_id)
    await simulator.run_once()
    assert receiver.arrivals[-1].envelope["event_type"] == "PAYSCORE.USER_CLOSE_SERVICE"
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "UNAVAILABLE"


async def test_another_s_order_keeps_no_service_open(merchant: Merchant, simulator: Simulator) -> None:
    await running(merchant)
    simulator.wallet.close("passenger-2", merchant.keys.service_id)


def test_a_service_that_several_apps_use_is_one(config: SimulatorConfig, keys: SimulatorKeys) -> None:
    apps = tuple(Service(appid=appid, service_id=keys.service_id) for appid in (keys.appid, "wx0000000000000000"))
    other = Service(appid=keys.appid, service_id="500001", mode="need_confirm")
    simulator = Simulator(dataclasses.replace(config, services=(*apps, other)))
    assert simulator.wallet.services() == [apps[0]]


def test_a_service_that_is_not_on_or_not_there_is_not_closed(simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    (service,) = simulator.wallet.services()
    with pytest.raises(PageRefused, match="not on"):
        simulator.wallet.close("passenger-1", service.service_id)
    with pytest.raises(PageRefused, match="3961"):
        simulator.wallet.close("passenger-2", "500001")
    assert simulator.notifications() == []
