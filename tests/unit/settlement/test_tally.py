"""What is counted of a trip, or a refund, that was written."""

from dataclasses import replace

import pytest
from prometheus_client.metrics import MetricWrapperBase

from payscore_worker import metrics
from payscore_worker.domain import outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.refund import Refund, RefundPhase
from payscore_worker.domain.trip import (
    OrderPhase,
    Problem,
    Trip,
)
from payscore_worker.settlement import tally
from payscore_worker.storage import Direction, EventRecord
from tests.builders import NOW, REFUND_SITUATIONS, SITUATIONS, a_word, an_order, requested
from tests.unit.ops.samples import value


def an_event(type_: str, direction: Direction = Direction.IN) -> EventRecord:
    return EventRecord(event_id="e1", direction=direction, type=type_, at=NOW, body=b"{}")


def written(before: Trip, after: Trip, *events: EventRecord) -> dict[str, float]:
    """Count the write; returns what has grown, and by how much."""
    watched: dict[str, tuple[MetricWrapperBase, dict[str, str]]] = {
        "OPEN": (metrics.STATES_REACHED, {"account": "here", "state": "OPEN"}),
        "NOTED": (metrics.STATES_REACHED, {"account": "here", "state": "NOTED"}),
        "COMPLETED": (metrics.STATES_REACHED, {"account": "here", "state": "COMPLETED"}),
        "PAID": (metrics.STATES_REACHED, {"account": "here", "state": "PAID"}),
        "completed fen": (metrics.COMPLETED_FEN, {"account": "here"}),
        "paid fen": (metrics.PAID_FEN, {"account": "here"}),
        "by callback": (metrics.PAID_BY, {"by": "callback"}),
        "by query": (metrics.PAID_BY, {"by": "query"}),
        "noted": (metrics.EVENTS_NOTED, {"type": "trip.started"}),
        "told": (metrics.ANNOUNCEMENTS, {"type": "settlement.paid"}),
        "stopped": (metrics.PROBLEMS, {"code": "amount_differs"}),
        "stopped otherwise": (metrics.PROBLEMS, {"code": "other"}),
    }
    stood = {name: value(metric, **labels) or 0 for name, (metric, labels) in watched.items()}
    tally.count(before, after, events, account="here")
    now = {name: value(metric, **labels) or 0 for name, (metric, labels) in watched.items()}
    return {name: now[name] - stood[name] for name in watched if now[name] != stood[name]}


def stored(situation: str) -> Trip:
    return replace(SITUATIONS[situation](), version=1)


def test_a_new_trip_and_its_fact_are_counted() -> None:
    new = SITUATIONS["nothing noted"]()

    assert written(new, SITUATIONS["started"](), an_event("trip.started")) == {"NOTED": 1, "noted": 1}


def test_a_trip_that_stays_in_its_state_is_counted_once() -> None:
    assert written(stored("open"), stored("open, ended")) == {}


def test_a_completion_counts_the_fare_and_a_payment_counts_the_money_by_how_it_was_learnt() -> None:
    assert written(stored("completing"), stored("completed")) == {"COMPLETED": 1, "completed fen": 3_200}

    asked = written(stored("completed"), stored("paid"), an_event("settlement.paid", Direction.OUT))
    assert asked == {"PAID": 1, "paid fen": 3_200, "by query": 1, "told": 1}

    told = written(stored("completed"), stored("paid"), an_event(tally.CALLBACK))
    assert told == {"PAID": 1, "paid fen": 3_200, "by callback": 1}


def test_a_payment_that_is_heard_of_before_the_completion_counts_both() -> None:
    before = stored("completing")
    after = outcomes.see(before, an_order(OrderPhase.DONE), NOW)

    assert written(before, after) == {"PAID": 1, "completed fen": 3_200, "paid fen": 3_200, "by query": 1}


@pytest.mark.parametrize(
    ("code", "counted"), [("amount_differs", "stopped"), ("A_CODE_OF_NEXT_YEAR", "stopped otherwise")]
)
def test_a_problem_is_counted_by_a_code_of_which_there_are_few(code: str, counted: str) -> None:
    before = stored("completed")
    problem = Problem(code=code, message="", request_id="", step="", since=NOW)

    assert written(before, outcomes.with_problem(before, problem)) == {counted: 1}


# --- Refunds ---


def refund_written(before: Refund, after: Refund, *events: EventRecord) -> dict[str, float]:
    """Count the write of a refund; returns what has grown, and by how much."""
    watched: dict[str, tuple[MetricWrapperBase, dict[str, str]]] = {
        **{state: (metrics.REFUNDS_REACHED, {"state": state}) for state in refunds.RefundState},
        "refunded fen": (metrics.REFUNDED_FEN, {"account": "here"}),
        "noted": (metrics.EVENTS_NOTED, {"type": "refund.requested"}),
        "told": (metrics.ANNOUNCEMENTS, {"type": "settlement.refunded"}),
        **{code: (metrics.REFUND_PROBLEMS, {"code": code}) for code in (*tally.REFUND_CODES, "NOT_ENOUGH", "other")},
        "a trip": (metrics.PROBLEMS, {"code": "refund_abnormal"}),
    }
    stood = {name: value(metric, **labels) or 0 for name, (metric, labels) in watched.items()}
    tally.count_refund(before, after, events, account="here")
    now = {name: value(metric, **labels) or 0 for name, (metric, labels) in watched.items()}
    return {name: now[name] - stood[name] for name in watched if now[name] != stood[name]}


def stored_refund(situation: str) -> Refund:
    return replace(REFUND_SITUATIONS[situation]()[1], version=1)


def test_a_new_refund_and_its_request_are_counted() -> None:
    new = requested()[1]

    assert refund_written(new, new, an_event("refund.requested")) == {"REQUESTED": 1, "noted": 1}


def test_a_refund_that_stays_in_its_state_is_counted_once() -> None:
    assert refund_written(stored_refund("requested"), stored_refund("sent, refused")) == {}
    assert refund_written(stored_refund("accepted"), stored_refund("accepted, asked")) == {}
    assert refund_written(stored_refund("refunded"), stored_refund("refunded")) == {}


def test_money_that_went_back_is_counted_when_it_went_back_and_not_before() -> None:
    assert refund_written(stored_refund("sent"), stored_refund("accepted")) == {"ACCEPTED": 1}
    assert refund_written(stored_refund("accepted"), stored_refund("failed")) == {"FAILED": 1}

    told = an_event("settlement.refunded", Direction.OUT)
    assert refund_written(stored_refund("accepted"), stored_refund("refunded"), told) == {
        "REFUNDED": 1,
        "refunded fen": 1_000,
        "told": 1,
    }


def a_problem_of(code: str) -> Problem:
    return Problem(code=code, message="", request_id="", step="", since=NOW)


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        ("refund_abnormal", "refund_abnormal"),
        ("refund_slow", "refund_slow"),
        ("refund_amount_differs", "refund_amount_differs"),
        ("malformed_call", "malformed_call"),
        ("malformed_answer", "malformed_answer"),
        ("not_ours", "not_ours"),
        ("unclear_answer", "unclear_answer"),
        ("NOT_ENOUGH", "NOT_ENOUGH"),
        ("A_CODE_OF_NEXT_YEAR", "other"),
    ],
)
def test_a_problem_of_a_refund_is_counted_once_by_a_code_of_which_there_are_few(code: str, counted: str) -> None:
    before = stored_refund("accepted")
    stopped = refunds.with_problem(before, a_problem_of(code))
    cleared = refunds.without_problem(stopped, NOW)

    assert refund_written(before, stopped) == {counted: 1}
    assert refund_written(stopped, cleared) == {}
    assert refund_written(cleared, refunds.with_problem(cleared, a_problem_of(code))) == {}


def test_what_cannot_be_delivered_is_counted_with_its_acceptance() -> None:
    trip, before = requested()
    _, after = refunds.see(trip, before, a_word(RefundPhase.ABNORMAL), NOW)

    assert refund_written(replace(before, version=1), after) == {"ACCEPTED": 1, "refund_abnormal": 1}
