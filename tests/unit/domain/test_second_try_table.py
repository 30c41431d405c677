"""The trips that are tried again for less, in docs/state-table.md: run against the code, and against the laws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import due_at, next_step
from payscore_worker.domain.second_try import PAUSES, first_over, first_refused, first_seen, second_try_of
from payscore_worker.domain.trip import (
    LATE_LOOK,
    OrderPhase,
    Trip,
    note_cancelled,
    note_ended,
)
from payscore_worker.errors import Refusal
from tests.builders import (
    NOW,
    PAYAFTER,
    SECOND_SITUATIONS,
    SITUATIONS,
    TRYING_AGAIN,
    a_cancellation,
    a_doubt,
    an_end,
    an_order,
)
from tests.unit.domain import state_table
from tests.unit.domain.state_table import CANNOT_BE, Cell, broken, by_row, differing, rules, table

AFTER: Final[Mapping[str, timedelta]] = {
    "needs": timedelta(0),
    "needs, when the look is due": LATE_LOOK + outcomes.APART,
}

FACTS: Final[Mapping[str, Callable[[Trip], Trip]]] = {
    "end": lambda trip: note_ended(trip, an_end()),
    "end above the second amount": lambda trip: note_ended(trip, an_end(total_fen=10_001)),
    "cancellation": lambda trip: note_cancelled(trip, a_cancellation()),
}

WORDS: Final[Mapping[str, Callable[[Trip], Trip]]] = {
    "no order": lambda trip: first_seen(trip, None, NOW),
    "CREATED": lambda trip: first_seen(trip, an_order(OrderPhase.CREATED), NOW),
    "RUNNING": lambda trip: first_seen(trip, an_order(), NOW),
    "COLLECTING": lambda trip: first_seen(trip, an_order(OrderPhase.COLLECTING), NOW),
    "DONE": lambda trip: first_seen(trip, an_order(OrderPhase.DONE), NOW),
    "DONE for nothing": lambda trip: first_seen(trip, an_order(OrderPhase.DONE, total_fen=0, paid_fen=0), NOW),
    "REVOKED": lambda trip: first_seen(trip, an_order(OrderPhase.REVOKED), NOW),
    "EXPIRED": lambda trip: first_seen(trip, an_order(OrderPhase.EXPIRED), NOW),
    "refused": lambda trip: first_refused(trip, "CODE", "不能取消", NOW),
    "refused, sixth time": lambda trip: first_refused(_refused_before(trip), "CODE", "不能取消", NOW),
    "cancelled": first_over,
}

NEEDED: Final = "What a trip that is tried again needs"
SHOWN: Final = "What WeChat Pay shows of the first order"
TRIED: Final = "Which refusals are tried again"

TRIES: Final = ("no order, again", "no order, again, where nothing is set", "no order, again, of the second order")

TABLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    NEEDED: (tuple(SECOND_SITUATIONS), (*AFTER, *FACTS)),
    SHOWN: (tuple(SECOND_SITUATIONS), tuple(WORDS)),
    TRIED: (tuple(Refusal), TRIES),
}
"""Each table, its rows and its columns."""


def _refused_before(trip: Trip) -> Trip:
    return trip if trip.second is None else replace(trip, second=replace(trip.second, refusals=len(PAUSES)))


def cells(*headings: str) -> tuple[Cell, ...]:
    return tuple(cell for heading in headings or TABLES for cell in table(heading)[0])


# --- What the code makes of a cell ---


def described(before: Trip, change: Callable[[Trip], Trip]) -> str:
    """Say in the page's words what an event makes of a trip and its first order."""
    return state_table.described(before, change, marks=_marks, needed=needed)


def _marks(before: Trip, after: Trip) -> str:
    marks = []
    if after.second is not None is before.second:
        marks.append(", tried again")
    if after.second is not None and before.second is not None:
        if after.second.alive:
            marks.append(", runs")
        if after.second.look_at is None is not before.second.look_at:
            marks.append(", seen to")
        if after.second.refusals > before.second.refusals:
            marks.append(", later")
    return "".join(marks)


def needed(trip: Trip, after: timedelta = timedelta(0)) -> str:
    return type(next_step(trip, NOW + after, TRYING_AGAIN)).__name__


def outcome(cell: Cell) -> str:
    """Run a cell against the code."""
    if cell.table == TRIED:
        return _tried(cell)
    trip = SECOND_SITUATIONS[cell.row]()
    if cell.table == NEEDED:
        return described(trip, FACTS[cell.column]) if cell.column in FACTS else needed(trip, AFTER[cell.column])
    is_over = "seen to" in cell.row and cell.column in ("refused", "refused, sixth time")
    if trip.problem is not None or is_over or (cell.column == "cancelled" and "runs" not in cell.row):
        return CANNOT_BE  # nothing is asked of a trip that stands still, and nothing cancelled that is not seen to run
    return described(trip, WORDS[cell.column])


def _tried(cell: Cell) -> str:
    column, rules = cell.column, TRYING_AGAIN if "nothing" not in cell.column else PAYAFTER
    before = SECOND_SITUATIONS["second asked for"]() if "second order" in column else SITUATIONS["creating"]()
    absent, now = a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder"), NOW + outcomes.APART

    def again(trip: Trip) -> Trip:
        refused = outcomes.refused(trip, a_doubt(Refusal(cell.row), step="OpenOrder"), NOW)
        missed = outcomes.not_found(refused, absent, NOW, certain=True)
        second = second_try_of(missed, rules, now, prefix="")
        return outcomes.not_found(missed, absent, now, certain=True, second=second)

    return described(before, again)


# --- The code does what the page says ---


@pytest.mark.parametrize("row", by_row(cell for cell in cells() if cell.text != CANNOT_BE))
def test_the_code_does_what_the_page_says(row: tuple[Cell, ...]) -> None:
    assert differing(row, outcome) == []


@pytest.mark.parametrize("heading", TABLES)
def test_the_tables_decide_every_case(heading: str) -> None:
    rows, columns = TABLES[heading]

    assert [(cell.row, cell.column) for cell in cells(heading)] == [(row, name) for row in rows for name in columns]


# --- The page says what the rules demand ---


@pytest.mark.parametrize("heading", TABLES)
def test_every_row_names_the_rules_it_follows_from(heading: str) -> None:
    for row, cited in table(heading)[1].items():
        assert cited, f"{row} names no rule"
        assert set(cited.split(", ")) <= rules(), f"{row} names a rule that the page does not state"


def test_only_risk_is_tried_again_and_only_once_and_only_where_it_is_set() -> None:
    """A.2: an explicit policy, and no retry."""
    again = [cell for cell in cells(TRIED) if cell.says("tried again")]

    assert [(cell.row, cell.column) for cell in again] == [("risk_refused", "no order, again")]


def test_no_word_on_the_first_order_moves_the_trip() -> None:
    """Design 11: the second is the one that is paid; only what is for a person stops it."""
    for cell in cells(SHOWN):
        before = SECOND_SITUATIONS[cell.row]().state.value
        assert cell.text in ("=", CANNOT_BE) or cell.problem or cell.state == before


def test_a_first_order_that_runs_is_cancelled_whatever_became_of_the_trip() -> None:
    """B.5: an order that is left alone harms the passenger."""
    rests = [cell for cell in cells(NEEDED) if cell.column == "needs" and "first runs" in cell.row]

    assert not broken(rests, lambda cell: cell.text == "CancelFirstOrder" or "cancel refused" in cell.row)


def test_a_first_order_is_looked_at_in_the_end_wherever_the_trip_stands() -> None:
    """F.5 c: two unsigned answers stood for a word, so the first order is looked at once more."""
    for name, situation in SECOND_SITUATIONS.items():
        trip = situation()
        is_seen_to = trip.second is None or trip.second.look_at is None
        waits = trip.problem is not None or needed(trip) not in ("Rest", "AskFirstOrder", "CancelFirstOrder")
        at = due_at(trip, NOW, TRYING_AGAIN)
        assert is_seen_to or waits or (at is not None and at <= NOW + LATE_LOOK + outcomes.APART), name


def test_money_for_the_first_order_is_for_a_person() -> None:
    """Design 11: nobody completed it but somebody else, so the passenger may pay twice."""
    collected = [cell for cell in cells(SHOWN) if cell.column in ("COLLECTING", "DONE") and "seen to" not in cell.row]

    assert not broken(collected, lambda cell: cell.problem == "first_order_collects")
