"""Prints the AsyncAPI document of the project, made from the definitions that the code itself reads and writes by."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import yaml

from consumers import CONSUMERS
from payscore_worker.events import (
    ANNOUNCEMENTS,
    CLOUD_EVENT,
    SEQUENCE_DIGITS,
    CaseAnnouncement,
    EventIn,
    Notification,
    write_cloud_event,
)
from payscore_worker.messaging.topology import EVENTS, NOTIFICATIONS, QUEUES, RIDE_EVENTS
from payscore_worker.settlement import books
from payscore_worker.webhook import SOURCE as WEBHOOK

REF: Final = "#/components/schemas/{name}"

EXCHANGES: Final = {
    RIDE_EVENTS: "Published by the ride service. The body is the data, or a CloudEvents 1.0 envelope around it.",
    EVENTS: "Published by the outbox relay: CloudEvents 1.0, at least once, under one id. Bind before you rely on it. "
    "Announcements of one trip come in order, but for those that are told again: go by `sequence`.",
    NOTIFICATIONS: "Published by the webhook: WeChat Pay's callbacks, verified and decrypted, as CloudEvents 1.0.",
}

SEQUENCE: Final = {
    "type": "string",
    "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$",
    "description": "The version of the trip after the change that this tells of: of two announcements of one trip, the "
    "one with the greater sequence is the newer word. It sorts as text. What one change announces bears one sequence, "
    "and is published in the order in which it was written. What is announced of a refund bears the sequence of its "
    "trip: the two are written together; what is announced of an authorisation, its own.",
}

REFUND: Final = {"trip_id": "t1", "out_order_no": "t1", "state": "PAID", "refund_id": "r1", "out_refund_no": "r1"}
NOTIFIED: Final = {
    "mchid": "1900000001",
    "transaction_id": "4200000001202605011234567890",
    "out_trade_no": "PS202605010000000001",
    "refund_id": "50300000012026050112345678901",
    "out_refund_no": "r1",
    "user_received_account": "支付用户零钱",
    "amount": {"total": 3200, "refund": 1000, "payer_total": 3200, "payer_refund": 1000},
}
CONFIRMED: Final = {
    "mchid": "1900000001",
    "appid": "wxd678efh567hg6787",
    "service_id": "2002000000000558128851361561536",
    "out_order_no": "t1",
    "order_id": "1000000000202605010001",
    "openid": "oPassenger",
}
SIGNED: Final = {
    "mch_id": "1900000001",
    "package": "PACKAGE",
    "timestamp": "1777610100",
    "nonce_str": "5K8264ILTKCH16CQ2502SI8ZNMTM67VS",
    "sign_type": "HMAC-SHA256",
    "sign": "SIGN",
}
AUTHORISED: Final = {"openid": "oPassenger", "authorization_code": "dbcd9e09799d2adff408cea46bd1502f"}
EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "trip.fare_lowered": {
        "trip_id": "t1",
        "lowered_at": "2026-05-01T12:50:00+08:00",
        "fees": [{"name": "里程费", "amount_fen": 2500}],
        "discounts": [{"name": "优惠券", "amount_fen": 500}],
        "total_fen": 2000,
        "reason": "绕路退费",
    },
    "trip.paid_elsewhere": {
        "trip_id": "t1",
        "paid_at": "2026-05-01T12:40:00+08:00",
        "amount_fen": 3200,
        "channel": "cash",
    },
    "refund.requested": {"trip_id": "t1", "refund_id": "r1", "amount_fen": 1000, "reason": "绕路"},
    "refund.success": {**NOTIFIED, "refund_status": "SUCCESS", "success_time": "2026-05-01T12:40:02+08:00"},
    "refund.abnormal": {**NOTIFIED, "refund_status": "ABNORMAL"},
    "refund.closed": {**NOTIFIED, "refund_status": "CLOSED"},
    "settlement.lowered": {
        "trip_id": "t1",
        "out_order_no": "t1",
        "state": "COMPLETED",
        "total_fen": 2000,
        "was_fen": 3200,
    },
    "settlement.paid": {
        "trip_id": "t1",
        "out_order_no": "t1",
        "state": "PAID",
        "total_fen": 3200,
        "paid_fen": 3200,
        "paid_at": "2026-05-01T12:40:00+08:00",
        "transaction_id": "",
        "transaction_ids": [],
        "way": "cash",
    },
    "payscore.user_confirm": {**CONFIRMED, "state": "DOING", "state_description": "USER_CONFIRM"},
    "payscore.user_accepted": {**CONFIRMED, "state": "USER_ACCEPTED"},
    "settlement.confirmation_requested": {
        "trip_id": "t1",
        "out_order_no": "t1",
        "state": "OPEN",
        "confirm": {
            "businessType": "wxpayScoreUse",
            "extraData": SIGNED,
            "queryString": urlencode(SIGNED),
        },
        "expires_at": "2026-05-01T13:35:00+08:00",
    },
    "authorisation.requested": {"request_id": "q1", "openid": "oPassenger", "client": "miniprogram"},
    "authorisation.ended": {"openid": "oPassenger", "reason": "注销账户"},
    "authorisation.parameters": {
        **AUTHORISED,
        "request_id": "q1",
        "enable": {
            "businessType": "wxpayScoreEnable",
            "extraData": {"apply_permissions_token": "TOKEN"},
            "queryString": "apply_permissions_token=TOKEN",
        },
    },
    "authorisation.opened": {**AUTHORISED, "at": "2026-05-01T12:40:02+08:00"},
    "authorisation.closed": {**AUTHORISED, "at": "2026-06-01T12:40:02+08:00"},
    "settlement.refunded": {
        **REFUND,
        "amount_fen": 1000,
        "refunded_fen": 1000,
        "refunded_at": "2026-05-01T12:40:02+08:00",
    },
    "settlement.refund_problem": {
        **REFUND,
        "amount_fen": 1000,
        "code": "refund_abnormal",
        "message": "WeChat Pay cannot deliver the money: say in the merchant platform where it should go",
    },
}
"""The data of a message; what we publish ourselves has its envelope around it."""


def document() -> dict[str, Any]:
    """Make the whole document."""
    heard = {type_: kind for consumer in CONSUMERS for type_, kind in consumer.events.items()}
    told = {kind.TYPE: kind for kind in ANNOUNCEMENTS}
    schemas = _schemas([*heard.values(), *told.values()])
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "payscore-worker",
            "version": "1",
            "description": "Settles ride-hailing trips through WeChat PayScore, and sends money back.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": dict(_channels(heard, told)),
        "operations": dict(_operations(heard, told)),
        "components": {
            "messages": {**dict(_messages_in(heard)), **dict(_messages_out(told))},
            "schemas": {**schemas, "CloudEvent": _cloud_event()},
        },
    }


def _schemas(kinds: list[type[EventIn] | type[CaseAnnouncement]]) -> dict[str, Any]:
    unique = list(dict.fromkeys(kind for kind in kinds if not issubclass(kind, Notification)))
    _, schemas = msgspec.json.schema_components(unique, ref_template=REF)
    for schema in schemas.values():
        schema["description"] = inspect.cleandoc(schema["description"])
    for kind in kinds:
        if issubclass(kind, Notification):
            schemas[kind.__name__] = {
                "title": kind.__name__,
                "description": f"{kind.__doc__} The members are WeChat Pay's own, unchanged.",
                "type": "object",
            }
    return schemas


def _channels(
    heard: Mapping[str, type[EventIn]], told: Mapping[str, type[CaseAnnouncement]]
) -> Iterator[tuple[str, Any]]:
    for type_ in [*heard, *told]:
        exchange = _exchange_of(type_)
        yield (
            type_,
            {
                "address": type_,
                "description": EXCHANGES[exchange],
                "messages": {type_: {"$ref": f"#/components/messages/{type_}"}},
                "bindings": {
                    "amqp": {"is": "routingKey", "exchange": {"name": exchange, "type": "topic", "durable": True}}
                },
            },
        )


def _operations(
    heard: Mapping[str, type[EventIn]], told: Mapping[str, type[CaseAnnouncement]]
) -> Iterator[tuple[str, Any]]:
    for action, types in (("receive", heard), ("send", told)):
        for type_ in types:
            yield f"{action} {type_}", {"action": action, "channel": {"$ref": f"#/channels/{type_}"}}


def _messages_in(heard: Mapping[str, type[EventIn]]) -> Iterator[tuple[str, Any]]:
    for type_, kind in heard.items():
        payload = {"$ref": REF.format(name=kind.__name__)}
        envelope = _enveloped(type_, payload)
        plain = not issubclass(kind, Notification)
        yield type_, _message(type_, kind, {"oneOf": [payload, envelope]} if plain else envelope, cloud=not plain)


def _messages_out(told: Mapping[str, type[CaseAnnouncement]]) -> Iterator[tuple[str, Any]]:
    for type_, kind in told.items():
        envelope = _enveloped(type_, {"$ref": REF.format(name=kind.__name__)})
        envelope["allOf"].append({"properties": {"sequence": SEQUENCE}, "required": ["sequence"]})
        yield type_, _message(type_, kind, envelope, cloud=True)


def _message(type_: str, kind: type, payload: Mapping[str, Any], *, cloud: bool) -> dict[str, Any]:
    summary, _, _ = (kind.__doc__ or "").partition("\n")
    message = {"name": type_, "title": kind.__name__, "summary": summary, "payload": dict(payload)}
    examples = {"examples": [{"payload": _example(type_, kind)}]} if type_ in EXAMPLES else {}
    return message | ({"contentType": CLOUD_EVENT} if cloud else {}) | examples


def _example(type_: str, kind: type) -> dict[str, Any]:
    data = EXAMPLES[type_]
    if _exchange_of(type_) == RIDE_EVENTS:
        return dict(data)
    is_told = issubclass(kind, CaseAnnouncement)
    envelope: dict[str, Any] = msgspec.json.decode(
        write_cloud_event(
            id="5f4c8fb2-8f8d-4c43-8a3e-6f1b0a2d9c7e",
            source=books.SOURCE if is_told else WEBHOOK,
            type=type_,
            time=datetime.fromisoformat("2026-05-01T04:40:03+00:00"),
            subject=msgspec.convert(data, kind).subject if issubclass(kind, CaseAnnouncement) else None,
            sequence=10 if is_told else None,
            data=msgspec.Raw(msgspec.json.encode(data)),
        )
    )
    return envelope


def _enveloped(type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    narrowed = {"type": "object", "properties": {"type": {"const": type_}, "data": dict(data)}}
    return {"allOf": [{"$ref": REF.format(name="CloudEvent")}, narrowed]}


def _cloud_event() -> dict[str, Any]:
    return {
        "title": "CloudEvent",
        "description": "A CloudEvents 1.0 envelope, structured mode.",
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "maxLength": 255, "description": "At most 255 bytes in UTF-8."},
            "source": {"type": "string", "minLength": 1},
            "type": {"type": "string", "minLength": 1},
            "time": {"type": "string", "format": "date-time"},
            "subject": {"type": "string"},
            "datacontenttype": {"type": "string"},
            "traceparent": {
                "type": "string",
                "description": "The trace in which it came about, where traces are kept.",
            },
            "tracestate": {"type": "string"},
            "data": {},
        },
        "required": ["specversion", "id", "source", "type", "data"],
    }


def _exchange_of(type_: str) -> str:
    for binding in QUEUES.values():
        if type_ in binding.routing_keys:
            return binding.exchange
    return EVENTS


if __name__ == "__main__":
    yaml.safe_dump(document(), sys.stdout, allow_unicode=True, sort_keys=False, width=120)
