"""How full the queues are, as RabbitMQ tells it."""

from collections.abc import Mapping
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.topology import QUEUES, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """One queue; None is what could not be learnt."""

    queue: str
    ready: int | None
    unacked: int | None
    consumers: int | None
    dead: int | None


async def depths(
    connection: AbstractConnection, topology: Topology, *, unacked: Mapping[str, int] | None = None
) -> list[Depth]:
    """Look at every queue of contract 4 and every rung; AMQP does not tell `unacked`, the management API does."""
    found = []
    for queue in [*map(topology.name, QUEUES), *map(topology.rung, topology.retry_delays)]:
        ready, consumers = await _declared(connection, queue)
        dead = None
        if queue in map(topology.name, QUEUES):
            dead, _ = await _declared(connection, f"{queue}.dead")
        found.append(
            Depth(
                queue=queue,
                ready=ready,
                unacked=None if unacked is None else unacked.get(queue),
                consumers=consumers,
                dead=dead,
            )
        )
    return found + await _staged(connection, topology)


async def _staged(connection: AbstractConnection, topology: Topology) -> list[Depth]:
    """Look at the staging queues that hold something: a replay is under way, or was broken off."""
    found = []
    for queue in map(topology.staging, QUEUES):
        ready, consumers = await _declared(connection, queue)
        if ready:
            found.append(Depth(queue=queue, ready=ready, unacked=None, consumers=consumers, dead=None))
    return found


async def _declared(connection: AbstractConnection, queue: str) -> tuple[int | None, int | None]:
    """Count the ready messages and the consumers; a queue that does not stand has neither."""
    try:
        async with scratch_channel(connection) as channel:
            declared = await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return None, None
    return declared.declaration_result.message_count, declared.declaration_result.consumer_count
