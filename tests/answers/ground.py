"""The real database that cases are played on, one after the other: opened once, wiped before each."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import msgspec

from payscore_worker.migrations import migrate
from payscore_worker.storage import Storage, sqlite
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.postgres import PostgresStorage
from payscore_worker.storage.sqlite import SqliteStorage
from payscore_worker.storage.tables import metadata, moment_from_text
from tests.answers.leaping import leaping
from tests.integration.databases import postgresql_schema

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
"""Where SQLite need not wait for a disk; what is certified is not the disk."""

TABLES: Final = tuple(table.name for table in metadata.sorted_tables if table.name != "alembic_version")

NEXT_DUE: Final = """
    SELECT min(CASE WHEN claimed_until > due_at THEN claimed_until ELSE due_at END) AS due_at
    FROM (
        SELECT due_at, claimed_until FROM trip
        UNION ALL SELECT due_at, claimed_until FROM refund
        UNION ALL SELECT due_at, claimed_until FROM authorisation
    ) AS one_case
    WHERE due_at IS NOT NULL
"""
"""A case that somebody has claimed is due again when the claim ends."""

Row = dict[str, Any]


class Ground:
    """A database as the judge sees it: wiped, and read past the code that is judged."""

    def __init__(self, storage: Storage, *, on_written: Callable[[], None] = lambda: None) -> None:
        self._storage = storage
        self.on_written = on_written
        self.storage = cast("Storage", _Watched(storage, self._written))

    def _written(self) -> None:
        self.on_written()

    async def wipe(self) -> None:
        """Forget every trip."""
        deletes = [f"DELETE FROM {table}" for table in TABLES]  # noqa: S608 - names of our own
        if isinstance(self._storage, PostgresStorage):
            with leaping().real():
                await self._storage._pool.execute(";".join(deletes))
            return
        for delete in deletes:
            await self._read(delete)

    async def next_due(self) -> datetime | None:
        """Say when a reconciler has something to do."""
        (row,) = await self._read(NEXT_DUE)
        due_at = row["due_at"]
        return moment_from_text(due_at) if isinstance(due_at, str) else cast("datetime | None", due_at)

    async def trip(self, trip_id: str) -> Row | None:
        """Read a trip as it is stored."""
        rows = await self._read(f"SELECT * FROM trip WHERE trip_id = '{trip_id}'")  # noqa: S608 - a name of our own
        return rows[0] if rows else None

    async def refunds(self) -> list[Row]:
        """Read the refunds as they are stored."""
        return await self._read("SELECT * FROM refund ORDER BY refund_id")

    async def calls(self) -> list[Row]:
        """Read the journal."""
        return await self._read("SELECT * FROM wechatpay_call ORDER BY kind, generation")

    async def _read(self, statement: str) -> list[Row]:
        with leaping().real():
            if isinstance(self._storage, SqliteStorage):
                return await self._storage._do(lambda db: db.execute(statement).fetchall())
            if isinstance(self._storage, PostgresStorage):
                return [dict(row) for row in await self._storage._pool.fetch(statement)]
        raise TypeError(f"what database is {type(self._storage).__name__}?")


class _Watched:
    """A storage whose work takes none of the cases' time, and that says when something was written."""

    def __init__(self, storage: Storage, on_written: Callable[[], None]) -> None:
        self._storage = storage
        self._on_written = on_written

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        return self._watched(name, method) if inspect.iscoroutinefunction(method) else method

    def _watched(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def watched(*arguments: Any, **options: Any) -> Any:
            with leaping().real():
                result = await method(*arguments, **options)
            if name not in READING:
                self._on_written()
            return result

        return watched


READING: Final = frozenset(
    {
        "load",
        "load_by_out_order_no",
        "load_refund",
        "load_refund_by_out_refund_no",
        "load_authorisation",
        "authorisations_of",
        "last_call",
        "service_of",
        "claim_outbox",
        "claim_due",
    }
)
"""After these nothing new is due."""


@asynccontextmanager
async def a_ground(database: str) -> AsyncIterator[Ground]:
    """Make a database of this name's kind, and give it back."""
    if database == "sqlite":
        with TemporaryDirectory(prefix="answers-", dir=MEMORY if MEMORY.is_dir() else None) as directory:
            async with _opened(f"sqlite+aiosqlite:///{Path(directory) / 'answers.db'}") as ground:
                yield ground
        return
    with leaping().real():
        schema = postgresql_schema()
        url = await schema.__aenter__()
    try:
        async with _opened(f"{url}&options=-c%20synchronous_commit%3Doff") as ground:
            yield ground
    finally:
        with leaping().real():
            await schema.__aexit__(None, None, None)


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Ground]:
    with leaping().real():
        await migrate(url)
        storage = await open_storage(url)
        if isinstance(storage, SqliteStorage):
            storage._tickets = _AtOnce(storage)  # type: ignore[assignment]
    try:
        yield Ground(storage)
    finally:
        with leaping().real():
            await storage.aclose()


class _AtOnce:
    """Stands for the queue of SQLite's thread: each job is done as it is put there, and costs no change of threads."""

    def __init__(self, storage: SqliteStorage) -> None:
        self._queue = storage._tickets
        self.get, self.get_nowait = self._queue.get, self._queue.get_nowait
        self._connection = sqlite._connect(storage._path)

    def put(self, ticket: Any) -> None:
        if ticket is None:
            self._connection.close()
            self._queue.put(None)
        else:
            sqlite._run_batch(self._connection, [ticket])


def members(value: object) -> Row | None:
    """Read a JSON column of either database."""
    if isinstance(value, str):
        return cast("Row | None", msgspec.json.decode(value))
    return cast("Row | None", value)
