"""What a person may decide, for every situation of a trip and every word of WeChat Pay: the laws of money hold."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.decisions import AFTER_REFUSALS, VERBS, Decision, Known, Verb, decide, mark_of, verbs_for
from payscore_worker.domain.next_step import (
    CancelOrder,
    CompleteOrder,
    next_step,
)
from payscore_worker.domain.trip import (
    LATE_LOOK,
    TERMINAL,
    Asking,
    Cancelled,
    Declined,
    DeclineReason,
    Look,
    Lowered,
    Lowering,
    OrderPhase,
    OrderSeen,
    Payment,
    Problem,
    Sync,
    Trip,
    TripState,
    Waived,
    WrittenOff,
    note_ended,
    owed_fen,
)
from payscore_worker.errors import IllegalTransition
from tests.builders import (
    FARE_SITUATIONS,
    HOUR,
    NOW,
    PAYAFTER,
    SITUATIONS,
    a_lowered_fare,
    a_trip,
    an_end,
    an_order,
    debits,
)

LATER: Final = NOW + HOUR
"""The moment of a decision where what was before it was at NOW."""

ALL_CERTAIN: Final = frozenset({"OpenOrder", "CompleteOrder", "CancelOrder", "LowerOrder"})

WORDS: Final = {
    "no such order": None,
    "created": an_order(OrderPhase.CREATED),
    "running": an_order(OrderPhase.RUNNING),
    "collecting": an_order(OrderPhase.COLLECTING),
    "collecting less": an_order(OrderPhase.COLLECTING, total_fen=3_000),
    "collecting, nobody says what": an_order(OrderPhase.COLLECTING, total_fen=None),
    "done": an_order(OrderPhase.DONE),
    "done with less": an_order(OrderPhase.DONE, total_fen=3_000, paid_fen=3_000),
    "done with less, nobody says when": an_order(OrderPhase.DONE, total_fen=3_000, paid_fen=3_000, paid_at=None),
    "done, less paid": an_order(OrderPhase.DONE, paid_fen=3_000),
    "done, nothing paid": an_order(OrderPhase.DONE, paid_fen=0),
    "done, nobody says how much or when": an_order(OrderPhase.DONE, paid_fen=None, paid_at=None),
    "revoked": an_order(OrderPhase.REVOKED),
    "expired": an_order(OrderPhase.EXPIRED),
    "unknown": an_order(OrderPhase.UNKNOWN),
}
GONE: Final = (None, OrderPhase.REVOKED, OrderPhase.EXPIRED)


def a_problem(code: str = "PARAM_ERROR") -> Problem:
    return Problem(code=code, message="", request_id="", step="CompleteOrder", since=NOW)


def stuck(trip: Trip, code: str = "PARAM_ERROR") -> Trip:
    return outcomes.with_problem(trip, a_problem(code))


def a_decision(verb: Verb) -> Decision:
    return Decision(verb=verb, by="wang", reason="why")


def decided(
    trip: Trip, verb: Verb, order: OrderSeen | None, *, certain: frozenset[str] = ALL_CERTAIN, now: datetime = NOW
) -> Trip:
    return decide(trip, a_decision(verb), Known(order=order, certain=certain), now)


def whole(text: str) -> str:
    return f"^{re.escape(text)}$"


def taken_apart(case: str) -> tuple[Trip, Verb, OrderSeen | None]:
    """Read "situation; verb; word of WeChat Pay"; a trip that is "stuck" waits for a person."""
    situation, verb, word = case.split("; ")
    trip = SITUATIONS[situation.removesuffix(", stuck")]()
    return stuck(trip) if situation.endswith(", stuck") else trip, Verb(verb), WORDS[word]


def every_case() -> Iterator[tuple[str, Trip, Verb, str, OrderSeen | None]]:
    for situation, build in SITUATIONS.items():
        for trip in (build(), stuck(build())):
            for verb in Verb:
                for word, order in WORDS.items():
                    name = f"{situation}{', stuck' if trip.problem else ''}; {verb}; {word}"
                    yield name, trip, verb, word, order


def every_done() -> Iterator[tuple[str, Trip, Verb, OrderSeen | None, Trip]]:
    """What comes of every decision that is not refused, once by sends that are certain and once by others."""
    for name, trip, verb, _, order in every_case():
        for certain in (ALL_CERTAIN, frozenset[str]()):
            try:
                yield name, trip, verb, order, decided(trip, verb, order, certain=certain)
            except IllegalTransition:
                continue


DONE: Final = list(every_done())


def phase_of(order: OrderSeen | None) -> OrderPhase | None:
    return None if order is None else order.phase


# --- The laws ---


def test_no_trip_ends_over_an_order_that_runs_or_collects() -> None:
    for name, before, _, order, after in DONE:
        if after.state in TERMINAL and before.state not in TERMINAL:
            paid = after.state is TripState.PAID and phase_of(order) is OrderPhase.DONE
            nothing_left = phase_of(order) in GONE or (phase_of(order) is OrderPhase.DONE and order.paid_fen == 0)  # type: ignore[union-attr]
            assert paid or nothing_left, name


def test_no_trip_is_paid_without_wechats_signed_word_and_then_with_its_amount() -> None:
    for name, before, _, order, after in DONE:
        if after.state is TripState.PAID and before.state is not TripState.PAID:
            assert order is not None, name
            assert order.phase is OrderPhase.DONE, name
            assert after.payment is not None, name
            assert after.payment.paid_fen == (order.paid_fen or 0), name


def test_money_that_came_in_is_never_given_up_or_asked_for_again() -> None:
    for name, before, verb, _, after in DONE:
        if before.state is TripState.PAID:
            assert verb is Verb.CLEAR, name
            assert (after.state, after.payment) == (TripState.PAID, before.payment), name


def test_every_decision_ends_the_problem() -> None:
    for name, _, _, _, after in DONE:
        assert after.problem is None, name


def test_a_decision_changes_something_and_tells_what_it_changed() -> None:
    for name, before, _, _, after in DONE:
        assert after != before, name


def test_after_a_decision_there_is_a_next_step_or_the_trip_is_over() -> None:
    for name, _, _, _, after in DONE:
        next_step(after, NOW, PAYAFTER)  # raises where the row contradicts itself
        assert after.state is not TripState.COMPLETED or after.completed_at is not None, name


def test_a_trip_whose_order_may_be_on_its_way_is_looked_at_once_more() -> None:
    for name, before, _, order, after in DONE:
        ended = after.state in TERMINAL and before.state not in TERMINAL
        if ended and order is None and before.bodies:
            assert after.look is not None, name
            assert after.look.at == NOW + LATE_LOOK, name


def test_facts_that_the_ride_service_told_are_never_dropped() -> None:
    for name, before, _, _, after in DONE:
        assert (after.started, after.ended) == (before.started, before.ended), name
        assert before.cancelled is None or after.cancelled == before.cancelled, name


# --- Each problem has an end ---

TYPICAL: Final = {
    "amount_differs": ("completed", "done with less"),
    "completed_elsewhere": ("open", "done with less"),
    "charged_though_over": ("cancelled", "done with less"),
    "unexpected_order": ("started", "running"),
    "completion_lost": ("completed", "running"),
    "revoked_after_completion": ("completed", "revoked"),
    "lowering_lost": ("waived, lowered to nothing", "collecting"),
    "waive_refused": ("waived, not to be cancelled", "collecting"),
    "start_in_future": ("open, ended", "running"),
    "malformed_call": ("open, ended", "running"),
    "no_finish_ticket": ("open, ended", "running"),
    "no_package": ("accepted", "running"),
    "first_order_runs": ("open", "running"),
    "first_order_collects": ("paid", "done"),
    "malformed_answer": ("completed", "collecting"),
    "not_ours": ("completed", "collecting"),
    "unknown_state": ("completed", "unknown"),
    "sync_lost": ("completed", "collecting less"),
    "paid_twice": ("paid", "done"),
    "not_sent_back": ("paid", "done"),
    "PARAM_ERROR": ("completing", "running"),
}


def test_every_problem_is_tried_here() -> None:
    assert set(TYPICAL) == {*VERBS, "PARAM_ERROR"}


@pytest.mark.parametrize("code", TYPICAL)
def test_a_problem_is_ended_by_each_verb_that_is_named_for_it(code: str) -> None:
    situation, word = TYPICAL[code]
    trip = stuck(SITUATIONS[situation](), code)
    named = [verb for verb in verbs_for(code) if verb is not Verb.WRITE_OFF or WORDS[word] is None]

    for verb in named:
        if code == "unexpected_order" and verb is Verb.ACCEPT:
            continue  # once somebody has completed it
        assert decided(trip, verb, WORDS[word]).problem is None, verb
    if Verb.WRITE_OFF in verbs_for(code):
        gone = OrderPhase.REVOKED
        ended = trip if trip.ended is not None else note_ended(trip, an_end())
        assert decided(ended, Verb.WRITE_OFF, an_order(gone)).state is TripState.CANCELLED


def test_a_code_that_is_not_ours_may_be_ended_in_every_way() -> None:
    assert verbs_for("ORDER_NOT_EXIST") == verbs_for("risk_refused") == AFTER_REFUSALS


def test_a_trip_that_only_waits_may_be_given_up_and_nothing_else() -> None:
    assert verbs_for("") == (Verb.DECLINE, Verb.CANCEL, Verb.WRITE_OFF)


def test_a_trip_whose_money_is_out_may_be_asked_for_or_waived() -> None:
    assert verbs_for("", TripState.COMPLETED) == (Verb.PAY, Verb.WAIVE)


# --- What is refused, and what to do instead ---

COLLECTS: Final = "WeChat Pay collects for the order: waive has it collect no more"

REFUSED: Final[dict[str, tuple[str, ...]]] = {
    "the money is in; there is nothing to decide. A refund gives money back": (
        "paid; accept; done",
        "paid; write-off; revoked",
        "paid; rebuild; running",
        "paid; decline; unknown",
        "paid, stuck; cancel; no such order",
    ),
    "WeChat Pay does not say where the order stands; decide when it does": (
        "completed, stuck; accept; unknown",
        "completed, stuck; write-off; unknown",
        "completed, stuck; rebuild; unknown",
        "completed, stuck; decline; unknown",
        "completed, stuck; cancel; unknown",
        "completed; waive; unknown",
    ),
    "that is what the trip does already: advance takes it on": (
        "declining; decline; running",
        "declined, order runs; cancel; running",
        "waived; waive; collecting",
        "waived, lowered to nothing; waive; collecting",
    ),
    "the trip has no problem": (
        "completed; clear-problem; running",
        "declined, order runs; accept; revoked",
        "cancelled, order runs; accept; expired",
    ),
    # Accept
    "WeChat Pay knows no such order, and shows no amount: write-off, decline or rebuild": (
        "open, stuck; accept; no such order",
    ),
    "the order runs, and shows no amount yet: decline or cancel ends it": (
        "open, stuck; accept; running",
        "open, stuck; accept; created",
        "started, stuck; accept; created",
    ),
    "WeChat Pay shows what is owed; there is nothing to accept: clear-problem": (
        "completed; accept; collecting",
        "completed, stuck; accept; collecting",
        "completed, stuck; accept; collecting, nobody says what",
    ),
    "WeChat Pay does not say which amount; accept it when it does": (
        "open, stuck; accept; collecting, nobody says what",
        "completed, stuck; accept; done, nobody says how much or when",
    ),
    # Write off
    "the order runs, and can still be completed: cancel ends it without a charge": (
        "completed, stuck; write-off; running",
        "completed, stuck; write-off; created",
    ),
    f"{COLLECTS}; once the order is gone, write-off ends the trip": (
        "completed, stuck; write-off; collecting",
        "open; write-off; collecting less",
    ),
    "WeChat Pay shows money that came in: accept takes it for what was owed": (
        "completed, stuck; write-off; done",
        "completed, stuck; write-off; done, less paid",
        "completed, stuck; write-off; done, nobody says how much or when",
        "open; write-off; done",
    ),
    "no fare is owed: cancel or decline ends the trip": (
        "open, stuck; write-off; revoked",
        "nothing noted; write-off; no such order",
    ),
    # Waive
    "the fare was not asked for yet: cancel ends the trip without a charge": (
        "started; waive; no such order",
        "open; waive; running",
        "open, ended; waive; collecting",
        "completing; waive; running",
        "completed, stuck; waive; running",
        "completed; waive; created",
    ),
    "WeChat Pay has no order any more that it could collect: write-off ends the trip": (
        "completed, stuck; waive; revoked",
        "completed; waive; expired",
        "completed; waive; no such order",
    ),
    "WeChat Pay collects nothing any more: clear-problem takes its word for what it shows": (
        "completed; waive; done",
        "completed, stuck; waive; done, nothing paid",
    ),
    "WeChat Pay collects another amount than ours: accept it first": ("completed; waive; collecting less",),
    # Rebuild
    "the trip has no problem; its bytes stay binding": ("completing; rebuild; running", "creating; rebuild; running"),
    "the order does not stand where a body could be sent: COLLECTING, paid 0 of 3200 fen": (
        "completed, stuck; rebuild; collecting",
    ),
    "the order does not stand where a body could be sent: DONE, paid 3000 of 3200 fen": (
        "completed, stuck; rebuild; done, less paid",
    ),
    "the order does not stand where a body could be sent: REVOKED": ("completed, stuck; rebuild; revoked",),
    "WeChat Pay knows no such order: write-off or decline ends the trip": ("completed, stuck; rebuild; no such order",),
    "WeChat Pay knows no such order: decline, cancel or write-off ends the trip": (
        "completing, stuck; rebuild; no such order",
        "cancelling, stuck; rebuild; no such order",
    ),
    "WeChat Pay shows an order that we did not ask for: decline or cancel ends it": (
        "started, stuck; rebuild; running",
        "nothing noted, stuck; rebuild; created",
    ),
    "no create is prepared: clear-problem takes the trip up again": ("started, stuck; rebuild; no such order",),
    "no complete is prepared: clear-problem takes the trip up again": (
        "open, stuck; rebuild; running",
        "open, ended, stuck; rebuild; running",
    ),
    "the trip is DECLINED; no body is to be sent": ("declined, stuck; rebuild; running",),
    "the trip is CANCELLED; no body is to be sent": ("cancelled, stuck; rebuild; no such order",),
    # Decline and cancel
    "the trip was cancelled, and nothing is owed: cancel ends it": ("cancelling; decline; running",),
    "the fare was asked for, and the order is gone: write-off, or decline, ends the trip": (
        "completed, stuck; cancel; revoked",
        "completed, stuck; cancel; expired",
        "completed, stuck; cancel; no such order",
    ),
    COLLECTS: ("completed, stuck; decline; collecting", "open; cancel; collecting"),
    "WeChat Pay has charged: accept takes that for what was owed": (
        "completed, stuck; decline; done with less",
        "open; cancel; done",
    ),
    "the trip is DECLINED; there is nothing to decide": (
        "declined; decline; revoked",
        "declined; write-off; no such order",
        "declined; cancel; no such order",
        "declined; cancel; done",
        "declined; waive; collecting",
    ),
    "the trip is CANCELLED; there is nothing to decide": ("cancelled; cancel; revoked", "cancelled; decline; running"),
    "the trip is DECLINED: accept, or cancel once nothing is charged any more": ("declined, stuck; decline; revoked",),
    "the trip is CANCELLED: accept, or cancel once nothing is charged any more": (
        "cancelled, stuck; decline; revoked",
        "cancelled, stuck; write-off; revoked",
    ),
    "WeChat Pay charges for it: accept takes that for what was owed": (
        "cancelled, stuck; cancel; done",
        "declined, stuck; cancel; collecting",
    ),
}
"""What a person reads, and the situations, verbs and words of WeChat Pay that it answers."""


@pytest.mark.parametrize(("case", "why"), [(case, why) for why, cases in REFUSED.items() for case in cases])
def test_what_is_refused_says_why_and_what_to_do_instead(case: str, why: str) -> None:
    trip, verb, order = taken_apart(case)

    with pytest.raises(IllegalTransition, match=whole(why)):
        decided(trip, verb, order)


@pytest.mark.parametrize("situation", ["completing", "declining", "cancelling"])
@pytest.mark.parametrize("others", [frozenset[str](), ALL_CERTAIN])
def test_bytes_that_may_have_been_accepted_are_never_dropped_while_the_order_runs(
    situation: str, others: frozenset[str]
) -> None:
    binding = "CompleteOrder" if situation == "completing" else "CancelOrder"
    why = "a send of these bytes may have been accepted, so they stay binding: clear-problem sends them again"

    with pytest.raises(IllegalTransition, match=whole(why)):
        decided(stuck(SITUATIONS[situation]()), Verb.REBUILD, an_order(), certain=others - {binding})


@pytest.mark.parametrize("situation", ["nothing noted", "started", "ended, not started"])
def test_a_fare_whose_start_or_end_nobody_told_cannot_be_asked_for_anew(situation: str) -> None:
    accepted = decided(stuck(SITUATIONS[situation]()), Verb.ACCEPT, an_order(OrderPhase.COLLECTING))
    assert accepted.state is TripState.COMPLETED

    with pytest.raises(
        IllegalTransition, match=whole("there is no fare to complete it with: decline or cancel ends the trip")
    ):
        decided(stuck(accepted, "completion_lost"), Verb.REBUILD, an_order())


@pytest.mark.parametrize(
    "case",
    [
        "completing, stuck; rebuild; done",
        "completing, stuck; accept; done",
        "creating, stuck; rebuild; running",
        "creating, stuck; rebuild; created",
        "open, stuck; accept; revoked",
    ],
)
def test_wechats_word_that_leads_on_by_itself_makes_a_decision_needless(case: str) -> None:
    before, verb, order = taken_apart(case)
    assert order is not None

    after = decided(before, verb, order, now=LATER)

    assert after == outcomes.see(before, order, LATER)
    assert (after.problem, after.accepted_fen, after.written_off) == (None, None, None)


def test_an_order_that_runs_after_all_is_taken_up_and_its_create_is_not_built_anew() -> None:
    after = decided(stuck(SITUATIONS["creating"]()), Verb.REBUILD, an_order(), now=LATER)

    assert (after.state, after.problem, after.opened_at) == (TripState.OPEN, None, LATER)
    assert after.opening is not None


# --- What is recorded ---

LATE: Final = Look(at=LATER + LATE_LOOK)

RESTED: Final = {"problem": None, "refusals": 0, "refused_as": "", "rebuilds": 0, "polls": 0, "asked_at": None}
"""The tries so far, which are forgotten: whatever was decided, the trip has all of them before it again."""

WRITTEN_OFF: Final = WrittenOff(total_fen=3_200, by="wang", reason="why")
WAIVED: Final = Waived(total_fen=3_200, by="wang", reason="why")
GIVEN_UP: Final = Declined(reason=DeclineReason.REVOKED, message="why")
CALLED_OFF: Final = Cancelled(cancelled_at=LATER, reason="why")
LIMIT: Final = Declined(reason=DeclineReason.AMOUNT_OVER_LIMIT, message="总金额超过")

RECORDED: Final[dict[str, dict[str, Any]]] = {
    # Accept
    "completed, stuck; accept; collecting less": {"accepted_fen": 3_000, "problem_told": ""},
    "completed, stuck; accept; done with less": {
        "state": TripState.PAID,
        "accepted_fen": 3_000,
        "payment": Payment(paid_fen=3_000, paid_at=NOW, debits=debits("4200001")),
        "problem_told": "",
    },
    "completed, stuck; accept; done with less, nobody says when": {
        "state": TripState.PAID,
        "accepted_fen": 3_000,
        "payment": Payment(paid_fen=3_000, paid_at=LATER, debits=debits("4200001")),
        "problem_told": "",
    },
    "started, stuck; accept; collecting": {
        "state": TripState.COMPLETED,
        "accepted_fen": 3_200,
        "completed_at": LATER,
        "order_id": "1000000000202605010001",
        "problem_told": "",
    },
    "declining, stuck; accept; collecting less": {
        "state": TripState.COMPLETED,
        "accepted_fen": 3_000,
        "completed_at": LATER,
        "declined": None,
        "problem_told": "",
    },
    "declined, order may run, stuck; accept; done": {
        "state": TripState.PAID,
        "accepted_fen": 3_200,
        "completed_at": LATER,
        "payment": Payment(paid_fen=3_200, paid_at=NOW, debits=debits("4200001")),
        "order_id": "1000000000202605010001",
        "declined": None,
        "look": None,
        "problem_told": "",
    },
    "completed, stuck; accept; revoked": {"state": TripState.CANCELLED, "written_off": WRITTEN_OFF, "problem_told": ""},
    "cancelled, stuck; accept; revoked": {},
    # Write off
    "completed, stuck; write-off; expired": {
        "state": TripState.CANCELLED,
        "written_off": WRITTEN_OFF,
        "problem_told": "",
    },
    "completed, stuck; write-off; no such order": {
        "state": TripState.CANCELLED,
        "written_off": WRITTEN_OFF,
        "problem_told": "",
        "look": LATE,
    },
    "completed; write-off; done, nothing paid": {"state": TripState.CANCELLED, "written_off": WRITTEN_OFF},
    "ended, not started; write-off; no such order": {"state": TripState.CANCELLED, "written_off": WRITTEN_OFF},
    # Waive
    "completed; waive; collecting": {"waived": WAIVED},
    "completed, stuck; waive; collecting, nobody says what": {"waived": WAIVED},
    "waived, not to be cancelled, stuck; waive; collecting": {"waived": WAIVED},
    "waived, stuck; accept; collecting": {"waived": None},
    "waived, lowered to nothing, stuck; accept; collecting less": {
        "accepted_fen": 3_000,
        "waived": None,
        "problem_told": "",
    },
    "waived, stuck; write-off; no such order": {
        "state": TripState.CANCELLED,
        "waived": None,
        "written_off": WRITTEN_OFF,
        "problem_told": "",
        "look": LATE,
    },
    "waived, stuck; decline; running": {
        "state": TripState.OPEN,
        "declined": GIVEN_UP,
        "end_time": None,
        "completed_at": None,
        "waived": None,
    },
    "waived, lowered to nothing, stuck; clear-problem; unknown": {
        "waived": Waived(total_fen=3_200, by="wang", reason="客诉")
    },
    # Rebuild
    "creating, stuck; rebuild; no such order": {"opening": None},
    "completing, stuck; rebuild; running": {"end_time": None},
    "cancelling, stuck; rebuild; running": {"rebuilds": 1},
    "declining, stuck; rebuild; created": {"rebuilds": 1},
    "completed, stuck; rebuild; running": {"state": TripState.OPEN, "end_time": None, "completed_at": None},
    # Decline
    "open; decline; running": {"declined": GIVEN_UP},
    "open, stuck; decline; running": {"declined": GIVEN_UP},
    "open, stuck; decline; revoked": {"state": TripState.DECLINED, "declined": GIVEN_UP, "problem_told": ""},
    "declining; decline; expired": {"state": TripState.DECLINED, "declined": LIMIT},
    "creating; decline; no such order": {"state": TripState.DECLINED, "declined": GIVEN_UP, "look": LATE},
    "creating; decline; revoked": {"state": TripState.DECLINED, "declined": GIVEN_UP},
    "creating anew; decline; no such order": {"state": TripState.DECLINED, "declined": GIVEN_UP, "look": LATE},
    "started; decline; no such order": {"state": TripState.DECLINED, "declined": GIVEN_UP},
    "in doubt: create refused, absent once; decline; revoked": {
        "state": TripState.DECLINED,
        "declined": GIVEN_UP,
        "doubt": None,
        "missed_at": None,
    },
    "completed, stuck; decline; running": {
        "state": TripState.OPEN,
        "declined": GIVEN_UP,
        "end_time": None,
        "completed_at": None,
    },
    # Cancel
    "open, ended; cancel; running": {"cancelled": CALLED_OFF, "accepted_fen": 0},
    "cancelling; cancel; revoked": {"state": TripState.CANCELLED, "accepted_fen": 0},
    "started; cancel; running": {
        "state": TripState.OPEN,
        "cancelled": CALLED_OFF,
        "accepted_fen": 0,
        "order_id": "1000000000202605010001",
    },
    "open, ended, stuck; cancel; no such order": {
        "state": TripState.CANCELLED,
        "cancelled": CALLED_OFF,
        "accepted_fen": 0,
        "problem_told": "",
        "look": LATE,
    },
    "completed, stuck; cancel; running": {
        "state": TripState.OPEN,
        "cancelled": CALLED_OFF,
        "accepted_fen": 0,
        "end_time": None,
        "completed_at": None,
    },
    "cancelled; cancel; running": {"look": Look(at=LATER, alive=True)},
    "declined, stuck; cancel; created": {"look": Look(at=LATER, alive=True), "order_id": "1000000000202605010001"},
    "declined, stuck; cancel; revoked": {},
    "declined, stuck; cancel; no such order": {},
    # Clear
    "completed, stuck; clear-problem; unknown": {},
    "paid, stuck; clear-problem; no such order": {},
}
"""What changes besides the tries, field by field."""


@pytest.mark.parametrize("case", RECORDED)
def test_a_decision_records_what_was_decided_and_changes_nothing_else(case: str) -> None:
    trip, verb, order = taken_apart(case)
    before = replace(trip, refusals=2, refused_as="BAD_TIME", rebuilds=2, polls=3, asked_at=NOW)

    after = decided(before, verb, order, now=LATER)

    assert after == replace(before, **{**RESTED, **RECORDED[case]})


# --- One by one ---


@pytest.mark.parametrize(
    ("situation", "word", "state", "accepted_fen"),
    [
        ("completed", "collecting less", TripState.COMPLETED, 3_000),
        ("completed", "done with less", TripState.PAID, 3_000),
        ("completed", "done, less paid", TripState.PAID, 3_000),
        ("completed", "done, nothing paid", TripState.PAID, 0),
        ("open", "done", TripState.PAID, 3_200),
        ("started", "collecting", TripState.COMPLETED, 3_200),
        ("declined", "done", TripState.PAID, 3_200),
        ("cancelled", "collecting", TripState.COMPLETED, 3_200),
    ],
)
def test_what_is_accepted_is_what_wechat_signed(situation: str, word: str, state: TripState, accepted_fen: int) -> None:
    trip = replace(SITUATIONS[situation](), look=Look(at=NOW) if situation in ("declined", "cancelled") else None)

    after = decided(stuck(trip), Verb.ACCEPT, WORDS[word])

    assert (after.state, after.accepted_fen, after.declined) == (state, accepted_fen, None)
    assert (after.problem_told, after.look) == ("", None), "another problem is another announcement"
    assert after.order_id


def test_our_own_amount_is_adopted_and_not_accepted() -> None:
    after = decided(stuck(SITUATIONS["completed"]()), Verb.ACCEPT, an_order(OrderPhase.DONE))

    assert (after.state, after.accepted_fen) == (TripState.PAID, None)


def test_of_a_lost_completion_the_fare_is_what_it_was_and_its_body_is_built_anew() -> None:
    accepted = replace(outcomes.overdue(SITUATIONS["completed"](), 1, NOW), accepted_fen=3_000)
    before = stuck(accepted, "completion_lost")

    after = decided(before, Verb.REBUILD, an_order(), certain=frozenset())

    assert (after.state, after.end_time, after.completed_at, after.ended) == (TripState.OPEN, None, None, before.ended)
    assert (after.overdue_since, after.overdue_step, after.overdue_told_at) == (None, 0, None)
    assert after.accepted_fen is None


@pytest.mark.parametrize("verb", [Verb.DECLINE, Verb.CANCEL])
def test_a_lost_completion_is_given_up_by_cancelling_its_order(verb: Verb) -> None:
    after = decided(stuck(SITUATIONS["completed"](), "completion_lost"), verb, an_order())

    assert after.state is TripState.OPEN
    assert isinstance(next_step(after, NOW, PAYAFTER), CancelOrder)


def test_a_cancel_that_was_refused_is_said_in_other_words() -> None:
    after = decided(stuck(SITUATIONS["cancelling"]()), Verb.REBUILD, an_order())

    assert after.rebuilds == 1
    assert isinstance(next_step(after, NOW, PAYAFTER), CancelOrder)


def test_a_complete_that_was_refused_is_built_anew() -> None:
    after = decided(replace(stuck(SITUATIONS["completing"]()), finish_ticket="t"), Verb.REBUILD, an_order())

    assert after.end_time is None
    assert isinstance(next_step(after, NOW, PAYAFTER), CompleteOrder)


def test_an_order_whose_create_was_dropped_may_be_on_its_way_all_the_same_and_is_looked_for_once_more() -> None:
    rebuilt = decided(stuck(SITUATIONS["creating"]()), Verb.REBUILD, None)

    for verb in (Verb.DECLINE, Verb.CANCEL):
        assert decided(rebuilt, verb, None).look == Look(at=NOW + LATE_LOOK)


def test_a_fare_that_a_person_gave_up_is_a_problem_and_no_payment_if_it_is_collected_all_the_same() -> None:
    cancelling = decided(SITUATIONS["completing"](), Verb.CANCEL, an_order())

    seen = outcomes.see(cancelling, an_order(OrderPhase.DONE), NOW)

    assert seen.problem is not None
    assert seen.state is not TripState.PAID


@pytest.mark.parametrize("situation", ["declined", "cancelled"])
def test_an_order_that_runs_on_after_its_trip_is_cancelled(situation: str) -> None:
    for before in (SITUATIONS[situation](), stuck(SITUATIONS[situation]())):
        after = decided(before, Verb.CANCEL, an_order())

        assert after.state is before.state
        assert isinstance(next_step(after, NOW, PAYAFTER), CancelOrder)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("no such order", "no such order"),
        ("running", "RUNNING"),
        ("collecting less", "COLLECTING, paid 0 of 3000 fen"),
        ("collecting, nobody says what", "COLLECTING"),
        ("done, less paid", "DONE, paid 3000 of 3200 fen"),
        ("done, nothing paid", "DONE, paid 0 of 3200 fen"),
        ("done, nobody says how much or when", "DONE, paid ? of 3200 fen"),
    ],
)
def test_a_decision_is_marked_by_state_problem_and_word(word: str, text: str) -> None:
    known = Known(order=WORDS[word])

    assert known.text == text
    assert mark_of(a_trip(), known) == f"NOTED//{text}"
    assert mark_of(stuck(SITUATIONS["open"]()), known) == f"OPEN/PARAM_ERROR/{text}"


# --- A fare after the end ---


def asks(trip: Trip, order: OrderSeen | None = WORDS["collecting"], *, can_pay: bool = True) -> Trip:
    """Decide that WeChat Pay is asked to collect now."""
    return decide(trip, a_decision(Verb.PAY), Known(order=order, can_pay=can_pay), NOW)


@pytest.mark.parametrize("asking", [None, Asking(step=2, sent=True)])
def test_to_be_asked_to_collect_now_is_noted_and_changes_nothing_else(asking: Asking | None) -> None:
    before = replace(SITUATIONS["completed"](), asking=asking, refusals=2, polls=3)

    assert asks(before) == replace(before, asking=replace(asking or Asking(), due=True))


def test_who_may_not_be_asked_to_collect_now_is_told_why() -> None:
    completed, not_now = SITUATIONS["completed"](), "WeChat Pay does not collect for the order now, so it cannot be"
    refused: list[tuple[Trip, OrderSeen | None, bool, str]] = [
        (completed, None, True, f"{not_now} asked to do so at once"),
        (completed, WORDS["done"], True, f"{not_now} asked to do so at once"),
        (SITUATIONS["open, ended"](), WORDS["collecting"], True, f"{not_now} asked to do so at once"),
        (stuck(completed), WORDS["collecting"], True, "the trip waits for a person: see to its problem first"),
        (SITUATIONS["waived"](), WORDS["collecting"], True, "nothing more is to be collected for it"),
        (FARE_SITUATIONS["synced"](), WORDS["collecting"], True, "nothing more is to be collected for it"),
        (
            completed,
            WORDS["collecting"],
            False,
            "the order is of a family that has no call for it; WeChat Pay keeps trying by itself",
        ),
        (SITUATIONS["declined"](), None, True, "the trip is DECLINED; there is nothing to decide"),
    ]

    for trip, order, can_pay, why in refused:
        with pytest.raises(IllegalTransition, match=whole(why)):
            asks(trip, order, can_pay=can_pay)


def test_what_was_paid_elsewhere_cannot_be_waived() -> None:
    why = "the fare was paid elsewhere, and WeChat Pay is being told so: it will collect no more"

    with pytest.raises(IllegalTransition, match=whole(why)):
        decided(FARE_SITUATIONS["to be synced"](), Verb.WAIVE, WORDS["collecting"])


WAIVED_AND_SENT: Final = Lowering(asked_fen=3_200, sent_fen=0)


@pytest.mark.parametrize(
    ("lowering", "lowered", "after"),
    [
        (WAIVED_AND_SENT, (), None),
        (None, (a_lowered_fare(),), None),
        (WAIVED_AND_SENT, (a_lowered_fare(),), Lowering(asked_fen=3_200)),
    ],
)
def test_a_waived_fare_that_is_collected_after_all_is_lowered_only_as_the_ride_service_told(
    lowering: Lowering | None, lowered: tuple[Lowered, ...], after: Lowering | None
) -> None:
    before = replace(SITUATIONS["waived"](), lowering=lowering, lowered=lowered)
    collected = an_order(OrderPhase.COLLECTING, total_fen=owed_fen(before))

    trip = decided(stuck(before), Verb.ACCEPT, collected)

    assert (trip.waived, trip.lowering, trip.accepted_fen) == (None, after, None)


def test_an_amount_that_is_accepted_is_not_lowered_any_more() -> None:
    lowered = stuck(FARE_SITUATIONS["lowered, sent"](), "amount_differs")

    trip = decided(lowered, Verb.ACCEPT, WORDS["collecting less"])

    assert (trip.accepted_fen, trip.lowering) == (3_000, None)


def test_of_a_lost_completion_nothing_that_followed_it_is_kept() -> None:
    asking, sync = Asking(step=1, due=True), Sync(paid_time=NOW)
    before = replace(FARE_SITUATIONS["lowered, sent"](), asking=asking, sync=sync)

    trip = decided(stuck(before, "completion_lost"), Verb.REBUILD, WORDS["running"])

    assert (trip.lowering, trip.asking, trip.sync) == (None, None, None)
    assert trip.lowered == before.lowered
