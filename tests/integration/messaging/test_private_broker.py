"""What only a broker of our own can be made to suffer: a restart, a power cut, an alarm, an operator."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aio_pika.exceptions import ConnectionClosed
from structlog.testing import capture_logs

from deploy.local.rabbitmq import PrivateRabbitMQ
from payscore_worker.errors import BrokerUnavailable, WechatPayUnavailable
from payscore_worker.messaging.consuming import Patience
from payscore_worker.messaging.hearing import Deaf
from payscore_worker.messaging.link import connect, reason_of
from payscore_worker.messaging.publisher import Outgoing
from payscore_worker.messaging.topology import DEFAULT_EXCHANGE, TopologyRefused
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk, a_topology
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker

pytestmark = pytest.mark.timeout(240)  # the broker itself takes half a minute to start on a busy machine

NO_MEMORY, MEMORY = "0.0001", "0.4"


@pytest.fixture
async def private_desk(private_rabbitmq: PrivateRabbitMQ) -> AsyncIterator[Desk]:
    async with await connect(private_rabbitmq.url, "desk") as connection:
        desk = Desk(connection, a_topology())
        await desk.topology.declare_on(connection)
        yield desk  # its queues go with the broker


class Memory:
    """How much of it RabbitMQ believes to have."""

    def __init__(self, node: PrivateRabbitMQ) -> None:
        self._node = node

    async def runs_out(self) -> None:
        await asyncio.to_thread(self._node.ctl, "set_vm_memory_high_watermark", NO_MEMORY)

    async def is_back(self) -> None:
        await asyncio.to_thread(self._node.ctl, "set_vm_memory_high_watermark", MEMORY)


@pytest.fixture
async def memory(private_rabbitmq: PrivateRabbitMQ) -> AsyncIterator[Memory]:
    memory = Memory(private_rabbitmq)
    yield memory
    await memory.is_back()


async def user(node: PrivateRabbitMQ, name: str, *, configure: str = ".*", write: str = ".*", read: str = ".*") -> str:
    """Make a user with these permissions, and return the URL for it."""
    for words in (["add_user", name, "secret"], ["set_permissions", name, configure, write, read]):
        await asyncio.to_thread(node.ctl, *words)
    return node.url.replace("guest:guest", f"{name}:secret")


def to_queue(desk: Desk, queue: str, message_id: str) -> Outgoing:
    return Outgoing(exchange=DEFAULT_EXCHANGE, routing_key=desk.topology.name(queue), body=b"{}", message_id=message_id)


async def test_consuming_goes_on_after_an_operator_closed_the_connections(
    private_rabbitmq: PrivateRabbitMQ, private_desk: Desk
) -> None:
    handler = Handler()
    async with a_worker(private_rabbitmq.url, private_desk.topology, handler) as worker:
        await asyncio.to_thread(private_rabbitmq.ctl, "close_all_connections", "an operator")
        await eventually(lambda: not worker.is_ready)
        await worker.ready()

        async with await connect(private_rabbitmq.url, "another desk") as connection:
            await Desk(connection, private_desk.topology).cancel("t1")
            await eventually(lambda: handler.done)


async def test_a_broker_that_dies_and_starts_again_has_lost_nothing_and_is_found(
    private_rabbitmq: PrivateRabbitMQ, private_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.messaging.link.LONGEST_PAUSE_SECONDS", 0.5)
    allowed = asyncio.Event()

    async def wait(_trip_id: str) -> None:
        await allowed.wait()

    handler = Handler(wait)
    trips = [f"t{number}" for number in range(20)]
    async with a_worker(private_rabbitmq.url, private_desk.topology, handler) as worker:
        await private_desk.cancel(*trips)
        await eventually(lambda: handler.heard)
        await worker.publisher.publish(to_queue(private_desk, TRIP_ENDED, "m1"))
        await asyncio.to_thread(private_rabbitmq.kill)
        await eventually(lambda: not worker.is_ready)
        with pytest.raises(BrokerUnavailable):
            await worker.publisher.publish(to_queue(private_desk, TRIP_ENDED, "m2"))

        await asyncio.to_thread(private_rabbitmq.start)
        await worker.ready()
        allowed.set()
        await eventually(lambda: set(handler.done) == set(trips))
        await worker.publisher.publish(to_queue(private_desk, TRIP_ENDED, "m2"))

        async with await connect(private_rabbitmq.url, "another desk") as connection:
            desk = Desk(connection, private_desk.topology)
            await eventually(lambda: desk.is_empty(TRIP_CANCELLED))
            assert [(await desk.take(TRIP_ENDED)).message_id for _ in range(2)] == ["m1", "m2"]


async def test_a_memory_alarm_loses_nothing_and_buries_nothing(
    private_rabbitmq: PrivateRabbitMQ, private_desk: Desk, memory: Memory
) -> None:
    alarmed = True

    async def fail(_trip_id: str) -> None:
        if alarmed:
            raise WechatPayUnavailable("503")

    handler = Handler(fail)
    await private_desk.cancel("t1", "t2")
    await memory.runs_out()
    with capture_logs() as lines:
        async with a_worker(private_rabbitmq.url, private_desk.topology, handler) as worker:
            await eventually(lambda: [line for line in lines if line["event"] == "message_held"])
            assert worker.consumers.hearing.is_consuming
            alarmed = False
            await memory.is_back()
            await eventually(lambda: set(handler.done) == {"t1", "t2"})
            await eventually(lambda: not worker.consumers.in_hand)  # a copy more may have been on its way
            assert await eventually(lambda: private_desk.is_empty(TRIP_CANCELLED, f"{TRIP_CANCELLED}.dead"))

    assert len(handler.heard) <= 6  # each failed once; its copy, and one more that was on its way when the alarm came


async def limit_messages(private_rabbitmq: PrivateRabbitMQ, size: str) -> None:
    """Change max_message_size while it runs, which RabbitMQ 4 keeps somewhere else than 3.10 does."""
    words = f"application:set_env(rabbit, max_message_size, {size}), persistent_term:put(max_message_size, {size})."
    await asyncio.to_thread(private_rabbitmq.ctl, "eval", words)


async def test_what_rabbitmq_takes_no_longer_is_set_aside_and_the_others_go_on(
    private_rabbitmq: PrivateRabbitMQ, private_desk: Desk
) -> None:
    """A message of yesterday may be more than the limit of today; it breaks the link once, and then nobody's."""
    failed = {f"t{number}" for number in range(5)}

    async def fail_once(trip_id: str) -> None:
        if trip_id in failed:
            failed.remove(trip_id)
            raise WechatPayUnavailable("503")

    handler = Handler(fail_once)
    await private_desk.put(TRIP_CANCELLED, b"x" * 5000, message_id="large")
    await private_desk.cancel(*sorted(failed))
    await limit_messages(private_rabbitmq, "2000")
    try:
        with capture_logs() as lines:
            async with a_worker(private_rabbitmq.url, private_desk.topology, handler):
                await eventually(lambda: len(set(handler.done)) == 5)
                await private_desk.holds(f"{TRIP_CANCELLED}.dead", 1)
    finally:
        await limit_messages(private_rabbitmq, "134217728")

    (told,) = [line["refused"] for line in lines if line["event"] == "message_not_copied"]
    assert "message size 5000 is larger than configured max size 2000" in told
    dead = await private_desk.take_dead(TRIP_CANCELLED)
    assert (dead.message_id, dead.body) == ("large", b"x" * 5000)


async def test_a_limit_of_the_virtual_host_is_told_in_rabbitmqs_words(
    private_rabbitmq: PrivateRabbitMQ,
) -> None:
    for words in (
        ["add_vhost", "narrow"],
        ["set_permissions", "-p", "narrow", "guest", ".*", ".*", ".*"],
        ["set_vhost_limits", "-p", "narrow", '{"max-queues": 3}'],
    ):
        await asyncio.to_thread(private_rabbitmq.ctl, *words)
    try:
        async with await connect(f"{private_rabbitmq.url}narrow", "test") as connection:
            with pytest.raises(TopologyRefused, match=r"queue limit in vhost 'narrow' \(3\) is reached") as raised:
                await a_topology().declare_on(connection)
    finally:
        await asyncio.to_thread(private_rabbitmq.ctl, "delete_vhost", "narrow")

    assert "delete it" not in str(raised.value)


async def test_a_limit_of_connections_is_told_in_rabbitmqs_words(private_rabbitmq: PrivateRabbitMQ) -> None:
    await asyncio.to_thread(private_rabbitmq.ctl, "set_vhost_limits", '{"max-connections": 0}')
    try:
        with pytest.raises(ConnectionClosed) as raised:
            await connect(private_rabbitmq.url, "test")
    finally:
        await asyncio.to_thread(private_rabbitmq.ctl, "clear_vhost_limits")

    assert reason_of(raised.value) == (
        "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (0) is reached"
    )


async def test_a_publish_that_an_alarm_held_up_may_arrive_after_all_under_its_id(
    private_rabbitmq: PrivateRabbitMQ, private_desk: Desk, memory: Memory
) -> None:
    async with a_worker(private_rabbitmq.url, private_desk.topology, Handler()) as worker:
        await memory.runs_out()
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                await worker.publisher.publish(to_queue(private_desk, TRIP_ENDED, "m1"))
        await memory.is_back()

        await worker.publisher.publish(to_queue(private_desk, TRIP_ENDED, "m1"))
        arrived = await private_desk.ready(TRIP_ENDED)

    assert 1 <= arrived <= 2  # the first may have been on its way; the second found the link blocked and was not sent
    assert {(await private_desk.take(TRIP_ENDED)).message_id for _ in range(arrived)} == {"m1"}


async def test_a_worker_that_may_not_hear_ends_and_says_so(
    private_rabbitmq: PrivateRabbitMQ, private_desk: Desk
) -> None:
    url = await user(private_rabbitmq, "deaf", read="(events|notifications|retry.*)$")
    patience = Patience(check_every_seconds=0.1, deaf_after_seconds=1.0)
    async with a_worker(url, private_desk.topology, Handler(), patience=patience, ready=False) as worker:
        with pytest.raises(Deaf, match="although RabbitMQ answers"):
            await worker.consuming

        assert not worker.is_ready
        assert worker.publisher.is_ready


async def test_a_worker_that_may_not_declare_ends_and_names_the_queue(
    private_rabbitmq: PrivateRabbitMQ, private_desk: Desk
) -> None:
    url = await user(private_rabbitmq, "guest2", configure="(events|notifications|retry.*)$")
    dead = private_desk.topology.dead("payscore.trip-started")
    async with a_worker(url, private_desk.topology, Handler(), ready=False) as worker:
        with pytest.raises(TopologyRefused, match=f"queue '{dead}' may not be declared .*: grant our user configure"):
            await worker.consuming
