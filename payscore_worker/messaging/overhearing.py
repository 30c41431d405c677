"""Overhears one event of an exchange, whoever it is for, beside the queues that stand."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from aio_pika.abc import AbstractConnection, AbstractQueue

from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.topology import Topology

MAX_LENGTH: Final = 100
"""Events that wait to be looked at; of more the oldest are dropped, for nobody is to act on them."""


class Overheard:
    """What comes by from the moment on in which it was bound."""

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue

    @property
    def queue(self) -> str:
        """The queue, which goes with the connection."""
        return self._queue.name

    async def until(self, is_it: Callable[[bytes], bool]) -> None:
        """Wait until an event comes by whose body is the one; the caller says for how long."""
        async with self._queue.iterator(no_ack=True) as coming:
            async for message in coming:
                if is_it(message.body):
                    return


@asynccontextmanager
async def overhearing(
    connection: AbstractConnection, topology: Topology, exchange: str, routing_key: str
) -> AsyncIterator[Overheard]:
    """Listen to an exchange for as long as the context lasts; `exchange` is the name without the prefix."""
    async with scratch_channel(connection) as channel:
        name = topology.name(f"payscore.overheard.{uuid4().hex[:12]}")
        # Exclusive: others that do not last may be forbidden.
        queue = await channel.declare_queue(name, exclusive=True, arguments={"x-max-length": MAX_LENGTH})
        await queue.bind(topology.name(exchange), routing_key)
        yield Overheard(queue)
