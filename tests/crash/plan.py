"""What the certificate plays: every point once, then pairs, then crashes of the recovery, then the seeded bugs."""

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tests.crash.bugs import BUGS
from tests.crash.cases import DATABASES, FAMILIES, Case, Result, points_of
from tests.crash.flows import FLOWS
from tests.crash.lane import Setting, role_of
from tests.crash.points import Passed

RECOVERY_POINTS: Final = 20
"""A role that starts again has passed so many points when it has caught up, give or take; then it is at work again."""

BUG_SETTINGS: Final = (Setting("postgresql", "payafter"), Setting("sqlite", "serviceorder"))
"""The bugs take turns: what they break does not depend on database and family."""

CASES_OF_A_PLAIN_BUG: Final = 8
"""A bug that breaks a flow without any crash is broken enough; so many crashes are tried all the same."""


def clean_runs(settings: Iterable[Setting], flows: Iterable[str] = FLOWS) -> list[Case]:
    """Play each flow without a crash: that counts its points."""
    flows = list(flows)
    return [Case(setting, flow) for setting in settings for flow in flows if setting.family in FLOWS[flow].families]


def all_settings() -> list[Setting]:
    """Name every database with every family."""
    return [Setting(database, family) for database in DATABASES for family in FAMILIES]


def single_crashes(clean: Iterable[Result]) -> list[Case]:
    """Crash once, at every point that a clean run has passed."""
    return [Case(run.case.setting, run.case.flow, (point,)) for run in clean for point in points_of(run)]


def pairs(singles: Iterable[Result], chance: random.Random, count: int) -> list[Case]:
    """Crash at one point, and then at another that was passed after the first, in whichever role it lies."""
    drawn = []
    for run in _draw(singles, chance, count):
        second = chance.choice([passed.point for passed in _afterwards(run)])
        drawn.append(Case(run.case.setting, run.case.flow, (*run.case.crashes, second)))
    return drawn


def recovery_crashes(singles: Iterable[Result], chance: random.Random, count: int) -> list[Case]:
    """Crash at a point, and again while the role that died takes up what it left: at its so-many-th point."""
    drawn = []
    for run in _draw(singles, chance, count):
        first = run.case.crashes[0]
        passed = sum(role_of(passed.point) == role_of(first) for passed in _afterwards(run))
        second = f"{role_of(first)} #{chance.randint(1, min(passed, RECOVERY_POINTS))}"
        drawn.append(Case(run.case.setting, run.case.flow, (first, second)))
    return drawn


def _afterwards(run: Result) -> list[Passed]:
    """List what was passed after the crash; both roles then count anew."""
    last = max((passed.generation for passed in run.passed), default=0)
    return [passed for passed in run.passed if passed.generation == last]


def _draw(singles: Iterable[Result], chance: random.Random, count: int) -> list[Result]:
    """Take turns among the settings; draw among the cases in which the role that died did something afterwards."""
    by_setting: dict[Setting, list[Result]] = {}
    for run in sorted(singles, key=lambda result: result.case.name):
        if run.reached and len({passed.generation for passed in run.passed}) > 1 and _came_back(run):
            by_setting.setdefault(run.case.setting, []).append(run)
    settings = list(by_setting)
    return [chance.choice(by_setting[settings[index % len(settings)]]) for index in range(count if settings else 0)]


def _came_back(run: Result) -> bool:
    role = role_of(run.case.crashes[0])
    return any(role_of(passed.point) == role for passed in _afterwards(run))


def bug_runs(flows: Iterable[str] = FLOWS) -> list[Case]:
    """Play every flow of every bug without a crash; the bugs take turns at the settings whose family has the flow."""
    flows = set(flows)
    return [
        Case(replace(_turn(name, flow), bug=name), flow)
        for name, bug in BUGS.items()
        for flow in bug.flows
        if flow in flows
    ]


def _turn(bug: str, flow: str) -> Setting:
    fitting = [setting for setting in BUG_SETTINGS if setting.family in FLOWS[flow].families]
    return fitting[list(BUGS).index(bug) % len(fitting)]


def bug_crashes(clean: Iterable[Result], chance: random.Random) -> list[Case]:
    """Crash a bug at every point of its flows; at a few where it shows without."""
    drawn = []
    for run in clean:
        points = points_of(run)
        if run.violations:
            points = chance.sample(points, min(CASES_OF_A_PLAIN_BUG, len(points)))
        drawn += [Case(run.case.setting, run.case.flow, (point,)) for point in points]
    return drawn
