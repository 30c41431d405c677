"""The refunds of docs/state-table.md, read as the trips' tables are: run against the code, and against the laws."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from payscore_worker.domain import refund as refunds
from payscore_worker.domain.next_step import Rest
from payscore_worker.domain.refund import (
    GAP,
    HOPELESS,
    LONGEST_PROCESSING,
    MAX_REFUNDS,
    PAUSES,
    REFUNDABLE_FOR,
    GivenUp,
    Known,
    Pair,
    Refund,
    RefundPhase,
    RefundSeen,
    RefundState,
    give_up,
    left_fen,
    next_step,
    see,
    see_that_it_is_the_same,
)
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from tests.builders import (
    MCHID,
    NOW,
    REFUND_SITUATIONS,
    SITUATIONS,
    a_paid_trip,
    a_refused,
    a_request,
    a_word,
    requested,
)
from tests.unit.domain.state_table import CANNOT_BE, Cell, broken, by_row, differing, rules, table

SECOND: Final = timedelta(seconds=1)

Event = tuple[Callable[[Pair], Pair], datetime]
"""What happens to a refund, and when its next step is looked for."""


# --- What can be refunded ---


def _after_refunds(count: int, *, amount_fen: int, word: RefundPhase | None = None) -> Trip:
    trip = a_paid_trip()
    for number in range(count):
        pair = requested(trip, refund_id=f"old{number}", amount_fen=amount_fen)
        trip, _ = pair if word is None else see(*pair, a_word(word, amount_fen=amount_fen), NOW)
    return trip


def _nothing_collected() -> Trip:
    trip = a_paid_trip()
    assert trip.payment is not None
    return replace(trip, payment=replace(trip.payment, debits=()))


PAYMENTS: Final[Mapping[str, Callable[[], Trip]]] = {
    "completed": SITUATIONS["completed"],
    "declined": SITUATIONS["declined"],
    "cancelled": SITUATIONS["cancelled"],
    "paid": a_paid_trip,
    "paid, nothing collected": _nothing_collected,
    "paid, a refund under way": lambda: _after_refunds(1, amount_fen=1_000),
    "paid, a refund went back": lambda: _after_refunds(1, amount_fen=1_000, word=RefundPhase.SUCCESS),
    "paid, a refund failed": lambda: _after_refunds(1, amount_fen=1_000, word=RefundPhase.CLOSED),
    "paid, all under way": lambda: _after_refunds(1, amount_fen=3_200),
    "paid, all went back": lambda: _after_refunds(1, amount_fen=3_200, word=RefundPhase.SUCCESS),
    "paid, refunded fifty times": lambda: _after_refunds(MAX_REFUNDS, amount_fen=1, word=RefundPhase.SUCCESS),
    "paid in two debits": lambda: a_paid_trip(1_500, 1_700),
    "paid in two debits, amounts untold": lambda: a_paid_trip(None, None),
    "paid a year ago": lambda: a_paid_trip(paid_at=NOW - REFUNDABLE_FOR),
    "paid over a year ago": lambda: a_paid_trip(paid_at=NOW - REFUNDABLE_FOR - SECOND),
}

AMOUNTS: Final[Mapping[str, Callable[[int], int]]] = {
    "one fen": lambda _: 1,
    "all that is left": lambda left: left,
    "one fen more than is left": lambda left: left + 1,
}


def _left(trip: Trip) -> int:
    if trip.payment is None:
        return 3_200
    return max((left_fen(trip.payment, debit) for debit in trip.payment.debits), default=0)


def a_new_refund(row: str, column: str) -> str:
    """Ask for a refund of a trip, and say in the page's words what becomes of that."""
    trip = PAYMENTS[row]()
    amount_fen = AMOUNTS[column](_left(trip))
    if not amount_fen:
        return CANNOT_BE
    try:
        after, refund = refunds.request(trip, a_request(amount_fen=amount_fen), NOW, mchid=MCHID)
    except IllegalTransition:
        return "✘ IllegalTransition"
    return f"{refund.state.value}{_marks(trip, after)} → {needed(refund)}"


# --- What happens, in the words of the page's columns ---

AGAIN: Final = {
    "the same": a_request(),
    "another amount": a_request(amount_fen=999),
    "another reason": a_request(reason="堵车"),
    "another trip": a_request(trip_id="t2"),
}


def again(column: str) -> Event:
    def hear(pair: Pair) -> Pair:
        see_that_it_is_the_same(pair[1], AGAIN[column])
        return pair

    return hear, NOW


WORDS: Final[Mapping[str, RefundSeen]] = {
    **{phase.value: a_word(phase) for phase in RefundPhase},
    "SUCCESS, amount untold": a_word(amount_fen=None),
    "SUCCESS, total untold": a_word(total_fen=None),
    "CLOSED, amounts untold": a_word(RefundPhase.CLOSED, amount_fen=None, total_fen=None),
    "PROCESSING, other amount": a_word(RefundPhase.PROCESSING, amount_fen=999),
    "SUCCESS, other amount": a_word(amount_fen=999),
    "SUCCESS, other total": a_word(total_fen=3_201),
    "CLOSED, other amount": a_word(RefundPhase.CLOSED, amount_fen=999),
    "ABNORMAL, other amount": a_word(RefundPhase.ABNORMAL, amount_fen=999),
}


def seen(column: str) -> Event:
    return lambda pair: see(*pair, WORDS[column], NOW), NOW


def refund_of(change: Callable[[Refund], Refund], *, at: datetime = NOW) -> Event:
    return lambda pair: (pair[0], change(pair[1])), at


def _send(row: str, column: str) -> tuple[Pair, Event]:
    trip, refund = REFUND_SITUATIONS["sent"]()
    if column == "send, so before":
        refund = replace(refund, refusals=1, refused_as=row)
    if column == "send, seventh time":
        refund = replace(refund, refusals=len(PAUSES))
    at = NOW + PAUSES[0] if column == "send, after its pause" else NOW
    return (trip, refund), refund_of(lambda one: refunds.refused(one, a_refused(Refusal(row)), NOW), at=at)


SENDS: Final = ("send", "send, after its pause", "send, so before", "send, seventh time")

QUESTIONS: Final[Mapping[str, tuple[str, int]]] = {
    "refused": ("sent, refused", 0),
    "refused, for hours": ("sent, refused", len(PAUSES)),
    "accepted": ("accepted", 0),
    "accepted, for hours": ("accepted", len(PAUSES)),
    "refunded": ("refunded", 0),
    "failed": ("failed", 0),
}
"""The situation in which it is asked, and how many questions in a row brought no word before."""


def _question(row: str, column: str) -> tuple[Pair, Event]:
    situation, unanswered = QUESTIONS[column]
    trip, refund = REFUND_SITUATIONS[situation]()
    no_word = refunds.not_found if Refusal(row) is Refusal.RESOURCE_NOT_FOUND else refunds.no_answer
    event = refund_of(lambda one: no_word(one, a_refused(Refusal(row), step="AskRefund"), NOW))
    return (trip, replace(refund, unanswered=unanswered)), event


BY_LI: Final = GivenUp(by="li", reason="现金")

GIVING_UP: Final[Mapping[str, Known]] = {
    "no such refund": Known(seen=None, certain=True),
    "no such refund, a send in doubt": Known(seen=None),
    **{
        phase.value: Known(seen=a_word(phase), certain=True)
        for phase in RefundPhase
        if phase is not RefundPhase.UNKNOWN
    },
}


def giving_up(column: str) -> Event:
    return lambda pair: give_up(*pair, BY_LI, GIVING_UP[column]), NOW


TIMES: Final = ("needs", "needs, when it is due", "needs, fifteen days later", "a person has looked")


def time(row: str, column: str) -> str:
    """Say in the page's words what a refund needs, at once and in time."""
    trip, refund = REFUND_SITUATIONS[row]()
    if column == "needs":
        return needed(refund)
    if column == "a person has looked":
        looked = refund_of(lambda one: refunds.without_problem(one, NOW))
        return CANNOT_BE if refund.problem is None else described((trip, refund), looked)
    step = next_step(refund, NOW)
    if column == "needs, when it is due":
        return needed(refund, step.until) if isinstance(step, Rest) and step.until is not None else CANNOT_BE
    later = NOW + LONGEST_PROCESSING
    answered = refunds.asked(refund, later) if needed(refund, later) == "AskRefund" else refund
    return needed(answered if refund.state is RefundState.ACCEPTED else refund, later)


TABLES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "What can be refunded": (tuple(PAYMENTS), tuple(AMOUNTS)),
    "A refund is asked for again": (tuple(REFUND_SITUATIONS), tuple(AGAIN)),
    "What WeChat Pay shows of a refund": (tuple(REFUND_SITUATIONS), tuple(WORDS)),
    "Refused refunds": (tuple(Refusal), SENDS),
    "Refused questions about a refund": (tuple(Refusal), tuple(QUESTIONS)),
    "A person gives a refund up": (tuple(REFUND_SITUATIONS), tuple(GIVING_UP)),
    "What a refund needs": (tuple(REFUND_SITUATIONS), TIMES),
}
"""Each table of refunds, its rows and its columns."""


def cells(*headings: str) -> tuple[Cell, ...]:
    return tuple(cell for heading in headings or TABLES for cell in table(heading)[0])


# --- What the code makes of a cell ---


def described(before: Pair, event: Event) -> str:
    """Say in the page's words what an event makes of a refund and its trip."""
    change, at = event
    try:
        after = change(before)
    except (ConflictingFact, IllegalTransition) as error:
        return f"✘ {type(error).__name__}"
    if after == before:
        return "="
    problem = after[1].problem
    if problem is not None and problem != before[1].problem:
        return f"problem {problem.code}"
    return f"{after[1].state.value}{_marks(before[0], after[0])} → {needed(after[1], at)}"


def _marks(before: Trip, after: Trip) -> str:
    """Say what has become of the money on the trip."""
    if before.payment is None or after.payment is None or before == after:
        return ""
    reserved = after.payment.reserved_fen - before.payment.reserved_fen
    refunded = after.payment.refunded_fen - before.payment.refunded_fen
    assert refunded in (0, -reserved)
    if refunded:
        return ", booked"
    return ", reserved" if reserved > 0 else ", freed"


def needed(refund: Refund, now: datetime = NOW) -> str:
    return type(next_step(refund, now)).__name__


def outcome(cell: Cell) -> str:
    """Run a cell against the code."""
    match cell.table:
        case "What can be refunded":
            return a_new_refund(cell.row, cell.column)
        case "What a refund needs":
            return time(cell.row, cell.column)
        case "Refused refunds":
            return described(*_send(cell.row, cell.column))
        case "Refused questions about a refund":
            return described(*_question(cell.row, cell.column))
        case "A person gives a refund up":
            return described(REFUND_SITUATIONS[cell.row](), giving_up(cell.column))
        case "A refund is asked for again":
            return described(REFUND_SITUATIONS[cell.row](), again(cell.column))
        case _:
            return described(REFUND_SITUATIONS[cell.row](), seen(cell.column))


# --- The code does what the page says ---


@pytest.mark.parametrize("row", by_row(cells()))
def test_the_code_does_what_the_page_says(row: tuple[Cell, ...]) -> None:
    assert differing(row, outcome) == []


@pytest.mark.parametrize("heading", TABLES)
def test_the_tables_decide_every_case(heading: str) -> None:
    rows, columns = TABLES[heading]

    assert [(cell.row, cell.column) for cell in cells(heading)] == [(row, name) for row in rows for name in columns]


# --- The page says what the rules demand ---

SHOWN: Final = "What WeChat Pay shows of a refund"
SENT_BACK: Final = frozenset({"SUCCESS", "SUCCESS, total untold"})
CLOSED: Final = frozenset({"CLOSED", "CLOSED, amounts untold"})
GIVEN_UP: Final = "A person gives a refund up"
REFUSALS: Final = ("Refused refunds", "Refused questions about a refund")


def is_over(row: str) -> bool:
    return row.endswith(("refunded", "failed"))


def ends_as(cell: Cell, state: str) -> bool:
    return cell.state == state and not is_over(cell.row)


def was_accepted(row: str) -> bool:
    return row.startswith(("accepted", "with a problem, a", "with a problem, slow"))


@pytest.mark.parametrize("heading", TABLES)
def test_every_row_names_the_rules_it_follows_from(heading: str) -> None:
    for row, cited in table(heading)[1].items():
        assert cited, f"{row} names no rule"
        assert set(cited.split(", ")) <= rules(), f"{row} names a rule that the page does not state"


def test_money_went_back_or_never_will_only_by_a_signed_word_of_our_amount() -> None:
    """G.1; F.5 a; design 14. A refund that a person gives up is one that WeChat does not have."""
    ends = {"REFUNDED": SENT_BACK, "FAILED": CLOSED}

    assert not broken(
        [cell for cell in cells() if not is_over(cell.row) and cell.table != GIVEN_UP],
        lambda cell: cell.state not in ends or (cell.table == SHOWN and cell.column in ends[cell.state]),
    )


def test_a_person_ends_only_a_refund_that_wechat_refuses_and_does_not_have() -> None:
    """F.5 c; G.1; G.2: what may have been accepted may go back, and what WeChat has it ends itself."""
    ends = [cell for cell in cells(GIVEN_UP) if not cell.text.startswith("✘ IllegalTransition")]

    assert [(cell.row, cell.column, cell.text) for cell in ends] == [
        ("with a problem, refused", "no such refund", "FAILED, freed → Rest")
    ]


def test_a_signed_end_is_believed_wherever_the_refund_stood_and_outranks_every_problem() -> None:
    """G.1; F.5 f."""
    under_way = [cell for cell in cells(SHOWN) if not is_over(cell.row)]

    assert not broken(
        [cell for cell in under_way if cell.column in SENT_BACK], lambda cell: cell.text == "REFUNDED, booked → Rest"
    )
    assert not broken(
        [cell for cell in under_way if cell.column in CLOSED], lambda cell: cell.text == "FAILED, freed → Rest"
    )


def test_a_reservation_is_booked_or_freed_with_the_end_of_its_refund_and_by_nothing_else() -> None:
    """Design 10: a refusal, an absence or a wait frees nothing."""
    assert not broken(cells(), lambda cell: cell.says("booked") is ends_as(cell, "REFUNDED"))
    assert not broken(cells(), lambda cell: cell.says("freed") is ends_as(cell, "FAILED"))


def test_a_refund_that_is_asked_for_reserves_what_it_will_send_back() -> None:
    """Design 10."""
    assert not broken(
        cells("What can be refunded"), lambda cell: cell.state == "" or cell.text.startswith("REQUESTED, reserved → ")
    )
    assert not broken(
        [cell for cell in cells() if cell.table != "What can be refunded"], lambda cell: not cell.says("reserved")
    )


def test_never_more_goes_back_than_was_collected() -> None:
    """Design 10."""
    too_much = [cell for cell in cells("What can be refunded") if cell.column == "one fen more than is left"]
    spent = [cell for cell in cells("What can be refunded") if cell.row.startswith("paid, all")]

    assert not broken([*too_much, *spent], lambda cell: cell.text == "✘ IllegalTransition")


def test_only_a_trip_of_which_money_was_collected_is_refunded() -> None:
    """G.1."""
    unpaid = [
        cell
        for cell in cells("What can be refunded")
        if not cell.row.startswith("paid") or cell.row.endswith(("nothing collected", "untold"))
    ]

    assert not broken(unpaid, lambda cell: cell.text == "✘ IllegalTransition")


def test_what_wechat_would_not_refund_is_not_asked_of_it() -> None:
    """G.1."""
    refused = [cell for cell in cells("What can be refunded") if cell.row.endswith(("fifty times", "over a year ago"))]
    taken = [
        cell
        for cell in cells("What can be refunded")
        if cell.column != "one fen more than is left" and cell.row.endswith(("paid", "debits", " a year ago"))
        if "over" not in cell.row
    ]

    assert not broken(refused, lambda cell: cell.text == "✘ IllegalTransition")
    assert not broken(taken, lambda cell: cell.step == "SendRefund")


def test_the_next_refund_of_a_payment_waits_a_minute_whatever_became_of_the_one_before() -> None:
    """G.1."""
    soon = [
        cell
        for cell in cells("What can be refunded")
        if cell.row.startswith("paid, a refund") and cell.column != "one fen more than is left"
    ]

    assert not broken(soon, lambda cell: cell.text == "REQUESTED, reserved → Rest")
    assert timedelta(minutes=1) < GAP


def test_the_same_request_again_changes_nothing_and_another_is_refused() -> None:
    """Design 2; design 12: there is no second number."""
    assert not broken(
        cells("A refund is asked for again"),
        lambda cell: cell.text == ("=" if cell.column == "the same" else "✘ ConflictingFact"),
    )


def test_no_refusal_ends_a_refund_or_moves_it() -> None:
    """F.5 a."""
    assert not broken(cells(*REFUSALS), lambda cell: cell.state in ("", "REQUESTED", "ACCEPTED"))
    assert not broken(
        [cell for cell in cells(*REFUSALS) if cell.column.startswith("accepted")],
        lambda cell: cell.state in ("", "ACCEPTED"),
    )


def test_no_refusal_is_for_a_person_the_first_time() -> None:
    """F.5 d."""
    first = [cell for cell in cells(*REFUSALS) if not re.search("before|seventh|for hours", cell.column)]

    assert not broken(first, lambda cell: not cell.problem)


def test_every_refused_send_is_followed_by_a_question_and_not_at_once() -> None:
    """F.5 a; G.1: the money may be on its way all the same."""
    sends = {column: [cell for cell in cells("Refused refunds") if cell.column == column] for column in SENDS}

    assert not broken(sends["send"], lambda cell: cell.step == "Rest")
    assert not broken(sends["send, after its pause"], lambda cell: cell.step == "AskRefund")


def test_only_what_no_waiting_changes_is_for_a_person_the_second_time() -> None:
    """G.2."""
    second = [cell for cell in cells("Refused refunds") if cell.column == "send, so before"]

    assert not broken(second, lambda cell: bool(cell.problem) is (Refusal(cell.row) in HOPELESS))


def test_what_is_refused_for_hours_is_for_a_person() -> None:
    """F.5 d: every wait has an end."""
    late = [
        cell
        for cell in cells(*REFUSALS)
        if re.search("seventh|for hours", cell.column)
        and (cell.row, cell.column) != ("resource_not_found", "refused, for hours")  # that is an answer
    ]

    assert not broken(late, lambda cell: cell.problem == "CODE")


def test_the_same_bytes_are_sent_again_only_where_wechat_has_not_accepted_them() -> None:
    """G.1; G.3; F.5 e: once they were accepted, "no such refund" is lag."""
    sends = [cell for cell in cells(SHOWN, *REFUSALS) if cell.step == "SendRefund"]

    assert [(cell.row, cell.column) for cell in sends] == [
        ("resource_not_found", "refused"),
        ("resource_not_found", "refused, for hours"),
    ]


def test_a_refund_that_is_over_stays_so_whatever_is_heard() -> None:
    """0.5; design 2."""
    over = [
        cell
        for cell in cells("A refund is asked for again", SHOWN, *REFUSALS)
        if is_over(cell.row) or cell.column in ("refunded", "failed")
    ]

    assert not broken(
        over, lambda cell: cell.text in ("=", "✘ ConflictingFact") or cell.problem == "refund_amount_differs"
    )
    ended = [cell for cell in cells("What a refund needs") if is_over(cell.row)]
    assert not broken(ended, lambda cell: cell.text == "Rest" or cell.text.endswith(" → Rest"))


def test_a_word_against_how_a_refund_ended_is_refused_and_never_believed() -> None:
    """Design 2: money is never silently overwritten."""
    against = [
        cell
        for cell in cells(SHOWN)
        if (cell.row.endswith("refunded") and cell.column in CLOSED)
        or (cell.row.endswith("failed") and cell.column in SENT_BACK)
    ]

    assert not broken(against, lambda cell: cell.text == "✘ ConflictingFact")


def test_another_amount_than_ours_is_for_a_person_and_decides_nothing() -> None:
    """Design 14."""
    other = [cell for cell in cells(SHOWN) if "other" in cell.column]
    known = ("amount differs", "with a problem, refunded", "with a problem, failed")

    assert not broken(other, lambda cell: cell.text in ("=", "problem refund_amount_differs"))
    assert not broken(other, lambda cell: (cell.text == "=") is cell.row.endswith(known))


def test_what_is_not_told_decides_nothing_and_contradicts_nothing() -> None:
    """0.13; F.5 i."""
    unclear = [cell for cell in cells(SHOWN) if cell.column in ("UNKNOWN", "SUCCESS, amount untold")]
    told = {(cell.row, cell.column): cell.text for cell in cells(SHOWN)}
    untold = [cell for cell in cells(SHOWN) if cell.column in ("SUCCESS, total untold", "CLOSED, amounts untold")]

    assert not broken(unclear, lambda cell: cell.text == "=")
    assert not broken(untold, lambda cell: cell.text == told[cell.row, cell.column.partition(",")[0]])


def test_what_cannot_be_delivered_is_shown_to_a_person_once() -> None:
    """G.1."""
    abnormal = [cell for cell in cells(SHOWN) if cell.column == "ABNORMAL"]

    assert not broken(
        abnormal,
        lambda cell: (
            cell.text == "="
            if is_over(cell.row) or cell.row.endswith("abnormal")
            else cell.problem == "refund_abnormal"
        ),
    )


def test_a_late_processing_takes_nothing_back() -> None:
    """0.5."""
    late = [cell for cell in cells(SHOWN) if cell.column == "PROCESSING"]

    assert not broken(
        late,
        lambda cell: cell.text == ("=" if was_accepted(cell.row) or is_over(cell.row) else "ACCEPTED → Rest"),
    )


def test_a_refund_with_a_problem_is_left_alone_until_a_person_has_looked_and_then_goes_on() -> None:
    """Design 2."""
    stopped = [cell for cell in cells("What a refund needs") if cell.row.startswith("with a problem")]
    looked = [cell for cell in stopped if cell.column == "a person has looked" and not is_over(cell.row)]

    assert not broken([cell for cell in stopped if cell.column.startswith("needs")], lambda cell: cell.text == "Rest")
    assert not broken(
        looked, lambda cell: cell.step == ("AskRefund" if was_accepted(cell.row) else "SendRefund") and not cell.problem
    )


def test_every_refund_under_way_has_a_next_step_in_time() -> None:
    """Design 2: every wait has an end."""
    under_way = [
        cell
        for cell in cells("What a refund needs")
        if cell.column in ("needs, when it is due", "needs, fifteen days later")
        and not is_over(cell.row)
        and not cell.row.startswith("with a problem")
    ]

    assert not broken(under_way, lambda cell: cell.text != "Rest")


def test_a_refund_that_was_not_accepted_is_never_given_up_by_time_alone() -> None:
    """F.5 a; G.3."""
    late = [cell for cell in cells("What a refund needs") if cell.column == "needs, fifteen days later"]

    assert not broken(late, lambda cell: (cell.text == "StopWaiting") is cell.row.startswith("accepted"))
