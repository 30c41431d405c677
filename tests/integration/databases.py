"""Databases for tests: an SQLite file, and a schema of its own in PostgreSQL; both gone afterwards."""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

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
    url, schema = await _make_schema()
    try:
        yield url
    finally:
        await _drop(schema)


async def _make_schema() -> tuple[str, str]:
    url, schema = postgresql_url(), f"payscore_test_{uuid4().hex[:12]}"
    await _tell(f"CREATE SCHEMA {schema}")
    return f"{url}{'&' if '?' in url else '?'}search_path={schema}", schema


async def _drop(schema: str) -> None:
    await _tell(f"DROP SCHEMA {schema} CASCADE")


async def _tell(statement: str) -> None:
    async with engine_for(postgresql_url()) as engine, engine.begin() as connection:
        await connection.execute(text(statement))


# --- A schema that already has our tables ---


@dataclass(frozen=True, slots=True)
class Furnished:
    """A schema with our tables, none of which has a row of a test."""

    url: str
    schema: str
    shape: str
    """As it was when its tables were made."""


KEPT: Final[list[Furnished]] = []
"""Those that tests of this process have left as they were: making one costs ten times what emptying one does."""

SHAPE: Final = """
WITH our AS (SELECT current_schema()::regnamespace AS schema),
     relation AS (SELECT c.* FROM pg_class c JOIN our ON c.relnamespace = our.schema)
SELECT md5(string_agg(line, ';' ORDER BY line)) FROM (
    SELECT concat_ws(' ', relname, relkind, relacl, reloptions, relhastriggers) FROM relation
    UNION ALL
    SELECT concat_ws(' ', r.relname, a.attnum, a.attname, a.atttypid::regtype, a.attnotnull,
                     pg_get_expr(d.adbin, d.adrelid))
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid)
    FROM relation r JOIN pg_index i ON i.indexrelid = r.oid
    UNION ALL
    SELECT concat_ws(' ', k.conname, k.conrelid::regclass, pg_get_constraintdef(k.oid), k.convalidated)
    FROM pg_constraint k JOIN our ON k.connamespace = our.schema
    UNION ALL
    SELECT concat_ws(' ', p.proname, p.prosrc) FROM pg_proc p JOIN our ON p.pronamespace = our.schema
    UNION ALL
    SELECT version_num FROM alembic_version
    UNION ALL
    SELECT schema_range::text FROM schema_range
) AS lines (line)
"""
"""All that migrating has made, rows included."""

EMPTY: Final = """
DO $$
DECLARE one record;
BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', one.tablename);
    END LOOP;
    FOR one IN SELECT tablename FROM pg_tables
        WHERE schemaname = current_schema() AND tablename NOT IN ('alembic_version', 'schema_range')
    LOOP
        EXECUTE format('DELETE FROM %I', one.tablename);
    END LOOP;
    FOR one IN SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema()
    LOOP
        PERFORM setval(one.sequencename::regclass, 1, false);
    END LOOP;
END $$
"""
"""Delete every row that migrating has not made, and count from one again.

The locks wait for whatever transaction is still on its way: what it inserts, a DELETE would not see.
"""

LOCK_TIMEOUT: Final = "5s"
"""Where somebody still has a transaction open after a test, the next one gets another schema."""


@asynccontextmanager
async def postgresql_tables() -> AsyncIterator[str]:
    """Give the URL of a schema with our tables and no rows: one that another test has left as it was, or a new one."""
    furnished = KEPT.pop() if KEPT else await _furnished()
    try:
        yield furnished.url
    finally:
        if await _is_as_it_was(furnished):
            KEPT.append(furnished)
        else:
            await _drop(furnished.schema)


async def give_back() -> None:
    """Drop those that were kept."""
    while KEPT:
        await _drop(KEPT.pop().schema)


async def _furnished() -> Furnished:
    url, schema = await _make_schema()
    try:
        await make_tables(url)
        async with engine_for(url) as engine, engine.connect() as connection:
            return Furnished(url=url, schema=schema, shape=await _shape(connection))
    except BaseException:
        await _drop(schema)
        raise


async def _shape(connection: AsyncConnection) -> str:
    return str((await connection.execute(text(SHAPE))).scalar_one())


async def _is_as_it_was(furnished: Furnished) -> bool:
    """Delete every row; false where more has changed than rows, or somebody still holds them."""
    try:
        async with engine_for(furnished.url) as engine, engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            if await _shape(connection) != furnished.shape:
                return False
            await connection.execute(text(EMPTY))
            return True
    except DBAPIError:
        return False


# --- What tests ask for ---


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Name the kind of database."""
    return str(request.param)


@pytest.fixture
async def empty_database_url(dialect: str, tmp_path: Path) -> AsyncIterator[str]:
    if dialect == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
        return
    async with postgresql_schema() as url:
        yield url


@pytest.fixture
async def database_url(dialect: str, tmp_path: Path) -> AsyncIterator[str]:
    if dialect == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
        await make_tables(url)
        yield url
        return
    async with postgresql_tables() as url:
        yield url


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[Storage]:
    storage = await open_storage(database_url)
    yield storage
    await storage.aclose()
