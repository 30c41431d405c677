"""What is counted of a trip that was written."""

from dataclasses import replace

import pytest
from prometheus_client.metrics import MetricWrapperBase

from payscore_worker import metrics
from payscore_worker.domain import outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.refund import Refund, RefundRequested
from payscore_worker.domain.trip import OrderPhase, Problem, Trip
from payscore_worker.settlement import tally
from payscore_worker.storage import Direction, EventRecord
from tests.builders import NOW, SITUATIONS, an_order
from tests.unit.ops.samples import value


def an_event(type_: str, direction: Direction = Direction.IN) -> EventRecord:
    return EventRecord(event_id="e1", direction=direction, type=type_, at=NOW, body=b"{}")


def written(before: Trip, after: Trip, *events: EventRecord) -> dict[str, float]:
    """Count the write; returns what has grown, and by how much."""
    watched: dict[str, tuple[MetricWrapperBase, dict[str, str]]] = {
        "OPEN": (metrics.STATES_REACHED, {"state": "OPEN"}),
        "NOTED": (metrics.STATES_REACHED, {"state": "NOTED"}),
        "COMPLETED": (metrics.STATES_REACHED, {"state": "COMPLETED"}),
        "PAID": (metrics.STATES_REACHED, {"state": "PAID"}),
        "completed fen": (metrics.COMPLETED_FEN, {}),
        "paid fen": (metrics.PAID_FEN, {}),
        "by callback": (metrics.PAID_BY, {"by": "callback"}),
        "by query": (metrics.PAID_BY, {"by": "query"}),
        "noted": (metrics.EVENTS_NOTED, {"type": "trip.started"}),
        "told": (metrics.ANNOUNCEMENTS, {"type": "settlement.paid"}),
        "stopped": (metrics.PROBLEMS, {"code": "amount_differs"}),
        "stopped otherwise": (metrics.PROBLEMS, {"code": "other"}),
    }
    stood = {name: value(metric, **labels) or 0 for name, (metric, labels) in watched.items()}
    tally.count(before, after, events)
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
        ("A_CODE_OF_TOMORROW", "other"),
    ],
)
def test_a_refund_that_stops_is_counted_once_by_our_code_or_one_that_a_table_knows(code: str, counted: str) -> None:
    before = replace(refund(), version=1)
    problem = Problem(code=code, message="", request_id="", step="AskRefund", since=NOW)
    after = refunds.with_problem(before, problem)
    stood = value(metrics.REFUND_PROBLEMS, code=counted) or 0

    tally.count_refund(before, after, [])
    tally.count_refund(after, after, [])

    assert value(metrics.REFUND_PROBLEMS, code=counted) == stood + 1


def refund() -> Refund:
    asked = RefundRequested(trip_id="t1", refund_id="r1", amount_fen=1_000, reason="绕路")
    return refunds.request(SITUATIONS["paid"](), asked, NOW, mchid="1900000001")[1]
