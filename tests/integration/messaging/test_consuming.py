"""What becomes of a message: handled, retried, dead-lettered, or left for somebody else; never lost."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
import structlog
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs

from payscore_worker.errors import ConflictingFact, WechatPayUnavailable
from payscore_worker.messaging.topology import DELIVERY_LIMIT, RIDE_EVENTS
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk, a_cancellation
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker

LADDER = 2  # rungs of the tests' topology
NOWHERE = "amqp://guest:guest@127.0.0.1:1/"


def failing(*errors: BaseException) -> Callable[[str], Awaitable[None]]:
    """React with one error after the other, and then well."""
    waiting = list(errors)

    async def react(_trip_id: str) -> None:
        if waiting:
            raise waiting.pop(0)

    return react


def always(error: BaseException) -> Callable[[str], Awaitable[None]]:
    async def react(_trip_id: str) -> None:
        raise error

    return react


def history(message: AbstractIncomingMessage) -> dict[str, Any]:
    """The six headers of a dead message (contract 4)."""
    names = ("x-reason", "x-error", "x-attempts", "x-first-failed-at", "x-last-failed-at", "x-origin-queue")
    return {name: message.headers[name] for name in names}


# --- Handled ---


async def test_a_message_is_handled_and_acked(amqp_url: str, desk: Desk) -> None:
    handler = Handler()
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        await eventually(lambda: handler.done)

    assert handler.done == ["t1"]
    assert await desk.is_empty(TRIP_CANCELLED, f"{TRIP_CANCELLED}.dead")


async def test_a_message_comes_by_its_routing_key(amqp_url: str, desk: Desk) -> None:
    handler = Handler()
    async with a_worker(amqp_url, desk.topology, handler), desk.connection.channel() as channel:
        rides = await channel.get_exchange(desk.topology.name(RIDE_EVENTS))
        await rides.publish(aio_pika.Message(a_cancellation("t1")), "trip.cancelled")
        await eventually(lambda: handler.done)

    assert handler.done == ["t1"]


async def test_a_message_is_acked_only_after_its_handler(amqp_url: str, desk: Desk) -> None:
    allowed = asyncio.Event()

    async def wait(_trip_id: str) -> None:
        await allowed.wait()

    handler = Handler(wait)
    async with a_worker(amqp_url, desk.topology, handler) as worker:
        await desk.cancel("t1")
        await eventually(lambda: handler.heard)
        await worker.stop(grace_seconds=0)

    assert handler.done == []
    await desk.holds(TRIP_CANCELLED, 1)


async def test_no_more_are_in_hand_than_prefetch_allows(amqp_url: str, desk: Desk) -> None:
    allowed = asyncio.Event()

    async def wait(_trip_id: str) -> None:
        await allowed.wait()

    handler = Handler(wait)
    await desk.cancel(*(f"t{number}" for number in range(7)))
    async with a_worker(amqp_url, desk.topology, handler, prefetch=3):
        await eventually(lambda: len(handler.heard) == 3)
        await desk.holds(TRIP_CANCELLED, 4)
        assert len(handler.heard) == 3

        allowed.set()
        await eventually(lambda: len(handler.done) == 7)


async def test_one_line_is_logged_for_each_message(amqp_url: str, desk: Desk) -> None:
    handler = Handler(failing(WechatPayUnavailable("503")))
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with a_worker(amqp_url, desk.topology, handler):
            await desk.cancel("t1")
            await eventually(lambda: handler.done)

    handled = [line for line in lines if line["event"] == "message_handled"]
    first, second = ({name: line[name] for name in ("trip_id", "message_id", "attempt", "outcome")} for line in handled)
    assert first == {"trip_id": "t1", "message_id": "m-t1", "attempt": 1, "outcome": "retried"}
    assert second == {"trip_id": "t1", "message_id": "m-t1", "attempt": 2, "outcome": "done"}
    assert {"error": "WechatPayUnavailable", "reason": "503"}.items() <= handled[0].items()
    assert not [line for line in lines if line["log_level"] == "error"]


# --- Retried ---


async def test_a_retried_message_climbs_the_ladder_and_is_handled(amqp_url: str, desk: Desk) -> None:
    handler = Handler(failing(WechatPayUnavailable("503"), WechatPayUnavailable("503")))
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        await eventually(lambda: handler.done)

    assert handler.heard == ["t1"] * 3
    assert await desk.is_empty(*[f"payscore.retry.{rung}" for rung in ("50ms", "120ms")])


async def test_a_retried_message_returns_to_its_own_queue_alone(amqp_url: str, desk: Desk) -> None:
    handler = Handler(failing(WechatPayUnavailable("503")))
    also_to = {"CC": [desk.topology.name(TRIP_ENDED)], "BCC": [desk.topology.name(TRIP_ENDED)]}
    await desk.put(TRIP_CANCELLED, a_cancellation("t1"), headers=also_to)
    await desk.take(TRIP_ENDED)  # RabbitMQ has obeyed CC and BCC

    async with a_worker(amqp_url, desk.topology, handler):
        await eventually(lambda: handler.done)

    assert handler.heard == ["t1", "t1"]
    assert await desk.is_empty(TRIP_ENDED, "payscore.trip-started")


async def test_a_surprise_takes_the_ladder_with_its_traceback_in_the_log(amqp_url: str, desk: Desk) -> None:
    handler = Handler(failing(ZeroDivisionError("of ours")))
    with capture_logs() as lines:
        async with a_worker(amqp_url, desk.topology, handler):
            await desk.cancel("t1")
            await eventually(lambda: handler.done)

    (surprise,) = (line for line in lines if line["event"] == "message_surprised_us")
    assert isinstance(surprise["exc_info"], ZeroDivisionError)
    assert surprise["exc_info"].__traceback__ is not None
    assert handler.heard == ["t1", "t1"]


async def test_a_cancellation_that_nobody_asked_for_is_a_surprise_like_any_other(amqp_url: str, desk: Desk) -> None:
    handler = Handler(failing(asyncio.CancelledError()))
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        await eventually(lambda: handler.done)

    assert handler.heard == ["t1", "t1"]


async def test_a_handler_without_end_is_ended_and_retried(
    amqp_url: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.messaging.handling.HANDLER_TIMEOUT_SECONDS", 0.05)
    forever = [asyncio.Event()]

    async def hang_once(_trip_id: str) -> None:
        if forever:
            await forever.pop().wait()

    handler = Handler(hang_once)
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        await eventually(lambda: handler.done)

    assert handler.heard == ["t1", "t1"]


# --- Dead-lettered ---


async def test_a_rejected_message_is_dead_at_once_with_its_history(amqp_url: str, desk: Desk) -> None:
    before = datetime.now(UTC)
    handler = Handler(always(ConflictingFact("another fare:\nfirst 3200, now 4500")))
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        dead = await desk.take_dead(TRIP_CANCELLED)

    told = history(dead)
    first, last = (datetime.fromisoformat(told.pop(name)) for name in ("x-first-failed-at", "x-last-failed-at"))
    assert told == {
        "x-reason": "another fare: first 3200, now 4500",
        "x-error": "ConflictingFact",
        "x-attempts": 1,
        "x-origin-queue": desk.topology.name(TRIP_CANCELLED),
    }
    assert first == last
    assert abs((first - before).total_seconds()) < 60
    assert handler.heard == ["t1"]
    assert dead.body == a_cancellation("t1")


async def test_after_the_last_rung_a_message_is_dead(amqp_url: str, desk: Desk) -> None:
    handler = Handler(always(WechatPayUnavailable("503")))
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        dead = await desk.take_dead(TRIP_CANCELLED)

    told = history(dead)
    assert handler.heard == ["t1"] * (LADDER + 1)
    assert told["x-attempts"] == LADDER + 1
    assert told["x-reason"] == "gave up after 3 attempts: WechatPayUnavailable('503')"
    assert told["x-error"] == "WechatPayUnavailable"
    assert datetime.fromisoformat(told["x-first-failed-at"]) < datetime.fromisoformat(told["x-last-failed-at"])


async def test_attempts_that_somebody_else_counted_are_not_ours(amqp_url: str, desk: Desk) -> None:
    handler = Handler(failing(WechatPayUnavailable("503")))
    await desk.put(TRIP_CANCELLED, a_cancellation("t1"), headers={"x-attempts": 100, "x-origin-queue": "elsewhere"})
    async with a_worker(amqp_url, desk.topology, handler):
        await eventually(lambda: handler.done)

    assert handler.heard == ["t1", "t1"]


async def test_nothing_expires_in_the_dead_letter_queue(amqp_url: str, desk: Desk) -> None:
    handler = Handler(always(ConflictingFact("another fare")))
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.put(TRIP_CANCELLED, a_cancellation("t1"), message_id="m1", expiration=30)
        await eventually(lambda: desk.ready(f"{TRIP_CANCELLED}.dead"))

    dead = await desk.take_dead(TRIP_CANCELLED)
    assert dead.expiration is None


async def test_what_cannot_be_copied_is_dead_lettered_by_rabbitmq_itself(
    amqp_url: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise TypeError("no such AMQP type")

    monkeypatch.setattr("payscore_worker.messaging.handling.failed_message", refuse)
    handler = Handler(always(WechatPayUnavailable("503")))
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        dead = await desk.take_dead(TRIP_CANCELLED)

    assert dead.body == a_cancellation("t1")
    assert dead.headers["x-death"][0]["reason"] == "rejected"  # type: ignore[index,call-overload]


async def test_a_message_that_kills_its_workers_is_set_aside_in_the_end(desk: Desk) -> None:
    await desk.cancel("t1")
    await desk.lose(TRIP_CANCELLED, DELIVERY_LIMIT + 1)

    dead = await desk.take_dead(TRIP_CANCELLED)

    assert dead.headers["x-death"][0]["reason"] == "delivery_limit"  # type: ignore[index,call-overload]


# --- Stopping ---


async def test_a_stop_finishes_what_is_in_hand_and_leaves_the_rest(amqp_url: str, desk: Desk) -> None:
    allowed = asyncio.Event()

    async def wait(_trip_id: str) -> None:
        await allowed.wait()

    handler = Handler(wait)
    await desk.cancel("t1", "t2", "t3")
    async with a_worker(amqp_url, desk.topology, handler, prefetch=2) as worker:
        await eventually(lambda: len(handler.heard) == 2)
        stopping = asyncio.create_task(worker.stop())
        await eventually(lambda: not worker.is_ready)
        allowed.set()
        await stopping
        assert worker.consuming.done()

    assert sorted(handler.done) == ["t1", "t2"]
    await desk.holds(TRIP_CANCELLED, 1)
    assert (await desk.take(TRIP_CANCELLED)).message_id == "m-t3"


async def test_what_the_grace_does_not_suffice_for_goes_back_to_its_queue(amqp_url: str, desk: Desk) -> None:
    forever = asyncio.Event()

    async def wait(trip_id: str) -> None:
        if trip_id == "t1":
            await forever.wait()

    handler = Handler(wait)
    async with a_worker(amqp_url, desk.topology, handler) as worker:
        await desk.cancel("t1", "t2")
        await eventually(lambda: handler.done)
        await worker.stop(grace_seconds=0.1)

    assert (handler.heard, handler.done) == (["t1", "t2"], ["t2"])
    assert (await desk.take(TRIP_CANCELLED)).message_id == "m-t1"


async def test_a_stop_leaves_a_message_that_could_not_be_passed_on_in_its_queue(amqp_url: str, desk: Desk) -> None:
    handler = Handler(always(WechatPayUnavailable("503")))
    with capture_logs() as lines:
        async with a_worker(
            amqp_url, desk.topology, handler, publish_url=NOWHERE, publish_seconds=0.05, ready=False
        ) as worker:
            await desk.cancel("t1")
            await eventually(lambda: [line for line in lines if line["event"] == "message_held"])
            await worker.stop()

    assert (await desk.take(TRIP_CANCELLED)).message_id == "m-t1"
    assert handler.heard == ["t1"]
    assert [line["outcome"] for line in lines if line["event"] == "message_handled"] == ["to be redelivered"]


async def test_a_stop_makes_no_noise(amqp_url: str, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()
    with capture_logs() as lines:
        async with a_worker(amqp_url, desk.topology, handler) as worker:
            await desk.cancel("t1")
            await eventually(lambda: handler.done)
            await worker.stop()

    assert [line for line in lines if line["log_level"] != "info"] == []
    assert caplog.records == []
