"""Create and complete in one call, for services that may (reference payscore-api B.9)."""

import dataclasses

import httpx
import pytest

from payscore_worker.simulator import Behaviour, Passenger, Service, Simulator, SimulatorConfig, SimulatorKeys

from .bodies import ABSENT, NOTIFY_URL, Json, a_create, changed
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver
from .refusals import field_of, refusal_of

PATHS = ("/v3/payscore/serviceorder/direct-complete", "/payscore/serviceorder/direct-complete")
DIRECT: Json = {
    "out_order_no": "trip-1",
    "openid": "passenger-1",
    "service_introduction": "网约车出行",
    "post_payments": [{"name": "车费", "amount": 3200}],
    "time_range": {"start_time": "20260301093000", "end_time": "20260301095000"},
    "location": {"start_location": "上海虹桥站", "end_location": "静安寺"},
    "total_amount": 3200,
    "notify_url": NOTIFY_URL,
}


@pytest.fixture
def config(config: SimulatorConfig, keys: SimulatorKeys) -> SimulatorConfig:
    service = Service(appid=keys.appid, service_id=keys.service_id, direct_complete=True)
    return dataclasses.replace(config, services=(service,))


async def sent(merchant: Merchant, path: str = PATHS[0], /, **changes: object) -> httpx.Response:
    return await merchant.post(path, changed(merchant.ours() | DIRECT, changes))


@pytest.mark.parametrize("path", PATHS)
async def test_an_order_is_created_completed_and_debited(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, path: str
) -> None:
    response = await sent(merchant, path)
    assert response.status_code == 200, response.text
    entry = simulator.ledger_entry("trip-1")
    assert response.json() == merchant.ours() | {name: value for name, value in DIRECT.items() if name != "openid"} | {
        "mchid": merchant.keys.mchid,
        "order_id": entry.order_id,
        "state": "DOING",
        "state_description": "MCH_COMPLETE",
    }
    assert (entry.stage, entry.openid) == ("owing", "passenger-1")
    clock.advance(2)
    await simulator.run_once()
    assert simulator.ledger_entry("trip-1").charged_fen == 3200
    (arrival,) = receiver.arrivals
    assert arrival.resource == (await merchant.query("serviceorder", "trip-1")).json()


async def test_where_nothing_is_to_be_paid_it_is_done(merchant: Merchant) -> None:
    free = {"total_amount": 0, "post_payments__0__amount": 0}
    assert (await sent(merchant, **free)).json()["state"] == "DONE"


async def test_the_same_again_is_the_same_and_another_is_refused(merchant: Merchant, simulator: Simulator) -> None:
    first, again = [(await sent(merchant)).json() for _ in range(2)]
    assert first == again
    refused = await sent(merchant, service_introduction="代驾")
    assert refusal_of(refused) == (400, "INVALID_REQUEST", "订单重入参数校验失败", 271316598)
    assert refusal_of(await merchant.create("serviceorder", a_create("serviceorder")))[2] == "订单重入参数校验失败"
    simulator.pay("trip-1")
    assert simulator.ledger_entry("trip-1").charged_fen == 3200


async def test_it_is_lowered_as_any_other(merchant: Merchant, simulator: Simulator) -> None:
    await sent(merchant)
    body = {"post_payments": [{"name": "车费", "amount": 3000}], "total_amount": 3000, "reason": "绕路减免"}
    path = "/v3/payscore/serviceorder/trip-1/modify"
    assert (await merchant.post(path, merchant.ours() | body)).status_code == 200
    assert simulator.ledger_entry("trip-1").total_fen == 3000


@pytest.mark.parametrize("behaviour", [Behaviour.RISK_REFUSED, Behaviour.ARREARS])
async def test_the_passenger_is_not_evaluated(merchant: Merchant, simulator: Simulator, behaviour: Behaviour) -> None:
    simulator.set_passenger("passenger-1", Passenger(behaviour))
    assert (await sent(merchant)).status_code == 200


async def test_the_passenger_has_authorised(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    assert refusal_of(await sent(merchant))[:2] == (403, "NO_AUTH")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        *(({name: ABSENT}, f"/{name}") for name in ("out_order_no", "appid", "openid", "service_id", "time_range")),
        *(({name: ABSENT}, f"/{name}") for name in ("service_introduction", "post_payments", "total_amount")),
        ({"time_range__end_time": ABSENT}, "/time_range/end_time"),
        ({"time_range__start_time": ABSENT}, "/time_range/start_time"),
        ({"time_range__end_time": "20260301"}, "/time_range/end_time"),
        ({"post_payments": []}, "/post_payments"),
        (
            {"post_discounts": [{"name": f"减{n}", "description": "减", "amount": 0} for n in range(6)]},
            "/post_discounts",
        ),
        ({"location__start_location": ABSENT}, "/location/end_location"),
        ({"location__end_location": "静" * 21}, "/location/end_location"),
        ({"attach": "城市"}, "/attach"),
        ({"notify_url": f"{NOTIFY_URL}?a=b"}, "/notify_url"),
    ],
)
async def test_it_points_to_what_is_wrong(merchant: Merchant, changes: Json, field: str) -> None:
    assert field_of(await sent(merchant, **changes)) == field


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_amount": 3100}, "最终总金额计算非法"),
        ({"total_amount": 50_001, "post_payments__0__amount": 50_001}, "总金额超过此服务的服务风险金额"),
        ({"time_range__end_time": "20260301092959"}, "真实结束时间小于预计开始时间"),
        ({"time_range__end_time": "20290301100000"}, "实际结束时间不能晚于使用完结接口的时间"),
    ],
)
async def test_it_keeps_the_rules_of_complete(
    merchant: Merchant, simulator: Simulator, changes: Json, message: str
) -> None:
    assert refusal_of(await sent(merchant, **changes))[2] == message
    assert simulator.ledger_entry("trip-1").stage is None


class TestElsewhere:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, services=())

    async def test_it_is_not_open_to_everybody(self, merchant: Merchant, simulator: Simulator) -> None:
        assert refusal_of(await sent(merchant)) == (403, "NO_AUTH", "商户暂无权限使用此服务", 0)
        assert simulator.ledger_entry("trip-1").stage is None
