"""Brings the database to the current schema, one run at a time, and without holding up whoever works on it.

On PostgreSQL each migration is a transaction of its own, in which no statement waits long for a lock: what waits for a
table keeps everybody else from it. Indexes of tables that hold rows are built beside the work (`alter.create_index`).
On SQLite all migrations are one transaction. What is set or locked ends with its transaction: behind a pooler the next
one may be on another connection of the server.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, event, insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payscore_worker import version
from payscore_worker.errors import StorageUnavailable
from payscore_worker.storage import SCHEMA_REVISION, Schema, see_that_it_fits
from payscore_worker.storage.engine import BROKEN, driver_reason, engine_for, lock_from_the_start, schema_of
from payscore_worker.storage.tables import schema_range
from payscore_worker.storage.url import Postgresql, read_url

MIGRATE_TIMEOUT_SECONDS: Final = 3_600.0
"""The indexes of a hundred million rows take some minutes each; one that takes longer wants a plan of its own."""

TABLE_LOCK_TIMEOUT: Final = "2s"
"""How long a change waits for a table, and everybody else behind it: shorter than any statement of ours may take."""

TABLE_LOCK_SECONDS: Final = 300.0
"""For how long a change is tried again that could not have its table, because of somebody's long transaction."""

AGAIN_SECONDS: Final = 0.5
"""The pause between two tries; the work that waited goes on in it."""

log = structlog.stdlib.get_logger(__name__)


async def migrate(database_url: str) -> Schema:
    """Bring the database to the current schema; one that a newer release has migrated is left as it is.

    Raises:
        SchemaOutdated: a newer release has migrated it, and this one must not run on it.
        StorageUnavailable: the database cannot be reached, or somebody does not let go of a table.

    """
    try:
        async with asyncio.timeout(MIGRATE_TIMEOUT_SECONDS), engine_for(database_url) as engine, _alone(engine):
            return await _migrate(engine, is_pooled=_is_pooled(database_url))
    except TimeoutError as error:
        raise StorageUnavailable(f"migrating: not done after {MIGRATE_TIMEOUT_SECONDS:g} seconds") from error
    except BROKEN as error:
        raise StorageUnavailable(f"migrating: {driver_reason(error)}") from error


async def read_schema(database_url: str) -> Schema:
    """Read what the database says of its schema."""
    async with engine_for(database_url) as engine, engine.connect() as connection:
        return await connection.run_sync(schema_of)


def newest_revision() -> str | None:
    """Name the newest migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


async def _migrate(engine: AsyncEngine, *, is_pooled: bool) -> Schema:
    """Migrate, and try again where somebody held a table: what is done stays done."""
    until = time.monotonic() + TABLE_LOCK_SECONDS
    while True:
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(_upgrade, is_pooled=is_pooled)
        except DBAPIError as error:
            if not _is_in_use(error) or time.monotonic() > until:
                raise
            log.warning("migration_waits", reason=driver_reason(error))
        await asyncio.sleep(AGAIN_SECONDS)


def _upgrade(connection: Connection, *, is_pooled: bool) -> Schema:
    schema = schema_of(connection)
    if schema.is_ahead:
        see_that_it_fits(schema)
        return schema
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["is_pooled"] = is_pooled
    if connection.dialect.name == "postgresql":
        connection.commit()  # each migration begins its own
    command.upgrade(config, "head")
    known = Schema(revision=SCHEMA_REVISION, runs_from=_runs_from(), migrated_by=version())
    if (schema.revision, schema.runs_from) != (known.revision, known.runs_from):
        _remember(connection, known)
    connection.commit()
    return known


def _runs_from() -> str:
    """Read from the newest migration which code may still run."""
    newest = ScriptDirectory.from_config(_config()).get_revision(SCHEMA_REVISION)
    runs_from: str = newest.module.RUNS_FROM
    return runs_from


def _remember(connection: Connection, schema: Schema) -> None:
    connection.execute(delete(schema_range))
    values = {"revision": schema.revision, "runs_from": schema.runs_from, "migrated_by": schema.migrated_by}
    connection.execute(insert(schema_range).values(values))


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    """Let runs that start together wait for each other: the first migrates, the others find it done."""
    if engine.dialect.name == "sqlite":
        lock_from_the_start(engine)
        yield
        return
    _bound_each_transaction(engine)
    async with engine.connect() as connection:
        holding = await connection.execution_options(isolation_level="READ COMMITTED")
        while not await _has_lock(holding):
            await holding.rollback()
            await asyncio.sleep(AGAIN_SECONDS)
        await holding.execute(text(_WITHOUT_SNAPSHOT))
        yield  # the lock ends with the transaction


async def _has_lock(connection: AsyncConnection) -> bool:
    """Try, rather than wait in the database: an index is built only when no statement from before is under way."""
    return bool(await connection.scalar(text(_LOCK)))


_LOCK: Final = (
    "SELECT pg_try_advisory_xact_lock(hashtext('payscore-worker migrate'), hashtext(coalesce(current_schema(), '')))"
)


_WITHOUT_SNAPSHOT: Final = "SET LOCAL idle_in_transaction_session_timeout = 0"
"""A question that was asked last keeps its snapshot until the next statement, and an index that we build while we hold
the lock would wait for that, for ever. This statement has none."""


def _bound_each_transaction(engine: AsyncEngine) -> None:
    """Let no statement wait long for a table, and no limit end what takes its time: a role's are for its questions."""

    @event.listens_for(engine.sync_engine, "begin")
    def bound(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            for setting, value in _BOUNDS.items():
                connection.exec_driver_sql(f"SET LOCAL {setting} = '{value}'")


_BOUNDS: Final = {
    "lock_timeout": TABLE_LOCK_TIMEOUT,
    "statement_timeout": "0",
}


def _is_pooled(database_url: str) -> bool:
    url = read_url(database_url)
    return isinstance(url, Postgresql) and url.is_pooled


def _is_in_use(error: DBAPIError) -> bool:
    """Tell whether it failed because somebody else works on the table, or on the SQLite file."""
    state = getattr(error.orig, "sqlstate", None)
    return state in _IN_USE or "database is locked" in str(error.orig)


_IN_USE: Final = ("55P03", "40P01")
"""Of PostgreSQL: lock_not_available, deadlock_detected."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
