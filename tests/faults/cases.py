"""A case: trips before, during and after a fault; how soon the worker works again, and whether the laws hold."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tests.crash.cases import Case, Played, close_books, look, promise_of
from tests.crash.cases import Result as Judged
from tests.crash.flows import CANCELLED, FLOWS, OPENED, Flow
from tests.crash.lane import Lane, Setting
from tests.crash.laws import Breach, Violation, judge
from tests.crash.scene import InVain, Patience, Scene
from tests.faults.faults import Fault
from tests.faults.site import Site
from tests.faults.surprises import surprises_since, told_until_now

WORKS_WITHIN_SECONDS: Final = 60.0
"""What is promised: a minute after the end of any fault, trips are opened again."""

PATIENCE: Final = Patience(seconds=420.0, still_seconds=420.0)
"""Until the last trip of a fault is settled: a claim of the reconciler lasts a minute, its second two."""

BEFORE: Final = 3
EVERY_SECONDS: Final = 1.0
"""How often a trip begins while the fault stands, and until one is opened after it."""

POLL_SECONDS: Final = 0.05
OPEN_SECONDS: Final = 30.0
CALM_SECONDS: Final = 60.0


async def _at_once(scene: Scene) -> None:
    """The end is told in the same breath as the start, and may be heard first."""
    await scene.starts()
    await scene.ends()


STORIES: Final = (FLOWS["happy"], Flow(play=_at_once), FLOWS["happy"], FLOWS["cancelled"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it went."""

    fault: Fault
    trips: int
    cuts: int
    """Connections that were ended, or left without a word."""
    restarts: int
    stood_seconds: float
    opens_seconds: float | None
    """From the end of the fault until a trip that began after it is open, and every role ready; None: not in time."""
    rest_seconds: float
    """From the end of the fault until every trip is settled, and every queue and the outbox empty."""
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class _Trip:
    """A trip, and the script that plays it."""

    scene: Scene
    flow: Flow
    playing: asyncio.Task[None]

    @property
    def is_open(self) -> bool:
        return any(heard.type in (OPENED, CANCELLED) for heard in self.scene.lane.desk.heard(self.scene.trip_id))


class _Traffic:
    """Trips that begin one after the other."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._stories = itertools.cycle(STORIES)
        self.trips: list[_Trip] = []

    def begin(self, flow: Flow | None = None) -> _Trip:
        flow = flow or next(self._stories)
        scene = Scene(self._lane, PATIENCE)
        trip = _Trip(scene, flow, asyncio.create_task(_play(flow, scene)))
        self.trips.append(trip)
        return trip

    async def flow_for(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.begin()
            await asyncio.sleep(EVERY_SECONDS)


async def play(site: Site, fault: Fault, *, family: str, seconds: float | None = None, last: bool = False) -> Result:
    """Play a case; `seconds`: how long the fault stands at most; `last`: nothing is played here afterwards."""
    lane, cuts = site.lane, sum(proxy.cuts for proxy in site.proxies.values())
    await lane.change(Setting("postgresql", family))
    await lane.ready()
    lane.arm([])
    told = told_until_now(site.directory)
    traffic = _Traffic(lane)
    began_before = [traffic.begin(FLOWS["happy"]) for _ in range(BEFORE)]
    await _until_open(began_before)
    if fault.calm:
        await _calm_down(site)
    began = time.monotonic()
    async with fault.stage(site):
        site.desk.release()
        await traffic.flow_for(fault.seconds if seconds is None else min(seconds, fault.seconds))
    ended = time.monotonic()
    opens_seconds = await _works_again(lane, traffic, ended)
    await asyncio.gather(*(trip.playing for trip in traffic.trips))
    left_over = [await trip.scene.rest(trip.flow.announced) for trip in traffic.trips]
    rest_seconds = time.monotonic() - ended
    restarts = len(lane.deaths)
    played = [
        await _judge(lane, trip, left, Case(Setting("postgresql", family), fault.name), fault)
        for trip, left in zip(traffic.trips, left_over, strict=True)
    ]
    books = await close_books(lane, played, last=last)
    violations = list(dict.fromkeys(violation for judged in books for violation in judged.violations))
    if opens_seconds is None:
        violations.append(Violation(Breach.STUCK, f"no trip was opened within {WORKS_WITHIN_SECONDS:.0f} s"))
    violations += surprises_since(site.directory, told)
    return Result(
        fault=fault,
        trips=len(traffic.trips),
        cuts=sum(proxy.cuts for proxy in site.proxies.values()) - cuts,
        restarts=restarts,
        stood_seconds=ended - began,
        opens_seconds=opens_seconds,
        rest_seconds=rest_seconds,
        violations=tuple(violations),
    )


async def _play(flow: Flow, scene: Scene) -> None:
    with suppress(InVain):  # noted by the scene; the judge says what it means
        await flow.play(scene)


async def _until_open(trips: Sequence[_Trip]) -> None:
    async with asyncio.timeout(OPEN_SECONDS):
        await asyncio.gather(*(trip.scene.until_announced(OPENED) for trip in trips))


async def _calm_down(site: Site) -> None:
    """Have nobody say anything, and wait until the queues are empty."""
    site.desk.hold()
    async with asyncio.timeout(CALM_SECONDS):
        for _ in range(2):  # what is in hand at the first look is dealt with at the second
            await asyncio.sleep(1.0)
            await site.desk.calm()


async def _works_again(lane: Lane, traffic: _Traffic, ended: float) -> float | None:
    fresh: list[_Trip] = []
    next_at = 0.0
    while (waited := time.monotonic() - ended) <= WORKS_WITHIN_SECONDS:
        if waited >= next_at:
            fresh.append(traffic.begin(FLOWS["happy"]))
            next_at += EVERY_SECONDS
        if any(trip.is_open for trip in fresh) and await lane.is_ready():
            return time.monotonic() - ended
        await asyncio.sleep(POLL_SECONDS)
    return None


async def _judge(lane: Lane, trip: _Trip, left_over: dict[str, int], case: Case, fault: Fault) -> Played:
    promise, evidence = promise_of(trip.flow, trip.scene), await look(lane, trip.scene, left_over)
    if fault.ends_worker:
        evidence = replace(evidence, deaths=())
    found = Judged(case=case, struck=(), violations=tuple(judge(promise, evidence)), notes=tuple(trip.scene.notes))
    return Played(found, promise, evidence, trip.scene.openid)
