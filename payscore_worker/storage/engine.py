"""An SQLAlchemy engine, for what is rare: migrations and reports. The worker does without, and starts sooner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool


@asynccontextmanager
async def engine_for(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Make an engine that keeps no connection."""
    url, connect_args = _split_server_settings(make_url(database_url))
    engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args, json_deserializer=_as_it_is)
    try:
        yield engine
    finally:
        await engine.dispose()


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
