"""Between the wire and the orders: checks the merchant's signature, strikes with faults, signs, and keeps the log."""

import itertools
import secrets
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Final

import msgspec

from payscore_worker.simulator.authorization import Authorizer, check_headers
from payscore_worker.simulator.calls import Call, CallKind, CallRecord, Reply
from payscore_worker.simulator.faults import VARIANTS, Fault, FaultKind
from payscore_worker.simulator.lies import (
    GATEWAY_UNAVAILABLE,
    ForeignAnswer,
    about_another_order,
    answer_of_a_proxy,
    unreadable,
    with_another_total,
    with_other_details,
)
from payscore_worker.simulator.members import ORDER_NUMBER, Entity
from payscore_worker.simulator.payscore.answering import PayScore
from payscore_worker.simulator.payscore.book import Page
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.platform import request_id, signature_headers
from payscore_worker.simulator.refusals import (
    FREQUENCY_LIMITED,
    ORDER_NOT_EXIST,
    SYSTEM_ERROR,
    Refusal,
    Refused,
)

MAX_CALLS: Final = 10_000
"""Calls remembered, the oldest forgotten first."""
PROBE_PREFIX: Final = "WECHATPAY/SIGNTEST/"
"""Of a signature that is wrong on purpose (reference payscore-api D.7)."""

Answer = bytes | Refusal | ForeignAnswer
"""The body of a 200, why there is none, or what somebody on the way says instead."""

_INSTEAD: Final[Mapping[FaultKind, Refusal | ForeignAnswer]] = {
    FaultKind.FAIL_BEFORE: SYSTEM_ERROR,
    FaultKind.UNAVAILABLE: GATEWAY_UNAVAILABLE,
    FaultKind.THROTTLE: FREQUENCY_LIMITED,
    FaultKind.NOT_YET: ORDER_NOT_EXIST,
    FaultKind.FAIL_AFTER: SYSTEM_ERROR,
}
"""Answered in place of the true answer."""


class Subject(msgspec.Struct, frozen=True):
    """What a call is about, as far as one can tell before it is processed."""

    out_order_no: str = ""
    openid: str = ""


class Gateway:
    def __init__(self, state: PayScoreState, payscore: PayScore) -> None:
        self._state, self._world = state, state.world
        self._payscore = payscore
        self._authorizer = Authorizer(state.world.config.keys)
        self._records: deque[CallRecord] = deque(maxlen=MAX_CALLS)

    def answer(self, call: Call) -> Reply:
        try:
            self._authorizer.check(call, self._world.clock())
        except Refused as refused:
            return self._replied(call, Subject(), None, refused.refusal)
        subject = self._subject_of(call)
        page = self._page_of(call, subject)
        fault = self._world.faults.strike_call(
            call.kind,
            out_order_no=subject.out_order_no,
            openid=subject.openid,
            host=call.host,
            can_play=partial(_can_play, call, page),
        )
        return self._replied(call, subject, fault, self._outcome(call, page, fault))

    def recent(self, limit: int) -> list[CallRecord]:
        """The newest first."""
        return list(itertools.islice(reversed(self._records), limit))

    def _outcome(self, call: Call, page: Page, fault: Fault | None) -> Answer:
        if call.body:
            page.note_body(call.kind, call.body_sha256)
        if fault is None:
            return _true(self._processed(call, page))
        instead = _instead_of(fault)
        if instead and not _comes_after_processing(fault):
            return instead
        outcome = self._processed(call, page)
        if instead:
            return instead
        return outcome if isinstance(outcome, Refusal) else self._falsified(outcome, page, fault)

    def _processed(self, call: Call, page: Page) -> Entity | Refusal:
        try:
            check_headers(call)
            entity = self._payscore.answer(call)
        except Refused as refused:
            page.note_refusal(call.kind, refused.refusal, self._world.clock())
            return refused.refusal
        page.note_accepted(call.kind)
        return entity

    def _falsified(self, entity: Entity, page: Page, fault: Fault) -> bytes:
        """The body of a 200, as a fault would have it."""
        match fault.fault:
            case FaultKind.UNREADABLE:
                return unreadable(entity, fault.played)
            case FaultKind.ANOTHER_ORDER:
                entity = about_another_order(entity, fault.played)
            case FaultKind.AMOUNT_DIFFERS:
                entity = with_another_total(entity, fault.difference_fen)
            case FaultKind.DETAILS:
                entity = with_other_details(entity, fault.played)
            case FaultKind.STALE if page.earlier:
                entity = self._state.family(page.earlier.family).query_response(page.earlier)
        return msgspec.json.encode(entity)

    def _replied(self, call: Call, subject: Subject, fault: Fault | None, outcome: Answer) -> Reply:
        now = self._world.clock()
        status, headers, body = self._written(call, fault, outcome)
        reply = Reply(
            status=status,
            headers=headers,
            body=body,
            delay_seconds=fault.delay_seconds if fault and fault.fault is not FaultKind.CLOCK_SKEW else 0.0,
            dropped=fault is not None and fault.fault is FaultKind.DROP_REPLY,
        )
        refusal = outcome if isinstance(outcome, Refusal) else None
        self._records.append(_record(call, subject, fault, refusal, reply, at=now))
        return reply

    def _written(self, call: Call, fault: Fault | None, outcome: Answer) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body on the wire."""
        if isinstance(outcome, ForeignAnswer):
            headers = {"Content-Type": outcome.content_type, "Date": _date(self._world.clock())}
            return outcome.status, headers, outcome.body
        refusal = outcome if isinstance(outcome, Refusal) else None
        body = outcome if isinstance(outcome, bytes) else _error_body(outcome)
        headers = {"Request-ID": request_id(refusal.sub_code if refusal else 0), "Content-Type": "application/json"}
        headers |= self._date_and_signature(call, body, fault, signed=refusal is None)
        return refusal.status if refusal else 200, headers, body

    def _date_and_signature(self, call: Call, body: bytes, fault: Fault | None, *, signed: bool) -> dict[str, str]:
        """A refusal goes unsigned, as it may (reference payscore-api E.2)."""
        kind, at = fault.fault if fault else None, self._world.clock()
        if fault and kind is FaultKind.CLOCK_SKEW:
            at += timedelta(seconds=fault.delay_seconds)
        date = {"Date": _date(at)}
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
                order = self._state.book.order(out_order_no)
                return Subject(out_order_no, order.openid if order else "")

    def _page_of(self, call: Call, subject: Subject) -> Page:
        """Where the judge reads of this call: a create opens a page; a call on no known order goes on a blank one."""
        if call.kind is CallKind.CREATE and ORDER_NUMBER.fullmatch(subject.out_order_no):
            return self._state.book.open_page(subject.out_order_no)
        return self._state.book.page(subject.out_order_no) or Page(subject.out_order_no)


def _subject_of_create(body: bytes) -> Subject:
    try:
        return msgspec.json.decode(body, type=Subject)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Subject()


def _can_play(call: Call, page: Page, fault: Fault) -> bool:
    """Whether there is anything to be false about: a fault that cannot show on this call waits for one it can."""
    order = page.order if page.order and page.order.family == call.family else None
    match fault.fault:
        case FaultKind.STALE:
            return order is not None and page.earlier is not None
        case FaultKind.NOT_YET:
            return order is not None
        case FaultKind.AMOUNT_DIFFERS:
            return order is not None and order.total_fen is not None
        case FaultKind.DETAILS:
            return order is not None and order.family == "serviceorder" and bool(order.payments)
        case FaultKind.ANOTHER_ORDER:
            return fault.played in _NUMBERS_SHOWN.get(call.kind, VARIANTS[FaultKind.ANOTHER_ORDER])
        case _:
            return True


_NUMBERS_SHOWN: Final = {CallKind.CERTIFICATES: (), CallKind.USER_SERVICE_STATE: ("appid", "service_id")}
"""Of the numbers that another_order changes; every other call shows all of them."""


def _true(outcome: Entity | Refusal) -> bytes | Refusal:
    return outcome if isinstance(outcome, Refusal) else msgspec.json.encode(outcome)


def _instead_of(fault: Fault) -> Refusal | ForeignAnswer | None:
    match fault.fault:
        case FaultKind.REFUSE:
            return Refusal(status=fault.status, code=fault.code, message=fault.message, sub_code=fault.sub_code)
        case FaultKind.PROXY:
            return answer_of_a_proxy(fault.status, fault.played)
        case _:
            return _INSTEAD.get(fault.fault)


def _comes_after_processing(fault: Fault) -> bool:
    return fault.after or fault.fault is FaultKind.FAIL_AFTER


def _date(at: datetime) -> str:
    return format_datetime(at.astimezone(UTC), usegmt=True)


def _error_body(refusal: Refusal) -> bytes:
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
        host=call.host,
        out_order_no=subject.out_order_no,
        openid=subject.openid,
        body_sha256=call.body_sha256,
        status=reply.status,
        code=refusal.code if refusal else "",
        message=refusal.message if refusal else "",
        request_id=reply.headers.get("Request-ID", ""),
        fault=fault.fault if fault else None,
    )
