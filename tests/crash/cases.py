"""A case: a setting, a flow, and where to crash. It has a name by which it can be played again, and a result."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.crash.bugs import BUGS
from tests.crash.flows import FLOWS, Flow
from tests.crash.lane import LONG_QUIET_SECONDS, POLL_SECONDS, Lane, Setting
from tests.crash.laws import Evidence, Promise, Violation, judge
from tests.crash.points import Passed
from tests.crash.scene import InVain, Patience, Scene, orders_of

PATIENCE: Final = Patience(seconds=60.0, still_seconds=15.0)
"""A case takes two seconds, and something moves in each; this is for a machine that is busy with other tests."""

IMPATIENCE: Final = Patience(seconds=15.0, still_seconds=4.0)
"""A seeded bug is there to break the laws; its victims need not be waited for as long."""

MAX_TRIES: Final = 3
"""Where two tasks of a role take turns by chance, a point may not come up; then the case is played again."""

GONE_SECONDS: Final = 10.0
"""For RabbitMQ to notice that a killed worker has gone; the kernel tells it at once."""

DATABASES: Final = ("postgresql", "sqlite")
FAMILIES: Final = ("payafter", "serviceorder")

_NAME: Final = re.compile(
    r"(?:\[(?P<bug>.+)\] )?(?P<database>\w+) (?P<family>\w+) (?P<flow>[\w ]+?)(?:: (?P<points>.+))?"
)


@dataclass(frozen=True, slots=True)
class Case:
    """What to play."""

    setting: Setting
    flow: str
    crashes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Write it so that `parse` reads it."""
        bug = f"[{self.setting.bug}] " if self.setting.bug else ""
        crashes = f": {'; '.join(self.crashes)}" if self.crashes else ""
        return f"{bug}{self.setting.database} {self.setting.family} {self.flow}{crashes}"


def parse(name: str) -> Case:
    """Read the name of a case.

    Raises:
        ValueError: it is none; the text says what one looks like.

    """
    found = _NAME.fullmatch(name)
    if found is None or found["flow"] not in FLOWS or found["database"] not in DATABASES:
        raise ValueError(f"no case {name!r}: one is called like 'postgresql payafter happy: worker save after #2'")
    if found["family"] not in FAMILIES or (found["bug"] or next(iter(BUGS))) not in BUGS:
        raise ValueError(f"no case {name!r}: families are {', '.join(FAMILIES)}, bugs are {', '.join(BUGS)}")
    crashes = tuple(point.strip() for point in (found["points"] or "").split(";") if point.strip())
    return Case(Setting(found["database"], found["family"], found["bug"] or ""), found["flow"], crashes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it went."""

    case: Case
    struck: tuple[str, ...]
    """The points at which a role died, as told."""
    violations: tuple[Violation, ...]
    passed: tuple[Passed, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether every crash happened."""
        return len(self.struck) == len(self.case.crashes)


@dataclass(frozen=True, slots=True)
class Played:
    """A case that is over, for as long as its lane can still change its mind about it."""

    result: Result
    promise: Promise
    evidence: Evidence
    openid: str

    def again(self, evidence: Evidence) -> Result:
        """Judge once more, by what is found now; what was found already counts once."""
        found = self.result.violations
        later = [violation for violation in judge(self.promise, evidence) if violation not in found]
        return replace(self.result, violations=(*found, *later))


async def play(lane: Lane, case: Case) -> Played:
    """Play a case until every crash has happened, or for as often as that is tried."""
    played = await _play_once(lane, case)
    for _ in range(MAX_TRIES - 1):
        if played.result.violations or played.result.reached:
            break
        played = await _play_once(lane, case)
    return played


async def close_books(lane: Lane, played: Sequence[Played], *, last: bool = False) -> list[Result]:
    """Look once more at cases that are over: what came late, and what a role held back until its end.

    The lane is then made ready for the next case, unless this was the last.
    """
    await asyncio.sleep(LONG_QUIET_SECONDS)
    await lane.stop()
    ledger = await lane.tell_wechatpay("GET", "/admin/ledger")
    left_over = await _what_was_held(lane)
    results = []
    for one in played:
        orders = orders_of(ledger, openid=one.openid, trip_id=one.promise.trip_id)
        heard = lane.desk.heard(one.promise.trip_id, one.openid)
        held = left_over if one is played[-1] else {}
        results.append(one.again(replace(one.evidence, orders=orders, heard=heard, left_over=held)))
    if not last:
        await lane.wipe()
    return results


async def _what_was_held(lane: Lane) -> dict[str, int]:
    """Count what comes back to the queues when nobody consumes any more: it was neither acked nor waiting."""
    deadline = time.monotonic() + GONE_SECONDS
    while await lane.desk.consumers():
        if time.monotonic() > deadline:
            return {"the hands of a dead worker": 1}
        await asyncio.sleep(POLL_SECONDS)
    return {f"the worker's hands, of {queue}": count for queue, count in (await lane.desk.ready()).items()}


async def _play_once(lane: Lane, case: Case) -> Played:
    flow = FLOWS[case.flow]
    await lane.change(setting_of(case))
    lane.arm(case.crashes)
    scene = Scene(lane, IMPATIENCE if case.setting.bug else PATIENCE)
    with suppress(InVain):  # noted by the scene; the judge says what it means
        await flow.play(scene)
    left_over = await scene.rest(flow.announced)
    seconds = scene.seconds
    promise, evidence = promise_of(flow, scene), await look(lane, scene, left_over)
    violations = judge(promise, evidence)
    passed, struck = lane.passed(), tuple(lane.struck)
    lane.arm([])
    result = Result(
        case=case,
        struck=struck,
        violations=tuple(violations),
        passed=tuple(passed),
        seconds=seconds,
        notes=tuple(scene.notes),
    )
    return Played(result, promise, evidence, scene.openid)


def setting_of(case: Case) -> Setting:
    """Tell what the roles are started with for it: the flow may want more of them than the case names."""
    flow = FLOWS[case.flow]
    return replace(
        case.setting,
        confirm_expires=flow.confirm_expires,
        account=flow.account,
        second_risk_fen=flow.second_risk_fen,
    )


def promise_of(flow: Flow, scene: Scene) -> Promise:
    return Promise(
        trip_id=scene.trip_id,
        state=flow.state,
        owed_fen=flow.owed_fen,
        refunded_fen=flow.refunded_fen,
        paid_elsewhere_fen=flow.paid_elsewhere_fen,
        has_order=flow.has_order,
        asked_for=2 if flow.second_risk_fen else 1,
        authorisation=flow.authorisation,
        announced=flow.announced,
        accepted=frozenset(scene.accepted),
        refused={queue: frozenset(ids) for queue, ids in scene.refused.items()},
    )


async def look(
    lane: Lane, scene: Scene, left_over: dict[str, int], ledger: Mapping[str, Any] | None = None
) -> Evidence:
    """Look at everything that can be seen of a trip; `ledger`: WeChat Pay's books, where they have just been asked."""
    if ledger is None:
        ledger = await lane.tell_wechatpay("GET", "/admin/ledger")
    return Evidence(
        row=await lane.reports.trip(scene.trip_id),
        calls=await scene.calls(),
        events=await scene.events(),
        orders=orders_of(ledger, openid=scene.openid, trip_id=scene.trip_id),
        astray=await scene.astray(),
        authorisations=await scene.authorisations(),
        pre_authorised=await scene.pre_authorised(),
        heard=scene.heard(),
        dead=await lane.desk.take_dead(),
        left_over=left_over,
        deaths=tuple(lane.deaths),
        believed=tuple(scene.believed),
    )


def points_of(result: Result) -> list[str]:
    """List the points of a clean run, in order; those of starting up belong to no trip and are left out."""
    return [passed.point for passed in result.passed if " call certificates " not in passed.point]
