"""A merchant with several services, as after a migration from one family to the other."""

import dataclasses

import pytest

from payscore_worker.simulator import Service, Simulator, SimulatorConfig, SimulatorKeys

from .bodies import FAMILIES, a_complete, a_create
from .clock import Clock
from .merchant import BASES, Merchant
from .receiver import Receiver
from .refusals import refusal_of

OLD_SERVICE, NEW_SERVICE = "2002" + "1" * 27, "2002" + "2" * 27
OLD_APP, NEW_APP = "wx1111111111111111", "wx2222222222222222"
OLD = {"appid": OLD_APP, "service_id": OLD_SERVICE}
NEW = {"appid": NEW_APP, "service_id": NEW_SERVICE}
OURS = {"payafter": OLD, "serviceorder": NEW}
NO_AUTH = (403, "NO_AUTH", "商户暂无权限使用此服务", 0)
NOT_BOUND = (403, "NO_AUTH", "mch_id 和 appid 未绑定", 271302149)
UNKNOWN = (404, "ORDER_NOT_EXIST", "查询单据不存在", 271317510)


@pytest.fixture
def config(config: SimulatorConfig) -> SimulatorConfig:
    services = (
        Service(appid=OLD_APP, service_id=OLD_SERVICE, families=frozenset({"payafter"})),
        Service(appid=NEW_APP, service_id=NEW_SERVICE, families=frozenset({"serviceorder"})),
        Service(appid=NEW_APP, service_id=OLD_SERVICE),
    )
    return dataclasses.replace(config, services=services)


async def test_orders_of_both_families_run_side_by_side(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    for number, family in enumerate(FAMILIES):
        body = a_create(family, f"trip-{number}", **OURS[family])
        assert (await merchant.create(family, body)).status_code == 200
    clock.advance(600)
    for number, family in enumerate(FAMILIES):
        shown = (await merchant.get(BASES[family], out_order_no=f"trip-{number}", **OURS[family])).json()
        ticket = {"finish_ticket": shown["finish_ticket"]} if family == "payafter" else {}
        body = a_complete(family, clock.text(), **OURS[family], **ticket)
        response = await merchant.complete(family, f"trip-{number}", body)
        assert response.status_code == 200, response.text
    clock.advance(2)
    await simulator.run_once()
    told = {arrival.resource["out_order_no"]: arrival.resource for arrival in receiver.arrivals}
    assert [(told[n]["appid"], told[n]["service_id"]) for n in ("trip-0", "trip-1")] == [
        (OLD_APP, OLD_SERVICE),
        (NEW_APP, NEW_SERVICE),
    ]


@pytest.mark.parametrize(
    ("family", "said", "refusal"),
    [
        ("payafter", NEW, NO_AUTH),
        ("serviceorder", OLD, NO_AUTH),
        ("payafter", OLD | {"service_id": NEW_SERVICE}, NO_AUTH),
        ("payafter", OLD | {"service_id": "none"}, NO_AUTH),
        ("payafter", OLD | {"appid": "none"}, NOT_BOUND),
    ],
)
async def test_a_service_is_used_by_its_app_through_its_family(
    merchant: Merchant, family: str, said: dict[str, str], refusal: tuple[object, ...]
) -> None:
    assert refusal_of(await merchant.create(family, a_create(family, **said))) == refusal


async def test_an_app_of_the_keys_that_is_not_listed_is_not_bound(merchant: Merchant, keys: SimulatorKeys) -> None:
    assert refusal_of(await merchant.create("payafter", a_create("payafter", appid=keys.appid))) == NOT_BOUND


@pytest.mark.parametrize("said", [OLD, NEW])
async def test_the_service_state_is_asked_of_every_service(merchant: Merchant, said: dict[str, str]) -> None:
    assert (await merchant.user_service_state("passenger-1", **said)).json()["service_id"] == said["service_id"]


async def test_an_order_is_spoken_to_as_it_was_created(merchant: Merchant) -> None:
    assert (await merchant.create("payafter", a_create("payafter", **OLD))).status_code == 200
    for family, said in (("serviceorder", NEW), ("payafter", {"appid": NEW_APP, "service_id": OLD_SERVICE})):
        assert refusal_of(await merchant.get(BASES[family], out_order_no="trip-1", **said)) == UNKNOWN
        cancel = {"reason": "行程取消", **said}
        assert refusal_of(await merchant.post(f"{BASES[family]}/trip-1/cancel", cancel)) == UNKNOWN
        assert refusal_of(await merchant.create(family, a_create(family, **said)))[2] == "订单重入参数校验失败"
    assert (await merchant.get(BASES["payafter"], out_order_no="trip-1", **OLD)).status_code == 200


async def test_the_switching_of_a_service_is_told_as_of_one_service(simulator: Simulator, receiver: Receiver) -> None:
    simulator.close_service("passenger-1")
    simulator.open_service("passenger-1", service_id=NEW_SERVICE)
    await simulator.run_once()
    assert [(a.resource["appid"], a.resource["service_id"]) for a in receiver.arrivals] == [
        (OLD_APP, OLD_SERVICE),
        (NEW_APP, NEW_SERVICE),
    ]


@pytest.mark.parametrize("families", [frozenset(), frozenset({"payafter", "smartretail"})])
def test_a_service_belongs_to_families_that_there_are(families: frozenset[str]) -> None:
    with pytest.raises(ValueError, match="families must be some of payafter, serviceorder"):
        Service(appid=OLD_APP, service_id=OLD_SERVICE, families=families)
