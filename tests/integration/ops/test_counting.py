"""What happens is counted where it happens: calls, messages, callbacks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from payscore_worker import metrics
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import ConflictingFact, FailureClass, OutcomeUnknown, WechatPayUnavailable
from payscore_worker.messaging.topology import QUEUES
from payscore_worker.ops import showing, watching
from payscore_worker.ops.health import health_routes
from payscore_worker.ops.queues import QueueLook
from payscore_worker.storage.belonging import Owners
from payscore_worker.storage.database import open_storage
from payscore_worker.wechatpay import Breaker, Breakers
from payscore_worker.wechatpay.breaker import OPENS_AFTER
from tests.builders import NOW
from tests.integration.databases import make_tables
from tests.integration.messaging.desk import TRIP_CANCELLED, Desk
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker
from tests.integration.settlement.town import Town, a_town
from tests.unit.ops.samples import grown, total, value


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    async with a_town(storage, "payafter") as town:
        yield town
    await storage.aclose()


async def test_payments_are_counted_by_how_we_learnt_of_them(town: Town) -> None:
    by = {way: value(metrics.PAID_BY, by=way) for way in ("callback", "query")}
    paid_fen = value(metrics.PAID_FEN, account="default")

    await town.rides("told")
    await town.passes(3)
    town.listening = False
    await town.starts("asked", openid="oOther")
    await town.passes(600)
    await town.ends("asked")
    await town.passes(10)

    assert grown(metrics.PAID_BY, by["callback"], by="callback") == 1
    assert grown(metrics.PAID_BY, by["query"], by="query") == 1
    assert grown(metrics.PAID_FEN, paid_fen, account="default") == 6_400


async def test_a_lower_fare_is_counted_by_how_much_it_is_lower_and_once(town: Town) -> None:
    lowered_fen = value(metrics.LOWERED_FEN, account="default")
    paid_fen = value(metrics.PAID_FEN, account="default")
    await town.rides()
    await town.passes(3)

    for _ in range(2):
        await town.lowers(total_fen=2_000)
    await town.lowers(total_fen=1_500)

    assert grown(metrics.LOWERED_FEN, lowered_fen, account="default") == 1_700
    assert grown(metrics.PAID_FEN, paid_fen, account="default") == 3_200


async def test_what_was_paid_elsewhere_is_counted_as_such_and_not_as_collected(town: Town) -> None:
    by, paid_fen = value(metrics.PAID_BY, by="elsewhere"), value(metrics.PAID_FEN, account="default")
    town.simulator.close_service("oPassenger")
    await town.starts()
    await town.ends()

    await town.is_paid_elsewhere()

    assert await town.state() is TripState.PAID
    assert grown(metrics.PAID_BY, by, by="elsewhere") == 1
    assert grown(metrics.PAID_FEN, paid_fen, account="default") == 0


async def test_a_call_is_counted_with_outcome_and_code_of_which_there_are_few(town: Town) -> None:
    accepted = {"account": "default", "call": "create", "outcome": "accepted", "code": ""}
    new = {"account": "default", "call": "create", "outcome": "unclear", "code": "other"}
    before = [value(metrics.CALLS, "_count", **labels) for labels in (accepted, new)]

    await town.starts("t1")
    town.refuse("create", "A_CODE_OF_NEXT_YEAR", "没有见过")
    await town.starts("t2", openid="oOther")

    after = [value(metrics.CALLS, "_count", **labels) for labels in (accepted, new)]
    assert [(now or 0) - (then or 0) for now, then in zip(after, before, strict=True)] == [2, 1]


async def test_messages_are_counted_by_queue_and_by_what_became_of_them(amqp_url: str, desk: Desk) -> None:
    queue = desk.topology.name(TRIP_CANCELLED)

    async def react(trip_id: str) -> None:
        if trip_id == "retried" and len(handler.heard) < 4:
            raise WechatPayUnavailable("503")
        if trip_id == "dead":
            raise ConflictingFact("says otherwise than before")

    handler = Handler(react)
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("done", "dead", "retried")
        await eventually(lambda: set(handler.done) == {"done", "retried"})
        await eventually(lambda: value(metrics.HANDLING, "_count", queue=queue, outcome="done") == 2)

    assert value(metrics.HANDLING, "_count", queue=queue, outcome="dead-lettered") == 1
    assert value(metrics.HANDLING, "_count", queue=queue, outcome="retried") == 1
    assert value(metrics.DEAD_LETTERS, queue=queue, reason="ConflictingFact") == 1
    assert total(metrics.RETRIES, queue=queue) == 1


async def test_a_worker_shows_whether_it_consumes_what_it_leaves_alone_and_what_it_holds(
    amqp_url: str, desk: Desk
) -> None:
    allowed, breaker, queue = asyncio.Event(), Breaker(), desk.topology.name(TRIP_CANCELLED)
    opened = value(metrics.BREAKER_OPENED, account="default", reason="trouble")

    async def wait(_trip_id: str) -> None:
        await allowed.wait()

    async with a_worker(amqp_url, desk.topology, Handler(wait), breaker=breaker) as worker:
        showing.show_consumers(worker.consumers, desk.topology)
        showing.show_breakers(Breakers({"default": breaker}))
        assert value(metrics.CONSUMING) == 1
        assert value(metrics.IN_HAND) == 0
        assert value(metrics.PAUSED, queue=queue) == 0
        assert value(metrics.BREAKER_OPEN, account="default", reason="trouble") == 0

        await desk.cancel("t1")
        await eventually(lambda: value(metrics.IN_HAND) == 1)
        for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
            breaker.failed(OutcomeUnknown("out", status=503, failure=FailureClass.TROUBLE))
        assert value(metrics.PAUSED, queue=queue) == 1
        assert value(metrics.BREAKER_OPEN, account="default", reason="trouble") == 1
        assert value(metrics.BREAKER_OPEN, account="default", reason="throttled") == 0
        assert grown(metrics.BREAKER_OPENED, opened, account="default", reason="trouble") == 1

        allowed.set()
        await eventually(lambda: value(metrics.IN_HAND) == 0)
    assert value(metrics.CONSUMING) == 0


async def test_the_queues_are_read_from_rabbitmq(amqp_url: str, desk: Desk) -> None:
    queue = desk.topology.name(TRIP_CANCELLED)
    gauges = metrics.QUEUE_READY, metrics.QUEUE_DEAD, metrics.QUEUE_CONSUMERS
    await desk.cancel("t1", "t2")
    look = asyncio.create_task(QueueLook(amqp_url, desk.topology).run())
    try:
        await eventually(lambda: [value(gauge, queue=queue) for gauge in gauges] == [2, 0, 0])
    finally:
        look.cancel()
        await asyncio.wait([look])


async def test_watching_goes_on_while_neither_database_nor_broker_is_there(desk: Desk, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "test.db"
    watch = asyncio.create_task(
        watching.watch(
            amqp_url="amqp://guest:guest@127.0.0.1:1/",
            topology=desk.topology,
            database_url=f"sqlite+aiosqlite:///{nowhere}",
            clock=lambda: NOW,
            owners=Owners(),
        )
    )
    await eventually(lambda: (value(metrics.LOOK_AGE, look="books") or 0) > 0)

    assert not watch.done()
    watch.cancel()
    await asyncio.wait([watch])


async def test_a_role_answers_with_its_own_metrics() -> None:
    metrics.show_build("webhook")
    showing.show_notifications(["default"])
    routes = health_routes({}, metrics.registry(metrics.WEBHOOK))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://role"
    ) as http:
        answer = await http.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    assert 'payscore_notifications_total{account="default",type="none",verdict="BadSignature"}' in answer.text
    assert "payscore_consuming" not in answer.text


async def test_a_look_asks_for_no_queue_that_is_not_there(amqp_url: str, desk: Desk) -> None:
    """RabbitMQ calls such a question an error, in its log, each time."""
    looks: list[int] = []
    look = QueueLook(amqp_url, desk.topology, on_look=lambda found: looks.append(len(found)))
    looking = asyncio.create_task(look.run())
    try:
        await eventually(lambda: looks)
        for queue in QUEUES:
            assert await desk.ready(f"{queue}.replay") == 0
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def test_a_look_goes_on_though_it_may_not_declare_a_staging_queue(amqp_url: str, desk: Desk) -> None:
    async with desk.connection.channel() as channel:
        await channel.declare_queue(desk.topology.staging(TRIP_CANCELLED), durable=True)  # otherwise than we would
    looks: list[int] = []
    look = QueueLook(amqp_url, desk.topology, on_look=lambda found: looks.append(len(found)))
    looking = asyncio.create_task(look.run())
    try:
        await eventually(lambda: looks)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
