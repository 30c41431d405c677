"""A case: many trips before, during and after a failure; the longest pause, and whether the laws hold."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import text

from tests.clusters.failures import Failure, arrange
from tests.clusters.ground import Ground
from tests.crash.cases import Case, Played, close_books, look, promise_of
from tests.crash.cases import Result as Judged
from tests.crash.flows import FLOWS, OPENED
from tests.crash.lane import Setting
from tests.crash.laws import Violation, judge
from tests.crash.scene import InVain, Patience, Scene
from tests.faults.surprises import surprises_since, told_until_now

EVERY_SECONDS: Final = 0.1
"""How often a trip begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long trips begin: before a failure, while it stands, and after it, in seconds."""

    before: float = 8.0
    stands: float = 25.0
    """Shorter than the others take to declare a frozen node dead: the worker must do without that."""
    after: float = 17.0


WHOLE: Final = Times()

PATIENCE: Final = Patience(seconds=300.0, still_seconds=300.0)
POLL_SECONDS: Final = 0.2

HAPPY: Final = FLOWS["happy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it went."""

    failure: Failure
    trips: int
    settled: int
    """Those of which every law holds."""
    pause_seconds: float
    """The longest time in which no trip was opened, though one began every tenth of a second."""
    silence_seconds: float
    """The longest time in which the ride service heard of no opened trip."""
    rest_seconds: float
    """From the last trip's beginning until every trip was settled, and every queue and the outbox empty."""
    violations: tuple[Violation, ...]

    @property
    def is_in_time(self) -> bool:
        return self.pause_seconds <= self.failure.goal_seconds


async def play(ground: Ground, failure: Failure, *, family: str, times: Times = WHOLE, last: bool = False) -> Result:
    """Play a case; `last`: nothing is played here afterwards."""
    lane = ground.lane
    setting = Setting("postgresql", family)
    await lane.change(setting)
    await lane.ready()
    lane.arm([])
    places = await arrange(ground, failure.where)
    told = told_until_now(ground.directory)
    trips: list[tuple[Scene, asyncio.Task[None]]] = []
    struck = await _trips_begin(ground, trips, times.before)
    going_on = asyncio.create_task(_trips_begin(ground, trips, times.stands + times.after))
    async with failure.stage(ground, places):
        await asyncio.sleep(times.stands)
    ended = await going_on
    await asyncio.gather(*(playing for _, playing in trips))
    scenes = [scene for scene, _ in trips]
    left_over = await _rest(ground, scenes)
    rest_seconds = (datetime.now(UTC) - ended).total_seconds()
    pause_seconds = _longest_gap(await _times_opened(ground), struck, ended)
    heard = [one.at for scene in scenes for one in ground.desk.heard(scene.trip_id) if one.type == OPENED]
    case = Case(setting, failure.name)
    ledger = await lane.tell_wechatpay("GET", "/admin/ledger")
    played = [await _judged(ground, scene, left_over, ledger, case) for scene in scenes]
    books = await close_books(lane, played, last=last)
    violations = [violation for judged in books for violation in judged.violations]
    return Result(
        failure=failure,
        trips=len(scenes),
        settled=sum(not judged.violations for judged in books),
        pause_seconds=pause_seconds,
        silence_seconds=_longest_gap(sorted(heard), struck, ended),
        rest_seconds=rest_seconds,
        violations=(*dict.fromkeys(violations), *surprises_since(ground.directory, told)),
    )


async def _trips_begin(ground: Ground, trips: list[tuple[Scene, asyncio.Task[None]]], seconds: float) -> datetime:
    """Begin trips for so long; returns when that was over."""
    began = time.monotonic()
    for number in range(round(seconds / EVERY_SECONDS)):
        await asyncio.sleep(max(0.0, began + number * EVERY_SECONDS - time.monotonic()))
        scene = Scene(ground.lane, PATIENCE)
        trips.append((scene, asyncio.create_task(_play(scene))))
    return datetime.now(UTC)


async def _play(scene: Scene) -> None:
    with suppress(InVain):  # noted by the scene; the judge says what it means
        await HAPPY.play(scene)


async def _rest(ground: Ground, scenes: Sequence[Scene]) -> dict[str, int]:
    """Wait until every trip is announced to its end, and all is empty."""
    while any(not HAPPY.announced <= {heard.type for heard in ground.desk.heard(one.trip_id)} for one in scenes):
        if scenes[-1].seconds > PATIENCE.seconds:
            break
        await asyncio.sleep(POLL_SECONDS)
    return await scenes[-1].rest(HAPPY.announced)


async def _judged(
    ground: Ground, scene: Scene, left_over: dict[str, int], ledger: Mapping[str, Any], case: Case
) -> Played:
    promise, evidence = promise_of(HAPPY, scene), await look(ground.lane, scene, left_over, ledger)
    found = Judged(case=case, struck=(), violations=tuple(judge(promise, evidence)), notes=tuple(scene.notes))
    return Played(found, promise, evidence, scene.openid)


async def _times_opened(ground: Ground) -> list[datetime]:
    async with ground.lane.engine.connect() as connection:
        opened = await connection.execute(
            text("SELECT at FROM trip_event WHERE type = :type AND direction = 'out' ORDER BY at"), {"type": OPENED}
        )
        return [at for (at,) in opened]


def _longest_gap(times: Sequence[datetime], struck: datetime, ended: datetime) -> float:
    """Find the longest time between two of these from the failure until the last trip's beginning, in seconds."""
    last_before = max((at for at in times if at <= struck), default=struck)
    within = [last_before, *(at for at in times if struck < at <= ended), ended]
    return max(later - earlier for earlier, later in pairwise(within)).total_seconds()
