"""Traces are an extra: nothing without it, and a clear word where it is wanted and missing."""

import sys
from collections.abc import Iterator

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from payscore_worker import tracing
from payscore_worker.bootstrap.wiring import traces
from payscore_worker.events import trace_of, write_cloud_event
from payscore_worker.settings import Environment
from payscore_worker.telemetry import OpenTelemetry
from payscore_worker.tracing import Kind
from tests.builders import NOW

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "vendor=1"}


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with tracing.traced(OpenTelemetry("test", exporter)):
        yield exporter


def finished(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    tracer = tracing._tracer
    assert isinstance(tracer, OpenTelemetry)
    tracer._provider.force_flush()
    (found,) = (span for span in exporter.get_finished_spans() if span.name == name)
    return found


def test_without_a_tracer_nothing_is_carried_and_nothing_measured() -> None:
    with tracing.span("process x", Kind.CONSUMER, {"a": "b"}, parent=PARENT) as span:
        span.note({"c": 1}, error="X")
        assert tracing.carried() == {}
    assert not tracing.is_on()


def test_a_span_goes_on_from_what_a_message_carries(exporter: InMemorySpanExporter) -> None:
    with tracing.span("process x", Kind.CONSUMER, {"known": "yes", "unknown": None}, parent=PARENT):
        carried = tracing.carried()
        with tracing.span(
            "send y", Kind.PRODUCER, {}, parent={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
        ):
            pass

    outer, inner = finished(exporter, "process x"), finished(exporter, "send y")
    assert outer.context is not None
    assert inner.parent is not None
    assert format(outer.context.trace_id, "032x") == TRACE
    assert dict(outer.attributes or {}) == {"known": "yes"}
    assert inner.parent.span_id == outer.context.span_id  # the span around it comes before what the message says
    assert carried["traceparent"].split("-")[1:3] == [TRACE, format(outer.context.span_id, "016x")]
    assert carried["tracestate"] == "vendor=1"


@pytest.mark.parametrize(
    "header", ["nonsense", 7, None, b"00-x", ["00"], {"a": 1}, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
def test_whatever_stands_in_a_header_a_span_begins(exporter: InMemorySpanExporter, header: object) -> None:
    with tracing.span("process x", Kind.CONSUMER, {}, parent={"traceparent": header}):
        pass

    assert finished(exporter, "process x").parent is None


def test_an_error_is_told_by_its_class_and_never_by_its_text(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="oPassenger"), tracing.span("wechatpay create", Kind.CLIENT, {}):
        raise ValueError("oPassenger")

    span = finished(exporter, "wechatpay create")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert "oPassenger" not in span.to_json()


def test_an_announcement_keeps_its_trace_in_the_outbox() -> None:
    traced = write_cloud_event(id="1", source="s", type="t", time=NOW, data=_data(), trace=PARENT)
    plain = write_cloud_event(id="1", source="s", type="t", time=NOW, data=_data())

    assert trace_of(traced) == PARENT
    assert trace_of(plain) == {}
    assert b"trace" not in plain


def _data() -> msgspec.Raw:
    return msgspec.Raw(b"{}")


def test_who_wants_traces_and_has_not_installed_them_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "payscore_worker.telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(tracing.TracingNotInstalled, match=r"pip install 'payscore-worker\[otel\]'"):
        traces(Environment({"PAYSCORE_TRACES": "otlp"}), "test")


def test_who_does_not_want_traces_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with traces(Environment({}), "test"):
        assert not tracing.is_on()
