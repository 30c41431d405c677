"""An SQLAlchemy engine, for what is rare: migrations and reports. The worker does without, and starts sooner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from payscore_worker.storage.connecting import COLLISIONS, POOLER, Connector
from payscore_worker.storage.schema import Schema
from payscore_worker.storage.statements import SCHEMA
from payscore_worker.storage.url import Sqlite, Told, UnreadableUrl, as_told, read_url

BROKEN: Final = (DBAPIError, OSError, asyncpg.PostgresError, UnreadableUrl)
"""What is raised where the database is away or refuses a statement; asyncpg's own while it connects."""


@asynccontextmanager
async def engine_for(database_url: str | Told) -> AsyncIterator[AsyncEngine]:
    """Make an engine that keeps no connection.

    Raises:
        UnreadableUrl: the URL cannot be used.

    """
    url, connect_args = _for_sqlalchemy(as_told(database_url))
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


def cause_of(error: BaseException) -> str:
    """Name what the driver raised, in one line and without the statement and its values."""
    cause = driver_error(error)
    return POOLER if isinstance(cause, COLLISIONS) else type(cause).__name__


def driver_error(error: BaseException) -> BaseException:
    """Find what the driver raised under what SQLAlchemy makes of it."""
    if isinstance(error, DBAPIError):
        return driver_error(error.orig) if error.orig is not None else error
    cause = error.__cause__
    return cause if isinstance(cause, asyncpg.PostgresError | asyncpg.InterfaceError) else error


def driver_reason(error: BaseException) -> str:
    """Say what the driver said, in one line and without the statement and its values."""
    cause = driver_error(error)
    return POOLER if isinstance(cause, COLLISIONS) else f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"


def lock_from_the_start(engine: AsyncEngine) -> None:
    """Let no other writer in between what we read and what we write: SQLite would begin with the first write only."""

    @event.listens_for(engine.sync_engine, "connect")
    def leave_transactions_to_us(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's event
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _for_sqlalchemy(told: Told) -> tuple[URL, dict[str, object]]:
    """Let SQLAlchemy connect as the hot path does; all that it is told is which database it speaks to."""
    url = read_url(told())
    if isinstance(url, Sqlite):
        return URL.create("sqlite+aiosqlite", database=str(url.file)), {}
    connect_args: dict[str, object] = {"async_creator_fn": Connector(told)}
    if url.is_pooled:  # a statement without a name is gone with its execution
        connect_args |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
    return URL.create("postgresql+asyncpg"), connect_args


def _as_it_is(text: str) -> str:
    """Leave JSON to whoever reads the row: SQLite gives text, and so PostgreSQL should."""
    return text
