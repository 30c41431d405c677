"""Looks at something now and then for the metrics, never at the cost of what it looks at."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from payscore_worker import metrics
from payscore_worker.messaging.link import end_if_told

SHARE: Final = 0.05
"""A look that takes long comes seldom: at most this part of the time goes into it."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often to look, and how long a look may take."""

    every: timedelta
    limit: timedelta


class Looking:
    """Repeats a look; one that fails is left out, and told of by the age of the last that did not."""

    def __init__(
        self,
        name: str,
        look: Callable[[], Awaitable[None]],
        rhythm: Rhythm,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._look = look
        self._rhythm = rhythm
        self._clock = clock
        self._looked_at = clock()
        metrics.read(metrics.LOOK_AGE, lambda: self._clock() - self._looked_at, name)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            took = await self.run_once()
            await asyncio.sleep(max(self._rhythm.every.total_seconds(), took / SHARE))

    async def run_once(self) -> float:
        """Look once; returns the seconds it took."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._rhythm.limit.total_seconds()):
                await self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, to go on settling is more than to be watched
            end_if_told()
            log.info("look_left_out", look=self._name, error=type(error).__name__)
        else:
            self._looked_at = self._clock()
        return self._clock() - began
