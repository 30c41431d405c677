"""Crash points: where a role can be made to die, how it is told to, and what it leaves behind for us to read."""

import mmap
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

PLAN_BYTES: Final = 256
"""The longest name of a point is a third of this."""

GENERATION_BYTES: Final = 8
"""Eight digits: one for each time a role was told where to die."""

actor: Final[ContextVar[str]] = ContextVar("actor", default="")
"""Who is at work within the role: consumers (worker), relay, reconciler, webhook."""


class Plan:
    """What a role is told: the point at which to die, or none; kept in a file that both sides have mapped.

    A running role can be told something new, so that a case need not begin with the start of a process.
    """

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(PLAN_BYTES))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), PLAN_BYTES)

    def tell(self, generation: int, point: str) -> None:
        """Say where to die; empty: nowhere. The generation is written last: it is what the role looks at."""
        text = point.encode()
        room = PLAN_BYTES - GENERATION_BYTES
        self._map[GENERATION_BYTES:] = text.ljust(room, b"\0")
        self._map[:GENERATION_BYTES] = f"{generation:0{GENERATION_BYTES}}".encode()

    @property
    def generation(self) -> bytes:
        """What changes when there is something new to read."""
        return self._map[:GENERATION_BYTES]

    @property
    def point(self) -> str:
        """Where to die."""
        return self._map[GENERATION_BYTES:].rstrip(b"\0").decode()

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


class Points:
    """Within a role: counts the points it passes, writes them down, and dies at the one it was told."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._trace = -1
        self._role = ""
        self._generation = b""
        self._fatal = ""
        self._counts: Counter[str] = Counter()

    def enter(self, role: str, *, plan: Path, trace: Path) -> None:
        """Begin, in a process that has just been forked."""
        self._plan = Plan(plan)
        self._trace = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._role = role
        actor.set(role)

    def reach(self, what: str, side: str) -> bool:
        """Pass a point; tells whether it is the one to die at, for a seam that has something to do first."""
        plan = self._plan
        if plan is None:
            return False
        if plan.generation != self._generation:
            self._generation, self._fatal = plan.generation, plan.point
            self._counts.clear()
        name = f"{actor.get()} {what} {side}"
        self._counts[name] += 1
        self._counts[self._role] += 1
        numbered = f"{name} #{self._counts[name]}"
        os.write(self._trace, f"{self._generation.decode()} {time.monotonic_ns()} {numbered}\n".encode())
        return self._fatal in (numbered, f"{self._role} #{self._counts[self._role]}")

    def strike(self, what: str, side: str) -> None:
        """Pass a point; die if it is the one."""
        if self.reach(what, side):
            die()


def die() -> NoReturn:
    """Be gone, as the kernel would have it: nothing is flushed, closed or said."""
    while True:
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def acting(who: str) -> Iterator[None]:
    """Be somebody within the role for a while."""
    token = actor.set(who)
    try:
        yield
    finally:
        actor.reset(token)


points: Final = Points()
"""Of this process."""


@dataclass(frozen=True, slots=True)
class Passed:
    """One line of a trace."""

    generation: int
    at_ns: int
    point: str


def read_trace(file: Path, *, since: int = 0) -> list[Passed]:
    """Read what a role has passed; `since`: from the generation with this number on."""
    if not file.exists():
        return []
    passed = []
    whole, _, _ = file.read_text(encoding="utf-8").rpartition("\n")  # the last line may be half written
    for line in whole.splitlines():
        generation, at_ns, point = line.split(" ", 2)
        if int(generation) >= since:
            passed.append(Passed(int(generation), int(at_ns), point))
    return passed
