from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.messaging.topology import Topology
from payscore_worker.storage import Storage
from payscore_worker.storage.engine import engine_for
from tests.integration.console.site import Site, a_site
from tests.integration.databases import database_url, dialect, storage
from tests.integration.messaging.desk import Desk, a_desk, a_topology
from tests.integration.settlement.town import Town, a_town

__all__ = ["database_url", "dialect", "storage"]


@pytest.fixture
async def town(storage: Storage) -> AsyncIterator[Town]:
    async with a_town(storage, "payafter") as town:
        yield town


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_for(database_url) as engine:
        yield engine


@pytest.fixture
def topology() -> Topology:
    """Name everything; it stands at the broker in tests that ask for a desk."""
    return a_topology()


@pytest.fixture
async def desk(amqp_url: str, topology: Topology) -> AsyncIterator[Desk]:
    async with a_desk(amqp_url, topology) as desk:
        yield desk


@pytest.fixture
async def site(town: Town, database_url: str, amqp_url: str, topology: Topology) -> AsyncIterator[Site]:
    """A console without a token, and a browser on the same machine."""
    async with a_site(town, database_url, amqp_url, topology) as site:
        yield site


@pytest.fixture
async def guarded_site(town: Town, database_url: str, amqp_url: str, topology: Topology) -> AsyncIterator[Site]:
    """A console with a token, and a browser that has not signed in."""
    async with a_site(town, database_url, amqp_url, topology, token="correct-horse-battery") as site:
        yield site
