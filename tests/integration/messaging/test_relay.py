"""The outbox relay: every announcement reaches the broker under the id it was written with, whoever dies in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs

from payscore_worker.errors import BrokerUnavailable, StorageUnavailable
from payscore_worker.events import CLOUD_EVENT
from payscore_worker.messaging.publisher import Outgoing, Publisher
from payscore_worker.messaging.relay import BATCH, LEASE, UNROUTED_DELAYS, Announced, Outbox, Relay
from payscore_worker.messaging.topology import EVENTS, Topology
from payscore_worker.migrations import migrate
from payscore_worker.storage import Direction, EventRecord, Storage
from payscore_worker.storage.database import open_storage
from tests.builders import NOW, a_trip
from tests.integration.messaging.desk import Desk
from tests.integration.messaging.waiting import eventually
from tests.proxy import Proxy

LISTENER = "listener"


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'outbox.db'}"
    await migrate(url)
    storage = await open_storage(url)
    yield storage
    await storage.aclose()


@pytest.fixture
async def listener(desk: Desk) -> AsyncIterator[str]:
    """A queue of somebody who wants to hear everything."""
    name = desk.topology.name(LISTENER)
    async with desk.connection.channel() as channel:
        queue = await channel.declare_queue(name, auto_delete=True, durable=True)
        await queue.bind(desk.topology.name(EVENTS), "#")
        yield LISTENER
        await channel.queue_delete(name)


class Clock:
    """Stands still until told to go on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, period: timedelta) -> None:
        self.now += period


@asynccontextmanager
async def a_publisher(url: str, topology: Topology) -> AsyncIterator[Publisher]:
    publisher = Publisher(url, name="test relay", topology=topology, timeout_seconds=2.0)
    publishing = asyncio.create_task(publisher.run())
    await publisher.ready()
    yield publisher
    publishing.cancel()
    await asyncio.wait([publishing])


@pytest.fixture
async def publisher(amqp_url: str, desk: Desk) -> AsyncIterator[Publisher]:
    async with a_publisher(amqp_url, desk.topology) as publisher:
        yield publisher


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_relay(outbox: Outbox, publisher: Publisher, desk: Desk, clock: Clock) -> Relay:
    return Relay(outbox=outbox, publisher=publisher, exchange=desk.topology.name(EVENTS), clock=clock)


async def announce(storage: Storage, *event_ids: str, trip_id: str = "t1", type: str = "settlement.opened") -> None:
    """Write announcements, with the trip they are about, as the settlement does."""
    trip = await storage.load(trip_id) or a_trip(trip_id)
    events = [
        EventRecord(event_id=id, direction=Direction.OUT, type=type, at=NOW, body=f'{{"id":"{id}"}}'.encode())
        for id in event_ids
    ]
    assert await storage.save(trip, due_at=None, now=NOW, events=events)


async def heard(desk: Desk, count: int) -> list[AbstractIncomingMessage]:
    return [await desk.take(LISTENER) for _ in range(count)]


async def ids_heard(desk: Desk, count: int) -> list[str | None]:
    return [message.message_id for message in await heard(desk, count)]


# --- As it should be ---


async def test_an_announcement_arrives_whole_under_its_id(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock, listener: str
) -> None:
    await announce(storage, "e1")

    assert await a_relay(storage, publisher, desk, clock).run_once() == 1

    message = await desk.take(listener)
    assert (message.message_id, message.routing_key) == ("e1", "settlement.opened")
    assert (message.body, message.content_type) == (b'{"id":"e1"}', CLOUD_EVENT)


@pytest.mark.usefixtures("listener")
async def test_announcements_of_a_trip_arrive_in_their_order(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    written = [f"e{number}" for number in range(BATCH // 2)]
    await announce(storage, *written)

    await a_relay(storage, publisher, desk, clock).run_once()

    assert await ids_heard(desk, len(written)) == written


async def test_what_is_published_is_not_published_again(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock, listener: str
) -> None:
    await announce(storage, "e1")
    relay = a_relay(storage, publisher, desk, clock)
    await relay.run_once()

    clock.forward(10 * LEASE)

    assert await relay.run_once() == 0
    await desk.holds(listener, 1)


async def test_relays_side_by_side_publish_each_announcement_once(
    amqp_url: str, storage: Storage, publisher: Publisher, desk: Desk, clock: Clock, listener: str
) -> None:
    written = [f"e{number}" for number in range(2 * BATCH + 50)]
    await announce(storage, *written)

    async with a_publisher(amqp_url, desk.topology) as another:
        relays = [a_relay(storage, one, desk, clock) for one in (publisher, another, publisher)]
        while sum(await asyncio.gather(*(relay.run_once() for relay in relays))):
            pass

    await desk.holds(listener, len(written))
    assert Counter(await ids_heard(desk, len(written))) == Counter(written)


@pytest.mark.usefixtures("listener")
async def test_a_wake_is_heard_and_a_full_outbox_emptied(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    relay = a_relay(storage, publisher, desk, clock)
    running = asyncio.create_task(relay.run())
    written = [f"e{number}" for number in range(BATCH + 1)]
    await announce(storage, *written)
    relay.wake()

    await desk.holds(LISTENER, len(written))
    running.cancel()
    await asyncio.wait([running])


# --- Crashes and outages ---


class Forgetful:
    """An outbox before which the relay dies between the confirm and the mark."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def claim_outbox(self, *, now: datetime, lease: timedelta, limit: int) -> Sequence[Announced]:
        return await self._storage.claim_outbox(now=now, lease=lease, limit=limit)

    async def mark_published(self, ids: Sequence[int], *, now: datetime) -> None:
        raise StorageUnavailable(f"died with {ids} at {now}")

    async def postpone_outbox(self, ids: Sequence[int], *, until: datetime) -> None:
        await self._storage.postpone_outbox(ids, until=until)


@pytest.mark.usefixtures("listener")
async def test_a_crash_between_confirm_and_mark_publishes_again_under_the_same_id(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "e1", "e2")
    with pytest.raises(StorageUnavailable):
        await a_relay(Forgetful(storage), publisher, desk, clock).run_once()
    another = a_relay(storage, publisher, desk, clock)

    assert await another.run_once() == 0  # the lease of the dead one still holds
    clock.forward(LEASE)
    assert await another.run_once() == 2

    assert sorted(str(id) for id in await ids_heard(desk, 4)) == ["e1", "e1", "e2", "e2"]


class Failing(Publisher):
    """Publishes all but some, which the broker does not confirm."""

    def __init__(self, url: str, topology: Topology, failing: set[str]) -> None:
        super().__init__(url, name="test relay", topology=topology, timeout_seconds=2.0)
        self._failing = failing

    async def publish(self, outgoing: Outgoing) -> None:
        if outgoing.message_id in self._failing:
            raise BrokerUnavailable("not confirmed")
        await super().publish(outgoing)


@pytest.mark.usefixtures("listener")
async def test_of_a_batch_that_fails_in_part_the_rest_is_published_once(
    amqp_url: str, storage: Storage, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "e1", "e2", "e3")
    failing = {"e2"}
    publisher = Failing(amqp_url, desk.topology, failing)
    publishing = asyncio.create_task(publisher.run())
    relay = a_relay(storage, publisher, desk, clock)

    with pytest.raises(BrokerUnavailable):
        await relay.run_once()
    failing.clear()
    clock.forward(LEASE)
    assert await relay.run_once() == 1

    assert await ids_heard(desk, 3) == ["e1", "e3", "e2"]
    publishing.cancel()
    await asyncio.wait([publishing])


async def test_the_relay_goes_on_by_itself_when_broker_and_database_are_back(
    proxy: Proxy, storage: Storage, desk: Desk, clock: Clock, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.messaging.relay.PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("payscore_worker.messaging.relay.IDLE_SECONDS", 0.05)
    outbox = Interrupted(storage)
    async with a_publisher(proxy.url, desk.topology) as publisher:
        running = asyncio.create_task(a_relay(outbox, publisher, desk, clock).run())
        outbox.is_away = True
        await announce(storage, "e1")
        await eventually(lambda: outbox.refused)
        outbox.is_away = False
        assert (await desk.take(listener)).message_id == "e1"

        proxy.cut()
        await announce(storage, "e2")
        clock.forward(LEASE)
        assert (await desk.take(listener)).message_id == "e2"

        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


class Interrupted:
    """An outbox that is away at times."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.is_away = False
        self.refused = 0

    async def claim_outbox(self, *, now: datetime, lease: timedelta, limit: int) -> Sequence[Announced]:
        if self.is_away:
            self.refused += 1
            raise StorageUnavailable("away")
        return await self._storage.claim_outbox(now=now, lease=lease, limit=limit)

    async def mark_published(self, ids: Sequence[int], *, now: datetime) -> None:
        await self._storage.mark_published(ids, now=now)

    async def postpone_outbox(self, ids: Sequence[int], *, until: datetime) -> None:
        await self._storage.postpone_outbox(ids, until=until)


@pytest.mark.usefixtures("listener")
async def test_nothing_is_claimed_while_nothing_can_be_published(
    storage: Storage, desk: Desk, clock: Clock, amqp_url: str
) -> None:
    """Else a claim would keep every announcement from the other relays for as long as its lease."""
    publisher = Publisher("amqp://guest:guest@127.0.0.1:1/", name="nowhere", topology=desk.topology)
    await announce(storage, "e1")
    running = asyncio.create_task(a_relay(storage, publisher, desk, clock).run())
    await asyncio.sleep(0.1)

    async with a_publisher(amqp_url, desk.topology) as another:
        assert await a_relay(storage, another, desk, clock).run_once() == 1
    running.cancel()
    await asyncio.wait([running])


# --- Nobody listens ---


async def test_an_announcement_nobody_takes_is_tried_for_an_hour_and_then_let_go_with_a_warning(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "e1")
    relay = a_relay(storage, publisher, desk, clock)
    with capture_logs() as lines:
        for delay in UNROUTED_DELAYS:
            assert await relay.run_once() == 1
            clock.forward(delay - timedelta(seconds=1))
            assert await relay.run_once() == 0
            clock.forward(timedelta(seconds=1))
        assert not lines
        assert await relay.run_once() == 1

    assert clock.now - NOW >= timedelta(hours=1)
    (warning,) = lines
    assert (warning["event"], warning["log_level"]) == ("announcement_unrouted", "warning")
    assert (warning["event_id"], warning["trip_id"], warning["type"]) == ("e1", "t1", "settlement.opened")
    clock.forward(timedelta(days=1))
    assert await relay.run_once() == 0


async def test_a_listener_that_comes_within_the_hour_hears_it(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "e1")
    relay = a_relay(storage, publisher, desk, clock)
    await relay.run_once()
    clock.forward(UNROUTED_DELAYS[0])
    async with desk.connection.channel() as channel:
        queue = await channel.declare_queue(desk.topology.name(LISTENER), auto_delete=True, durable=True)
        await queue.bind(desk.topology.name(EVENTS), "settlement.*")

        assert await relay.run_once() == 1

        assert (await desk.take(LISTENER)).message_id == "e1"
        await channel.queue_delete(queue.name)


async def test_an_announcement_nobody_takes_holds_up_no_other(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "e1", type="settlement.stale")
    await announce(storage, "e2", type="settlement.paid")
    async with desk.connection.channel() as channel:
        queue = await channel.declare_queue(desk.topology.name(LISTENER), auto_delete=True, durable=True)
        await queue.bind(desk.topology.name(EVENTS), "settlement.paid")

        assert await a_relay(storage, publisher, desk, clock).run_once() == 2

        assert (await desk.take(LISTENER)).message_id == "e2"
        await channel.queue_delete(queue.name)
