"""The fares of docs/state-table.md, read as the trips' tables are: run against the code, and against the laws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.fares import note_lowered, note_paid_elsewhere
from payscore_worker.domain.next_step import (
    Rules,
    next_step,
)
from payscore_worker.domain.outcomes import PAUSES
from payscore_worker.domain.trip import (
    OrderPhase,
    OrderSeen,
    Trip,
    TripState,
    fare_fen,
    note_ended,
    owed_fen,
    too_much_fen,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal, TooEarly
from tests.builders import (
    FARE_SITUATIONS,
    LOWERED_FEN,
    NOW,
    PAYAFTER,
    SERVICEORDER,
    SITUATIONS,
    a_doubt,
    a_lowered_fare,
    a_payment_elsewhere,
    an_end,
    an_order,
)
from tests.unit.domain.state_table import CANNOT_BE, Cell, broken, by_row, differing, rules, table

SOON: Final = NOW + timedelta(minutes=1)
"""Late enough for every margin, and too soon for the next poll of a collection."""

BEFORE: Final = (
    "started",
    "open",
    "ended, not started",
    "started and ended",
    "creating, ended",
    "open, ended",
    "completing",
    "declining",
    "cancelling",
    "completed",
    "waived",
    "paid",
    "declined",
    "cancelled",
    "with a problem",
)
"""The situations of a trip in which a fare is told of that was not told of before."""

ROWS: Final[Mapping[str, Callable[[], Trip]]] = {
    **{name: SITUATIONS[name] for name in BEFORE},
    "declined, ended": lambda: note_ended(SITUATIONS["declined"](), an_end()),
    **FARE_SITUATIONS,
}

FACTS: Final[Mapping[str, Callable[[Trip], Trip]]] = {
    "lower": lambda trip: note_lowered(trip, a_lowered_fare(1_000)),
    "the last word again": lambda trip: note_lowered(trip, trip.lowered[-1]),
    "not lower": lambda trip: note_lowered(trip, a_lowered_fare(3_200)),
    "an older word, late": lambda trip: note_lowered(
        trip, a_lowered_fare(2_500, lowered_at=NOW - timedelta(minutes=1))
    ),
    "paid elsewhere": lambda trip: note_paid_elsewhere(
        trip, a_payment_elsewhere(amount_fen=fare_fen(trip) if trip.ended else 3_200), NOW
    ),
    "paid elsewhere, another amount": lambda trip: note_paid_elsewhere(
        trip, a_payment_elsewhere(amount_fen=3_201), NOW
    ),
}

WORDS: Final[Mapping[str, OrderSeen]] = {
    "RUNNING": an_order(OrderPhase.RUNNING),
    "COLLECTING": an_order(OrderPhase.COLLECTING),
    "COLLECTING, the lower fare": an_order(OrderPhase.COLLECTING, total_fen=LOWERED_FEN),
    "COLLECTING, other total": an_order(OrderPhase.COLLECTING, total_fen=2_999),
    "DONE": an_order(OrderPhase.DONE),
    "DONE, the lower fare": an_order(OrderPhase.DONE, total_fen=LOWERED_FEN, paid_fen=LOWERED_FEN),
    "DONE, no debit": an_order(OrderPhase.DONE, debits=()),
    "REVOKED": an_order(OrderPhase.REVOKED),
}

REFUSED: Final[Mapping[str, tuple[str, str, str]]] = {
    "modify": ("lowered, sent", "LowerOrder", "once"),
    "modify, again": ("lowered, sent", "LowerOrder", "twice"),
    "modify, seventh time": ("lowered, sent", "LowerOrder", "seventh"),
    "sync": ("to be synced, sent", "SyncOrder", "once"),
    "sync, again": ("to be synced, sent", "SyncOrder", "twice"),
    "sync, seventh time": ("to be synced, sent", "SyncOrder", "seventh"),
    "pay": ("asked for, sent", "PayOrder", "once"),
    "pay, again": ("asked for, sent", "PayOrder", "twice"),
    "pay, seventh time": ("asked for, sent", "PayOrder", "seventh"),
}
"""The situation, the step, and how often it was refused; after the second and the seventh, the order is as it was."""


def _refused(row: str, column: str) -> tuple[Trip, Callable[[Trip], Trip]]:
    situation, step, times = REFUSED[column]
    trip, doubt = ROWS[situation](), a_doubt(Refusal(row), step=step, code="CODE")
    if times == "once":
        return trip, lambda trip: outcomes.refused(trip, doubt, NOW)
    refused_as = "not_permitted" if row == "not_enabled" else row
    trip = replace(trip, refusals=1 if times == "twice" else len(PAUSES), refused_as=refused_as)
    return trip, lambda trip: outcomes.asked(outcomes.refused(trip, doubt, NOW), an_order(OrderPhase.COLLECTING), NOW)


TOLD: Final = "A fare is lowered, or paid elsewhere"
SHOWN: Final = "What WeChat Pay shows of a fare"
REFUSALS: Final = "Refused calls about a fare"

TABLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    TOLD: (tuple(ROWS), ("needs, serviceorder", "needs, payafter", *FACTS)),
    SHOWN: (tuple(FARE_SITUATIONS), tuple(WORDS)),
    REFUSALS: (tuple(Refusal), tuple(REFUSED)),
}
"""Each table of fares, its rows and its columns."""


def cells(*headings: str) -> tuple[Cell, ...]:
    return tuple(cell for heading in headings or TABLES for cell in table(heading)[0])


# --- What the code makes of a cell ---


def described(before: Trip, change: Callable[[Trip], Trip]) -> str:
    """Say in the page's words what an event makes of a trip and its fare."""
    try:
        after = change(before)
    except (ConflictingFact, IllegalTransition, TooEarly) as error:
        return f"✘ {type(error).__name__}"
    if after == before:
        return "="
    if after.problem is not None and after.problem != before.problem:
        return f"problem {after.problem.code}"
    return f"{after.state.value}{_marks(before, after)} → {needed(after, SERVICEORDER)}"


def _marks(before: Trip, after: Trip) -> str:
    marks = []
    if before.ended is not None and owed_fen(after) < owed_fen(before) and after.end_time is not None:
        marks.append(", taken")
    if _is_left(after) and not _is_left(before):
        marks.append(", left")
    if after.look is not None and after.look.alive:
        marks.append(", runs")
    if after.look is not None and not after.look.alive:
        marks.append(", look")
    return "".join(marks)


def _is_left(trip: Trip) -> bool:
    """Tell whether WeChat is asked no more to lower the fare, or to collect at once."""
    return trip.lowering.refused if trip.lowering is not None else trip.asking is not None and not trip.asking.due


def needed(trip: Trip, under: Rules) -> str:
    terms = trip.opening and replace(trip.opening, terms=None)
    return type(next_step(replace(trip, opening=terms), SOON, under)).__name__


def outcome(cell: Cell) -> str:
    """Run a cell against the code."""
    if cell.table == REFUSALS:
        return described(*_refused(cell.row, cell.column))
    trip = ROWS[cell.row]()
    match cell.column:
        case "needs, serviceorder":
            return needed(trip, SERVICEORDER)
        case "needs, payafter":
            return needed(trip, PAYAFTER)
        case "the last word again" if not trip.lowered:
            return CANNOT_BE
        case column if cell.table == TOLD:
            return described(trip, FACTS[column])
        case column:
            return described(trip, lambda trip: outcomes.see(trip, WORDS[column], NOW))


# --- The code does what the page says ---


@pytest.mark.parametrize("row", by_row(cell for cell in cells() if cell.text != CANNOT_BE))
def test_the_code_does_what_the_page_says(row: tuple[Cell, ...]) -> None:
    assert differing(row, outcome) == []


@pytest.mark.parametrize("heading", TABLES)
def test_the_tables_decide_every_case(heading: str) -> None:
    rows, columns = TABLES[heading]

    assert [(cell.row, cell.column) for cell in cells(heading)] == [(row, name) for row in rows for name in columns]


# --- The page says what the rules demand ---

NOT_OWED: Final = ("cancelling", "cancelled", "waived")
ELSEWHERE: Final = tuple(row for row in FARE_SITUATIONS if "elsewhere" in row or "synced" in row or row == "paid twice")
ABOVE: Final = tuple(row for row in FARE_SITUATIONS if row.startswith(("lowered", "completing, lowered")))
"""The situations in which WeChat may collect more than the fare."""

FACTS_OF: Final = tuple(FACTS)


def told(*columns: str) -> list[Cell]:
    return [cell for cell in cells(TOLD) if cell.column in columns]


@pytest.mark.parametrize("heading", TABLES)
def test_every_row_names_the_rules_it_follows_from(heading: str) -> None:
    for row, cited in table(heading)[1].items():
        assert cited, f"{row} names no rule"
        assert set(cited.split(", ")) <= rules(), f"{row} names a rule that the page does not state"


def test_a_fare_goes_only_down() -> None:
    """Design 13: what is not below the present fare is refused, wherever the trip stands."""
    assert not broken(told("not lower"), lambda cell: cell.text.startswith("✘ "))


def test_the_same_word_again_changes_nothing() -> None:
    """Design 2."""
    assert not broken(told("the last word again"), lambda cell: cell.text == "=")
    assert not broken([cell for cell in told("paid elsewhere") if cell.row in ELSEWHERE], lambda cell: cell.text == "=")


def test_before_the_end_there_is_no_fare_to_lower_or_to_pay() -> None:
    """Design 2: facts come in any order, so it waits."""
    early = [cell for cell in told(*FACTS_OF) if cell.row in ("started", "open", "declined")]

    assert not broken(early, lambda cell: cell.text == "✘ TooEarly")


def test_what_is_not_collected_is_not_lowered_and_not_paid() -> None:
    """Design 2; B.7."""
    nothing = [cell for cell in told("lower", "paid elsewhere") if cell.row in NOT_OWED]

    assert not broken(nothing, lambda cell: cell.text in ("✘ ConflictingFact", "✘ IllegalTransition"))


def test_an_amount_that_is_not_the_fare_was_not_paid_for_it() -> None:
    """Design 14."""
    assert not broken(told("paid elsewhere, another amount"), lambda cell: cell.text.startswith("✘ "))


def test_wechat_is_asked_for_less_only_where_it_was_asked_for_more_and_once_its_bytes_are_out() -> None:
    """Design 13; B.10: until then the fare is replaced, and bytes on their way stay binding."""
    before = [cell for cell in told("lower") if cell.row in ("started and ended", "creating, ended", "open, ended")]
    on_their_way = [cell for cell in told("lower") if cell.row in ("completing", "completing, lowered")]
    collecting = [cell for cell in told("lower") if cell.state == "COMPLETED" and "problem" not in cell.row]

    assert not broken(before, lambda cell: cell.step in ("AskServiceState", "OpenOrder", "CompleteOrder"))
    assert not broken(on_their_way, lambda cell: cell.step == "CompleteOrder")
    assert not broken(collecting, lambda cell: cell.step == "LowerOrder")


def test_what_was_paid_above_the_fare_goes_back() -> None:
    """Design 13; design 11: it is never kept in silence."""
    lowered = [cell for cell in told("lower") if cell.state == "PAID"]
    collected = [cell for cell in cells(SHOWN) if cell.row in ABOVE and cell.column in ("DONE", "DONE, no debit")]

    assert not broken(lowered, lambda cell: cell.step == "SendBack")
    assert not broken(
        collected, lambda cell: cell.text.endswith("PAID → SendBack") or ", taken → SendBack" in cell.text
    )


def test_what_came_in_twice_is_for_a_person_or_goes_back() -> None:
    """Design 11; this page's setting is `problem`."""
    twice = [cell for cell in told("paid elsewhere") if cell.state == "PAID" and cell.row.startswith("paid")]
    debited = [
        cell for cell in cells(SHOWN) if cell.row in ELSEWHERE and cell.column == "DONE" and cell.row != "paid twice"
    ]

    assert not broken([*twice, *debited], lambda cell: cell.step == "Stop")


def test_nothing_more_is_collected_for_what_was_paid_elsewhere() -> None:
    """Design 11; B.7; B.9: cancelled before the complete, synced after it."""
    noted = [cell for cell in told("paid elsewhere") if cell.state in ("OPEN", "COMPLETED") and cell.step != "Rest"]

    assert not broken(
        noted,
        lambda cell: (
            cell.step
            == (
                "CompleteOrder"
                if cell.row.startswith("completing")
                else "SyncOrder"
                if cell.state == "COMPLETED"
                else "CancelOrder"
            )
        ),
    )


def test_no_order_is_opened_or_completed_for_what_was_paid_elsewhere() -> None:
    """Design 11: but for a complete whose bytes are out."""
    elsewhere = [cell for cell in cells() if cell.row in ELSEWHERE and not cell.row.startswith("completing")]

    assert not broken(elsewhere, lambda cell: cell.step not in ("OpenOrder", "CompleteOrder", "PayOrder", "LowerOrder"))


def test_an_amount_that_is_neither_ours_nor_the_fare_is_for_a_person() -> None:
    """0.4; design 14."""
    other = [
        cell
        for cell in cells(SHOWN)
        if cell.column == "COLLECTING, other total" and not cell.row.startswith(("paid above", "paid twice"))
    ]

    assert not broken(other, lambda cell: cell.problem != "")


def test_a_refusal_never_stops_what_need_not_succeed() -> None:
    """B.8; B.9: what is not lowered goes back once it is paid, and WeChat collects unasked."""
    assert not broken(
        [cell for cell in cells(REFUSALS) if cell.column.startswith(("modify", "pay"))], lambda cell: not cell.problem
    )


def test_a_refused_call_about_a_fare_is_asked_about_and_never_at_once_given_up() -> None:
    """F.5 a, d."""
    first = [cell for cell in cells(REFUSALS) if cell.column in ("modify", "sync", "pay")]

    assert not broken(
        first,
        lambda cell: cell.step == ("Rest" if cell.row == "debit_in_flight" else "AskOrder") and not cell.says("left"),
    )


def test_wechat_is_left_alone_once_it_has_refused_twice_and_shown_the_order_as_it_was() -> None:
    """B.8: one refusal is unsigned. A debit in flight is waited for."""
    second = [cell for cell in cells(REFUSALS) if cell.column in ("modify, again", "pay, again")]
    late = [cell for cell in cells(REFUSALS) if cell.column in ("modify, seventh time", "pay, seventh time")]

    assert not broken(second, lambda cell: cell.says("left") is (cell.row != "debit_in_flight"))
    assert not broken(late, lambda cell: cell.says("left"))


def test_that_it_was_paid_elsewhere_is_told_again_for_hours_and_then_a_person_is() -> None:
    """F.5 d; design 11: WeChat would go on collecting."""
    assert not broken(
        [cell for cell in cells(REFUSALS) if cell.column == "sync, seventh time"], lambda cell: cell.problem == "CODE"
    )
    assert not broken(
        [cell for cell in cells(REFUSALS) if cell.column == "sync, again"], lambda cell: cell.step == "SyncOrder"
    )


@pytest.mark.parametrize("row", FARE_SITUATIONS)
def test_no_situation_owes_less_than_nothing_or_sends_back_more_than_was_paid(row: str) -> None:
    trip = FARE_SITUATIONS[row]()

    assert too_much_fen(trip) >= 0
    assert trip.payment is None or too_much_fen(trip) + trip.returned_fen <= trip.payment.paid_fen
    assert trip.state in TripState
