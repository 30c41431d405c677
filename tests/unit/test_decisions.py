"""What a person may decide, for every situation of a trip and every word of WeChat Pay: the laws of money hold."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from payscore_worker import outcomes
from payscore_worker.decisions import AFTER_REFUSALS, VERBS, Decision, Known, Verb, decide, mark_of, verbs_for
from payscore_worker.errors import IllegalTransition
from payscore_worker.trip import (
    LATE_LOOK,
    TERMINAL,
    CancelOrder,
    CompleteOrder,
    Look,
    OrderPhase,
    OrderSeen,
    Problem,
    Trip,
    TripState,
    next_step,
    note_ended,
)
from tests.builders import NOW, PAYAFTER, SITUATIONS, a_trip, an_end, an_order

ALL_CERTAIN: Final = frozenset({"OpenOrder", "CompleteOrder", "CancelOrder"})

WORDS: Final = {
    "no such order": None,
    "created": an_order(OrderPhase.CREATED),
    "running": an_order(OrderPhase.RUNNING),
    "collecting": an_order(OrderPhase.COLLECTING),
    "collecting less": an_order(OrderPhase.COLLECTING, total_fen=3_000),
    "collecting, nobody says what": an_order(OrderPhase.COLLECTING, total_fen=None),
    "done": an_order(OrderPhase.DONE),
    "done with less": an_order(OrderPhase.DONE, total_fen=3_000, paid_fen=3_000),
    "done, less paid": an_order(OrderPhase.DONE, paid_fen=3_000),
    "done, nothing paid": an_order(OrderPhase.DONE, paid_fen=0),
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


def decided(trip: Trip, verb: Verb, order: OrderSeen | None, *, certain: frozenset[str] = ALL_CERTAIN) -> Trip:
    return decide(trip, a_decision(verb), Known(order=order, certain=certain), NOW)


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
        if ended and order is None and before.opening is not None:
            assert after.look is not None, name
            assert after.look.at == NOW + LATE_LOOK, name


def test_bytes_that_may_have_been_accepted_are_never_dropped_while_the_order_runs() -> None:
    for situation in ("completing", "declining", "cancelling"):
        with pytest.raises(IllegalTransition, match="stay binding"):
            decided(stuck(SITUATIONS[situation]()), Verb.REBUILD, an_order(), certain=frozenset())


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
    "start_in_future": ("open, ended", "running"),
    "malformed_call": ("open, ended", "running"),
    "no_finish_ticket": ("open, ended", "running"),
    "malformed_answer": ("completed", "collecting"),
    "not_ours": ("completed", "collecting"),
    "unknown_state": ("completed", "unknown"),
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


# --- What is refused, and what to do instead ---

REFUSED: Final = [
    ("open, stuck", Verb.ACCEPT, "running", "the order runs, and shows no amount yet"),
    ("open, stuck", Verb.ACCEPT, "no such order", "write-off, decline or rebuild"),
    ("completed", Verb.ACCEPT, "collecting", "there is nothing to accept: clear-problem"),
    ("completed, stuck", Verb.ACCEPT, "unknown", "decide when it does"),
    ("paid", Verb.ACCEPT, "done", "A refund gives money back"),
    ("open, stuck", Verb.WRITE_OFF, "revoked", "no fare is owed: cancel or decline"),
    ("completed, stuck", Verb.WRITE_OFF, "running", "cancel ends it without a charge"),
    ("completed, stuck", Verb.WRITE_OFF, "collecting", "waiving that is not built yet"),
    ("completed, stuck", Verb.WRITE_OFF, "done", "accept takes it"),
    ("completed, stuck", Verb.WRITE_OFF, "done, less paid", "accept takes it"),
    ("completing", Verb.REBUILD, "running", "the trip has no problem; its bytes stay binding"),
    ("completed, stuck", Verb.REBUILD, "collecting", "where a body could be sent: COLLECTING"),
    ("completed, stuck", Verb.REBUILD, "no such order", "write-off or decline"),
    ("started, stuck", Verb.REBUILD, "running", "an order that we did not ask for: decline or cancel"),
    ("started, stuck", Verb.REBUILD, "no such order", "no create is prepared: clear-problem"),
    ("completing, stuck", Verb.REBUILD, "no such order", "decline, cancel or write-off"),
    ("open, ended, stuck", Verb.REBUILD, "running", "no complete is prepared: clear-problem"),
    ("declined, stuck", Verb.REBUILD, "running", "the trip is DECLINED; no body"),
    ("cancelling", Verb.DECLINE, "running", "the trip was cancelled, and nothing is owed: cancel"),
    ("completed, stuck", Verb.DECLINE, "collecting", "waiving that is not built yet"),
    ("completed, stuck", Verb.DECLINE, "done with less", "accept takes that"),
    ("declined", Verb.DECLINE, "revoked", "the trip is DECLINED; there is nothing to decide"),
    ("cancelled, stuck", Verb.DECLINE, "revoked", "accept, or cancel once nothing is charged"),
    ("cancelled, stuck", Verb.WRITE_OFF, "revoked", "accept, or cancel once nothing is charged"),
    ("completed, stuck", Verb.CANCEL, "revoked", "write-off, or decline"),
    ("completed, stuck", Verb.CANCEL, "no such order", "write-off, or decline"),
    ("open", Verb.CANCEL, "collecting", "waiving that is not built yet"),
    ("open", Verb.CANCEL, "done", "accept takes that"),
    ("cancelled", Verb.CANCEL, "revoked", "the trip is CANCELLED; there is nothing to decide"),
    ("cancelled, stuck", Verb.CANCEL, "done", "accept takes that"),
    ("completed", Verb.CLEAR, "running", "the trip has no problem"),
]


@pytest.mark.parametrize(("situation", "verb", "word", "why"), REFUSED)
def test_what_is_refused_says_why_and_what_to_do_instead(situation: str, verb: Verb, word: str, why: str) -> None:
    trip = SITUATIONS[situation.removesuffix(", stuck")]()
    trip = stuck(trip) if situation.endswith(", stuck") else trip

    with pytest.raises(IllegalTransition, match=re.escape(why)):
        decided(trip, verb, WORDS[word])


def test_a_fare_that_nobody_told_cannot_be_asked_for_anew() -> None:
    accepted = decided(stuck(a_trip()), Verb.ACCEPT, an_order(OrderPhase.COLLECTING))
    assert accepted.state is TripState.COMPLETED

    with pytest.raises(IllegalTransition, match="no fare to complete it with"):
        decided(stuck(accepted, "completion_lost"), Verb.REBUILD, an_order())


@pytest.mark.parametrize("verb", [Verb.REBUILD, Verb.ACCEPT])
def test_wechats_word_that_leads_on_by_itself_makes_a_decision_needless(verb: Verb) -> None:
    after = decided(stuck(SITUATIONS["completing"]()), verb, an_order(OrderPhase.DONE))

    assert (after.state, after.problem, after.accepted_fen) == (TripState.PAID, None, None)


def test_an_order_that_runs_after_all_is_taken_up_and_its_create_is_not_built_anew() -> None:
    after = decided(stuck(SITUATIONS["creating"]()), Verb.REBUILD, an_order())

    assert (after.state, after.problem) == (TripState.OPEN, None)
    assert after.opening is not None


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


def test_an_amount_that_nobody_says_is_not_accepted() -> None:
    with pytest.raises(IllegalTransition, match="does not say which amount"):
        decided(stuck(SITUATIONS["open"]()), Verb.ACCEPT, WORDS["collecting, nobody says what"])


def test_accepting_a_waived_fare_writes_it_off() -> None:
    after = decided(stuck(SITUATIONS["completed"]()), Verb.ACCEPT, an_order(OrderPhase.REVOKED))

    assert after.written_off is not None
    assert (after.state, after.written_off.total_fen, after.written_off.by) == (TripState.CANCELLED, 3_200, "wang")


def test_of_a_lost_completion_the_fare_is_what_it_was_and_its_body_is_built_anew() -> None:
    accepted = replace(SITUATIONS["completed"](), overdue_since=NOW, accepted_fen=3_000)
    before = stuck(accepted, "completion_lost")

    after = decided(before, Verb.REBUILD, an_order(), certain=frozenset())

    assert (after.state, after.end_time, after.completed_at, after.ended) == (TripState.OPEN, None, None, before.ended)
    assert (after.overdue_since, after.accepted_fen) == (None, None)


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


def test_what_is_under_way_need_not_be_decided() -> None:
    with pytest.raises(IllegalTransition, match="does already"):
        decided(SITUATIONS["declining"](), Verb.DECLINE, an_order())


def test_a_decision_is_marked_by_state_problem_and_word() -> None:
    trip = stuck(a_trip())

    marks = {
        mark_of(trip, Known(order=None)),
        mark_of(replace(trip, problem=None), Known(order=None)),
        mark_of(replace(trip, state=TripState.OPEN), Known(order=None)),
        *(mark_of(trip, Known(order=order)) for order in WORDS.values() if order is not None),
    }

    assert len(marks) == 3 + len(WORDS) - 1
