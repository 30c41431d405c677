"""Takes up the cases that are due: short rides that had to wait, lost callbacks, whatever a crash left behind."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Generic, Protocol

import structlog
from prometheus_client import Counter

from payscore_worker import metrics, tracing
from payscore_worker.errors import Rejected, Retryable
from payscore_worker.messaging.link import end_if_told
from payscore_worker.storage import Storage
from payscore_worker.storage.cases import C, table_of

AT_ONCE: Final = 64
"""Cases of a kind taken up at the same time; each makes one WeChat call after the other."""

LEASE: Final = timedelta(minutes=1)
"""Longer than a case takes with every time-out; one whose claimant died comes back after it."""

EVERY_SECONDS: Final = 1.0
"""How exactly a due time is met."""

BUSY_SECONDS: Final = 0.05
"""With every place taken: how long to wait before a claim for the places that have become free."""

PAUSE_SECONDS: Final = 5.0
"""Wait this long while the database is away."""

OUTCOMES: Final = ("done", "waits", "stuck", "error")
"""What becomes of a case that was taken up."""

log = structlog.stdlib.get_logger(__name__)


class Desk(Protocol[C]):
    """Whoever advances a kind of case."""

    @property
    def kind(self) -> type[C]:
        """The kind of case."""
        ...

    @property
    def taken_up(self) -> Counter:
        """What counts the cases that were taken up."""
        ...

    async def take_up(self, case: C) -> None:
        """Advance a case that was claimed and loaded."""


class Reconciler(Generic[C]):
    """Claims the due cases of a desk and has them advanced; several may run side by side."""

    def __init__(
        self,
        *,
        storage: Storage,
        desk: Desk[C],
        clock: Callable[[], datetime],
        is_out: Callable[[], bool] = lambda: False,
    ) -> None:
        self._storage = storage
        self._desk: Final = desk
        self._clock = clock
        self._is_out = is_out
        self._stopping = asyncio.Event()
        for outcome in OUTCOMES:  # from 0 on, so that the first of a kind is seen to be one more
            metrics.of(desk.taken_up, outcome)

    async def run(self) -> None:
        """Reconcile until stop(); a slow case holds up no other."""
        in_hand: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                for case in await self._claim(AT_ONCE - len(in_hand)):
                    task = group.create_task(self._take_up(case))
                    in_hand.add(task)
                    task.add_done_callback(in_hand.discard)
                await self._pause(BUSY_SECONDS if len(in_hand) == AT_ONCE else EVERY_SECONDS)

    def stop(self) -> None:
        """Take up no more cases; run() returns when those in hand are done."""
        self._stopping.set()

    async def run_once(self) -> int:
        """Take up what is due now, to the end; returns how many cases."""
        cases = await self._claim(AT_ONCE)
        await asyncio.gather(*(self._take_up(case) for case in cases))
        return len(cases)

    async def _claim(self, free: int) -> list[C]:
        if not free or self._is_out():  # cases that are due stay so, for whoever can call WeChat Pay
            return []
        try:
            return await self._storage.claim_due(self._desk.kind, now=self._clock(), lease=LEASE, limit=free)
        except Retryable as trouble:
            end_if_told()
            log.warning("reconciler_paused", reason=str(trouble))
            await self._pause(PAUSE_SECONDS)
            return []

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _take_up(self, case: C) -> None:
        table, taken_up = table_of(self._desk.kind), self._desk.taken_up
        name, subject, key = table.name, table.subject_of(case), {table.key: table.key_of(case)}
        with (
            structlog.contextvars.bound_contextvars(**({table.subject: subject} | key)),
            tracing.span(f"take up {name}", tracing.Kind.INTERNAL, {f"payscore.{table.subject}": subject}),
        ):
            try:
                await self._desk.take_up(case)
                metrics.of(taken_up, "done").inc()
            except Retryable as trouble:
                metrics.of(taken_up, "waits").inc()
                log.info("case_waits", case=name, reason=str(trouble), error=type(trouble).__name__)
            except Rejected as trouble:
                metrics.of(taken_up, "stuck").inc()
                log.warning("case_stuck", case=name, reason=str(trouble), error=type(trouble).__name__)
            except Exception:
                metrics.of(taken_up, "error").inc()
                log.exception("case_surprised_us", case=name)
