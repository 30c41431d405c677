"""Several addresses: whoever is gone, frozen or hangs up, the next one is tried."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aio_pika.exceptions import ConnectionClosed

from deploy.local.processes import free_ports
from payscore_worker.messaging.addresses import broker_urls, resolve
from payscore_worker.messaging.link import BROKEN, connect, reason_of
from tests.integration.messaging.desk import TRIP_CANCELLED, Desk
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker
from tests.proxy import Proxy

NAME = "brokers.test"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1024):
        pass
    writer.close()


@asynccontextmanager
async def a_name(amqp_url: str, *others: Serve, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A name with several addresses: the others, and behind the last of them the broker."""
    (port,) = free_ports(1)
    hosts = [f"127.0.0.{number + 2}" for number, _ in enumerate(others)]
    look_up = socket.getaddrinfo

    def answer(host: Any, *args: Any, **options: Any) -> list[Any]:
        if host != NAME:
            return look_up(host, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in [*hosts, "127.0.0.1"]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    # In the order of the list, so that the broker is the last to be tried.
    monkeypatch.setattr("payscore_worker.messaging.addresses.random.sample", lambda found, count: found[:count])
    async with AsyncExitStack() as stack:
        for host, serve in zip(hosts, others, strict=True):
            await stack.enter_async_context(await asyncio.start_server(serve, host, port))
        await stack.enter_async_context(Proxy(amqp_url).running(port))
        yield f"amqp://guest:guest@{NAME}:{port}/"


async def test_every_address_of_a_name_is_tried(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_name(amqp_url, hang_up, hang_up, monkeypatch=monkeypatch) as url, await connect(url, "test") as found:
        assert found.address.host == "127.0.0.1"
        assert found.url.host == NAME  # which a certificate would be for


async def test_an_address_that_never_greets_does_not_hold_up_the_next(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.messaging.link.NEXT_ADDRESS_SECONDS", 0.05)
    monkeypatch.setattr("payscore_worker.messaging.link.CONNECT_TIMEOUT_SECONDS", 3600.0)
    async with a_name(amqp_url, say_nothing, monkeypatch=monkeypatch) as url, await connect(url, "test") as found:
        assert found.address.host == "127.0.0.1"


async def test_where_no_address_lets_us_in_the_word_of_rabbitmq_is_told(amqp_url: str) -> None:
    nowhere = "amqp://guest:guest@127.0.0.1:1/no-such-vhost"
    with pytest.raises(ConnectionClosed) as raised:
        await connect(f"{amqp_url.rstrip('/')}/no-such-vhost,{nowhere}", "test")

    assert reason_of(raised.value) == "NOT_ALLOWED - vhost no-such-vhost not found"


async def test_where_nobody_answers_that_is_told() -> None:
    with pytest.raises(BROKEN) as raised:
        await connect("amqp://127.0.0.1:1/,amqp://127.0.0.2:1/", "test")

    assert "Connect call failed" in reason_of(raised.value)


async def test_the_address_that_was_lost_is_tried_last(amqp_url: str) -> None:
    async with Proxy(amqp_url).running() as one, Proxy(amqp_url).running() as other:
        both = f"{one.url},{other.url}"
        for lost in await resolve(both):
            for _ in range(5):
                async with await connect(both, "test", lost=lost) as found:
                    assert found.address != lost


async def test_an_address_that_is_taken_is_not_tried(amqp_url: str) -> None:
    async with Proxy(amqp_url).running() as one, Proxy(amqp_url).running() as other:
        both = f"{one.url},{other.url}"
        taken = {broker_urls(other.url)[0]}
        for _ in range(5):
            async with await connect(both, "test", taken=taken) as found:
                assert found.address.url == broker_urls(one.url)[0]
        assert not other.connected

        with pytest.raises(BROKEN, match="no address is left for another link"):
            await connect(other.url, "test", taken=taken)


async def test_a_worker_consumes_through_two_addresses_at_once_and_never_twice_through_one(
    amqp_url: str, desk: Desk
) -> None:
    handler = Handler()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Proxy(amqp_url).running()) for _ in range(3)]
        urls = ",".join(node.url for node in nodes)
        await stack.enter_async_context(a_worker(urls, desk.topology, handler, publish_url=amqp_url))

        async def consumes_through_two() -> None:
            await eventually(lambda: sorted(node.connected for node in nodes) == [0, 1, 1])

        async def has_two_consumers() -> bool:
            return await desk.consumers(TRIP_CANCELLED) == 2

        await consumes_through_two()
        await eventually(has_two_consumers)
        for number in range(1, 4):
            gone = next(node for node in nodes if node.connected)
            await gone.refuse()
            await consumes_through_two()
            await desk.cancel(f"t{number}")
            await eventually(lambda: len(set(handler.done)) == number)  # noqa: B023 - asked within this turn
            await gone.accept()


async def test_the_second_link_of_a_worker_waits_for_an_address_of_its_own(amqp_url: str, desk: Desk) -> None:
    handler = Handler()
    async with (
        Proxy(amqp_url).running() as one,
        Proxy(amqp_url).running() as other,
        a_worker(f"{one.url},{other.url}", desk.topology, handler, publish_url=amqp_url),
    ):
        await eventually(lambda: one.connected == other.connected == 1)
        await other.refuse()
        for number in range(5):
            await desk.cancel(f"t{number}")
        await eventually(lambda: len(set(handler.done)) == 5)
        assert one.connected == 1

        await other.accept()

        await eventually(lambda: one.connected == other.connected == 1)


async def test_a_worker_whose_broker_is_gone_goes_on_with_another(amqp_url: str, desk: Desk) -> None:
    handler = Handler()
    async with (
        Proxy(amqp_url).running() as one,
        Proxy(amqp_url).running() as other,
        a_worker(f"{one.url},{other.url}", desk.topology, handler) as worker,
    ):
        for number, gone in enumerate((one, other), 1):
            await gone.refuse()
            await desk.cancel(f"t{number}")
            await eventually(lambda: len(set(handler.done)) == number)  # noqa: B023 - asked within this turn
            await worker.ready()
            await gone.accept()
        await eventually(lambda: desk.is_empty(TRIP_CANCELLED))
