"""The tables of docs/state-table.md say what is right: each cell is run against the code, and read against the laws.

The first half asks whether the code does what the page says. The second half does not look at the code: it asks whether
the page says what the rules demand, so that a fault which stands in both is found all the same.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import next_step
from payscore_worker.domain.outcomes import APART, APART_IN_DOUBT, PAUSES, QUESTION_PAUSES
from payscore_worker.domain.trip import (
    LATE_LOOK,
    DeclineReason,
    OrderPhase,
    OrderSeen,
    Trip,
    note_cancelled,
    note_ended,
    note_started,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from tests.builders import NOW, PAYAFTER, SITUATIONS, a_cancellation, a_doubt, a_start, an_end, an_order, debits
from tests.unit.domain.state_table import CANNOT_BE, Cell, broken, by_row, differing, rules, table

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
    "DONE, nothing to pay": an_order(OrderPhase.DONE, total_fen=0, paid_fen=0, debits=()),
    "DONE, less paid": an_order(OrderPhase.DONE, paid_fen=3_199),
    "DONE, other transaction": an_order(OrderPhase.DONE, debits=debits("4200002")),
    "DONE, transactions untold": an_order(OrderPhase.DONE, debits=()),
}


# --- What happens, in the words of the page's columns ---


def seen(word: str) -> Event:
    return lambda trip, now: outcomes.see(trip, WORDS[word], now), AT_ONCE


def shown(word: str, *, certain: bool = True) -> Event:
    return lambda trip, now: outcomes.asked(trip, answer(word), now, certain=certain), AT_ONCE


def answer(word: str) -> OrderSeen:
    """Show an order to our query, with the ticket while it runs."""
    return replace(WORDS[word], finish_ticket="ticket" if word == "RUNNING" else "")


def absent(after: timedelta = AT_ONCE, *, certain: bool = True) -> Event:
    return lambda trip, now: outcomes.not_found(trip, ABSENT, now, certain=certain), after


def absent_again(after: timedelta, *, certain: bool = True) -> Event:
    def twice(trip: Trip, now: datetime) -> Trip:
        return outcomes.not_found(outcomes.not_found(trip, ABSENT, NOW, certain=certain), ABSENT, now, certain=certain)

    return twice, after


def question_refused(refusal: Refusal, step: str, *, times: int = 1, after: timedelta = AT_ONCE) -> Event:
    doubt = a_doubt(refusal, step=step, code="CODE")

    def refused(trip: Trip, now: datetime) -> Trip:
        for one in range(times):
            at = NOW if one < times - 1 else now
            if step == "AskOrder" and refusal is Refusal.ORDER_NOT_FOUND:
                trip = outcomes.not_found(trip, doubt, at, certain=True)
            else:
                trip = outcomes.question_refused(trip, doubt, at)
        return trip

    return refused, after


def refused(trip: Trip, refusal: Refusal, step: str) -> Trip:
    return outcomes.refused(trip, a_doubt(refusal, code="CODE", step=step), NOW)


def create_refused(refusal: Refusal) -> Trip:
    """Have the create refused; where that asks for the service first, it is off."""
    trip = refused(SITUATIONS["creating"](), refusal, "OpenOrder")
    if refusal in (Refusal.NOT_PERMITTED, Refusal.NOT_ENABLED):
        return outcomes.service_answered(trip, enabled=False)
    return trip


def service(*, enabled: bool) -> Event:
    return lambda trip, _: outcomes.service_answered(trip, enabled=enabled), AT_ONCE


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
            trip = replace(trip, doubt=replace(doubt, refusal=first), refused_as=first.value)
        trip = outcomes.asked(trip, answer("RUNNING"), now, certain=False)
        trip = outcomes.refused(trip, doubt, now)
        return outcomes.asked(trip, answer("RUNNING"), now, certain=True)

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
    **{phase.value: shown(phase.value) for phase in OrderPhase if phase is not OrderPhase.ACCEPTED},
    "no order": absent(),
    "no order, again": absent_again(APART_IN_DOUBT, certain=False),
}

ASKING: Final = (
    "creating, cancelled",
    "accepted",
    "open, ended",
    "completed",
    "in doubt: create refused",
    "in doubt: create refused, absent once",
    "in doubt: cancelled, absent once",
    "in doubt: complete refused",
    "in doubt: cancel refused",
    "in doubt: question refused",
    "waived, cancel refused",
    "waived, cancel refused again",
    "waived, lowered to nothing",
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

# --- The tables ---

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


def cells(*headings: str) -> tuple[Cell, ...]:
    return tuple(cell for heading in headings or TABLES for cell in table(heading)[0])


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
    if cell.column.startswith("needs"):
        return needed(SITUATIONS[cell.row](), NOW + 2 * LATE_LOOK if cell.column == "needs, later" else NOW)
    return described(*BEGINNINGS[cell.table](cell.row, cell.column))


def _fact(row: str, column: str) -> tuple[Trip, Event]:
    return SITUATIONS[row](), (lambda trip, _: FACTS[column](trip), AT_ONCE)


def _call(row: str, column: str) -> tuple[Trip, Event]:
    situation, step, before = CALLS[column]
    trip = replace(SITUATIONS[situation](), refusals=before, refused_as=row if before else "")
    return trip, (lambda one, _: refused(one, Refusal(row), step), AT_ONCE)


def _question(row: str, column: str) -> tuple[Trip, Event]:
    situation, step, times, after = QUESTIONS[column]
    return SITUATIONS[situation](), question_refused(Refusal(row), step, times=times, after=after)


def _after(situation: str, step: str, column: Event, row: str) -> tuple[Trip, Event]:
    return refused(SITUATIONS[situation](), Refusal(row), step), column


BEGINNINGS: Final[Mapping[str, Callable[[str, str], tuple[Trip, Event]]]] = {
    "Facts": _fact,
    "What WeChat Pay shows": lambda row, column: (SITUATIONS[row](), seen(column)),
    "Asked": lambda row, column: (SITUATIONS[row](), ASKED[column]),
    "Refusals of calls": _call,
    "After a refused create": lambda row, column: (create_refused(Refusal(row)), AFTER_CREATE[column]),
    "After a refused complete": lambda row, column: _after("completing", "CompleteOrder", AFTER_COMPLETE[column], row),
    "After a refused cancel": lambda row, column: _after("cancelling", "CancelOrder", AFTER_CANCEL[column], row),
    "After a refused cancel of a trip that is over": lambda row, column: _after(
        "cancelled, order runs", "CancelOrder", AFTER_CANCEL[column], row
    ),
    "Not permitted": lambda row, column: (UNPERMITTED[row](), PERMITTED[column]),
    "Refused questions": _question,
    "Ends and the late look": lambda row, column: (SITUATIONS[row](), ENDS[column]),
}
"""For each table: the trip that a cell begins with, and what happens to it."""


# --- The code does what the page says ---


@pytest.mark.parametrize("row", by_row(cell for cell in cells() if cell.text != CANNOT_BE))
def test_the_code_does_what_the_page_says(row: tuple[Cell, ...]) -> None:
    assert differing(row, outcome) == []


@pytest.mark.parametrize("heading", TABLES)
def test_the_tables_decide_every_case(heading: str) -> None:
    rows, columns = TABLES[heading]

    assert [(cell.row, cell.column) for cell in cells(heading)] == [(row, name) for row in rows for name in columns]


def test_a_trip_given_up_without_a_call_is_looked_at_once_more_where_a_body_was_sent_before() -> None:
    trip = SITUATIONS["creating anew, ended above the limit"]()

    over = outcomes.declined(trip, DeclineReason.AMOUNT_OVER_LIMIT, "the fare is above the risk amount", now=NOW)

    assert over.look is not None


# --- The page says what the rules demand ---

UNSIGNED: Final = ("Refusals of calls", "Refused questions")
REFUSED: Final = ("Refusals of calls", "Refused questions", "Not permitted")
OUTCOMES: Final = tuple(heading for heading in TABLES if heading != "Facts")
SIGNED_ENDS: Final = frozenset({"REVOKED", "EXPIRED", "revoked", "expired", "cancel accepted", "not enabled"})
"""The columns in which WeChat Pay has signed that no order runs, or that none can be opened."""

WAIVED_ENDS: Final = frozenset({"REVOKED", "EXPIRED", "DONE, nothing to pay"})
"""The columns in which WeChat Pay has signed that it collects no more of a fare that was waived."""

TWICE: Final = frozenset(
    {
        "no order, again",
        "no order, minutes later, a send unknown",
        "never enabled (unsigned), again",
        "service state, again",
    }
)
"""The columns in which two unsigned answers, far enough apart, stand for a signed one."""

NO_CHARGE: Final = frozenset({"DECLINED", "CANCELLED"})
PARAMETERS: Final = frozenset({"bad_time", "invalid_parameter"})
ASKED_FOR_NOTHING: Final = frozenset(
    {
        "nothing noted",
        "started",
        "ended, not started",
        "started and ended",
        "started, ended above the limit",
        "cancelled, not started",
        "declined",
    }
)
"""The situations in which no create was ever sent."""

OWED: Final = frozenset(
    {
        "creating, ended",
        "open, ended",
        "completing",
        "declining",
        "completed",
        "in doubt: complete refused",
        "in doubt: question refused",
        "waived",
        "waived, cancel refused",
        "waived, cancel refused again",
        "waived, not to be cancelled",
        "waived, lowered to nothing",
        "with a problem, creating and ended",
        "with a problem, ended and completing",
        "with a problem",
    }
)
"""The situations with an order and a fare that WeChat Pay can collect in full, whatever it cost to get there."""


def is_over(row: str) -> bool:
    return row.startswith(("declined", "cancelled", "paid", "with a problem, declined", "with a problem, charged"))


def was_over(cell: Cell) -> bool:
    over_by_column = cell.column in ("cancel, over", "query, late look")
    return is_over(cell.row) or over_by_column or cell.table.endswith("that is over")


def ends_without_charge(cell: Cell) -> bool:
    return cell.state in NO_CHARGE and not was_over(cell)


@pytest.mark.parametrize("heading", TABLES)
def test_every_row_names_the_rules_it_follows_from(heading: str) -> None:
    for row, cited in table(heading)[1].items():
        assert cited, f"{row} names no rule"
        assert set(cited.split(", ")) <= rules(), f"{row} names a rule that the page does not state"


def test_no_refusal_ends_a_trip_or_stops_it_at_once() -> None:
    """F.5 a, c, d; design 3.3."""
    at_once = [cell for cell in cells(*UNSIGNED) if not re.search("again|seventh|for hours", cell.column)]

    assert not broken(at_once, lambda cell: not cell.problem and not ends_without_charge(cell) and cell.state != "PAID")


def test_a_refusal_moves_no_trip_on_and_drops_no_body() -> None:
    """F.5 a, h; B.10: what was refused is seen by a query, not by the refusal."""
    stays = {"create": "NOTED", "complete": "OPEN", "cancel": "OPEN", "cancel, over": "DECLINED"}

    assert not broken(
        [cell for cell in cells("Refusals of calls") if cell.column in stays],
        lambda cell: cell.state == stays[cell.column] and not cell.says("anew"),
    )


def test_every_refused_call_is_followed_by_a_question() -> None:
    """F.5 a; B.7 for the debit, that is waited for first."""
    first = [cell for cell in cells("Refusals of calls") if "seventh" not in cell.column]

    assert not broken(
        first,
        lambda cell: cell.step.startswith("Ask") or (cell.row == "debit_in_flight" and cell.step == "Rest"),
    )


def test_what_is_refused_for_hours_is_for_a_person() -> None:
    """F.5 d; design 2: every wait has an end, and a problem is told."""
    late = [cell for cell in cells(*UNSIGNED) if re.search("seventh|for hours", cell.column)]

    assert not broken(late, lambda cell: cell.problem == "CODE")


def test_one_unsigned_answer_ends_nothing_and_drops_nothing() -> None:
    """F.5 c; B.4."""
    once = {"no order", "no order, too soon again", "never enabled (unsigned)", "no order, again, a send unknown"}
    single = [cell for cell in cells(*OUTCOMES) if cell.column in once and cell.row not in HEARD_BEFORE]

    assert not broken(single, lambda cell: not ends_without_charge(cell) and not cell.says("anew") and not cell.problem)


HEARD_BEFORE: Final = frozenset({"in doubt: create refused, absent once", "in doubt: cancelled, absent once"})


def test_a_trip_ends_without_a_charge_only_on_signed_word_or_on_two_answers_that_there_is_no_order() -> None:
    """F.5 a, c; design 3.3."""
    assert not broken(
        cells(*OUTCOMES),
        lambda cell: not ends_without_charge(cell) or cell.column in SIGNED_ENDS | TWICE or is_waived_end(cell),
    )


def is_waived_end(cell: Cell) -> bool:
    return cell.row.startswith("waived") and cell.column in WAIVED_ENDS


def test_a_fare_that_was_waived_is_given_up_once_wechat_collects_no_more_and_not_before() -> None:
    """B.7; 0.4: a debit that was faster is money that came in."""
    told = [cell for cell in cells("What WeChat Pay shows", "Asked") if cell.row.startswith("waived")]

    assert not broken(told, lambda cell: ends_without_charge(cell) is (cell.column in WAIVED_ENDS))
    assert not broken([cell for cell in told if cell.column == "DONE"], lambda cell: cell.state == "PAID")
    assert not broken([cell for cell in told if cell.column == "DONE, less paid"], lambda cell: bool(cell.problem))


def test_one_refusal_to_cancel_what_is_collected_changes_nothing() -> None:
    """F.5 a: it is unsigned; the same again, and only twice refused another way is taken."""
    asked = {(cell.row, cell.column): cell.step for cell in cells("Asked")}

    assert asked["waived, cancel refused", "COLLECTING"] == "CancelOrder"
    assert asked["waived, cancel refused again", "COLLECTING"] == "Stop"  # payafter has no other way


def test_a_service_that_is_off_ends_no_trip_whose_create_was_sent() -> None:
    """C.4; F.5 a, c: that it was refused nobody has signed."""
    off = ("not enabled", "never enabled (unsigned), again")
    unknown = [cell for cell in cells("Not permitted") if cell.row != "started" and cell.column in off]

    assert not broken(unknown, lambda cell: (cell.state, cell.step) == ("NOTED", "AskOrder"))


def test_an_end_that_no_signed_word_of_the_order_stands_behind_is_looked_at_once_more() -> None:
    """F.5 c; B.5: no order stays alive for a trip that is over."""
    signed = SIGNED_ENDS - {"not enabled"}
    unsigned = [
        cell
        for cell in cells()
        if ends_without_charge(cell)
        and cell.column not in signed
        and cell.row not in ASKED_FOR_NOTHING
        and not cell.column.startswith("service state")  # asked before anything was sent
        and not is_waived_end(cell)
    ]

    assert not broken(unsigned, lambda cell: cell.says("look"))


def test_a_running_order_wins_over_a_refused_create() -> None:
    """F.5 c."""
    running = [cell for cell in cells("After a refused create") if cell.column == "running"]

    assert not broken(running, lambda cell: cell.state == "OPEN")


def test_no_such_order_after_an_accepted_create_is_lag() -> None:
    """F.5 e; B.4: also where the trip is over and its order was shown running."""
    accepted = [
        cell
        for cell in cells("Asked", "After a refused complete", "After a refused cancel", *OVER_TABLES)
        if cell.column in ("no order", "no order, again") and was_accepted(cell)
    ]

    assert not broken(accepted, lambda cell: cell.step == "Rest" and not ends_without_charge(cell) and not cell.problem)
    assert not broken([cell for cell in accepted if was_over(cell)], lambda cell: cell.says("runs"))


OVER_TABLES: Final = ("After a refused cancel of a trip that is over", "Ends and the late look")


def was_accepted(cell: Cell) -> bool:
    if cell.table.startswith("After"):
        return True
    return cell.row.startswith(
        ("accepted", "open", "completed", "in doubt: comp", "in doubt: cancel ", "in doubt: q")
    ) or ("order runs" in cell.row)


def test_no_order_stays_alive_for_a_trip_that_is_over() -> None:
    """B.5."""
    alive = [
        cell
        for cell in cells("What WeChat Pay shows", "Asked", *OVER_TABLES)
        if cell.column in ("RUNNING", "CREATED", "running")
        and was_over(cell)
        and not cell.row.startswith(("paid", "with"))
    ]

    assert not broken(
        alive,
        lambda cell: (cell.says("runs") and cell.step == "CancelOrder") or (cell.text == "=" and "runs" in cell.row),
    )


def test_a_trip_that_is_over_never_goes_on_as_if_it_were_not() -> None:
    """0.5; B.5: a late acceptance is cancelled, money is shown to a person, and the end stays what it was."""
    assert not broken(
        [cell for cell in cells() if was_over(cell)],
        lambda cell: cell.state in {"", "PAID" if cell.row == "paid" else "", *NO_CHARGE} - {"PAID"},
    )


def test_money_for_a_trip_that_was_given_up_is_shown_to_a_person() -> None:
    """0.4, F.5 a: what was charged is told, never kept silently, never a dead letter."""
    money = [
        cell
        for cell in cells("What WeChat Pay shows", "Asked", *OVER_TABLES)
        if cell.column.upper().startswith(("COLLECTING", "DONE"))
        and cell.column != "DONE, nothing to pay"
        and was_over(cell)
        and not cell.row.startswith(("paid", "with"))
    ]

    assert not broken(money, lambda cell: cell.problem == "charged_though_over")


def test_paid_is_only_what_is_done_in_full() -> None:
    """0.4; design 3.4."""
    in_full = {"DONE", "done", "DONE, other transaction", "DONE, transactions untold"}

    assert not broken(cells(), lambda cell: cell.state != "PAID" or cell.column in in_full)


def test_paid_in_full_settles_every_trip_that_owes_it_and_outranks_every_stop() -> None:
    """F.5 f; 0.4."""
    in_full = [
        cell
        for cell in cells("What WeChat Pay shows", "Asked", "After a refused complete")
        if cell.column in ("DONE", "done") and (cell.row in OWED or cell.table.startswith("After"))
    ]

    assert not broken(in_full, lambda cell: cell.state == "PAID")


def test_our_amount_is_taken_for_accepted_whoever_asked_for_it() -> None:
    """0.4; 0.5: the answer to our complete was lost, or somebody else completed with exactly what is owed."""
    collecting = [
        cell
        for cell in cells("What WeChat Pay shows", "Asked", "After a refused complete")
        if cell.column in ("COLLECTING", "collecting") and (cell.row in OWED or cell.table.startswith("After"))
    ]

    assert not broken(collecting, lambda cell: cell.state == "COMPLETED" or cell.text == "=")


def test_another_amount_than_ours_never_settles_a_trip() -> None:
    """0.4; design 3.4: nothing is rounded away."""
    other = [cell for cell in cells(*OUTCOMES) if re.search("other total|less paid|nothing to pay", cell.column)]

    assert not broken(other, lambda cell: cell.state not in ("PAID", "COMPLETED"))
    assert not broken(
        [cell for cell in other if not cell.row.startswith(("with a problem", "paid"))],
        lambda cell: (
            bool(cell.problem) or is_waived_end(cell) or (is_over(cell.row) and cell.column == "DONE, nothing to pay")
        ),
    )


def test_a_missing_transaction_is_no_other_one() -> None:
    """F.5 i."""
    untold = [cell for cell in cells("What WeChat Pay shows") if cell.column == "DONE, transactions untold"]
    in_full = {cell.row: cell.text for cell in cells("What WeChat Pay shows") if cell.column == "DONE"}

    assert not broken(untold, lambda cell: cell.text == in_full[cell.row])


def test_a_trip_with_a_problem_hears_signed_ends() -> None:
    """F.5 f; 0.5."""
    stopped = [
        cell
        for cell in cells("What WeChat Pay shows")
        if cell.row.startswith(("with a problem, creating", "with a problem, open", "with a problem, ended"))
        and cell.column in ("REVOKED", "EXPIRED")
    ]

    assert not broken(stopped, lambda cell: cell.state == "DECLINED")


def test_a_trip_with_a_problem_hears_facts() -> None:
    """Design 2: a fact is noted or refused by what is noted, and never by the problem."""
    twins = {
        "with a problem, creating": "creating",
        "with a problem, creating and ended": "creating, ended",
        "with a problem, open": "open",
        "with a problem, ended and completing": "completing",
        "with a problem": "completed",
    }
    heard = {(cell.row, cell.column): (cell.state, cell.text[0]) for cell in cells("Facts")}

    for stopped, twin in twins.items():
        for fact in FACTS:
            assert heard[stopped, fact] == heard[twin, fact], (stopped, fact)


def test_a_word_that_no_table_knows_decides_nothing() -> None:
    """0.13."""
    told = [cell for cell in cells("What WeChat Pay shows") if cell.column == "UNKNOWN"]
    answered = [cell for cell in cells("Asked") if cell.column == "UNKNOWN"]

    assert not broken(told, lambda cell: cell.text == "=")
    assert not broken(answered, lambda cell: cell.step == "Rest" and not ends_without_charge(cell) and not cell.problem)


def test_an_answer_is_never_followed_by_the_same_question_at_once() -> None:
    """F.5 d; design 2: every loop has a bound."""
    too_soon = [cell for cell in cells("Asked") if not (cell.row in HEARD_BEFORE and cell.column == "no order")]

    assert not broken(too_soon, lambda cell: cell.text != "=" and cell.step != "AskOrder")


def test_an_answer_that_cannot_be_is_lag_until_it_stays() -> None:
    """F.5 d; B.4: a running order after an accepted complete may come from a replica that is behind."""
    odd = [cell for cell in cells("Asked") if cell.column in ("CREATED", "RUNNING", "UNKNOWN")]

    assert not broken(odd, lambda cell: not cell.problem)


def test_the_late_look_is_taken_and_what_it_finds_is_cancelled() -> None:
    """F.5 c; B.5."""
    looks = [
        cell for cell in cells("Ends and the late look") if cell.column.startswith("needs") and "order" in cell.row
    ]
    needs = {"needs": {"Rest"}, "needs, later": {"AskOrder"}}

    assert not broken(
        looks,
        lambda cell: (
            cell.text in ("CancelOrder", "AskOrder") if "runs" in cell.row else cell.text in needs[cell.column]
        ),
    )


def test_a_body_is_dropped_only_where_every_send_was_refused_and_the_order_is_seen_unmoved() -> None:
    """B.10; F.5 h: for any parameter, and for a create refused under settings that have changed since (F.5 g)."""
    unmoved = {"running", "running, refused so twice", "running, refused otherwise before"} | TWICE

    assert not broken(
        cells(),
        lambda cell: not cell.says("anew") or (cell.row in PARAMETERS | {"misconfigured"} and cell.column in unmoved),
    )
    assert not broken(
        [
            cell
            for cell in cells()
            if cell.row in PARAMETERS
            and cell.table.startswith("After")
            and cell.column in ("running", "no order, again")
            and (cell.column == "running") != (cell.table == "After a refused create")
            and not (cell.column == "no order, again" and cell.table != "After a refused create")
        ],
        lambda cell: cell.says("anew"),
    )


def test_no_completed_order_is_cancelled_by_itself() -> None:
    """0.11; B.7: only a person does that."""
    unwaived = [cell for cell in cells() if not cell.row.startswith("waived")]
    assert not broken(unwaived, lambda cell: not (cell.state == "COMPLETED" and cell.step == "CancelOrder"))
    outcome_cells = [cell for cell in cells(*OUTCOMES) if not cell.row.startswith("waived")]
    collecting = [cell for cell in outcome_cells if cell.column.upper().startswith(("COLLECTING", "DONE"))]

    assert not broken(collecting, lambda cell: cell.step != "CancelOrder")


def test_a_fare_is_given_up_only_when_it_was_refused_for_its_amount_twice() -> None:
    """F.2; F.5 a: one unsigned answer decides nothing about money."""
    given_up = [cell for cell in cells("After a refused complete") if "CancelOrder" in cell.text]

    assert [(cell.row, cell.column) for cell in given_up] == [("amount_over_limit", "running, refused so twice")]


def test_an_order_is_open_only_when_it_runs() -> None:
    """0.3: an accepted create asks; one that waits for a confirmation is cancelled."""
    opening = [cell for cell in cells("What WeChat Pay shows") if cell.row.startswith("creating")]

    assert not broken(
        [cell for cell in opening if cell.column == "ACCEPTED"], lambda cell: cell.step in ("AskOrder", "CancelOrder")
    )
    assert not broken([cell for cell in opening if cell.column == "CREATED"], lambda cell: cell.step == "CancelOrder")


def test_the_same_fact_again_changes_nothing_and_another_is_refused() -> None:
    """Design 2: money is never silently overwritten."""
    for same, other in (("start", "another start"), ("end", "another end"), ("cancellation", "another cancellation")):
        facts = {(cell.row, cell.column): cell.text for cell in cells("Facts")}
        for situation in SITUATIONS:
            if facts[situation, same] == "=":
                assert facts[situation, other].startswith("✘"), (situation, other)


def test_a_cancellation_never_undoes_a_ride_that_ended() -> None:
    """Design 2: its fare is owed."""
    ended = [cell for cell in cells("Facts") if "ended" in cell.row and cell.column == "cancellation"]

    assert not broken(ended, lambda cell: cell.text == "✘ IllegalTransition")


def test_a_trip_that_may_have_an_order_is_not_cancelled_before_it_is_asked_about() -> None:
    """F.5 c; B.5."""
    asked_for = [
        cell
        for cell in cells("Facts")
        if cell.column == "cancellation" and not is_over(cell.row) and cell.row not in ASKED_FOR_NOTHING
    ]

    assert not broken(asked_for, lambda cell: cell.state != "CANCELLED" or cell.says("look"))
