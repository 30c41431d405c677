"""The pace of all calls of a process: slower at every 429, and little by little faster again (reference F.3)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from payscore_worker.errors import HeldBack

FIRST_GAP_SECONDS: Final = 0.02
"""At the first 429: fifty calls a second."""

LONGEST_GAP_SECONDS: Final = 1.0
"""Slower than this is an outage, and for the breaker."""

SLOWER: Final = 2.0
FASTER: Final = 0.9
"""Halve the pace at a 429, and regain a tenth at each call that passes: from the slowest to none in ten seconds."""

FREE_BELOW_SECONDS: Final = 0.001
"""A gap this small is none."""

MAX_WAITING: Final = 60
"""Calls that wait for their turn: a minute at the slowest pace, well within the time of a message's handling."""


class Pace:
    """Keeps a gap between calls while WeChat Pay throttles; costs nothing while it does not."""

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._gap_seconds = 0.0
        self._queue = asyncio.Lock()  # its waiters are served in order
        self._waiting = 0
        self._last_turn = 0.0
        self._slowed_at = 0.0

    @property
    def gap_seconds(self) -> float:
        """The gap between two calls; 0 while nothing is throttled."""
        return self._gap_seconds

    def admit(self) -> None:
        """Let one more call come and wait for its turn.

        Raises:
            HeldBack: enough are waiting.

        """
        if self._waiting >= MAX_WAITING:
            raise HeldBack(f"WeChat Pay throttles us, and {self._waiting} calls wait for their turn; this was not made")

    async def turn(self) -> float:
        """Wait for the turn of one call; returns the moment, for throttled()."""
        if self._gap_seconds:
            self._waiting += 1
            try:
                async with self._queue:
                    await self._keep_gap()
            finally:
                self._waiting -= 1
        return _now()

    async def _keep_gap(self) -> None:
        """Wait for one gap as it is now: those behind profit from a pace that is faster by then."""
        if (wait := self._last_turn + self._gap_seconds - _now()) > 0:
            await self._sleep(wait)
        self._last_turn = _now()

    def throttled(self, began: float) -> None:
        """Note a 429 for a call that began then: everybody slows down, once for all calls that were on their way."""
        if began < self._slowed_at:
            return
        self._slowed_at = _now()
        self._gap_seconds = min(max(self._gap_seconds * SLOWER, FIRST_GAP_SECONDS), LONGEST_GAP_SECONDS)

    def passed(self) -> None:
        """Note a call that was not throttled: everybody may be a little faster."""
        if self._gap_seconds:
            gap_seconds = self._gap_seconds * FASTER
            self._gap_seconds = gap_seconds if gap_seconds > FREE_BELOW_SECONDS else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()
