"""The outbox relay: the only publisher of business events. Several may run side by side.

Announcements of one trip are published one after the other, in the order in which they were written, whoever publishes
them; those of different trips at once.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from payscore_worker import metrics, tracing
from payscore_worker.errors import BrokerUnavailable, Retryable, Unroutable
from payscore_worker.events import CLOUD_EVENT, trace_of
from payscore_worker.messaging.link import end_if_told
from payscore_worker.messaging.publisher import Outgoing, Publisher

BATCH: Final = 200
"""Confirms in flight at once; the broker answers them together."""

LEASE: Final = timedelta(seconds=30)
"""A batch takes milliseconds, and at most the publisher's time-out; after a crash another relay waits this long."""

BATCH_SECONDS: Final = 15.0
"""Then what is not confirmed is given back: well within the lease, so that nobody else has it in hand meanwhile."""

SETTLE_SECONDS: Final = 1.0
"""For one who was told to end: a few short statements, or else the lease runs out by itself."""

LINGER_SECONDS: Final = 0.05
"""What comes within this time of the first announcement shares its round trips."""

IDLE_SECONDS: Final = 1.0
"""How often to look without being woken: for what a crashed relay left behind."""

PAUSE_SECONDS: Final = 2.0
"""Wait this long while the database or the broker is away."""

UNROUTED_DELAYS: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=40))
"""An announcement that no queue takes is tried again for an hour, in which a listener may be redeployed; then it is
kept, until a person has it told again (ADR 6)."""

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
    async def mark_unrouted(self, ids: Sequence[int], *, now: datetime) -> None: ...
    async def postpone_outbox(self, ids: Sequence[int], *, until: datetime) -> None: ...
    async def release_outbox(self, ids: Sequence[int], *, claimed_until: datetime) -> None: ...


@dataclass(slots=True)
class _Batch:
    """What was claimed, and what has become of it so far; what stands in neither list goes back."""

    rows: Sequence[Announced]
    claimed_until: datetime
    published: list[Announced] = field(default_factory=list)
    unrouted: list[Announced] = field(default_factory=list)

    @property
    def trips(self) -> Iterable[Sequence[Announced]]:
        """The announcements of each trip, in the order in which they were written."""
        trips: dict[str, list[Announced]] = {}
        for row in self.rows:
            trips.setdefault(row.trip_id, []).append(row)
        return trips.values()

    @property
    def left(self) -> list[int]:
        done = {row.id for row in (*self.published, *self.unrouted)}
        return [row.id for row in self.rows if row.id not in done]


class Relay:
    """Publishes what waits in the outbox, confirmed, under the ids it was written with."""

    def __init__(self, *, outbox: Outbox, publisher: Publisher, exchange: str, clock: Callable[[], datetime]) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._exchange = exchange
        self._clock = clock
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Say that something waits."""
        self._woken.set()

    def stop(self) -> None:
        """Have run() end once it has published what is announced by now."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        """Relay until stopped or cancelled; what cannot be published now is left to whoever can."""
        while True:
            last = self._stopping
            await self._publisher.ready()
            try:
                full = await self.run_once() == BATCH
            except Retryable as trouble:
                end_if_told()
                log.warning("relay_paused", reason=str(trouble))
                if last:
                    return
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if full:
                continue
            if last:
                return
            await self._wait()

    async def run_once(self) -> int:
        """Relay one batch; returns how many announcements it held.

        Whatever happens, also a cancellation, nothing of it stays claimed; but a lease must run out after a crash, and
        where the database is away.

        Raises:
            Retryable: the database or the broker is away; what was claimed is given back.

        """
        now = self._clock()
        batch = _Batch(await self._outbox.claim_outbox(now=now, lease=LEASE, limit=BATCH), claimed_until=now + LEASE)
        if not batch.rows:
            return 0
        try:
            troubles = await self._publish_all(batch)
            await self._settle(batch)
        except asyncio.CancelledError:
            with suppress(Retryable, TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._settle(batch)
            raise
        if troubles:
            raise troubles[0]
        return len(batch.rows)

    async def _publish_all(self, batch: _Batch) -> list[BaseException]:
        """Publish what can be published; returns what stood in the way of the rest."""
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                trips = [self._publish_in_order(rows, batch) for rows in batch.trips]
                results = await asyncio.gather(*trips, return_exceptions=True)
        except TimeoutError:
            return [BrokerUnavailable(f"a batch took longer than {BATCH_SECONDS:g} seconds")]
        return [result for result in results if result is not None]

    async def _publish_in_order(self, rows: Sequence[Announced], batch: _Batch) -> None:
        """Publish announcements of one trip, each once the one before it is confirmed, or has found nobody."""
        for row in rows:
            try:
                await self._publish(row)
            except Unroutable:
                batch.unrouted.append(row)
            else:
                batch.published.append(row)

    async def _publish(self, row: Announced) -> None:
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

    async def _settle(self, batch: _Batch) -> None:
        """Write down what has become of a batch: one statement, where all of it was published."""
        if batch.published:
            await self._outbox.mark_published([row.id for row in batch.published], now=self._clock())
        if batch.unrouted:
            await self._postpone(batch.unrouted)
        if left := batch.left:
            await self._outbox.release_outbox(left, claimed_until=batch.claimed_until)

    async def _postpone(self, unrouted: Sequence[Announced]) -> None:
        for attempts in sorted({row.attempts for row in unrouted}):
            rows = [row for row in unrouted if row.attempts == attempts]
            if attempts < len(UNROUTED_DELAYS):
                until = self._clock() + UNROUTED_DELAYS[attempts]
                await self._outbox.postpone_outbox([row.id for row in rows], until=until)
            else:
                await self._keep(rows)

    async def _keep(self, rows: Sequence[Announced]) -> None:
        await self._outbox.mark_unrouted([row.id for row in rows], now=self._clock())
        for row in rows:
            metrics.of(metrics.UNROUTED, row.type).inc()
            log.warning("announcement_unrouted", type=row.type, event_id=row.event_id, trip_id=row.trip_id)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._woken.wait()
            await asyncio.sleep(LINGER_SECONDS)
        except TimeoutError:
            pass
        self._woken.clear()
