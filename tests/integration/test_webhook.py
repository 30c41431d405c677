"""What WeChat Pay's callbacks are answered, and what becomes of them; and that nobody else's become anything."""

import asyncio
import gzip
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import load_pem_x509_certificate
from starlette.applications import Starlette
from starlette.types import Message, Scope
from structlog.testing import capture_logs

from payscore_worker import metrics
from payscore_worker.events import CLOUD_EVENT, OrderPaid, RefundChanged, read_event
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import NOTIFICATIONS
from payscore_worker.serving import CannotListen, Server, make_server
from payscore_worker.webhook import (
    ANSWER_SECONDS,
    COMMON_BYTES,
    MAX_BODY_BYTES,
    MAX_LARGE_BODIES,
    PATH,
    PUBLISH_SECONDS,
    Webhook,
)
from payscore_worker.wechatpay import Notification, Notifications, VerificationKeys
from tests.integration.messaging.desk import Desk
from tests.integration.messaging.waiting import DEADLINE_SECONDS, eventually
from tests.unit.ops.samples import value
from tests.unit.wechatpay import vectors
from tests.unit.wechatpay.largest import the_largest_order
from tests.unit.wechatpay.wechat import Clock, merchant_key, signature_headers

WECHAT_WAITS_SECONDS = 5.0
SENT_AT = datetime.fromtimestamp(vectors.NOTIFICATION_TIMESTAMP, UTC)
ORDER_PAID, SERVICE_CHANGED = "payscore.order-paid", "payscore.service-changed"
APIV3_KEYS = [vectors.APIV3_KEY, vectors.OPEN_SERVICE_KEY]
OTHER_APIV3_KEY, OTHER_SERIAL = b"another-apiv3-key-of-32-characte", "PUB_KEY_ID_0111111111111111"
NOWHERE = "amqp://guest:guest@127.0.0.1:1/"


@cache
def other_key() -> RSAPrivateKey:
    """Make the key with which WeChat Pay signs to another merchant."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def vector_headers(signature: str) -> dict[str, str]:
    return {
        "Wechatpay-Timestamp": str(vectors.NOTIFICATION_TIMESTAMP),
        "Wechatpay-Nonce": vectors.NOTIFICATION_NONCE,
        "Wechatpay-Serial": vectors.CERTIFICATE_SERIAL,
        "Wechatpay-Signature": signature,
        "Content-Type": "application/json",
    }


PAID_HEADERS = vector_headers(vectors.USER_PAID_SIGNATURE)


def signed(body: bytes, *, at: datetime = SENT_AT) -> dict[str, str]:
    """Sign as the owner of the published certificate would."""
    return signature_headers(body, at=at, serial=vectors.CERTIFICATE_SERIAL, key=merchant_key())


def a_callback(
    resource: bytes = b'{"refund_status":"SUCCESS"}',
    *,
    event_type: str = "REFUND.SUCCESS",
    id: str = "EV-1",
    apiv3_key: bytes = vectors.APIV3_KEY,
    **changes: Any,
) -> bytes:
    nonce = b"nonce1234567"
    sealed = AESGCM(apiv3_key).encrypt(nonce, resource, b"refund")
    callback = {
        "id": id,
        "create_time": "2021-06-24T16:37:26+08:00",
        "event_type": event_type,
        "summary": "退款成功",
        "resource": {
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": b64encode(sealed).decode(),
            "associated_data": "refund",
            "nonce": nonce.decode(),
        },
    } | changes
    return msgspec.json.encode(callback)


def without(member: str) -> bytes:
    callback = msgspec.json.decode(a_callback())
    del callback[member]
    return msgspec.json.encode(callback)


def notifications(apiv3_keys: list[bytes] = APIV3_KEYS) -> Notifications:
    certificate = load_pem_x509_certificate(vectors.CERTIFICATE.encode())
    clock = Clock(SENT_AT)
    keys = VerificationKeys(
        apiv3_keys=apiv3_keys,
        clock=clock,
        public_keys={vectors.CERTIFICATE_SERIAL: certificate.public_key()},  # type: ignore[dict-item]  # it is RSA
    )
    return Notifications(keys=keys, apiv3_keys=apiv3_keys, clock=clock)


@asynccontextmanager
async def a_publisher(url: str, desk: Desk, *, ready: bool = True) -> AsyncIterator[Publisher]:
    publisher = Publisher(url, name="test webhook", topology=desk.topology, timeout_seconds=PUBLISH_SECONDS)
    publishing = asyncio.create_task(publisher.run())
    if ready:
        await publisher.ready()
    try:
        yield publisher
    finally:
        publishing.cancel()
        await asyncio.wait([publishing])


@pytest.fixture
async def publisher(amqp_url: str, desk: Desk) -> AsyncIterator[Publisher]:
    async with a_publisher(amqp_url, desk) as publisher:
        yield publisher


def an_application(
    publisher: Publisher,
    desk: Desk,
    *,
    opens: Any = None,
    answer_seconds: float = ANSWER_SECONDS,
) -> Starlette:
    webhook = Webhook(
        notifications={"default": opens or notifications()},
        publisher=publisher,
        topology=desk.topology,
        answer_seconds=answer_seconds,
    )
    return Starlette(routes=webhook.routes())


@asynccontextmanager
async def a_client(application: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://webhook") as client:
        yield client


@pytest.fixture
async def client(publisher: Publisher, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async with a_client(an_application(publisher, desk)) as client:
        yield client


@pytest.fixture
async def everything(desk: Desk) -> AsyncIterator[str]:
    """A queue of somebody who listens to every notification."""
    async with desk.connection.channel() as channel:
        queue = await channel.declare_queue(desk.topology.name("everything"), auto_delete=True, durable=True)
        await queue.bind(desk.topology.name(NOTIFICATIONS), "#")
        yield "everything"
        await channel.queue_delete(queue.name)


def failed(response: httpx.Response, status: int) -> bool:
    """Tell whether it is a refusal with this status that gives nothing away."""
    answer = response.json()
    assert answer.keys() == {"code", "message"}
    assert answer["code"] == "FAIL"
    for secret in ("Traceback", ".py", "PRIVATE", *(key.decode() for key in APIV3_KEYS)):
        assert secret not in response.text
    return response.status_code == status


# --- Verified and published ---


@pytest.mark.parametrize(
    ("signature", "body", "resource", "queue", "event_type"),
    [
        (
            vectors.OPEN_SERVICE_SIGNATURE,
            vectors.OPEN_SERVICE_BODY,
            vectors.OPEN_SERVICE_RESOURCE,
            SERVICE_CHANGED,
            "payscore.user_open_service",
        ),
        (
            vectors.USER_PAID_SIGNATURE,
            vectors.USER_PAID_BODY,
            vectors.USER_PAID_RESOURCE,
            ORDER_PAID,
            "payscore.user_paid",
        ),
        (
            vectors.LEGACY_PAID_SIGNATURE,
            vectors.LEGACY_PAID_BODY,
            vectors.LEGACY_PAID_RESOURCE,
            ORDER_PAID,
            "payscore.user_paid",
        ),
    ],
    ids=["V3", "V6", "V7"],
)
async def test_a_callback_is_published_and_answered_200(
    publisher: Publisher, desk: Desk, signature: str, body: bytes, resource: bytes, queue: str, event_type: str
) -> None:
    opens = notifications([vectors.OPEN_SERVICE_KEY] if queue == SERVICE_CHANGED else [vectors.APIV3_KEY])
    async with a_client(an_application(publisher, desk, opens=opens)) as client:
        response = await client.post(PATH, content=body, headers=vector_headers(signature))

    assert (response.status_code, response.json()) == (200, {"code": "SUCCESS", "message": "成功"})
    published = await desk.take(queue)
    event = msgspec.json.decode(published.body)
    assert published.body.endswith(b'"data":' + resource + b"}")
    assert (event["specversion"], event["type"], event["source"]) == ("1.0", event_type, "wechatpay")
    assert event["id"] == msgspec.json.decode(body)["id"] == published.message_id
    assert datetime.fromisoformat(event["time"]) == SENT_AT
    assert (published.routing_key, published.content_type) == (event_type, CLOUD_EVENT)


async def test_the_resource_is_published_to_the_byte(client: httpx.AsyncClient, desk: Desk, everything: str) -> None:
    resource = (
        b' { "amount" : 1.10 , "name":"\xe9\x9d\x99\xe5\xae\x89", "escaped":"\\u9759", "big":12345678901234567890}\n'
    )
    body = a_callback(resource)

    assert (await client.post(PATH, content=body, headers=signed(body))).status_code == 200

    assert resource in (await desk.take(everything)).body


async def test_an_event_type_that_nobody_knows_is_published_too(
    client: httpx.AsyncClient, desk: Desk, everything: str
) -> None:
    body = a_callback(event_type="NOVELTY.HAPPENED")

    assert (await client.post(PATH, content=body, headers=signed(body))).status_code == 200

    assert (await desk.take(everything)).routing_key == "novelty.happened"


async def test_an_event_type_that_nobody_listens_to_is_answered_200(client: httpx.AsyncClient) -> None:
    body = a_callback(event_type="NOVELTY.HAPPENED")

    assert (await client.post(PATH, content=body, headers=signed(body))).status_code == 200


async def test_a_second_delivery_is_published_again_under_the_same_id(client: httpx.AsyncClient, desk: Desk) -> None:
    for _ in range(2):
        response = await client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS)
        assert response.status_code == 200

    assert [(await desk.take(ORDER_PAID)).message_id for _ in range(2)] == ["EV-TEST-0001"] * 2


# --- Each account's path is its own ---


def of_another_merchant() -> Notifications:
    """Make the keys of a merchant to whom WeChat Pay signs with another key, and seals with another."""
    keys = VerificationKeys(
        apiv3_keys=[OTHER_APIV3_KEY],
        clock=Clock(SENT_AT),
        public_keys={OTHER_SERIAL: other_key().public_key()},
    )
    return Notifications(keys=keys, apiv3_keys=[OTHER_APIV3_KEY], clock=Clock(SENT_AT))


@pytest.fixture
async def both(publisher: Publisher, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A webhook of two accounts, of which `shanghai` is the default."""
    accounts = {"shanghai": notifications(), "suzhou": of_another_merchant()}
    webhook = Webhook(notifications=accounts, publisher=publisher, topology=desk.topology)
    async with a_client(Starlette(routes=webhook.routes())) as client:
        yield client


def signed_to_the_other(body: bytes) -> dict[str, str]:
    return signature_headers(body, at=SENT_AT, serial=OTHER_SERIAL, key=other_key())


@pytest.mark.parametrize(("path", "account"), [(PATH, "shanghai"), ("/notify/shanghai", "shanghai")])
async def test_the_default_account_is_called_under_two_paths_and_named_in_the_event(
    both: httpx.AsyncClient, desk: Desk, everything: str, path: str, account: str
) -> None:
    body = a_callback()

    assert (await both.post(path, content=body, headers=signed(body))).status_code == 200

    assert msgspec.json.decode((await desk.take(everything)).body)["account"] == account


async def test_each_account_opens_what_was_sealed_for_it_and_the_event_names_it(
    both: httpx.AsyncClient, desk: Desk, everything: str
) -> None:
    body = a_callback(apiv3_key=OTHER_APIV3_KEY)

    assert (await both.post("/notify/suzhou", content=body, headers=signed_to_the_other(body))).status_code == 200

    assert msgspec.json.decode((await desk.take(everything)).body)["account"] == "suzhou"


async def test_a_key_of_one_account_opens_nothing_of_anothers(both: httpx.AsyncClient) -> None:
    ours, theirs = a_callback(), a_callback(apiv3_key=OTHER_APIV3_KEY)

    for path, body, headers in (
        ("/notify/suzhou", ours, signed(ours)),
        (PATH, theirs, signed_to_the_other(theirs)),
        ("/notify/shanghai", theirs, signed_to_the_other(theirs)),
    ):
        assert failed(await both.post(path, content=body, headers=headers), 401)


async def test_what_is_signed_for_an_account_and_sealed_for_another_is_not_opened(both: httpx.AsyncClient) -> None:
    body = a_callback(apiv3_key=OTHER_APIV3_KEY)

    assert failed(await both.post("/notify/shanghai", content=body, headers=signed(body)), 400)


async def test_an_account_that_there_is_not_is_not_found_and_its_name_is_no_label(both: httpx.AsyncClient) -> None:
    body = a_callback()
    before = value(metrics.NOTIFICATIONS, account="", type="none", verdict="NoSuchAccount") or 0

    assert failed(await both.post("/notify/hangzhou", content=body, headers=signed(body)), 404)

    assert value(metrics.NOTIFICATIONS, account="", type="none", verdict="NoSuchAccount") == before + 1


async def test_an_event_is_read_with_the_account_that_it_was_told_to(
    both: httpx.AsyncClient, desk: Desk, everything: str
) -> None:
    body = a_callback(apiv3_key=OTHER_APIV3_KEY)
    await both.post("/notify/suzhou", content=body, headers=signed_to_the_other(body))
    published = await desk.take(everything)

    received = read_event(
        published.body,
        content_type=published.content_type,
        message_id=published.message_id,
        expected={"refund.success": RefundChanged},
    )

    assert received.event == RefundChanged(resource={"refund_status": "SUCCESS"}, account="suzhou")


# --- Not WeChat Pay's: 401 ---

TAMPERED = vectors.USER_PAID_BODY.replace(b"0001", b"0002")
SAID_ANEW = msgspec.json.format(vectors.USER_PAID_BODY, indent=1)

FORGED: dict[str, tuple[Mapping[str, str], bytes]] = {
    "no signature": ({}, vectors.USER_PAID_BODY),
    "another body": (PAID_HEADERS, TAMPERED),
    "said anew": (PAID_HEADERS, SAID_ANEW),
    "a probe": (vector_headers("WECHATPAY/SIGNTEST/" + vectors.USER_PAID_SIGNATURE), vectors.USER_PAID_BODY),
    "no base64": (vector_headers("?" * 344), vectors.USER_PAID_BODY),
    "another nonce": (PAID_HEADERS | {"Wechatpay-Nonce": "0" * 32}, vectors.USER_PAID_BODY),
    "another time": (PAID_HEADERS | {"Wechatpay-Timestamp": "1624523847"}, vectors.USER_PAID_BODY),
    "no time": (PAID_HEADERS | {"Wechatpay-Timestamp": "now"}, vectors.USER_PAID_BODY),
    "an unknown serial": (PAID_HEADERS | {"Wechatpay-Serial": "4711"}, vectors.USER_PAID_BODY),
    "too late": (signed(vectors.USER_PAID_BODY, at=SENT_AT - timedelta(minutes=5)), vectors.USER_PAID_BODY),
    "too early": (signed(vectors.USER_PAID_BODY, at=SENT_AT + timedelta(minutes=5)), vectors.USER_PAID_BODY),
    "somebody else's key": (
        signature_headers(vectors.USER_PAID_BODY, at=SENT_AT, serial=vectors.CERTIFICATE_SERIAL),
        vectors.USER_PAID_BODY,
    ),
    "nothing at all": ({}, b""),
}


async def test_nothing_that_is_forged_is_believed(client: httpx.AsyncClient, desk: Desk, everything: str) -> None:
    for forgery, (headers, body) in FORGED.items():
        response = await client.post(PATH, content=body, headers=headers)
        assert failed(response, 401), forgery

    assert await desk.is_empty(everything, ORDER_PAID)


# --- WeChat Pay's, and not to be read: 400 ---

UNREADABLE: dict[str, bytes] = {
    "no JSON": b"<xml/>",
    "no object": b"[]",
    "not UTF-8": b'{"id":"\xff"}',
    "brackets without end": b"[" * 60_000,
    "no id": without("id"),
    "no event type": a_callback(event_type=""),
    "no time": a_callback(create_time="yesterday"),
    "no resource": without("resource"),
    "another APIv3 key": a_callback(apiv3_key=b"f" * 32),
    "a resource that is no object": a_callback(b"[1]"),
    "a resource that is not JSON": a_callback(b"paid"),
}


async def test_what_is_signed_and_cannot_be_read_is_refused(
    client: httpx.AsyncClient, desk: Desk, everything: str
) -> None:
    for name, body in UNREADABLE.items():
        response = await client.post(PATH, content=body, headers=signed(body))
        assert failed(response, 400), name

    assert await desk.is_empty(everything)


async def test_a_body_that_is_too_large_is_refused_unread(publisher: Publisher, desk: Desk) -> None:
    application, read, answered = an_application(publisher, desk), 0, []
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> Message:
        nonlocal read
        read += 16_384
        return {"type": "http.request", "body": b"x" * 16_384, "more_body": True}

    async def send(message: Message) -> None:
        answered.append(message)

    await application(scope, receive, send)

    assert answered[0]["status"] == 400
    assert read <= MAX_BODY_BYTES + 16_384


async def test_the_largest_notification_that_the_documents_allow_is_taken(
    client: httpx.AsyncClient, desk: Desk
) -> None:
    order = the_largest_order()
    body = a_callback(order, event_type="PAYSCORE.USER_PAID", id="EV-" + "9" * 33, summary="车" * 64)

    response = await client.post(PATH, content=body, headers=signed(body))

    assert response.status_code == 200
    assert COMMON_BYTES < len(body) < MAX_BODY_BYTES / 3
    message = await desk.take(ORDER_PAID)
    event = read_event(
        message.body, content_type=CLOUD_EVENT, message_id=None, expected={"payscore.user_paid": OrderPaid}
    ).event
    assert isinstance(event, OrderPaid)
    assert event.resource == msgspec.json.decode(order)


async def test_a_notification_of_the_size_of_the_cap_is_one_that_the_worker_reads(
    client: httpx.AsyncClient, desk: Desk
) -> None:
    filler = b"1" * (MAX_BODY_BYTES * 3 // 4 - 1_000)
    body = a_callback(b'{"attach":"%b"}' % filler, event_type="PAYSCORE.USER_PAID")

    assert (await client.post(PATH, content=body, headers=signed(body))).status_code == 200

    message = await desk.take(ORDER_PAID)
    read_event(message.body, content_type=CLOUD_EVENT, message_id=None, expected={"payscore.user_paid": OrderPaid})


async def test_only_so_many_large_bodies_are_in_hand_and_small_ones_pass_beside_them(
    publisher: Publisher, desk: Desk
) -> None:
    application, go_on = an_application(publisher, desk), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * (COMMON_BYTES + 1)
        await go_on.wait()

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://webhook", timeout=10
    ) as client:
        large = [asyncio.create_task(client.post(PATH, content=slow())) for _ in range(MAX_LARGE_BODIES)]
        await asyncio.sleep(0.2)
        one_more = await client.post(PATH, content=b"x" * (COMMON_BYTES + 1))
        small = await client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS)
        go_on.set()
        answers = await asyncio.gather(*large)
        afterwards = await client.post(PATH, content=b"x" * (COMMON_BYTES + 1))

    assert failed(one_more, 503)
    assert small.status_code == 200
    assert all(failed(answer, 401) for answer in answers)
    assert failed(afterwards, 401)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_content_encoding_opens_nothing(client: httpx.AsyncClient, desk: Desk, encoding: str) -> None:
    body = a_callback(event_type="PAYSCORE.USER_PAID")
    encoded = {"Content-Encoding": encoding}

    compressed = await client.post(PATH, content=gzip.compress(body), headers=signed(body) | encoded)
    signed_so = await client.post(PATH, content=gzip.compress(body), headers=signed(gzip.compress(body)) | encoded)
    as_it_is = await client.post(PATH, content=body, headers=signed(body) | encoded)

    assert failed(compressed, 401)
    assert failed(signed_so, 400)
    assert as_it_is.status_code == 200
    assert (await desk.take(ORDER_PAID)).message_id == "EV-1"


@pytest.mark.parametrize(("size", "reason"), [(MAX_BODY_BYTES, 401), (MAX_BODY_BYTES + 1, 400)])
async def test_the_cap_is_256_kib(client: httpx.AsyncClient, size: int, reason: int) -> None:
    assert failed(await client.post(PATH, content=b"x" * size), reason)


# --- Our own trouble: 5xx ---


async def test_without_its_queue_a_payment_is_not_confirmed_until_the_queue_is_back(
    client: httpx.AsyncClient, desk: Desk
) -> None:
    await desk.delete_queue(ORDER_PAID)

    async def send() -> httpx.Response:
        return await client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS)

    async def is_taken() -> bool:
        return (await send()).status_code == 200

    assert failed(await send(), 503)
    await eventually(is_taken)
    assert (await desk.take(ORDER_PAID)).message_id == "EV-TEST-0001"


class Broken:
    """Opens nothing."""

    async def open(self, _headers: Mapping[str, str], _body: bytes) -> None:
        raise ZeroDivisionError(vectors.APIV3_KEY.decode())


class Slow:
    """Opens nothing soon: WeChat Pay's certificates take their time."""

    async def open(self, _headers: Mapping[str, str], _body: bytes) -> None:
        await asyncio.Event().wait()


async def test_an_error_of_ours_is_logged_and_not_told(publisher: Publisher, desk: Desk) -> None:
    async with a_client(an_application(publisher, desk, opens=Broken())) as client:
        with capture_logs() as lines:
            assert failed(await client.post(PATH, content=b"{}"), 500)

    assert "notification_surprised_us" in [line["event"] for line in lines]


async def test_what_takes_longer_than_wechat_pay_waits_is_given_up(publisher: Publisher, desk: Desk) -> None:
    async with a_client(an_application(publisher, desk, opens=Slow(), answer_seconds=0.05)) as client:
        assert failed(await client.post(PATH, content=b"{}"), 503)


async def test_only_post_is_taken(client: httpx.AsyncClient) -> None:
    assert (await client.get(PATH)).status_code == 405


# --- On a real socket ---


@asynccontextmanager
async def serving(application: Starlette, port: int = 0) -> AsyncIterator[Server]:
    server = make_server(application, host="127.0.0.1", port=port)
    running = asyncio.create_task(server.serve())
    await eventually(lambda: server.started or running.done())
    try:
        yield server
    finally:
        server.stop()
        await running


@asynccontextmanager
async def wechat(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Call as WeChat Pay does, but wait for as long as a busy machine takes."""
    url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS) as client:
        yield client


async def test_over_http_a_callback_is_published(publisher: Publisher, desk: Desk) -> None:
    async with serving(an_application(publisher, desk)) as server, wechat(server) as client:
        response = await client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS)
        assert (response.status_code, response.json()["code"]) == (200, "SUCCESS")
        assert "server" not in response.headers

    assert (await desk.take(ORDER_PAID)).message_id == "EV-TEST-0001"


async def test_without_a_broker_the_answer_comes_while_wechat_pay_still_waits(desk: Desk) -> None:
    assert PUBLISH_SECONDS < ANSWER_SECONDS < WECHAT_WAITS_SECONDS
    async with (
        a_publisher(NOWHERE, desk, ready=False) as publisher,
        serving(an_application(publisher, desk)) as server,
        wechat(server) as client,
    ):
        answers = await asyncio.gather(
            *(client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS) for _ in range(20))
        )

    assert all(failed(answer, 503) for answer in answers)


async def test_over_http_a_body_of_any_size_is_refused(publisher: Publisher, desk: Desk) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b"x" * 1_000

    async with serving(an_application(publisher, desk)) as server, wechat(server) as client:
        assert failed(await client.post(PATH, content=b"x" * 400_000), 400)  # its length is announced
        assert failed(await client.post(PATH, content=chunks()), 400)  # its length is anybody's guess
        assert (await client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS)).status_code == 200


async def test_a_body_that_does_not_come_is_given_up(publisher: Publisher, desk: Desk) -> None:
    application = an_application(publisher, desk, answer_seconds=0.1)
    async with serving(application) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: webhook\r\nContent-Length: 100\r\n\r\n{{".encode())
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert status == b"HTTP/1.1 400 Bad Request\r\n"


class Deliberate:
    """Opens a notification once it is allowed to."""

    def __init__(self) -> None:
        self.begun, self.allowed = asyncio.Event(), asyncio.Event()

    async def open(self, headers: Mapping[str, str], body: bytes) -> Notification:
        self.begun.set()
        await self.allowed.wait()
        return await notifications().open(headers, body)


async def test_a_stop_finishes_the_callback_in_hand(publisher: Publisher, desk: Desk) -> None:
    opens = Deliberate()
    async with serving(an_application(publisher, desk, opens=opens)) as server, wechat(server) as client:
        posting = asyncio.create_task(client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS))
        await opens.begun.wait()
        server.stop()
        opens.allowed.set()
        assert (await posting).status_code == 200

    assert (await desk.take(ORDER_PAID)).message_id == "EV-TEST-0001"


async def test_a_sender_that_hangs_up_costs_nothing(publisher: Publisher, desk: Desk) -> None:
    async with serving(an_application(publisher, desk)) as server, wechat(server) as client:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"POST {PATH} HTTP/1.1\r\nHost: webhook\r\nContent-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            writer.transport.abort()

        assert (await client.post(PATH, content=vectors.USER_PAID_BODY, headers=PAID_HEADERS)).status_code == 200


async def test_an_address_that_is_taken_is_named(publisher: Publisher, desk: Desk) -> None:
    application = an_application(publisher, desk)
    async with serving(application) as server:
        another = make_server(application, host="127.0.0.1", port=server.port)
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{server.port}"):
            await another.serve()
