"""How full the queues are, as RabbitMQ tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import httpx
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.topology import QUEUES, Topology

MANAGEMENT_TIMEOUT_SECONDS: Final = 5.0


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


async def unacked_by_management(management_url: str, amqp_url: str) -> dict[str, int]:
    """Ask the management API how many messages of each queue are in somebody's hands."""
    vhost = _vhost(amqp_url)
    async with httpx.AsyncClient(timeout=MANAGEMENT_TIMEOUT_SECONDS) as http:
        response = await http.get(f"{management_url.rstrip('/')}/api/queues/{quote(vhost, safe='')}")
        response.raise_for_status()
        queues: list[dict[str, Any]] = response.json()
    return {queue["name"]: queue.get("messages_unacknowledged", 0) for queue in queues}


async def _declared(connection: AbstractConnection, queue: str) -> tuple[int | None, int | None]:
    """Count the ready messages and the consumers; a queue that does not stand has neither."""
    try:
        async with scratch_channel(connection) as channel:
            declared = await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return None, None
    return declared.declaration_result.message_count, declared.declaration_result.consumer_count


def _vhost(amqp_url: str) -> str:
    path = urlsplit(amqp_url).path
    return unquote(path[1:]) if len(path) > 1 else "/"
