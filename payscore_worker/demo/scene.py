"""A scene to play on: names at the broker, a database, a directory and the roles, all of them gone afterwards."""

import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec
from sqlalchemy import text

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.demo.stage import Stage, set_stage
from payscore_worker.messaging.link import connect
from payscore_worker.messaging.topology import Topology
from payscore_worker.migrations import migrate
from payscore_worker.settings import BrokerSettings
from payscore_worker.storage.engine import engine_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a demo plays."""

    broker: BrokerSettings
    topology: Topology
    database_url: str
    directory: Path
    stage: Stage


@asynccontextmanager
async def a_scene(
    *,
    family: str,
    amqp_url: str,
    database_url: str | None = None,
    keep: Path | None = None,
    retry_delays: str | None = None,
    accounts: Mapping[str, str] | None = None,
) -> AsyncIterator[Scene]:
    """Build one; `database_url`, `keep` and `retry_delays` as in Show, `accounts` as in set_stage.

    Raises:
        StageFailed: a process did not come up.
        Retryable: RabbitMQ or the database cannot be reached.

    """
    broker = BrokerSettings(amqp_url=amqp_url, amqp_prefix=f"demo-{uuid4().hex[:8]}.")
    if retry_delays is not None:
        broker = msgspec.structs.replace(broker, retry_delays=retry_delays)
    topology = make_topology(broker)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(_directory(keep))
        own_database_url = await stack.enter_async_context(_database(database_url, directory))
        await stack.enter_async_context(_names_at(broker, topology))
        settings = {
            "PAYSCORE_AMQP_URL": broker.amqp_url,
            "PAYSCORE_AMQP_PREFIX": broker.amqp_prefix,
            "PAYSCORE_RETRY_DELAYS": broker.retry_delays,
            "PAYSCORE_DATABASE_URL": own_database_url,
        }
        stage = await stack.enter_async_context(
            set_stage(settings=settings, family=family, directory=directory, accounts=accounts)
        )
        yield Scene(broker=broker, topology=topology, database_url=own_database_url, directory=directory, stage=stage)


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """Make the directory of logs, keys and database."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="payscore-demo-") as name:
        yield Path(name)


@asynccontextmanager
async def _database(url: str | None, directory: Path) -> AsyncIterator[str]:
    """Make a database for the demo alone: a file, or a schema in the PostgreSQL that the URL names."""
    if url is None or url.startswith("sqlite"):
        yield f"sqlite+aiosqlite:///{directory / 'demo.db'}"
        return
    schema = f"payscore_demo_{uuid4().hex[:8]}"
    async with engine_for(url) as engine:
        async with engine.begin() as connection:
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
        try:
            separator = "&" if "?" in url else "?"
            own = f"{url}{separator}search_path={schema}"
            await migrate(own)
            yield own
        finally:
            async with engine.begin() as connection:
                await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@asynccontextmanager
async def _names_at(broker: BrokerSettings, topology: Topology) -> AsyncIterator[None]:
    """Take our names at the broker, and give them back."""
    async with await connect(broker.amqp_url, "payscore-worker demo") as connection:
        await topology.declare_on(connection)
    try:
        yield
    finally:
        async with (
            await connect(broker.amqp_url, "payscore-worker demo") as connection,
            connection.channel() as channel,
        ):
            await topology.delete(channel)
