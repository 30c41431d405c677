"""What is no longer ours is not begun."""

import asyncio

import pytest

from payscore_worker.events import EventIn, TripCancelled
from payscore_worker.messaging.consumer import Consumers
from payscore_worker.messaging.handling import Held, Subscription
from payscore_worker.messaging.link import Session
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import Topology
from tests.unit.messaging.incoming import Channel, Connection, a_message

NOWHERE = "amqp://nowhere/"
QUEUE = "payscore.trip-cancelled"
BODY = b'{"trip_id":"t1","cancelled_at":"2026-05-01T20:00:00Z","reason":"-"}'


class Worker:
    """Consumers that have no broker, and what they hand over."""

    def __init__(self) -> None:
        topology = Topology(retry_delays=())
        self.handled: list[EventIn] = []
        self.channel = Channel()
        self.session = Session(Connection())  # type: ignore[arg-type]
        self.consumers = Consumers(
            url=NOWHERE,
            name="test",
            topology=topology,
            subscriptions=[Subscription(queue=QUEUE, events={"trip.cancelled": TripCancelled}, handle=self._handle)],
            publisher=Publisher(NOWHERE, name="test", topology=topology),
            prefetch=1,
        )

    async def take(self) -> None:
        await self.consumers._take(QUEUE, Held(a_message(BODY, channel=self.channel), self.session))

    async def _handle(self, event: EventIn) -> None:
        self.handled.append(event)


@pytest.fixture
async def worker() -> Worker:
    return Worker()


async def test_what_is_ours_is_handled_and_acked(worker: Worker) -> None:
    await worker.take()

    assert len(worker.handled) == len(worker.channel.told) == 1


async def test_what_came_on_a_broken_session_is_left_to_come_again(worker: Worker) -> None:
    worker.session.break_up("cut")

    await worker.take()

    assert not worker.handled
    assert not worker.channel.told


async def test_what_comes_during_a_stop_is_left_to_somebody_else(worker: Worker) -> None:
    stopping = asyncio.create_task(worker.consumers.stop(grace_seconds=0))
    await asyncio.sleep(0)

    await worker.take()

    assert not worker.handled
    assert not worker.channel.told
    await stopping
