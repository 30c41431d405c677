"""How full the queues are, as RabbitMQ tells it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.topology import QUEUES, Topology

UNASKED_SECONDS: Final = 0.25
"""RabbitMQ asks the leader of a quorum queue for so long; where that does not answer, it says 0 and 0 all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """One queue; None is what could not be learnt, and never stands for 0."""

    queue: str
    ready: int | None
    unacked: int | None
    consumers: int | None
    dead: int | None
    stands: bool = True
    """Whether it, and the queue of its dead letters where it has one, is there at all."""
    is_consumed: bool = True
    """Whether it is one that a worker consumes, and has dead letters; the others only hold for a while."""

    @property
    def is_uncounted(self) -> bool:
        """Whether it stands, and RabbitMQ cannot tell what is in it."""
        return self.stands and (self.ready is None or (self.is_consumed and self.dead is None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What RabbitMQ says of a queue; nothing where it cannot ask the queue's leader."""

    ready: int | None = None
    consumers: int | None = None
    stands: bool = True


async def depths(
    connection: AbstractConnection, topology: Topology, *, unacked: Mapping[str, int] | None = None
) -> list[Depth]:
    """Look at every queue of contract 4 and every rung; AMQP does not tell `unacked`, the management API does."""
    in_hand = unacked or {}
    consumed = [await _consumed(connection, queue, in_hand.get(queue)) for queue in map(topology.name, QUEUES)]
    rungs = [
        _depth(queue, await count(connection, queue), unacked=in_hand.get(queue))
        for queue in map(topology.rung, topology.retry_delays)
    ]
    return [*consumed, *rungs, *await _staged(connection, topology)]


async def _consumed(connection: AbstractConnection, queue: str, unacked: int | None) -> Depth:
    """Look at a queue that workers consume, and at its dead letters."""
    counts, dead = await count(connection, queue), await count(connection, f"{queue}.dead")
    depth = _depth(queue, counts, unacked=unacked)
    return replace(depth, dead=dead.ready, stands=counts.stands and dead.stands, is_consumed=True)


def _depth(queue: str, counts: Counts, *, unacked: int | None = None) -> Depth:
    return Depth(
        queue=queue,
        ready=counts.ready,
        unacked=unacked,
        consumers=counts.consumers,
        dead=None,
        stands=counts.stands,
        is_consumed=False,
    )


async def _staged(connection: AbstractConnection, topology: Topology) -> list[Depth]:
    """Look at the staging queues that hold something, or may: a replay is under way, or was broken off."""
    looks = [(queue, await count(connection, queue)) for queue in map(topology.staging, QUEUES)]
    return [_depth(queue, counts) for queue, counts in looks if counts.stands and counts.ready != 0]


async def count(connection: AbstractConnection, queue: str) -> Counts:
    """Count the ready messages and the consumers.

    RabbitMQ answers 0 and 0 where the queue's leader does not tell it anything, and takes its time for that. An empty
    queue whose answer took as long counts as unknown: on a machine that is so busy, it is.
    """
    try:
        async with scratch_channel(connection) as channel:
            asked = time.monotonic()
            declared = (await channel.declare_queue(queue, passive=True)).declaration_result
            took = time.monotonic() - asked
    except ChannelNotFoundEntity:
        return Counts(stands=False)
    if not declared.message_count and not declared.consumer_count and took >= UNASKED_SECONDS:
        return Counts()
    return Counts(ready=declared.message_count, consumers=declared.consumer_count)
