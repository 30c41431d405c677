"""Declaring what should stand, beside the work: a binding can hang where messages flow."""

import asyncio
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection

from payscore_worker.messaging.link import SET_UP_TIMEOUT_SECONDS
from payscore_worker.messaging.topology import Topology

HEAD_START_SECONDS: Final = 2.0
"""Declaring takes a tenth of a second. While a node of the cluster is frozen it hangs, for a minute or more (a binding
is written on every node), and what stood before goes on: so work begins after this long."""

AGAIN_SECONDS: Final = 30.0
"""Between two tries: each that hangs costs RabbitMQ a channel."""

log = structlog.stdlib.get_logger(__name__)


async def keep_declared(topology: Topology, connection: AbstractConnection, may_begin: asyncio.Event) -> None:
    """Declare everything, however long it takes, and never return; says when work may begin.

    Raises:
        TopologyRefused: RabbitMQ will not have our exchanges and queues.

    """
    begin = asyncio.get_running_loop().call_later(HEAD_START_SECONDS, may_begin.set)
    try:
        while not await _is_declared(topology, connection):  # noqa: ASYNC110 - RabbitMQ tells nobody when it can again
            await asyncio.sleep(AGAIN_SECONDS)
    finally:
        begin.cancel()
    may_begin.set()
    await asyncio.Event().wait()


async def _is_declared(topology: Topology, connection: AbstractConnection) -> bool:
    try:
        async with asyncio.timeout(SET_UP_TIMEOUT_SECONDS):
            await topology.declare_on(connection)
    except TimeoutError:
        log.warning("topology_unconfirmed", waited_seconds=SET_UP_TIMEOUT_SECONDS)
        return False
    return True
