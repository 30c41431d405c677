"""The retry policy: a pure decision."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.errors import (
    BrokerUnavailable,
    ConflictingFact,
    HeldBack,
    IllegalTransition,
    MalformedMessage,
    NotHeardOf,
    OutcomeUnknown,
    StorageUnavailable,
    TooEarly,
    TripBusy,
    WechatPayUnavailable,
)
from payscore_worker.messaging.retry import DeadLetter, RetryAfter, next_attempt

LADDER = (timedelta(seconds=5), timedelta(minutes=2), timedelta(hours=6))
WORTH_ANOTHER_TRY = [
    WechatPayUnavailable("503"),
    OutcomeUnknown("time-out"),
    StorageUnavailable("away"),
    BrokerUnavailable("away"),
    TripBusy("busy"),
    TooEarly("no fare yet"),
    ZeroDivisionError("a surprise"),
    TimeoutError(),
]
HOPELESS = [MalformedMessage("total_fen: missing"), ConflictingFact("another fare"), IllegalTransition("paid")]

ladders = st.lists(st.timedeltas(min_value=timedelta(milliseconds=1)), max_size=10)
attempts = st.integers(min_value=1, max_value=1000)


@pytest.mark.parametrize("error", WORTH_ANOTHER_TRY, ids=repr)
def test_each_failure_climbs_one_rung(error: Exception) -> None:
    decisions = [next_attempt(error, attempt, LADDER) for attempt in (1, 2, 3)]

    assert decisions == [RetryAfter(delay) for delay in LADDER]


@pytest.mark.parametrize("attempt", [1, 3, 4, 1000])
def test_a_call_that_was_not_even_tried_brings_nobody_nearer_to_giving_up(attempt: int) -> None:
    assert next_attempt(HeldBack("out"), attempt, LADDER) == RetryAfter(LADDER[0], counts=False)


@pytest.mark.parametrize("error", WORTH_ANOTHER_TRY, ids=repr)
def test_after_the_last_rung_a_person_should_look(error: Exception) -> None:
    decision = next_attempt(error, len(LADDER) + 1, LADDER)

    assert decision == DeadLetter(f"gave up after 4 attempts: {error!r}")


def test_who_names_a_trip_that_nobody_knows_is_told_so_within_minutes_and_not_within_a_day() -> None:
    ladder, unknown = LADDER * 3, NotHeardOf("trip_id: trip 't1' is not known")

    decisions = [next_attempt(unknown, attempt, ladder) for attempt in (1, 2, 3, 4, 5)]

    assert decisions == [*(RetryAfter(delay) for delay in LADDER), *[DeadLetter("trip_id: trip 't1' is not known")] * 2]


@pytest.mark.parametrize("error", HOPELESS, ids=repr)
def test_what_no_retry_will_help_is_dead_at_once(error: Exception) -> None:
    assert next_attempt(error, 1, LADDER) == DeadLetter(str(error))


@given(ladder=ladders, attempt=attempts)
def test_no_message_is_retried_more_often_than_there_are_rungs(ladder: list[timedelta], attempt: int) -> None:
    decision = next_attempt(WechatPayUnavailable("503"), attempt, ladder)

    assert isinstance(decision, RetryAfter) == (attempt <= len(ladder))


@given(ladder=ladders, attempt=attempts)
def test_a_rejected_message_is_never_retried(ladder: list[timedelta], attempt: int) -> None:
    assert isinstance(next_attempt(ConflictingFact("another fare"), attempt, ladder), DeadLetter)
