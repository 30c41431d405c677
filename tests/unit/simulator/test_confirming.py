"""Orders that the passenger confirms, where the service is licensed for them (reference payscore-api A.2, A.4, B.0)."""

import dataclasses

import httpx
import pytest

from payscore_worker.simulator import (
    Behaviour,
    Fault,
    FaultKind,
    PageRefused,
    Passenger,
    Service,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
)
from payscore_worker.simulator.payscore.happenings import LOOK_SECONDS
from payscore_worker.simulator.signing import jump_signature

from .bodies import ABSENT, FAMILIES, NOTIFY_URL, Json, a_complete, a_create
from .clock import Clock
from .merchant import BASES, Merchant
from .receiver import Receiver
from .refusals import field_of, refusal_of

ORDER_URL = "http://receiver/notify/order"
HOUR, DAY = 3600, 86_400
WAITS = {"payafter": HOUR, "serviceorder": 30 * DAY}
WRONG_MODE = (403, "NO_AUTH", "商户暂无权限使用此服务", 0)

by_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def config(config: SimulatorConfig, keys: SimulatorKeys) -> SimulatorConfig:
    service = Service(appid=keys.appid, service_id=keys.service_id, mode="need_confirm")
    return dataclasses.replace(config, services=(service,))


def a_create_to_confirm(family: str, out_order_no: str = "trip-1", /, **changes: object) -> Json:
    changes = {"openid": ABSENT, "need_user_confirm": True} | changes
    if family == "serviceorder":
        changes = {"notify_url": ORDER_URL} | changes
    return a_create(family, out_order_no, **changes)


async def created(merchant: Merchant, family: str, out_order_no: str = "trip-1", /, **changes: object) -> Json:
    response = await merchant.create(family, a_create_to_confirm(family, out_order_no, **changes))
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


async def a_package(merchant: Merchant, family: str, out_order_no: str = "trip-1", /) -> str:
    package: str = (await created(merchant, family, out_order_no))["package"]
    return package


async def shown(merchant: Merchant, family: str) -> Json:
    answer: Json = (await merchant.query(family, "trip-1")).json()
    return answer


async def state(merchant: Merchant, family: str) -> tuple[str, str | None]:
    entity = await shown(merchant, family)
    return entity["state"], entity.get("state_description")


RUNNING = {"payafter": ("USER_ACCEPTED", None), "serviceorder": ("DOING", "USER_CONFIRM")}


# Create


@pytest.mark.parametrize("said", [True, ABSENT])
@by_family
async def test_an_order_waits_for_a_passenger_who_is_not_known(
    merchant: Merchant, simulator: Simulator, family: str, said: object
) -> None:
    answer = await created(merchant, family, need_user_confirm=said)
    assert 0 < len(answer["package"]) <= 300
    entity = await shown(merchant, family)
    assert (entity["state"], "openid" in entity, "finish_ticket" in entity) == ("CREATED", False, False)
    entry = simulator.ledger_entry("trip-1")
    assert (entry.stage, entry.openid) == ("created", None)


async def test_the_current_family_answers_the_created_order(merchant: Merchant) -> None:
    answer = await created(merchant, "serviceorder")
    assert (answer["state"], "state_description" in answer) == ("CREATED", False)


async def test_the_legacy_family_answers_where_the_page_is(merchant: Merchant) -> None:
    answer = await created(merchant, "payafter")
    assert set(answer) - set(merchant.ours()) == {
        *("mchid", "out_order_no", "order_id", "package"),
        *("miniprogram_businesstype", "miniprogram_appid", "miniprogram_path", "miniprogram_username"),
    }
    assert answer["miniprogram_businesstype"] == "wxpayScoreUse"


@by_family
async def test_a_service_for_confirmed_orders_takes_no_others(merchant: Merchant, family: str) -> None:
    assert refusal_of(await merchant.create(family, a_create(family))) == WRONG_MODE


@by_family
async def test_nobody_is_named_where_the_passenger_confirms(merchant: Merchant, family: str) -> None:
    body = a_create_to_confirm(family, openid="passenger-1")
    assert field_of(await merchant.create(family, body)) == "/openid"


@pytest.mark.parametrize("name", ["DEPOSIT", "ADVANCE", "CASH_DEPOSIT", "ESTIMATE_ORDER_COST"])
async def test_every_kind_of_risk_fund_may_be_confirmed(merchant: Merchant, name: str) -> None:
    assert (await created(merchant, "serviceorder", risk_fund__name=name))["risk_fund"]["name"] == name


@by_family
async def test_the_same_create_again_gives_a_package_that_is_as_good(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    packages = [await a_package(merchant, family) for _ in range(2)]
    assert len(set(packages)) == 2
    simulator.confirm(packages[1], "passenger-1")
    with pytest.raises(PageRefused, match="opened before"):
        simulator.confirm(packages[0], "passenger-1")


@by_family
async def test_a_passenger_who_is_to_confirm_is_looked_at_when_he_does(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    simulator.set_order("trip-1", Passenger(Behaviour.RISK_REFUSED))
    package = await a_package(merchant, family)
    with pytest.raises(PageRefused, match="综合评估未通过"):
        simulator.confirm(package, "passenger-1")
    assert (await shown(merchant, family))["state"] == "CREATED"
    with pytest.raises(PageRefused, match="opened before"):
        simulator.confirm(package, "passenger-2")


@by_family
async def test_there_is_nothing_to_authorise(merchant: Merchant, simulator: Simulator, family: str) -> None:
    refused = (403, "NO_AUTH", "请检查服务授权状态", 0)
    base, body = "/v3/payscore/permissions", merchant.ours() | {"authorization_code": "agreement-1"}
    assert refusal_of(await merchant.post(base, body)) == refused
    assert refusal_of(await merchant.get(f"{base}/openid/passenger-1", **merchant.ours())) == refused
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    simulator.confirm(await a_package(merchant, family), "passenger-1")


class TestReentryNeedsService:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, reentry_needs_service=True)

    @by_family
    async def test_an_order_to_be_confirmed_never_does(
        self, merchant: Merchant, simulator: Simulator, family: str
    ) -> None:
        simulator.set_order("trip-1", Passenger(Behaviour.NOT_ENABLED))
        for _ in range(2):
            await created(merchant, family)


# Confirm


@by_family
async def test_a_confirmed_order_runs_and_is_completed_and_paid(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    package = await a_package(merchant, family)
    clock.advance(60)
    simulator.confirm(package, "passenger-1")
    assert await state(merchant, family) == RUNNING[family]
    clock.advance(600)
    response = await merchant.complete(family, "trip-1", a_complete(family, clock.text()))
    assert response.status_code == 200, response.text
    clock.advance(2)
    await simulator.run_once()
    entry = simulator.ledger_entry("trip-1")
    assert (entry.openid, entry.stage, entry.charged_fen) == ("passenger-1", "paid", 3200)
    assert receiver.arrivals[-1].envelope["event_type"] == "PAYSCORE.USER_PAID"


@by_family
async def test_on_accept_is_the_moment_of_the_confirmation(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    package = await a_package(merchant, family)
    clock.advance(60)
    simulator.confirm(package, "passenger-1")
    entity = await shown(merchant, family)
    start = entity["service_start_time"] if family == "payafter" else entity["time_range"]["start_time"]
    assert start == clock.text()


async def test_the_current_family_announces_the_confirmation_to_the_order(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    simulator.confirm(await a_package(merchant, "serviceorder"), "passenger-1")
    await simulator.run_once()
    (arrival,) = receiver.arrivals
    assert (arrival.url, arrival.envelope["event_type"]) == (ORDER_URL, "PAYSCORE.USER_CONFIRM")
    entity = await shown(merchant, "serviceorder")
    assert entity.pop("notify_url") == ORDER_URL
    assert arrival.resource == entity
    assert (entity["state_description"], entity["openid"], "collection" in entity) == (
        *("USER_CONFIRM", "passenger-1"),
        False,
    )


async def test_the_legacy_family_announces_the_confirmation_with_a_finish_ticket(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    simulator.confirm(await a_package(merchant, "payafter"), "passenger-1")
    await simulator.run_once()
    (arrival,) = receiver.arrivals
    assert (arrival.url, arrival.envelope["event_type"]) == (NOTIFY_URL, "PAYSCORE.USER_ACCEPTED")
    told = arrival.resource
    assert (told["out_order_no"], told["state"], told["mchid"]) == ("trip-1", "USER_ACCEPTED", merchant.keys.mchid)
    clock.advance(600)
    body = a_complete("payafter", clock.text()) | {"finish_ticket": told["finish_ticket"]}
    assert (await merchant.complete("payafter", "trip-1", body)).status_code == 200


@by_family
async def test_an_order_is_not_completed_before_it_is_confirmed(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await created(merchant, family)
    clock.advance(600)
    body = a_complete(family, clock.text()) | ({"finish_ticket": "x"} if family == "payafter" else {})
    response = await merchant.complete(family, "trip-1", body)
    assert refusal_of(response) == (400, "PARAM_ERROR", "当前订单状态不合法", 271302262)
    assert simulator.ledger_entry("trip-1").stage == "created"


@by_family
async def test_an_order_that_waits_can_be_cancelled_and_is_then_not_confirmed(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    package = await a_package(merchant, family)
    assert (await merchant.cancel(family, "trip-1")).status_code == 200
    with pytest.raises(PageRefused, match="order trip-1 is revoked"):
        simulator.confirm(package, "passenger-1")


@by_family
async def test_a_passenger_confirms_no_more_orders_than_he_may_have(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    for number in range(3):
        simulator.confirm(await a_package(merchant, family, f"trip-{number}"), "passenger-1")
    package = await a_package(merchant, family, "trip-3")
    with pytest.raises(PageRefused, match="用户进行中的订单数量超过上限"):
        simulator.confirm(package, "passenger-1")
    simulator.confirm(await a_package(merchant, family, "trip-4"), "passenger-2")


@by_family
async def test_who_leaves_the_page_has_used_it_up(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, family: str
) -> None:
    package = await a_package(merchant, family)
    simulator.leave(package, "passenger-1")
    for openid in ("passenger-1", "passenger-2"):
        for action in (simulator.confirm, simulator.leave):
            with pytest.raises(PageRefused, match="order trip-1 has been opened before"):
                action(package, openid)
    with pytest.raises(PageRefused, match="opened before"):
        simulator.confirm(await a_package(merchant, family), "passenger-1")
    await simulator.run_once()
    assert (await shown(merchant, family))["state"] == "CREATED"
    assert (simulator.ledger_entry("trip-1").openid, receiver.arrivals) == ("passenger-1", [])
    assert (await merchant.cancel(family, "trip-1")).status_code == 200


@by_family
async def test_a_package_is_valid_for_an_hour(merchant: Merchant, simulator: Simulator, family: str) -> None:
    package = await a_package(merchant, family)
    simulator.advance(HOUR - 1)
    simulator.confirm(package, "passenger-1")
    package = await a_package(merchant, family, "trip-2")
    simulator.advance(HOUR)
    with pytest.raises(PageRefused, match="4186"):
        simulator.confirm(package, "passenger-1")


@pytest.mark.parametrize(("package", "code"), [("", "4185"), ("x", "4186"), ("包", "4186")])
def test_what_is_no_package_opens_nothing(simulator: Simulator, package: str, code: str) -> None:
    for action in (simulator.confirm, simulator.leave):
        with pytest.raises(PageRefused, match=code):
            action(package, "passenger-1")


async def test_a_package_is_no_token(merchant: Merchant, simulator: Simulator) -> None:
    with pytest.raises(PageRefused, match="none of ours"):
        simulator.enable(await a_package(merchant, "serviceorder"), "passenger-1")


# Expiry


@by_family
async def test_an_order_that_nobody_confirms_expires(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, family: str
) -> None:
    await created(merchant, family)
    simulator.advance(WAITS[family] - 1)
    await simulator.run_once()
    assert (await shown(merchant, family))["state"] == "CREATED"
    simulator.advance(1)
    await simulator.run_once()
    assert (await shown(merchant, family))["state"] == "EXPIRED"
    assert receiver.arrivals == []


@by_family
async def test_an_order_expires_though_the_agenda_was_looked_at_all_the_while(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    await created(merchant, family)
    for _ in range(WAITS[family] // (HOUR // 2)):
        assert (await shown(merchant, family))["state"] == "CREATED"
        simulator.advance(HOUR // 2)
        await simulator.run_once()
    assert (await shown(merchant, family))["state"] == "EXPIRED"


@by_family
async def test_an_order_expires_at_its_own_time_at_any_speed(
    config: SimulatorConfig, clock: Clock, family: str
) -> None:
    simulator = Simulator(dataclasses.replace(config, speed=1000), clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(simulator)), base_url="http://s") as http:
        merchant = Merchant(http, config.keys, clock)
        await created(merchant, family)
        simulator.advance(WAITS[family] - 1)
        await simulator.run_once()
        assert (await shown(merchant, family))["state"] == "CREATED"


@by_family
async def test_a_confirmed_order_does_not_expire(merchant: Merchant, simulator: Simulator, family: str) -> None:
    simulator.confirm(await a_package(merchant, family), "passenger-1")
    simulator.advance(31 * DAY)
    await simulator.run_once()
    assert await state(merchant, family) == RUNNING[family]


async def test_the_agenda_keeps_nothing_for_long_of_an_order_that_is_confirmed(
    merchant: Merchant, simulator: Simulator
) -> None:
    simulator.confirm(await a_package(merchant, "serviceorder"), "passenger-1")
    await simulator.run_once()
    simulator.advance(LOOK_SECONDS)
    await simulator.run_once()
    assert not simulator._world.agenda._entries


@by_family
async def test_an_expired_order_is_not_confirmed(merchant: Merchant, simulator: Simulator, family: str) -> None:
    package = await a_package(merchant, family)
    simulator.expire("trip-1")
    with pytest.raises(PageRefused, match="order trip-1 is expired"):
        simulator.confirm(package, "passenger-1")


# Exempt-first: the risk fund is the most there is


@pytest.mark.parametrize("name", ["DEPOSIT", "ADVANCE", "CASH_DEPOSIT"])
async def test_an_exempt_first_order_costs_no_more_than_its_risk_fund(
    merchant: Merchant, simulator: Simulator, clock: Clock, name: str
) -> None:
    answer = await created(merchant, "serviceorder", risk_fund__name=name, risk_fund__amount=20_000)
    simulator.confirm(answer["package"], "passenger-1")
    clock.advance(600)
    body = a_complete("serviceorder", clock.text(), 20_001)
    refused = (400, "INVALID_REQUEST", "总金额超过此服务的服务风险金额", 271316656)
    assert refusal_of(await merchant.complete("serviceorder", "trip-1", body)) == refused
    body = a_complete("serviceorder", clock.text(), 20_000)
    assert (await merchant.complete("serviceorder", "trip-1", body)).status_code == 200
    lower = {"post_payments": [{"name": "车费", "amount": 1}], "total_amount": 1, "reason": "减免"}
    response = await merchant.post(f"{BASES['serviceorder']}/trip-1/modify", merchant.ours() | lower)
    assert refusal_of(response)[3] == 271316657


async def test_a_use_first_order_that_was_confirmed_costs_what_the_service_allows(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.confirm(await a_package(merchant, "serviceorder"), "passenger-1")
    clock.advance(600)
    body = a_complete("serviceorder", clock.text(), 50_000)
    assert (await merchant.complete("serviceorder", "trip-1", body)).status_code == 200


# The admin API, faults, and configuration


@by_family
async def test_a_passenger_confirms_and_leaves_by_the_admin_api(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, family: str
) -> None:
    for verb, number, stage in (("confirm", 1, "running"), ("leave", 2, "created")):
        body = {"package": await a_package(merchant, family, f"trip-{number}")}
        path = f"/admin/passengers/passenger-1/{verb}"
        assert (await http.post(path, json=body)).json() == {"ok": True}
        assert simulator.ledger_entry(f"trip-{number}").stage == stage
        response = await http.post(path, json=body)
        message = f"order trip-{number} has been opened before"
        assert (response.status_code, response.json()) == (409, {"code": "CONFLICT", "message": message})
        response = await http.post(path, json={"packages": []})
        assert (response.status_code, response.json()["code"]) == (400, "BAD_REQUEST")


@by_family
async def test_a_fault_on_a_passenger_strikes_once_the_order_is_his(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, openid="passenger-1"))
    package = await a_package(merchant, family)
    assert (await merchant.query(family, "trip-1")).status_code == 200
    simulator.leave(package, "passenger-1")
    assert (await merchant.query(family, "trip-1")).status_code == 500


def test_a_service_id_has_one_mode(config: SimulatorConfig) -> None:
    services = (
        Service(appid="wx1", service_id="500001"),
        Service(appid="wx2", service_id="500001", mode="need_confirm"),
    )
    with pytest.raises(ValueError, match="a service id has one mode"):
        dataclasses.replace(config, services=services)
    dataclasses.replace(config, services=(services[0], dataclasses.replace(services[1], service_id="500002")))


async def test_the_older_page_enables_nothing_where_orders_are_confirmed(
    simulator: Simulator, keys: SimulatorKeys
) -> None:
    members = {
        "mch_id": keys.mchid,
        "service_id": keys.service_id,
        "out_request_no": "request-1",
        "timestamp": "1772330400",
        "nonce_str": "nonce",
        "sign_type": "HMAC-SHA256",
    }
    signed = members | {"sign": jump_signature(members, apiv2_key=keys.apiv2_key)}
    with pytest.raises(PageRefused, match="3961"):
        simulator.enable_signed(signed, "passenger-1")
