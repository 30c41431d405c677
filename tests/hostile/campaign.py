"""Every kind of hostile input, and a run through as many as are asked for, on all cores."""

import asyncio
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from multiprocessing import get_context
from random import Random
from typing import Any, Final

from payscore_worker import logs
from tests.hostile import forgeries, messages, variables
from tests.hostile.gate import Call, Gate, is_genuine

BATCH: Final = 2_000
"""How many inputs a process takes at a time: a second's work."""

SHOWN_BREACHES: Final = 20

Judge = Callable[[Any], Coroutine[Any, Any, tuple[str, list[str]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of input: at what it is aimed, and how one is made."""

    target: str
    name: str
    make: Callable[[Random], Any]
    share: int


KINDS: Final = tuple(
    Kind(target=target, name=name, make=make, share=share)
    for target, makers in (
        ("webhook", forgeries.MAKERS),
        ("events", messages.MAKERS),
        ("settings", variables.MAKERS),
    )
    for name, (make, share) in makers.items()
)

GENUINE: Final = "genuine"
"""The one kind that is not hostile: it must be published, or else the rest would prove nothing."""


PUBLISHED: Final = "200"


@dataclass(slots=True)
class Tally:
    """What became of the inputs, by kind; and which of them broke a law."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.outcomes += other.outcomes
        self.broken += other.broken
        self.examples = (self.examples + other.examples)[:SHOWN_BREACHES]

    @property
    def hostile(self) -> int:
        """Count the inputs that were hostile."""
        return sum(count for (kind, _), count in self.outcomes.items() if kind != GENUINE)

    def of(self, kind: str) -> Counter[str]:
        """Count the outcomes of one kind."""
        return Counter({outcome: count for (name, outcome), count in self.outcomes.items() if name == kind})


class Judges:
    """Everything that inputs are handed to."""

    def __init__(self) -> None:
        self._gate, self._desk = Gate(), variables.Desk()

    async def judge(self, target: str, made: Any) -> tuple[str, list[str]]:
        match target:
            case "webhook":
                return await self._gate.judge(made)
            case "events":
                return messages.judge(made)
            case _:
                return self._desk.judge(made)

    def close(self) -> None:
        self._desk.close()


def kind_of(chance: Random, target: str | None = None) -> Kind:
    """Draw a kind by its share."""
    kinds, shares = _shares(target)
    return chance.choices(kinds, cum_weights=shares)[0]


@cache
def _shares(target: str | None) -> tuple[list[Kind], list[int]]:
    kinds = [kind for kind in KINDS if target in (None, kind.target)]
    return kinds, list(accumulate(kind.share for kind in kinds))


def chance_of(seed: int, number: int) -> Random:
    """Give each input a chance of its own, so that it can be made again by itself."""
    return Random(f"{seed}:{number}")  # noqa: S311 - no secret


async def play(seed: int, numbers: range, target: str | None = None) -> Tally:
    """Make a hostile input for each of these numbers, hand it in, and judge; genuine ones come in between."""
    tally, judges = Tally(), Judges()
    try:
        for number in numbers:
            chance, is_hostile = chance_of(seed, number), False
            while not is_hostile:  # what turns out genuine is played too, and does not count
                kind = kind_of(chance, target)
                made = kind.make(chance)
                outcome, broken = await judges.judge(kind.target, made)
                is_hostile = not is_wechats(made, outcome)
                tally.outcomes[kind.name if is_hostile else GENUINE, outcome] += 1
                for breach in broken:
                    tally.broken[breach.partition(":")[0]] += 1
                    if len(tally.examples) < SHOWN_BREACHES:
                        tally.examples.append(f"--only {seed}:{number} ({kind.name}): {breach}")
    finally:
        judges.close()
    return tally


def is_wechats(made: Any, outcome: str) -> bool:
    """Tell whether an input came out as what it was to damage: WeChat Pay's own, and whole."""
    return isinstance(made, Call) and (is_genuine(made) or (made.is_signed and outcome == PUBLISHED))


def run(seed: int, inputs: int, processes: int, told: Callable[[int, float], None]) -> Tally:
    """Play on several processes."""
    tally, began = Tally(), time.monotonic()
    batches = [range(first, min(first + BATCH, inputs)) for first in range(0, inputs, BATCH)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_be_quiet) as pool:
        for done in pool.map(_play, [seed] * len(batches), batches):
            tally.add(done)
            told(tally.hostile, time.monotonic() - began)
    return tally


def _play(seed: int, numbers: range) -> Tally:
    return asyncio.run(play(seed, numbers))


def _be_quiet() -> None:
    """Write the product's logs as in production, to where nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    logs.set_up(as_json=True, level=logging.INFO)
    logging.getLogger("dotenv").setLevel(logging.ERROR)


@contextmanager
def silence() -> Iterator[None]:
    """Keep python-dotenv from warning of each line that it cannot read."""
    logger = logging.getLogger("dotenv")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
