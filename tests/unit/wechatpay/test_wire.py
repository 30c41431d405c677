"""Real transports against a real socket: what they make of a request, and of a server that misbehaves."""

import asyncio
import gzip
import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest

from payscore_worker.errors import OutcomeUnknown, WechatPayUnavailable
from payscore_worker.wechatpay import Call, CallKind, WechatPayClient, make_transport
from tests.unit.wechatpay.wechat import Clock, Wechat, a_client, signature_headers

COMPLETE = Call(CallKind.COMPLETE, "POST", "/v3/payscore/serviceorder/trip_1-x/complete", b'{"a":1}')
QUERY = Call(CallKind.QUERY, "GET", "/v3/payscore/serviceorder?service_id=5&appid=wx1&out_order_no=trip_1-x")

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
Connect = Callable[[str], AbstractAsyncContextManager[WechatPayClient]]


def our_transport() -> httpx.AsyncBaseTransport:
    return make_transport(max_connections=10, idle_seconds=20)


@pytest.fixture(params=[our_transport, httpx.AsyncHTTPTransport])
def connect(request: pytest.FixtureRequest, clock: Clock) -> Connect:
    @asynccontextmanager
    async def connected(base_url: str) -> AsyncIterator[WechatPayClient]:
        transport = request.param()
        client = a_client(Wechat(), clock=clock, base_urls=(base_url,), transport=transport)
        try:
            yield client
        finally:
            await client.aclose()

    return connected


@asynccontextmanager
async def a_server(serve: Serve) -> AsyncIterator[str]:
    """Read one request at a time, whole, and let `serve` do as it likes."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(len(COMPLETE.body)) if head.startswith(b"POST") else b""
        await serve(head + body, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("call", [COMPLETE, QUERY], ids=["complete", "query"])
async def test_what_is_signed_is_what_goes_over_the_wire(connect: Connect, call: Call) -> None:
    heard = b""

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = request
        body = b'{"order_id":"42"}'
        headers = {"Content-Length": str(len(body)), "Connection": "close"} | signature_headers(body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body)
        await writer.drain()

    async with a_server(answer) as base_url, connect(base_url) as client:
        received = await client.send(call)

    head, _, body = heard.partition(b"\r\n\r\n")
    assert head.startswith(f"{call.method} {call.path} HTTP/1.1\r\n".encode())
    assert body == call.body
    assert b"accept-encoding: identity" in head.lower()
    assert received.data == {"order_id": "42"}


async def test_a_compressed_answer_is_not_opened(connect: Connect) -> None:
    """What a megabyte of it would open to is a gigabyte."""
    bomb = gzip.compress(b"0" * 50_000_000)

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + bomb)
        await writer.drain()

    async with a_server(answer) as base_url, connect(base_url) as client:
        tracemalloc.start()
        try:
            with pytest.raises(OutcomeUnknown, match="compressed"):
                await client.send(QUERY)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 5_000_000


async def test_a_cookie_does_not_come_back(connect: Connect) -> None:
    heard = []

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        heard.append(request.lower())
        body = b'{"order_id":"42"}'
        headers = {"Content-Length": str(len(body)), "Connection": "close", "Set-Cookie": "tracker=1; Path=/"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers | signature_headers(body)).items())
        writer.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body)
        await writer.drain()

    async with a_server(answer) as base_url, connect(base_url.replace("127.0.0.1", "localhost")) as client:
        for _ in range(2):
            await client.send(QUERY)

    assert len(heard) == 2
    assert not [request for request in heard if b"cookie" in request]


async def test_a_server_that_hangs_up_after_reading_may_have_processed_it(connect: Connect) -> None:
    read = 0

    async def hang_up(_: bytes, __: asyncio.StreamWriter) -> None:
        nonlocal read
        read += 1

    async with a_server(hang_up) as base_url, connect(base_url) as client:
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.send(COMPLETE)

    assert unknown.value.attempts == read == 3
    assert re.fullmatch("no answer: (ServerDisconnected|RemoteProtocol)Error", unknown.value.message)


async def test_a_server_that_breaks_off_its_answer_may_have_processed_it(connect: Connect) -> None:
    async def break_off(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()

    async with a_server(break_off) as base_url, connect(base_url) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send(COMPLETE)


async def test_a_server_that_does_not_speak_http_is_an_unknown_outcome(connect: Connect) -> None:
    async def mumble(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.com ESMTP\r\n\r\n")
        await writer.drain()

    async with a_server(mumble) as base_url, connect(base_url) as client:
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.send(QUERY)

    assert "trip_1-x" not in str(unknown.value)


async def test_a_port_that_nobody_listens_on_was_surely_not_reached(connect: Connect) -> None:
    async def never(_: bytes, __: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody should come here")

    async with a_server(never) as base_url:
        pass
    async with connect(base_url) as client:
        with pytest.raises(WechatPayUnavailable) as unavailable:
            await client.send(COMPLETE)

    assert re.fullmatch("not reached: (ClientConnector|Connect)Error", unavailable.value.message)
