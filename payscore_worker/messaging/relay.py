"""The outbox relay: the only publisher of business events. Several may run side by side."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from payscore_worker import metrics, tracing
from payscore_worker.errors import Retryable, Unroutable
from payscore_worker.events import CLOUD_EVENT, trace_of
from payscore_worker.messaging.link import end_if_told
from payscore_worker.messaging.publisher import Outgoing, Publisher

BATCH: Final = 200
"""Confirms in flight at once; the broker answers them together."""

LEASE: Final = timedelta(seconds=30)
"""A batch takes milliseconds, and at most the publisher's time-out; after a crash another relay waits this long."""

LINGER_SECONDS: Final = 0.05
"""What comes within this time of the first announcement shares its round trips."""

IDLE_SECONDS: Final = 1.0
"""How often to look without being woken: for what a crashed relay left behind."""

PAUSE_SECONDS: Final = 2.0
"""Wait this long while the database or the broker is away."""

UNROUTED_DELAYS: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=40))
"""An announcement that no queue takes is tried again for an hour, in which a listener may be redeployed (ADR 6)."""

log = structlog.stdlib.get_logger(__name__)


class Announced(Protocol):
    """A row of the outbox."""

    @property
    def id(self) -> int: ...
    @property
    def event_id(self) -> str: ...
    @property
    def trip_id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def attempts(self) -> int: ...


class Outbox(Protocol):
    """Where announcements wait."""

    async def claim_outbox(self, *, now: datetime, lease: timedelta, limit: int) -> Sequence[Announced]: ...
    async def mark_published(self, ids: Sequence[int], *, now: datetime) -> None: ...
    async def postpone_outbox(self, ids: Sequence[int], *, until: datetime) -> None: ...


class Relay:
    """Publishes what waits in the outbox, confirmed, under the ids it was written with."""

    def __init__(self, *, outbox: Outbox, publisher: Publisher, exchange: str, clock: Callable[[], datetime]) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._exchange = exchange
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Say that something waits."""
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled; what cannot be published now is left to whoever can."""
        while True:
            await self._publisher.ready()
            try:
                full = await self.run_once() == BATCH
            except Retryable as trouble:
                end_if_told()
                log.warning("relay_paused", reason=str(trouble))
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not full:
                await self._wait()

    async def run_once(self) -> int:
        """Relay one batch; returns how many announcements it held.

        Raises:
            Retryable: the database or the broker is away; what was claimed comes back when its lease ends.

        """
        rows = await self._outbox.claim_outbox(now=self._clock(), lease=LEASE, limit=BATCH)
        if not rows:
            return 0
        results = await asyncio.gather(*(self._publish(row) for row in rows), return_exceptions=True)
        published = [row.id for row, result in zip(rows, results, strict=True) if result is None]
        if published:
            await self._outbox.mark_published(published, now=self._clock())
        await self._postpone([row for row, result in zip(rows, results, strict=True) if isinstance(result, Unroutable)])
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Unroutable):
                raise result
        return len(rows)

    async def _publish(self, row: Announced) -> None:
        try:
            await self._publisher.publish(
                Outgoing(
                    exchange=self._exchange,
                    routing_key=row.type,
                    body=row.body,
                    message_id=row.event_id,
                    content_type=CLOUD_EVENT,
                    headers=trace_of(row.body) if tracing.is_on() else {},
                )
            )
            metrics.of(metrics.PUBLISHED, row.type).inc()
        except Unroutable:
            if row.attempts < len(UNROUTED_DELAYS):
                raise
            metrics.of(metrics.UNROUTED, row.type).inc()
            log.warning("announcement_unrouted", type=row.type, event_id=row.event_id, trip_id=row.trip_id)

    async def _postpone(self, unrouted: Sequence[Announced]) -> None:
        for attempts in {row.attempts for row in unrouted}:
            ids = [row.id for row in unrouted if row.attempts == attempts]
            await self._outbox.postpone_outbox(ids, until=self._clock() + UNROUTED_DELAYS[attempts])

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._woken.wait()
            await asyncio.sleep(LINGER_SECONDS)
        except TimeoutError:
            pass
        self._woken.clear()
