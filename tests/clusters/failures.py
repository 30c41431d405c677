"""What befalls a cluster: which node, and how; each alone, and while another part is down."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from deploy.local.processes import wait_until
from deploy.local.rabbitmq import PrivateRabbitMQ
from tests.clusters.ground import Ground

KILL_GOAL_SECONDS: Final = 10.0
FREEZE_GOAL_SECONDS: Final = 15.0
FAILOVER_GOAL_SECONDS: Final = 30.0

WHOLE_SECONDS: Final = 120.0
"""For a node to find the others again."""

TOOL_SECONDS: Final = 2.0
"""What an operator's tool takes to see that the standby is gone."""


class Where(StrEnum):
    """What is hit."""

    LEADER_CONSUMED = "the node that leads the queues, where we consume"
    CONSUMED = "a node where we consume"
    LEADER = "the node that leads the queues, where we do not consume"
    OTHER = "the node where we do not consume"
    DATABASE = "PostgreSQL"
    BOTH = "RabbitMQ and PostgreSQL"


@dataclass(frozen=True, slots=True)
class Places:
    """Who is where at the broker."""

    hit: PrivateRabbitMQ
    desk: PrivateRabbitMQ


Stage = Callable[[Ground, Places], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What happens, and within what time work must go on."""

    where: Where
    what: str
    stage: Stage
    goal_seconds: float

    @property
    def name(self) -> str:
        return f"{self.where}: {self.what}"


async def arrange(ground: Ground, where: Where) -> Places:
    """Have the leaders where the failure wants them, and the ride service at a node that it does not touch."""
    consumed = await ground.consumed()
    free = next(node for node in ground.cluster.nodes if node not in consumed)
    hit = free if where in (Where.LEADER, Where.OTHER) else consumed[0]
    leads = consumed[1] if where is Where.CONSUMED else consumed[0] if where is Where.OTHER else hit
    await asyncio.to_thread(ground.cluster.lead, leads)
    desk = consumed[1] if hit is free else free
    await ground.desk.move(desk.url)
    return Places(hit, desk)


# --- A node of RabbitMQ ---


@asynccontextmanager
async def _node_killed(ground: Ground, places: Places) -> AsyncIterator[None]:
    await asyncio.to_thread(places.hit.kill)
    yield
    await asyncio.to_thread(places.hit.start)
    await _until_whole(ground)


@asynccontextmanager
async def _node_frozen(ground: Ground, places: Places) -> AsyncIterator[None]:
    places.hit.freeze()
    yield
    places.hit.thaw()
    await _until_whole(ground)


@asynccontextmanager
async def _node_cut_off(ground: Ground, places: Places) -> AsyncIterator[None]:
    await asyncio.to_thread(ground.cluster.cut, places.hit)
    yield
    await asyncio.to_thread(ground.cluster.heal, places.hit)
    await _until_whole(ground)


async def _until_whole(ground: Ground) -> None:
    if not await asyncio.to_thread(wait_until, ground.cluster.whole, seconds=WHOLE_SECONDS):
        raise AssertionError(f"the nodes do not find each other again; see {ground.directory}")


# --- PostgreSQL ---


@asynccontextmanager
async def _primary_killed(ground: Ground, _places: Places) -> AsyncIterator[None]:
    primary = ground.pair.primary
    await primary.way.refuse()
    await asyncio.to_thread(primary.server.postgresql.kill)
    await ground.pair.promote()
    yield
    await ground.pair.make_whole()


@asynccontextmanager
async def _primary_frozen(ground: Ground, _places: Places) -> AsyncIterator[None]:
    """Let nothing through to it or back any more, which is also what one looks like that is cut off."""
    ground.pair.primary.way.freeze()
    await ground.pair.promote()
    yield
    await ground.pair.make_whole()


@asynccontextmanager
async def _standby_killed(ground: Ground, _places: Places) -> AsyncIterator[None]:
    """Nothing is confirmed until somebody says that the primary shall go on alone."""
    await asyncio.to_thread(ground.pair.standby.server.postgresql.kill)
    await asyncio.sleep(TOOL_SECONDS)
    await ground.pair.go_on_alone()
    yield
    await ground.pair.make_whole()


# --- Both ---


def _both(broker: Stage, database: Stage) -> Stage:
    @asynccontextmanager
    async def stage(ground: Ground, places: Places) -> AsyncIterator[None]:
        async with broker(ground, places), database(ground, places):
            yield

    return stage


def _of_a_node(where: Where) -> list[Failure]:
    return [
        Failure(where=where, what="killed", stage=_node_killed, goal_seconds=KILL_GOAL_SECONDS),
        Failure(where=where, what="frozen", stage=_node_frozen, goal_seconds=FREEZE_GOAL_SECONDS),
        Failure(where=where, what="cut off", stage=_node_cut_off, goal_seconds=FREEZE_GOAL_SECONDS),
    ]


def _of_the_database(what: str, stage: Stage) -> Failure:
    return Failure(where=Where.DATABASE, what=what, stage=stage, goal_seconds=FAILOVER_GOAL_SECONDS)


def _of_both(what: str, broker: Stage, database: Stage) -> Failure:
    return Failure(where=Where.BOTH, what=what, stage=_both(broker, database), goal_seconds=FAILOVER_GOAL_SECONDS)


FAILURES: Final[Mapping[str, Failure]] = {
    failure.name: failure
    for failure in [
        *_of_a_node(Where.LEADER_CONSUMED),
        *_of_a_node(Where.CONSUMED),
        *_of_a_node(Where.LEADER),
        *_of_a_node(Where.OTHER),
        _of_the_database("primary killed", _primary_killed),
        _of_the_database("primary frozen or cut off", _primary_frozen),
        _of_the_database("standby killed", _standby_killed),
        _of_both("leader killed, then primary killed", _node_killed, _primary_killed),
        _of_both("leader frozen, then primary killed", _node_frozen, _primary_killed),
        _of_both("leader cut off, then primary killed", _node_cut_off, _primary_killed),
        _of_both("leader killed, then primary frozen", _node_killed, _primary_frozen),
    ]
}
