"""What a merchant does while the money is not in: it asks for the debit, or lowers the amount (reference B.8, B.9)."""

import dataclasses

import httpx
import pytest

from payscore_worker.simulator import Behaviour, Fault, FaultKind, Passenger, Simulator, SimulatorConfig

from .bodies import ABSENT, Json, a_complete, a_create, changed
from .clock import Clock
from .merchant import BASES, Merchant
from .receiver import Receiver
from .refusals import field_of, refusal_of

ORDERS = BASES["serviceorder"]
WRONG_STATE = (400, "INVALID_ORDER_STATE", "当前订单状态不合法")


async def owing(merchant: Merchant, clock: Clock) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))
    clock.advance(600)
    response = await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    assert response.status_code == 200, response.text


async def asked_to_pay(merchant: Merchant, out_order_no: str = "trip-1", /, **changes: object) -> httpx.Response:
    return await merchant.post(f"{ORDERS}/{out_order_no}/pay", changed(merchant.ours(), changes))


def charged(simulator: Simulator) -> list[int]:
    return [charge.amount_fen for charge in simulator.ledger_entry("trip-1").charges]


# Pay


async def test_a_debit_is_brought_forward(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    await owing(merchant, clock)
    response = await asked_to_pay(merchant)
    identity = {"mchid": merchant.keys.mchid, "out_order_no": "trip-1"}
    assert response.json() == merchant.ours() | identity | {"order_id": simulator.ledger_entry("trip-1").order_id}
    assert charged(simulator) == []
    await simulator.run_once()
    assert charged(simulator) == [3200]
    assert [arrival.envelope["event_type"] for arrival in receiver.arrivals] == ["PAYSCORE.USER_PAID"]


async def test_asking_twice_debits_once(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await owing(merchant, clock)
    for _ in range(2):
        assert (await asked_to_pay(merchant)).status_code == 200
    clock.advance(2)
    await simulator.run_once()
    assert charged(simulator) == [3200]


async def test_one_who_pays_late_pays_no_sooner_for_being_asked(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_LATE, seconds=60))
    await owing(merchant, clock)
    assert (await asked_to_pay(merchant)).status_code == 200
    clock.advance(59)
    await simulator.run_once()
    assert charged(simulator) == []
    clock.advance(1)
    await simulator.run_once()
    assert charged(simulator) == [3200]


async def test_one_who_never_pays_is_asked_in_vain(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    simulator.set_order("trip-1", Passenger(Behaviour.NEVER_PAYS))
    await owing(merchant, clock)
    assert (await asked_to_pay(merchant)).status_code == 200
    clock.advance(86_400)
    await simulator.run_once()
    assert charged(simulator) == []


async def test_one_who_has_come_to_money_pays_when_asked(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NEVER_PAYS))
    await owing(merchant, clock)
    simulator.set_passenger("passenger-1", Passenger())
    await asked_to_pay(merchant)
    await simulator.run_once()
    assert charged(simulator) == [3200]


async def test_one_who_pays_in_two_pays_the_first_half_when_asked(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
    await owing(merchant, clock)
    await asked_to_pay(merchant)
    await simulator.run_once()
    assert charged(simulator) == [1600]
    clock.advance(2)
    await simulator.run_once()
    assert charged(simulator) == [1600, 1600]


async def test_only_an_owing_order_is_asked_for(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))
    assert refusal_of(await asked_to_pay(merchant)) == (*WRONG_STATE, 271302332)
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    simulator.pay("trip-1")
    assert refusal_of(await asked_to_pay(merchant)) == (*WRONG_STATE, 271302262)
    await merchant.create("serviceorder", a_create("serviceorder", "trip-2"))
    await merchant.cancel("serviceorder", "trip-2")
    assert refusal_of(await asked_to_pay(merchant, "trip-2")) == (*WRONG_STATE, 271302333)
    assert refusal_of(await asked_to_pay(merchant, "trip-3"))[:2] == (404, "ORDER_NOT_EXIST")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"appid": ABSENT}, "/appid"),
        ({"service_id": ABSENT}, "/service_id"),
        ({"service_id": 1}, "/service_id"),
        ({"out_order_no": "trip-1"}, "/out_order_no"),
    ],
)
async def test_asking_points_to_what_is_wrong(merchant: Merchant, clock: Clock, changes: Json, field: str) -> None:
    await owing(merchant, clock)
    assert field_of(await asked_to_pay(merchant, **changes)) == field


async def test_asking_for_another_service_or_app_is_refused(merchant: Merchant, clock: Clock) -> None:
    await owing(merchant, clock)
    assert refusal_of(await asked_to_pay(merchant, service_id="500001"))[:2] == (403, "NO_AUTH")
    assert refusal_of(await asked_to_pay(merchant, appid="wx0000000000000000"))[:2] == (403, "NO_AUTH")


async def test_the_legacy_family_has_no_such_call(merchant: Merchant) -> None:
    await merchant.create("payafter", a_create("payafter"))
    response = await merchant.post(f"{BASES['payafter']}/trip-1/pay", merchant.ours())
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


async def test_a_lost_reply_to_it_debits_all_the_same(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await owing(merchant, clock)
    simulator.add_fault(Fault(FaultKind.FAIL_AFTER, call="pay", out_order_no="trip-1"))
    assert (await asked_to_pay(merchant)).status_code == 500
    await simulator.run_once()
    assert charged(simulator) == [3200]


# Modify, once or several times


async def modified(merchant: Merchant, total: int) -> httpx.Response:
    items = {"post_payments": [{"name": "车费", "amount": total}], "total_amount": total}
    return await merchant.post(f"{ORDERS}/trip-1/modify", merchant.ours() | items | {"reason": "绕路减免"})


async def test_an_order_is_lowered_several_times(merchant: Merchant, clock: Clock) -> None:
    await owing(merchant, clock)
    assert [(await modified(merchant, total)).status_code for total in (3000, 2800)] == [200, 200]


class TestModifyOnce:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, modify_once=True)

    async def test_an_order_is_lowered_once(self, merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
        await owing(merchant, clock)
        assert field_of(await modified(merchant, 3200)) == "/total_amount"
        assert (await modified(merchant, 3000)).status_code == 200
        assert refusal_of(await modified(merchant, 2800)) == (400, "INVALID_REQUEST", "订单金额只能修改一次", 0)
        assert simulator.ledger_entry("trip-1").total_fen == 3000

    async def test_what_a_person_has_lowered_is_lowered(
        self, merchant: Merchant, simulator: Simulator, clock: Clock
    ) -> None:
        await owing(merchant, clock)
        simulator.lower("trip-1", 3000)
        assert refusal_of(await modified(merchant, 2800))[2] == "订单金额只能修改一次"
