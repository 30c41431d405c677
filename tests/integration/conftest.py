"""What every integration test may ask for."""

from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.local.rabbitmq import PrivateRabbitMQ, find_scripts, start_rabbitmq
from tests.integration.messaging.desk import Desk, a_desk, a_topology


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
