"""Migrations make the schema that the tables describe."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from payscore_worker.errors import StorageUnavailable
from payscore_worker.migrations import migrate, newest_revision, read_schema
from payscore_worker.storage import SCHEMA_REVISION, Schema
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.tables import metadata


async def test_a_migrated_database_has_the_tables_that_the_code_describes(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with engine_for(database_url) as engine, engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    migrated = await read_schema(database_url)

    assert await migrate(database_url) == migrated
    assert await read_schema(database_url) == migrated
    assert (migrated.revision, migrated.runs_from) == (SCHEMA_REVISION, "0004")


def test_the_code_is_written_for_the_newest_migration() -> None:
    assert newest_revision() == SCHEMA_REVISION


async def test_storage_tells_which_schema_it_found(database_url: str) -> None:
    storage = await open_storage(database_url)

    assert await storage.schema() == await read_schema(database_url)
    await storage.aclose()


async def test_storage_without_a_schema_says_so(empty_database_url: str) -> None:
    storage = await open_storage(empty_database_url)

    assert await storage.schema() == Schema(revision=None)
    await storage.aclose()


async def test_a_database_that_was_never_migrated_has_no_revision(empty_database_url: str) -> None:
    assert await read_schema(empty_database_url) == Schema(revision=None)


async def test_a_postgresql_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StorageUnavailable, match="PostgreSQL"):
        await open_storage("postgresql+asyncpg://nobody@127.0.0.1:1/none")
