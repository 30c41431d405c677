"""What is no longer ours is not begun."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from aio_pika.abc import AbstractIncomingMessage

from payscore_worker.events import EventIn, TripCancelled
from payscore_worker.messaging.consumer import Consumers
from payscore_worker.messaging.consuming import Tap
from payscore_worker.messaging.handling import Handle, Held, Subscription
from payscore_worker.messaging.link import Session
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import Topology
from tests.unit.messaging.incoming import Channel, Connection, a_message

NOWHERE = "amqp://nowhere/"
ELSEWHERE = "amqp://elsewhere/"
QUEUE = "payscore.trip-cancelled"
BODY = b'{"trip_id":"t1","cancelled_at":"2026-05-01T20:00:00Z","reason":"-"}'


async def forget(_event: EventIn) -> None:
    pass


def some_consumers(url: str, *, prefetch: int, handle: Handle = forget) -> Consumers:
    topology = Topology(retry_delays=())
    return Consumers(
        url=url,
        name="test",
        topology=topology,
        subscriptions=[Subscription(queue=QUEUE, events={"trip.cancelled": TripCancelled}, handle=handle)],
        publisher=Publisher(url, name="test", topology=topology),
        prefetch=prefetch,
    )


class Worker:
    """Consumers that have no broker, and what they hand over."""

    def __init__(self) -> None:
        self.handled: list[EventIn] = []
        self.channel = Channel()
        self.session = Session(Connection())  # type: ignore[arg-type]
        self.consumers = some_consumers(NOWHERE, prefetch=1, handle=self._handle)

    async def take(self) -> None:
        await self.consumers._take(QUEUE, Held(a_message(BODY, channel=self.channel), self.session))

    def take_in_hand(self, session: Session) -> None:
        self.consumers._take_in_hand(QUEUE, Held(a_message(BODY, channel=self.channel), session))

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


async def test_the_end_of_a_session_leaves_alone_what_came_on_another(worker: Worker) -> None:
    other = Session(Connection())  # type: ignore[arg-type]
    worker.take_in_hand(worker.session)
    worker.take_in_hand(other)

    worker.consumers._leave_what_has_not_begun(worker.session)
    await asyncio.wait(worker.consumers._in_hand)

    assert len(worker.handled) == 1


@pytest.mark.parametrize(
    ("addresses", "links", "each"), [(NOWHERE, 1, 5), (f"{NOWHERE},{NOWHERE}", 1, 5), (f"{NOWHERE},{ELSEWHERE}", 2, 3)]
)
def test_two_links_where_there_are_two_addresses_share_what_may_be_in_hand(
    addresses: str, links: int, each: int
) -> None:
    consumers = some_consumers(addresses, prefetch=5)

    assert [one._prefetch for one in consumers._links] == [each] * links
    assert len(consumers.hearing.ears) == links


async def test_what_comes_during_a_stop_is_left_to_somebody_else(worker: Worker) -> None:
    stopping = asyncio.create_task(worker.consumers.stop(grace_seconds=0))
    await asyncio.sleep(0)

    await worker.take()

    assert not worker.handled
    assert not worker.channel.told
    await stopping


# --- Whether RabbitMQ has forgotten us ---


@dataclass
class Queue:
    """What RabbitMQ says of a queue that we consume."""

    messages: int
    consumers: int
    name: str = QUEUE
    callback: Callable[[AbstractIncomingMessage], Awaitable[None]] | None = None

    async def consume(self, callback: Callable[[AbstractIncomingMessage], Awaitable[None]]) -> str:
        self.callback = callback
        return "our tag"

    async def declare_queue(self, _name: str, *, passive: bool) -> SimpleNamespace:
        assert passive
        return SimpleNamespace(
            declaration_result=SimpleNamespace(message_count=self.messages, consumer_count=self.consumers)
        )


async def a_tap(queue: Queue, session: Session) -> Tap:
    async def take(_message: AbstractIncomingMessage) -> None:
        pass

    tap = Tap(session, queue, take, pauses=False)  # type: ignore[arg-type]
    await tap.open()
    return tap


@pytest.mark.parametrize(("messages", "consumers"), [(0, 0), (0, 1), (9, 1)])
async def test_a_count_of_no_consumers_alone_is_no_deafness(worker: Worker, messages: int, consumers: int) -> None:
    queue = Queue(messages, consumers)
    tap = await a_tap(queue, worker.session)

    await tap.check(queue)  # type: ignore[arg-type]


async def test_messages_that_wait_while_nobody_consumes_them_are(worker: Worker) -> None:
    queue = Queue(messages=1, consumers=0)
    tap = await a_tap(queue, worker.session)

    with pytest.raises(ConnectionError, match=r"payscore\.trip-cancelled has no consumer of ours"):
        await tap.check(queue)  # type: ignore[arg-type]


async def test_whoever_got_a_message_hears_until_the_next_check(worker: Worker) -> None:
    queue = Queue(messages=1, consumers=0)
    tap = await a_tap(queue, worker.session)
    assert queue.callback is not None
    await queue.callback(a_message(BODY, channel=worker.channel))

    await tap.check(queue)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        await tap.check(queue)  # type: ignore[arg-type]


async def test_a_consumer_that_is_gone_with_its_session_is_noticed_whatever_is_counted(worker: Worker) -> None:
    queue = Queue(messages=0, consumers=1)
    tap = await a_tap(queue, worker.session)
    worker.session.break_up("cut")

    with pytest.raises(ConnectionError):
        await tap.check(queue)  # type: ignore[arg-type]
