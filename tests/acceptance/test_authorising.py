"""A passenger authorises PayScore and leaves again, by messages and commands, through every role."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aio_pika
import pytest

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.settings import BrokerSettings, Environment
from tests.acceptance.commands import plain_environment
from tests.acceptance.test_commands import Desk, until

OPENID = "oPassenger"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    yield desk
    broker = Environment(plain_environment(desk.settings)).read(BrokerSettings)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker).delete(channel)


async def states(desk: Desk) -> list[str]:
    shown = await desk.run("authorisation", "show", OPENID, "--json")
    return [one["state"] for one in shown.document["authorisations"]]


async def test_a_passenger_authorises_and_leaves_through_every_role(desk: Desk) -> None:
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator))
        await roles.enter_async_context(desk.role("webhook", "webhook"))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await desk.publish("authorisation.requested", {"request_id": "q1", "openid": OPENID, "client": "h5"})

        async def is_open() -> bool:
            return await states(desk) == ["OPEN"]

        await until(is_open)
        await desk.publish("authorisation.ended", {"openid": OPENID, "reason": "注销账户"})

        async def is_closed() -> bool:
            return set(await states(desk)) == {"CLOSED"}

        await until(is_closed)
        again = await desk.run("authorisation", "end", OPENID, "--reason", "再次确认", "--yes", "--json")
        assert {one["state"] for one in again.document["authorisations"]} == {"CLOSED"}
