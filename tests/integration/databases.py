"""Databases for tests: an SQLite file, and a schema of its own in PostgreSQL; both gone afterwards."""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.engine import Engine

from payscore_worker.migrations import migrate
from payscore_worker.storage import Storage
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for

MIGRATED: Final[list[bytes]] = []
"""An SQLite file with our tables, once a test has needed one."""


TOLD: Final[list[tuple[str, tuple[Any, ...]]]] = []
"""What PostgreSQL was told when it was first migrated, as far as it changes anything."""

CHANGES: Final = ("CREATE ", "ALTER ", "INSERT ", "UPDATE ", "DELETE ")


async def make_tables(database_url: str) -> None:
    """Make our tables in an empty database, as migrating makes them, for a tenth of the time after the first.

    SQLite gets a copy of the file, and PostgreSQL is told the same once more, in one go.
    """
    file = make_url(database_url).database
    if not database_url.startswith("sqlite") or file is None:
        await _make_tables_in_postgresql(database_url)
    elif MIGRATED:
        Path(file).write_bytes(MIGRATED[0])  # noqa: ASYNC240 - a few pages
    else:
        await migrate(database_url)
        with closing(sqlite3.connect(file)) as connection:
            MIGRATED.append(connection.serialize())


async def _make_tables_in_postgresql(database_url: str) -> None:
    if not TOLD:
        event.listen(Engine, "before_cursor_execute", _listen)
        try:
            await migrate(database_url)
        finally:
            event.remove(Engine, "before_cursor_execute", _listen)
        return
    plain = [statement for statement, parameters in TOLD if not parameters]
    others = [(statement, parameters) for statement, parameters in TOLD if parameters]
    async with engine_for(database_url) as engine, engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(";".join(plain))
        for statement, parameters in others:
            await driver.execute(statement, *parameters)


def _listen(*told: Any) -> None:
    _connection, _cursor, statement, parameters, *_ = told
    if statement.strip().startswith(CHANGES):
        TOLD.append((statement, tuple(parameters)))


def postgresql_url() -> str:
    url = os.environ.get("PAYSCORE_TEST_DATABASE_URL", "")
    if not url:
        pytest.skip("PAYSCORE_TEST_DATABASE_URL names no PostgreSQL; `make test` finds or starts one")
    return url


@asynccontextmanager
async def postgresql_schema() -> AsyncIterator[str]:
    """Make a schema, and give the URL that leads into it."""
    url, schema = postgresql_url(), f"payscore_test_{uuid4().hex[:12]}"
    async with engine_for(url) as engine:
        async with engine.begin() as connection:
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
        try:
            yield f"{url}{'&' if '?' in url else '?'}search_path={schema}"
        finally:
            async with engine.begin() as connection:
                await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
        return
    async with postgresql_schema() as url:
        yield url


@pytest.fixture
async def database_url(empty_database_url: str) -> str:
    await make_tables(empty_database_url)
    return empty_database_url


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[Storage]:
    storage = await open_storage(database_url)
    yield storage
    await storage.aclose()
