"""Answers that are not WeChat Pay's, or not true (reference payscore-api F.5)."""

import json
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payscore_worker.simulator import Fault, FaultKind, Simulator, SimulatorKeys, create_app
from payscore_worker.simulator.calls import CallKind

from .bodies import FAMILIES, a_complete, a_create
from .clock import Clock
from .merchant import Json, Merchant, check_signature
from .receiver import Receiver
from .refusals import refusal_of

PROXY_STATUSES = (200, 400, 401, 403, 404, 405, 407, 408, 413, 429, 499, 502, 503, 504)
REFUSALS = (
    (401, "SIGN_ERROR", "Authorization 不合法", 270924332),
    (403, "NO_AUTH", "商户暂无权限使用此服务", 0),
    (403, "NO_AUTH", "请检查服务授权状态", 0),
    (404, "ORDER_NOT_EXIST", "查询单据不存在", 271317510),
    (400, "INVALID_REQUEST", "请求过于频繁", 268435472),
    (400, "MCH_NOT_EXISTS", "mch_id 不存在", 271302144),
    (500, "SYSTEM_ERROR", "系统错误", 0),
    (503, "SERVICE_UNAVAILABLE", "服务不可用", 0),
)

by_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def platform_key(keys: SimulatorKeys) -> RSAPublicKey:
    key = x509.load_pem_x509_certificate(keys.platform.certificate_pem.encode()).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


async def running(merchant: Merchant, family: str) -> None:
    assert (await merchant.create(family, a_create(family))).status_code == 200


async def owing(merchant: Merchant, clock: Clock, family: str) -> None:
    await running(merchant, family)
    clock.advance(600)
    response = await merchant.complete(family, "trip-1", a_complete(family, clock.text()))
    assert response.status_code == 200, response.text


# From somebody on the way


@pytest.mark.parametrize("status", PROXY_STATUSES)
async def test_a_proxy_answers_without_a_word_of_wechat_pay(
    merchant: Merchant, simulator: Simulator, status: int
) -> None:
    simulator.add_fault(Fault(FaultKind.PROXY, status=status))
    response = await merchant.create("serviceorder", a_create("serviceorder"))
    assert (response.status_code, response.headers["Content-Type"]) == (status, "text/html")
    assert f"<title>{status} " in response.text
    assert not [name for name in response.headers if name.startswith(("wechatpay", "request-id"))]
    assert simulator.orders_created == []


async def test_a_proxy_answers_although_the_call_was_processed(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.PROXY, status=504, after=True))
    assert (await merchant.create("payafter", a_create("payafter"))).status_code == 504
    assert simulator.ledger_entry("trip-1").creates == 1


@pytest.mark.parametrize(
    ("variant", "content_type", "body"),
    [
        ("empty", "text/plain", ""),
        ("text", "text/plain", "Request Entity Too Large"),
        ("json", "application/json", '{"status":413,"error":"Request Entity Too Large"}'),
    ],
)
async def test_a_proxy_has_its_own_form(
    merchant: Merchant, simulator: Simulator, variant: str, content_type: str, body: str
) -> None:
    simulator.add_fault(Fault(FaultKind.PROXY, status=413, variant=variant))
    response = await merchant.get("/v3/certificates")
    assert (response.headers["Content-Type"], response.text) == (content_type, body)


async def test_the_log_knows_that_a_proxy_answered(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.PROXY, status=407))
    await merchant.get("/v3/certificates")
    (call,) = simulator.calls()
    assert (call.status, call.code, call.request_id, call.fault) == (407, "", "", "proxy")


# Refusals


@pytest.mark.parametrize(("status", "code", "message", "sub_code"), REFUSALS)
async def test_a_refusal_of_the_documents_can_be_played(
    merchant: Merchant, simulator: Simulator, status: int, code: str, message: str, sub_code: int
) -> None:
    simulator.add_fault(Fault(FaultKind.REFUSE, status=status, code=code, message=message, sub_code=sub_code))
    response = await merchant.user_service_state("passenger-1")
    assert refusal_of(response) == (status, code, message, sub_code)
    assert not [name for name in response.headers if name.startswith("wechatpay")]


@by_family
async def test_a_call_is_refused_although_it_was_processed(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    simulator.add_fault(Fault(FaultKind.REFUSE, message="综合评估未通过", sub_code=271300099, after=True))
    refused = refusal_of(await merchant.create(family, a_create(family)))
    assert refused == (400, "INVALID_REQUEST", "综合评估未通过", 271300099)
    assert simulator.orders_created == ["trip-1"]
    assert simulator.ledger_entry("trip-1").refused == []


# Signed, and not to be read


@pytest.mark.parametrize(
    ("variant", "body"),
    [
        (None, "系统繁忙".encode()),
        ("not_json", "系统繁忙".encode()),
        ("not_utf8", b'{"state":"\xff\xfe"}'),
        ("empty", b""),
        ("empty_object", b"{}"),
    ],
)
async def test_a_signed_answer_cannot_be_read(
    merchant: Merchant, simulator: Simulator, platform_key: RSAPublicKey, variant: str | None, body: bytes
) -> None:
    simulator.add_fault(Fault(FaultKind.UNREADABLE, variant=variant))
    response = await merchant.create("serviceorder", a_create("serviceorder"))
    check_signature(platform_key, response.headers, response.content)
    assert (response.status_code, response.content) == (200, body)
    assert simulator.orders_created == ["trip-1"]


async def test_a_signed_answer_is_a_list(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.UNREADABLE, variant="array"))
    (entity,) = (await merchant.create("serviceorder", a_create("serviceorder"))).json()
    assert entity["state"] == "DOING"


@by_family
async def test_the_members_of_a_signed_answer_have_other_types(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await owing(merchant, clock, family)
    true = (await merchant.query(family, "trip-1")).json()
    simulator.add_fault(Fault(FaultKind.UNREADABLE, variant="wrong_types"))
    false = (await merchant.query(family, "trip-1")).json()
    assert false.keys() == true.keys()
    assert all(type(false[name]) is not type(true[name]) for name in true)


async def test_a_refusal_stays_the_refusal_where_an_answer_was_to_be_changed(
    merchant: Merchant, simulator: Simulator
) -> None:
    simulator.add_fault(Fault(FaultKind.UNREADABLE))
    assert refusal_of(await merchant.query("payafter", "trip-1"))[:2] == (404, "ORDER_NOT_EXIST")


# Signed, and about something else


def difference(true: Json, false: Json) -> set[str]:
    assert true.keys() == false.keys()
    return {name for name in true if true[name] != false[name]}


@pytest.mark.parametrize("call", ["create", "complete", "cancel", "query"])
@pytest.mark.parametrize("member", ["out_order_no", "mchid", "appid", "service_id"])
@by_family
async def test_a_signed_answer_is_about_another_order(
    merchant: Merchant,
    simulator: Simulator,
    clock: Clock,
    platform_key: RSAPublicKey,
    family: str,
    member: str,
    call: str,
) -> None:
    await running(merchant, family)
    clock.advance(600)
    if call == "complete" and family == "payafter":
        ticket = await merchant.finish_ticket("trip-1")
        body = a_complete(family, clock.text(), finish_ticket=ticket)
    else:
        body = a_complete(family, clock.text())

    async def ask() -> httpx.Response:
        match call:
            case "create":
                return await merchant.create(family, a_create(family))
            case "complete":
                return await merchant.complete(family, "trip-1", body)
            case "cancel":
                return await merchant.cancel(family, "trip-1")
            case _:
                return await merchant.query(family, "trip-1")

    simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, call=call, variant=member))
    response = await ask()
    check_signature(platform_key, response.headers, response.content)
    changed = difference((await ask()).json(), response.json()) - {"finish_ticket"}
    with_order_id = member == "out_order_no" and "order_id" in response.json()
    assert changed == ({member, "order_id"} if with_order_id else {member})


@pytest.mark.parametrize("member", ["appid", "service_id"])
async def test_the_service_state_is_of_another_app_or_service(
    merchant: Merchant, simulator: Simulator, member: str
) -> None:
    simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, variant=member))
    false, true = [(await merchant.user_service_state("passenger-1")).json() for _ in range(2)]
    assert difference(true, false) == {member}


async def test_certificates_are_about_no_order(merchant: Merchant, simulator: Simulator) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER))
    await merchant.get("/v3/certificates")
    await merchant.user_service_state("passenger-1")
    assert (scripted.seen, scripted.spent) == (0, False)


# Signed, and out of date


@by_family
async def test_a_stale_query_shows_a_completed_order_running(
    merchant: Merchant, simulator: Simulator, clock: Clock, platform_key: RSAPublicKey, family: str
) -> None:
    await owing(merchant, clock, family)
    simulator.add_fault(Fault(FaultKind.STALE))
    response = await merchant.query(family, "trip-1")
    check_signature(platform_key, response.headers, response.content)
    stale, true = response.json(), (await merchant.query(family, "trip-1")).json()
    if family == "payafter":
        assert (stale["state"], true["state"]) == ("USER_ACCEPTED", "FINISHED")
        assert "finish_ticket" in stale
    else:
        assert (stale["state_description"], true["state_description"]) == ("USER_CONFIRM", "MCH_COMPLETE")


@by_family
async def test_a_stale_query_shows_a_paid_order_owing(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await owing(merchant, clock, family)
    before = (await merchant.query(family, "trip-1")).json()
    simulator.pay("trip-1")
    simulator.add_fault(Fault(FaultKind.STALE))
    assert (await merchant.query(family, "trip-1")).json() == before
    assert (await merchant.query(family, "trip-1")).json() != before


async def test_a_stale_answer_waits_for_a_change(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.STALE))
    await running(merchant, "payafter")
    await merchant.query("payafter", "trip-1")
    assert scripted.strikes == 0
    clock.advance(600)
    await merchant.complete("payafter", "trip-1", a_complete("payafter", clock.text()))
    assert (await merchant.query("payafter", "trip-1")).json()["state"] == "USER_ACCEPTED"
    assert scripted.strikes == 1


async def test_the_query_of_the_other_family_is_refused_in_truth(merchant: Merchant, simulator: Simulator) -> None:
    await running(merchant, "payafter")
    scripted = simulator.add_fault(Fault(FaultKind.NOT_YET))
    assert (await merchant.query("serviceorder", "trip-1")).status_code == 404
    assert scripted.strikes == 0


@by_family
async def test_a_query_does_not_see_an_order_yet(merchant: Merchant, simulator: Simulator, family: str) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.NOT_YET))
    assert (await merchant.query(family, "trip-1")).status_code == 404
    assert scripted.strikes == 0  # that was the truth
    await running(merchant, family)
    refused = refusal_of(await merchant.query(family, "trip-1"))
    assert refused == (404, "ORDER_NOT_EXIST", "查询单据不存在", 271317510)
    assert (await merchant.query(family, "trip-1")).status_code == 200


# Signed, with another amount


@pytest.mark.parametrize(("difference_fen", "total"), [(100, 3300), (-200, 3000), (-9999, 0)])
@by_family
async def test_a_query_shows_another_total_that_adds_up(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str, difference_fen: int, total: int
) -> None:
    await owing(merchant, clock, family)
    simulator.add_fault(Fault(FaultKind.AMOUNT_DIFFERS, difference_fen=difference_fen, times=2))
    shown = (await merchant.query(family, "trip-1")).json()
    simulator.pay("trip-1")
    paid = (await merchant.query(family, "trip-1")).json()
    assert amounts(shown) | amounts(paid) == {total}
    assert amounts((await merchant.query(family, "trip-1")).json()) == {3200}
    if family == "serviceorder":
        assert shown["collection"]["paying_amount"] == paid["collection"]["paid_amount"] == total


def amounts(entity: Json) -> set[int]:
    found = {entity["total_amount"]}
    found |= {sum(item["amount"] for item in items) for items in [entity.get("post_payments")] if items}
    found |= {sum(item["fee_amount"] for item in items) for items in [entity.get("fees")] if items}
    if collection := entity.get("collection"):
        found |= {collection["total_amount"], collection["paying_amount"] + collection["paid_amount"]}
        found |= {sum(row["amount"] for row in rows) for rows in [collection.get("details")] if rows}
    return found


async def test_another_total_waits_for_a_total(merchant: Merchant, simulator: Simulator) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.AMOUNT_DIFFERS))
    await running(merchant, "serviceorder")
    assert (await merchant.query("serviceorder", "trip-1")).status_code == 200
    assert scripted.strikes == 0


@by_family
async def test_a_callback_says_another_total(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_AMOUNT_DIFFERS, difference_fen=-1))
    simulator.close_service("passenger-2")  # about no amount: the fault waits for one that is
    await owing(merchant, clock, family)
    simulator.pay("trip-1")
    await simulator.run_once()
    assert amounts(receiver.arrivals[1].resource) == {3199}
    assert amounts((await merchant.query(family, "trip-1")).json()) == {3200}
    assert [n.fault for n in simulator.notifications()] == ["callback_amount_differs", None]


# For how long


async def failures(merchant: Merchant, clock: Clock, seconds: list[float]) -> list[bool]:
    """Whether a call fails now, and again after each of these waits."""
    failed = [(await merchant.get("/v3/certificates")).status_code != 200]
    for wait in seconds:
        clock.advance(wait)
        failed.append((await merchant.get("/v3/certificates")).status_code != 200)
    return failed


async def test_a_fault_lasts_so_long_from_its_first_strike(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, times=None, for_seconds=60))
    clock.advance(3600)
    assert await failures(merchant, clock, [30, 29.5, 0.5, 1]) == [True, True, True, False, False]
    (scripted,) = simulator.faults()
    assert (scripted.strikes, scripted.spent) == (3, True)


async def test_a_fault_lasts_so_long_from_when_it_is_added(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, for_seconds=60, since="added"))
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, times=None, for_seconds=120, since="added"))
    clock.advance(60)
    assert await failures(merchant, clock, [59, 1]) == [True, True, False]
    assert [scripted.strikes for scripted in simulator.faults()] == [0, 2]


async def test_a_fault_ends_by_number_or_by_time_whichever_is_first(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, times=2, for_seconds=60))
    assert await failures(merchant, clock, [1, 1]) == [True, True, False]


async def test_time_that_is_brought_forward_ends_a_fault(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, times=None, for_seconds=3600))
    assert (await merchant.get("/v3/certificates")).status_code == 500
    simulator.advance(3600)
    assert [scripted.spent for scripted in simulator.faults()] == [True]
    assert (await merchant.get("/v3/certificates")).status_code == 200


async def test_a_fault_that_is_over_makes_room(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payscore_worker.simulator.script.MAX_FAULTS", 1)
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, times=None, for_seconds=1, since="added"))
    simulator.advance(1)
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE))
    assert [scripted.spent for scripted in simulator.faults()] == [False, True]


@pytest.mark.parametrize(
    ("kind", "delays"),
    [
        (FaultKind.PROXY, [0.04]),
        (FaultKind.REFUSE, [0.04]),
        (FaultKind.UNREADABLE, [0.04]),
        (FaultKind.CLOCK_SKEW, []),  # its seconds are those of the clock
    ],
)
async def test_any_answer_may_be_late(
    simulator: Simulator, kind: FaultKind, delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("payscore_worker.simulator.app.asyncio.sleep", sleep)
    simulator.add_fault(Fault(kind, seconds=0.04))
    merchant = await a_merchant(simulator)
    await merchant.get("/v3/certificates")
    await merchant.get("/v3/certificates")
    assert waits == delays


# For whom


async def a_merchant(simulator: Simulator, name: str = "simulator") -> Merchant:
    transport = httpx.ASGITransport(create_app(simulator))
    http = httpx.AsyncClient(transport=transport, base_url=f"http://{name}")
    return Merchant(http, simulator.config.keys, simulator._clock)


@pytest.mark.parametrize("host", ["worker-a", "Worker-A:8090", "worker-a:8090"])
async def test_an_answer_is_wrong_for_one_worker_and_right_for_the_other(simulator: Simulator, host: str) -> None:
    one, other = [await a_merchant(simulator, name) for name in ("worker-a:8090", "worker-b:8090")]
    simulator.add_fault(Fault(FaultKind.REFUSE, host=host, times=None))
    assert [(await m.get("/v3/certificates")).status_code for m in (one, other, one)] == [400, 200, 400]
    assert [call.host for call in simulator.calls()] == ["worker-a:8090", "worker-b:8090", "worker-a:8090"]


# Slips


@pytest.mark.parametrize(
    ("slip", "complaint"),
    [
        ({"fault": FaultKind.STALE, "call": "complete"}, "strikes queries only"),
        ({"fault": FaultKind.CALLBACK_LOST, "host": "worker-a"}, "leave `host` out"),
        ({"fault": FaultKind.SLOW, "after": True}, "after belongs to proxy and refuse"),
        ({"fault": FaultKind.PROXY, "variant": "xml"}, "variant of proxy must be one of: html, empty, json, text"),
        ({"fault": FaultKind.SLOW, "variant": "html"}, "it has no variants"),
        ({"fault": FaultKind.REFUSE, "status": 200}, "status must be"),
        ({"fault": FaultKind.PROXY, "status": 302}, "status must be"),
        ({"fault": FaultKind.AMOUNT_DIFFERS, "difference_fen": 0}, "difference_fen must not be 0"),
        ({"fault": FaultKind.SLOW, "for_seconds": 0, "times": None}, "for_seconds must be greater than 0"),
        ({"fault": FaultKind.SLOW, "for_seconds": 60}, "give times null"),
    ],
)
def test_a_script_that_cannot_be_meant_is_refused(slip: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Fault(**slip)


@pytest.mark.parametrize("call", [CallKind.QUERY, "*"])
async def test_what_changes_queries_strikes_queries(merchant: Merchant, simulator: Simulator, call: str) -> None:
    simulator.add_fault(Fault(FaultKind.NOT_YET, call=call))
    await running(merchant, "payafter")
    assert (await merchant.cancel("payafter", "trip-1")).status_code == 200
    assert (await merchant.query("payafter", "trip-1")).status_code == 404


async def test_a_false_answer_is_scripted_over_http(http: httpx.AsyncClient, merchant: Merchant) -> None:
    body = {"fault": "proxy", "status": 499, "variant": "json", "after": True, "host": "simulator"}
    body |= {"times": None, "for_seconds": 60, "since": "added"}
    shown = (await http.post("/admin/faults", json=body)).json()
    assert shown | body == shown
    assert json.loads((await merchant.get("/v3/certificates")).content) == {"status": 499, "error": "Error"}
