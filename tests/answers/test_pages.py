"""What a run has found is written in both languages, and tells a law that held from one that did not."""

import pytest

from tests.answers.bugs import BUGS
from tests.answers.cases import Result, parse
from tests.answers.certificate import Certificate, Size, Surroundings
from tests.answers.laws import Breach, Violation
from tests.answers.pages import CHINESE, ENGLISH, findings
from tests.pages import Words

SURROUNDINGS = Surroundings(date="2026-06-01", python="3.11", postgresql="15", sqlite="3.40", machine="2 cores")
STRUCK = "sqlite payafter settle; one worker; create #1; SIGN_ERROR; once"


def a_result(name: str, *breaches: Breach, struck: bool = True) -> Result:
    violations = tuple(Violation(breach, "so it is") for breach in breaches)
    return Result(case=parse(name), struck=struck, violations=violations, seconds=0.1)


def a_certificate(*struck: Result) -> Certificate:
    caught = [a_result(f"[{name}] {bug.cases[0]}", Breach.STUCK) for name, bug in BUGS.items()]
    clean = [a_result("sqlite payafter settle; one worker", struck=False)]
    return Certificate(size=Size(), surroundings=SURROUNDINGS, clean=clean, whole=list(struck), bugs=caught)


def test_both_languages_say_the_same() -> None:
    assert ENGLISH.keys() == CHINESE.keys()
    assert {*Breach} <= ENGLISH.keys()


@pytest.mark.parametrize("words", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_a_certificate_that_holds_says_so_and_lists_nothing_broken(words: Words) -> None:
    certificate = a_certificate(a_result(STRUCK))
    written = findings(certificate, words)

    assert certificate.ok
    assert words["held"].partition(" ")[0] in written
    assert f"### {words['breaches']}" not in written


@pytest.mark.parametrize("words", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_a_broken_law_is_named_with_the_case_that_shows_it(words: Words) -> None:
    certificate = a_certificate(a_result(STRUCK, Breach.MONEY))

    assert not certificate.ok
    assert f"* `{STRUCK}`: money: so it is" in findings(certificate, words)


def test_a_bug_that_no_case_has_shown_is_named() -> None:
    certificate = a_certificate(a_result(STRUCK))
    missed = certificate.bugs.pop().case.bug

    assert certificate.uncaught == [missed]
    assert missed in findings(certificate, ENGLISH).splitlines()[0]


def test_a_call_that_was_not_made_counts_apart() -> None:
    certificate = a_certificate(a_result(STRUCK), a_result(STRUCK, struck=False))

    assert "| every answer, on sqlite | 1 |" in findings(certificate, ENGLISH)
