"""How full the queues are, as RabbitMQ tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import httpx
import msgspec
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.topology import QUEUES, Topology

MANAGEMENT_TIMEOUT_SECONDS: Final = 5.0

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""RabbitMQ tells two kilobytes of each queue; a virtual host of four thousand queues is not ours."""


class ManagementUnavailable(Exception):
    """The management API does not tell; the text names neither its address nor who asked: a password is in them."""


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
    """Ask the management API how many messages of each queue are in somebody's hands.

    Raises:
        ManagementUnavailable: it cannot be reached, refuses, or says something else.

    """
    try:
        answer = await _ask(f"{management_url.rstrip('/')}/api/queues/{quote(_vhost(amqp_url), safe='')}")
        queues = msgspec.json.decode(answer, type=list[_Queue])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ManagementUnavailable(type(error).__name__) from None
    except ValueError as error:
        raise ManagementUnavailable("its answer is no list of queues") from error
    return {queue.name: queue.messages_unacknowledged for queue in queues}


class _Queue(msgspec.Struct):
    name: str
    messages_unacknowledged: int = 0


async def _ask(url: str) -> bytes:
    """Read the answer, as far as it can be one; uncompressed, so that its size on the way is its size here."""
    answer = bytearray()
    async with (
        httpx.AsyncClient(timeout=MANAGEMENT_TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}) as http,
        http.stream("GET", url) as response,
    ):
        if response.status_code != HTTPStatus.OK:
            raise ManagementUnavailable(f"it answers {response.status_code}")
        async for chunk in response.aiter_raw():
            answer += chunk
            if len(answer) > MAX_ANSWER_BYTES:
                raise ManagementUnavailable(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(answer)


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
