"""An SQLAlchemy engine, for what is rare: migrations and reports. The worker does without, and starts sooner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from payscore_worker.storage.schema import Schema
from payscore_worker.storage.statements import SCHEMA

BROKEN: Final = (DBAPIError, OSError, asyncpg.PostgresError)
"""What is raised where the database is away or refuses a statement; asyncpg's own while it connects."""


@asynccontextmanager
async def engine_for(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Make an engine that keeps no connection."""
    url, connect_args = _split_server_settings(make_url(database_url))
    engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args, json_deserializer=_as_it_is)
    try:
        yield engine
    finally:
        await engine.dispose()


def schema_of(connection: Connection) -> Schema:
    """Read what the database says of its schema."""
    there = inspect(connection).get_table_names()
    for table, statement in SCHEMA.items():
        if table in there and (row := connection.execute(text(statement)).mappings().one_or_none()) is not None:
            return Schema(**row)
    return Schema(revision=None)


def cause_of(error: Exception) -> str:
    """Name what the driver raised, in one line and without the statement and its values."""
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    return type(cause).__name__


def lock_from_the_start(engine: AsyncEngine) -> None:
    """Let no other writer in between what we read and what we write: SQLite would begin with the first write only."""

    @event.listens_for(engine.sync_engine, "connect")
    def leave_transactions_to_us(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's event
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _split_server_settings(url: URL) -> tuple[URL, dict[str, object]]:
    """Give asyncpg what a URL may say of the server (search_path and the like), which SQLAlchemy would not pass on."""
    if url.get_backend_name() == "sqlite" or not url.query:
        return url, {}
    return url.set(query={}), {"server_settings": {name: str(value) for name, value in url.query.items()}}


def _as_it_is(text: str) -> str:
    """Leave JSON to whoever reads the row: SQLite gives text, and so PostgreSQL should."""
    return text
