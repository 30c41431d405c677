"""A broker with policies of others, and queues as the release before this one left them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from aio_pika.abc import AbstractConnection

from payscore_worker.messaging.drift import Plan, ask, look
from payscore_worker.messaging.link import connect, scratch_channel
from payscore_worker.messaging.management import Management
from payscore_worker.messaging.topology import Place, Topology, declare_place
from tests.integration.messaging.desk import a_topology
from tests.integration.messaging.waiting import eventually

HTTP_SECONDS = 20.0


@dataclass(frozen=True)
class Site:
    """One topology at a broker whose policies may be changed."""

    amqp_url: str
    management_url: str
    topology: Topology
    connection: AbstractConnection

    @property
    def management(self) -> Management:
        return Management(self.management_url, self.amqp_url)

    async def look(self) -> Plan:
        return await look(self.connection, self.topology, await ask(self.management))

    async def look_until(self, *subjects: str) -> Plan:
        """Look until just these have drifts: RabbitMQ tells of what is new a little later."""

        async def those() -> Plan | None:
            plan = await self.look()
            found = {drift.subject for drift in plan.drifts}
            return plan if not plan.unseen and found == set(map(self.topology.name, subjects)) else None

        return await eventually(those, every_seconds=0.3, within_seconds=60)

    async def set_policy(
        self, name: str, pattern: str, definition: Mapping[str, Any], *, priority: int = 0, kind: str = "policies"
    ) -> None:
        body = {"pattern": pattern, "definition": definition, "priority": priority, "apply-to": "queues"}
        await self._ask("PUT", f"{kind}/%2F/{self.topology.name(name)}", json=body)

    async def clear(self) -> None:
        for kind in ("policies", "operator-policies"):
            for one in (await self._ask("GET", f"{kind}/%2F")).json():
                if one["name"].startswith(self.topology.prefix):
                    await self._ask("DELETE", f"{kind}/%2F/{one['name']}")

    async def _ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        async with httpx.AsyncClient(timeout=HTTP_SECONDS) as http:
            answer = await http.request(method, f"{self.management_url}/api/{path}", **body)
            answer.raise_for_status()
            return answer

    async def redeclare(self, place: Place, arguments: Mapping[str, Any]) -> None:
        """Make a queue anew with other arguments, and without its bindings."""
        async with scratch_channel(self.connection) as channel:
            await channel.queue_delete(place.name)
            await declare_place(channel, replace(place, arguments=arguments, bindings=()))

    def place(self, name: str) -> Place:
        return next(place for place in self.topology.places if place.name == self.topology.name(name))


async def declare_as_the_release_before(connection: AbstractConnection, topology: Topology) -> None:
    """Declare everything with the arguments that the release before this one gave it."""
    await topology.declare_exchanges(connection)
    async with scratch_channel(connection) as channel:
        for place in topology.places:
            await declare_place(channel, replace(place, arguments=place.former or place.arguments))


@asynccontextmanager
async def a_site(urls: tuple[str, str], *, as_before: bool = False) -> AsyncIterator[Site]:
    """Declare a topology of its own, which goes with all its policies in the end."""
    amqp_url, management_url = urls
    topology = a_topology()
    async with await connect(amqp_url, "test") as connection:
        if as_before:
            await declare_as_the_release_before(connection, topology)
        else:
            await topology.declare_on(connection)
        site = Site(amqp_url, management_url, topology, connection)
        try:
            yield site
        finally:
            await site.clear()
            async with await connect(amqp_url, "test") as another, another.channel() as channel:
                await topology.delete(channel)
                for name in topology.queues:
                    await channel.queue_delete(topology.moving(name))
