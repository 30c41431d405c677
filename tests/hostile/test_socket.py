"""The webhook on a real socket, before a real broker: strangers get nothing in, and do not keep others out."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random

import pytest
from aio_pika.abc import AbstractIncomingMessage
from cryptography.x509 import load_pem_x509_certificate
from starlette.applications import Starlette

from payscore_worker import serving
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import NOTIFICATIONS
from payscore_worker.serving import MAX_REQUEST_BYTES, Server, make_server
from payscore_worker.webhook import ANSWER_SECONDS, PATH, PUBLISH_SECONDS, Webhook
from payscore_worker.wechatpay import Notifications, VerificationKeys
from tests.hostile import forgeries
from tests.hostile.gate import Call, is_genuine
from tests.hostile.genuine import APIV3_KEYS, NOW, Signed, notifications, out_of_time
from tests.integration.messaging.desk import Desk
from tests.integration.messaging.waiting import DEADLINE_SECONDS, eventually
from tests.unit.wechatpay import vectors
from tests.unit.wechatpay.wechat import PUBLIC_KEY_ID, a_key

SEED = 20_260_501
HURRY_SECONDS = 0.3
"""Stands for the ten seconds that a request may take, where a test waits for their end."""

LEFT_OUT = ("genuine", "oversized", "no document", "noise", "signed nonsense", "signed nonsense inside")
"""Noise may not even be HTTP; what is large is sent by other tests; signed nonsense may turn out readable."""

SOCKET_MAKERS = [make for name, (make, _) in forgeries.MAKERS.items() if name not in LEFT_OUT]


class Door:
    """The webhook as it runs in production, and a queue that takes whatever it publishes."""

    def __init__(self, server: Server, heard: list[AbstractIncomingMessage]) -> None:
        self.server = server
        self.heard = heard

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port)

    async def say(self, *parts: bytes) -> bytes:
        """Send bytes on a connection of their own; returns all that comes back until it is closed."""
        reader, writer = await self.open()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()

    async def status(self, *parts: bytes) -> int:
        """Send a request; returns the status of the answer, 0 if the connection was cut instead."""
        answer = await self.say(*parts)
        return int(answer.split(b" ", 2)[1]) if answer else 0

    async def first_status(self, said: bytes) -> int:
        """Send bytes, and wait no longer than for the first line of an answer; 0 if the connection was cut instead."""
        reader, writer = await self.open()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                writer.write(said)
                line = await reader.readline()
        except ConnectionError:
            return 0
        finally:
            writer.transport.abort()
        return int(line.split()[1]) if line else 0

    async def post(self, one: Call | Signed) -> int:
        return await self.status(a_request(one))

    async def is_open(self) -> bool:
        """Tell whether WeChat Pay gets through."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.post(notifications()[0]) == 200

    def ids(self) -> list[str | None]:
        return [message.message_id for message in self.heard]


def a_request(one: Call | Signed, *, method: str = "POST", path: str = PATH) -> bytes:
    head = [f"{method} {path} HTTP/1.1".encode(), b"Host: webhook", b"Connection: close"]
    head += [b"%b: %b" % header for header in one.headers]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(one.body), b"", one.body])


def arrives_genuine(call: Call) -> bool:
    """Tell whether it is WeChat Pay's own once HTTP has taken the spaces around its headers."""
    headers = [(name, value.strip(b" \t")) for name, value in call.headers]
    return is_genuine(Call(headers=headers, body=call.body))


def a_head(*headers: bytes, line: bytes = b"POST /notify/payscore HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: webhook", *headers, b"", b""])


def proof(one: Signed) -> list[bytes]:
    return [b"%b: %b" % header for header in one.headers]


@dataclass
class Certificates:
    """Where certificates come from: it takes as long as the test likes."""

    allowed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def __call__(self) -> tuple[dict[str, str], bytes]:
        self.asked += 1
        await self.allowed.wait()
        return {}, b"{}"


@asynccontextmanager
async def a_door(
    amqp_url: str, desk: Desk, *, max_connections: int = 1000, certificates: Certificates | None = None
) -> AsyncIterator[Door]:
    certificate = load_pem_x509_certificate(vectors.CERTIFICATE.encode())
    keys = VerificationKeys(
        apiv3_keys=APIV3_KEYS,
        clock=lambda: NOW,
        public_keys={
            vectors.CERTIFICATE_SERIAL: certificate.public_key(),  # type: ignore[dict-item]  # it is RSA
            PUBLIC_KEY_ID: a_key("wechat").public_key(),
        },
    )
    if certificates is not None:
        keys.download_from(certificates)
    publisher = Publisher(amqp_url, name="test door", topology=desk.topology, timeout_seconds=PUBLISH_SECONDS)
    webhook = Webhook(
        notifications={"default": Notifications(keys=keys, apiv3_keys=APIV3_KEYS, clock=lambda: NOW)},
        publisher=publisher,
        topology=desk.topology,
        answer_seconds=ANSWER_SECONDS,
    )
    server = make_server(Starlette(routes=webhook.routes()), host="127.0.0.1", port=0, max_connections=max_connections)
    heard: list[AbstractIncomingMessage] = []
    async with desk.connection.channel() as channel:
        queue = await channel.declare_queue(desk.topology.name("everything"), exclusive=True, auto_delete=True)
        await queue.bind(desk.topology.name(NOTIFICATIONS), "#")

        async def hear(message: AbstractIncomingMessage) -> None:
            heard.append(message)

        await queue.consume(hear, no_ack=True)
        publishing, running = asyncio.create_task(publisher.run()), asyncio.create_task(server.serve())
        await publisher.ready()
        await eventually(lambda: server.started or running.done())
        try:
            yield Door(server, heard)
        finally:
            server.stop()
            await running
            publishing.cancel()
            await asyncio.wait([publishing])
            await keys.aclose() if certificates is not None else None


@pytest.fixture
async def door(amqp_url: str, desk: Desk) -> AsyncIterator[Door]:
    async with a_door(amqp_url, desk) as door:
        yield door


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_SECONDS", HURRY_SECONDS)


async def nothing_but(door: Door, *bodies: Signed) -> None:
    """See that these were published, once each, and then that nothing else was: a last one comes last."""
    last = notifications()[-1]
    assert await door.post(last) == 200
    expected = [a_message_id(one) for one in (*bodies, last)]
    await eventually(lambda: len(door.heard) >= len(expected))
    assert sorted(map(str, door.ids())) == sorted(expected)


def a_message_id(one: Signed) -> str:
    return one.body.split(b'"id":"', 1)[1].split(b'"', 1)[0].decode()


# --- Many at once ---


async def test_a_thousand_bad_calls_beside_good_ones_keep_none_of_them_out_and_are_not_published(door: Door) -> None:
    chance = Random(SEED)  # noqa: S311 - no secret
    bad = [call for call in (chance.choice(SOCKET_MAKERS)(chance) for _ in range(1000)) if not arrives_genuine(call)]
    good: Sequence[Signed] = notifications()[:-1]
    limit = asyncio.Semaphore(200)

    async def post(one: Call | Signed) -> int:
        async with limit:
            return await door.post(one)

    async def now_and_then() -> list[int]:
        return [await door.post(one) for one in good]

    refused, *served = await asyncio.gather(asyncio.gather(*map(post, bad)), now_and_then())

    assert served == [[200] * len(good)]
    assert set(refused) <= {400, 401, 503}  # the last where a busy machine cannot verify them in time
    await nothing_but(door, *good)


async def test_a_notification_sent_again_and_again_is_published_under_one_id(door: Door) -> None:
    one = notifications()[0]

    assert [await door.post(one) for _ in range(5)] == [200] * 5

    await nothing_but(door, *[one] * 5)


async def test_what_was_signed_another_day_is_not_taken(door: Door) -> None:
    assert {await door.post(one) for one in out_of_time()} == {401}
    await nothing_but(door)


# --- Those who keep us waiting ---

DAWDLERS = {
    "says nothing": b"",
    "half a line": b"POST /noti",
    "half a head": b"POST /notify/payscore HTTP/1.1\r\nHost: webhook\r\nX-",
    "line feeds": b"\r\n",
}


@pytest.mark.usefixtures("hurried")
async def test_a_request_that_does_not_come_is_not_waited_for(door: Door) -> None:
    for name, said in DAWDLERS.items():
        assert await door.say(said) == b"", name

    assert await door.is_open()


@pytest.mark.usefixtures("hurried")
async def test_a_sender_that_dawdles_is_cut_however_steadily_it_sends(door: Door) -> None:
    reader, writer = await door.open()
    writer.write(b"POST /notify/payscore HTTP/1.1\r\n")

    async def drip() -> None:
        while True:
            writer.write(b"X-Drip: 1\r\n")
            await asyncio.sleep(HURRY_SECONDS / 10)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(DEADLINE_SECONDS):
        with suppress(ConnectionError):  # how the end looks depends on what was under way
            assert await reader.read() == b""
    dripping.cancel()
    writer.transport.abort()


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("more", [0, 400_000], ids=["stops", "sends the rest"])
async def test_a_sender_that_is_refused_does_not_keep_its_connection(door: Door, more: int) -> None:
    reader, writer = await door.open()
    writer.write(a_head(b"Content-Length: 800000") + b"x" * 400_000)
    assert (await reader.readline()).split()[1] == b"400"
    writer.write(b"x" * more)

    await eventually(lambda: door.connections == 0)
    writer.transport.abort()


async def test_a_good_call_on_a_connection_that_was_quiet_for_long_is_served(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "REQUEST_SECONDS", HURRY_SECONDS)
    reader, writer = await door.open()
    for one in notifications()[:2]:
        writer.write(a_request(one).replace(b"Connection: close\r\n", b""))
        async with asyncio.timeout(DEADLINE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
        assert head.split()[1] == b"200"
        await asyncio.sleep(2 * HURRY_SECONDS)  # quiet for longer than a request may take
    writer.transport.abort()
    await nothing_but(door, *notifications()[:2])


IDLERS = {
    "silent": b"",
    "half a head": b"POST /notify/payscore HTTP/1.1\r\nHost: webhook\r\nX-",
    "half a body": a_head(b"Content-Length: 100") + b"{",
    "kept alive": a_head(b"Content-Length: 0"),
}


@pytest.mark.parametrize("said", IDLERS.values(), ids=IDLERS)
async def test_those_who_take_every_connection_do_not_keep_wechat_pay_out(
    amqp_url: str, desk: Desk, said: bytes
) -> None:
    most = 20
    async with a_door(amqp_url, desk, max_connections=most) as door:
        idlers = []
        for _ in range(3 * most):
            reader, writer = await door.open()
            writer.write(said)
            idlers.append((reader, writer))
        await eventually(lambda: door.connections >= most - 1)

        assert [await door.is_open() for _ in range(5)] == [True] * 5

        assert door.connections <= most
        for _, writer in idlers:
            writer.transport.abort()


async def test_made_up_serials_do_not_keep_wechat_pay_out_while_they_are_looked_up(amqp_url: str, desk: Desk) -> None:
    certificates = Certificates()
    async with a_door(amqp_url, desk, max_connections=400, certificates=certificates) as door:
        strangers = []
        for number in range(600):
            one = notifications()[0]
            named = Call(headers=(*one.headers[:2], (one.headers[2][0], b"%X" % number), one.headers[3]), body=one.body)
            _, writer = await door.open()
            writer.write(a_request(named))
            strangers.append(writer)
        await eventually(lambda: certificates.asked == 1)

        assert await door.is_open()

        for writer in strangers:
            writer.transport.abort()
        certificates.allowed.set()
    assert certificates.asked == 1


# --- What is hardly HTTP ---

GOOD = notifications()[0]

NOT_TAKEN: dict[str, tuple[bytes, set[int]]] = {
    "GET": (a_request(GOOD, method="GET"), {405}),
    "PUT": (a_request(GOOD, method="PUT"), {405}),
    "DELETE": (a_request(GOOD, method="DELETE"), {405}),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", {400, 404}),
    "TRACE": (a_request(GOOD, method="TRACE"), {405}),
    "a method nobody knows": (a_request(GOOD, method="SETTLE"), {400}),
    "the root": (a_request(GOOD, path="/"), {404}),
    "a longer path": (a_request(GOOD, path=f"{PATH}/x"), {404}),
    "upper case": (a_request(GOOD, path=PATH.upper()), {404}),
    "dots": (a_request(GOOD, path=f"/healthz/..{PATH}"), {404}),
    "a path with NUL": (a_request(GOOD, path=f"{PATH}%00"), {404}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "another protocol's greeting": (b"AMQP\x00\x00\x09\x01", {400}),
    "no length": (a_head(*proof(GOOD), b"Connection: close") + GOOD.body, {401}),
    "a length that is none": (a_head(*proof(GOOD), b"Content-Length: many") + GOOD.body, {400}),
    "a length below zero": (a_head(*proof(GOOD), b"Content-Length: -1") + GOOD.body, {400}),
    "two lengths": (a_head(*proof(GOOD), b"Content-Length: 5", b"Content-Length: 9") + GOOD.body, {400}),
    "a length and chunks": (
        a_head(*proof(GOOD), b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        {400},
    ),
    "too short a length": (a_head(*proof(GOOD), b"Content-Length: 10", b"Connection: close") + GOOD.body, {401}),
    "a chunk that is none": (a_head(*proof(GOOD), b"Transfer-Encoding: chunked") + b"zz\r\n" + GOOD.body, {400}),
    "a chunk that ends otherwise": (
        a_head(*proof(GOOD), b"Transfer-Encoding: chunked") + b"5\r\n" + GOOD.body + b"\r\n0\r\n\r\n",
        {400},
    ),
    "a header without a name": (a_head(b": x", *proof(GOOD)), {400}),
    "a folded header": (a_head(b"X-A: 1\r\n 2", *proof(GOOD)), {400}),
    "a space before the colon": (a_head(b"Wechatpay-Nonce : x", *proof(GOOD)), {400}),
    "NUL in a header": (a_head(b"Wechatpay-Nonce: \0", *proof(GOOD)), {400}),
    "a proof twice": (
        a_head(*proof(GOOD), *proof(GOOD), b"Connection: close", b"Content-Length: %d" % len(GOOD.body)) + GOOD.body,
        {401},
    ),
    "a WebSocket": (
        a_head(
            b"Connection: Upgrade, close",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Version: 13",
            line=b"GET /notify/payscore HTTP/1.1",
        ),
        {405},
    ),
}


async def test_what_is_hardly_http_is_refused_and_not_published(door: Door) -> None:
    for name, (said, statuses) in NOT_TAKEN.items():
        assert await door.first_status(said) in statuses, name

    await nothing_but(door)


async def test_a_good_call_in_chunks_is_served(door: Door) -> None:
    pieces = [GOOD.body[at : at + 100] for at in range(0, len(GOOD.body), 100)]
    chunks = b"".join(b"%x;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: 1\r\n\r\n"

    assert await door.status(a_head(*proof(GOOD), b"Transfer-Encoding: chunked", b"Connection: close"), chunks) == 200
    await nothing_but(door, GOOD)


async def test_a_proof_in_a_trailer_proves_nothing(door: Door) -> None:
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(GOOD.body), GOOD.body)
    trailers = b"\r\n".join([*proof(GOOD), b"", b""])

    head = a_head(b"Transfer-Encoding: chunked", b"Connection: close")

    assert await door.status(head, chunk, trailers) == 401
    await nothing_but(door)


MOST_SENT = 30 * MAX_REQUEST_BYTES
"""What is on the way between the two counts too, and the kernel keeps megabytes."""

CHUNKED = a_head(b"Transfer-Encoding: chunked")

ENDLESS = {
    "an address": (b"POST /", b"x" * 1000),
    "a header": (b"POST / HTTP/1.1\r\nX-More: ", b"x" * 1000),
    "headers": (b"POST / HTTP/1.1\r\n", b"X-More: " + b"x" * 1000 + b"\r\n"),
    "a trailer": (CHUNKED + b"0\r\nX-More: ", b"x" * 1000),
    "trailers": (CHUNKED + b"0\r\n", b"X-More: " + b"x" * 1000 + b"\r\n"),
    "a chunk's extension": (CHUNKED + b"1;", b"x" * 1000),
    "a body that nobody reads": (CHUNKED + b"fffffff\r\n", b"x" * 1000),
}


async def test_what_has_no_end_is_cut(door: Door) -> None:
    for name, (first, more) in ENDLESS.items():
        _, writer = await door.open()
        writer.write(first)
        sent = 0
        with suppress(ConnectionError):
            while not writer.transport.is_closing():
                writer.write(more * 100)
                await writer.drain()
                sent += len(more) * 100
                assert sent < MOST_SENT, name
        writer.transport.abort()
        await eventually(lambda: door.connections == 0)

    await nothing_but(door)


async def test_calls_that_follow_each_other_at_once_are_each_judged(door: Door) -> None:
    bad = Call(headers=GOOD.headers, body=GOOD.body.replace(b"0", b"1", 1))
    calls = b"".join(a_request(one).replace(b"Connection: close\r\n", b"") for one in (bad, GOOD, bad))

    answer = await door.say(calls, a_request(bad))  # the last one asks to close

    statuses = [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [401, 200, 401, 401]
    await nothing_but(door, GOOD)


async def test_senders_that_reset_leave_nothing_behind(door: Door) -> None:
    for length in range(0, 400, 20):
        _, writer = await door.open()
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.write(a_request(GOOD)[:length])
        await asyncio.sleep(0)
        writer.transport.abort()

    await eventually(lambda: door.connections == 0)
    await nothing_but(door)
