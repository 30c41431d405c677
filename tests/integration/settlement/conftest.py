from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payscore_worker.storage import Storage
from payscore_worker.storage.database import open_storage
from tests.integration.databases import make_tables, postgresql_tables
from tests.integration.settlement.town import Town, a_town


@pytest.fixture(params=["payafter on sqlite", "serviceorder on postgresql"])
def setting(request: pytest.FixtureRequest) -> str:
    """Both families and both databases; what they have to do with each other is nothing."""
    return str(request.param)


@pytest.fixture
def family(setting: str) -> str:
    return setting.partition(" ")[0]


@pytest.fixture
async def storage(setting: str, tmp_path: Path) -> AsyncIterator[Storage]:
    if setting.endswith("sqlite"):
        url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
        await make_tables(url)
        storage = await open_storage(url)
        yield storage
        await storage.aclose()
        return
    async with postgresql_tables() as url:
        storage = await open_storage(url)
        yield storage
        await storage.aclose()


@pytest.fixture
async def town(storage: Storage, family: str) -> AsyncIterator[Town]:
    async with a_town(storage, family) as town:
        yield town
