"""A lane whose roles reach database, broker and WeChat Pay through proxies."""

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

import httpx
from sqlalchemy import text
from sqlalchemy.engine import make_url

from deploy.local.postgresql import PrivatePostgreSQL, start_postgresql
from deploy.local.processes import free_ports
from deploy.local.rabbitmq import PrivateRabbitMQ, start_rabbitmq
from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.settings import BrokerSettings, Environment
from payscore_worker.storage.engine import engine_for
from tests.crash.lane import HTTP_SECONDS, Lane, opened, own_schema
from tests.crash.orphans import NOTES, names_taken
from tests.faults.commands import commands
from tests.faults.desk import SturdyDesk, a_sturdy_desk
from tests.proxy import Proxy


class Place(StrEnum):
    """What is on the other side of a link of ours."""

    DATABASE = "database"
    BROKER = "broker"
    WECHATPAY = "WeChat Pay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """A broker and a database, and whether they are ours to restart."""

    amqp_url: str
    postgresql_url: str
    rabbitmq: PrivateRabbitMQ | None = None
    postgresql: PrivatePostgreSQL | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a fault may lay hands on."""

    lane: Lane
    desk: SturdyDesk
    proxies: dict[Place, Proxy]
    servers: Servers
    database_url: str
    """Into our schema, past the proxy."""
    account: str
    """As whom the worker logs in."""
    directory: Path
    seeds: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def chance(self) -> random.Random:
        """Throw other dice for every case, and the same ones in every run."""
        return random.Random(next(self.seeds))  # noqa: S311 - no secret

    async def sql(self, *statements: str) -> None:
        """Do something to our schema."""
        async with engine_for(self.database_url) as engine, engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))


@asynccontextmanager
async def private_servers(directory: Path) -> AsyncIterator[Servers]:
    """Start a broker and a database that nobody else uses."""
    rabbitmq, postgresql = await asyncio.gather(
        asyncio.to_thread(start_rabbitmq, directory / "rabbitmq"),
        asyncio.to_thread(start_postgresql, directory / "postgresql"),
    )
    try:
        yield Servers(amqp_url=rabbitmq.url, postgresql_url=postgresql.url, rabbitmq=rabbitmq, postgresql=postgresql)
    finally:
        await asyncio.gather(asyncio.to_thread(rabbitmq.remove), asyncio.to_thread(postgresql.remove))


@asynccontextmanager
async def a_site(servers: Servers, directory: Path, settings: dict[str, str]) -> AsyncIterator[Site]:
    """Build a lane behind proxies, and leave broker and database as they were."""
    simulator_port, *ports = free_ports(6)
    retry_delays = Environment(settings, env_file=Path(os.devnull)).read(BrokerSettings).retry_delays
    async with AsyncExitStack() as stack:
        names = stack.enter_context(
            names_taken(
                "faults",
                amqp_url=servers.amqp_url,
                retry_delays=retry_delays,
                postgresql_url=servers.postgresql_url,
                notes=NOTES if servers.rabbitmq is None else directory,  # servers of our own take their names along
            )
        )
        directory /= names.id
        directory.mkdir()
        topology = make_topology(names.broker)
        schema_url = await stack.enter_async_context(own_schema(servers.postgresql_url, names.schema))
        _, engine = await stack.enter_async_context(opened(schema_url))
        worker_url = await stack.enter_async_context(_account(schema_url))
        proxies = {
            place: await stack.enter_async_context(Proxy(url).running(port))
            for (place, url), port in zip(
                {
                    Place.DATABASE: worker_url,
                    Place.BROKER: servers.amqp_url,
                    Place.WECHATPAY: f"http://127.0.0.1:{simulator_port}",
                }.items(),
                ports[2:],
                strict=True,
            )
        }
        desk = await stack.enter_async_context(a_sturdy_desk(servers.amqp_url, topology))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=HTTP_SECONDS))
        lane = Lane(
            forks=await stack.enter_async_context(commands(directory)),
            desk=desk,
            http=http,
            directory=directory,
            ports=[simulator_port, *ports[:2]],
            keys=directory.parent / "keys",
            settings={
                **settings,
                "PAYSCORE_AMQP_URL": proxies[Place.BROKER].url,
                "PAYSCORE_AMQP_PREFIX": names.broker.amqp_prefix,
                "PAYSCORE_API_BASE_URLS": proxies[Place.WECHATPAY].url,
            },
            databases={"postgresql": (proxies[Place.DATABASE].url, engine)},
        )
        stack.push_async_callback(lane.close)
        await lane.start_simulator()
        yield Site(
            lane=lane,
            desk=desk,
            proxies=proxies,
            servers=servers,
            database_url=schema_url,
            account=str(make_url(worker_url).username),
            directory=directory,
        )


@asynccontextmanager
async def _account(schema_url: str) -> AsyncIterator[str]:
    """Make an account for the worker alone: PostgreSQL turns no superuser away, however many have come."""
    url = make_url(schema_url)
    schema, name = url.query["search_path"], f"payscore_{uuid4().hex[:8]}"
    async with engine_for(schema_url) as engine:
        async with engine.begin() as connection:
            for statement in (
                f"CREATE ROLE {name} LOGIN PASSWORD '{name}'",
                f"GRANT USAGE ON SCHEMA {schema} TO {name}",
                f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}",
                f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {name}",
            ):
                await connection.execute(text(statement))
        try:
            yield url.set(username=name, password=name).render_as_string(hide_password=False)
        finally:
            async with engine.begin() as connection:
                for statement in (f"DROP OWNED BY {name}", f"DROP ROLE {name}"):
                    await connection.execute(text(statement))
