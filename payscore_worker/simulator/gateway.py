"""Between the wire and the desks: checks the merchant's signature, strikes with faults, signs, and keeps the log."""

import itertools
import secrets
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Final

import msgspec

from payscore_worker.simulator.authorization import Authorizer, check_headers
from payscore_worker.simulator.calls import Call, CallRecord, Reply
from payscore_worker.simulator.desk import Desk, Subject
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.lies import (
    GATEWAY_UNAVAILABLE,
    ForeignAnswer,
    about_another_order,
    answer_of_a_proxy,
    unreadable,
    with_another_total,
    with_other_details,
)
from payscore_worker.simulator.members import Entity, refuse_path_parameters
from payscore_worker.simulator.notes import Notes
from payscore_worker.simulator.platform import request_id, signature_headers
from payscore_worker.simulator.refusals import (
    FREQUENCY_LIMITED,
    SYSTEM_ERROR,
    Refusal,
    Refused,
)
from payscore_worker.simulator.world import World

MAX_CALLS: Final = 10_000
"""Calls remembered, the oldest forgotten first."""
PROBE_PREFIX: Final = "WECHATPAY/SIGNTEST/"
"""Of a signature that is wrong on purpose (reference payscore-api D.7)."""

Answer = bytes | Refusal | ForeignAnswer | None
"""The body of a 200, or why there is none, or what somebody on the way says instead; None: a 204."""

_INSTEAD: Final[Mapping[FaultKind, Refusal | ForeignAnswer]] = {
    FaultKind.FAIL_BEFORE: SYSTEM_ERROR,
    FaultKind.UNAVAILABLE: GATEWAY_UNAVAILABLE,
    FaultKind.THROTTLE: FREQUENCY_LIMITED,
    FaultKind.FAIL_AFTER: SYSTEM_ERROR,
}
"""Answered in place of the true answer."""


class Gateway:
    def __init__(self, world: World, desks: Iterable[Desk]) -> None:
        self._world = world
        self._desks: Final = {kind: desk for desk in desks for kind in desk.kinds}
        self._authorizer = Authorizer(world.config.keys)
        self._records: deque[CallRecord] = deque(maxlen=MAX_CALLS)

    def answer(self, call: Call) -> Reply:
        try:
            self._authorizer.check(call, self._world.clock())
        except Refused as refused:
            return self._replied(call, Subject(), None, refused.refusal)
        desk = self._desks[call.kind]
        subject = desk.subject_of(call)
        fault = self._world.faults.strike_call(
            call.kind,
            out_order_no=subject.out_order_no,
            openid=subject.openid,
            host=call.host,
            can_play=partial(desk.can_play, call),
        )
        return self._replied(call, subject, fault, self._outcome(call, desk, subject.notes, fault))

    def recent(self, limit: int) -> list[CallRecord]:
        """The newest first."""
        return list(itertools.islice(reversed(self._records), limit))

    def _outcome(self, call: Call, desk: Desk, notes: Notes, fault: Fault | None) -> Answer:
        if call.body:
            notes.note_body(call.kind, call.body_sha256)
        if fault is None:
            return _true(self._processed(call, desk, notes))
        instead = _instead_of(fault, desk)
        if instead and not _comes_after_processing(fault):
            return instead
        outcome = self._processed(call, desk, notes)
        if instead:
            return instead
        return outcome if isinstance(outcome, Refusal) else _falsified(outcome, call, desk, fault)

    def _processed(self, call: Call, desk: Desk, notes: Notes) -> Entity | Refusal | None:
        try:
            check_headers(call)
            refuse_path_parameters(call, call.query, location="query")
            entity = desk.answer(call)
        except Refused as refused:
            notes.note_refusal(call.kind, refused.refusal, self._world.clock())
            return refused.refusal
        notes.note_accepted(call.kind)
        return entity

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
        body = _error_body(outcome) if isinstance(outcome, Refusal) else outcome or b""
        headers = {"Request-ID": request_id(refusal.sub_code if refusal else 0)}
        if outcome is not None:
            headers["Content-Type"] = "application/json"
        headers |= self._date_and_signature(call, body, fault, signed=refusal is None)
        success = 204 if outcome is None else 200
        return refusal.status if refusal else success, headers, body

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


def _true(outcome: Entity | Refusal | None) -> bytes | Refusal | None:
    return msgspec.json.encode(outcome) if isinstance(outcome, dict) else outcome


def _falsified(entity: Entity | None, call: Call, desk: Desk, fault: Fault) -> bytes | None:
    """The body of a 200, as a fault would have it; of a 204 there is nothing to falsify."""
    if entity is None:
        return None
    match fault.fault:
        case FaultKind.UNREADABLE:
            return unreadable(entity, fault.played)
        case FaultKind.ANOTHER_ORDER:
            entity = about_another_order(entity, fault.played)
        case FaultKind.AMOUNT_DIFFERS:
            entity = with_another_total(entity, fault.difference_fen)
        case FaultKind.DETAILS:
            entity = with_other_details(entity, fault.played)
        case FaultKind.STALE:
            entity = desk.earlier(call) or entity
    return msgspec.json.encode(entity)


def _instead_of(fault: Fault, desk: Desk) -> Refusal | ForeignAnswer | None:
    match fault.fault:
        case FaultKind.REFUSE:
            return Refusal(status=fault.status, code=fault.code, message=fault.message, sub_code=fault.sub_code)
        case FaultKind.PROXY:
            return answer_of_a_proxy(fault.status, fault.played)
        case FaultKind.NOT_YET:
            return desk.unknown
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
