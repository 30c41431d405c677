"""The proxy does what its conduct says: a fault that does not strike would prove nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.faults.conduct import CutAfter, CutBefore, CutMidReply, Reset
from tests.integration.messaging.waiting import eventually
from tests.proxy import Conduct, Proxy

QUESTION, ANSWER = b"question\n", b"a whole answer\n"
AT_ONCE = 1  # exchange that a connection is granted at most

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Client]]


class Server:
    """Answers every line, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(ANSWER)
        writer.close()


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with Proxy(f"http://127.0.0.1:{port}").running() as proxy:
            yield proxy


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Connect]:
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.transport.abort()


async def ask(client: Client) -> bytes:
    """Ask, and read until the answer is whole or the connection ends; a reset raises."""
    reader, writer = client
    writer.write(QUESTION)
    answer = b""
    while len(answer) < len(ANSWER) and (more := await reader.read(100)):
        answer += more
    return answer


def dice() -> random.Random:
    return random.Random(1)  # noqa: S311 - no secret


@pytest.mark.parametrize(
    ("conduct", "heard", "answer"),
    [
        (CutBefore(dice(), AT_ONCE), [], b""),
        (CutAfter(dice(), AT_ONCE), [QUESTION], b""),
        (CutMidReply(dice(), AT_ONCE), [QUESTION], ANSWER[: len(ANSWER) // 2]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Conduct) else "",
)
async def test_a_cut_strikes_where_it_should(
    proxy: Proxy, server: Server, connect: Connect, conduct: Conduct, heard: list[bytes], answer: bytes
) -> None:
    proxy.conduct = conduct

    assert await ask(await connect()) == answer

    assert server.heard == heard
    assert proxy.cuts == 1


async def test_a_reset_is_one(proxy: Proxy, connect: Connect) -> None:
    client = await connect()
    assert await ask(client) == ANSWER
    proxy.conduct = Reset()

    proxy.cut(reset=True)

    with pytest.raises(ConnectionResetError):
        await ask(client)
    with pytest.raises(ConnectionResetError):
        await ask(await connect())


async def test_what_was_frozen_flows_in_the_end(proxy: Proxy, server: Server, connect: Connect) -> None:
    client = await connect()
    proxy.freeze()
    asking = asyncio.create_task(ask(client))
    await asyncio.sleep(0.05)  # that nothing is heard has no event to wait for
    assert server.heard == []

    proxy.thaw()

    assert await asking == ANSWER


async def test_a_forgotten_connection_is_never_answered_and_a_new_one_is(
    proxy: Proxy, server: Server, connect: Connect
) -> None:
    client = await connect()
    assert await ask(client) == ANSWER

    proxy.strand()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ask(client)
    assert await ask(await connect()) == ANSWER
    assert len(server.heard) == 2


async def test_who_is_refused_may_come_again_on_the_same_port(proxy: Proxy, connect: Connect) -> None:
    client = await connect()
    await proxy.refuse()

    await eventually(client[0].at_eof)
    with pytest.raises(ConnectionRefusedError):
        await connect()

    await proxy.accept()
    assert await ask(await connect()) == ANSWER
