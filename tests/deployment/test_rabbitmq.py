"""RabbitMQ takes our definitions and configuration, and then each user may do its work and no more."""

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.exceptions import AuthenticationError, ChannelAccessRefused, ProbableAuthenticationError

from deploy.local.errors import SetupFailed
from deploy.local.processes import free_ports
from deploy.local.rabbitmq import PrivateRabbitMQ, find_scripts
from payscore_worker.messaging.topology import EVENTS, NOTIFICATIONS, QUEUES, RIDE_EVENTS, Topology
from payscore_worker.settings import BrokerSettings, durations
from tests.deployment.tools import ROOT

pytestmark = pytest.mark.timeout(240)  # the broker itself takes half a minute to start on a busy machine

FILES: Final = ROOT / "deploy" / "rabbitmq"
TOPOLOGY: Final = Topology(retry_delays=durations(BrokerSettings().retry_delays))
PASSWORD: Final = "secret of the test"
REFUSED: Final = (AuthenticationError, ProbableAuthenticationError)


class ConfiguredRabbitMQ(PrivateRabbitMQ):
    """A private broker with our rabbitmq.conf."""

    def _write_configuration(self) -> None:
        super()._write_configuration()
        ours = (FILES / "rabbitmq.conf").read_text(encoding="utf-8")
        (self.directory / "rabbitmq.conf").write_text(ours + "\ndisk_free_limit.absolute = 50MB\n")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    scripts = find_scripts()
    if scripts is None:
        pytest.skip("rabbitmq-server is not installed here; `make test` finds or installs it")
    directory = tmp_path_factory.mktemp("rabbitmq")
    amqp_port, distribution_port, epmd_port = free_ports(3)
    node = ConfiguredRabbitMQ(
        directory=directory,
        scripts=scripts,
        amqp_port=amqp_port,
        distribution_port=distribution_port,
        epmd_port=epmd_port,
    )
    node.start()
    try:
        passwords = directory / "passwords"
        passwords.mkdir()
        for user in json.loads((FILES / "definitions.json").read_text())["users"]:
            (passwords / user["name"]).write_text(PASSWORD)
        node.ctl("import_definitions", str(FILES / "definitions.json"))  # as it lies in the repository
        complete = directory / "definitions.json"
        complete.write_text(json.dumps(with_passwords(passwords)))
        node.ctl("import_definitions", str(complete))
        yield node
    finally:
        node.remove()


def with_passwords(directory: Path) -> dict[str, object]:
    spec = importlib.util.spec_from_file_location("with_passwords", FILES / "with_passwords.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    document: dict[str, object] = module.definitions(directory)
    return document


@dataclass(frozen=True)
class Door:
    """The way in, for whoever has a name."""

    broker: PrivateRabbitMQ

    def url(self, user: str, password: str = PASSWORD) -> str:
        return f"amqp://{user}:{password.replace(' ', '%20')}@127.0.0.1:{self.broker.amqp_port}/payscore"

    @asynccontextmanager
    async def enter(self, user: str) -> AsyncIterator[AbstractChannel]:
        async with await aio_pika.connect(self.url(user)) as connection:
            yield await connection.channel()


@pytest.fixture
async def door(broker: PrivateRabbitMQ) -> Door:
    """Everything is declared, as the job `topology` does it with the worker's user."""
    door = Door(broker)
    async with await aio_pika.connect(door.url("payscore-worker")) as connection:
        await TOPOLOGY.declare_on(connection)
    return door


async def leave(_message: AbstractIncomingMessage) -> None:
    """Take a message that may come, and leave it to the next."""


async def publish(channel: AbstractChannel, exchange: str, routing_key: str) -> None:
    target = await channel.get_exchange(exchange, ensure=False)
    await target.publish(aio_pika.Message(b"{}"), routing_key, mandatory=False, timeout=10)


async def test_nobody_comes_in_with_the_file_as_it_lies_in_the_repository(broker: PrivateRabbitMQ) -> None:
    for user in json.loads((FILES / "definitions.json").read_text())["users"]:
        assert user["password_hash"] == ""
        with pytest.raises(REFUSED):
            await aio_pika.connect(Door(broker).url(user["name"], "guess"))


async def test_the_worker_may_consume_publish_retry_and_bury(door: Door) -> None:
    async with door.enter("payscore-worker") as channel:
        for queue in QUEUES:
            consumed = await channel.get_queue(queue, ensure=False)
            await consumed.cancel(await consumed.consume(leave))
        await publish(channel, EVENTS, "settlement.paid")
        await publish(channel, TOPOLOGY.rung(TOPOLOGY.retry_delays[0]), "payscore.trip-ended")
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), "payscore.trip-ended.dead", timeout=10)


async def test_the_worker_may_not_speak_for_the_ride_service(door: Door) -> None:
    async with door.enter("payscore-worker") as channel:
        with pytest.raises(ChannelAccessRefused):
            await publish(channel, RIDE_EVENTS, "trip.started")


async def test_an_operator_may_replay_dead_letters(door: Door) -> None:
    async with door.enter("payscore-operator") as channel:
        await TOPOLOGY.declare_staging(channel, "payscore.trip-ended")


async def test_the_webhook_may_publish_notifications_once_all_is_declared(door: Door) -> None:
    async with await aio_pika.connect(door.url("payscore-webhook")) as connection:
        await TOPOLOGY.declare_on(connection)
        await publish(await connection.channel(), NOTIFICATIONS, "payscore.user_paid")


@pytest.mark.parametrize("queue", QUEUES)
async def test_the_webhook_may_read_no_queue(door: Door, queue: str) -> None:
    async with door.enter("payscore-webhook") as channel:
        with pytest.raises(ChannelAccessRefused):
            await (await channel.get_queue(queue, ensure=False)).get(fail=False)


@pytest.mark.parametrize("exchange", [RIDE_EVENTS, ""])
async def test_the_webhook_may_not_speak_for_others(door: Door, exchange: str) -> None:
    async with door.enter("payscore-webhook") as channel:
        with pytest.raises(ChannelAccessRefused):
            await publish(channel, exchange, "trip.started")


async def test_the_ride_service_may_tell_of_trips_and_hear_of_settlements(door: Door) -> None:
    async with door.enter("ride-service") as channel:
        await publish(channel, RIDE_EVENTS, "trip.started")
        own = await channel.declare_queue("ride.payscore.settlements", durable=True)
        await own.bind(EVENTS, "settlement.#")
        assert await own.get(fail=False) is None


@pytest.mark.parametrize("exchange", [NOTIFICATIONS, EVENTS, ""])
async def test_the_ride_service_may_not_say_that_anybody_has_paid(door: Door, exchange: str) -> None:
    async with door.enter("ride-service") as channel:
        with pytest.raises(ChannelAccessRefused):
            await publish(channel, exchange, "payscore.user_paid")


async def test_the_ride_service_may_read_no_queue_of_ours(door: Door) -> None:
    async with door.enter("ride-service") as channel:
        with pytest.raises(ChannelAccessRefused):
            await (await channel.get_queue("payscore.trip-started", ensure=False)).get(fail=False)


async def test_the_scaler_may_look_and_touch_nothing(door: Door) -> None:
    async with door.enter("payscore-scaler") as channel:
        with pytest.raises(ChannelAccessRefused):
            await channel.declare_queue("payscore.trip-started", passive=False, durable=True)


async def test_every_queue_that_is_consumed_is_bounded(door: Door) -> None:
    listed = await asyncio.to_thread(
        door.broker.ctl, "list_queues", "--vhost", "payscore", "--formatter=json", "--quiet", "name", "policy"
    )
    rows = json.loads(listed[listed.index("[") :])

    assert {row["name"] for row in rows if row["policy"] == "payscore-bounded"} == set(QUEUES)


async def test_our_configuration_holds(broker: PrivateRabbitMQ) -> None:
    said = await asyncio.to_thread(broker.ctl, "environment")

    assert "{vm_memory_high_watermark,0.6}" in "".join(said.split())


def test_a_configuration_that_rabbitmq_does_not_know_keeps_it_from_starting(tmp_path: Path) -> None:
    """So that the broker of these tests shows that ours is known."""
    scripts = find_scripts()
    if scripts is None:
        pytest.skip("rabbitmq-server is not installed here; `make test` finds or installs it")

    class Misconfigured(PrivateRabbitMQ):
        def _write_configuration(self) -> None:
            super()._write_configuration()
            (self.directory / "rabbitmq.conf").write_text("queue_leader_locatr = balanced\n")

    amqp_port, distribution_port, epmd_port = free_ports(3)
    node = Misconfigured(tmp_path, scripts, amqp_port, distribution_port, epmd_port)
    try:
        with pytest.raises(SetupFailed):
            node.start()
    finally:
        node.remove()
