"""Our own desk at the broker of a lane: publishes, listens to what is announced, looks into queues."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import msgspec
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from payscore_worker.events import CloudEvent
from payscore_worker.messaging.link import connect
from payscore_worker.messaging.topology import EVENTS, QUEUES, RIDE_EVENTS, Topology

PUBLISH_SECONDS: Final = 10.0
"""A confirm takes milliseconds; without one the case is worth nothing."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One announcement as it came; a re-send is another."""

    id: str
    type: str
    data: dict[str, Any] = field(repr=False)
    at: datetime = field(default_factory=lambda: datetime.now(UTC), repr=False, compare=False)


class Desk:
    """One connection, three channels."""

    def __init__(self, topology: Topology, publishing: AbstractChannel, looking: AbstractChannel) -> None:
        self.topology = topology
        self._publishing = publishing
        self._looking = looking
        self._audience: AbstractQueue | None = None
        self._heard: dict[str, list[Heard]] = defaultdict(list)
        self._news = asyncio.Event()

    # --- The ride service ---

    async def publish(self, routing_key: str, data: dict[str, Any], message_id: str) -> None:
        """Publish an event; once this returns, RabbitMQ has accepted it."""
        exchange = await self._publishing.get_exchange(self.topology.name(RIDE_EVENTS), ensure=False)
        message = Message(
            msgspec.json.encode(data),
            content_type="application/json",
            message_id=message_id,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await exchange.publish(message, routing_key, timeout=PUBLISH_SECONDS)

    # --- The audience ---

    async def listen(self, channel: AbstractChannel) -> None:
        """Take every announcement from here on."""
        await channel.set_qos(prefetch_count=100)
        self._audience = await channel.declare_queue(self.topology.name(f"audience-{uuid4().hex[:8]}"), exclusive=True)
        await self.attend()
        await self._audience.consume(self._take)

    async def attend(self) -> None:
        """Be there for announcements."""
        if self._audience is not None:
            await self._audience.bind(self.topology.name(EVENTS), "#")

    async def leave(self) -> None:
        """Be away: nobody takes an announcement now."""
        if self._audience is not None:
            await self._audience.unbind(self.topology.name(EVENTS), "#")

    def heard(self, trip_id: str, openid: str = "") -> list[Heard]:
        """List what was announced of a trip in the order of its arrival, and then what was of its passenger."""
        return [*self._heard[trip_id], *(self._heard[openid] if openid else ())]

    async def news(self, seconds: float) -> None:
        """Wait for an announcement, of whatever trip, but not for long."""
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _take(self, message: AbstractIncomingMessage) -> None:
        event = msgspec.json.decode(message.body, type=CloudEvent)
        data = msgspec.json.decode(event.data, type=dict[str, Any])
        of_passenger = event.type.startswith("authorisation.")
        self._heard[data["openid"] if of_passenger else str(event.subject)].append(Heard(event.id, event.type, data))
        self._news.set()
        await message.ack()

    # --- The queues ---

    async def ready(self) -> dict[str, int]:
        """Count the messages that wait in each queue but the dead-letter ones; only queues that hold some."""
        dead = set(map(self.topology.dead, QUEUES))
        return await self._counted([queue for queue in self.topology.queues if queue not in dead])

    async def dead(self) -> dict[str, int]:
        """Count the dead letters, by the queue they came from."""
        counted = await self._counted([self.topology.dead(queue) for queue in QUEUES])
        return {queue: counted[self.topology.dead(queue)] for queue in QUEUES if self.topology.dead(queue) in counted}

    async def take_dead(self) -> dict[str, set[str]]:
        """Take every dead letter away; returns the message ids, by the queue they came from."""
        taken: dict[str, set[str]] = {}
        for queue, count in (await self.dead()).items():
            place = await self._looking.get_queue(self.topology.dead(queue), ensure=False)
            for _ in range(count):
                message = await place.get(fail=False)
                if message is not None:
                    await message.ack()
                    taken.setdefault(queue, set()).add(message.message_id or "")
        return taken

    async def consumers(self) -> int:
        """Count who consumes."""
        declared = [await self._looking.declare_queue(self.topology.name(queue), passive=True) for queue in QUEUES]
        return sum(queue.declaration_result.consumer_count or 0 for queue in declared)

    async def purge(self) -> None:
        """Empty every queue: what a case has left is not for the next one."""
        for queue in self.topology.queues:
            await (await self._looking.get_queue(queue, ensure=False)).purge()

    async def _counted(self, queues: list[str]) -> dict[str, int]:
        found = {}
        for queue in queues:
            declared = await self._looking.declare_queue(queue, passive=True)
            if count := declared.declaration_result.message_count:
                found[queue] = count
        return found


@asynccontextmanager
async def a_desk(amqp_url: str, topology: Topology) -> AsyncIterator[Desk]:
    """Sit down where the topology stands; it goes when the desk goes, with every message in it."""
    async with await connect(amqp_url, "crash certificate") as connection:
        await topology.declare_on(connection)
        try:
            publishing = await connection.channel(publisher_confirms=True, on_return_raises=True)
            desk = Desk(topology, publishing, await connection.channel())
            await desk.listen(await connection.channel())
            yield desk
        finally:
            async with connection.channel() as channel:
                await topology.delete(channel)
