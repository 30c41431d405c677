"""Two PostgreSQL, one the synchronous standby of the other, each behind a PgBouncer of its own that can be cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.storage.servers import Server, a_pooler, a_server, a_standby, follow
from tests.proxy import Proxy

DATABASE: Final = "postgres"


@dataclass(frozen=True, slots=True)
class Machine:
    """A PostgreSQL, and the only way to it."""

    server: Server
    way: Proxy
    """To its PgBouncer."""


class Pair:
    """A primary and its standby."""

    def __init__(self, primary: Machine, standby: Machine) -> None:
        self.primary = primary
        self.standby = standby
        both = f"127.0.0.1:{primary.way.port},127.0.0.1:{standby.way.port}"
        self.url = f"postgresql://payscore:any@{both}/{DATABASE}?pgbouncer=true&target_session_attrs=primary"
        """Of both, through their poolers: what a worker is given."""
        both = f"{primary.server.address},{standby.server.address}"
        self.direct_url = primary.server.url(DATABASE).replace(primary.server.address, both)
        """Past poolers and faults."""

    async def promote(self) -> None:
        """Make the standby the primary: what an operator's tool does once it has fenced the old one."""
        await asyncio.to_thread(self.standby.server.postgresql.promote)
        self.primary, self.standby = self.standby, self.primary

    async def go_on_alone(self) -> None:
        """Have the primary wait for no standby any more: what an operator's tool does when the standby is gone."""
        postgresql = self.primary.server.postgresql
        with (postgresql.data / "postgresql.conf").open("a") as configuration:
            configuration.write("synchronous_standby_names = ''\n")
        await asyncio.to_thread(postgresql.reload)

    async def make_whole(self) -> None:
        """Have whoever is no primary follow the one that is."""
        await asyncio.to_thread(self.standby.server.postgresql.kill)
        self.standby.way.cut()
        self.standby.way.thaw()
        await self.standby.way.accept()
        await asyncio.to_thread(follow, self.primary.server, self.standby.server)


@asynccontextmanager
async def a_pair(directory: Path) -> AsyncIterator[Pair]:
    """Start both."""
    async with AsyncExitStack() as stack:
        primary = stack.enter_context(a_server(directory / "postgresql1"))
        standby = stack.enter_context(a_standby(primary, directory / "postgresql2"))
        machines = []
        for server in (primary, standby):
            pooler = await stack.enter_async_context(a_pooler(server, directory))
            way = await stack.enter_async_context(Proxy(f"postgresql+asyncpg://{pooler}").running())
            machines.append(Machine(server, way))
        yield Pair(*machines)
