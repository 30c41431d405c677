import asyncio
import gzip
import logging
import re
import threading
import traceback
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import capture_logs

from payscore_worker import metrics, tracing, version
from payscore_worker.errors import (
    FailureClass,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.wechatpay import Call, CallKind, VerificationKeys, WechatPayClient
from payscore_worker.wechatpay.auth import MAX_ANSWER_BYTES
from payscore_worker.wechatpay.client import PAUSE_SECONDS, SIGNING_THREADS
from payscore_worker.wechatpay.signatures import Signer, request_text
from tests.unit.wechatpay.vectors import APIV3_KEY, CERTIFICATE_SERIAL
from tests.unit.wechatpay.wechat import (
    BACKUP,
    NOW,
    PRIMARY,
    PUBLIC_KEY_ID,
    Clock,
    Pauses,
    Reply,
    Wechat,
    a_certificate,
    a_client,
    a_key,
    a_merchant,
    a_success,
    an_error,
    certificate_mode,
    certificates_body,
    merchant_key,
    public_key_mode,
    signature_headers,
)

COMPLETE = Call(CallKind.COMPLETE, "POST", "/v3/payscore/serviceorder/trip-1/complete", '{"name":"用车"}'.encode())
QUERY = Call(CallKind.QUERY, "GET", "/v3/payscore/serviceorder?service_id=500001&appid=wx1&out_order_no=trip-1")
ASK = Call(CallKind.USER_SERVICE_STATE, "GET", "/v3/payscore/user-service-state?appid=wx1&openid=oUpF8uMuAJO_M2px")


def beginning(content: bytes) -> str:
    return repr(content[:12]).replace("\\", "")  # no test is found by a name with a backslash


def refused_connection() -> httpx.ConnectError:
    return httpx.ConnectError("All connection attempts failed")


# --- Signing ---


def verify_authorization(request: httpx.Request) -> dict[str, str]:
    """Check a request's signature as WeChat Pay would; returns what the header says."""
    named = dict(re.findall(r'(\w+)="([^"]*)"', request.headers["Authorization"]))
    signed = request_text(
        method=request.method,
        target=request.url.raw_path.decode(),
        timestamp=int(named["timestamp"]),
        nonce=named["nonce_str"],
        body=request.content,
    )
    merchant_key().public_key().verify(b64decode(named["signature"]), signed, PKCS1v15(), SHA256())
    return named


@pytest.mark.parametrize("call", [COMPLETE, QUERY])
async def test_a_call_goes_out_signed_as_it_is(clock: Clock, wechat: Wechat, call: Call) -> None:
    await a_client(wechat, clock=clock).send(call)

    (request,) = wechat.requests
    named = verify_authorization(request)
    assert named["mchid"] == "1230000109"
    assert named["serial_no"] == CERTIFICATE_SERIAL
    assert named["timestamp"] == str(int(NOW.timestamp()))
    assert (request.method, request.url.raw_path.decode(), request.content) == (call.method, call.path, call.body)


async def test_a_call_says_what_it_takes_and_who_asks(clock: Clock, wechat: Wechat) -> None:
    client = a_client(wechat, clock=clock)
    await client.send(COMPLETE)
    await client.send(QUERY)

    complete, query = wechat.requests
    said = {name.decode(): value.decode() for name, value in query.headers.raw if name != b"Authorization"}
    assert said == {
        "Host": "api.mch.weixin.qq.com",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"payscore-worker/{version()}",
        "Wechatpay-Serial": PUBLIC_KEY_ID,
    }
    assert dict(complete.headers) == dict(query.headers) | {
        "content-type": "application/json",
        "content-length": str(len(COMPLETE.body)),
        "authorization": complete.headers["Authorization"],
    }
    assert (b"Content-Type", b"application/json") in complete.headers.raw
    assert complete.extensions["timeout"] == {"connect": 3, "read": 10, "write": 10, "pool": 10}


async def test_the_answer_carries_status_request_id_and_attempts(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [a_success({"order_id": "42"})]

    answer = await a_client(wechat, clock=clock).send(COMPLETE)

    assert (answer.status, answer.request_id, answer.attempts) == (200, "08F1-1", 1)
    assert answer.data == {"order_id": "42"}


async def test_an_empty_204_is_verified_and_taken(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [a_success(status=204, content=b"")]

    answer = await a_client(wechat, clock=clock).send(COMPLETE)

    assert (answer.status, answer.data) == (204, {})


# --- Verifying ---


def tampered(_: httpx.Request) -> httpx.Response:
    response = a_success({"total_amount": 4000})
    return httpx.Response(200, content=response.content.replace(b"4000", b"1"), headers=response.headers)


def without_headers(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"order_id": "1"})


def probing(_: httpx.Request) -> httpx.Response:
    response = a_success()
    response.headers["Wechatpay-Signature"] = "WECHATPAY/SIGNTEST/" + response.headers["Wechatpay-Signature"]
    return response


UNBELIEVABLE: dict[str, tuple[Reply, str]] = {
    "tampered": (tampered, "bad_signature"),
    "unsigned": (without_headers, "bad_signature"),
    "probe": (probing, "bad_signature"),
    "other key": (lambda _: a_success(key=a_key("somebody")), "bad_signature"),
    "unknown serial": (lambda _: a_success(serial="PUB_KEY_ID_9999"), "unknown_serial"),
    "300 s old": (lambda _: a_success(at=NOW - timedelta(seconds=300)), "stale_timestamp"),
    "300 s ahead": (lambda _: a_success(at=NOW + timedelta(seconds=300)), "stale_timestamp"),
    "204, other key": (lambda _: a_success(status=204, content=b"", key=a_key("somebody")), "bad_signature"),
}


@pytest.mark.parametrize("kind", UNBELIEVABLE)
async def test_a_success_that_nothing_proves_is_an_unknown_outcome(clock: Clock, wechat: Wechat, kind: str) -> None:
    reply, doubt = UNBELIEVABLE[kind]
    wechat.replies = [reply] * 3

    with pytest.raises(OutcomeUnknown, match=f"^the answer is not verified: {doubt}$") as unknown:
        await a_client(wechat, clock=clock).send(COMPLETE)

    assert (unknown.value.attempts, unknown.value.status) == (3, 204 if kind.startswith("204") else 200)


@pytest.mark.parametrize("kind", UNBELIEVABLE)
async def test_after_a_probe_the_next_signed_answer_is_taken(clock: Clock, wechat: Wechat, kind: str) -> None:
    wechat.replies = [UNBELIEVABLE[kind][0], a_success({"order_id": "42"})]

    answer = await a_client(wechat, clock=clock).send(COMPLETE)

    assert (answer.attempts, answer.data) == (2, {"order_id": "42"})


async def test_an_answer_under_a_new_certificate_makes_us_fetch_it_once(clock: Clock, wechat: Wechat) -> None:
    serial, key = "7F00AA11", a_key("new")
    content = certificates_body({serial: a_certificate(key)})
    wechat.certificates = [a_success(content=content, serial=serial, key=key)]
    wechat.replies = [a_success(serial=serial, key=key) for _ in range(11)]
    client = a_client(wechat, clock=clock, keys=certificate_mode(clock))

    answers = await asyncio.gather(*(client.send(COMPLETE) for _ in range(10)))

    assert all(answer.attempts == 1 for answer in answers)
    assert wechat.asked_for("/v3/certificates") == 1
    await client.send(QUERY)
    assert wechat.requests[-1].headers["Wechatpay-Serial"] == serial


@pytest.mark.parametrize("content", [b"[]", b"null", b"{", b'"x"', b"\xff", b'{"a":' * 60_000], ids=beginning)
async def test_a_signed_answer_that_is_no_json_object_is_unknown(clock: Clock, wechat: Wechat, content: bytes) -> None:
    wechat.replies = [a_success(content=content)] * 3

    with pytest.raises(OutcomeUnknown):
        await a_client(wechat, clock=clock).send(COMPLETE)


async def test_accepted_for_later_is_not_yet_done(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [a_success(status=202)] * 3

    with pytest.raises(OutcomeUnknown):
        await a_client(wechat, clock=clock).send(COMPLETE)


async def test_an_endless_answer_is_cut_off(clock: Clock, wechat: Wechat) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * MAX_ANSWER_BYTES:  # as good as endless, and no harm to the machine where nobody cuts it off
            sent += 65536
            yield b" " * 65536

    wechat.replies = [lambda _: httpx.Response(200, content=endless())] * 3

    with pytest.raises(OutcomeUnknown, match=f"^the answer is larger than {MAX_ANSWER_BYTES} bytes$"):
        await a_client(wechat, clock=clock).send(COMPLETE)
    assert sent <= 3 * (MAX_ANSWER_BYTES + 65536)


async def test_an_answer_as_large_as_it_may_be_is_read(clock: Clock, wechat: Wechat) -> None:
    largest = b'{"order_id":"42"}'.ljust(MAX_ANSWER_BYTES)

    async def in_two(body: bytes) -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    def answer(body: bytes) -> Reply:
        return lambda _: httpx.Response(200, content=in_two(body), headers=signature_headers(body))

    wechat.replies = [answer(largest), *[answer(largest + b" ")] * 3]
    client = a_client(wechat, clock=clock)

    assert (await client.send(COMPLETE)).data == {"order_id": "42"}
    with pytest.raises(OutcomeUnknown, match="larger"):
        await client.send(COMPLETE)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, GZIP", "gzip, gzip", "unheard-of"])
async def test_a_compressed_answer_is_refused_before_a_byte_of_it_is_read(
    clock: Clock, wechat: Wechat, encoding: str, status: int
) -> None:
    read = 0

    async def bomb() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield gzip.compress(b"0" * 1_000_000)

    def compressed(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=bomb(), headers={"Content-Encoding": encoding})

    wechat.replies = [compressed] * 3

    said = r"^the answer is compressed, which we did not ask for$"
    with pytest.raises(OutcomeUnknown, match=said) as unknown:
        await a_client(wechat, clock=clock).send(COMPLETE)

    assert (unknown.value.attempts, read) == (1 if status == 400 else 3, 0)


@pytest.mark.parametrize("encoding", ["Identity", "identity, identity", "identity,", ""])
async def test_an_answer_that_says_it_is_as_it_is_is_taken(clock: Clock, wechat: Wechat, encoding: str) -> None:
    reply = a_success({"order_id": "42"})
    reply.headers["Content-Encoding"] = encoding
    wechat.replies = [reply]

    assert (await a_client(wechat, clock=clock).send(COMPLETE)).data == {"order_id": "42"}


async def test_no_cookie_is_kept(clock: Clock, wechat: Wechat) -> None:
    reply = a_success()
    reply.headers["Set-Cookie"] = "tracker=1; Path=/"
    wechat.replies = [reply]
    client = a_client(wechat, clock=clock)

    await client.send(COMPLETE)

    assert not client._http.cookies


async def test_an_answer_that_never_comes_is_given_up(
    clock: Clock, wechat: Wechat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    monkeypatch.setattr("payscore_worker.wechatpay.client.TRY_SECONDS", 0.01)
    client = a_client(wechat, clock=clock, transport=httpx.MockTransport(never))

    async with asyncio.timeout(5):
        with pytest.raises(OutcomeUnknown, match=r"^no answer: TimeoutError$"):
            await client.send(COMPLETE)


async def test_a_call_that_is_cancelled_is_not_tried_again(clock: Clock, wechat: Wechat) -> None:
    trying = asyncio.Event()

    async def never_the_second_time(request: httpx.Request) -> httpx.Response:
        wechat.requests.append(request)
        if len(wechat.requests) > 1:
            trying.set()
            await asyncio.Event().wait()
        return httpx.Response(500)

    client = a_client(wechat, clock=clock, transport=httpx.MockTransport(never_the_second_time))
    sending = asyncio.create_task(client.send(COMPLETE))
    async with asyncio.timeout(5):
        await trying.wait()
    sending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sending
    assert len(wechat.requests) == 2


# --- A key first ---


@pytest.mark.parametrize("call", [COMPLETE, QUERY], ids=["complete", "query"])
@pytest.mark.parametrize(
    ("certificates", "reason"),
    [
        ([httpx.Response(500)] * 3, "HTTP 500"),
        ([an_error(404, "RESOURCE_NOT_EXISTS", "无可用的平台证书")], "无可用的平台证书"),
        ([a_success(content=b'{"data":[]}')], "none is valid now"),
    ],
    ids=["trouble", "none for this merchant", "an empty list"],
)
async def test_nothing_is_sent_while_no_key_is_held_to_verify_the_answer(
    clock: Clock, wechat: Wechat, call: Call, certificates: list[Reply], reason: str
) -> None:
    wechat.certificates = list(certificates)

    with pytest.raises(WechatPayUnavailable, match=f"for lack of a key.*{reason}") as unavailable:
        await a_client(wechat, clock=clock, keys=certificate_mode(clock)).send(call)

    assert {request.url.path for request in wechat.requests} == {"/v3/certificates"}
    assert (unavailable.value.attempts, unavailable.value.status) == (0, None)


async def test_a_first_key_is_fetched_before_a_call_goes_out(clock: Clock, wechat: Wechat) -> None:
    serial, key = "7F00AA11", a_key("new")
    wechat.certificates = [a_success(content=certificates_body({serial: a_certificate(key)}), serial=serial, key=key)]
    wechat.replies = [a_success(serial=serial, key=key)]

    answer = await a_client(wechat, clock=clock, keys=certificate_mode(clock)).send(COMPLETE)

    assert [request.url.path for request in wechat.requests] == ["/v3/certificates", COMPLETE.path]
    assert wechat.requests[1].headers["Wechatpay-Serial"] == serial
    assert answer.attempts == 1


async def test_a_key_that_does_not_come_is_not_waited_for_without_end(
    clock: Clock, wechat: Wechat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        wechat.requests.append(request)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    monkeypatch.setattr("payscore_worker.wechatpay.auth.KEY_SECONDS", 0.01)
    client = a_client(wechat, clock=clock, keys=certificate_mode(clock), transport=httpx.MockTransport(never))

    said = r"^not sent, for lack of a key to verify the answer: TimeoutError$"
    async with asyncio.timeout(5):
        with pytest.raises(WechatPayUnavailable, match=said):
            await client.send(COMPLETE)

    assert [request.url.path for request in wechat.requests] == ["/v3/certificates"]
    await client.aclose()


async def test_a_call_whose_last_key_expires_between_two_tries_stays_unknown(clock: Clock, wechat: Wechat) -> None:
    serial, key = "7F00AA11", a_key("new")
    short = a_certificate(key, expires=NOW + timedelta(minutes=1))
    wechat.certificates = [a_success(content=certificates_body({serial: short}), serial=serial, key=key)]
    wechat.replies = [httpx.ReadTimeout("")]

    async def a_minute(_: float) -> None:
        wechat.certificates = [httpx.Response(500)] * 3
        clock.advance(timedelta(minutes=1))

    client = a_client(wechat, clock=clock, keys=certificate_mode(clock), sleep=a_minute)

    with pytest.raises(OutcomeUnknown, match="for lack of a key") as unknown:
        await client.send(COMPLETE)

    assert unknown.value.attempts == 1


# --- Trying again ---


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ReadTimeout(""),
        httpx.ReadError(""),
        httpx.Response(500),
        httpx.Response(502),
        probing,
        OSError("unmapped"),
    ],
    ids=["read time-out", "reset while reading", "500", "502", "probe", "an error no transport should raise"],
)
async def test_a_second_try_sends_the_same_bytes_signed_anew(
    clock: Clock, wechat: Wechat, pauses: Pauses, trouble: Reply
) -> None:
    wechat.replies = [trouble]

    answer = await a_client(wechat, clock=clock, base_urls=(PRIMARY,), sleep=pauses).send(COMPLETE)

    first, second = wechat.requests
    assert answer.attempts == 2
    assert first.content == second.content == COMPLETE.body
    assert first.url == second.url
    assert verify_authorization(first)["nonce_str"] != verify_authorization(second)["nonce_str"]
    assert [PAUSE_SECONDS[0] <= pause <= PAUSE_SECONDS[1] for pause in pauses.seconds] == [True]


async def test_a_try_is_signed_when_it_is_made(clock: Clock, wechat: Wechat) -> None:
    async def a_minute(_: float) -> None:
        clock.advance(timedelta(minutes=1))

    wechat.replies = [httpx.Response(500), lambda _: a_success(at=clock.now)]

    await a_client(wechat, clock=clock, sleep=a_minute).send(COMPLETE)

    times = [int(verify_authorization(request)["timestamp"]) for request in wechat.requests]
    assert times[1] - times[0] == 60


async def test_three_tries_are_all(clock: Clock, wechat: Wechat, pauses: Pauses) -> None:
    wechat.replies = [httpx.Response(500)] * 10

    with pytest.raises(OutcomeUnknown) as unknown:
        await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    assert unknown.value.attempts == len(wechat.requests) == 3
    assert len(pauses.seconds) == 2


async def test_a_success_needs_no_pause(clock: Clock, wechat: Wechat, pauses: Pauses) -> None:
    await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    assert pauses.seconds == []


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        (an_error(400, "PARAM_ERROR"), Refusal.INVALID_PARAMETER),
        (an_error(403, "NO_AUTH"), Refusal.NOT_PERMITTED),
        (an_error(404, "ORDER_NOT_ EXIST"), Refusal.ORDER_NOT_FOUND),
        (an_error(400, "PARAM_ERROR", request_id="08F1-271300099"), Refusal.RISK_REFUSED),
        (an_error(400, "SOMETHING_NEW"), Refusal.UNCLEAR),
    ],
)
async def test_a_refusal_is_not_tried_again_and_carries_no_signature(
    clock: Clock, wechat: Wechat, pauses: Pauses, reply: httpx.Response, refusal: Refusal
) -> None:
    wechat.replies = [reply]

    with pytest.raises(WechatPayRejected) as refused:
        await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    assert refused.value.refusal is refusal
    assert refused.value.status == reply.status_code
    assert refused.value.attempts == len(wechat.requests) == 1


FOREIGN: list[httpx.Response] = [
    httpx.Response(404, content=b"<html>nginx</html>"),
    httpx.Response(403, content=b""),
    httpx.Response(400, content=b'{"a":' * 60_000),
    httpx.Response(400, json={"code": 5, "message": None, "detail": []}),
    httpx.Response(400, json=["code"]),
    httpx.Response(401, json={"message": "log in"}),
    httpx.Response(407, json={"code": "ProxyAuthenticationRequired"}),
    httpx.Response(408, content=b"<html>"),
    httpx.Response(413, json={"code": "TooLarge"}),
]


@pytest.mark.parametrize("reply", FOREIGN, ids=lambda reply: f"{reply.status_code} {beginning(reply.content)}")
async def test_an_answer_that_is_not_wechats_says_nothing_of_what_became_of_the_call(
    clock: Clock, wechat: Wechat, pauses: Pauses, reply: httpx.Response
) -> None:
    wechat.replies = [reply]

    with pytest.raises(OutcomeUnknown) as unknown:
        await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    error = unknown.value
    assert (error.failure, error.status, error.attempts) == (FailureClass.FOREIGN, reply.status_code, 1)
    assert error.unsure


@pytest.mark.parametrize(
    "reply",
    [
        an_error(401, "SIGN_ERROR"),
        an_error(400, "MCH_NOT_EXISTS"),
        an_error(400, "PARAM_ERROR", request_id="08F1-270924332"),
        an_error(403, "NO_AUTH", "请检查服务授权状态"),
    ],
    ids=lambda reply: str(reply.json()["code"]),
)
async def test_a_refusal_of_the_merchant_is_no_refusal_of_the_call(
    clock: Clock, wechat: Wechat, pauses: Pauses, reply: httpx.Response
) -> None:
    wechat.replies = [reply]

    with pytest.raises(MerchantRefused) as refused:
        await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    error = refused.value
    assert (error.failure, error.attempts, len(wechat.requests)) == (FailureClass.MISCONFIGURED, 1, 1)
    assert not error.unsure


async def test_a_refusal_of_the_merchant_leaves_an_earlier_attempt_unknown(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [httpx.Response(500), an_error(401, "SIGN_ERROR")]

    with pytest.raises(MerchantRefused) as refused:
        await a_client(wechat, clock=clock).send(COMPLETE)

    assert refused.value.unsure


@pytest.mark.parametrize(
    ("replies", "failure"),
    [
        ([httpx.ReadTimeout("")] * 3, FailureClass.UNREACHABLE),
        ([httpx.ConnectError("refused")] * 6, FailureClass.UNREACHABLE),
        ([httpx.Response(500)] * 3, FailureClass.TROUBLE),
        ([an_error(502, "SERVICE_UNAVAILABLE")] * 3, FailureClass.TROUBLE),
        ([an_error(400, "INVALID_REQUEST", "请求异常,请稍后重试")], FailureClass.TROUBLE),
        ([a_success(status=202)] * 3, FailureClass.TROUBLE),
        ([probing] * 3, FailureClass.UNVERIFIED),
        ([a_success(content=b"[]")] * 3, FailureClass.UNVERIFIED),
        ([an_error(429, "FREQUENCY_LIMITED")] * 3, FailureClass.THROTTLED),
        ([an_error(400, "PARAM_ERROR", request_id="08F1-268435472")], FailureClass.THROTTLED),
        ([httpx.ReadTimeout(""), *[an_error(429, "FREQUENCY_LIMITED")] * 2], FailureClass.THROTTLED),
    ],
)
async def test_a_failure_says_how_wechat_is_out(
    clock: Clock, wechat: Wechat, replies: list[Reply], failure: FailureClass
) -> None:
    wechat.replies = list(replies)

    with pytest.raises((OutcomeUnknown, WechatPayUnavailable)) as failed:
        await a_client(wechat, clock=clock).send(COMPLETE)

    assert failed.value.failure is failure


async def test_a_refusal_says_what_wechat_pay_said(clock: Clock, wechat: Wechat) -> None:
    detail = {"field": "/post_payments/0/name", "value": "secret", "issue": "too long"}
    body = {"code": "PARAM_ ERROR", "message": "参数\n错误" + "长" * 1000, "detail": detail}
    wechat.replies = [httpx.Response(400, json=body, headers={"Request-ID": "08F1-268435464"})]

    with pytest.raises(WechatPayRejected) as refused:
        await a_client(wechat, clock=clock).send(COMPLETE)

    error = refused.value
    assert (error.code, error.request_id) == ("PARAM_ERROR", "08F1-268435464")
    assert error.message.startswith("参数 错误长")
    assert error.message.endswith("[/post_payments/0/name]")
    assert len(error.message) < 250
    assert "secret" not in str(error)


async def test_a_throttled_call_goes_again_with_the_same_bytes_at_a_slower_pace(
    clock: Clock, wechat: Wechat, pauses: Pauses
) -> None:
    wechat.replies = [an_error(429, "FREQUENCY_LIMITED", "频率超限"), a_success()]

    client = a_client(wechat, clock=clock, sleep=pauses)
    answer = await client.send(COMPLETE)

    assert answer.attempts == 2
    assert len({request.content for request in wechat.requests}) == 1
    assert client._pace.gap_seconds > 0


async def test_a_call_that_stays_throttled_was_not_processed(clock: Clock, wechat: Wechat, pauses: Pauses) -> None:
    wechat.replies = [an_error(429, "FREQUENCY_LIMITED", "频率超限")] * 3

    with pytest.raises(WechatPayUnavailable) as unavailable:
        await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    error = unavailable.value
    assert (error.status, error.code, error.attempts) == (429, "FREQUENCY_LIMITED", 3)
    assert len(pauses.seconds) == 3  # one before each further try, and one for the pace that the first 429 has set


async def test_a_request_to_try_later_is_passed_on_as_unknown(clock: Clock, wechat: Wechat, pauses: Pauses) -> None:
    wechat.replies = [an_error(400, "INVALID_REQUEST", "请求异常,请稍后重试")]

    with pytest.raises(OutcomeUnknown):
        await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    assert (len(wechat.requests), pauses.seconds) == (1, [])


async def test_a_refusal_after_an_unknown_attempt_counts_both(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [httpx.ReadTimeout(""), an_error(400, "INVALID_REQUEST", "综合评估未通过")]

    with pytest.raises(WechatPayRejected) as refused:
        await a_client(wechat, clock=clock).send(COMPLETE)

    assert (refused.value.attempts, refused.value.unsure) == (2, True)


async def test_a_refusal_after_an_attempt_that_never_arrived_is_sure(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [refused_connection(), an_error(400, "INVALID_REQUEST", "综合评估未通过")]

    with pytest.raises(WechatPayRejected) as refused:
        await a_client(wechat, clock=clock).send(COMPLETE)

    assert (refused.value.attempts, refused.value.unsure) == (2, False)


async def test_throttled_after_an_unknown_attempt_is_still_unknown(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [httpx.ReadTimeout(""), *[an_error(429, "FREQUENCY_LIMITED")] * 2]

    with pytest.raises(OutcomeUnknown):
        await a_client(wechat, clock=clock).send(COMPLETE)


# --- Hosts ---


async def test_refused_everywhere_was_surely_not_processed(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [refused_connection() for _ in range(6)]

    with pytest.raises(WechatPayUnavailable, match=r"^not reached: ConnectError$") as unavailable:
        await a_client(wechat, clock=clock).send(COMPLETE)

    assert unavailable.value.attempts == 6
    assert unavailable.value.status is None
    assert set(wechat.hosts) == {"api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"}


async def test_refused_after_an_unknown_attempt_is_still_unknown(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [httpx.ReadTimeout(""), *[refused_connection() for _ in range(4)]]

    with pytest.raises(OutcomeUnknown):
        await a_client(wechat, clock=clock).send(COMPLETE)


CONNECTION_FAILURES = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("slow"),
    httpx.ReadError("reset"),
    httpx.RemoteProtocolError("hung up"),
]


@pytest.mark.parametrize("failure", CONNECTION_FAILURES, ids=lambda failure: type(failure).__name__)
async def test_the_same_signed_request_goes_to_the_backup(
    clock: Clock, wechat: Wechat, pauses: Pauses, failure: httpx.TransportError
) -> None:
    wechat.replies = [failure]

    answer = await a_client(wechat, clock=clock, sleep=pauses).send(COMPLETE)

    first, second = wechat.requests
    assert wechat.hosts == ["api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"]
    assert second.headers["Host"] == "api2.mch.weixin.qq.com"
    assert first.headers["Authorization"] == second.headers["Authorization"]
    assert (first.url.raw_path, first.content) == (second.url.raw_path, second.content)
    assert (answer.attempts, pauses.seconds) == (2, [])


async def test_a_server_that_hung_up_may_have_processed_the_call(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [httpx.ConnectTimeout("server disconnected"), *[refused_connection() for _ in range(5)]]

    with pytest.raises(OutcomeUnknown):
        await a_client(wechat, clock=clock).send(COMPLETE)


@pytest.mark.parametrize("reply", [httpx.Response(500), httpx.ReadTimeout("slow")], ids=["500", "read time-out"])
async def test_what_is_no_connection_failure_stays_with_the_primary(clock: Clock, wechat: Wechat, reply: Reply) -> None:
    wechat.replies = [reply]

    await a_client(wechat, clock=clock).send(COMPLETE)

    assert set(wechat.hosts) == {"api.mch.weixin.qq.com"}


async def test_the_backup_is_kept_for_a_minute_and_then_the_primary_tried_again(clock: Clock, wechat: Wechat) -> None:
    client = a_client(wechat, clock=clock)
    wechat.replies = [refused_connection()]
    await client.send(COMPLETE)

    clock.advance(timedelta(seconds=59))
    await client.send(COMPLETE)
    clock.advance(timedelta(seconds=1))
    wechat.replies = [refused_connection()]
    await client.send(COMPLETE)
    await client.send(COMPLETE)

    assert [host.split(".")[0] for host in wechat.hosts] == ["api", "api2", "api2", "api", "api2", "api2"]


async def test_a_backup_that_fails_sends_back_to_the_primary(clock: Clock, wechat: Wechat) -> None:
    client = a_client(wechat, clock=clock)
    wechat.replies = [refused_connection(), a_success(), refused_connection()]
    await client.send(COMPLETE)
    await client.send(COMPLETE)
    await client.send(COMPLETE)

    assert [host.split(".")[0] for host in wechat.hosts] == ["api", "api2", "api2", "api", "api"]


async def test_one_host_alone_has_no_backup(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [refused_connection()]

    await a_client(wechat, clock=clock, base_urls=("http://127.0.0.1:9000/",)).send(COMPLETE)

    assert [str(request.url) for request in wechat.requests] == [f"http://127.0.0.1:9000{COMPLETE.path}"] * 2


@pytest.mark.parametrize(
    "base_url",
    [
        "api.mch.weixin.qq.com",
        "https://h/v3",
        "https://h?x=1",
        "ftp://h",
        "",
        "https://h#x",
        "https://u:secret@h",
        "https://h:port",
    ],
)
def test_a_base_url_is_a_scheme_and_a_host(clock: Clock, wechat: Wechat, base_url: str) -> None:
    with pytest.raises(ValueError, match=r"^a base URL is a scheme and a host, nothing more$"):
        a_client(wechat, clock=clock, base_urls=(base_url, BACKUP))


# --- At start ---


def test_the_merchants_own_key_is_refused_as_a_verification_key(clock: Clock, wechat: Wechat) -> None:
    own = {PUBLIC_KEY_ID: merchant_key().public_key()}
    keys = VerificationKeys(apiv3_keys=[APIV3_KEY], clock=clock, public_keys=own)

    said = f"^{PUBLIC_KEY_ID} is the merchant's own key; WeChat Pay signs with another$"
    with pytest.raises(ValueError, match=said):
        a_client(wechat, clock=clock, keys=keys)


async def test_closing_closes_the_transport(clock: Clock) -> None:
    class Transport(httpx.MockTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    transport = Transport(Wechat())
    client = WechatPayClient(
        merchant=a_merchant(), keys=public_key_mode(clock), base_urls=[PRIMARY], transport=transport, clock=clock
    )

    await client.aclose()

    assert transport.closed


async def test_closing_waits_for_no_signature_and_drops_those_that_have_not_begun(clock: Clock, wechat: Wechat) -> None:
    client, go_on = a_client(wechat, clock=clock), threading.Event()
    under_way = [client._signers.submit(go_on.wait, 5) for _ in range(SIGNING_THREADS)]
    waiting = client._signers.submit(go_on.wait, 5)

    await client.aclose()

    assert waiting.cancelled()
    assert not any(signing.done() for signing in under_way)
    go_on.set()
    with pytest.raises(RuntimeError, match="shutdown"):
        client._signers.submit(go_on.wait)


async def test_what_signs_is_threads_named_for_whoever_looks_at_the_process(
    clock: Clock, wechat: Wechat, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing: list[tuple[str, str]] = []

    def sign(_: Signer, signed: bytes) -> str:
        signing.append((threading.current_thread().name.rpartition("_")[0], signed.split()[1].decode()))
        return ""

    monkeypatch.setattr(Signer, "sign", sign)
    with pytest.raises(WechatPayUnavailable):
        await a_client(wechat, clock=clock, keys=certificate_mode(clock)).send(COMPLETE)
    await a_client(wechat, clock=clock).send(COMPLETE)

    assert signing == [("wechatpay-sign", "/v3/certificates"), ("wechatpay-sign", COMPLETE.path)]


# --- Logs ---


async def logged(wechat: Wechat, call: Call, clock: Clock) -> dict[str, Any]:
    with capture_logs(processors=[merge_contextvars]) as logs, suppress(WechatPayError):
        await a_client(wechat, clock=clock).send(call)
    (line,) = [line for line in logs if line["event"] == "wechatpay_call"]
    return dict(line)


async def test_a_call_is_one_line(clock: Clock, wechat: Wechat) -> None:
    line = await logged(wechat, COMPLETE, clock)

    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "wechatpay_call",
        "log_level": "info",
        "account": "default",
        "kind": "complete",
        "method": "POST",
        "path": "/v3/payscore/serviceorder/trip-1/complete",
        "status": 200,
        "code": "",
        "wechatpay_request_id": "08F1-1",
        "attempts": 1,
        "serial": PUBLIC_KEY_ID,
        "wanted_serial": PUBLIC_KEY_ID,
        "outcome": "accepted",
    }


async def test_later_lines_about_the_same_message_name_the_request_too(clock: Clock, wechat: Wechat) -> None:
    await a_client(wechat, clock=clock).send(COMPLETE)

    assert get_contextvars()["wechatpay_request_id"] == "08F1-1"


async def test_the_line_of_a_call_without_an_answer_leaves_empty_what_only_an_answer_tells(
    clock: Clock, wechat: Wechat
) -> None:
    wechat.replies = [httpx.ReadTimeout("")] * 3

    line = await logged(wechat, QUERY, clock)

    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "wechatpay_call",
        "log_level": "info",
        "account": "default",
        "kind": "query",
        "method": "GET",
        "path": "/v3/payscore/serviceorder",
        "status": None,
        "code": "",
        "wechatpay_request_id": "",
        "attempts": 3,
        "serial": "",
        "wanted_serial": "",
        "outcome": "unknown",
    }


async def test_the_line_of_an_answer_without_headers_says_which_key_was_wanted(clock: Clock, wechat: Wechat) -> None:
    wechat.replies = [httpx.Response(400, json={"code": "PARAM_ERROR"})]

    line = await logged(wechat, COMPLETE, clock)

    assert (line["code"], line["wechatpay_request_id"], line["serial"]) == ("PARAM_ERROR", "", "")
    assert line["wanted_serial"] == PUBLIC_KEY_ID


async def test_the_line_of_an_answer_that_nobody_has_verified_cannot_be_flooded(clock: Clock, wechat: Wechat) -> None:
    said = {"Wechatpay-Serial": "\x1b[2J" + "A" * 1000, "Request-ID": "B" * 1000}
    wechat.replies = [httpx.Response(400, json={"code": "PARAM_ERROR"}, headers=said)]

    line = await logged(wechat, COMPLETE, clock)

    assert line["serial"] == "\\x1b[2J" + "A" * 60
    assert line["wechatpay_request_id"] == "B" * 200


async def test_the_download_of_a_first_certificate_wants_no_key(clock: Clock, wechat: Wechat) -> None:
    client = a_client(wechat, clock=clock, keys=certificate_mode(clock))
    wechat.certificates = [an_error(404, "RESOURCE_NOT_EXISTS")]

    with capture_logs() as logs, suppress(WechatPayError):
        await client.send(COMPLETE)

    download = next(line for line in logs if line.get("kind") == "certificates")
    assert (download["wanted_serial"], download["attempts"]) == ("", 1)


def measured(kind: str, outcome: str, code: str) -> tuple[float, float]:
    """Read how many seconds such calls took, and how many requests calls of this kind sent."""
    seconds = metrics.of(metrics.CALLS, "default", kind, outcome, code)._sum.get()
    return float(seconds), float(metrics.of(metrics.SENDS, "default", kind)._value.get())


@pytest.mark.parametrize(
    ("replies", "outcome", "code", "sends"),
    [
        ([httpx.Response(500), a_success()], "accepted", "", 2),
        ([an_error(403, "NO_AUTH")], "not_permitted", "NO_AUTH", 1),
        ([an_error(400, "ANEW")], "unclear", "other", 1),
    ],
    ids=["accepted", "refused", "refused with a new code"],
)
async def test_a_call_is_measured_with_all_its_tries_by_outcome_and_code(
    clock: Clock,
    wechat: Wechat,
    monkeypatch: pytest.MonkeyPatch,
    replies: list[Reply],
    outcome: str,
    code: str,
    sends: int,
) -> None:
    wechat.replies = list(replies)
    moments = iter([100.0, 101.98765])
    monkeypatch.setattr("payscore_worker.wechatpay.client.perf_counter", lambda: next(moments))
    seconds, sent = measured("complete", outcome, code)

    line = await logged(wechat, COMPLETE, clock)

    now_seconds, now_sent = measured("complete", outcome, code)
    assert now_seconds - seconds == pytest.approx(1.98765)
    assert now_sent - sent == sends
    assert line["duration_ms"] == 1987.7


@pytest.mark.parametrize(
    ("replies", "outcome", "attempts", "status"),
    [
        ([httpx.Response(500), a_success()], "accepted", 2, 200),
        ([an_error(400, "PARAM_ERROR", request_id="1-271300099")], "risk_refused", 1, 400),
        ([an_error(429, "FREQUENCY_LIMITED")] * 3, "unavailable", 3, 429),
        ([an_error(401, "SIGN_ERROR")], "misconfigured", 1, 401),
        ([httpx.Response(404, content=b"<html>")], "unknown", 1, 404),
        ([httpx.ReadTimeout("")] * 3, "unknown", 3, None),
        ([probing] * 3, "unknown", 3, 200),
    ],
)
async def test_its_line_says_how_a_call_ended(
    clock: Clock, wechat: Wechat, replies: list[Reply], outcome: str, attempts: int, status: int | None
) -> None:
    wechat.replies = list(replies)  # its own: the parameter is there for whoever runs this twice

    line = await logged(wechat, COMPLETE, clock)

    assert (line["outcome"], line["attempts"], line["status"]) == (outcome, attempts, status)


async def test_neither_logs_nor_errors_name_the_passenger(
    clock: Clock, wechat: Wechat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wechat.replies = [httpx.ConnectTimeout(f"Connection timeout to host {PRIMARY}{ASK.path}")] * 6
    with capture_logs() as logs, pytest.raises(OutcomeUnknown) as unknown:
        await a_client(wechat, clock=clock).send(ASK)
    await a_client(wechat, clock=clock).send(ASK)

    told = "".join(traceback.format_exception(unknown.value))
    shown = [repr(logs), caplog.text, repr(unknown.value), told, repr(ASK)]
    assert not [text for text in shown if "oUpF8" in text]


async def test_httpx_logs_no_url_of_ours_and_nobody_else_is_silenced(clock: Clock, wechat: Wechat) -> None:
    others = logging.getLogger().level
    logging.getLogger("httpx").setLevel(logging.NOTSET)

    a_client(wechat, clock=clock)

    assert (logging.getLogger("httpx").level, logging.getLogger().level) == (logging.WARNING, others)


# --- Traces ---


@dataclass
class Measured:
    """A span, and what was noted of it."""

    name: str
    kind: tracing.Kind
    noted: dict[str, tracing.Value]

    def note(self, attributes: Mapping[str, tracing.Value], *, error: str | None = None) -> None:
        assert error is None
        self.noted.update(attributes)


@dataclass
class Tracer:
    """Keeps the spans that were made."""

    spans: list[Measured] = field(default_factory=list)

    @contextmanager
    def span(
        self, name: str, kind: tracing.Kind, attributes: Mapping[str, tracing.Value], parent: Mapping[str, Any] | None
    ) -> Iterator[Measured]:
        assert parent is None
        self.spans.append(Measured(name, kind, dict(attributes)))
        yield self.spans[-1]

    def carried(self) -> dict[str, str]:
        return {}

    def end(self) -> None:
        """Have nothing to end."""


@pytest.mark.parametrize(
    ("call", "replies", "told"),
    [
        (
            COMPLETE,
            [a_success()],
            {
                "http.request.method": "POST",
                "http.response.status_code": 200,
                "http.request.resend_count": 0,
                "payscore.outcome": "accepted",
                "payscore.code": "",
                "payscore.request_id": "08F1-1",
            },
        ),
        (
            QUERY,
            [httpx.Response(500), an_error(404, "ORDER_NOT_EXIST", request_id="08F1-2")],
            {
                "http.request.method": "GET",
                "http.response.status_code": 404,
                "http.request.resend_count": 1,
                "payscore.outcome": "order_not_found",
                "payscore.code": "ORDER_NOT_EXIST",
                "payscore.request_id": "08F1-2",
            },
        ),
        (
            ASK,
            [httpx.ReadTimeout("")] * 3,
            {
                "http.request.method": "GET",
                "http.response.status_code": None,
                "http.request.resend_count": 2,
                "payscore.outcome": "unknown",
                "payscore.code": "",
                "payscore.request_id": None,
            },
        ),
    ],
    ids=["accepted", "refused at the second try", "without an answer"],
)
async def test_the_span_of_a_call_says_how_it_ended_and_nothing_of_the_passenger(
    clock: Clock, wechat: Wechat, call: Call, replies: list[Reply], told: dict[str, tracing.Value]
) -> None:
    wechat.replies = list(replies)
    tracer = Tracer()

    with tracing.traced(tracer), suppress(WechatPayError):
        await a_client(wechat, clock=clock).send(call)

    told = {"server.address": "api.mch.weixin.qq.com", **told}
    assert tracer.spans == [Measured(f"wechatpay {call.kind.value}", tracing.Kind.CLIENT, told)]


# --- Nothing that comes back breaks the client ---


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(status=st.integers(200, 599), content=st.binary(max_size=200), signed=st.booleans())
async def test_any_answer_ends_in_an_answer_or_an_error_of_ours(
    clock: Clock, status: int, content: bytes, *, signed: bool
) -> None:
    reply = a_success(status=status, content=content) if signed else httpx.Response(status, content=content)
    try:
        answer = await a_client(Wechat([reply] * 3), clock=clock).send(COMPLETE)
    except WechatPayError:
        return
    assert signed
    assert answer.data == msgspec.json.decode(content or b"{}")


# --- The clock ---


async def test_a_signed_answer_says_by_how_much_our_clock_is_off() -> None:
    wechat = Wechat([a_success(at=NOW - timedelta(seconds=60))])
    client = a_client(wechat, clock=Clock())
    await client.send(QUERY)

    assert client.skew.ahead_seconds == 59.0  # told to the second
    await client.send(QUERY)
    assert client.skew.ahead_seconds == 0.0


async def test_what_is_not_verified_says_nothing_of_our_clock() -> None:
    forged = a_success(at=NOW - timedelta(seconds=60), key=a_key("forger"))
    client = a_client(Wechat([forged] * 3), clock=Clock())
    with pytest.raises(OutcomeUnknown):
        await client.send(QUERY)

    assert not client.skew.is_off


async def test_an_error_that_tells_the_right_time_says_that_our_clock_is_right_again() -> None:
    gone = an_error(404, "ORDER_NOT_EXIST")
    gone.headers["Date"] = f"{NOW:%a, %d %b %Y %H:%M:%S} GMT"
    client = a_client(Wechat([a_success(at=NOW - timedelta(seconds=60)), gone]), clock=Clock())
    await client.send(QUERY)
    assert client.skew.is_off

    with pytest.raises(WechatPayRejected):
        await client.send(QUERY)

    assert not client.skew.is_off
