"""Traces by OpenTelemetry, for those who install the extra `otel` and want them; otherwise nothing happens here.

A trace follows the messages: context comes and goes in AMQP headers (W3C `traceparent`, `tracestate`) and waits in the
outbox as the CloudEvents attributes of the same names. Names follow OpenTelemetry's conventions for messaging and HTTP.
No openid, no query and no body is ever an attribute.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from typing import Any, Final, Protocol

from payscore_worker.errors import SettlementError

FIELDS: Final = ("traceparent", "tracestate")
"""The words that carry a context (W3C Trace Context)."""

RABBITMQ: Final = {"messaging.system": "rabbitmq"}

END_SECONDS: Final = 3.0
"""What waits to be sent is given up when a process ends and the collector does not answer."""

Value = str | int | None


class TracingNotInstalled(SettlementError):
    """Traces are wanted, and OpenTelemetry is not installed."""


class Kind(StrEnum):
    """What a span is of, in OpenTelemetry's words."""

    CONSUMER = "consumer"
    PRODUCER = "producer"
    CLIENT = "client"
    SERVER = "server"
    INTERNAL = "internal"


class Span(Protocol):
    """Something that takes its time."""

    def note(self, attributes: Mapping[str, Value], *, error: str | None = None) -> None:
        """Add attributes, those that are None left out; an error is a class's name or a code, never a text."""


class Tracer(Protocol):
    """What makes spans."""

    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Value], parent: Mapping[str, Any] | None
    ) -> AbstractContextManager[Span]: ...
    def carried(self) -> dict[str, str]: ...
    def end(self) -> None: ...


class _Nothing:
    """The span of those who want none."""

    def note(self, attributes: Mapping[str, Value], *, error: str | None = None) -> None:
        """Note nothing."""


_NO_SPAN: Final[AbstractContextManager[Span]] = nullcontext(_Nothing())

_tracer: Tracer | None = None


def span(
    name: str, kind: Kind, attributes: Mapping[str, Value], *, parent: Mapping[str, Any] | None = None
) -> AbstractContextManager[Span]:
    """Measure a block; its parent is the span around it, else the one that `parent`, a message's headers, names."""
    return _NO_SPAN if _tracer is None else _tracer.span(name, kind, attributes, parent)


def carried() -> dict[str, str]:
    """Give what a message has to carry for its handling to belong to the same trace; nothing without a trace."""
    return {} if _tracer is None else _tracer.carried()


def is_on() -> bool:
    """Whether anybody wants traces."""
    return _tracer is not None


@contextmanager
def traced(tracer: Tracer) -> Iterator[None]:
    """Trace until the block ends."""
    global _tracer  # noqa: PLW0603 - one process has one tracer, and spans begin everywhere
    _tracer = tracer
    try:
        yield
    finally:
        _tracer = None
        tracer.end()
