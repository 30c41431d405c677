"""The tables of docs/state-table.md are the decisions; each of their cells is a test."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from payscore_worker import outcomes
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from payscore_worker.trip import OrderPhase, OrderSeen, Trip, next_step, note_cancelled, note_ended, note_started
from tests.builders import NOW, PAYAFTER, SITUATIONS, a_cancellation, a_doubt, a_start, an_end, an_order

PAGE: Final = Path(__file__).parents[2] / "docs" / "state-table.md"

FACTS: Final[Mapping[str, Callable[[Trip], Trip]]] = {
    "start": lambda trip: note_started(trip, a_start()),
    "another start": lambda trip: note_started(trip, a_start(openid="oAnother")),
    "end": lambda trip: note_ended(trip, an_end()),
    "another end": lambda trip: note_ended(trip, an_end(total_fen=1)),
    "cancellation": lambda trip: note_cancelled(trip, a_cancellation()),
    "another cancellation": lambda trip: note_cancelled(trip, a_cancellation(reason="司机取消")),
}

WORDS: Final[Mapping[str, OrderSeen]] = {
    **{phase.value: an_order(phase) for phase in OrderPhase},
    "COLLECTING, other total": an_order(OrderPhase.COLLECTING, total_fen=3_199),
    "DONE, less paid": an_order(OrderPhase.DONE, paid_fen=3_199),
    "DONE, other transaction": an_order(OrderPhase.DONE, transaction_id="4200002"),
}

STEPS: Final[Mapping[str, tuple[str, str, bool]]] = {
    "create": ("creating", "OpenOrder", False),
    "create, uncertain": ("creating", "OpenOrder", True),
    "complete": ("completing", "CompleteOrder", False),
    "complete, uncertain": ("completing", "CompleteOrder", True),
    "cancel": ("cancelling", "CancelOrder", False),
    "query": ("completed", "AskOrder", False),
    "service state": ("started", "AskServiceState", False),
}


def cells(heading: str) -> list[tuple[str, str, str]]:
    """Read one table of the page: row, column, cell."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    return [(row, column, cell) for row, *values in rows for column, cell in zip(header[1:], values, strict=True)]


def described(before: Trip, change: Callable[[Trip], Trip]) -> str:
    """Say in the page's words what a change makes of a trip."""
    try:
        after = change(before)
    except (ConflictingFact, IllegalTransition) as error:
        return f"✘ {type(error).__name__}"
    if after == before:
        return "="
    if after.problem is not None:
        return f"problem {after.problem.code}"
    reason = f" {after.declined.reason}" if after.declined is not None and after.declined != before.declined else ""
    return f"{after.state.value}{reason} → {type(next_step(after, NOW, PAYAFTER)).__name__}"


@pytest.mark.parametrize(("situation", "fact", "decided"), cells("Facts"))
def test_a_fact_in_a_situation_has_its_decided_outcome(situation: str, fact: str, decided: str) -> None:
    trip = SITUATIONS[situation]()

    if fact == "needs":
        assert type(next_step(trip, NOW, PAYAFTER)).__name__ == decided
    else:
        assert described(trip, FACTS[fact]) == decided


@pytest.mark.parametrize(("situation", "word", "decided"), cells("What WeChat Pay shows"))
def test_what_wechat_shows_in_a_situation_has_its_decided_outcome(situation: str, word: str, decided: str) -> None:
    assert described(SITUATIONS[situation](), lambda trip: outcomes.see(trip, WORDS[word], NOW)) == decided


@pytest.mark.parametrize(("refusal", "call", "decided"), cells("Refusals"))
def test_a_refusal_of_a_call_has_its_decided_outcome(refusal: str, call: str, decided: str) -> None:
    situation, step, uncertain = STEPS[call]
    doubt = a_doubt(Refusal(refusal), code="CODE", step=step, uncertain=uncertain)

    assert described(SITUATIONS[situation](), lambda trip: outcomes.refused(trip, doubt, NOW)) == decided


def test_the_tables_decide_every_case() -> None:
    facts, words, refusals = (cells(name) for name in ("Facts", "What WeChat Pay shows", "Refusals"))

    assert {(row, column) for row, column, _ in facts} == {
        (situation, fact) for situation in SITUATIONS for fact in ("needs", *FACTS)
    }
    assert {(row, column) for row, column, _ in words} == {(s, word) for s in SITUATIONS for word in WORDS}
    assert {(row, column) for row, column, _ in refusals} == {(r.value, call) for r in Refusal for call in STEPS}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("step", ["OpenOrder", "CompleteOrder", "CancelOrder"])
def test_the_third_refusal_of_a_call_stops_the_trip_for_a_person(situation: str, step: str) -> None:
    trip = replace(SITUATIONS[situation](), refusals=2)

    stopped = outcomes.refused(trip, a_doubt(Refusal.WRONG_STATE, step=step), NOW)

    assert stopped.problem is not None
