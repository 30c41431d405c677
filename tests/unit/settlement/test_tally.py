"""What is counted of a trip, or a refund, that was written."""

from dataclasses import replace

import pytest
from prometheus_client.metrics import MetricWrapperBase

from payscore_worker import metrics
from payscore_worker.domain import authorisation as authorisations
from payscore_worker.domain import outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.authorisation import Authorisation, AuthorisationState
from payscore_worker.domain.fares import note_lowered
from payscore_worker.domain.refund import Refund, RefundPhase
from payscore_worker.domain.trip import (
    OrderPhase,
    Payment,
    Problem,
    Trip,
)
from payscore_worker.settlement import tally
from payscore_worker.storage import Direction, EventRecord
from tests.builders import (
    AUTHORISATIONS,
    FARE_SITUATIONS,
    NOW,
    REFUND_SITUATIONS,
    SITUATIONS,
    a_lowered_fare,
    a_word,
    an_order,
    requested,
)
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
        "by nobody": (metrics.PAID_BY, {"by": "elsewhere"}),
        "lowered fen": (metrics.LOWERED_FEN, {"account": "here"}),
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


def test_a_problem_that_was_told_before_is_not_counted_again_nor_that_it_was_cleared() -> None:
    problem = Problem(code="amount_differs", message="", request_id="", step="", since=NOW)
    stopped = outcomes.with_problem(stored("completed"), problem)

    assert written(stopped, replace(outcomes.without_problem(stopped), problem_told="")) == {}
    assert written(outcomes.without_problem(stopped), stopped) == {}


# --- Fares after the end ---


def a_fare(situation: str) -> Trip:
    return replace(FARE_SITUATIONS[situation](), version=1)


def test_a_lowered_fare_counts_by_how_much_it_was_lowered() -> None:
    lowered = a_fare("lowered")

    assert written(stored("completed"), lowered) == {"lowered fen": 1_200}
    assert written(lowered, note_lowered(lowered, a_lowered_fare(1_999))) == {"lowered fen": 1}
    assert written(lowered, a_fare("lowered, taken")) == {}
    assert written(stored("open"), replace(stored("open, ended"), lowered=lowered.lowered)) == {}


def test_what_was_paid_elsewhere_is_no_money_that_wechat_collected_until_it_was_paid_twice() -> None:
    elsewhere, twice = a_fare("paid elsewhere"), a_fare("paid twice")

    assert written(a_fare("synced"), elsewhere) == {"PAID": 1, "by nobody": 1}
    assert written(elsewhere, twice) == {"paid fen": 3_200}


def test_a_payment_that_stays_is_counted_once_and_one_of_a_fen_too() -> None:
    paid = stored("paid")
    of_a_fen = replace(paid, payment=Payment(paid_fen=1, paid_at=NOW))

    assert written(paid, replace(paid, polls=1)) == {}
    assert written(stored("completed"), of_a_fen) == {"PAID": 1, "paid fen": 1, "by query": 1}


# --- Authorisations ---


def authorisation_written(before: Authorisation, after: Authorisation, *events: EventRecord) -> dict[str, float]:
    """Count the write of an authorisation; returns what has grown, and by how much."""
    watched: dict[str, tuple[MetricWrapperBase, dict[str, str]]] = {
        **{state: (metrics.AUTHORISATIONS_REACHED, {"state": state}) for state in AuthorisationState},
        "noted": (metrics.EVENTS_NOTED, {"type": "authorisation.requested"}),
        **{
            code: (metrics.AUTHORISATION_PROBLEMS, {"code": code})
            for code in ("malformed_answer", "unclear", "INVALID_REQUEST", "other")
        },
    }
    stood = {name: value(metric, **labels) or 0 for name, (metric, labels) in watched.items()}
    tally.count_authorisation(before, after, events)
    now = {name: value(metric, **labels) or 0 for name, (metric, labels) in watched.items()}
    return {name: now[name] - stood[name] for name in watched if now[name] != stood[name]}


def stored_authorisation(situation: str) -> Authorisation:
    return replace(AUTHORISATIONS[situation](), version=1)


def test_a_new_authorisation_and_its_request_are_counted() -> None:
    new = AUTHORISATIONS["requested"]()

    assert authorisation_written(new, new, an_event("authorisation.requested")) == {"REQUESTED": 1, "noted": 1}


def test_an_authorisation_is_counted_in_each_state_that_it_reaches() -> None:
    requested_, opened = stored_authorisation("given"), stored_authorisation("open")

    assert authorisation_written(stored_authorisation("requested"), requested_) == {}
    assert authorisation_written(requested_, opened) == {"OPEN": 1}
    assert authorisation_written(opened, stored_authorisation("closed")) == {"CLOSED": 1}


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        ("malformed_answer", "malformed_answer"),
        ("unclear", "unclear"),
        ("INVALID_REQUEST", "INVALID_REQUEST"),
        ("A_CODE_OF_NEXT_YEAR", "other"),
    ],
)
def test_a_problem_of_an_authorisation_is_counted_once_by_a_code_of_which_there_are_few(
    code: str, counted: str
) -> None:
    before = stored_authorisation("requested")
    stopped = authorisations.with_problem(before, a_problem_of(code))

    assert authorisation_written(before, stopped) == {counted: 1}
    assert authorisation_written(stopped, authorisations.without_problem(stopped)) == {}
    assert authorisation_written(replace(before, problem_told=stopped.problem_told), stopped) == {}


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
