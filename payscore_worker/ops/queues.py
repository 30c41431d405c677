"""How full the queues are, as gauges: for those without RabbitMQ's plugin, and to know for how long."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection

from payscore_worker import metrics
from payscore_worker.errors import BrokerUnavailable
from payscore_worker.messaging.inspect import Depth, depths
from payscore_worker.messaging.link import SET_UP_TIMEOUT_SECONDS, LinkBroken, Session, keep_linked, scratch_channel
from payscore_worker.messaging.topology import QUEUES, Topology, TopologyRefused
from payscore_worker.ops.looking import Looking, Rhythm

RHYTHM: Final = Rhythm(every=timedelta(seconds=10), limit=timedelta(seconds=10))

log = structlog.stdlib.get_logger(__name__)


class QueueLook:
    """Reads the queues into the gauges, on a connection of its own."""

    def __init__(
        self,
        url: str,
        topology: Topology,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_look: Callable[[list[Depth]], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._topology = topology
        self._on_look = on_look
        self._clock = clock
        self._connection: AbstractConnection | None = None
        self._looking = Looking("queues", self._look, RHYTHM)
        self._not_empty_since: dict[str, float] = {}
        self._shown: set[str] = set()

    @property
    def is_linked(self) -> bool:
        """Whether there is a connection to look by."""
        return self._connection is not None and not self._connection.is_closed

    async def run(self) -> None:
        """Look until cancelled; while there is no RabbitMQ, there is nothing to see."""
        await keep_linked(self._url, "payscore-worker look", self._work)

    async def _work(self, session: Session) -> None:
        await self._declare_staging(session)
        self._connection = session.connection
        await self._looking.run()

    async def _declare_staging(self, session: Session) -> None:
        """Declare what the first replay would: to ask for a queue that is not there is an error in RabbitMQ's log."""
        try:
            async with asyncio.timeout(SET_UP_TIMEOUT_SECONDS), scratch_channel(session.connection) as channel:
                for queue in QUEUES:
                    await self._topology.declare_staging(channel, queue)
        except TopologyRefused as refusal:  # a replay will say so again; the look does without
            log.warning("staging_not_declared", reason=str(refusal))

    async def _look(self) -> None:
        if self._connection is None:
            raise LinkBroken("not connected")
        found = await depths(self._connection, self._topology)
        self.show(found)
        self._on_look(found)
        if uncounted := [depth.queue for depth in found if depth.is_uncounted]:
            raise BrokerUnavailable(f"RabbitMQ does not tell how full {', '.join(uncounted)} is")

    def show(self, found: list[Depth]) -> None:
        """Set the gauges; a queue that is no longer told of is empty, one that cannot be counted has no number."""
        for depth in found:
            self._show(depth)
        told_of = {depth.queue for depth in found}
        for queue in self._shown - told_of:
            self._show(Depth(queue=queue, ready=0, unacked=None, consumers=0, dead=None, is_consumed=False))
        self._shown |= told_of

    def _show(self, depth: Depth) -> None:
        queue = depth.queue
        metrics.show(metrics.QUEUE_READY, depth.ready, queue)
        metrics.show(metrics.QUEUE_NOT_EMPTY, self._not_empty_seconds(depth), queue)
        if depth.is_consumed:
            metrics.show(metrics.QUEUE_DEAD, depth.dead, queue)
            metrics.show(metrics.QUEUE_CONSUMERS, depth.consumers, queue)

    def _not_empty_seconds(self, depth: Depth) -> float | None:
        """Tell for how long it has not been empty; a look that could not count it neither begins nor ends that."""
        if depth.ready is None:
            return None
        now = self._clock()
        if not depth.ready:
            self._not_empty_since.pop(depth.queue, None)
            return 0.0
        return now - self._not_empty_since.setdefault(depth.queue, now)
