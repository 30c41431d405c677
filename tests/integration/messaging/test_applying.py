"""What should stand is brought about with nothing lost, however busy the broker is, and wherever it is broken off."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError, PublishError

from payscore_worker.errors import Rejected
from payscore_worker.messaging import replacing
from payscore_worker.messaging.applying import apply
from payscore_worker.messaging.drift import Remedy, difference_from, stands
from payscore_worker.messaging.link import BROKEN, connect, scratch_channel
from payscore_worker.messaging.replacing import Replacement
from payscore_worker.messaging.topology import QUEUES, RIDE_EVENTS, Place, Topology, TopologyRefused
from tests.integration.messaging.applier import POLL_SECONDS, SETTLED_SECONDS
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk, a_cancellation
from tests.integration.messaging.managed import Site, a_site
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker

pytestmark = pytest.mark.timeout(600)  # a broker of its own to start, whose counts are waited for again and again

DEAD = f"{TRIP_ENDED}.dead"
LONG_RUNG = "payscore.retry.1h"
ROOT = Path(__file__).parents[3]
CLASSIC: Mapping[str, Any] = {}
UNLIMITED: Any = {"x-queue-type": "quorum"}


@pytest.fixture(autouse=True)
def soon_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "SETTLED_SECONDS", SETTLED_SECONDS)
    monkeypatch.setattr(replacing, "POLL_SECONDS", POLL_SECONDS)


def desk_of(site: Site) -> Desk:
    return Desk(site.connection, site.topology)


async def bodies(site: Site, queue: str) -> list[str]:
    """Take out what is in a queue, once all has come back that a broken-off run had in hand."""
    return sorted(message.body.decode() for message in await desk_of(site).take_what_is_there(queue))


@asynccontextmanager
async def publishing(site: Site) -> AsyncIterator[list[str]]:
    """Publish events and dead letters all the while, as whoever keeps a message until it is confirmed."""
    sent: list[str] = []
    stopping = asyncio.Event()

    async def publish() -> None:
        while not stopping.is_set():
            with suppress(*BROKEN):  # RabbitMQ 3.10 ends connections that publish into what is deleted at this moment
                await publish_on_one_connection()

    async def publish_on_one_connection() -> None:
        async with (
            await connect(site.amqp_url, "test publisher") as connection,
            connection.channel(publisher_confirms=True, on_return_raises=True) as channel,
        ):
            events = await channel.get_exchange(site.topology.name(RIDE_EVENTS), ensure=False)
            while not stopping.is_set():
                name = f"m{len(sent)}"
                message = aio_pika.Message(name.encode(), message_id=name, delivery_mode=2)
                for exchange, key in ((events, "trip.ended"), (channel.default_exchange, site.topology.name(DEAD))):
                    await confirmed(exchange, message, key)
                sent.append(name)
                await asyncio.sleep(0.05)

    task = asyncio.create_task(publish())
    await eventually(lambda: len(sent) > 3)
    yield sent
    stopping.set()
    await task


async def confirmed(exchange: aio_pika.abc.AbstractExchange, message: aio_pika.Message, key: str) -> None:
    while True:
        with suppress(DeliveryError, PublishError):
            await exchange.publish(message, key, mandatory=True)
            return
        await asyncio.sleep(0.05)


# --- From the release before ---


async def test_the_release_before_is_made_safe_by_a_policy_with_every_message_where_it_was(
    managed_rabbitmq: tuple[str, str],
) -> None:
    async with a_site(managed_rabbitmq, as_before=True) as site:
        desk, handler = desk_of(site), Handler()
        held = [*(f"{queue}.dead" for queue in QUEUES), *(one for one in QUEUES if one != TRIP_CANCELLED)]
        for queue in held:
            await desk.put(queue, queue.encode(), message_id="m1")
        async with a_worker(site.amqp_url, site.topology, handler):
            await desk.put("payscore.retry.120ms", a_cancellation("waits"), message_id="w1")
            await desk.cancel("before")

            plan = await apply(site.amqp_url, site.topology, site.management)

            await desk.cancel("after")
            await eventually(lambda: {"before", "after"} <= set(handler.done))
        assert (plan.drifts, plan.unseen) == ([], [])
        for queue in held:
            assert await bodies(site, queue) == [queue]


async def test_a_limit_of_length_drops_no_dead_letter_after_that(managed_rabbitmq: tuple[str, str]) -> None:
    async with a_site(managed_rabbitmq, as_before=True) as site:
        await site.set_policy("cap", f"^{site.topology.prefix}.*dead$", {"max-length": 2}, priority=30)
        plan = await site.look_until(*(f"{queue}.dead" for queue in QUEUES))
        assert all(drift.loses for drift in plan.drifts)

        assert not (await apply(site.amqp_url, site.topology, site.management)).drifts

        for number in range(5):
            await desk_of(site).put(DEAD, f"d{number}".encode())
        assert len(await bodies(site, DEAD)) == 5


async def test_what_an_operator_policy_says_is_left_to_people_and_told(managed_rabbitmq: tuple[str, str]) -> None:
    async with a_site(managed_rabbitmq) as site:
        pattern = f"^{site.topology.prefix}{DEAD}$"
        await site.set_policy("cap", pattern, {"message-ttl": 86_400_000}, kind="operator-policies")
        await site.look_until(DEAD)

        (left,) = (await apply(site.amqp_url, site.topology, site.management)).drifts

        assert left.remedy is Remedy.BY_HAND


async def test_bindings_are_put_right(managed_rabbitmq: tuple[str, str]) -> None:
    async with a_site(managed_rabbitmq) as site:
        async with scratch_channel(site.connection) as channel:
            queue = await channel.get_queue(site.topology.name(TRIP_ENDED), ensure=False)
            await queue.unbind(site.topology.name(RIDE_EVENTS), "trip.ended")
            await queue.bind(site.topology.name(RIDE_EVENTS), "trip.#")

        await apply(site.amqp_url, site.topology, site.management)

        assert (await site.look_until()).drifts == []


# --- Queues made anew ---


async def spoil(site: Site, queue: str, arguments: Mapping[str, Any], *held: str) -> Place:
    """Have a queue stand otherwise, bound as it should be, with messages in it."""
    place = site.place(queue)
    await site.redeclare(place, arguments)
    async with scratch_channel(site.connection) as channel:
        spoilt = await channel.get_queue(place.name, ensure=False)
        for exchange, routing_key in place.bindings:
            await spoilt.bind(exchange, routing_key)
    for body in held:
        await desk_of(site).put(queue, body.encode(), message_id=body)
    return place


async def stands_as_it_should(site: Site, place: Place) -> bool:
    return not await difference_from(site.connection, place) and not await stands(
        site.connection, site.topology.moving(place.name)
    )


async def test_queues_are_made_anew_while_others_publish_and_nothing_is_lost(
    managed_rabbitmq: tuple[str, str],
) -> None:
    async with a_site(managed_rabbitmq) as site:
        places = [await spoil(site, TRIP_ENDED, CLASSIC, "a", "b"), await spoil(site, DEAD, UNLIMITED, "c", "d")]
        async with publishing(site) as sent:
            plan = await apply(site.amqp_url, site.topology, site.management, print)

        assert plan.drifts == []
        assert all([await stands_as_it_should(site, place) for place in places])
        assert set(await bodies(site, TRIP_ENDED)) == {"a", "b", *sent}
        assert set(await bodies(site, DEAD)) == {"c", "d", *sent}


async def test_a_rung_that_is_made_anew_leads_each_message_to_its_origin_still(
    managed_rabbitmq: tuple[str, str],
) -> None:
    async with a_site(managed_rabbitmq) as here:
        topology = Topology(retry_delays=[timedelta(hours=1)], prefix=here.topology.prefix)
        site = replace(here, topology=topology)
        await topology.declare_on(site.connection)
        place = await spoil(site, LONG_RUNG, {"x-queue-type": "quorum", "x-message-ttl": 7_200_000})
        origin = topology.name(TRIP_ENDED)
        async with site.connection.channel() as channel:
            rung = await channel.get_exchange(place.name, ensure=False)
            await rung.publish(aio_pika.Message(b"r", message_id="r", headers={"x-attempts": 3}), origin)

        await apply(site.amqp_url, topology, site.management)

        assert await stands_as_it_should(site, place)
        message = await desk_of(site).take(LONG_RUNG)
        assert (message.routing_key, message.headers["x-attempts"]) == (origin, 3)
        async with site.connection.channel() as channel:
            await channel.queue_delete(place.name)
            await channel.exchange_delete(place.name)


async def leave(_message: aio_pika.abc.AbstractIncomingMessage) -> None:
    """Take a message that may come, and leave it to the next."""


async def test_a_queue_that_is_consumed_is_left_alone(managed_rabbitmq: tuple[str, str]) -> None:
    async with a_site(managed_rabbitmq) as site:
        place = await spoil(site, TRIP_ENDED, UNLIMITED)
        async with site.connection.channel() as channel:
            queue = await channel.get_queue(place.name, ensure=False)
            await queue.consume(leave)
            with pytest.raises(Rejected, match="others go on consuming it"):
                await apply(site.amqp_url, site.topology, site.management)

        assert await stands(site.connection, place.name)


async def test_an_older_worker_that_makes_the_queue_as_it_was_is_told_of_and_costs_nothing(
    managed_rabbitmq: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site(managed_rabbitmq) as site:
        place = await spoil(site, DEAD, UNLIMITED, "a", "b")
        replacement = Replacement(site.connection, site.topology, site.management, place, print)
        clear_out = Replacement._clear_out_by_plugs

        async def too_late(self: Replacement) -> None:
            await clear_out(self)
            async with scratch_channel(site.connection) as channel:
                await channel.declare_queue(place.name, durable=True, arguments=UNLIMITED)

        monkeypatch.setattr(Replacement, "_clear_out_by_plugs", too_late)
        with pytest.raises(Rejected, match="end the workers of the older release"):
            await replacement.run()
        monkeypatch.setattr(Replacement, "_clear_out_by_plugs", clear_out)

        await replacement.run()

        assert await stands_as_it_should(site, place)
        assert await bodies(site, DEAD) == ["a", "b"]


async def test_messages_that_stay_in_hand_end_it_with_nothing_lost(
    managed_rabbitmq: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site(managed_rabbitmq) as site:
        place = await spoil(site, DEAD, UNLIMITED, "a", "b")
        monkeypatch.setattr(replacing, "TOLD_SECONDS", 5.0)
        monkeypatch.setattr(replacing, "MOST_ROUNDS", 1)
        async with site.connection.channel() as somebody:
            await (await somebody.get_queue(place.name, ensure=False)).get()
            with pytest.raises(Rejected, match="have messages of it in hand"):
                await Replacement(site.connection, site.topology, site.management, place, print).run()
        monkeypatch.undo()

        await apply(site.amqp_url, site.topology, site.management)

        assert await bodies(site, DEAD) == ["a", "b"]


async def test_without_the_management_api_no_queue_is_made_anew(desk: Desk, amqp_url: str) -> None:
    name = desk.topology.dead(TRIP_ENDED)
    await desk.do(lambda channel: channel.queue_delete(name))
    await desk.do(lambda channel: channel.declare_queue(name, durable=True, arguments=UNLIMITED))
    await desk.put(DEAD, b"a")

    with pytest.raises(Rejected, match="PAYSCORE_MANAGEMENT_URL"):
        await apply(amqp_url, desk.topology, None)

    assert (await desk.take_dead(TRIP_ENDED)).body == b"a"


async def test_an_exchange_of_another_type_is_refused_with_what_to_do(desk: Desk, amqp_url: str) -> None:
    name = desk.topology.name(RIDE_EVENTS)
    await desk.do(lambda channel: channel.exchange_delete(name))
    await desk.do(lambda channel: channel.declare_exchange(name, "direct", durable=True))

    with pytest.raises(TopologyRefused, match=name):
        await apply(amqp_url, desk.topology, None)


# --- Broken off ---

WHOLE = "PAYSCORE_TEST_WHOLE"
"""Set it to kill at every point, which takes some minutes; else a few of them do."""

KILL_POINTS = (
    "bind after 1",  # the holding queue
    "publish after 2",  # a plug
    "set_policy before 1",  # the gate
    "set_policy after 1",
    "unbind after 1",  # the old queue
    "publish after 5",  # a copy
    "ack after 2",
    "delete before 1",  # the old queue
    "delete after 1",
    "clear_policy after 2",
    "bind after 2",  # the new queue
    "unbind after 2",  # the holding queue
    "publish after 8",  # a copy
    "delete after 2",  # the holding queue
)


async def run_applier(site: Site, point: str = "") -> int | None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.messaging.applier"),
        *(site.amqp_url, site.management_url, site.topology.prefix, point),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


@pytest.mark.parametrize("point", KILL_POINTS if WHOLE in os.environ else KILL_POINTS[2::6])
async def test_killed_at_any_step_and_run_again_it_loses_nothing(managed_rabbitmq: tuple[str, str], point: str) -> None:
    async with a_site(managed_rabbitmq) as site:
        place = await spoil(site, TRIP_ENDED, UNLIMITED, "a", "b", "c")

        assert await run_applier(site, point) == -signal.SIGKILL
        await desk_of(site).do(lambda channel: publish_event(channel, site, "d"))
        assert await run_applier(site) == 0

        assert await stands_as_it_should(site, place)
        found = await bodies(site, TRIP_ENDED)
        assert set(found) == {"a", "b", "c", "d"}
        assert len(found) <= 5  # at most what was in hand when it died comes twice, as after any redelivery


async def publish_event(channel: aio_pika.abc.AbstractChannel, site: Site, body: str) -> None:
    exchange = await channel.get_exchange(site.topology.name(RIDE_EVENTS), ensure=False)
    await confirmed(exchange, aio_pika.Message(body.encode(), message_id=body, delivery_mode=2), "trip.ended")
