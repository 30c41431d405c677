"""Brings the database to the current schema, and tells whether it is there."""

import asyncio
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from payscore_worker.storage import SCHEMA_REVISION
from payscore_worker.storage.engine import engine_for

MIGRATE_TIMEOUT_SECONDS: Final = 300.0
"""A migration that takes longer than this wants a plan of its own."""


async def migrate(database_url: str) -> str:
    """Bring the database to the current schema; returns its revision."""
    async with (
        asyncio.timeout(MIGRATE_TIMEOUT_SECONDS),
        engine_for(database_url) as engine,
        engine.begin() as connection,
    ):
        await connection.run_sync(_upgrade)
    return SCHEMA_REVISION


async def schema_revision(database_url: str) -> str | None:
    """Read the revision that the database is at; None where it was never migrated."""
    async with engine_for(database_url) as engine, engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def newest_revision() -> str | None:
    """Name the newest migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
