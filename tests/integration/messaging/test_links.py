"""Whatever happens to the connection: consuming goes on by itself, or the process ends and says why."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from structlog.testing import capture_logs

from deploy.local.processes import free_ports
from payscore_worker.errors import BrokerUnavailable
from payscore_worker.messaging.consuming import Patience
from payscore_worker.messaging.hearing import Deaf
from payscore_worker.messaging.link import HEARTBEAT_SECONDS, Session, connect, scratch_channel
from payscore_worker.messaging.publisher import Outgoing
from payscore_worker.messaging.topology import DEFAULT_EXCHANGE, TopologyRefused
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk, a_cancellation
from tests.integration.messaging.waiting import DEADLINE_SECONDS, eventually
from tests.integration.messaging.worker import Handler, Worker, a_worker
from tests.proxy import Proxy

UNCHECKED = Patience(check_every_seconds=60.0, hold_seconds=0.1)  # what RabbitMQ tells must do
SOON_DEAF = Patience(check_every_seconds=0.1, deaf_after_seconds=0.5, hold_seconds=0.1)


async def goes_on(worker: Worker, desk: Desk, handler: Handler) -> None:
    """Check that the worker, whatever befell it, settles the next trip."""
    await worker.ready()
    await desk.cancel("next")
    await eventually(lambda: "next" in handler.done)
    await eventually(lambda: desk.is_empty(TRIP_CANCELLED))


# --- Who uses it is told to end ---


async def test_to_be_told_to_end_while_closing_a_channel_costs_no_connection(amqp_url: str) -> None:
    """However far the close has come: the second time that a channel is closed, RabbitMQ closes the connection."""
    async with await connect(amqp_url, "test") as connection:
        opened: asyncio.Queue[None] = asyncio.Queue()

        async def asks() -> None:
            async with scratch_channel(connection):
                opened.put_nowait(None)
                await asyncio.Event().wait()

        for turns in range(20):
            asking = asyncio.create_task(asks())
            await asyncio.wait_for(opened.get(), DEADLINE_SECONDS)
            asking.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled()
        async with scratch_channel(connection) as channel:
            assert not channel.is_closed


# --- The link breaks ---


async def test_consuming_goes_on_after_a_reset_connection(proxy: Proxy, desk: Desk) -> None:
    handler = Handler()
    async with a_worker(proxy.url, desk.topology, handler) as worker:
        proxy.cut()
        await eventually(lambda: not worker.is_ready)

        await goes_on(worker, desk, handler)


async def test_consuming_goes_on_after_a_channel_error(
    amqp_url: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[AbstractChannel] = []
    open_channel = Session.channel

    async def remember(session: Session, **options: Any) -> AbstractChannel:
        opened.append(await open_channel(session, **options))
        return opened[-1]

    monkeypatch.setattr(Session, "channel", remember)
    handler = Handler()
    async with a_worker(amqp_url, desk.topology, handler, patience=UNCHECKED) as worker:
        before = list(opened)
        for channel in before:
            await (await channel.get_underlay_channel()).basic_ack(delivery_tag=4711)  # never delivered: an error
        await eventually(lambda: len(opened) >= 2 * len(before))  # more, where it broke off on the way

        await goes_on(worker, desk, handler)


async def test_consuming_goes_on_after_its_queue_was_deleted(amqp_url: str, desk: Desk) -> None:
    handler = Handler()
    async with a_worker(amqp_url, desk.topology, handler, patience=UNCHECKED) as worker:
        await desk.delete_queue(TRIP_CANCELLED)  # RabbitMQ says basic.cancel
        await eventually(lambda: not worker.is_ready)

        await goes_on(worker, desk, handler)


async def test_a_connection_that_froze_is_replaced(proxy: Proxy, desk: Desk) -> None:
    """aiormq rejects what waits on it with a CancelledError, which would end our tasks as if they had been told to."""
    handler = Handler()
    outgoing = Outgoing(exchange=DEFAULT_EXCHANGE, routing_key=desk.topology.name(TRIP_ENDED), body=b"", message_id="m")
    async with a_worker(f"{proxy.url}?heartbeat=1", desk.topology, handler, publish_seconds=60) as worker:
        proxy.freeze()
        with pytest.raises(BrokerUnavailable, match="not confirmed"):
            await worker.publisher.publish(outgoing)
        await eventually(lambda: not worker.consumers.hearing.is_consuming and not worker.publisher.is_ready)
        proxy.thaw()

        await goes_on(worker, desk, handler)


async def test_a_frozen_connection_closes_all_the_same(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payscore_worker.messaging.connection.CLOSE_TIMEOUT_SECONDS", 0.2)
    connection = await connect(proxy.url, "test")
    channel = await connection.channel()
    proxy.freeze()
    big = aio_pika.Message(b"x" * 4_000_000)
    sending = [asyncio.create_task(channel.default_exchange.publish(big, "nowhere")) for _ in range(20)]
    await asyncio.sleep(0.1)  # until the buffers are full, and aiormq waits for them; if they are not, less is shown

    async with asyncio.timeout(60):
        await connection.close()

    failures = await asyncio.gather(*sending, return_exceptions=True)
    assert all(isinstance(failure, Exception) for failure in failures)


async def test_the_broker_hears_of_us_every_few_seconds(amqp_url: str) -> None:
    async with await connect(amqp_url, "test") as connection:
        assert connection.transport is not None
        assert connection.transport.connection.heartbeat_timeout == HEARTBEAT_SECONDS == 6  # type: ignore[attr-defined]


async def test_broken_links_leave_nothing_behind(proxy: Proxy, desk: Desk) -> None:
    handler = Handler()
    async with a_worker(proxy.url, desk.topology, handler) as worker:
        tasks = len(asyncio.all_tasks())
        for _ in range(3):
            proxy.cut()
            await eventually(lambda: not worker.is_ready)
            await worker.ready()

        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
        await eventually(lambda: has_one_consumer(desk))


async def has_one_consumer(desk: Desk) -> bool:
    return await desk.consumers(TRIP_CANCELLED) == 1


# --- What was in hand when it broke ---


async def test_a_handler_outlives_its_channel_and_the_message_comes_again(proxy: Proxy, desk: Desk) -> None:
    allowed = asyncio.Event()

    async def wait(_trip_id: str) -> None:
        await allowed.wait()

    handler = Handler(wait)
    with capture_logs() as lines:
        async with a_worker(proxy.url, desk.topology, handler) as worker:
            await desk.cancel("t1")
            await eventually(lambda: handler.heard)
            proxy.cut()
            await eventually(lambda: not worker.is_ready)
            allowed.set()
            await eventually(lambda: len(handler.done) == 2)
            await goes_on(worker, desk, handler)

    assert handler.heard == ["t1", "t1", "next"]
    outcomes = [line["outcome"] for line in lines if line["event"] == "message_handled"]
    assert outcomes == ["done, to be redelivered", "done", "done"]


async def test_after_a_reconnection_no_more_are_in_hand_than_before(proxy: Proxy, desk: Desk) -> None:
    allowed = asyncio.Event()
    at_once = most_at_once = 0

    async def wait(_trip_id: str) -> None:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(at_once, most_at_once)
        await allowed.wait()
        at_once -= 1

    handler = Handler(wait)
    trips = [f"t{number}" for number in range(6)]
    async with a_worker(proxy.url, desk.topology, handler, prefetch=3) as worker:
        await desk.cancel(*trips)
        await eventually(lambda: at_once == 3)
        for _ in range(2):
            proxy.cut()
            await eventually(lambda: not worker.is_ready)
            await worker.ready()
            await desk.holds(TRIP_CANCELLED, 3)
            await eventually(lambda: len(worker.consumers._in_hand) == 6)  # those begun, and those that came again
        allowed.set()
        await eventually(lambda: set(handler.done) == set(trips))
        await goes_on(worker, desk, handler)

    assert most_at_once == 3
    assert len(handler.heard) <= len(trips) + 3 + 1  # those in hand at the break come once more, and then the next


async def test_a_message_left_without_an_answer_comes_again(
    amqp_url: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs = [ValueError("a bug of ours")]

    def count(_message: object, *, origin: str) -> int:
        if bugs:
            raise bugs.pop()
        return len(origin) * 0

    monkeypatch.setattr("payscore_worker.messaging.handling.attempts_before", count)
    handler = Handler()
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        await eventually(lambda: handler.done)

    assert handler.done == ["t1"]


# --- Nobody to link to ---


async def test_an_absent_broker_is_waited_for(amqp_url: str, desk: Desk) -> None:
    (port,) = free_ports(1)
    handler = Handler()
    url = f"amqp://guest:guest@127.0.0.1:{port}/"
    patience = replace(SOON_DEAF, deaf_after_seconds=2.0)  # a busy machine takes its time to link, and is not deaf
    async with a_worker(url, desk.topology, handler, patience=patience, ready=False) as worker:
        with suppress(TimeoutError):
            async with asyncio.timeout(3 * patience.deaf_after_seconds):
                await asyncio.wait([worker.consuming])
        assert not worker.consuming.done()
        assert not worker.is_ready

        async with Proxy(amqp_url).running(port):
            await goes_on(worker, desk, handler)


async def test_a_stop_needs_no_broker(desk: Desk) -> None:
    handler = Handler()
    async with a_worker("amqp://guest:guest@127.0.0.1:1/", desk.topology, handler, ready=False) as worker:
        await worker.stop()

        assert worker.consuming.done()


async def test_a_worker_that_is_not_let_in_ends_and_says_so(amqp_url: str, desk: Desk) -> None:
    url = f"{amqp_url.rstrip('/')}/no-such-vhost"
    async with a_worker(url, desk.topology, Handler(), patience=SOON_DEAF, ready=False) as worker:
        with pytest.raises(Deaf):
            await worker.consuming


# --- Names that are taken ---


async def test_a_queue_that_stands_otherwise_ends_the_worker_with_its_name(amqp_url: str, desk: Desk) -> None:
    name = desk.topology.name(TRIP_CANCELLED)
    await desk.delete_queue(TRIP_CANCELLED)
    await desk.do(lambda channel: channel.declare_queue(name, durable=True))

    async with a_worker(amqp_url, desk.topology, Handler(), ready=False) as worker:
        for run in (worker.consuming, worker.publishing):
            with pytest.raises(TopologyRefused, match=rf"queue '{name}' stands otherwise.*payscore-worker topology"):
                await run


async def test_a_queue_that_is_replaced_by_another_kind_ends_the_worker_too(amqp_url: str, desk: Desk) -> None:
    name = desk.topology.name(TRIP_CANCELLED)

    async def replace(channel: AbstractChannel) -> None:
        await channel.queue_delete(name)
        await channel.declare_queue(name, durable=True)

    async with a_worker(amqp_url, desk.topology, Handler()) as worker:
        await desk.do(replace)

        with pytest.raises(TopologyRefused, match=name):
            await worker.consuming


async def test_a_missing_rung_is_declared_again_and_the_message_held_meanwhile(amqp_url: str, desk: Desk) -> None:
    errors: list[Exception] = [ZeroDivisionError()]

    async def fail_once(_trip_id: str) -> None:
        if errors:
            raise errors.pop()

    handler = Handler(fail_once)
    async with a_worker(amqp_url, desk.topology, handler) as worker:
        await desk.delete_queue("payscore.retry.50ms")
        await desk.put(TRIP_CANCELLED, a_cancellation("t1"))

        await eventually(lambda: handler.done)
        await goes_on(worker, desk, handler)
