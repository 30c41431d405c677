"""From a database URL to the storage behind it."""

from payscore_worker.storage.port import Storage
from payscore_worker.storage.postgres import PostgresStorage
from payscore_worker.storage.sqlite import SqliteStorage
from payscore_worker.storage.url import Sqlite, Told, as_told, read_url


async def open_storage(database_url: str | Told) -> Storage:
    """Open the storage; whether the schema stands is for the caller to ask.

    Raises:
        StorageUnavailable: the database cannot be reached.
        UnreadableUrl: the URL cannot be used.

    """
    told = as_told(database_url)
    url = read_url(told())
    return await SqliteStorage.open(url.file) if isinstance(url, Sqlite) else await PostgresStorage.open(told)
