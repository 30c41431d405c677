"""From a database URL to the storage behind it."""

from pathlib import Path

from sqlalchemy.engine import make_url

from payscore_worker.storage.port import Storage
from payscore_worker.storage.postgres import PostgresStorage
from payscore_worker.storage.sqlite import SqliteStorage


async def open_storage(database_url: str) -> Storage:
    """Open the storage; whether the schema stands is for the caller to ask.

    Raises:
        StorageUnavailable: the database cannot be reached.

    """
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return await SqliteStorage.open(Path(url.database or ""))
    return await PostgresStorage.open(url.set(drivername="postgresql").render_as_string(hide_password=False))
