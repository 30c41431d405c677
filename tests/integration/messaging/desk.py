"""The tester's own desk at the broker: puts messages in, looks at queues, takes messages out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aio_pika
import msgspec
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from payscore_worker.messaging.topology import Topology
from tests.integration.messaging.waiting import eventually

TRIP_CANCELLED = "payscore.trip-cancelled"
TRIP_ENDED = "payscore.trip-ended"
SHORT_LADDER = (timedelta(milliseconds=50), timedelta(milliseconds=120))


def a_topology(retry_delays: tuple[timedelta, ...] = SHORT_LADDER) -> Topology:
    """Name everything by a prefix that nobody else uses."""
    return Topology(retry_delays=retry_delays, prefix=f"test-{uuid4().hex[:12]}.")


def a_cancellation(trip_id: str = "t1", **changes: Any) -> bytes:
    cancellation = {"trip_id": trip_id, "cancelled_at": "2026-05-01T20:00:00+08:00", "reason": "乘客取消"}
    return msgspec.json.encode(cancellation | changes)


class Desk:
    """A connection to the broker, and the names of one topology there."""

    def __init__(self, connection: AbstractConnection, topology: Topology) -> None:
        self.connection = connection
        self.topology = topology

    async def put(self, queue: str, body: bytes, *, message_id: str | None = None, **properties: Any) -> None:
        """Put a message into a queue, confirmed; `queue` is the name without the prefix."""
        async with self.connection.channel(publisher_confirms=True, on_return_raises=True) as channel:
            await channel.default_exchange.publish(
                aio_pika.Message(body, message_id=message_id, delivery_mode=2, **properties), self.topology.name(queue)
            )

    async def cancel(self, *trip_ids: str) -> None:
        """Say of each trip that it was cancelled."""
        async with self.connection.channel() as channel:
            for trip_id in trip_ids:
                message = aio_pika.Message(a_cancellation(trip_id), message_id=f"m-{trip_id}", delivery_mode=2)
                await channel.default_exchange.publish(message, self.topology.name(TRIP_CANCELLED))

    async def ready(self, queue: str) -> int:
        """Count the messages that nobody has in hand.

        RabbitMQ's count lags behind what was returned or moved a moment ago, and a queue that is too busy to answer
        within a quarter of a second is counted as empty: to assert a number, wait with `holds` until it shows.
        """
        return (await self._look(queue))[0]

    async def holds(self, queue: str, count: int) -> None:
        """Wait until a queue has so many messages that nobody has in hand."""

        async def does() -> bool:
            return await self.ready(queue) == count

        await eventually(does)

    async def consumers(self, queue: str) -> int:
        return (await self._look(queue))[1]

    async def is_empty(self, *queues: str) -> bool:
        return not any([await self.ready(queue) for queue in queues])

    async def take_what_is_there(self, queue: str) -> list[AbstractIncomingMessage]:
        """Take out all that is there now; nothing more is waited for."""
        taken = []
        async with self.connection.channel() as channel:
            place = await channel.get_queue(self.topology.name(queue), ensure=False)
            while (found := await place.get(fail=False)) is not None:
                await found.ack()
                taken.append(found)
        return taken

    async def take(self, queue: str) -> AbstractIncomingMessage:
        """Wait for a message, and take it out."""

        async def one() -> AbstractIncomingMessage | None:
            async with self.connection.channel() as channel:
                found = await (await channel.get_queue(self.topology.name(queue), ensure=False)).get(fail=False)
                if found is not None:
                    await found.ack()
                return found

        return await eventually(one)

    async def take_dead(self, queue: str) -> AbstractIncomingMessage:
        return await self.take(f"{queue}.dead")

    async def lose(self, queue: str, times: int) -> None:
        """Take the message of a queue and go without an answer, so often: as workers that it kills."""

        async def once() -> bool:
            async with self.connection.channel() as channel:
                place = await channel.get_queue(self.topology.name(queue), ensure=False)
                return await place.get(fail=False) is not None

        for _ in range(times):
            await eventually(once)

    async def do(self, work: Callable[[aio_pika.abc.AbstractChannel], Awaitable[object]]) -> None:
        """Do something to the broker, on a channel that it may cost."""
        async with self.connection.channel() as channel:
            await work(channel)

    async def delete_queue(self, queue: str) -> None:
        await self.do(lambda channel: channel.queue_delete(self.topology.name(queue)))

    async def _look(self, queue: str) -> tuple[int, int]:
        async with self.connection.channel() as channel:
            declared = await channel.declare_queue(self.topology.name(queue), passive=True)
        result = declared.declaration_result
        return result.message_count or 0, result.consumer_count or 0


@asynccontextmanager
async def a_desk(url: str, topology: Topology) -> AsyncIterator[Desk]:
    """Sit down where the topology stands; it goes when the desk goes, with every message in it."""
    connection = await aio_pika.connect(url)
    async with connection:
        await topology.declare_on(connection)
        yield Desk(connection, topology)
    async with await aio_pika.connect(url) as another, another.channel() as channel:  # ours may have broken
        await topology.delete(channel)
