from collections.abc import AsyncIterator

import pytest

from tests.integration.messaging.desk import Desk, a_desk, a_topology


@pytest.fixture
async def desk(amqp_url: str) -> AsyncIterator[Desk]:
    """Our exchanges and queues under names of this test alone, and somebody who sits among them."""
    async with a_desk(amqp_url, a_topology()) as desk:
        yield desk
