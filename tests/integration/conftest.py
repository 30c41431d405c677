"""What every integration test may ask for."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.local.processes import free_ports
from deploy.local.rabbitmq import PrivateRabbitMQ, find_scripts, start_rabbitmq
from tests.integration.databases import give_back
from tests.integration.messaging.desk import Desk, a_desk, a_topology


@pytest.fixture(scope="session", autouse=True)
def schemas_given_back() -> Iterator[None]:
    """Leave no schema behind that one test handed on to the next."""
    yield
    asyncio.run(give_back())


@pytest.fixture
async def desk(amqp_url: str) -> AsyncIterator[Desk]:
    """Our exchanges and queues under names of this test alone, and somebody who sits among them."""
    async with a_desk(amqp_url, a_topology()) as desk:
        yield desk


@pytest.fixture(scope="session")
def private_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A broker that a test may stop, starve or forbid things; it starts once for each process that runs tests."""
    if find_scripts() is None:
        pytest.skip("rabbitmq-server is not installed here")
    node = start_rabbitmq(tmp_path_factory.mktemp("rabbitmq"))
    yield node
    node.remove()


@pytest.fixture(scope="session")
def managed_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The AMQP URL of a broker on which tests may set policies, and that of its management API; it counts often."""
    if find_scripts() is None:
        pytest.skip("rabbitmq-server is not installed here")
    (port,) = free_ports(1)
    settings = (
        "management.tcp.ip = 127.0.0.1",
        f"management.tcp.port = {port}",
        "collect_statistics_interval = 500",
    )
    node = start_rabbitmq(tmp_path_factory.mktemp("managed"), settings=settings, plugins=("rabbitmq_management",))
    node.ctl("eval", "application:set_env(rabbit, quorum_tick_interval, 500).")
    yield node.url, f"http://guest:guest@127.0.0.1:{port}"
    node.remove()
