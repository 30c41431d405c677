"""Whether we hear: a consumer that has gone deaf looks alive from outside, and nobody would miss it."""

import time
from collections.abc import Callable
from typing import Final

DEAF_AFTER_SECONDS: Final = 60.0
"""A consumer that cannot hear for this long although the broker answers ends the process; a supervisor restarts it."""


class Deaf(RuntimeError):
    """The broker answers, and yet we do not consume."""


class Ear:
    """Whether one link consumes, and for how long it has not although it could."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._silent_since = clock()
        self._is_alone = False
        self.is_consuming = False

    def heard(self) -> None:
        """Note that every queue stands and we are among its consumers."""
        self._silent_since = self._clock()

    def absent(self) -> None:
        """Note that there is no broker to hear: its absence is not our deafness."""
        self._is_alone = True

    def present(self) -> None:
        """Note that there is one; the time that it was away does not count."""
        if self._is_alone:
            self._silent_since, self._is_alone = self._clock(), False

    @property
    def silent_seconds(self) -> float | None:
        """For how long it has not consumed although it could; None while there is no broker."""
        return None if self._is_alone else self._clock() - self._silent_since


class Hearing:
    """Whether we consume through any of our links, and for how long we have not although we could."""

    def __init__(
        self,
        links: int = 1,
        *,
        deaf_after_seconds: float = DEAF_AFTER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deaf_after_seconds = deaf_after_seconds
        self.ears = [Ear(clock) for _ in range(links)]

    @property
    def is_consuming(self) -> bool:
        """Whether any link consumes."""
        return any(ear.is_consuming for ear in self.ears)

    @property
    def silent_seconds(self) -> float:
        """For how long we have not consumed although we could; 0 while there is no broker."""
        return min((silent for ear in self.ears if (silent := ear.silent_seconds) is not None), default=0.0)

    @property
    def is_deaf(self) -> bool:
        """Whether we have not consumed for too long although we could."""
        return self.silent_seconds > self._deaf_after_seconds

    def check(self) -> None:
        """Raise Deaf if we are."""
        if self.is_deaf:
            raise Deaf(f"not consuming for {self._deaf_after_seconds:.0f} seconds although RabbitMQ answers")
