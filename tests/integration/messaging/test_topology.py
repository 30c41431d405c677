"""What stands at the broker: declared from one table, as often as you like, and refused with a reason."""

from datetime import timedelta

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from payscore_worker.messaging.link import connect
from payscore_worker.messaging.topology import QUEUES, RIDE_EVENTS, Topology, TopologyRefused
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk
from tests.integration.messaging.managed import declare_as_the_release_before


async def test_declaring_again_changes_nothing_and_loses_nothing(desk: Desk) -> None:
    await desk.cancel("t1")

    for _ in range(2):
        await desk.topology.declare_on(desk.connection)

    assert (await desk.take(TRIP_CANCELLED)).message_id == "m-t1"


@pytest.mark.parametrize(
    ("exchange", "routing_key", "queue"),
    [(one.exchange, routing_key, queue) for queue, one in QUEUES.items() for routing_key in one.routing_keys],
)
async def test_each_queue_takes_its_routing_keys(desk: Desk, exchange: str, routing_key: str, queue: str) -> None:
    async with desk.connection.channel() as channel:
        there = await channel.get_exchange(desk.topology.name(exchange))
        await there.publish(aio_pika.Message(b"{}", message_id="m1"), routing_key)

    assert (await desk.take(queue)).message_id == "m1"
    assert await desk.is_empty(*QUEUES)


async def test_deleting_leaves_nothing(desk: Desk) -> None:
    await desk.do(desk.topology.delete)

    for name in desk.topology.queues:
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await desk.do(lambda channel, name=name: channel.declare_queue(name, passive=True))  # type: ignore[misc]


async def test_an_exchange_of_another_kind_is_refused_by_name(desk: Desk) -> None:
    name = desk.topology.name(RIDE_EVENTS)

    async def replace(channel: AbstractChannel) -> None:
        await channel.exchange_delete(name)
        await channel.declare_exchange(name, "direct", durable=True)

    await desk.do(replace)

    with pytest.raises(TopologyRefused, match=rf"exchange '{name}' stands otherwise than we need it .*: stop the"):
        await desk.topology.declare_on(desk.connection)


async def test_a_refusal_costs_one_channel_and_not_the_connection(amqp_url: str, desk: Desk) -> None:
    await desk.delete_queue(TRIP_ENDED)
    await desk.do(lambda channel: channel.declare_queue(desk.topology.name(TRIP_ENDED), durable=True))

    async with await connect(amqp_url, "test") as connection:
        with pytest.raises(TopologyRefused):
            await desk.topology.declare_on(connection)
        async with connection.channel() as channel:
            await channel.declare_queue(desk.topology.name(TRIP_CANCELLED), passive=True)


async def test_another_ladder_stands_beside_the_first(desk: Desk) -> None:
    """Delays may be changed while messages wait: no rung is ever redeclared with another delay."""
    changed = Topology(retry_delays=[timedelta(milliseconds=70)], prefix=desk.topology.prefix)

    await changed.declare_on(desk.connection)

    assert set(changed.queues) - set(desk.topology.queues) == {changed.name("payscore.retry.70ms")}
    await desk.delete_queue("payscore.retry.70ms")
    await desk.do(lambda channel: channel.exchange_delete(changed.name("payscore.retry.70ms")))


async def test_a_queue_as_the_release_before_made_it_is_left_as_it_is_with_what_it_holds(desk: Desk) -> None:
    """Workers of both releases run side by side: neither may be refused what the other has declared."""
    await desk.do(desk.topology.delete)
    await declare_as_the_release_before(desk.connection, desk.topology)
    await desk.put(f"{TRIP_ENDED}.dead", b"{}", message_id="d1")

    await desk.topology.declare_on(desk.connection)
    await declare_as_the_release_before(desk.connection, desk.topology)  # which the other one does

    assert (await desk.take_dead(TRIP_ENDED)).message_id == "d1"


async def test_a_dead_letter_queue_that_neither_release_made_is_refused_by_what_this_one_wants(desk: Desk) -> None:
    name = desk.topology.dead(TRIP_ENDED)
    await desk.do(lambda channel: channel.queue_delete(name))
    await desk.do(lambda channel: channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"}))

    with pytest.raises(TopologyRefused, match=rf"queue '{name}' stands otherwise than we need it"):
        await desk.topology.declare_on(desk.connection)
