"""What the certificate plays: every answer to every call of every flow, and the seeded bugs."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from payscore_worker.simulator import CallKind
from tests.answers.answers import CONTRADICTIONS, GROUPS, LIES, PROXIES, Answer
from tests.answers.bugs import BUGS
from tests.answers.cases import CREWS, FAMILIES, Case, Result, parse
from tests.answers.flows import FLOWS
from tests.answers.strikes import FOR_ALL, HOUR, MINUTE, ONCE, Strike

ALONE: Final = "one worker"

MAX_NUMBER: Final = 2
"""The first two calls of a kind: of a payafter order the first query fetches the ticket, the later ones poll."""


def clean_runs(databases: Iterable[str], flows: Iterable[str] = FLOWS) -> list[Case]:
    """Play every flow with right answers: that counts its calls."""
    flows = list(flows)
    return [
        Case(database=database, family=family, flow=flow, crew=crew)
        for database in databases
        for family in FAMILIES
        for flow in flows
        if family in FLOWS[flow].families
        for crew in CREWS
    ]


def struck_cases(clean: Iterable[Result]) -> list[Case]:
    """Answer every call of a clean run in every way, for every extent."""
    return [case for run in clean for case in _struck(run)]


def _struck(run: Result) -> Iterator[Case]:
    case = run.case
    for call, number in _points(run):
        for answers in GROUPS.values():
            for answer in answers:
                for extent in _extents(case.crew, answer) if call in answer.calls else ():
                    strike = Strike(call=call, number=number, answer=answer, extent=extent)
                    yield Case(
                        database=case.database, family=case.family, flow=case.flow, crew=case.crew, strike=strike
                    )


def _points(run: Result) -> list[tuple[CallKind, int]]:
    """Name the calls to strike; of two workers, each makes the first of its kind."""
    most = MAX_NUMBER if run.case.crew == ALONE else 1
    struck = FLOWS[run.case.flow].struck
    return [(call, number) for call, number in run.calls if number <= most and call in struck]


def _extents(crew: str, answer: Answer) -> Sequence[str]:
    """Say for how long: alone, everything; of two, what only two can meet."""
    if answer in CONTRADICTIONS:
        return (ONCE, HOUR) if crew == ALONE else (HOUR,)
    if answer in LIES:
        return (ONCE, MINUTE) if crew == ALONE else (ONCE,)
    if crew != ALONE:
        return (ONCE,) if answer in PROXIES else (ONCE, MINUTE)
    return (ONCE, MINUTE, f"{FOR_ALL} {HOUR}" if answer.lasts_for_all else HOUR)


def bug_cases(flows: Iterable[str] = FLOWS) -> list[Case]:
    """Play every bug where it should show."""
    flows = set(flows)
    cases = [parse(f"[{name}] {case}") for name, bug in BUGS.items() for case in bug.cases]
    return [case for case in cases if case.flow in flows]


def sample(cases: Sequence[Case], chance: random.Random, count: int) -> list[Case]:
    """Draw some."""
    return chance.sample(cases, min(count, len(cases)))
