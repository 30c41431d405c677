"""The ground of a cluster's case: three brokers, two databases, and a lane on them."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from deploy.local.cluster import SETTINGS, PrivateCluster, start_cluster
from deploy.local.processes import free_ports
from deploy.local.rabbitmq import PrivateRabbitMQ
from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.migrations import migrate
from payscore_worker.settings import BrokerSettings, Environment
from payscore_worker.storage.engine import engine_for
from tests.clusters.pair import Pair, a_pair
from tests.crash.lane import HTTP_SECONDS, Lane
from tests.faults.commands import commands
from tests.faults.desk import SturdyDesk, a_sturdy_desk

CONSUMING: Final = "payscore-worker consume"
"""The name of the worker's consuming connections at the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a failure may lay hands on."""

    cluster: PrivateCluster
    pair: Pair
    lane: Lane
    desk: SturdyDesk
    directory: Path

    async def consumed(self) -> list[PrivateRabbitMQ]:
        """List the nodes through which the worker consumes."""
        told = await asyncio.to_thread(
            self.cluster.nodes[0].ctl, "--quiet", "list_connections", "port", "client_properties"
        )
        ports = {int(line.split("\t")[0]) for line in told.splitlines() if CONSUMING in line}
        return [node for node in self.cluster.nodes if node.amqp_port in ports]


@asynccontextmanager
async def a_ground(directory: Path, *, settings: Sequence[str] = SETTINGS) -> AsyncIterator[Ground]:
    """Build everything; `settings` are those of RabbitMQ."""
    simulator_port, *ports = free_ports(3)
    async with AsyncExitStack() as stack:
        cluster = await asyncio.to_thread(start_cluster, directory / "rabbitmq", settings)
        stack.push_async_callback(asyncio.to_thread, cluster.remove)
        pair = await stack.enter_async_context(a_pair(directory))
        await migrate(pair.url)
        variables = {"PAYSCORE_AMQP_URL": ",".join(cluster.urls)}
        broker = Environment(variables, env_file=Path(os.devnull)).read(BrokerSettings)
        desk = await stack.enter_async_context(a_sturdy_desk(broker.amqp_url, make_topology(broker)))
        lane = Lane(
            forks=await stack.enter_async_context(commands(directory)),
            desk=desk,
            http=await stack.enter_async_context(httpx.AsyncClient(timeout=HTTP_SECONDS)),
            directory=directory,
            ports=[simulator_port, *ports],
            keys=directory / "keys",
            settings=variables,
            databases={"postgresql": (pair.url, await stack.enter_async_context(engine_for(pair.direct_url)))},
        )
        stack.push_async_callback(lane.close)
        await lane.start_simulator()
        yield Ground(cluster=cluster, pair=pair, lane=lane, desk=desk, directory=directory)
