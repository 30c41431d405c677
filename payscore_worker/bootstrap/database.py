"""The database of a role or a command, as the settings name it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from payscore_worker.settings import DatabaseSettings, Environment, SettingsError
from payscore_worker.storage import Schema, Storage, see_that_it_fits
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.url import Told

CLOSE_SECONDS: Final = 3.0
"""A good-bye to the database is a few bytes; where nobody takes them, its connections are cut."""

log = structlog.stdlib.get_logger(__name__)


def database_url(environment: Environment) -> Told:
    """Tell the database's URL as its file says it now, or as it said last: a password may be changed while we run."""
    last = environment.read(DatabaseSettings).database_url

    def told() -> str:
        nonlocal last
        try:
            last = environment.read(DatabaseSettings).database_url
        except SettingsError as error:
            log.warning("database_url_not_read", reason=str(error))
        return last

    return told


@asynccontextmanager
async def database(environment: Environment) -> AsyncIterator[Storage]:
    """Open the database; an embedded one is brought to the current schema first.

    Raises:
        SchemaOutdated: this release cannot run on its schema; says what to do.

    """
    url = database_url(environment)
    storage = await open_storage(url)
    try:
        schema = await storage.schema()
        if schema.is_behind and url().startswith("sqlite"):
            await run_migrate(environment)
        else:
            see_that_it_fits(schema)
        yield storage
    finally:
        await close(storage)


async def close(storage: Storage) -> None:
    """Close the database, which may not answer; that it is closed already does not matter."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await storage.aclose()


async def run_migrate(environment: Environment) -> Schema:
    """Bring the database to the current schema; one that a newer release has migrated is left as it is."""
    from payscore_worker.migrations import migrate  # noqa: PLC0415 - alembic doubles the time that a worker takes to start

    return await migrate(environment.read(DatabaseSettings).database_url)
