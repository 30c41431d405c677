"""One event of an exchange is overheard, beside the queues that it is for."""

import asyncio
from collections.abc import Iterable

import aio_pika
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

from payscore_worker.messaging.overhearing import Overheard, overhearing
from payscore_worker.messaging.topology import NOTIFICATIONS
from tests.integration.messaging.desk import Desk
from tests.integration.messaging.waiting import eventually

ECHO = "security_echo.success"


async def publish(desk: Desk, routing_key: str, bodies: Iterable[bytes]) -> None:
    async with desk.connection.channel(publisher_confirms=True) as channel:
        exchange = await channel.get_exchange(desk.topology.name(NOTIFICATIONS), ensure=False)
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), routing_key)


async def until(overheard: Overheard, body: bytes, *, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        await overheard.until(body.__eq__)


async def test_the_one_that_is_waited_for_is_heard_among_others(desk: Desk) -> None:
    async with overhearing(desk.connection, desk.topology, NOTIFICATIONS, ECHO) as overheard:
        await publish(desk, ECHO, [b"another", b"ours", b"one more"])

        await until(overheard, b"ours")


async def test_what_has_another_key_is_not_heard(desk: Desk) -> None:
    async with overhearing(desk.connection, desk.topology, NOTIFICATIONS, ECHO) as overheard:
        await publish(desk, "payscore.user_paid", [b"ours"])

        with pytest.raises(TimeoutError):
            await until(overheard, b"ours", seconds=0.2)


async def test_what_is_for_a_queue_comes_there_all_the_same(desk: Desk) -> None:
    async with overhearing(desk.connection, desk.topology, NOTIFICATIONS, "payscore.user_paid") as overheard:
        await publish(desk, "payscore.user_paid", [b"ours"])
        await until(overheard, b"ours")

    assert (await desk.take("payscore.order-paid")).body == b"ours"


async def test_nothing_of_it_stays(desk: Desk, amqp_url: str) -> None:
    async with (
        await aio_pika.connect(amqp_url) as connection,
        overhearing(connection, desk.topology, NOTIFICATIONS, ECHO) as overheard,
    ):
        name = overheard.queue

    async def is_gone() -> bool:
        async with desk.connection.channel() as channel:
            try:
                await channel.declare_queue(name, passive=True)
            except ChannelNotFoundEntity:
                return True
        return False

    await eventually(is_gone)
