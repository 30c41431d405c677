"""Runs the whole certificate, and sums it up."""

import platform
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import text

from payscore_worker.storage.engine import engine_for
from tests.answers import plan
from tests.answers.bugs import BUGS
from tests.answers.cases import DATABASES, Case, Result
from tests.answers.flows import FLOWS
from tests.answers.laws import Breach
from tests.answers.pool import play_all
from tests.crash.certificate import machine

TELL_EVERY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is played on each database."""

    whole: str = "sqlite"
    """The database on which every case is played."""
    sampled: int = 2_000
    """So many cases are drawn for the other."""
    seed: int = 1
    processes: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """On what it ran."""

    date: str
    python: str
    postgresql: str
    sqlite: str
    machine: str


@dataclass(slots=True, kw_only=True)
class Certificate:
    """Everything that was found."""

    size: Size
    surroundings: Surroundings
    flows: Sequence[str] = tuple(FLOWS)
    """Those that were played."""
    seconds: float = 0.0
    clean: list[Result] = field(default_factory=list)
    whole: list[Result] = field(default_factory=list)
    drawn: list[Result] = field(default_factory=list)
    bugs: list[Result] = field(default_factory=list)

    @property
    def struck(self) -> list[Result]:
        """List the results of cases in which a call was answered otherwise."""
        return [*self.whole, *self.drawn]

    @property
    def sound(self) -> list[Result]:
        """List the results of the product as it is."""
        return [*self.clean, *self.struck]

    @property
    def broken(self) -> list[Result]:
        """List the cases in which the product broke a law."""
        return sorted((one for one in self.sound if one.violations), key=lambda one: one.case.name)

    @property
    def uncaught(self) -> list[str]:
        """List the seeded bugs that no case has shown."""
        caught = {result.case.bug for result in self.bugs if result.violations}
        tried = {case.bug for case in plan.bug_cases(self.flows)}
        return [bug for bug in BUGS if bug in tried and bug not in caught]

    @property
    def ok(self) -> bool:
        """Whether nothing broke, and every bug was caught."""
        return not self.broken and not self.uncaught


@dataclass(frozen=True, slots=True)
class Tally:
    """Some cases, counted."""

    cases: int
    breaches: Counter[Breach]
    unreached: int

    def of(self, breach: Breach) -> int:
        """Count the cases that broke a law in this way."""
        return self.breaches[breach]


def tally(results: Iterable[Result]) -> Tally:
    """Count cases; one whose call was not made says nothing of that call, and counts apart."""
    results = list(results)
    reached = [one for one in results if one.struck or one.case.strike is None or one.violations]
    breaches = Counter(breach for one in reached for breach in {violation.breach for violation in one.violations})
    return Tally(len(reached), breaches, len(results) - len(reached))


def certify(surroundings: Surroundings, size: Size, flows: Sequence[str] = tuple(FLOWS)) -> Certificate:
    """Run everything, or all of some flows."""
    began, chance = time.monotonic(), random.Random(size.seed)  # noqa: S311 - no secret
    certificate = Certificate(size=size, surroundings=surroundings, flows=flows)
    certificate.clean = _stage("right answers", plan.clean_runs(DATABASES, flows), size)
    runs = sorted(certificate.clean, key=lambda result: result.case.name)
    cases = plan.struck_cases(runs)
    whole = [case for case in cases if case.database == size.whole]
    others = [case for case in cases if case.database != size.whole]
    certificate.whole = _stage(f"every answer on {size.whole}", whole, size)
    certificate.drawn = _stage("a sample on the other database", plan.sample(others, chance, size.sampled), size)
    certificate.bugs = _stage("seeded bugs", plan.bug_cases(flows), size)
    certificate.seconds = time.monotonic() - began
    return certificate


def _stage(name: str, cases: Sequence[Case], size: Size) -> list[Result]:
    """Play some cases, and say how far it has come."""
    began = told_at = time.monotonic()
    done = 0

    def told(result: Result) -> None:
        nonlocal told_at, done
        done += 1
        if result.violations and not result.case.bug:
            _say(f"  BROKEN {result.case.name}: {'; '.join(map(str, result.violations))}")
        if time.monotonic() - told_at > TELL_EVERY_SECONDS:
            told_at = time.monotonic()
            _say(f"  {name}: {done} of {len(cases)}")

    results = play_all(cases, processes=size.processes, told=told)
    counted = tally(results)
    breaches = ", ".join(f"{breach} {counted.of(breach)}" for breach in Breach if counted.of(breach)) or "no law broken"
    _say(
        f"{name}: {counted.cases} cases, {breaches}; not reached {counted.unreached}; {time.monotonic() - began:.0f} s"
    )
    return results


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


async def look_around(postgresql_url: str) -> Surroundings:
    """Ask everybody for a version, and name nobody's host."""
    async with engine_for(postgresql_url) as engine, engine.connect() as connection:
        postgresql = str((await connection.execute(text("SHOW server_version"))).scalar_one())
    return Surroundings(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        python=platform.python_version(),
        postgresql=postgresql.partition(" ")[0],
        sqlite=sqlite3.sqlite_version,
        machine=machine(),
    )
