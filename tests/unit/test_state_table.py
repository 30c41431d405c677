"""The tables of docs/state-table.md say what is right: each cell is run against the code, and read against the laws.

The first half asks whether the code does what the page says. The second half does not look at the code: it asks whether
the page says what the rules demand, so that a fault which stands in both is found all the same.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Final

import pytest

from payscore_worker import outcomes
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from payscore_worker.outcomes import APART, APART_IN_DOUBT, PAUSES, QUESTION_PAUSES
from payscore_worker.trip import (
    LATE_LOOK,
    Doubt,
    OrderPhase,
    OrderSeen,
    Trip,
    next_step,
    note_cancelled,
    note_ended,
    note_started,
)
from tests.builders import NOW, PAYAFTER, SITUATIONS, a_cancellation, a_doubt, a_start, an_end, an_order

PAGE: Final = Path(__file__).parents[2] / "docs" / "state-table.md"

NOT_YET: Final[Mapping[tuple[str, str, str], str]] = {}
"""Cells in which the page is right and the code is not yet; each is found as soon as the code follows."""

Event = tuple[Callable[[Trip, datetime], Trip], timedelta]
"""What happens to a trip, and how long after NOW."""

AT_ONCE: Final = timedelta(0)
SOON: Final = APART - timedelta(seconds=1)
ABSENT: Final = a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder", code="CODE")

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
    "DONE, other transaction": an_order(OrderPhase.DONE, transaction_ids=("4200002",)),
    "DONE, transactions untold": an_order(OrderPhase.DONE, transaction_ids=()),
}


# --- What happens, in the words of the page's columns ---


def seen(word: str) -> Event:
    return lambda trip, now: outcomes.see(trip, WORDS[word], now), AT_ONCE


def shown(word: str, *, certain: bool = True) -> Event:
    return lambda trip, now: outcomes.asked(trip, WORDS[word], now, certain=certain), AT_ONCE


def absent(after: timedelta = AT_ONCE, *, certain: bool = True) -> Event:
    return lambda trip, now: outcomes.not_found(trip, ABSENT, now, certain=certain), after


def absent_again(after: timedelta, *, certain: bool = True) -> Event:
    def twice(trip: Trip, now: datetime) -> Trip:
        return outcomes.not_found(
            outcomes.not_found(trip, ABSENT, NOW, certain=certain), ABSENT, now, certain=certain
        )

    return twice, after


def question_refused(refusal: Refusal, step: str, *, times: int = 1, after: timedelta = AT_ONCE) -> Event:
    doubt = a_doubt(refusal, step=step, code="CODE")

    def refused(trip: Trip, now: datetime) -> Trip:
        for one in range(times):
            at = NOW if one < times - 1 else now
            if step == "AskOrder" and refusal is Refusal.ORDER_NOT_FOUND:
                trip = outcomes.not_found(trip, doubt, at, certain=True)
            else:
                trip = outcomes.question_refused(trip, doubt, at, certain=True)
        return trip

    return refused, after


def refused(trip: Trip, refusal: Refusal, step: str) -> Trip:
    return outcomes.refused(trip, a_doubt(refusal, code="CODE", step=step), NOW)


def create_refused(refusal: Refusal) -> Trip:
    """Have the create refused; where that asks for the service first, it is off, and a send is unknown."""
    trip = refused(SITUATIONS["creating"](), refusal, "OpenOrder")
    if refusal in (Refusal.NOT_PERMITTED, Refusal.NOT_ENABLED):
        return outcomes.service_answered(trip, enabled=False, certain=False, now=NOW)
    return trip


def service(*, enabled: bool, certain: bool = True) -> Event:
    return lambda trip, now: outcomes.service_answered(trip, enabled=enabled, certain=certain, now=now), AT_ONCE


def cancel_accepted(trip: Trip, now: datetime) -> Trip:
    return outcomes.order_cancelled(trip, now)


AFTER_CREATE: Final[Mapping[str, Event]] = {
    "running": shown("RUNNING"),
    "revoked": shown("REVOKED"),
    "expired": shown("EXPIRED"),
    "no order": absent(),
    "no order, too soon again": absent_again(SOON),
    "no order, again": absent_again(APART),
    "no order, again, a send unknown": absent_again(APART, certain=False),
    "no order, minutes later, a send unknown": absent_again(APART_IN_DOUBT, certain=False),
}

def refused_again(first: Refusal | None = None) -> Event:
    """Have the complete refused a second time, and the order shown running after each; `first`: another reason."""

    def again(trip: Trip, now: datetime) -> Trip:
        doubt = trip.doubt
        assert doubt is not None
        if first is not None:
            trip = replace(trip, doubt=replace(doubt, refusal=first))
        trip = outcomes.asked(trip, WORDS["RUNNING"], now, certain=False)
        trip = outcomes.refused(trip, doubt, now)
        return outcomes.asked(trip, WORDS["RUNNING"], now, certain=True)

    return again, AT_ONCE


AFTER_COMPLETE: Final[Mapping[str, Event]] = {
    "running": shown("RUNNING"),
    "running, refused so twice": refused_again(),
    "running, refused otherwise before": refused_again(Refusal.WRONG_STATE),
    "running, a send unknown": shown("RUNNING", certain=False),
    "collecting": shown("COLLECTING"),
    "collecting, other total": shown("COLLECTING, other total"),
    "done": shown("DONE"),
    "revoked": shown("REVOKED"),
    "no order": absent(),
    "no order, again": absent_again(APART),
}

AFTER_CANCEL: Final[Mapping[str, Event]] = {
    "running": shown("RUNNING"),
    "running, a send unknown": shown("RUNNING", certain=False),
    "collecting": shown("COLLECTING"),
    "revoked": shown("REVOKED"),
    "no order": absent(),
    "no order, again": absent_again(APART),
}

ASKED: Final[Mapping[str, Event]] = {
    **{phase.value: shown(phase.value) for phase in OrderPhase},
    "no order": absent(),
    "no order, again": absent_again(APART_IN_DOUBT, certain=False),
}

ASKING: Final = (
    "creating, cancelled",
    "open, ended",
    "completed",
    "in doubt: create refused",
    "in doubt: create refused, absent once",
    "in doubt: cancelled, absent once",
    "in doubt: complete refused",
    "in doubt: cancel refused",
    "in doubt: question refused",
    "declined, order may run",
    "declined, order runs, cancel refused",
    "cancelled, order may run",
)
"""The situations in which WeChat Pay is asked where the order stands."""

CALLS: Final[Mapping[str, tuple[str, str, int]]] = {
    "create": ("creating", "OpenOrder", 0),
    "complete": ("completing", "CompleteOrder", 0),
    "cancel": ("cancelling", "CancelOrder", 0),
    "cancel, over": ("declined, order runs", "CancelOrder", 0),
    "create, seventh time": ("creating", "OpenOrder", len(PAUSES)),
    "complete, seventh time": ("completing", "CompleteOrder", len(PAUSES)),
}
"""The situation, the step, and how often the call was refused before."""

QUESTIONS: Final[Mapping[str, tuple[str, str, int, timedelta]]] = {
    "service state": ("started", "AskServiceState", 1, AT_ONCE),
    "service state, again": ("started", "AskServiceState", 2, APART),
    "query, doubt": ("in doubt: create refused", "AskOrder", 1, AT_ONCE),
    "query, ticket": ("open, ended", "AskOrder", 1, AT_ONCE),
    "query, poll": ("completed", "AskOrder", 1, AT_ONCE),
    "query, poll, again": ("completed", "AskOrder", 2, APART),
    "query, late look": ("declined, order may run", "AskOrder", 1, AT_ONCE),
    "query, poll, for hours": ("completed", "AskOrder", len(QUESTION_PAUSES) + 1, AT_ONCE),
}
"""The situation, the question, how often it was refused, and how long after the first time the last one was."""

PERMITTED: Final[Mapping[str, Event]] = {
    "enabled": service(enabled=True),
    "not enabled": service(enabled=False),
    "not enabled, a send unknown": service(enabled=False, certain=False),
    "never enabled (unsigned)": question_refused(Refusal.NOT_ENABLED, "AskServiceState"),
    "never enabled (unsigned), again": question_refused(Refusal.NOT_ENABLED, "AskServiceState", times=2, after=APART),
}

UNPERMITTED: Final[Mapping[str, Callable[[], Trip]]] = {
    "started": SITUATIONS["started"],
    "creating anew": SITUATIONS["creating anew"],
    "create refused": lambda: refused(SITUATIONS["creating"](), Refusal.NOT_PERMITTED, "OpenOrder"),
}

OVER: Final = tuple(name for name in SITUATIONS if name.startswith(("declined", "cancelled")))

ENDS: Final[Mapping[str, Event]] = {
    "running": shown("RUNNING"),
    "done": shown("DONE"),
    "revoked": shown("REVOKED"),
    "no order": absent(),
    "cancel accepted": (cancel_accepted, AT_ONCE),
}

# --- Reading the page ---


@dataclass(frozen=True)
class Cell:
    """One cell of the page, and how it reads."""

    table: str
    row: str
    column: str
    text: str

    @property
    def state(self) -> str:
        """The state afterwards; empty where nothing changes, a fact is refused, or a person must look."""
        return self._part(r"([A-Z]+)\b.* →")

    @property
    def step(self) -> str:
        return self._part(r".* → (\w+)")

    @property
    def problem(self) -> str:
        return self._part(r"problem (\w+)")

    def says(self, mark: str) -> bool:
        """Tell whether a mark of the page (`look`, `runs`, `anew`) stands in the cell."""
        return f", {mark}" in self.text

    def _part(self, pattern: str) -> str:
        found = re.fullmatch(pattern + ".*", self.text)
        return found[1] if found else ""


@cache
def table(heading: str) -> tuple[tuple[Cell, ...], dict[str, str]]:
    """Read one table of the page: its cells, and the rules that each row cites."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    assert header[-1] == "rules"
    cells = tuple(
        Cell(heading, row, column, text)
        for row, *values, _ in rows
        for column, text in zip(header[1:-1], values, strict=True)
    )
    return cells, {row[0]: row[-1] for row in rows}


TABLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "Facts": (tuple(SITUATIONS), ("needs", *FACTS)),
    "What WeChat Pay shows": (tuple(SITUATIONS), tuple(WORDS)),
    "Asked": (ASKING, tuple(ASKED)),
    "Refusals of calls": (tuple(Refusal), tuple(CALLS)),
    "After a refused create": (tuple(Refusal), tuple(AFTER_CREATE)),
    "After a refused complete": (tuple(Refusal), tuple(AFTER_COMPLETE)),
    "After a refused cancel": (tuple(Refusal), tuple(AFTER_CANCEL)),
    "After a refused cancel of a trip that is over": (tuple(Refusal), tuple(AFTER_CANCEL)),
    "Not permitted": (tuple(UNPERMITTED), tuple(PERMITTED)),
    "Refused questions": (tuple(Refusal), tuple(QUESTIONS)),
    "Ends and the late look": (OVER, ("needs", "needs, later", *ENDS)),
}
"""Each table of the page, its rows and its columns."""


def cells(heading: str) -> tuple[Cell, ...]:
    return table(heading)[0]


def every_cell() -> Iterator[Cell]:
    return (cell for heading in TABLES for cell in cells(heading))


# --- What the code makes of a cell ---


def described(before: Trip, event: Event) -> str:
    """Say in the page's words what an event makes of a trip."""
    change, after_while = event
    now = NOW + after_while
    try:
        after = change(before, now)
    except (ConflictingFact, IllegalTransition) as error:
        return f"✘ {type(error).__name__}"
    if after == before:
        return "="
    if after.problem is not None and after.problem != before.problem:
        return f"problem {after.problem.code}"
    return f"{after.state.value}{_marks(before, after)} → {needed(after, now)}"


def _marks(before: Trip, after: Trip) -> str:
    reason = after.declined is not None and after.declined != before.declined
    dropped = (before.opening, before.end_time) != (None, None) and (
        (after.opening is None and before.opening is not None)
        or (after.end_time is None and before.end_time is not None)
        or after.rebuilds > before.rebuilds
    )
    marks = [
        f" {after.declined.reason}" if reason and after.declined is not None else "",
        ", anew" if dropped else "",
        ", runs" if after.look is not None and after.look.alive else "",
        ", look" if after.look is not None and not after.look.alive else "",
    ]
    return "".join(marks)


def needed(trip: Trip, now: datetime = NOW) -> str:
    return type(next_step(trip, now, PAYAFTER)).__name__


def outcome(cell: Cell) -> str:
    """Run a cell against the code."""
    row, column = cell.row, cell.column
    match cell.table:
        case "Facts" | "Ends and the late look" if column.startswith("needs"):
            return needed(SITUATIONS[row](), NOW + 2 * LATE_LOOK if column == "needs, later" else NOW)
        case "Facts":
            return described(SITUATIONS[row](), (lambda trip, _: FACTS[column](trip), AT_ONCE))
        case "What WeChat Pay shows":
            return described(SITUATIONS[row](), seen(column))
        case "Asked":
            return described(SITUATIONS[row](), ASKED[column])
        case "Refusals of calls":
            situation, step, before = CALLS[column]
            trip = replace(SITUATIONS[situation](), refusals=before)
            return described(trip, (lambda one, _: refused(one, Refusal(row), step), AT_ONCE))
        case "After a refused create":
            return described(create_refused(Refusal(row)), AFTER_CREATE[column])
        case "After a refused complete":
            return described(refused(SITUATIONS["completing"](), Refusal(row), "CompleteOrder"), AFTER_COMPLETE[column])
        case "After a refused cancel":
            return described(refused(SITUATIONS["cancelling"](), Refusal(row), "CancelOrder"), AFTER_CANCEL[column])
        case "After a refused cancel of a trip that is over":
            alive = SITUATIONS["cancelled, order runs"]()
            return described(refused(alive, Refusal(row), "CancelOrder"), AFTER_CANCEL[column])
        case "Not permitted":
            return described(UNPERMITTED[row](), PERMITTED[column])
        case "Refused questions":
            situation, step, times, after = QUESTIONS[column]
            event = question_refused(Refusal(row), step, times=times, after=after)
            return described(SITUATIONS[situation](), event)
        case _:
            return described(SITUATIONS[row](), ENDS[column])
