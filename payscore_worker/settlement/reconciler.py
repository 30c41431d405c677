"""Takes up the trips that are due: short rides that had to wait, lost callbacks, whatever a crash left behind."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog

from payscore_worker import metrics, tracing
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import Rejected, Retryable
from payscore_worker.messaging.link import end_if_told
from payscore_worker.settlement.trips import Settlement
from payscore_worker.storage import Storage

AT_ONCE: Final = 64
"""Trips taken up at the same time; each makes one WeChat call after the other."""

LEASE: Final = timedelta(minutes=1)
"""Longer than a trip takes with every time-out; a trip whose claimant died comes back after it."""

EVERY_SECONDS: Final = 1.0
"""How exactly a due time is met."""

BUSY_SECONDS: Final = 0.05
"""With every place taken: how long to wait before a claim for the places that have become free."""

PAUSE_SECONDS: Final = 5.0
"""Wait this long while the database is away."""

log = structlog.stdlib.get_logger(__name__)


class Reconciler:
    """Claims due trips and advances them; several may run side by side."""

    def __init__(
        self,
        *,
        storage: Storage,
        settlement: Settlement,
        clock: Callable[[], datetime],
        is_out: Callable[[], bool] = lambda: False,
    ) -> None:
        self._storage = storage
        self._settlement = settlement
        self._clock = clock
        self._is_out = is_out
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Reconcile until stop(); a slow trip holds up no other."""
        in_hand: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                for trip in await self._claim(AT_ONCE - len(in_hand)):
                    task = group.create_task(self._take_up(trip))
                    in_hand.add(task)
                    task.add_done_callback(in_hand.discard)
                await self._pause(BUSY_SECONDS if len(in_hand) == AT_ONCE else EVERY_SECONDS)

    def stop(self) -> None:
        """Take up no more trips; run() returns when those in hand are done."""
        self._stopping.set()

    async def run_once(self) -> int:
        """Take up what is due now, to the end; returns how many trips."""
        trips = await self._claim(AT_ONCE)
        await asyncio.gather(*(self._take_up(trip) for trip in trips))
        return len(trips)

    async def _claim(self, free: int) -> list[Trip]:
        if not free or self._is_out():  # trips that are due stay so, for whoever can call WeChat Pay
            return []
        try:
            return await self._storage.claim_due(now=self._clock(), lease=LEASE, limit=free)
        except Retryable as trouble:
            end_if_told()
            log.warning("reconciler_paused", reason=str(trouble))
            await self._pause(PAUSE_SECONDS)
            return []

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _take_up(self, trip: Trip) -> None:
        with (
            structlog.contextvars.bound_contextvars(trip_id=trip.trip_id),
            tracing.span("take up trip", tracing.Kind.INTERNAL, {"payscore.trip_id": trip.trip_id}),
        ):
            try:
                await self._settlement.take_up(trip)
                metrics.of(metrics.TAKEN_UP, "done").inc()
            except Retryable as trouble:
                metrics.of(metrics.TAKEN_UP, "waits").inc()
                log.info("trip_waits", reason=str(trouble), error=type(trouble).__name__)
            except Rejected as trouble:
                metrics.of(metrics.TAKEN_UP, "stuck").inc()
                log.warning("trip_stuck", reason=str(trouble), error=type(trouble).__name__)
            except Exception:
                metrics.of(metrics.TAKEN_UP, "error").inc()
                log.exception("trip_surprised_us")
