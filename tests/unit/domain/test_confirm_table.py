"""The orders that a passenger confirms, in docs/state-table.md: run against the code, and against the laws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.fares import note_paid_elsewhere
from payscore_worker.domain.next_step import (
    due_at,
    next_step,
)
from payscore_worker.domain.outcomes import PAUSES, QUESTION_PAUSES
from payscore_worker.domain.trip import (
    TERMINAL,
    OrderPhase,
    OrderSeen,
    Trip,
    needs_confirm,
    note_cancelled,
    note_ended,
)
from payscore_worker.errors import Refusal
from tests.builders import (
    CONFIRM_BY,
    CONFIRM_SITUATIONS,
    CONFIRMING,
    NOW,
    a_cancellation,
    a_doubt,
    a_payment_elsewhere,
    an_end,
    an_order,
    asked_to_confirm,
)
from tests.unit.domain import state_table
from tests.unit.domain.state_table import CANNOT_BE, Cell, broken, by_row, differing, rules, table

AFTER: Final[Mapping[str, timedelta]] = {
    "needs": timedelta(0),
    "needs, a poll later": CONFIRMING.poll_delays[0],
    "needs, when the time is up": CONFIRMING.confirm_expires,
}

FACTS: Final[Mapping[str, Callable[[Trip], Trip]]] = {
    "end": lambda trip: note_ended(trip, an_end()),
    "end above the limit": lambda trip: note_ended(trip, an_end(total_fen=20_001)),
    "cancellation": lambda trip: note_cancelled(trip, a_cancellation()),
    "paid elsewhere": lambda trip: note_paid_elsewhere(trip, a_payment_elsewhere(), NOW),
}


def _created(trip: Trip, order: OrderSeen, package: str) -> Trip:
    return outcomes.created(trip, order, NOW, package=package, confirm_by=CONFIRM_BY)


WORDS: Final[Mapping[str, Callable[[Trip], Trip]]] = {
    "created: CREATED": lambda trip: _created(trip, an_order(OrderPhase.CREATED), "package"),
    "created: ACCEPTED": lambda trip: _created(trip, an_order(OrderPhase.ACCEPTED), "package"),
    "created: RUNNING": lambda trip: _created(trip, an_order(), ""),
    "CREATED": lambda trip: outcomes.see(trip, an_order(OrderPhase.CREATED), NOW),
    "RUNNING": lambda trip: outcomes.see(trip, an_order(), NOW),
    "COLLECTING": lambda trip: outcomes.see(trip, an_order(OrderPhase.COLLECTING), NOW),
    "DONE": lambda trip: outcomes.see(trip, an_order(OrderPhase.DONE), NOW),
    "REVOKED": lambda trip: outcomes.see(trip, an_order(OrderPhase.REVOKED), NOW),
    "EXPIRED": lambda trip: outcomes.see(trip, an_order(OrderPhase.EXPIRED), NOW),
    "cancelled": lambda trip: outcomes.order_cancelled(trip, NOW),
}

ASKED: Final = ("asked: CREATED", "asked: RUNNING", "asked: no order", "asked when the time is up: CREATED")
"""Questions are asked of no trip that is over, nor of one that stands still."""

REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "create": ("creating", "OpenOrder"),
    "create again": ("accepted, no page", "OpenOrder"),
    "create again, CREATED": ("accepted, no page", "OpenOrder"),
    "create again, RUNNING": ("accepted, no page", "OpenOrder"),
    "create again, seventh time": ("accepted, no page", "OpenOrder"),
    "question": ("asked", "AskOrder"),
    "question, for hours": ("asked", "AskOrder"),
    "cancel": ("not confirmed", "CancelOrder"),
    "cancel, CREATED": ("not confirmed", "CancelOrder"),
    "cancel, RUNNING": ("not confirmed", "CancelOrder"),
    "cancel, seventh time": ("not confirmed", "CancelOrder"),
}
"""The situation, and the call that is refused; what is said after it is what WeChat Pay shows then, on our question."""

NEEDED: Final = "What an order to be confirmed needs"
SHOWN: Final = "What WeChat Pay shows of an order to be confirmed"
REFUSALS: Final = "Refused calls about an order to be confirmed"

TABLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    NEEDED: (tuple(CONFIRM_SITUATIONS), (*AFTER, *FACTS)),
    SHOWN: (tuple(CONFIRM_SITUATIONS), (*WORDS, *ASKED)),
    REFUSALS: (tuple(Refusal), tuple(REFUSED)),
}
"""Each table, its rows and its columns."""


def cells(*headings: str) -> tuple[Cell, ...]:
    return tuple(cell for heading in headings or TABLES for cell in table(heading)[0])


# --- What the code makes of a cell ---


def described(before: Trip, change: Callable[[Trip], Trip], now: datetime = NOW) -> str:
    """Say in the page's words what an event makes of a trip and its order."""
    return state_table.described(before, change, marks=_marks, needed=lambda after: needed(after, now))


def _marks(before: Trip, after: Trip) -> str:
    marks = []
    if after.confirm_by is not None is before.confirm_by:
        marks.append(", asked")
    if after.opened_at is not None is before.opened_at:
        marks.append(", confirmed")
    if after.look is not None and after.look.alive:
        marks.append(", runs")
    return "".join(marks)


def needed(trip: Trip, now: datetime = NOW) -> str:
    return type(next_step(trip, now, CONFIRMING)).__name__


def outcome(cell: Cell) -> str:
    """Run a cell against the code."""
    if cell.table == REFUSALS:
        return _refused(cell)
    trip = CONFIRM_SITUATIONS[cell.row]()
    if cell.column in AFTER:
        return needed(trip, NOW + AFTER[cell.column])
    if cell.column in FACTS:
        return described(trip, FACTS[cell.column])
    if cell.column == "cancelled" and not _may_be_cancelled(trip):
        return CANNOT_BE
    if cell.column in WORDS:
        return described(trip, WORDS[cell.column])
    return _asked(trip, cell.column)


def _may_be_cancelled(trip: Trip) -> bool:
    is_given_up = trip.declined is not None or trip.cancelled is not None or trip.paid_elsewhere is not None
    return is_given_up or needed(trip) == "CancelOrder"


def _asked(trip: Trip, column: str) -> str:
    if trip.problem is not None or trip.state in TERMINAL:
        return CANNOT_BE
    unknown = a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder")
    match column:
        case "asked: CREATED":
            return described(trip, lambda trip: outcomes.asked(trip, an_order(OrderPhase.CREATED), NOW))
        case "asked: RUNNING":
            return described(trip, lambda trip: outcomes.asked(trip, an_order(), NOW))
        case "asked: no order":
            return described(trip, lambda trip: outcomes.not_found(trip, unknown, NOW, certain=True))
        case _:
            return described(
                trip, lambda trip: outcomes.asked(trip, an_order(OrderPhase.CREATED), CONFIRM_BY), CONFIRM_BY
            )


def _refused(cell: Cell) -> str:
    situation, step = REFUSED[cell.column]
    trip, doubt = CONFIRM_SITUATIONS[situation](), a_doubt(Refusal(cell.row), step=step, code="CODE")
    match cell.column.partition(", ")[2]:
        case "for hours":
            trip = _asked_in_vain(trip)
            return described(trip, lambda trip: outcomes.question_refused(trip, doubt, NOW))
        case "" if step == "AskOrder":
            return described(trip, lambda trip: outcomes.question_refused(trip, doubt, NOW))
        case "CREATED" | "RUNNING" as phase:
            return described(
                trip, lambda trip: outcomes.asked(outcomes.refused(trip, doubt, NOW), an_order(OrderPhase(phase)), NOW)
            )
        case "seventh time":
            trip = replace(trip, refusals=len(PAUSES), refused_as="")
            seventh = replace(trip, refused_as="not_permitted" if cell.row == "not_enabled" else cell.row)
            return described(seventh, lambda trip: outcomes.refused(trip, doubt, NOW))
        case _:
            return described(trip, lambda trip: outcomes.refused(trip, doubt, NOW))


def _asked_in_vain(trip: Trip) -> Trip:
    for _ in QUESTION_PAUSES:
        trip = outcomes.question_refused(trip, a_doubt(step="AskOrder"), NOW)
    return trip


# --- The code does what the page says ---


@pytest.mark.parametrize("row", by_row(cell for cell in cells() if cell.text != CANNOT_BE))
def test_the_code_does_what_the_page_says(row: tuple[Cell, ...]) -> None:
    assert differing(row, outcome) == []


@pytest.mark.parametrize("heading", TABLES)
def test_the_tables_decide_every_case(heading: str) -> None:
    rows, columns = TABLES[heading]

    assert [(cell.row, cell.column) for cell in cells(heading)] == [(row, name) for row in rows for name in columns]


# --- The page says what the rules demand ---

WAITING: Final = tuple(row for row in CONFIRM_SITUATIONS if row.startswith(("accepted", "asked", "creating")))
GIVEN_UP: Final = tuple(
    row for row in CONFIRM_SITUATIONS if "cancelled" in row or "elsewhere" in row or row.startswith("not confirmed")
)
"""The situations in which the order is to be cancelled."""

UNSIGNED: Final = (*REFUSED, "asked: no order")


def of(*columns: str, rows: tuple[str, ...] = tuple(CONFIRM_SITUATIONS)) -> list[Cell]:
    return [cell for cell in cells(NEEDED, SHOWN) if cell.column in columns and cell.row in rows]


@pytest.mark.parametrize("heading", TABLES)
def test_every_row_names_the_rules_it_follows_from(heading: str) -> None:
    for row, cited in table(heading)[1].items():
        assert cited, f"{row} names no rule"
        assert set(cited.split(", ")) <= rules(), f"{row} names a rule that the page does not state"


def test_a_ride_is_on_no_order_that_was_not_shown_running() -> None:
    """0.3: what shows less than a running order confirms nothing."""
    shown = "RUNNING", "COLLECTING", "DONE"
    less = [cell for cell in cells() if not any(phase in cell.column for phase in shown)]

    assert not broken(less, lambda cell: not cell.says("confirmed"))


def test_a_running_order_wins_unless_it_was_given_up() -> None:
    """F.5 a; F.5 f: late, over a doubt, and over a problem, too."""
    words = "created: RUNNING", "RUNNING", "asked: RUNNING"
    rows = tuple(row for row in CONFIRM_SITUATIONS if not row.startswith(("not confirmed", "declined", "confirmed")))

    assert not broken(of(*words, rows=rows), lambda cell: cell.says("confirmed"))
    assert not broken(of(*words, rows=GIVEN_UP), lambda cell: cell.text == "=" or cell.step == "CancelOrder")


def test_nothing_is_completed_before_it_was_confirmed() -> None:
    """0.3: whatever the ride service tells."""
    unconfirmed = [cell for cell in cells(NEEDED) if not cell.row.startswith("confirmed")]

    assert not broken(unconfirmed, lambda cell: "CompleteOrder" not in cell.text)


def test_nobody_is_asked_twice() -> None:
    """C.3: the page opens once."""
    was_asked = tuple(
        row
        for row in CONFIRM_SITUATIONS
        if row.startswith(("asked", "not", "declined", "confirmed", "with a problem, as"))
    )

    assert not broken(of(*WORDS, *ASKED, rows=was_asked), lambda cell: not cell.says("asked"))
    assert not broken(cells(NEEDED), lambda cell: not cell.row.startswith("asked") or "OpenOrder" not in cell.text)


def test_nobody_is_asked_to_confirm_what_is_to_be_cancelled() -> None:
    assert not broken(of(*WORDS, *ASKED, rows=GIVEN_UP), lambda cell: not cell.says("asked"))


def test_only_the_create_brings_what_the_page_opens_with() -> None:
    """B.3: so without it, the same bytes are sent again; no query brings it."""
    asks = [cell for cell in cells() if cell.says("asked")]

    assert {cell.column for cell in asks} == {"created: CREATED", "created: ACCEPTED"}
    assert not broken(of("needs", rows=("accepted, no page",)), lambda cell: cell.text == "OpenOrder")


def test_what_was_not_confirmed_in_time_is_asked_about_and_cancelled_before_the_trip_is_declined() -> None:
    """B.5; design 11: no order is left to be confirmed for a trip that is over."""
    asked = "asked", "asked, ended"

    assert not broken(of("needs, when the time is up", rows=asked), lambda cell: cell.text == "AskOrder")
    assert not broken(of("asked when the time is up: CREATED", rows=asked), lambda cell: cell.step == "Decline")
    assert not broken(
        of("needs", rows=("not confirmed", "not confirmed, ended")), lambda cell: cell.text == "CancelOrder"
    )
    declined = [cell for cell in cells(SHOWN) if cell.state == "DECLINED" and "not_confirmed" in cell.text]
    assert not broken(declined, lambda cell: cell.column in ("cancelled", "REVOKED", "EXPIRED") or cell.says("runs"))


def test_no_trip_waits_past_its_time() -> None:
    """B.5: an order that is left alone harms the passenger."""
    for row in ("asked", "asked, ended"):
        trip = CONFIRM_SITUATIONS[row]()
        looks: list[datetime] = []
        while (at := due_at(trip, looks[-1] if looks else NOW, CONFIRMING)) is not None and at < CONFIRM_BY:
            assert not looks or at > looks[-1]
            looks.append(at)
            trip = outcomes.asked(trip, an_order(OrderPhase.CREATED), at)
        assert at == CONFIRM_BY


def test_the_authorisation_of_nobody_is_asked_for() -> None:
    """B.0: in this mode there is none, so a create that is not permitted is about us, and never declines a trip."""
    assert not broken(cells(), lambda cell: "AskServiceState" not in cell.text)


def test_no_refusal_ends_a_trip_and_none_confirms_it() -> None:
    """F.5 a, d: a person is called instead, after hours."""
    unsigned = [cell for cell in cells() if cell.column in UNSIGNED and cell.row != "creating, cancelled"]

    assert not broken(
        unsigned,
        lambda cell: cell.state in ("NOTED", "OPEN", "") and (not cell.says("confirmed") or "RUN" in cell.column),
    )


def test_a_refused_call_is_asked_about_before_it_is_made_again() -> None:
    """F.5 a."""
    first = [cell for cell in cells(REFUSALS) if cell.column in ("create", "create again", "cancel")]

    assert not broken(first, lambda cell: cell.step == ("Rest" if cell.row == "debit_in_flight" else "AskOrder"))


def test_an_order_that_cannot_take_the_fare_is_not_waited_for() -> None:
    """0.8."""
    assert not broken(
        of("end above the limit", rows=("asked", "accepted, no page")), lambda cell: cell.step == "CancelOrder"
    )


@pytest.mark.parametrize("row", CONFIRM_SITUATIONS)
def test_the_page_opens_with_what_is_kept_nowhere(row: str) -> None:
    assert "package='package'" not in repr(CONFIRM_SITUATIONS[row]())


def test_every_situation_is_one_of_an_order_to_be_confirmed() -> None:
    assert all(needs_confirm(situation()) for situation in CONFIRM_SITUATIONS.values())
    assert asked_to_confirm().confirm_by == CONFIRM_BY
