"""What WeChat Pay will do later: debits, refunds and callbacks, soonest first."""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime


class Agenda:
    """Delays are divided by `speed`; `advance` brings everything forward, as if that much time had passed.

    It holds one entry for each order that waits for its passenger or for its debit, one for each refund that waits for
    its end, and one for each callback that waits to be sent, and all of those are bounded where they are kept. The
    entry of a forgotten one does nothing when its time comes.
    """

    def __init__(self, clock: Callable[[], datetime], *, speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self._advanced_seconds = 0.0
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    @property
    def advanced_seconds(self) -> float:
        return self._advanced_seconds

    def schedule(self, delay_seconds: float, action: Callable[[], None]) -> None:
        self.schedule_at(self.now() + delay_seconds / self._speed, action)

    def schedule_at(self, due: float, action: Callable[[], None]) -> None:
        """At that second of `now`, whatever the speed."""
        heapq.heappush(self._entries, (due, next(self._serial), action))

    def run_due(self) -> None:
        now = self.now()
        while self._entries and self._entries[0][0] <= now:
            _, _, action = heapq.heappop(self._entries)
            action()

    def advance(self, seconds: float) -> None:
        self._advanced_seconds += seconds

    def now(self) -> float:
        """Seconds on the clock of what happens later: the true one, and what was advanced."""
        return self._clock().timestamp() + self._advanced_seconds
