"""OpenTelemetry, behind `tracing`; importing this needs the extra `otel`."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from payscore_worker import version
from payscore_worker.tracing import END_SECONDS, FIELDS, Kind, Value

KINDS: Final = {
    Kind.CONSUMER: SpanKind.CONSUMER,
    Kind.PRODUCER: SpanKind.PRODUCER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.SERVER: SpanKind.SERVER,
    Kind.INTERNAL: SpanKind.INTERNAL,
}


class OpenTelemetry:
    """Makes spans; what waits to be sent is bounded, and dropped rather than waited for."""

    def __init__(self, service: str, exporter: SpanExporter | None = None) -> None:
        """Send spans to the exporter, or by OTLP to where the OTEL_* variables say."""
        resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: version()})
        self._processor = BatchSpanProcessor(exporter or OTLPSpanExporter())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("payscore_worker", version())
        self._words = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Value], parent: Mapping[str, Any] | None
    ) -> Iterator["_Noting"]:
        """Make the current span of the block."""
        around = context.get_current()
        if parent is not None and not trace.get_current_span(around).get_span_context().is_valid:
            around = self._words.extract(_words_of(parent), around)
        with self._tracer.start_as_current_span(
            name, around, KINDS[kind], _known(attributes), record_exception=False, set_status_on_exception=False
        ) as made:
            noting = _Noting(made)
            try:
                yield noting
            except BaseException as error:
                noting.note({}, error=type(error).__name__)  # its text may name a passenger
                raise

    def carried(self) -> dict[str, str]:
        """Name the current span in W3C's words."""
        words: dict[str, str] = {}
        self._words.inject(words)
        return words

    def end(self) -> None:
        """Send what waits, but not for long: the exporter's own patience is no measure for the end of a process."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(END_SECONDS)


class _Noting:
    def __init__(self, made: trace.Span) -> None:
        self._made = made

    def note(self, attributes: Mapping[str, Value], *, error: str | None = None) -> None:
        self._made.set_attributes(_known(attributes))
        if error is not None:
            self._made.set_attribute("error.type", error)
            self._made.set_status(StatusCode.ERROR)


def _known(attributes: Mapping[str, Value]) -> dict[str, str | int]:
    return {name: value for name, value in attributes.items() if value is not None}


def _words_of(headers: Mapping[str, Any]) -> dict[str, str]:
    """Read what others wrote: anybody may put anything into a header."""
    return {name: value for name in FIELDS if isinstance(value := headers.get(name), str)}
