from collections.abc import AsyncIterator

import pytest

from tests.proxy import Proxy


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    """The shared broker, behind something that can freeze and cut."""
    async with Proxy(amqp_url).running() as proxy:
        yield proxy
