"""Traces, as a collector gets them: one that the ride service began goes on through queue, WeChat Pay and outbox."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import aio_pika
import msgspec
import pytest
from aio_pika.abc import AbstractConnection, AbstractQueue
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.messaging.topology import EVENTS, RIDE_EVENTS, Topology
from payscore_worker.settings import BrokerSettings, Environment
from tests.acceptance.commands import plain_environment
from tests.acceptance.test_commands import ENDED, STARTED, Desk, until

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
STARTED_BY: Final = f"00-{TRACE}-b7ad6b7169203331-01"


class Collector:
    """Takes what is exported, as any collector of OpenTelemetry does."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    @property
    def spans(self) -> list[tuple[str, Span]]:
        """Every span with the service it comes from."""
        found = []
        for body in list(self.received):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                found += [(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
        return found

    def names(self, trace: str) -> list[str]:
        """Name the spans of a trace."""
        return [f"{service}: {span.name}" for service, span in self.spans if span.trace_id.hex() == trace]


@contextmanager
def a_collector() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so it is called
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    return desk


@pytest.fixture
async def connection(desk: Desk) -> AsyncIterator[AbstractConnection]:
    broker = Environment(plain_environment(desk.settings)).read(BrokerSettings)
    async with await aio_pika.connect(broker.amqp_url) as connection:
        await topology_of(desk).declare_on(connection)
        yield connection
        async with connection.channel() as channel:
            await topology_of(desk).delete(channel)


def topology_of(desk: Desk) -> Topology:
    return make_topology(Environment(plain_environment(desk.settings)).read(BrokerSettings))


async def hear(queue: AbstractQueue) -> dict[str, tuple[str, str]]:
    """Listen until the trip is paid; gives each announcement's trace, in its header and in its body."""
    heard: dict[str, tuple[str, str]] = {}

    async def is_paid() -> bool:
        message = await queue.get(fail=False, no_ack=True)
        if message is not None:
            event = msgspec.json.decode(message.body)
            heard[event["type"]] = (str(message.headers.get("traceparent")), event.get("traceparent", ""))
        return "settlement.paid" in heard

    await until(is_paid)
    return heard


async def test_a_trace_goes_from_the_ride_service_to_whoever_listens(
    desk: Desk, connection: AbstractConnection
) -> None:
    topology = topology_of(desk)
    channel = await connection.channel()
    audience = await channel.declare_queue(exclusive=True)
    await audience.bind(topology.name(EVENTS), "#")
    rides = await channel.get_exchange(topology.name(RIDE_EVENTS))
    with a_collector() as (collector, url):
        desk.settings |= {
            "PAYSCORE_TRACES": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        async with AsyncExitStack() as roles:
            await roles.enter_async_context(desk.role("simulator", *desk.simulator, "--pay-after", "0.2"))
            await roles.enter_async_context(desk.role("webhook", "webhook"))
            await roles.enter_async_context(desk.role("worker", "worker"))
            for type_, data in (("trip.started", STARTED), ("trip.ended", ENDED)):
                body = msgspec.json.encode(data)
                message = aio_pika.Message(body, message_id=type_, headers={"traceparent": STARTED_BY})
                await rides.publish(message, type_)
            heard = await hear(audience)

        names = collector.names(TRACE)  # all of them: the roles have ended, and sent what they had

    worker, prefix = "payscore-worker: ", topology.prefix
    for wanted in (
        f"{worker}process {prefix}payscore.trip-started",
        f"{worker}process {prefix}payscore.trip-ended",
        f"{worker}wechatpay user_service_state",
        f"{worker}wechatpay create",
        f"{worker}send {prefix}payscore.events:settlement.opened",
    ):
        assert names.count(wanted) == 1, (wanted, names)
    in_header, in_body = heard["settlement.opened"]
    assert TRACE in in_header
    assert TRACE in in_body
    assert in_header != in_body  # the header names the span that sent it; the body the one in which it came about

    # The trip was too short to be completed at once: the reconciler took it up, in a trace of its own.
    taken_up = next(span for _, span in collector.spans if span.name == "wechatpay complete")
    later = collector.names(taken_up.trace_id.hex())
    assert f"{worker}take up trip" in later
    assert f"{worker}send {prefix}payscore.events:settlement.completed" in later

    callback = next(span for service, span in collector.spans if span.name == "POST /notify/payscore")
    followed = collector.names(callback.trace_id.hex())
    assert f"payscore-webhook: send {prefix}payscore.notifications:payscore.user_paid" in followed
    assert f"{worker}process {prefix}payscore.order-paid" in followed
    assert f"{worker}send {prefix}payscore.events:settlement.paid" in followed
    for secret in (STARTED["openid"], "PAYSCORE_APIV3_KEY"):
        assert not any(secret.encode() in body for body in collector.received)


async def test_a_collector_that_is_away_costs_neither_trips_nor_a_long_stop(
    desk: Desk, connection: AbstractConnection
) -> None:
    channel = await connection.channel()
    audience = await channel.declare_queue(exclusive=True)
    await audience.bind(topology_of(desk).name(EVENTS), "#")
    desk.settings |= {"PAYSCORE_TRACES": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator, "--pay-after", "0.2"))
        await roles.enter_async_context(desk.role("webhook", "webhook"))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await desk.publish("trip.started", STARTED)
        await desk.publish("trip.ended", ENDED)
        assert set(await hear(audience)) >= {"settlement.opened", "settlement.completed", "settlement.paid"}
