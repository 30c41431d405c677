"""Runs the whole certificate, and sums it up."""

import asyncio
import os
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

from payscore_worker.messaging.link import connect
from payscore_worker.storage.engine import engine_for
from tests.crash import plan
from tests.crash.bugs import BUGS
from tests.crash.cases import Case, Result
from tests.crash.fleet import Fleet
from tests.crash.flows import FLOWS
from tests.crash.laws import Breach

TELL_EVERY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is played beyond every single crash."""

    seed: int = 1
    pairs: int = 160
    recoveries: int = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """On what it ran."""

    date: str
    python: str
    rabbitmq: str
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
    singles: list[Result] = field(default_factory=list)
    pairs: list[Result] = field(default_factory=list)
    recoveries: list[Result] = field(default_factory=list)
    bugs: list[Result] = field(default_factory=list)

    @property
    def sound(self) -> list[Result]:
        """List the results of the product as it is."""
        return [*self.clean, *self.singles, *self.pairs, *self.recoveries]

    @property
    def broken(self) -> list[Result]:
        """List the cases in which the product broke a law."""
        return [result for result in self.sound if result.violations]

    @property
    def uncaught(self) -> list[str]:
        """List the seeded bugs that no case has shown."""
        caught = {result.case.setting.bug for result in self.bugs if result.violations}
        tried = {case.setting.bug for case in plan.bug_runs(self.flows)}
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
    """Count cases; one in which a crash did not come about says nothing of that crash, and counts apart."""
    results = list(results)
    reached = [result for result in results if result.reached or result.violations]
    breaches = Counter(breach for result in reached for breach in {one.breach for one in result.violations})
    return Tally(len(reached), breaches, len(results) - len(reached))


async def certify(
    fleet: Fleet, surroundings: Surroundings, size: Size, flows: Sequence[str] = tuple(FLOWS)
) -> Certificate:
    """Run everything, or all of some flows."""
    began, chance = time.monotonic(), random.Random(size.seed)  # noqa: S311 - no secret
    certificate = Certificate(size=size, surroundings=surroundings, flows=flows)
    certificate.clean = await _stage(fleet, "clean runs", plan.clean_runs(plan.all_settings(), flows))
    runs = sorted(certificate.clean, key=lambda result: result.case.name)
    certificate.singles = await _stage(fleet, "single crashes", plan.single_crashes(runs))
    certificate.pairs = await _stage(fleet, "pairs", plan.pairs(certificate.singles, chance, size.pairs))
    recoveries = plan.recovery_crashes(certificate.singles, chance, size.recoveries)
    certificate.recoveries = await _stage(fleet, "recovery crashes", recoveries)
    buggy = await _stage(fleet, "seeded bugs, no crash", plan.bug_runs(flows))
    crashes = plan.bug_crashes(sorted(buggy, key=lambda result: result.case.name), chance)
    certificate.bugs = [*buggy, *await _stage(fleet, "seeded bugs", crashes)]
    certificate.seconds = time.monotonic() - began
    return certificate


async def _stage(fleet: Fleet, name: str, cases: Sequence[Case]) -> list[Result]:
    """Play some cases, and say how far it has come."""
    began = told_at = time.monotonic()
    done: list[Result] = []

    def told(result: Result) -> None:
        nonlocal told_at
        done.append(result)
        if result.violations and not result.case.setting.bug:
            _say(f"  BROKEN {result.case.name}: {'; '.join(map(str, result.violations))}")
        if time.monotonic() - told_at > TELL_EVERY_SECONDS:
            told_at = time.monotonic()
            _say(f"  {name}: {len(done)} of {len(cases)}")

    results = await fleet.play(cases, told)
    counted = tally(results)
    breaches = ", ".join(f"{breach} {counted.of(breach)}" for breach in Breach)
    _say(
        f"{name}: {counted.cases} cases, {breaches}; not reached {counted.unreached}; {time.monotonic() - began:.0f} s"
    )
    return results


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


async def look_around(amqp_url: str, postgresql_url: str) -> Surroundings:
    """Ask everybody for a version, and name nobody's host."""
    rabbitmq, postgresql = await asyncio.gather(_rabbitmq(amqp_url), _postgresql(postgresql_url))
    return Surroundings(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        python=platform.python_version(),
        rabbitmq=rabbitmq,
        postgresql=postgresql,
        sqlite=sqlite3.sqlite_version,
        machine=machine(),
    )


def machine() -> str:
    """Tell on what kind of machine this runs."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count() or 1} cores, {memory_gb:.0f} GB, {platform.system()}"


async def _rabbitmq(url: str) -> str:
    async with await connect(url, "crash certificate") as connection:
        transport = connection.transport
        properties = transport.connection.server_properties if transport is not None else None
        return str(properties["version"]) if properties else "unknown"


async def _postgresql(url: str) -> str:
    async with engine_for(url) as engine, engine.connect() as connection:
        version = str((await connection.execute(text("SHOW server_version"))).scalar_one())
    return version.partition(" ")[0]
