"""Publishing: confirmed or told, by a name that says what follows; never lost in silence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest

from payscore_worker.errors import BrokerUnavailable, Unroutable
from payscore_worker.messaging.publisher import Outgoing, Publisher
from payscore_worker.messaging.topology import DEFAULT_EXCHANGE, EVENTS, NOTIFICATIONS, Topology
from tests.integration.messaging.desk import TRIP_ENDED, Desk
from tests.integration.messaging.waiting import eventually
from tests.proxy import Proxy

NOBODYS_KEY = "settlement.nobody-listens"


@asynccontextmanager
async def a_publisher(
    url: str, topology: Topology, *, timeout_seconds: float = 2.0, ready: bool = True
) -> AsyncIterator[Publisher]:
    publisher = Publisher(url, name="test publish", topology=topology, timeout_seconds=timeout_seconds)
    publishing = asyncio.create_task(publisher.run())
    try:
        if ready:
            await publisher.ready()
        yield publisher
    finally:
        assert not publishing.done()  # it never ends by itself
        publishing.cancel()
        await asyncio.wait([publishing])


def to_queue(desk: Desk, queue: str = TRIP_ENDED, *, message_id: str = "m1", body: bytes = b"{}") -> Outgoing:
    return Outgoing(exchange=DEFAULT_EXCHANGE, routing_key=desk.topology.name(queue), body=body, message_id=message_id)


def to_nobody(desk: Desk, *, message_id: str = "m1", mandatory: bool = True) -> Outgoing:
    exchange = desk.topology.name(EVENTS)
    return Outgoing(exchange=exchange, routing_key=NOBODYS_KEY, body=b"{}", message_id=message_id, mandatory=mandatory)


async def arrives(publisher: Publisher, outgoing: Outgoing) -> bool:
    try:
        await publisher.publish(outgoing)
    except (Unroutable, BrokerUnavailable):
        return False
    return True


async def test_a_message_arrives_whole_and_is_kept_on_disk(amqp_url: str, desk: Desk) -> None:
    sent_at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    outgoing = Outgoing(
        exchange=DEFAULT_EXCHANGE,
        routing_key=desk.topology.name(TRIP_ENDED),
        body=b"\x00\xff",
        message_id="m1",
        content_type="application/json",
        headers={"traceparent": "00-1", "nested": {"list": [1, "two"]}},
        properties={"timestamp": sent_at, "correlation_id": "c1", "type": "trip.ended", "app_id": "rides"},
    )
    async with a_publisher(amqp_url, desk.topology) as publisher:
        await publisher.publish(outgoing)

    arrived = await desk.take(TRIP_ENDED)
    assert arrived.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert (arrived.body, arrived.message_id, arrived.content_type) == (b"\x00\xff", "m1", "application/json")
    assert {"traceparent": "00-1", "nested": {"list": [1, "two"]}}.items() <= arrived.headers.items()
    assert (arrived.timestamp, arrived.correlation_id) == (sent_at, "c1")
    assert (arrived.type, arrived.app_id) == ("trip.ended", "rides")


async def test_what_no_queue_takes_is_told(amqp_url: str, desk: Desk) -> None:
    async with a_publisher(amqp_url, desk.topology) as publisher:
        with pytest.raises(Unroutable, match=f"no queue takes '{NOBODYS_KEY}'"):
            await publisher.publish(to_nobody(desk))
        assert publisher.is_ready  # nothing is wrong with the link


async def test_what_need_not_be_taken_is_confirmed_all_the_same(amqp_url: str, desk: Desk) -> None:
    async with a_publisher(amqp_url, desk.topology) as publisher:
        await publisher.publish(to_nobody(desk, mandatory=False))


async def test_two_messages_of_one_id_at_once_are_not_mistaken_for_each_other(amqp_url: str, desk: Desk) -> None:
    lost, kept = to_nobody(desk, message_id="same"), to_queue(desk, message_id="same")
    async with a_publisher(amqp_url, desk.topology) as publisher:
        for messages in ([lost, kept, kept], [kept, lost, kept], [kept, kept, lost]):
            results = await asyncio.gather(*map(publisher.publish, messages), return_exceptions=True)
            assert [isinstance(result, Unroutable) for result in results] == [one is lost for one in messages]

    await desk.holds(TRIP_ENDED, 6)


async def test_a_refused_message_is_told(amqp_url: str, desk: Desk) -> None:
    full = desk.topology.name("full")
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with desk.connection.channel() as channel, a_publisher(amqp_url, desk.topology) as publisher:
        await channel.declare_queue(full, exclusive=False, auto_delete=True, arguments=arguments)
        outgoing = Outgoing(exchange=DEFAULT_EXCHANGE, routing_key=full, body=b"{}", message_id="m1")
        await publisher.publish(outgoing)
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(outgoing)
        await channel.queue_delete(full)


async def test_a_publish_waits_for_the_link(amqp_url: str, desk: Desk) -> None:
    async with a_publisher(amqp_url, desk.topology, ready=False) as publisher:
        assert not publisher.is_ready
        await publisher.publish(to_queue(desk))

    assert (await desk.take(TRIP_ENDED)).message_id == "m1"


async def test_a_publish_without_a_broker_is_told_in_its_time(desk: Desk) -> None:
    url = "amqp://guest:guest@127.0.0.1:1/"
    async with a_publisher(url, desk.topology, timeout_seconds=0.1, ready=False) as publisher:
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(to_queue(desk))


async def test_publishes_under_way_when_the_link_breaks_are_told_and_the_next_arrive(proxy: Proxy, desk: Desk) -> None:
    async with a_publisher(proxy.url, desk.topology) as publisher:
        proxy.freeze()
        under_way = [asyncio.create_task(publisher.publish(to_queue(desk, message_id=f"m{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        proxy.cut()
        results = await asyncio.gather(*under_way, return_exceptions=True)
        assert {type(result) for result in results} == {BrokerUnavailable}

        proxy.thaw()
        await eventually(lambda: arrives(publisher, to_queue(desk, message_id="next")))

    await desk.take(TRIP_ENDED)


async def test_a_link_on_which_nothing_is_confirmed_is_made_anew_long_before_its_heartbeat_tells(
    proxy: Proxy, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.messaging.publisher.DOUBT_AFTER_SECONDS", 0.3)
    async with a_publisher(proxy.url, desk.topology, timeout_seconds=0.3) as publisher:
        proxy.strand()  # of the connection that stands; new ones are served
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(to_queue(desk))

        await eventually(lambda: arrives(publisher, to_queue(desk, message_id="next")))


async def test_a_publish_that_is_cancelled_is_cancelled(proxy: Proxy, desk: Desk) -> None:
    async with a_publisher(proxy.url, desk.topology, timeout_seconds=60) as publisher:
        proxy.freeze()
        publishing = asyncio.create_task(publisher.publish(to_queue(desk)))
        await asyncio.sleep(0.05)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        proxy.thaw()


@pytest.mark.parametrize("missing", ["payscore.order-paid", "payscore.retry.50ms"])
async def test_a_queue_of_ours_that_is_missing_is_declared_again(amqp_url: str, desk: Desk, missing: str) -> None:
    if missing == "payscore.order-paid":
        exchange, routing_key = desk.topology.name(NOTIFICATIONS), "payscore.user_paid"
    else:
        exchange, routing_key = desk.topology.name(missing), desk.topology.name(TRIP_ENDED)
    outgoing = Outgoing(exchange=exchange, routing_key=routing_key, body=b"{}", message_id="m1")

    async with a_publisher(amqp_url, desk.topology) as publisher:
        await desk.delete_queue(missing)
        with pytest.raises(Unroutable):
            await publisher.publish(outgoing)

        await eventually(lambda: arrives(publisher, outgoing))


async def test_an_exchange_that_is_missing_is_declared_again(amqp_url: str, desk: Desk) -> None:
    async with a_publisher(amqp_url, desk.topology) as publisher:
        await desk.do(lambda channel: channel.exchange_delete(desk.topology.name(EVENTS)))
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(to_nobody(desk, mandatory=False))

        await eventually(lambda: arrives(publisher, to_nobody(desk, mandatory=False)))


async def test_without_a_topology_it_declares_nothing_and_publishes_all_the_same(amqp_url: str, desk: Desk) -> None:
    nowhere = Topology(retry_delays=(), prefix=f"{desk.topology.prefix}undeclared.")
    publisher = Publisher(amqp_url, name="test publish", topology=None)
    publishing = asyncio.create_task(publisher.run())
    try:
        await publisher.publish(to_queue(desk))
        with pytest.raises(Unroutable):
            await publisher.publish(Outgoing(exchange="", routing_key=nowhere.queues[0], body=b"{}", message_id="m2"))
        assert publisher.is_ready  # nothing is made anew: what should stand is not known here
    finally:
        publishing.cancel()
        await asyncio.wait([publishing])

    await desk.holds(TRIP_ENDED, 1)
