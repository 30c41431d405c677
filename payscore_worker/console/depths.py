"""How full the queues were lately: a bounded ring in memory, and its picture."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from payscore_worker.messaging.inspect import Depth

KEPT: Final = 90
"""A quarter of an hour, at a look every ten seconds."""

WIDTH: Final = 120
HEIGHT: Final = 24


@dataclass(frozen=True, slots=True)
class Look:
    """One look at every queue."""

    at: datetime
    depths: Sequence[Depth]


class DepthRing:
    """Keeps the last looks; begins empty with each process."""

    def __init__(self, kept: int = KEPT) -> None:
        self._looks: deque[Look] = deque(maxlen=kept)

    def note(self, at: datetime, depths: Sequence[Depth]) -> None:
        """Keep a look, and forget the oldest where there are too many."""
        self._looks.append(Look(at, tuple(depths)))

    @property
    def newest(self) -> Look | None:
        """The last look."""
        return self._looks[-1] if self._looks else None

    def histories(self) -> Mapping[str, Sequence[int | None]]:
        """Give what was ready in each queue of the newest look, the oldest first; None where nobody could tell."""
        if self.newest is None:
            return {}
        seen: dict[str, list[int | None]] = {depth.queue: [None] * len(self._looks) for depth in self.newest.depths}
        for index, look in enumerate(self._looks):
            for depth in look.depths:
                if depth.queue in seen:
                    seen[depth.queue][index] = depth.ready
        return seen


def polyline(history: Sequence[int | None]) -> str:
    """Draw a history as the points of an SVG polyline, the newest at the right; empty where there is no line.

    What is not known has no point.
    """
    known = [value for value in history if value is not None]
    if len(known) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    highest, step = max(*known, 1), WIDTH / (KEPT - 1)
    left = WIDTH - step * (len(history) - 1)
    ground = HEIGHT - 1.5  # half a stroke and a pixel, so that nothing is cut off
    return " ".join(
        f"{left + index * step:.1f},{ground - (HEIGHT - 3) * value / highest:.1f}"
        for index, value in enumerate(history)
        if value is not None
    )
