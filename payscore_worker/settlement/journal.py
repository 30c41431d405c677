"""What is kept of a WeChat Pay call: the bytes and every send before it is made, and what came of each."""

from dataclasses import replace
from datetime import datetime

from payscore_worker.errors import MerchantRefused, OutcomeUnknown, WechatPayError, WechatPayRejected
from payscore_worker.storage import CallOutcome, CallRecord
from payscore_worker.wechatpay import Answer, Call, CallKind


def asking(kind: CallKind, at: datetime, *, generation: int = 0) -> CallRecord:
    """Write down a question; it changes nothing, so its sends need not be counted before they are made."""
    return CallRecord(
        kind=kind.value, generation=generation, method="GET", path="", body=b"", outcome=CallOutcome.PREPARED, at=at
    )


def prepared(call: Call, *, generation: int, at: datetime) -> CallRecord:
    """Write down a call that is about to be sent for the first time."""
    return CallRecord(
        kind=call.kind.value,
        generation=generation,
        method=call.method,
        path=call.path,
        body=call.body,
        outcome=CallOutcome.PREPARED,
        at=at,
        begun=1,
    )


def accepted(record: CallRecord, answer: Answer, at: datetime) -> CallRecord:
    """Add an answer that was signed and says yes."""
    return replace(
        record,
        attempts=answer.attempts,
        status=answer.status,
        code="",
        request_id=answer.request_id,
        outcome=CallOutcome.ACCEPTED,
        begun=0,
        definite=0,
        at=at,
    )


def answered_oddly(record: CallRecord, answer: Answer, at: datetime) -> CallRecord:
    """Add a signed answer that is about something else, or says nothing: what became of the call is unknown."""
    return replace(accepted(record, answer, at), outcome=CallOutcome.UNKNOWN, uncertain=True)


def failed(record: CallRecord, error: WechatPayError, at: datetime) -> CallRecord:
    """Add a refusal, or that no answer can be believed."""
    unknown = error.unsure or isinstance(error, OutcomeUnknown)
    return replace(
        record,
        attempts=error.attempts,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        outcome=_outcome(record, error),
        uncertain=record.uncertain or unknown,
        begun=0,
        definite=0 if unknown else 1,
        at=at,
    )


def remember(asked: dict[str, CallRecord], answered: CallRecord) -> None:
    """Keep the answer to a question for the journal; a repeated question is one entry with more attempts."""
    before = asked.get(answered.kind)
    attempts = answered.attempts + (before.attempts if before is not None else 0)
    asked[answered.kind] = replace(answered, attempts=attempts)


def _outcome(record: CallRecord, error: WechatPayError) -> CallOutcome:
    if isinstance(error, WechatPayRejected | MerchantRefused):
        return CallOutcome.REFUSED
    # Not processed is as good as never sent; and what was unknown before stays so.
    return CallOutcome.UNKNOWN if isinstance(error, OutcomeUnknown) or record.uncertain else record.outcome
