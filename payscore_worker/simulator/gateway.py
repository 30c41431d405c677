"""Between the wire and the orders: checks the merchant's signature, strikes with faults, signs, and keeps the log."""

import itertools
import secrets
from collections import deque
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

import msgspec

from payscore_worker.simulator.authorization import Authorizer, check_headers
from payscore_worker.simulator.book import Page
from payscore_worker.simulator.calls import Call, CallKind, CallRecord, Reply
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.members import ORDER_NUMBER
from payscore_worker.simulator.payscore import PayScore
from payscore_worker.simulator.platform import request_id, signature_headers
from payscore_worker.simulator.refusals import (
    FREQUENCY_LIMITED,
    GATEWAY_UNAVAILABLE,
    SYSTEM_ERROR,
    Refusal,
    Refused,
)
from payscore_worker.simulator.world import World

MAX_CALLS: Final = 10_000
"""Calls remembered, the oldest forgotten first."""
PROBE_PREFIX: Final = "WECHATPAY/SIGNTEST/"
"""Of a signature that is wrong on purpose (reference payscore-api D.7)."""

_INSTEAD: Final = {
    FaultKind.FAIL_BEFORE: SYSTEM_ERROR,
    FaultKind.UNAVAILABLE: GATEWAY_UNAVAILABLE,
    FaultKind.THROTTLE: FREQUENCY_LIMITED,
}
"""Answered without processing the call."""


class Subject(msgspec.Struct, frozen=True):
    """What a call is about, as far as one can tell before it is processed."""

    out_order_no: str = ""
    openid: str = ""


class Gateway:
    def __init__(self, world: World, payscore: PayScore) -> None:
        self._world = world
        self._payscore = payscore
        self._authorizer = Authorizer(world.config.keys)
        self._records: deque[CallRecord] = deque(maxlen=MAX_CALLS)

    def answer(self, call: Call) -> Reply:
        try:
            self._authorizer.check(call, self._world.clock())
        except Refused as refused:
            return self._replied(call, Subject(), None, refused.refusal)
        subject = self._subject_of(call)
        fault = self._world.faults.strike_call(call.kind, out_order_no=subject.out_order_no, openid=subject.openid)
        return self._replied(call, subject, fault, self._outcome(call, subject, fault))

    def recent(self, limit: int) -> list[CallRecord]:
        """The newest first."""
        return list(itertools.islice(reversed(self._records), limit))

    def _outcome(self, call: Call, subject: Subject, fault: Fault | None) -> bytes | Refusal:
        """The body of a 200, or why there is none."""
        page = self._page_of(call, subject)
        if call.body:
            page.note_body(call.kind, call.body_sha256)
        if fault and (instead := _instead_of_processing(fault)):
            return instead
        outcome: bytes | Refusal
        try:
            check_headers(call)
            outcome = msgspec.json.encode(self._payscore.answer(call))
        except Refused as refused:
            outcome = refused.refusal
            page.note_refusal(call.kind, outcome, self._world.clock())
        else:
            page.note_accepted(call.kind)
        return SYSTEM_ERROR if fault and fault.fault is FaultKind.FAIL_AFTER else outcome

    def _replied(self, call: Call, subject: Subject, fault: Fault | None, outcome: bytes | Refusal) -> Reply:
        now = self._world.clock()
        refusal = outcome if isinstance(outcome, Refusal) else None
        body = outcome if isinstance(outcome, bytes) else _error_body(outcome)
        headers = {
            "Request-ID": request_id(refusal.sub_code if refusal else 0),
            "Content-Type": "text/plain" if refusal is GATEWAY_UNAVAILABLE else "application/json",
        }
        headers |= self._date_and_signature(call, body, fault, signed=refusal is None)
        reply = Reply(
            status=refusal.status if refusal else 200,
            headers=headers,
            body=body,
            delay_seconds=fault.delay_seconds if fault and fault.fault is FaultKind.SLOW else 0.0,
            dropped=fault is not None and fault.fault is FaultKind.DROP_REPLY,
        )
        self._records.append(_record(call, subject, fault, refusal, reply, at=now))
        return reply

    def _date_and_signature(self, call: Call, body: bytes, fault: Fault | None, *, signed: bool) -> dict[str, str]:
        """A refusal goes unsigned, as it may (reference payscore-api E.2)."""
        kind, at = fault.fault if fault else None, self._world.clock()
        if fault and kind is FaultKind.CLOCK_SKEW:
            at += timedelta(seconds=fault.delay_seconds)
        date = {"Date": format_datetime(at.astimezone(UTC), usegmt=True)}
        if not signed or kind is FaultKind.UNSIGNED:
            return date
        key = self._world.platform.key_for_reply(call.headers.get("wechatpay-serial"))
        if kind is FaultKind.BAD_SIGNATURE:
            key = self._world.platform.forgery_of(key)
        headers = date | signature_headers(key, body, at=at)
        if kind is FaultKind.SIGNTEST:
            headers["Wechatpay-Signature"] = PROBE_PREFIX + headers["Wechatpay-Signature"]
        if kind is FaultKind.WRONG_SERIAL:
            headers["Wechatpay-Serial"] = secrets.token_hex(20).upper()
        return headers

    def _subject_of(self, call: Call) -> Subject:
        match call.kind:
            case CallKind.CREATE:
                return _subject_of_create(call.body)
            case CallKind.USER_SERVICE_STATE:
                return Subject(openid=call.query.get("openid", ""))
            case _:
                out_order_no = call.out_order_no or call.query.get("out_order_no", "")
                order = self._world.book.order(out_order_no)
                return Subject(out_order_no, order.openid if order else "")

    def _page_of(self, call: Call, subject: Subject) -> Page:
        """Where the judge reads of this call: a create opens a page; a call on no known order goes on a blank one."""
        if call.kind is CallKind.CREATE and ORDER_NUMBER.fullmatch(subject.out_order_no):
            return self._world.book.open_page(subject.out_order_no)
        return self._world.book.page(subject.out_order_no) or Page(subject.out_order_no)


def _subject_of_create(body: bytes) -> Subject:
    try:
        return msgspec.json.decode(body, type=Subject)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Subject()


def _instead_of_processing(fault: Fault) -> Refusal | None:
    if fault.fault is FaultKind.REFUSE:
        return Refusal(status=fault.status, code=fault.code, message=fault.message, sub_code=fault.sub_code)
    return _INSTEAD.get(fault.fault)


def _error_body(refusal: Refusal) -> bytes:
    if refusal is GATEWAY_UNAVAILABLE:
        return refusal.message.encode()
    envelope: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.detail:
        envelope["detail"] = refusal.detail
    return msgspec.json.encode(envelope)


def _record(
    call: Call, subject: Subject, fault: Fault | None, refusal: Refusal | None, reply: Reply, *, at: datetime
) -> CallRecord:
    return CallRecord(
        at=at,
        kind=call.kind,
        family=call.family,
        method=call.method,
        target=call.target,
        out_order_no=subject.out_order_no,
        openid=subject.openid,
        body_sha256=call.body_sha256,
        status=reply.status,
        code=refusal.code if refusal else "",
        message=refusal.message if refusal else "",
        request_id=reply.headers["Request-ID"],
        fault=fault.fault if fault else None,
    )
