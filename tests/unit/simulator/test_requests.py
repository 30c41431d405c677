"""What is asked of every request before it is read as an order (reference payscore-api E.1, A.1)."""

import json

import pytest

from payscore_worker.simulator import Behaviour, Passenger, Simulator

from .bodies import FAMILIES, Json, a_complete, a_create
from .clock import Clock
from .merchant import BASES, Merchant
from .refusals import field_of, refusal_of

TARGET = "/v3/certificates"
SYNC: Json = {"type": "Order_Paid", "detail": {"paid_time": "20260301101000"}}
MODIFY: Json = {"post_payments": [{"name": "车费", "amount": 1}], "total_amount": 1, "reason": "绕路减免"}
REPEATED = (
    "无法将输入源“/{location}/out_order_no”映射到目标字段“商户服务订单号”中，"
    "此字段并非多重字段但被输入源“/uri_template/out_order_no”映射过了。"
)
CLOCK_REFUSAL = "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟"


async def test_a_signed_request_is_answered(merchant: Merchant) -> None:
    assert (await merchant.get(TARGET)).status_code == 200


async def test_a_request_without_authorization_is_refused(merchant: Merchant) -> None:
    response = await merchant.send("GET", TARGET, headers={"Authorization": ""})
    assert refusal_of(response) == (401, "SIGN_ERROR", "Authorization 不合法", 270924332)


async def test_another_scheme_is_refused(merchant: Merchant) -> None:
    header = merchant.authorization("GET", TARGET, b"").replace("WECHATPAY2-SHA256-RSA2048", "WECHATPAY2-SM2-WITH-SM3")
    assert refusal_of(await merchant.send("GET", TARGET, headers={"Authorization": header}))[:2] == (401, "SIGN_ERROR")


@pytest.mark.parametrize(
    "instead",
    [
        {"mchid": "1900000001"},
        {"serial_no": "5F1C72E2A8931B72A2E13AF8DEE92471EB397115"},
        {"nonce_str": ""},
        {"nonce_str": "n" * 33},
        {"timestamp": "soon"},
        {"timestamp": ""},
        {"signature": ""},
        {"signature": "not base64"},
        {"signature": "BKyAfU4iMCuvXMXS0Wzam3V"},
    ],
)
async def test_a_wrong_part_of_the_authorization_is_refused(merchant: Merchant, instead: dict[str, str]) -> None:
    header = merchant.authorization("GET", TARGET, b"", **instead)
    assert refusal_of(await merchant.send("GET", TARGET, headers={"Authorization": header}))[:2] == (401, "SIGN_ERROR")


@pytest.mark.parametrize("nonce", ["n", "n" * 32])
async def test_a_nonce_has_one_to_thirty_two_characters(merchant: Merchant, nonce: str) -> None:
    header = merchant.authorization("GET", TARGET, b"", nonce_str=nonce)
    assert (await merchant.send("GET", TARGET, headers={"Authorization": header})).status_code == 200


@pytest.mark.parametrize("part", ["mchid", "serial_no", "nonce_str", "timestamp", "signature"])
async def test_a_missing_part_of_the_authorization_is_refused(merchant: Merchant, part: str) -> None:
    header = merchant.authorization("GET", TARGET, b"").replace(f"{part}=", f"no_{part}=")
    assert refusal_of(await merchant.send("GET", TARGET, headers={"Authorization": header}))[:2] == (401, "SIGN_ERROR")


async def test_the_parts_may_stand_in_any_order(merchant: Merchant) -> None:
    scheme, _, parts = merchant.authorization("GET", TARGET, b"").partition(" ")
    header = f"{scheme} {','.join(reversed(parts.split(',')))}"
    assert (await merchant.send("GET", TARGET, headers={"Authorization": header})).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(-301, 401), (-300, 200), (300, 200), (301, 401)])
async def test_a_timestamp_more_than_five_minutes_off_is_refused(
    merchant: Merchant, clock: Clock, seconds: int, status: int
) -> None:
    clock.now = clock.now.replace(microsecond=0)
    timestamp = str(int(clock().timestamp()) + seconds)
    header = merchant.authorization("GET", TARGET, b"", timestamp=timestamp)
    response = await merchant.send("GET", TARGET, headers={"Authorization": header})
    assert response.status_code == status
    if status == 401:
        assert refusal_of(response)[1:3] == ("SIGN_ERROR", CLOCK_REFUSAL)


async def test_a_timestamp_in_milliseconds_is_refused(merchant: Merchant, clock: Clock) -> None:
    header = merchant.authorization("GET", TARGET, b"", timestamp=str(int(clock().timestamp() * 1000)))
    response = await merchant.send("GET", TARGET, headers={"Authorization": header})
    assert refusal_of(response)[2] == CLOCK_REFUSAL


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v3/payscore/serviceorder?out_order_no=a", b"{}"),
        ("POST", "/v3/payscore/serviceorder?out_order_no=b", b"{}"),
        ("POST", "/v3/payscore/serviceorder", b"{}"),
        ("POST", "/v3/payscore/serviceorder?out_order_no=a", b"{ }"),
    ],
)
async def test_a_signature_over_something_else_is_refused(
    merchant: Merchant, method: str, target: str, body: bytes
) -> None:
    header = merchant.authorization(method, target, body)
    sent = "/v3/payscore/serviceorder?out_order_no=a"
    response = await merchant.send("POST", sent, b"{}", headers={"Authorization": header})
    assert refusal_of(response)[:2] == (401, "SIGN_ERROR")


async def test_the_signature_covers_the_path_as_it_is_written(merchant: Merchant) -> None:
    encoded = "/v3/payscore/serviceorder/trip%7C1/cancel"
    response = await merchant.send("POST", encoded, json.dumps(merchant.ours() | {"reason": "x"}).encode())
    assert refusal_of(response)[1] == "ORDER_NOT_EXIST"


async def test_a_number_with_a_bar_is_found_behind_its_encoding(merchant: Merchant) -> None:
    await merchant.create("serviceorder", a_create("serviceorder", "trip|*1"))
    response = await merchant.cancel("serviceorder", "trip%7C*1")
    assert response.json()["out_order_no"] == "trip|*1"


async def test_a_body_of_more_than_a_megabyte_is_not_read_to_its_end(merchant: Merchant) -> None:
    response = await merchant.send("POST", BASES["payafter"], b" " * 2_000_000)
    assert refusal_of(response)[:2] == (401, "SIGN_ERROR")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("User-Agent", ""),
        ("Accept", "text/html"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_header_that_every_request_has_is_required(merchant: Merchant, header: str, value: str) -> None:
    response = await merchant.send("POST", BASES["payafter"], b"{}", headers={header: value})
    assert field_of(response) == header
    assert response.json()["detail"]["location"] == "header"


async def test_an_unknown_path_is_not_an_unknown_order(merchant: Merchant) -> None:
    for target in ("/v3/payscore/orders", "/payscore/user-service-state"):
        response = await merchant.get(target)
        assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


# The body


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b"{} {}", b"\xff", b"[" * 20_000, b'{"a":1e999}', b"1" * 5000]
)
async def test_what_is_not_a_json_object_is_refused(merchant: Merchant, family: str, body: bytes) -> None:
    response = await merchant.send("POST", BASES[family], body, headers={"Content-Type": "application/json"})
    assert refusal_of(response)[:2] == (400, "PARAM_ERROR")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"attach": None}, "/attach"),
        ({"of_no_meaning": None}, "/of_no_meaning"),
        ({"of_no_meaning": [{"deep": None}]}, "/of_no_meaning/0/deep"),
    ],
)
async def test_null_is_refused_wherever_it_stands(merchant: Merchant, family: str, changes: Json, field: str) -> None:
    assert field_of(await merchant.create(family, a_create(family, **changes))) == field


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_word_null_may_stand_in_a_text(merchant: Merchant, family: str) -> None:
    assert (await merchant.create(family, a_create(family, attach="null"))).status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ascii_only", [False, True])
async def test_a_character_of_four_bytes_is_refused(merchant: Merchant, family: str, *, ascii_only: bool) -> None:
    body = json.dumps(merchant.ours() | a_create(family, service_introduction="🚕"), ensure_ascii=ascii_only)
    response = await merchant.send("POST", BASES[family], body.encode())
    assert refusal_of(response)[:2] == (400, "PARAM_ERROR")


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_unknown_member_is_ignored(merchant: Merchant, family: str) -> None:
    assert (await merchant.create(family, a_create(family, of_no_meaning={"a": [1]}))).status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_misspelt_mode_is_ignored_so_that_the_mode_is_wrong(merchant: Merchant, family: str) -> None:
    body = a_create(family, needUserConfirm=False)
    del body["need_user_confirm"]
    assert refusal_of(await merchant.create(family, body))[:3] == (403, "NO_AUTH", "商户暂无权限使用此服务")


# Whose it is


@pytest.mark.parametrize("family", FAMILIES)
async def test_another_appid_is_refused_by_every_call(merchant: Merchant, clock: Clock, family: str) -> None:
    other = {"appid": "wx0000000000000000"}
    await merchant.create(family, a_create(family))
    clock.advance(600)
    for response in (
        await merchant.create(family, a_create(family, "trip-2") | other),
        await merchant.get(BASES[family], **(merchant.ours() | {"out_order_no": "trip-1"} | other)),
        await merchant.complete(family, "trip-1", a_complete(family, clock.text()) | other),
        await merchant.post(f"{BASES[family]}/trip-1/cancel", merchant.ours() | {"reason": "x"} | other),
        await merchant.post(f"{BASES[family]}/trip-1/sync", merchant.ours() | SYNC | other),
        await merchant.post(f"{BASES['serviceorder']}/trip-1/modify", merchant.ours() | MODIFY | other),
        await merchant.user_service_state("passenger-1", **other),
    ):
        assert refusal_of(response) == (403, "NO_AUTH", "mch_id 和 appid 未绑定", 271302149)


@pytest.mark.parametrize("family", FAMILIES)
async def test_another_service_id_is_refused_by_every_call(merchant: Merchant, clock: Clock, family: str) -> None:
    other = {"service_id": "500001"}
    await merchant.create(family, a_create(family))
    clock.advance(600)
    for response in (
        await merchant.create(family, a_create(family, "trip-2") | other),
        await merchant.get(BASES[family], **(merchant.ours() | {"out_order_no": "trip-1"} | other)),
        await merchant.complete(family, "trip-1", a_complete(family, clock.text()) | other),
        await merchant.post(f"{BASES[family]}/trip-1/cancel", merchant.ours() | {"reason": "x"} | other),
        await merchant.post(f"{BASES[family]}/trip-1/sync", merchant.ours() | SYNC | other),
        await merchant.post(f"{BASES['serviceorder']}/trip-1/modify", merchant.ours() | MODIFY | other),
        await merchant.user_service_state("passenger-1", **other),
    ):
        assert refusal_of(response)[:3] == (403, "NO_AUTH", "商户暂无权限使用此服务")


# Queries


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("numbers", [{}, {"out_order_no": "trip-1", "query_id": "q"}, {"out_order_no": ""}])
async def test_a_query_names_exactly_one_number(merchant: Merchant, family: str, numbers: dict[str, str]) -> None:
    response = await merchant.get(BASES[family], **merchant.ours(), **numbers)
    assert field_of(response) == "out_order_no"
    assert response.json()["detail"]["location"] == "query"


@pytest.mark.parametrize("family", FAMILIES)
async def test_no_order_has_a_query_id(merchant: Merchant, family: str) -> None:
    response = await merchant.get(BASES[family], **merchant.ours(), query_id="q")
    assert refusal_of(response)[1] == "ORDER_NOT_EXIST"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["appid", "service_id"])
async def test_a_query_names_the_service(merchant: Merchant, family: str, name: str) -> None:
    query = merchant.ours() | {"out_order_no": "trip-1"}
    del query[name]
    assert field_of(await merchant.get(BASES[family], **query)) == name


@pytest.mark.parametrize("name", ["appid", "service_id", "openid"])
async def test_a_question_for_the_service_state_names_all_three(merchant: Merchant, name: str) -> None:
    query = merchant.ours() | {"openid": "passenger-1"} | {name: ""}
    assert field_of(await merchant.get("/v3/payscore/user-service-state", **query)) == name


async def test_only_a_passenger_without_the_service_is_unavailable(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    simulator.set_passenger("passenger-2", Passenger(Behaviour.RISK_REFUSED))
    answers = [(await merchant.user_service_state(f"passenger-{n}")).json() for n in (1, 2)]
    assert [answer["use_service_state"] for answer in answers] == ["UNAVAILABLE", "AVAILABLE"]
    assert answers[0] == merchant.ours() | {"openid": "passenger-1", "use_service_state": "UNAVAILABLE"}


# What the path names is named nowhere else, and JSON has its types (reference payscore-api B.1)


@pytest.mark.parametrize("action", ["complete", "cancel", "sync"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_body_does_not_repeat_what_its_path_names(
    merchant: Merchant, simulator: Simulator, family: str, action: str
) -> None:
    await merchant.create(family, a_create(family))
    body = merchant.ours() | {"reason": "行程取消", "out_order_no": "trip-1"}
    response = await merchant.post(f"{BASES[family]}/trip-1/{action}", body)
    assert refusal_of(response)[:3] == (400, "PARAM_ERROR", REPEATED.format(location="body"))
    assert simulator.ledger_entry("trip-1").stage == "running"


async def test_a_query_string_does_not_repeat_what_the_path_names(merchant: Merchant, simulator: Simulator) -> None:
    await merchant.create("payafter", a_create("payafter"))
    body = merchant.ours() | {"reason": "行程取消"}
    response = await merchant.post(f"{BASES['payafter']}/trip-1/cancel?out_order_no=trip-1", body)
    assert refusal_of(response)[:3] == (400, "PARAM_ERROR", REPEATED.format(location="query"))
    assert simulator.ledger_entry("trip-1").stage == "running"


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("payafter", {"service_id": 500001}, "此字段需要一个 string 类型的 Json 值"),
        ("payafter", {"attach": 1}, "此字段需要一个 string 类型的 Json 值"),
        ("serviceorder", {"post_payments": {"name": "车费", "amount": 1}}, "此字段需要 JSON 数组对象"),
        ("serviceorder", {"risk_fund__amount": "20000"}, "参数错误"),
    ],
)
async def test_a_member_of_another_type_is_told_in_words_where_they_are_known(
    merchant: Merchant, family: str, changes: Json, message: str
) -> None:
    response = await merchant.create(family, a_create(family, **changes))
    assert refusal_of(response)[:3] == (400, "PARAM_ERROR", message)
