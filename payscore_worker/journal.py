"""What is kept of a WeChat Pay call: the bytes before it is sent, and what each attempt made of it."""

from dataclasses import replace
from datetime import datetime

from payscore_worker.errors import WechatPayError
from payscore_worker.storage import CallOutcome, CallRecord
from payscore_worker.wechatpay import Answer, Call


def prepared(call: Call, *, generation: int, at: datetime) -> CallRecord:
    """Write down a call that has not been sent."""
    return CallRecord(
        kind=call.kind.value,
        generation=generation,
        method=call.method,
        path=call.path,
        body=call.body,
        outcome=CallOutcome.PREPARED,
        at=at,
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
        at=at,
    )


def failed(record: CallRecord, error: WechatPayError, outcome: CallOutcome, at: datetime) -> CallRecord:
    """Add a refusal, or that no answer can be believed."""
    return replace(
        record,
        attempts=error.attempts,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        outcome=outcome,
        uncertain=outcome is CallOutcome.UNKNOWN or record.uncertain,
        at=at,
    )


def remember(asked: dict[str, CallRecord], answered: CallRecord) -> None:
    """Keep the answer to a question for the journal; a repeated question is one entry with more attempts."""
    before = asked.get(answered.kind)
    attempts = answered.attempts + (before.attempts if before is not None else 0)
    asked[answered.kind] = replace(answered, attempts=attempts)
