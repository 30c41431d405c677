"""The outbox relay: every announcement reaches the broker under the id it was written with, whoever dies in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs

from payscore_worker.bootstrap.worker import FLUSH_SECONDS, flush
from payscore_worker.errors import BrokerUnavailable, StorageUnavailable
from payscore_worker.events import CLOUD_EVENT
from payscore_worker.messaging.publisher import Outgoing, Publisher
from payscore_worker.messaging.relay import BATCH, LEASE, SETTLE_SECONDS, UNROUTED_DELAYS, Announced, Outbox, Relay
from payscore_worker.messaging.topology import EVENTS, Topology
from payscore_worker.storage import Direction, EventRecord, Storage
from tests.builders import NOW, a_trip
from tests.integration.databases import database_url, dialect, storage
from tests.integration.messaging.desk import Desk
from tests.integration.messaging.waiting import eventually
from tests.proxy import Proxy

__all__ = ["database_url", "dialect", "storage"]  # fixtures

LISTENER = "listener"


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


# --- The order of a trip ---


class Slow(Publisher):
    """Publishes some announcements only when it is let, and notes what it has begun."""

    def __init__(self, url: str, topology: Topology, slow: set[str]) -> None:
        super().__init__(url, name="test relay", topology=topology, timeout_seconds=30.0)
        self._slow = slow
        self.begun: list[str] = []
        self.let = asyncio.Event()

    async def publish(self, outgoing: Outgoing) -> None:
        self.begun.append(outgoing.message_id)
        if outgoing.message_id in self._slow:
            await self.let.wait()
        await super().publish(outgoing)

    async def has_begun(self, event_id: str) -> None:
        await eventually(lambda: event_id in self.begun)


@asynccontextmanager
async def a_slow_publisher(url: str, desk: Desk, *slow: str) -> AsyncIterator[Slow]:
    publisher = Slow(url, desk.topology, set(slow))
    publishing = asyncio.create_task(publisher.run())
    await publisher.ready()
    yield publisher
    publishing.cancel()
    await asyncio.wait([publishing])


@pytest.mark.usefixtures("listener")
async def test_two_relays_keep_the_order_of_a_trip_and_hold_up_no_other(
    amqp_url: str, storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "opened")
    async with a_slow_publisher(amqp_url, desk, "opened") as slow:
        first = asyncio.create_task(a_relay(storage, slow, desk, clock).run_once())
        await slow.has_begun("opened")
        await announce(storage, "completed", "paid")
        await announce(storage, "other", trip_id="t2")
        second = a_relay(storage, publisher, desk, clock)

        assert await second.run_once() == 1
        assert await second.run_once() == 0
        slow.let.set()
        assert await first == 1
        assert await second.run_once() == 2

    assert await ids_heard(desk, 4) == ["other", "opened", "completed", "paid"]


@pytest.mark.usefixtures("listener")
async def test_an_announcement_is_not_begun_before_the_one_before_it_is_confirmed(
    amqp_url: str, storage: Storage, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "opened", "completed")
    await announce(storage, "other", trip_id="t2")
    async with a_slow_publisher(amqp_url, desk, "opened") as slow:
        relaying = asyncio.create_task(a_relay(storage, slow, desk, clock).run_once())
        assert await ids_heard(desk, 1) == ["other"]
        assert sorted(slow.begun) == ["opened", "other"]

        slow.let.set()
        assert await relaying == 3

    assert await ids_heard(desk, 2) == ["opened", "completed"]


@pytest.mark.usefixtures("listener")
async def test_many_relays_at_once_publish_every_trip_in_its_order(
    amqp_url: str, storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    trips = [f"t{number}" for number in range(12)]

    async def rides() -> None:
        for step in range(5):
            await asyncio.gather(*(announce(storage, f"{trip}-{step}", trip_id=trip) for trip in trips))

    async with a_publisher(amqp_url, desk.topology) as another:
        relays = [a_relay(storage, one, desk, clock) for one in (publisher, another, publisher, another)]
        riding = asyncio.create_task(rides())

        async def relays_on(relay: Relay) -> None:
            while await relay.run_once() or not riding.done():
                pass

        await asyncio.gather(*(relays_on(relay) for relay in relays))
        while sum(await asyncio.gather(*(relay.run_once() for relay in relays))):
            pass

    told = [str(id).split("-") for id in await ids_heard(desk, 5 * len(trips))]
    for trip in trips:
        assert [step for name, step in told if name == trip] == ["0", "1", "2", "3", "4"]


# --- The end ---


async def stopped(relay: Relay, running: asyncio.Task[None]) -> None:
    """Stop a relay as the worker does."""
    await flush(relay, running)
    assert running.done()


@pytest.mark.usefixtures("listener")
async def test_a_stop_publishes_what_was_announced_up_to_then(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "payscore_worker.bootstrap.worker.FLUSH_SECONDS", 30.0
    )  # 201 confirms in a row, on a busy machine
    relay = a_relay(storage, publisher, desk, clock)
    running = asyncio.create_task(relay.run())
    written = [f"e{number}" for number in range(BATCH + 1)]
    await announce(storage, *written)

    await stopped(relay, running)

    assert await ids_heard(desk, len(written)) == written


@pytest.mark.usefixtures("listener")
async def test_a_stop_finishes_the_batch_in_hand(
    amqp_url: str, storage: Storage, desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.bootstrap.worker.FLUSH_SECONDS", 30.0)
    await announce(storage, "e1", "e2")
    async with a_slow_publisher(amqp_url, desk, "e2") as slow:
        relay = a_relay(storage, slow, desk, clock)
        running = asyncio.create_task(relay.run())
        await slow.has_begun("e2")
        asyncio.get_running_loop().call_later(0.2, slow.let.set)

        await stopped(relay, running)

    assert await ids_heard(desk, 2) == ["e1", "e2"]
    assert await storage.claim_outbox(now=clock.now + 2 * LEASE, lease=LEASE, limit=10) == []


@pytest.mark.usefixtures("listener")
async def test_what_a_stop_cannot_finish_is_at_once_the_next_relays(
    amqp_url: str, storage: Storage, publisher: Publisher, desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.bootstrap.worker.FLUSH_SECONDS", 0.2)
    await announce(storage, "opened", "completed", "paid")
    async with a_slow_publisher(amqp_url, desk, "completed") as slow:
        relay = a_relay(storage, slow, desk, clock)
        running = asyncio.create_task(relay.run())
        await slow.has_begun("completed")

        await stopped(relay, running)

    assert await a_relay(storage, publisher, desk, clock).run_once() == 2  # no lease has run out
    assert await ids_heard(desk, 3) == ["opened", "completed", "paid"]


async def test_a_stop_while_the_broker_is_away_ends_in_time(storage: Storage, desk: Desk, clock: Clock) -> None:
    publisher = Publisher("amqp://guest:guest@127.0.0.1:1/", name="nowhere", topology=desk.topology)
    relay = a_relay(storage, publisher, desk, clock)
    running = asyncio.create_task(relay.run())

    async with asyncio.timeout(FLUSH_SECONDS + 10 * SETTLE_SECONDS):
        await stopped(relay, running)


async def test_what_is_given_back_late_is_not_taken_from_the_relay_that_has_it_now(
    storage: Storage, clock: Clock
) -> None:
    await announce(storage, "e1")
    [row] = await storage.claim_outbox(now=clock.now, lease=LEASE, limit=1)
    clock.forward(LEASE)
    assert await storage.claim_outbox(now=clock.now, lease=LEASE, limit=1)

    await storage.release_outbox([row.id], claimed_until=clock.now)

    assert await storage.claim_outbox(now=clock.now, lease=LEASE, limit=1) == []


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

    async def mark_unrouted(self, ids: Sequence[int], *, now: datetime) -> None:
        await self._storage.mark_unrouted(ids, now=now)

    async def release_outbox(self, ids: Sequence[int], *, claimed_until: datetime) -> None:
        await self._storage.release_outbox(ids, claimed_until=claimed_until)


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
async def test_of_a_batch_that_fails_in_part_the_rest_is_published_once_and_in_order_without_waiting_for_the_lease(
    amqp_url: str, storage: Storage, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "e1", "e2", "e3")
    await announce(storage, "f1", trip_id="t2")
    failing = {"e2"}
    publisher = Failing(amqp_url, desk.topology, failing)
    publishing = asyncio.create_task(publisher.run())
    relay = a_relay(storage, publisher, desk, clock)

    with pytest.raises(BrokerUnavailable):
        await relay.run_once()
    assert sorted(str(id) for id in await ids_heard(desk, 2)) == ["e1", "f1"]
    failing.clear()
    assert await relay.run_once() == 2

    assert await ids_heard(desk, 2) == ["e2", "e3"]
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

    async def mark_unrouted(self, ids: Sequence[int], *, now: datetime) -> None:
        await self._storage.mark_unrouted(ids, now=now)

    async def release_outbox(self, ids: Sequence[int], *, claimed_until: datetime) -> None:
        await self._storage.release_outbox(ids, claimed_until=claimed_until)


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


async def test_an_announcement_nobody_takes_is_tried_for_an_hour_and_then_kept_with_a_warning(
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


async def test_what_nobody_takes_holds_up_no_later_word_of_its_trip_not_even_while_it_is_tried_again(
    storage: Storage, publisher: Publisher, desk: Desk, clock: Clock
) -> None:
    await announce(storage, "e1", type="settlement.stale")
    assert await a_relay(storage, publisher, desk, clock).run_once() == 1
    await announce(storage, "e2", type="settlement.opened")
    clock.forward(UNROUTED_DELAYS[0])
    [again] = await storage.claim_outbox(now=clock.now, lease=LEASE, limit=1)
    assert again.event_id == "e1"

    [row] = await storage.claim_outbox(now=clock.now, lease=LEASE, limit=10)

    assert row.event_id == "e2"


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
