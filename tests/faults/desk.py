"""A desk at a broker that comes and goes: publishes until it is confirmed, and comes back to listen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from uuid import uuid4

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError

from payscore_worker.messaging.link import BROKEN, Session, connect, keep_linked, translated
from payscore_worker.messaging.topology import QUEUES, Topology
from tests.crash.desk import Desk

PAUSE_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 30.0
"""RabbitMQ answers in milliseconds; this is for one that is just starting, or busy declaring."""

T = TypeVar("T")


class SturdyDesk(Desk):
    """A desk that sits down again whenever it was thrown out."""

    _publishing: AbstractChannel
    _looking: AbstractChannel

    def __init__(self, topology: Topology) -> None:
        self._linked = asyncio.Event()
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._sitting: asyncio.Task[None] | None = None
        self.audience_name = topology.name(f"audience-{uuid4().hex[:8]}")
        super().__init__(topology, None, None)  # type: ignore[arg-type]  # until it sits down

    async def move(self, url: str) -> None:
        """Sit at this broker until the next move, or until it rises; wait for the seat."""
        await self.rise()
        self._sitting = asyncio.create_task(keep_linked(url, "fault desk", self._sit))
        await self._linked.wait()

    async def rise(self) -> None:
        """Leave the broker."""
        if self._sitting is not None:
            self._sitting.cancel()
            await asyncio.wait([self._sitting])
            self._sitting = None

    async def _sit(self, session: Session) -> None:
        self._publishing = await session.channel(publisher_confirms=True, on_return_raises=True)
        self._looking = await session.channel()
        await self.listen(await session.channel())
        self._linked.set()
        try:
            await session.broken()
        finally:
            self._linked.clear()

    # --- The ride service ---

    async def publish(self, routing_key: str, data: dict[str, Any], message_id: str) -> None:
        """Publish an event until RabbitMQ has taken it, always under the same id."""

        async def say() -> None:
            await self._speaking.wait()
            await super(SturdyDesk, self).publish(routing_key, data, message_id)

        await self._insist(say)

    def hold(self) -> None:
        """Say nothing for a while."""
        self._speaking.clear()

    def release(self) -> None:
        """Go on speaking."""
        self._speaking.set()

    # --- The audience ---

    async def listen(self, channel: AbstractChannel) -> None:
        """Take every announcement; the queue outlives the connection, so that none passes while we are away."""
        await channel.set_qos(prefetch_count=100)
        kind: dict[str, Any] = {"x-queue-type": "quorum"}  # which outlives a node of a cluster, too
        self._audience = await channel.declare_queue(self.audience_name, durable=True, arguments=kind)
        await self.attend()
        await self._audience.consume(self._take)

    # --- The queues ---

    async def consumers(self) -> int:
        """Count who consumes."""
        return await self._insist(super().consumers)

    async def purge(self) -> None:
        """Empty every queue."""
        await self._insist(super().purge)

    async def take_dead(self) -> dict[str, set[str]]:
        """Take every dead letter away."""
        return await self._insist(super().take_dead)

    async def _counted(self, queues: list[str]) -> dict[str, int]:
        async def count() -> dict[str, int]:
            async with asyncio.timeout(LOOK_SECONDS):
                return await super(SturdyDesk, self)._counted(queues)

        return await self._insist(count)

    async def calm(self) -> None:
        """Wait until none of the queues that are consumed holds a message."""
        while await self._counted([self.topology.name(queue) for queue in QUEUES]):  # noqa: ASYNC110 - RabbitMQ tells nobody
            await asyncio.sleep(PAUSE_SECONDS)

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it again until it is done; whoever asks has a deadline."""
        while True:
            await self._linked.wait()
            try:
                with translated():
                    return await work()
            except (PublishError, DeliveryError, RuntimeError, *BROKEN):
                await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def a_sturdy_desk(amqp_url: str, topology: Topology) -> AsyncIterator[SturdyDesk]:
    """Sit down where the topology stands; it goes when the desk goes, with every message in it."""
    async with await connect(amqp_url, "fault desk") as connection:
        await topology.declare_on(connection)
    desk = SturdyDesk(topology)
    try:
        await desk.move(amqp_url)
        yield desk
    finally:
        await desk.rise()
        async with await connect(amqp_url, "fault desk") as connection, connection.channel() as channel:
            await channel.queue_delete(desk.audience_name)
            await topology.delete(channel)
