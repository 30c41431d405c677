"""The authorisations of docs/state-table.md, read as the trips' tables are: run against the code, and the laws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from payscore_worker.domain import authorisation as outcomes
from payscore_worker.domain.authorisation import (
    GOOD_FOR,
    PAUSES,
    UNFINISHED_PAUSES,
    Authorisation,
    AuthorisationState,
    next_step,
)
from payscore_worker.domain.next_step import next_step as next_step_of_trip
from payscore_worker.domain.outcomes import APART, NOT_ENABLED, declined, service_opened
from payscore_worker.domain.trip import (
    DeclineReason,
    Trip,
    note_cancelled,
    note_ended,
)
from payscore_worker.errors import ConflictingFact, Refusal
from tests.builders import (
    AUTHORISATIONS,
    NOW,
    PAYAFTER,
    SITUATIONS,
    a_cancellation,
    a_request_to_sign,
    an_authorisation_refused,
    an_end,
    an_ending,
)
from tests.unit.domain.state_table import CANNOT_BE, Cell, broken, rules, table

SECOND: Final = timedelta(seconds=1)
LATER: Final = NOW + GOOD_FOR

Change = Callable[[Authorisation], Authorisation]

TOLD: Final[Mapping[str, tuple[Change, datetime]]] = {
    "requested again": (lambda one: outcomes.requested_again(one, a_request_to_sign(), NOW), NOW),
    "requested again, later": (lambda one: outcomes.requested_again(one, a_request_to_sign(), LATER), LATER),
    "requested otherwise": (
        lambda one: outcomes.requested_again(one, a_request_to_sign(client="h5"), NOW),
        NOW,
    ),
    "opened": (lambda one: outcomes.opened(one, NOW + SECOND, NOW), NOW),
    "opened, older": (lambda one: outcomes.opened(one, NOW, NOW), NOW),
    "closed": (lambda one: outcomes.closed(one, NOW + SECOND, NOW), NOW),
    "closed, older": (lambda one: outcomes.closed(one, NOW - SECOND, NOW), NOW),
    "to end": (lambda one: outcomes.to_end(one, an_ending(word="m2")), NOW),
}
"""What is heard, and when the next step is looked for."""


def _refused(refusal: Refusal, *, times: int) -> Change:
    why = an_authorisation_refused(refusal)
    return lambda one: outcomes.refused(replace(one, refusals=times), why, NOW)


ANSWERED: Final[Mapping[str, tuple[Change, datetime]]] = {
    "not signed": (lambda one: outcomes.not_signed(one, NOW), NOW),
    "on": (lambda one: outcomes.service_on(one, NOW + SECOND, NOW), NOW),
    "off": (lambda one: outcomes.service_off(one, NOW), NOW),
    "never": (lambda one: outcomes.never_authorised(one, NOW), NOW),
    "never, again": (
        lambda one: outcomes.never_authorised(outcomes.never_authorised(one, NOW), NOW + APART),
        NOW + APART,
    ),
    "no answer": (lambda one: outcomes.no_answer(one, an_authorisation_refused(), NOW), NOW),
    "no answer, for hours": (
        lambda one: outcomes.no_answer(replace(one, unanswered=len(PAUSES)), an_authorisation_refused(), NOW),
        NOW,
    ),
    "refused": (_refused(Refusal.UNCLEAR, times=0), NOW),
    "refused, for hours": (_refused(Refusal.UNCLEAR, times=len(PAUSES)), NOW),
    "unfinished orders": (_refused(Refusal.WRONG_STATE, times=len(PAUSES)), NOW),
    "unfinished orders, for a week": (_refused(Refusal.WRONG_STATE, times=len(UNFINISHED_PAUSES)), NOW),
}
"""What a question or a call brings; a token is given by another step, and an end done by another."""

ASKED: Final = (
    "requested",
    "requested, not signed",
    "requested, refused",
    "given",
    "open, to end",
    "open, to end, refused",
)
"""Situations in which anything is asked or called."""


def _declined_for_service() -> Trip:
    return declined(SITUATIONS["started"](), DeclineReason.SERVICE_NOT_ENABLED, NOT_ENABLED, now=NOW)


TRIPS: Final[Mapping[str, Callable[[], Trip]]] = {
    "declined for the service": _declined_for_service,
    "declined for the service, ended": lambda: note_ended(_declined_for_service(), an_end()),
    "declined for the service, cancelled": lambda: note_cancelled(_declined_for_service(), a_cancellation()),
    "declined for the service, an order was asked for": lambda: replace(_declined_for_service(), bodies=1),
    "declined for the service, a day ago": lambda: replace(
        _declined_for_service(), noted_at=NOW - PAYAFTER.stale_after
    ),
}

TRIP_OPENED: Final = ("the service is opened",)

TABLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "What is told of an authorisation": (tuple(AUTHORISATIONS), tuple(TOLD)),
    "What WeChat Pay answers about an authorisation": (ASKED, tuple(ANSWERED)),
    "A passenger enables the service while riding": (tuple(TRIPS), TRIP_OPENED),
}
"""Each table of authorisations, its rows and its columns."""


def cells(*headings: str) -> tuple[Cell, ...]:
    return tuple(cell for heading in headings or TABLES for cell in table(heading)[0])


# --- What the code makes of a cell ---


def described(before: Authorisation, change: Change, at: datetime) -> str:
    """Say in the page's words what an event makes of an authorisation."""
    try:
        after = change(before)
    except ConflictingFact as error:
        return f"✘ {type(error).__name__}"
    if after == before:
        return "="
    if after.problem is not None and before.problem is None:
        return f"problem {after.problem.code}"
    return f"{after.state.value} → {type(next_step(after, at)).__name__}"


def made(heading: str, row: str, column: str) -> str:
    """Say what the code makes of a cell."""
    match heading:
        case "What is told of an authorisation":
            return described(AUTHORISATIONS[row](), *TOLD[column])
        case "What WeChat Pay answers about an authorisation":
            ends, about_end = AUTHORISATIONS[row]().ending is not None, column.startswith("unfinished")
            if about_end and not ends:
                return CANNOT_BE
            return described(AUTHORISATIONS[row](), *ANSWERED[column])
        case _:
            before = TRIPS[row]()
            after = service_opened(before, NOW, PAYAFTER)
            if after == before:
                return "="
            return f"{after.state.value} → {type(next_step_of_trip(after, NOW, PAYAFTER)).__name__}"


@pytest.mark.parametrize("heading", TABLES)
def test_the_tables_decide_every_case(heading: str) -> None:
    rows, columns = TABLES[heading]
    decided = {(cell.row, cell.column) for cell in table(heading)[0]}

    assert decided == {(row, column) for row in rows for column in columns}
    assert [cell for cell in table(heading)[0] if cell.text != made(heading, cell.row, cell.column)] == []


@pytest.mark.parametrize("heading", TABLES)
def test_every_row_names_the_rules_that_it_follows_from(heading: str) -> None:
    named = {rule.strip() for cited in table(heading)[1].values() for rule in cited.split(",")}

    assert named <= rules()


# --- The laws, which the page alone must keep ---


def state_of(row: str) -> AuthorisationState:
    return AUTHORISATIONS[row]().state


def test_an_older_word_changes_nothing_where_a_newer_one_is_known() -> None:
    known = [
        cell
        for cell in cells("What is told of an authorisation")
        if cell.column in ("opened, older", "closed, older") and state_of(cell.row) is not AuthorisationState.REQUESTED
    ]

    assert broken(known, lambda cell: cell.text == "=") == []


def test_an_end_that_wechat_tells_of_ends_it_whatever_else_is_to_be_done() -> None:
    told = [cell for cell in cells("What is told of an authorisation") if cell.column == "closed"]
    elsewhere = [cell for cell in told if state_of(cell.row) is not AuthorisationState.CLOSED]

    assert broken(elsewhere, lambda cell: cell.state == "CLOSED" and cell.step == "Rest") == []


def test_only_a_signed_word_opens() -> None:
    unsigned = [
        cell
        for cell in cells("What WeChat Pay answers about an authorisation")
        if cell.column.startswith(("never", "no answer", "refused", "unfinished"))
        and state_of(cell.row) is AuthorisationState.REQUESTED
    ]

    assert broken(unsigned, lambda cell: cell.state != "OPEN") == []


def test_one_unsigned_answer_ends_nothing() -> None:
    once = [
        cell
        for cell in cells("What WeChat Pay answers about an authorisation")
        if cell.column in ("never", "no answer", "refused")
    ]

    assert broken(once, lambda cell: cell.state != "CLOSED") == []


def test_a_problem_is_only_of_what_was_refused_for_long() -> None:
    assert broken(cells(), lambda cell: not cell.problem or "for " in cell.column) == []


def test_only_a_trip_that_may_be_ridden_and_has_no_order_is_taken_up() -> None:
    taken = [cell for cell in cells("A passenger enables the service while riding") if cell.text != "="]

    assert [(cell.row, cell.text) for cell in taken] == [("declined for the service", "NOTED → AskServiceState")]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_trip_in_any_other_situation_is_left_as_it_is(situation: str) -> None:
    trip = SITUATIONS[situation]()

    assert service_opened(trip, NOW, PAYAFTER) is trip
