"""The retry policy: what becomes of a message whose handling failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from payscore_worker.errors import HeldBack, NotHeardOf, Rejected

OVERTAKEN_TRIES: Final = 4
"""How often a message may find nobody who knows its trip: as long as a burst lasts in the queue of what it overtook."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Put it on the rung of the ladder with this delay."""

    delay: timedelta
    counts: bool = True
    """Whether this was an attempt: one that was not even tried brings nobody nearer to giving up."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Put it where a person will look."""

    reason: str


def next_attempt(error: BaseException, attempt: int, delays: Sequence[timedelta]) -> RetryAfter | DeadLetter:
    """Decide after the attempt with this number, counted from 1, has failed."""
    if isinstance(error, Rejected):
        return DeadLetter(str(error))
    if isinstance(error, HeldBack):
        return RetryAfter(delays[0], counts=False)
    if isinstance(error, NotHeardOf) and attempt >= OVERTAKEN_TRIES:
        return DeadLetter(str(error))
    if attempt > len(delays):
        return DeadLetter(f"gave up after {attempt} attempts: {error!r}")
    return RetryAfter(delays[attempt - 1])
