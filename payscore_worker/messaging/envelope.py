"""What travels with a message that failed: its history in headers, and its original properties kept aside."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from aio_pika.abc import AbstractIncomingMessage

from payscore_worker.events import message_in_hand
from payscore_worker.messaging.publisher import Outgoing
from payscore_worker.messaging.topology import DEFAULT_EXCHANGE

ATTEMPTS: Final = "x-attempts"
REASON: Final = "x-reason"
ERROR: Final = "x-error"
FIRST_FAILED_AT: Final = "x-first-failed-at"
LAST_FAILED_AT: Final = "x-last-failed-at"
ORIGIN_QUEUE: Final = "x-origin-queue"
HISTORY: Final = frozenset({ATTEMPTS, REASON, ERROR, FIRST_FAILED_AT, LAST_FAILED_AT, ORIGIN_QUEUE})

BROKERS_OWN: Final = frozenset(
    {
        "x-death",
        "x-delivery-count",
        "x-acquired-count",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)
"""RabbitMQ writes these at each station; older ones would even count what a client sends back."""

OBEYED: Final = frozenset({"CC", "BCC"})
"""Further routing keys that the publisher asked for: the original has gone there, and a copy would go there again."""

MAX_ATTEMPTS: Final = 1_000_000
"""More is not a count of ours."""

MAX_REASON: Final = 500
"""A reason is one line on a screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a message could not be handled."""

    reason: str
    error: str
    attempts: int
    at: datetime


def attempts_before(message: AbstractIncomingMessage, *, origin: str) -> int:
    """Count the failed attempts at this queue that the message carries; a header that is no such number counts none."""
    attempts = _history(message, origin).get(ATTEMPTS)
    return attempts if isinstance(attempts, int) and 0 < attempts < MAX_ATTEMPTS else 0


def failed_message(
    message: AbstractIncomingMessage, failure: Failure, *, origin: str, exchange: str, routing_key: str
) -> Outgoing:
    """Write the message anew, unchanged but for its history."""
    first = _history(message, origin).get(FIRST_FAILED_AT)
    headers = {
        **_own_headers(message.headers),
        ATTEMPTS: failure.attempts,
        REASON: " ".join(failure.reason.split())[:MAX_REASON],
        ERROR: failure.error,
        FIRST_FAILED_AT: first if isinstance(first, str) else _text(failure.at),
        LAST_FAILED_AT: _text(failure.at),
        ORIGIN_QUEUE: origin,
    }
    return _copy(message, headers, exchange=exchange, routing_key=routing_key)


def original_message(message: AbstractIncomingMessage, *, queue: str) -> Outgoing:
    """Write the message as it first came, for the queue it came to."""
    headers = {name: value for name, value in _own_headers(message.headers).items() if name not in HISTORY}
    return _copy(message, headers, exchange=DEFAULT_EXCHANGE, routing_key=queue)


def moved_message(message: AbstractIncomingMessage, *, exchange: str, routing_key: str) -> Outgoing:
    """Write the message anew, with its history, for another queue that holds it for a while."""
    return _copy(message, _own_headers(message.headers), exchange=exchange, routing_key=routing_key)


def _copy(message: AbstractIncomingMessage, headers: Mapping[str, Any], *, exchange: str, routing_key: str) -> Outgoing:
    """Copy the message; left out are an expiration (nothing of ours expires) and the user id (the broker checks it)."""
    return Outgoing(
        exchange=exchange,
        routing_key=routing_key,
        body=message.body,
        message_id=message.message_id or message_in_hand.get() or uuid4().hex,
        content_type=message.content_type,
        headers=headers,
        properties={
            "content_encoding": message.content_encoding,
            "correlation_id": message.correlation_id,
            "reply_to": message.reply_to,
            "timestamp": message.timestamp,
            "type": message.type,
            "app_id": message.app_id,
            "priority": message.priority,
        },
    )


def _history(message: AbstractIncomingMessage, origin: str) -> Mapping[str, Any]:
    """Read what befell the message at this queue; headers of the same names that somebody else wrote are not ours."""
    return message.headers if message.headers.get(ORIGIN_QUEUE) == origin else {}


def _own_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _writable(value) for name, value in headers.items() if name not in BROKERS_OWN | OBEYED}


def _writable(value: Any) -> Any:  # noqa: ANN401 - an AMQP value
    """Give bytes, which is how text that is not UTF-8 is read, the type under which bytes can be written."""
    match value:
        case bytes():
            return bytearray(value)
        case dict():
            return {name: _writable(item) for name, item in value.items()}
        case list():
            return [_writable(item) for item in value]
        case _:
            return value


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
