"""A sample of the answer certificate, the same at every run by its seed; `make answer-certificate` plays it whole."""

import logging
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from payscore_worker.domain.decisions import VERBS
from tests.answers import plan
from tests.answers.answers import ANSWERS, GROUPS
from tests.answers.bugs import BUGS
from tests.answers.cases import Case, Result, parse
from tests.answers.laws import Breach
from tests.answers.pool import play_here
from tests.answers.verbs import is_documented

SEED = 20_260_601

SAMPLE = 90
"""Cases on SQLite, of some fifty milliseconds each."""

ON_POSTGRESQL = 12

# The sample takes half a minute of processor time; beside other tests on two cores, that may be minutes.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the workers say of wrong answers is no news."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def broken(results: list[Result]) -> dict[str, list[str]]:
    return {one.case.name: [str(violation) for violation in one.violations] for one in results if one.violations}


def test_no_answer_to_any_call_of_any_flow_breaks_a_law() -> None:
    clean = play_here(plan.clean_runs(["sqlite"]))
    cases = plan.sample(plan.struck_cases(clean), random.Random(SEED), SAMPLE)  # noqa: S311 - no secret
    struck = play_here(cases)
    elsewhere = play_here([replace(case, database="postgresql") for case in cases[:ON_POSTGRESQL]])

    assert broken([*clean, *struck, *elsewhere]) == {}
    assert sum(one.struck for one in struck) > SAMPLE * 0.9


@pytest.mark.parametrize("bug", BUGS)
def test_the_laws_catch_a_seeded_bug(bug: str) -> None:
    case = f"[{bug}] {BUGS[bug].cases[0]}"
    (result,) = play_here([parse(case)])

    assert result.violations
    assert Breach.SURPRISE not in {violation.breach for violation in result.violations}  # it is no bug then, but broken


def test_a_case_can_be_played_again_by_its_name() -> None:
    names = [
        "sqlite payafter settle; one worker",
        "postgresql serviceorder cancel at once; one of two misled; create #1; lost, then html 403; for an hour",
        "[ends over one 404] sqlite payafter in one breath; two workers; query #2; ORDER_NOT_ EXIST; once",
    ]

    assert [parse(name).name for name in names] == names


@pytest.mark.parametrize(
    "name",
    [
        "",
        "oracle payafter settle; one worker",
        "sqlite payafter settle; three workers",
        "sqlite payafter settle; one worker; create #1; no such answer; once",
        "sqlite payafter settle; one worker; create #1; SIGN_ERROR; for ever",
        "sqlite payafter settle; one worker; charge #1; SIGN_ERROR; once",
        "[no such bug] sqlite payafter settle; one worker",
    ],
)
def test_a_name_that_names_no_case_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no case"):
        parse(name)


def test_every_answer_has_a_name_of_its_own() -> None:
    assert len(ANSWERS) == sum(len(group) for group in GROUPS.values())


def test_every_case_can_be_played_again_by_its_name() -> None:
    clean = play_here([Case(database="sqlite", family="payafter", flow="settle")])
    cases = plan.struck_cases(clean)

    assert [parse(case.name) for case in cases] == cases


@pytest.mark.parametrize("code", [*VERBS, "PARAM_ERROR", "unclear"])
def test_the_verb_that_ends_a_problem_stands_in_the_runbook(code: str) -> None:
    assert is_documented(code)
