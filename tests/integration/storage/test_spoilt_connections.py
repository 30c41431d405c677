"""A connection that no statement can use any more is not kept: the pool would hand it out again and again."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from payscore_worker.errors import StorageUnavailable
from payscore_worker.migrations import migrate
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.postgres import PostgresStorage
from tests.builders import NOW, a_trip
from tests.integration.databases import postgresql_schema


@pytest.fixture
async def postgres() -> AsyncIterator[PostgresStorage]:
    async with postgresql_schema() as url:
        await migrate(url)
        storage = await open_storage(url)
        assert isinstance(storage, PostgresStorage)
        yield storage
        await storage.aclose()


async def test_a_connection_to_a_server_that_became_a_standby_is_given_up(postgres: PostgresStorage) -> None:
    async with postgres._connection() as connection:
        await connection.execute("SET default_transaction_read_only = on")

    with pytest.raises(StorageUnavailable, match="read-only"):
        await postgres.save(a_trip(), due_at=None, now=NOW)

    assert await postgres.save(a_trip(), due_at=None, now=NOW)


async def test_a_connection_that_asyncpg_has_lost_track_of_is_given_up(
    postgres: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def backend() -> int:
        async with postgres._connection() as connection:
            return connection.get_server_pid()

    async def lose_track(*_: Any, **__: Any) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    before = await backend()
    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "fetchrow", lose_track)
        with pytest.raises(StorageUnavailable):
            await postgres.load("t1")

    assert await backend() != before
