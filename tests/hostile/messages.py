"""Messages that the ride service would not send; and what must be true of each that is read all the same."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import msgspec

from payscore_worker.errors import MalformedMessage
from payscore_worker.events import (
    CLOUD_EVENT,
    MAX_BODY_BYTES,
    MAX_FEN,
    EventIn,
    Notification,
    OrderConfirmed,
    OrderPaid,
    Received,
    RefundChanged,
    RefundRequested,
    ServiceChanged,
    TripCancelled,
    TripEnded,
    TripFareLowered,
    TripPaidElsewhere,
    TripStarted,
    read_event,
)
from tests.hostile import mangling
from tests.unit.wechatpay import vectors

SAMPLES: Final[Mapping[str, tuple[type[EventIn], dict[str, Any]]]] = {
    "trip.started": (
        TripStarted,
        {
            "trip_id": "t1",
            "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
            "started_at": "2026-05-01T12:00:00+08:00",
            "start_location": "静安寺",
            "end_location": "虹桥火车站",
            "estimated_fare_fen": 3200,
            "risk_amount_fen": 20000,
            "introduction": "网约车出行",
            "attach": "a=1",
        },
    ),
    "trip.ended": (
        TripEnded,
        {
            "trip_id": "t1",
            "ended_at": "2026-05-01T12:30:00+08:00",
            "end_location": "虹桥火车站",
            "fees": [
                {"name": "里程费", "amount_fen": 3500, "description": "12.3 公里", "count": 1},
                {"name": "过路费", "amount_fen": 500},
            ],
            "discounts": [{"name": "优惠券", "amount_fen": 800, "description": "新客"}],
            "total_fen": 3200,
        },
    ),
    "trip.cancelled": (
        TripCancelled,
        {"trip_id": "t1", "cancelled_at": "2026-05-01T12:05:00Z", "reason": "乘客取消"},
    ),
    "trip.fare_lowered": (
        TripFareLowered,
        {
            "trip_id": "t1",
            "lowered_at": "2026-05-01T12:50:00+08:00",
            "fees": [{"name": "里程费", "amount_fen": 2500, "description": "12.3 公里", "count": 1}],
            "discounts": [{"name": "优惠券", "amount_fen": 500}],
            "total_fen": 2000,
            "reason": "绕路退费",
        },
    ),
    "trip.paid_elsewhere": (
        TripPaidElsewhere,
        {"trip_id": "t1", "paid_at": "2026-05-01T12:40:00+08:00", "amount_fen": 3200, "channel": "cash"},
    ),
    "refund.requested": (
        RefundRequested,
        {"trip_id": "t1", "refund_id": "r1", "amount_fen": 1000, "reason": "绕路"},
    ),
    "payscore.user_confirm": (OrderConfirmed, json.loads(vectors.USER_PAID_RESOURCE) | {"state": "DOING"}),
    "payscore.user_paid": (OrderPaid, json.loads(vectors.USER_PAID_RESOURCE)),
    "payscore.user_open_service": (ServiceChanged, json.loads(vectors.OPEN_SERVICE_RESOURCE)),
    "refund.success": (
        RefundChanged,
        {
            "mchid": "1230000109",
            "out_refund_no": "r1",
            "refund_id": "50300000012026050100000001",
            "transaction_id": "4200000914202605019240252096",
            "refund_status": "SUCCESS",
            "success_time": "2026-05-01T12:40:00+08:00",
            "amount": {"refund": 1000, "total": 3200, "payer_refund": 900, "payer_total": 2900},
        },
    ),
}

ENVELOPE: Final = {
    "specversion": "1.0",
    "id": "e1",
    "source": "ride",
    "time": "2026-05-01T12:30:00+08:00",
    "subject": "t1",
    "datacontenttype": "application/json",
}

CONTENT_TYPES: Final = (
    None,
    "application/json",
    CLOUD_EVENT,
    f"{CLOUD_EVENT}; charset=utf-8",
    CLOUD_EVENT.upper(),
    "x",
)
MESSAGE_IDS: Final = (None, "m1", "", "\0", "m\0", "x" * 255, "汉")


CALENDAR_DAYS: Final = 9_998 * 365
"""From the year 1 almost to the year 9999, in which Python's calendar ends."""

LONG_NUMBER: Final = 4_300
"""Python refuses to read longer ones, and no amount of ours is."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it lies in a queue."""

    type: str
    body: bytes
    content_type: str | None
    message_id: str | None


def mangled_plain(chance: Random) -> Message:
    """Mangle the members of an event."""
    type_ = _a_type(chance)
    body = mangling.written(chance, mangling.mangled(chance, SAMPLES[type_][1]))
    return _message(chance, type_, body, content_type="application/json")


def mangled_cloud(chance: Random) -> Message:
    """Mangle an envelope, or what is in it."""
    type_ = _a_type(chance)
    data = SAMPLES[type_][1] if chance.random() < 0.5 else mangling.mangled(chance, SAMPLES[type_][1])
    envelope = {**ENVELOPE, "type": type_, "data": data}
    if chance.random() < 0.6:
        envelope = mangling.mangled(chance, envelope)
    return _message(chance, type_, mangling.written(chance, envelope), content_type=CLOUD_EVENT)


def damaged(chance: Random) -> Message:
    """Damage the bytes of a good message, or say them anew."""
    type_ = _a_type(chance)
    data, content_type = SAMPLES[type_][1], chance.choice(["application/json", CLOUD_EVENT])
    good = data if content_type != CLOUD_EVENT else {**ENVELOPE, "type": type_, "data": data}
    body = json.dumps(good, ensure_ascii=chance.random() < 0.5).encode()
    damage: Callable[[Random, bytes], bytes] = chance.choice([mangling.damaged, mangling.damaged, mangling.said_anew])
    return _message(chance, type_, damage(chance, body), content_type=content_type)


def other_amounts(chance: Random) -> Message:
    """Give a fare whose amounts are drawn at random: a few of them add up."""
    amounts = [
        chance.choice([0, 1, chance.randrange(5000), MAX_FEN, MAX_FEN + 1, -1]) for _ in range(chance.randint(1, 4))
    ]
    less = [chance.choice([0, 1, chance.randrange(500), MAX_FEN]) for _ in range(chance.randrange(3))]
    total = sum(amounts) - sum(less) + chance.choice([0, 0, 0, 1, -1])
    type_ = chance.choice(["trip.ended", "trip.fare_lowered"])
    told = {
        **SAMPLES[type_][1],
        "fees": [{"name": "费", "amount_fen": amount} for amount in amounts],
        "discounts": [{"name": "券", "amount_fen": amount} for amount in less],
        "total_fen": chance.choice([total, total, total, float(total), str(total), True]),
    }
    return _message(chance, type_, json.dumps(told).encode(), content_type=None)


def other_times(chance: Random) -> Message:
    """Give a time at which no ride can have been, or none, or one that is written otherwise."""
    type_ = chance.choice([name for name in SAMPLES if name.startswith("trip.")])
    member = next(name for name in SAMPLES[type_][1] if name.endswith("_at"))
    moment = datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(CALENDAR_DAYS), seconds=chance.random())
    offset = chance.choice(["Z", "+00:00", "+08:00", "-08:00", "+23:59", "-23:59", "+24:00", ""])
    said = chance.choice([f"{moment.replace(tzinfo=None).isoformat()}{offset}", chance.choice(mangling.ODD_TIMES)])
    return _message(chance, type_, json.dumps({**SAMPLES[type_][1], member: said}).encode(), content_type=None)


def no_document(chance: Random) -> Message:
    """Send what is no JSON, or too much of it."""
    body = mangling.no_json(chance)
    if chance.random() < 0.01:
        body = json.dumps(SAMPLES["trip.ended"][1]).encode() + b" " * MAX_BODY_BYTES
    return _message(chance, _a_type(chance), body, content_type=chance.choice(CONTENT_TYPES))


MAKERS: Final[Mapping[str, tuple[Callable[[Random], Message], int]]] = {
    "event, members mangled": (mangled_plain, 12),
    "CloudEvent mangled": (mangled_cloud, 10),
    "event, bytes damaged": (damaged, 8),
    "event, other amounts": (other_amounts, 4),
    "event, other times": (other_times, 4),
    "event, no document": (no_document, 4),
}


def judge(message: Message) -> tuple[str, list[str]]:
    """Read a message; returns what became of it, and what laws were broken."""
    expected = {message.type: SAMPLES[message.type][0]}
    try:
        received = read_event(
            message.body, content_type=message.content_type, message_id=message.message_id, expected=expected
        )
    except MalformedMessage as error:
        return "malformed", [] if str(error).strip() else ["unhandled: refused without a reason"]
    except Exception as error:  # noqa: BLE001 - whatever escapes is what is looked for
        return "unhandled", [f"unhandled: {error!r}"]
    return "read", list(breaches(message, received))


def breaches(message: Message, received: Received) -> Iterable[str]:
    """Say what is wrong with an event that was read, by other means than the product's."""
    document, event = _document(message.body), received.event
    if (message.content_type or "").lower().startswith(CLOUD_EVENT):
        document = document["data"]
    if "\0" in received.id or not received.id:
        yield f"untrue: the id {received.id!r}"
    if isinstance(event, Notification):
        if event.resource != document:
            yield "untrue: a notification was changed"
        return
    if not re.fullmatch(r"[\x20-\x7e]{1,64}", event.trip_id):  # type: ignore[attr-defined]  # each event of a trip has one
        yield "untrue: the trip id"
    if isinstance(event, TripStarted) and not re.fullmatch(r"[0-9A-Za-z_-]{1,128}", event.openid):
        yield "untrue: the openid"
    if isinstance(event, RefundRequested):
        yield from _refund_breaches(event, document)
    if isinstance(event, TripPaidElsewhere):
        yield from _payment_breaches(event, document)
    if isinstance(event, TripEnded | TripFareLowered):
        yield from _fare_breaches(event, document)
    yield from _storing_breaches(event)


def _document(body: bytes) -> Any:
    """Read JSON by Python's own reader; a member that nobody reads may hold what it would refuse."""
    return json.loads(body.decode(errors="replace"), strict=False, parse_int=_whole)


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONG_NUMBER else digits


def _fare_breaches(event: TripEnded | TripFareLowered, document: dict[str, Any]) -> Iterable[str]:
    said = (
        [item["amount_fen"] for item in document["fees"]],
        [item["amount_fen"] for item in document.get("discounts", [])],
    )
    fees, discounts = [fee.amount_fen for fee in event.fees], [item.amount_fen for item in event.discounts]
    if (fees, discounts, event.total_fen) != (*said, document["total_fen"]):
        yield "untrue: other amounts than were sent"
    if event.total_fen != sum(fees) - sum(discounts):
        yield "untrue: the total is not the sum"
    for amount in (*fees, *discounts, event.total_fen, document["total_fen"]):
        if type(amount) is not int or not 0 <= amount <= MAX_FEN:
            yield f"untrue: an amount of {amount!r}"


def _refund_breaches(event: RefundRequested, document: dict[str, Any]) -> Iterable[str]:
    if not re.fullmatch(r"[\x20-\x7e]{1,64}", event.refund_id):
        yield "untrue: the refund id"
    if event.amount_fen != document["amount_fen"]:
        yield "untrue: another amount than was sent"
    if type(event.amount_fen) is not int or not 0 < event.amount_fen <= MAX_FEN:
        yield f"untrue: an amount of {event.amount_fen!r}"


def _payment_breaches(event: TripPaidElsewhere, document: dict[str, Any]) -> Iterable[str]:
    if (event.amount_fen, event.channel) != (document["amount_fen"], document["channel"]):
        yield "untrue: another payment than was told"
    if type(event.amount_fen) is not int or not 0 < event.amount_fen <= MAX_FEN:
        yield f"untrue: an amount of {event.amount_fen!r}"
    if not 0 < len(event.channel) <= 64:
        yield "untrue: the channel"


def _storing_breaches(event: EventIn) -> Iterable[str]:
    """Find what no database would keep, or would give back otherwise."""
    written = msgspec.json.encode(event)
    if b"\\u0000" in written.replace(b"\\\\", b""):
        yield "untrue: a NUL, which PostgreSQL does not keep"
    if type(event).read(written) != event:
        yield "untrue: it reads otherwise a second time"
    for value in msgspec.structs.asdict(event).values():
        if isinstance(value, datetime):
            try:
                is_possible = 2000 <= value.astimezone(UTC).year < 2100
            except OverflowError:
                is_possible = False
            if not is_possible:
                yield f"untrue: the time {value}"


def _a_type(chance: Random) -> str:
    return chance.choice(list(SAMPLES))


def _message(chance: Random, type_: str, body: bytes, *, content_type: str | None) -> Message:
    if chance.random() < 0.1:
        content_type = chance.choice(CONTENT_TYPES)
    return Message(type=type_, body=body, content_type=content_type, message_id=chance.choice(MESSAGE_IDS))
