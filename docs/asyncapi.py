"""Prints the AsyncAPI document of the project, made from the definitions that the code itself reads and writes by."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml

from consumers import CONSUMERS
from payscore_worker.events import (
    ANNOUNCEMENTS,
    CLOUD_EVENT,
    SEQUENCE_DIGITS,
    Announcement,
    EventIn,
    Notification,
)
from payscore_worker.messaging.topology import EVENTS, NOTIFICATIONS, QUEUES, RIDE_EVENTS

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
    "and is published in the order in which it was written.",
}


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
            "description": "Settles ride-hailing trips through WeChat PayScore.",
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


def _schemas(kinds: list[type[EventIn] | type[Announcement]]) -> dict[str, Any]:
    unique = list(dict.fromkeys(kind for kind in kinds if not issubclass(kind, Notification)))
    _, schemas = msgspec.json.schema_components(unique, ref_template=REF)
    for kind in kinds:
        if issubclass(kind, Notification):
            schemas[kind.__name__] = {
                "title": kind.__name__,
                "description": f"{kind.__doc__} The members are WeChat Pay's own, unchanged.",
                "type": "object",
            }
    return schemas


def _channels(heard: Mapping[str, type[EventIn]], told: Mapping[str, type[Announcement]]) -> Iterator[tuple[str, Any]]:
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
    heard: Mapping[str, type[EventIn]], told: Mapping[str, type[Announcement]]
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


def _messages_out(told: Mapping[str, type[Announcement]]) -> Iterator[tuple[str, Any]]:
    for type_, kind in told.items():
        envelope = _enveloped(type_, {"$ref": REF.format(name=kind.__name__)})
        envelope["allOf"].append({"properties": {"sequence": SEQUENCE}, "required": ["sequence"]})
        yield type_, _message(type_, kind, envelope, cloud=True)


def _message(type_: str, kind: type, payload: Mapping[str, Any], *, cloud: bool) -> dict[str, Any]:
    message = {"name": type_, "title": kind.__name__, "summary": kind.__doc__, "payload": dict(payload)}
    return message | ({"contentType": CLOUD_EVENT} if cloud else {})


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
