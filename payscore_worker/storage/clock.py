"""The database's clock: by it leases begin and end, whatever the clocks of the workers show."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from payscore_worker import metrics
from payscore_worker.clocks import are_apart, trouble_with
from payscore_worker.errors import StorageUnavailable
from payscore_worker.storage.port import Storage

LOOK_SECONDS: Final = 10.0
"""How often the database is asked: well within a lease, should it have become another one with another clock."""

log = structlog.stdlib.get_logger(__name__)


class DatabaseClock:
    """Tells the database's time; between two looks at it, by a clock of this machine that nobody sets."""

    def __init__(self, storage: Storage, *, own: Callable[[], datetime]) -> None:
        self._storage = storage
        self._own = own
        self._seen: tuple[datetime, float] | None = None
        self._was_off = False

    def __call__(self) -> datetime:
        """Tell the time. look() must have been called."""
        if self._seen is None:
            raise RuntimeError("the database was not asked yet")
        at, mark = self._seen
        return at + timedelta(seconds=time.monotonic() - mark)

    @property
    def skew(self) -> timedelta:
        """By how much our own clock is ahead of the database's."""
        return self._own() - self()

    @property
    def is_off(self) -> bool:
        """Whether the two are too far apart for both to be right."""
        return are_apart(self.skew)

    @property
    def trouble(self) -> str:
        """What is wrong with our clock, if anything is."""
        return trouble_with(self.skew, "the database's")

    async def look(self) -> None:
        """Ask the database.

        Raises:
            StorageUnavailable: the database cannot be reached.

        """
        at = await self._storage.now()
        self._seen = at, time.monotonic()  # behind by the way of the answer
        metrics.read(metrics.CLOCK_AHEAD, self._ahead_seconds)
        self._say()

    async def run(self) -> None:
        """Ask now and then, until cancelled; where the database is away, what was seen last goes on."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StorageUnavailable as trouble:
                log.info("database_clock_not_seen", reason=str(trouble))

    def _ahead_seconds(self) -> float:
        return self.skew.total_seconds()

    def _say(self) -> None:
        """Say once that the clocks differ, and once that they agree again."""
        is_off = self.is_off
        if is_off is not self._was_off:
            ahead = round(self.skew.total_seconds(), 1)
            if is_off:
                log.error(
                    "clock_off", ahead_of_database_seconds=ahead, remedy="see that NTP sets both machines' clocks"
                )
            else:
                log.warning("clock_right_again", ahead_of_database_seconds=ahead)
        self._was_off = is_off
