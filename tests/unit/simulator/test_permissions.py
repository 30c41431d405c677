"""What merchant and passenger agree on before an order, and how it ends (reference payscore-api C)."""

import dataclasses
from collections.abc import Awaitable, Callable

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
)
from payscore_worker.simulator.payscore import permissions
from payscore_worker.simulator.signing import jump_signature

from .bodies import ABSENT, NOTIFY_URL, Json, a_create, changed
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver
from .refusals import field_of, refusal_of

BASE = "/v3/payscore/permissions"
OWN_URL = "http://receiver/notify/permissions"
CODE = "agreement-1"
TIME = "2026-03-01T10:00:00+08:00"
WRONG_SERVICE = (403, "NO_AUTH", "请检查服务授权状态", 0)
NOT_BOUND = (403, "NO_AUTH", "mch_id 和 appid 未绑定", 271302149)
NEVER = (404, "ORDER_NOT_EXIST", "请求操作的授权记录不存在", 0)
HOUR = 3600
PATHS = (f"{BASE}/authorization-code/{CODE}", f"{BASE}/openid/passenger-1")

Ask = Callable[..., Awaitable[httpx.Response]]

by_path = pytest.mark.parametrize("path", PATHS, ids=["code", "openid"])


async def pre_authorised(merchant: Merchant, code: str = CODE, /, **changes: object) -> httpx.Response:
    body = merchant.ours() | {"authorization_code": code, "notify_url": OWN_URL}
    return await merchant.post(BASE, changed(body, changes))


async def a_token(merchant: Merchant, code: str = CODE, /, **changes: object) -> str:
    response = await pre_authorised(merchant, code, **changes)
    assert response.status_code == 200, response.text
    token: str = response.json()["apply_permissions_token"]
    return token


async def by_code(merchant: Merchant, code: str = CODE, /, **query: str) -> httpx.Response:
    query = {"service_id": merchant.keys.service_id} | query
    return await merchant.get(f"{BASE}/authorization-code/{code}", **query)


async def by_openid(merchant: Merchant, openid: str = "passenger-1", /, **query: str) -> httpx.Response:
    return await merchant.get(f"{BASE}/openid/{openid}", **(merchant.ours() | query))


async def terminated(merchant: Merchant, path: str, /, **changes: object) -> httpx.Response:
    body = merchant.ours() | {"reason": "乘客注销"}
    if "authorization-code" in path:
        del body["appid"]
    return await merchant.post(f"{path}/terminate", changed(body, changes))


async def enabled(merchant: Merchant, simulator: Simulator, receiver: Receiver) -> None:
    """The passenger signed, and the merchant has been told."""
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    simulator.enable(await a_token(merchant), "passenger-1")
    await simulator.run_once()
    receiver.arrivals.clear()


# Pre-authorise


async def test_a_token_is_all_that_pre_authorise_answers(merchant: Merchant) -> None:
    answer = (await pre_authorised(merchant, notify_url=ABSENT)).json()
    assert list(answer) == ["apply_permissions_token"]
    assert 0 < len(answer["apply_permissions_token"]) <= 300


async def test_the_token_of_the_longest_code_has_three_hundred_characters_at_most(merchant: Merchant) -> None:
    assert len(await a_token(merchant, "aZ09_-|*" * 4)) <= 300


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"service_id": ABSENT}, "/service_id"),
        ({"service_id": "s" * 33}, "/service_id"),
        ({"appid": ABSENT}, "/appid"),
        ({"appid": "a" * 33}, "/appid"),
        ({"authorization_code": ABSENT}, "/authorization_code"),
        ({"authorization_code": ""}, "/authorization_code"),
        ({"authorization_code": "c" * 33}, "/authorization_code"),
        ({"authorization_code": "协议"}, "/authorization_code"),
        ({"authorization_code": "a/b"}, "/authorization_code"),
        ({"authorization_code": 1}, "/authorization_code"),
        ({"notify_url": "http://receiver/notify?trip=1"}, "/notify_url"),
        ({"notify_url": "http://receiver/" + "n" * 255}, "/notify_url"),
        ({"notify_url": 1}, "/notify_url"),
    ],
)
async def test_pre_authorise_points_to_what_is_wrong(merchant: Merchant, changes: Json, field: str) -> None:
    assert field_of(await pre_authorised(merchant, **changes)) == field


async def test_pre_authorise_is_for_a_service_of_the_merchant(merchant: Merchant) -> None:
    assert refusal_of(await pre_authorised(merchant, service_id="500001")) == WRONG_SERVICE
    assert refusal_of(await pre_authorised(merchant, appid="wx0000000000000000")) == NOT_BOUND


async def test_the_same_again_gives_a_new_token_and_both_are_good(merchant: Merchant, simulator: Simulator) -> None:
    first, second = [await a_token(merchant) for _ in range(2)]
    assert first != second
    simulator.enable(first, "passenger-1")
    with pytest.raises(PageRefused, match="agreement-1 is signed already"):
        simulator.enable(second, "passenger-2")


async def test_a_code_asks_for_one_thing_only(merchant: Merchant) -> None:
    await a_token(merchant)
    assert refusal_of(await pre_authorised(merchant, notify_url=ABSENT))[:2] == (400, "INVALID_REQUEST")
    await a_token(merchant)


async def test_a_signed_code_is_never_used_again(merchant: Merchant, simulator: Simulator) -> None:
    simulator.enable(await a_token(merchant), "passenger-1")
    used = (400, "INVALID_REQUEST", "授权协议号已被使用", 0)
    assert refusal_of(await pre_authorised(merchant)) == used
    simulator.close_service("passenger-1")
    assert refusal_of(await pre_authorised(merchant)) == used


@pytest.mark.parametrize("advance", [True, False], ids=["advanced", "true"])
async def test_a_token_is_valid_for_an_hour(
    merchant: Merchant, simulator: Simulator, clock: Clock, *, advance: bool
) -> None:
    token = await a_token(merchant)
    (simulator if advance else clock).advance(HOUR - 1)
    simulator.enable(token, "passenger-1")
    token = await a_token(merchant, "agreement-2")
    (simulator if advance else clock).advance(HOUR)
    with pytest.raises(PageRefused, match="its hour is over"):
        simulator.enable(token, "passenger-1")


@pytest.mark.parametrize("spoil", [lambda _: "", lambda _: "令牌", lambda t: t[:-4], lambda t: "AAAA" + t[4:]])
async def test_a_token_of_somebody_elses_opens_nothing(
    merchant: Merchant, simulator: Simulator, spoil: Callable[[str], str]
) -> None:
    with pytest.raises(PageRefused, match="none of ours"):
        simulator.enable(spoil(await a_token(merchant)), "passenger-1")


# What the passenger signs, and what the merchant is told


async def test_signing_enables_the_passenger_everywhere(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    assert (await merchant.create("serviceorder", a_create("serviceorder"))).status_code == 403
    simulator.enable(await a_token(merchant), "passenger-1")
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "AVAILABLE"
    assert (await merchant.create("serviceorder", a_create("serviceorder"))).status_code == 200


async def test_signing_leaves_the_rest_of_a_behaviour_alone(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.ARREARS))
    simulator.enable(await a_token(merchant), "passenger-1")
    assert simulator.passenger("passenger-1") == Passenger(Behaviour.ARREARS)


@pytest.mark.parametrize(("changes", "url"), [({}, OWN_URL), ({"notify_url": ABSENT}, NOTIFY_URL)])
async def test_signing_is_announced_where_pre_authorise_said(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, changes: Json, url: str
) -> None:
    simulator.enable(await a_token(merchant, **changes), "passenger-1")
    await simulator.run_once()
    assert receiver.arrivals[0].url == url
    assert receiver.arrivals[0].envelope["event_type"] == "PAYSCORE.USER_OPEN_SERVICE"
    assert receiver.arrivals[0].resource == merchant.ours() | {
        "mchid": merchant.keys.mchid,
        "openid": "passenger-1",
        "user_service_status": "USER_OPEN_SERVICE",
        "openorclose_time": "20260301100000",
        "authorization_code": CODE,
    }


@pytest.mark.parametrize("how", ["page", *PATHS])
async def test_an_end_is_announced_with_the_code_where_pre_authorise_said(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, how: str
) -> None:
    await enabled(merchant, simulator, receiver)
    if how == "page":
        simulator.close_service("passenger-1")
    else:
        await terminated(merchant, how)
    await simulator.run_once()
    (arrival,) = receiver.arrivals
    assert (arrival.url, arrival.envelope["event_type"]) == (OWN_URL, "PAYSCORE.USER_CLOSE_SERVICE")
    assert arrival.resource == merchant.ours() | {
        "mchid": merchant.keys.mchid,
        "openid": "passenger-1",
        "user_service_status": "USER_CLOSE_SERVICE",
        "openorclose_time": "20260301100000",
        "authorization_code": CODE,
    }


async def test_who_switches_by_himself_is_announced_without_a_number(simulator: Simulator, receiver: Receiver) -> None:
    simulator.close_service("passenger-1")
    simulator.open_service("passenger-1")
    await simulator.run_once()
    assert [arrival.url for arrival in receiver.arrivals] == [NOTIFY_URL, NOTIFY_URL]
    assert not any({"authorization_code", "out_request_no"} & arrival.resource.keys() for arrival in receiver.arrivals)


async def test_opening_again_what_runs_announces_the_same_permission(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    await enabled(merchant, simulator, receiver)
    simulator.open_service("passenger-1")
    await simulator.run_once()
    assert receiver.arrivals[0].resource["authorization_code"] == CODE
    assert (await by_code(merchant)).json()["authorization_state"] == "AVAILABLE"


# Queries


async def test_a_code_that_nobody_has_signed(merchant: Merchant) -> None:
    await a_token(merchant)
    shown = merchant.ours() | {"mchid": merchant.keys.mchid, "authorization_code": CODE, "notify_url": OWN_URL}
    assert (await by_code(merchant)).json() == shown | {"authorization_state": "UNBINDUSER"}


@pytest.mark.parametrize("query", [by_code, by_openid])
async def test_a_permission_that_runs_and_then_ends(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, query: Ask
) -> None:
    await enabled(merchant, simulator, receiver)
    shown = merchant.ours() | {
        "mchid": merchant.keys.mchid,
        "openid": "passenger-1",
        "authorization_code": CODE,
        "authorization_success_time": TIME,
        **({"notify_url": OWN_URL} if query is by_code else {}),
    }
    assert (await query(merchant)).json() == shown | {"authorization_state": "AVAILABLE"}
    clock.advance(60)
    simulator.close_service("passenger-1")
    ended = {"authorization_state": "UNAVAILABLE", "cancel_authorization_time": "2026-03-01T10:01:00+08:00"}
    assert (await query(merchant)).json() == shown | ended


async def test_whoever_is_never_mentioned_is_available_and_nobody_noted_since_when(merchant: Merchant) -> None:
    shown = merchant.ours() | {"mchid": merchant.keys.mchid, "openid": "passenger-1"}
    assert (await by_openid(merchant)).json() == shown | {"authorization_state": "AVAILABLE"}


async def test_one_who_is_not_enabled_never_authorised(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    assert refusal_of(await by_openid(merchant)) == NEVER
    assert refusal_of(await by_code(merchant)) == NEVER


async def test_one_who_closed_the_service_had_authorised_it(merchant: Merchant, simulator: Simulator) -> None:
    simulator.close_service("passenger-1")
    shown = (await by_openid(merchant)).json()
    assert (shown["authorization_state"], shown["cancel_authorization_time"]) == ("UNAVAILABLE", TIME)


async def test_a_service_that_is_closed_twice_ended_the_first_time(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.close_service("passenger-1")
    clock.advance(60)
    simulator.close_service("passenger-1")
    assert (await by_openid(merchant)).json()["cancel_authorization_time"] == TIME


@pytest.mark.parametrize("query", [by_code, by_openid])
async def test_the_behaviour_of_the_passenger_has_the_last_word(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, query: Ask
) -> None:
    await enabled(merchant, simulator, receiver)
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    assert (await query(merchant)).json()["authorization_state"] == "UNAVAILABLE"
    simulator.set_passenger("passenger-1", Passenger())
    assert (await query(merchant)).json()["authorization_state"] == "AVAILABLE"


async def test_a_second_signature_ends_the_first(merchant: Merchant, simulator: Simulator, receiver: Receiver) -> None:
    await enabled(merchant, simulator, receiver)
    simulator.enable(await a_token(merchant, "agreement-2"), "passenger-1")
    assert (await by_code(merchant)).json()["authorization_state"] == "UNAVAILABLE"
    assert (await by_openid(merchant)).json()["authorization_code"] == "agreement-2"


async def test_an_ended_permission_does_not_come_back_with_the_next(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    await enabled(merchant, simulator, receiver)
    simulator.close_service("passenger-1")
    simulator.set_passenger("passenger-1", Passenger())
    assert (await by_code(merchant)).json()["authorization_state"] == "UNAVAILABLE"
    shown = (await by_openid(merchant)).json()
    assert (shown["authorization_state"], "authorization_code" in shown) == ("AVAILABLE", False)


@pytest.mark.parametrize(("query", "names"), [(by_code, ["service_id"]), (by_openid, ["service_id", "appid"])])
async def test_a_query_names_what_it_is_about(merchant: Merchant, query: Ask, names: list[str]) -> None:
    for name in names:
        response = await query(merchant, **{name: ""})
        assert (field_of(response), response.json()["detail"]["location"]) == (name, "query")


@pytest.mark.parametrize("query", [by_code, by_openid])
async def test_a_query_is_about_a_service_of_the_merchant(merchant: Merchant, query: Ask) -> None:
    await a_token(merchant)
    assert refusal_of(await query(merchant, service_id="500001")) == WRONG_SERVICE


async def test_a_query_by_openid_names_an_app_of_the_merchant(merchant: Merchant) -> None:
    assert refusal_of(await by_openid(merchant, appid="wx0000000000000000")) == NOT_BOUND


@pytest.mark.parametrize(
    ("query", "name", "target"), [(by_code, "authorization_code", "授权协议号"), (by_openid, "openid", "用户标识")]
)
async def test_what_the_path_says_is_not_said_in_the_query(
    merchant: Merchant, query: Ask, name: str, target: str
) -> None:
    await a_token(merchant)
    message = (
        f"无法将输入源“/query/{name}”映射到目标字段“{target}”中，"
        f"此字段并非多重字段但被输入源“/uri_template/{name}”映射过了。"
    )
    assert refusal_of(await query(merchant, **{name: "passenger-1"})) == (400, "PARAM_ERROR", message, 0)


# Terminate


@by_path
async def test_an_end_is_answered_with_nothing_that_is_signed(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, path: str
) -> None:
    await enabled(merchant, simulator, receiver)
    response = await terminated(merchant, path)
    assert (response.status_code, response.content) == (204, b"")
    assert "Content-Type" not in response.headers
    assert response.headers["Wechatpay-Signature"]
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "UNAVAILABLE"
    assert (await merchant.create("serviceorder", a_create("serviceorder"))).status_code == 403


@by_path
async def test_an_end_is_noted_once_and_announced_once(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, path: str
) -> None:
    await enabled(merchant, simulator, receiver)
    for _ in range(2):
        assert (await terminated(merchant, path)).status_code == 204
        clock.advance(60)
    await simulator.run_once()
    assert len(receiver.arrivals) == 1
    assert (await by_code(merchant)).json()["cancel_authorization_time"] == TIME


async def test_an_order_that_runs_is_charged_after_the_end(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    await enabled(merchant, simulator, receiver)
    await merchant.create("serviceorder", a_create("serviceorder"))
    assert (await terminated(merchant, PATHS[1])).status_code == 204
    assert simulator.ledger_entry("trip-1").stage == "running"


@by_path
async def test_what_was_never_signed_cannot_end(merchant: Merchant, simulator: Simulator, path: str) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    assert refusal_of(await terminated(merchant, path)) == NEVER
    await a_token(merchant)
    assert refusal_of(await terminated(merchant, path)) == NEVER


async def test_whoever_is_never_mentioned_can_be_ended(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    assert (await terminated(merchant, PATHS[1])).status_code == 204
    await simulator.run_once()
    assert [arrival.url for arrival in receiver.arrivals] == [NOTIFY_URL]
    assert (await by_openid(merchant)).json()["authorization_state"] == "UNAVAILABLE"


@by_path
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"service_id": ABSENT}, "/service_id"),
        ({"reason": ABSENT}, "/reason"),
        ({"reason": ""}, "/reason"),
        ({"reason": "由" * 51}, "/reason"),
    ],
)
async def test_an_end_points_to_what_is_wrong(merchant: Merchant, path: str, changes: Json, field: str) -> None:
    assert field_of(await terminated(merchant, path, **changes)) == field


async def test_an_end_by_openid_names_the_app(merchant: Merchant) -> None:
    assert field_of(await terminated(merchant, PATHS[1], appid=ABSENT)) == "/appid"


@by_path
async def test_a_reason_has_fifty_characters(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, path: str
) -> None:
    await enabled(merchant, simulator, receiver)
    assert (await terminated(merchant, path, reason="由" * 50)).status_code == 204


@by_path
async def test_an_end_is_about_a_service_of_the_merchant(merchant: Merchant, path: str) -> None:
    await a_token(merchant)
    assert refusal_of(await terminated(merchant, path, service_id="500001")) == WRONG_SERVICE


@pytest.mark.parametrize(("path", "name"), [(PATHS[0], "authorization_code"), (PATHS[1], "openid")])
async def test_what_the_path_says_is_not_said_in_the_body(merchant: Merchant, path: str, name: str) -> None:
    assert field_of(await terminated(merchant, path, **{name: "passenger-1"})) == f"/{name}"


# Several services


@pytest.fixture
def two_services(config: SimulatorConfig, keys: SimulatorKeys) -> SimulatorConfig:
    services = (
        Service(appid=keys.appid, service_id=keys.service_id),
        Service(appid="wx2222222222222222", service_id="500002"),
    )
    return dataclasses.replace(config, services=services)


class TestTwoServices:
    @pytest.fixture
    def config(self, two_services: SimulatorConfig) -> SimulatorConfig:
        return two_services

    async def test_a_code_belongs_to_the_service_it_was_made_for(self, merchant: Merchant) -> None:
        await a_token(merchant)
        assert refusal_of(await by_code(merchant, service_id="500002")) == WRONG_SERVICE

    async def test_a_passenger_has_all_services_or_none_and_a_permission_at_each(
        self, merchant: Merchant, simulator: Simulator, receiver: Receiver
    ) -> None:
        other = {"appid": "wx2222222222222222", "service_id": "500002"}
        await enabled(merchant, simulator, receiver)
        shown = (await by_openid(merchant, **other)).json()
        assert shown == other | {
            "mchid": merchant.keys.mchid,
            "openid": "passenger-1",
            "authorization_state": "AVAILABLE",
        }
        simulator.enable(await a_token(merchant, "agreement-2", **other), "passenger-1")
        codes = [(await by_openid(merchant, **said)).json()["authorization_code"] for said in ({}, other)]
        assert codes == [CODE, "agreement-2"]
        assert (await terminated(merchant, PATHS[0])).status_code == 204
        states = [(await by_openid(merchant, **said)).json()["authorization_state"] for said in ({}, other)]
        assert states == ["UNAVAILABLE", "UNAVAILABLE"]
        simulator.set_passenger("passenger-1", Passenger())
        shown = (await by_code(merchant, "agreement-2", service_id="500002")).json()
        assert shown["authorization_state"] == "UNAVAILABLE"


# The older jump, signed with the APIv2 key


@pytest.mark.parametrize(
    ("members", "sign"),
    [
        (
            {
                "appid": "wxd930ea5d5a258f4f",
                "mch_id": "10000100",
                "device_info": "1000",
                "body": "test",
                "nonce_str": "ibuaiVcKdpRxkhJA",
            },
            "6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6",
        ),
        (
            {
                "mch_id": "1230000109",
                "package": "XXXXXXXX",
                "timestamp": "1530097563",
                "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
                "sign_type": "HMAC-SHA256",
                "sign": "is not signed",
                "empty": "",
            },
            "1B322799DA4A00E25DE0448667F76807D222A2A36312907CF579D4CF3A3836E6",
        ),
        (
            {
                "mch_id": "1230000109",
                "service_id": "2002000000000558128851361561536",
                "out_order_no": "1234323JKHDFE1243252",
                "timestamp": "1530097563",
                "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
                "sign_type": "HMAC-SHA256",
            },
            "BF8669DF97BBBECA4F55084DA8183383E42C6B4F7B5764C84CE8453224023A43",
        ),
    ],
)
def test_a_jump_is_signed_as_the_published_examples_are(members: dict[str, str], sign: str) -> None:
    assert jump_signature(members, apiv2_key="192006250b4c09247ec02edce69f6a2d") == sign


def extra_data(keys: SimulatorKeys, *, apiv2_key: str = "", **changes: str) -> dict[str, str]:
    members = {
        "mch_id": keys.mchid,
        "service_id": keys.service_id,
        "out_request_no": "request-1",
        "timestamp": "1772330400",
        "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
        "sign_type": "HMAC-SHA256",
    } | changes
    return members | {"sign": jump_signature(members, apiv2_key=apiv2_key or keys.apiv2_key)}


async def test_the_signed_jump_enables_and_every_event_names_its_request(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    simulator.enable_signed(extra_data(merchant.keys), "passenger-1")
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "AVAILABLE"
    shown = (await by_openid(merchant)).json()
    assert (shown["authorization_state"], "authorization_code" in shown) == ("AVAILABLE", False)
    assert (await terminated(merchant, PATHS[1])).status_code == 204
    await simulator.run_once()
    told = [(arrival.url, arrival.resource) for arrival in receiver.arrivals]
    assert [(url, resource["user_service_status"], resource["out_request_no"]) for url, resource in told] == [
        (NOTIFY_URL, "USER_OPEN_SERVICE", "request-1"),
        (NOTIFY_URL, "USER_CLOSE_SERVICE", "request-1"),
    ]
    assert not any("authorization_code" in resource for _, resource in told)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"apiv2_key": "0" * 32}, "商户签名校验失败"),
        ({"mch_id": "1900000001"}, "4188"),
        ({"service_id": "500001"}, "3961"),
        ({"out_request_no": ""}, "out_request_no"),
        ({"out_request_no": "r" * 65}, "out_request_no"),
        ({"timestamp": "1772330400000"}, "timestamp"),
        ({"nonce_str": "n" * 33}, "nonce_str"),
        ({"nonce_str": "a-b"}, "nonce_str"),
        ({"sign_type": "MD5"}, "sign_type"),
    ],
)
def test_a_signed_jump_is_refused(
    simulator: Simulator, keys: SimulatorKeys, changes: dict[str, str], shown: str
) -> None:
    with pytest.raises(PageRefused, match=shown):
        simulator.enable_signed(extra_data(keys, **changes), "passenger-1")
    assert simulator.notifications() == []


def test_a_jump_without_a_signature_or_with_that_of_another_is_refused(
    simulator: Simulator, keys: SimulatorKeys
) -> None:
    signed = extra_data(keys)
    for spoilt in (signed | {"out_request_no": "request-2"}, {n: v for n, v in signed.items() if n != "sign"}):
        with pytest.raises(PageRefused, match="商户签名校验失败"):
            simulator.enable_signed(spoilt, "passenger-1")


def test_an_out_request_no_is_signed_once(simulator: Simulator, keys: SimulatorKeys) -> None:
    simulator.enable_signed(extra_data(keys), "passenger-1")
    with pytest.raises(PageRefused, match="request-1 is signed already"):
        simulator.enable_signed(extra_data(keys), "passenger-2")
    simulator.enable_signed(extra_data(keys, out_request_no="r" * 64), "passenger-1")


# The admin API


async def test_a_passenger_is_enabled_by_the_admin_api(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator
) -> None:
    body = {"apply_permissions_token": await a_token(merchant)}
    assert (await http.post("/admin/passengers/passenger-1/enable", json=body)).json() == {"ok": True}
    signed = extra_data(merchant.keys)
    assert (await http.post("/admin/passengers/passenger-2/enable-signed", json=signed)).json() == {"ok": True}
    assert [notification.openid for notification in simulator.notifications()] == ["passenger-2", "passenger-1"]


async def test_what_the_page_refuses_is_a_conflict(http: httpx.AsyncClient, keys: SimulatorKeys) -> None:
    response = await http.post("/admin/passengers/passenger-1/enable", json={"apply_permissions_token": "x"})
    assert (response.status_code, response.json()["code"]) == (409, "CONFLICT")
    unsigned = extra_data(keys, apiv2_key="0" * 32)
    response = await http.post("/admin/passengers/passenger-1/enable-signed", json=unsigned)
    assert (response.status_code, response.json()["message"]) == (409, "商户签名校验失败")


@pytest.mark.parametrize("path", ["enable", "enable-signed"])
async def test_a_slip_is_said_to_be_one(http: httpx.AsyncClient, path: str) -> None:
    response = await http.post(f"/admin/passengers/passenger-1/{path}", json={"token": 1})
    assert (response.status_code, response.json()["code"]) == (400, "BAD_REQUEST")


# Faults


@pytest.mark.parametrize("path", PATHS)
async def test_a_fault_strikes_what_is_asked_about_its_passenger(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, path: str
) -> None:
    await enabled(merchant, simulator, receiver)
    simulator.add_fault(Fault(FaultKind.FAIL_AFTER, openid="passenger-1"))
    assert (await terminated(merchant, path)).status_code == 500
    assert (await by_code(merchant)).json()["authorization_state"] == "UNAVAILABLE"


@pytest.mark.parametrize("fault", [FaultKind.UNREADABLE, FaultKind.ANOTHER_ORDER])
async def test_a_fault_waits_where_nothing_is_said_that_could_be_false(
    merchant: Merchant, simulator: Simulator, fault: FaultKind
) -> None:
    simulator.add_fault(Fault(fault, call="terminate_permission"))
    assert (await terminated(merchant, PATHS[1])).status_code == 204
    assert [scripted.strikes for scripted in simulator.faults()] == [0]


async def test_an_end_may_be_answered_with_a_wrong_signature(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.BAD_SIGNATURE, call="terminate_permission"))
    response = await terminated(merchant, PATHS[1])
    assert (response.status_code, response.content) == (204, b"")
    assert simulator.calls(1)[0].fault == "bad_signature"


@pytest.mark.parametrize("variant", ["mchid", "appid", "service_id"])
async def test_a_query_may_answer_about_something_else(merchant: Merchant, simulator: Simulator, variant: str) -> None:
    honest = (await by_openid(merchant)).json()
    simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, call="query_permission", variant=variant))
    assert (await by_openid(merchant)).json()[variant] != honest[variant]


# Bounds


async def test_permissions_that_have_ended_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch, merchant: Merchant, simulator: Simulator
) -> None:
    monkeypatch.setattr(permissions, "MAX_PERMISSIONS", 2)
    simulator.reset()
    for number in (1, 2):
        simulator.enable(await a_token(merchant, f"agreement-{number}"), f"passenger-{number}")
    simulator.close_service("passenger-2")
    simulator.enable(await a_token(merchant, "agreement-3"), "passenger-3")
    assert refusal_of(await by_code(merchant, "agreement-2")) == NEVER
    assert refusal_of(await by_openid(merchant, "passenger-2")) == NEVER
    states = [(await by_code(merchant, f"agreement-{n}")).json()["authorization_state"] for n in (1, 3)]
    assert states == ["AVAILABLE", "AVAILABLE"]


async def test_a_passenger_who_signs_again_is_kept_like_any_other(
    monkeypatch: pytest.MonkeyPatch, merchant: Merchant, simulator: Simulator
) -> None:
    monkeypatch.setattr(permissions, "MAX_PERMISSIONS", 2)
    simulator.reset()
    simulator.close_service("passenger-1")
    simulator.close_service("passenger-2")
    simulator.open_service("passenger-1")
    simulator.open_service("passenger-3")
    assert refusal_of(await by_openid(merchant, "passenger-2")) == NEVER
    assert (await by_openid(merchant)).json()["authorization_success_time"] == TIME


async def test_a_reset_forgets_permissions(merchant: Merchant, simulator: Simulator) -> None:
    token = await a_token(merchant)
    simulator.reset()
    assert refusal_of(await by_code(merchant)) == NEVER
    with pytest.raises(PageRefused):
        simulator.enable(token, "passenger-1")
