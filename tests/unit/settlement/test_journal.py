"""What is kept of a WeChat Pay call: that it may be sent, that it was, and whether it can have been accepted."""

from dataclasses import replace

import pytest

from payscore_worker.errors import (
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.settlement import journal
from payscore_worker.storage import CallOutcome, CallRecord
from payscore_worker.wechatpay import Answer, Call, CallKind
from tests.builders import HOUR, NOW

CALL = Call(CallKind.CREATE, "POST", "/v3/payscore/serviceorder", b'{"out_order_no":"t1"}')
LATER = NOW + HOUR


def prepared() -> CallRecord:
    return journal.prepared(CALL, generation=2, at=NOW)


def a_refusal(*, unsure: bool = False, attempts: int = 1) -> WechatPayRejected:
    return WechatPayRejected(
        "参数错误",
        refusal=Refusal.INVALID_PARAMETER,
        status=400,
        code="PARAM_ERROR",
        request_id="r1",
        attempts=attempts,
        unsure=unsure,
    )


def lost() -> CallRecord:
    """Have a send whose answer never came."""
    return journal.failed(prepared(), OutcomeUnknown("timed out"), NOW)


def sent_again(record: CallRecord) -> CallRecord:
    """Have the record as storage gives it back for another send: the sends of all workers counted."""
    return replace(record, begun=prepared().begun + 1, definite=0)


def test_a_call_is_written_down_to_the_byte_with_its_first_send_counted_before_it_is_made() -> None:
    call = prepared()

    assert call == CallRecord(
        kind="create",
        generation=2,
        method="POST",
        path="/v3/payscore/serviceorder",
        body=b'{"out_order_no":"t1"}',
        outcome=CallOutcome.PREPARED,
        at=NOW,
        begun=1,
    )
    assert not call.is_surely_without_effect


def test_a_question_is_of_no_generation_and_its_sends_are_not_counted_before_they_are_made() -> None:
    asked = journal.asking(CallKind.QUERY, NOW)

    assert (asked.kind, asked.generation, asked.begun, asked.at) == ("query", 0, 0, NOW)
    assert asked.outcome is CallOutcome.PREPARED
    assert (asked.method, asked.path, asked.body) == ("GET", "", b"")


def test_an_acceptance_is_kept_with_its_status_and_ends_what_was_said_before() -> None:
    answer = Answer(status=200, request_id="r2", attempts=3, data={})

    accepted = journal.accepted(replace(prepared(), code="SYSTEM_ERROR", definite=1), answer, LATER)

    assert accepted == replace(
        prepared(), outcome=CallOutcome.ACCEPTED, status=200, code="", request_id="r2", attempts=3, begun=0, at=LATER
    )
    assert not accepted.is_surely_without_effect


@pytest.mark.parametrize("before", [prepared(), lost()], ids=["the first send", "after a lost one"])
def test_a_signed_answer_that_cannot_be_leaves_it_unknown_what_became_of_the_call(before: CallRecord) -> None:
    answer = Answer(status=200, request_id="r2", attempts=3, data={})

    odd = journal.answered_oddly(before, answer, LATER)

    assert odd == replace(
        before,
        outcome=CallOutcome.UNKNOWN,
        status=200,
        code="",
        request_id="r2",
        attempts=3,
        uncertain=True,
        begun=0,
        definite=0,
        at=LATER,
    )
    assert not sent_again(odd).is_surely_without_effect


def test_a_refusal_is_kept_in_full_and_makes_one_send_surely_without_effect() -> None:
    refused = journal.failed(prepared(), a_refusal(attempts=2), LATER)

    assert refused == replace(
        prepared(),
        outcome=CallOutcome.REFUSED,
        status=400,
        code="PARAM_ERROR",
        request_id="r1",
        attempts=2,
        begun=0,
        definite=1,
        at=LATER,
    )


def test_a_refusal_after_an_earlier_try_of_the_same_send_that_was_lost_is_no_certainty() -> None:
    refused = journal.failed(prepared(), a_refusal(unsure=True, attempts=2), LATER)

    assert (refused.outcome, refused.uncertain, refused.definite) == (CallOutcome.REFUSED, True, 0)


def test_a_refusal_after_a_send_that_was_lost_takes_nothing_back() -> None:
    refused = journal.failed(sent_again(lost()), a_refusal(), LATER)

    assert (refused.outcome, refused.uncertain, refused.definite) == (CallOutcome.REFUSED, True, 1)


def test_a_send_whose_answer_never_came_may_have_been_accepted() -> None:
    unknown = lost()

    assert (unknown.outcome, unknown.uncertain, unknown.definite) == (CallOutcome.UNKNOWN, True, 0)


def test_a_call_that_was_not_processed_is_as_good_as_never_sent() -> None:
    record = journal.failed(prepared(), WechatPayUnavailable("no connection"), NOW)

    assert (record.outcome, record.uncertain, record.definite) == (CallOutcome.PREPARED, False, 1)


def test_a_call_that_was_not_processed_leaves_an_earlier_refusal_as_it_was() -> None:
    refused = sent_again(journal.failed(prepared(), a_refusal(), NOW))

    assert journal.failed(refused, WechatPayUnavailable("no connection"), LATER).outcome is CallOutcome.REFUSED


def test_a_call_that_was_not_processed_leaves_what_was_unknown_before_unknown() -> None:
    record = journal.failed(sent_again(lost()), WechatPayUnavailable("no connection"), LATER)

    assert (record.outcome, record.uncertain, record.definite) == (CallOutcome.UNKNOWN, True, 1)


def test_a_refusal_of_the_merchant_is_a_refusal() -> None:
    record = journal.failed(prepared(), MerchantRefused("SIGN_ERROR", status=401, code="SIGN_ERROR"), NOW)

    assert (record.outcome, record.uncertain, record.definite) == (CallOutcome.REFUSED, False, 1)
    assert (record.status, record.code) == (401, "SIGN_ERROR")


@pytest.mark.parametrize("error", [WechatPayUnavailable("no connection", unsure=True), OutcomeUnknown("timed out")])
def test_a_failure_that_leaves_a_try_unknown_is_never_counted_as_without_effect(error: WechatPayError) -> None:
    record = journal.failed(prepared(), error, NOW)

    assert (record.uncertain, record.definite) == (True, 0)


# --- Whether bytes can have been accepted: by the sends of every worker ---


@pytest.mark.parametrize(
    ("begun", "definite", "surely"),
    [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True), (0, 0, True), (1, 2, True)],
)
def test_bytes_are_surely_without_effect_once_each_send_that_any_worker_began_was_refused(
    begun: int, definite: int, *, surely: bool
) -> None:
    record = replace(prepared(), outcome=CallOutcome.REFUSED, begun=begun, definite=definite)

    assert record.is_surely_without_effect is surely


def test_what_was_accepted_once_is_not_without_effect_whatever_was_refused() -> None:
    record = replace(prepared(), outcome=CallOutcome.ACCEPTED, begun=2, definite=2)

    assert not record.is_surely_without_effect


@pytest.mark.parametrize(
    ("outcome", "uncertain", "surely"),
    [
        (CallOutcome.REFUSED, False, True),
        (CallOutcome.REFUSED, True, False),
        (CallOutcome.PREPARED, False, False),
        (CallOutcome.UNKNOWN, True, False),
    ],
)
def test_of_a_release_that_did_not_count_its_sends_only_a_refusal_without_doubt_is_believed(
    outcome: CallOutcome, *, uncertain: bool, surely: bool
) -> None:
    record = replace(prepared(), outcome=outcome, uncertain=uncertain, begun=-1, definite=0)

    assert record.is_surely_without_effect is surely


# --- Questions are journaled with the next write ---


def test_a_question_that_is_repeated_is_one_entry_with_the_last_answer_and_the_attempts_of_all() -> None:
    query = journal.asking(CallKind.QUERY, NOW)
    state = journal.asking(CallKind.USER_SERVICE_STATE, NOW)
    asked: dict[str, CallRecord] = {}

    journal.remember(asked, replace(state, attempts=5))
    journal.remember(asked, replace(query, attempts=1, status=404))
    journal.remember(asked, replace(query, attempts=2, status=200))

    assert asked == {
        "user_service_state": replace(state, attempts=5),
        "query": replace(query, attempts=3, status=200),
    }
