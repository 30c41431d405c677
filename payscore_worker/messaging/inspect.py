"""How full the queues are, as RabbitMQ tells it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import httpx
import msgspec
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from payscore_worker.messaging.addresses import broker_urls, vhost
from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.topology import QUEUES, Topology

MANAGEMENT_TIMEOUT_SECONDS: Final = 5.0

UNASKED_SECONDS: Final = 0.25
"""RabbitMQ asks the leader of a quorum queue for so long; where that does not answer, it says 0 and 0 all the same."""

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""RabbitMQ tells two kilobytes of each queue; a virtual host of four thousand queues is not ours."""


class ManagementUnavailable(Exception):
    """The management API does not tell; the text names neither its address nor who asked: a password is in them."""


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


async def unacked_by_management(management_url: str, amqp_url: str) -> dict[str, int]:
    """Ask the management API how many messages of each queue are in somebody's hands.

    Raises:
        ManagementUnavailable: it cannot be reached, refuses, or says something else.

    """
    try:
        answer = await _ask(
            f"{management_url.rstrip('/')}/api/queues/{quote(vhost(broker_urls(amqp_url)[0]), safe='')}"
        )
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
