"""The faults: where each strikes, how it is staged, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractChannel
from sqlalchemy import text

from payscore_worker.messaging.link import connect
from payscore_worker.messaging.topology import QUEUES
from payscore_worker.storage.engine import engine_for
from tests.faults.conduct import CutAfter, CutBefore, CutMidReply, Reset, Slow
from tests.faults.site import Place, Site
from tests.proxy import UNTROUBLED, Conduct

Stage = Callable[[Site], AbstractAsyncContextManager[None]]

STANDS_SECONDS: Final = 12.0
"""Longer than a connection takes to be made anew a few times."""

FAILOVER_SECONDS: Final = 20.0
"""What a standby takes to be promoted."""

BEFORE_A_CUT: Final[Mapping[Place, int]] = {Place.DATABASE: 40, Place.BROKER: 80, Place.WECHATPAY: 3}
"""Exchanges that a connection is granted at most: so many that it comes beyond its greeting, and does some work."""

SLOW_SECONDS: Final[Mapping[Place, float]] = {Place.DATABASE: 0.3, Place.BROKER: 0.3, Place.WECHATPAY: 2.0}
"""Each way."""

NO_MEMORY: Final = "0.000001"
MEMORY: Final = "0.4"

DECEIVED: Final = "payscore.trip-started"
"""The queue that stands otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens, and what a worker may do about it."""

    place: Place | None
    what: str
    stage: Stage
    seconds: float = STANDS_SECONDS
    """How long it stands; what ends by itself takes the time it takes."""
    private: bool = False
    """It is done to a server, and not to a link."""
    calm: bool = False
    """It takes the messages of a queue along, which no worker can bring back: it begins when there are none."""
    ends_worker: bool = False
    """Nothing can be done before an operator has looked; the worker ends, and says why, until then."""

    @property
    def name(self) -> str:
        return self.what if self.place is None else f"{self.place}: {self.what}"


# --- The link ---


def _conduct(place: Place, make: Callable[[Site], Conduct]) -> Stage:
    @asynccontextmanager
    async def stage(site: Site) -> AsyncIterator[None]:
        proxy = site.proxies[place]
        proxy.conduct = make(site)
        yield
        proxy.conduct = UNTROUBLED

    return stage


def _reset(place: Place) -> Stage:
    @asynccontextmanager
    async def stage(site: Site) -> AsyncIterator[None]:
        proxy = site.proxies[place]
        proxy.conduct = Reset()
        proxy.cut(reset=True)
        yield
        proxy.conduct = UNTROUBLED

    return stage


def _refused(place: Place) -> Stage:
    @asynccontextmanager
    async def stage(site: Site) -> AsyncIterator[None]:
        await site.proxies[place].refuse()
        yield
        await site.proxies[place].accept()

    return stage


def _frozen(place: Place, *, for_ever: bool = False) -> Stage:
    """Accept and answer nothing; in the end, what was held back flows, or those connections are forgotten."""

    @asynccontextmanager
    async def stage(site: Site) -> AsyncIterator[None]:
        proxy = site.proxies[place]
        proxy.freeze()
        yield
        if for_ever:
            proxy.strand()
        proxy.thaw()

    return stage


def _of_the_link(place: Place) -> list[Fault]:
    most = BEFORE_A_CUT[place]
    return [
        Fault(
            place=place, what="cut before the request", stage=_conduct(place, lambda at: CutBefore(at.chance(), most))
        ),
        Fault(place=place, what="cut after the request", stage=_conduct(place, lambda at: CutAfter(at.chance(), most))),
        Fault(place=place, what="cut in mid-reply", stage=_conduct(place, lambda at: CutMidReply(at.chance(), most))),
        Fault(place=place, what="reset", stage=_reset(place)),
        Fault(place=place, what="refused", stage=_refused(place), seconds=FAILOVER_SECONDS),
        Fault(place=place, what="frozen", stage=_frozen(place), seconds=FAILOVER_SECONDS),
        Fault(place=place, what="forgotten", stage=_frozen(place, for_ever=True), seconds=1.0),
        Fault(place=place, what="slow", stage=_conduct(place, lambda _: Slow(SLOW_SECONDS[place]))),
    ]


# --- The broker ---


@asynccontextmanager
async def _broker_restarts(site: Site) -> AsyncIterator[None]:
    assert site.servers.rabbitmq is not None
    await asyncio.to_thread(site.servers.rabbitmq.stop)
    yield
    await asyncio.to_thread(site.servers.rabbitmq.start)


@asynccontextmanager
async def _broker_dies(site: Site) -> AsyncIterator[None]:
    assert site.servers.rabbitmq is not None
    await asyncio.to_thread(site.servers.rabbitmq.kill)
    yield
    await asyncio.to_thread(site.servers.rabbitmq.start)


@asynccontextmanager
async def _memory_alarm(site: Site) -> AsyncIterator[None]:
    assert site.servers.rabbitmq is not None
    await asyncio.to_thread(site.servers.rabbitmq.ctl, "set_vm_memory_high_watermark", NO_MEMORY)
    yield
    await asyncio.to_thread(site.servers.rabbitmq.ctl, "set_vm_memory_high_watermark", MEMORY)


@asynccontextmanager
async def _connections_closed(site: Site) -> AsyncIterator[None]:
    assert site.servers.rabbitmq is not None
    await asyncio.to_thread(site.servers.rabbitmq.ctl, "close_all_connections", "an operator")
    yield


@asynccontextmanager
async def _operator(site: Site) -> AsyncIterator[AbstractChannel]:
    async with await connect(site.servers.amqp_url, "an operator") as connection, connection.channel() as channel:
        yield channel


@asynccontextmanager
async def _queues_deleted(site: Site) -> AsyncIterator[None]:
    topology = site.desk.topology
    async with _operator(site) as channel:
        for queue in [*map(topology.name, QUEUES), *map(topology.rung, topology.retry_delays[:1])]:
            await channel.queue_delete(queue)
        yield


@asynccontextmanager
async def _consumers_cancelled(site: Site) -> AsyncIterator[None]:
    """Put every queue back as soon as it is deleted: all that a consumer learns is basic.cancel."""
    topology = site.desk.topology
    async with await connect(site.servers.amqp_url, "an operator") as connection:
        async with connection.channel() as channel:
            for queue in map(topology.name, QUEUES):
                await channel.queue_delete(queue)
        await topology.declare_on(connection)
        yield


@asynccontextmanager
async def _queue_stands_otherwise(site: Site) -> AsyncIterator[None]:
    name = site.desk.topology.name(DECEIVED)
    async with _operator(site) as channel:
        await channel.queue_delete(name)
        await channel.declare_queue(name, durable=True)
        yield
        await channel.queue_delete(name)


# --- PostgreSQL ---


@asynccontextmanager
async def _database_restarts(site: Site) -> AsyncIterator[None]:
    assert site.servers.postgresql is not None
    await asyncio.to_thread(site.servers.postgresql.stop)
    yield
    await asyncio.to_thread(site.servers.postgresql.start)


@asynccontextmanager
async def _database_dies(site: Site) -> AsyncIterator[None]:
    assert site.servers.postgresql is not None
    await asyncio.to_thread(site.servers.postgresql.kill)
    yield
    await asyncio.to_thread(site.servers.postgresql.start)


@asynccontextmanager
async def _serialization_failures(site: Site) -> AsyncIterator[None]:
    """Have every other write given up by PostgreSQL, as under contention that it cannot order."""
    await site.sql(
        """
        CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF random() < 0.25 THEN
                RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
            ELSIF random() < 0.33 THEN
                RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
            END IF;
            RETURN NEW;
        END $$
        """,
        *(
            f"CREATE TRIGGER give_up BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION give_up()"
            for table in ("trip", "trip_event", "wechatpay_call")
        ),
    )
    yield
    await site.sql("DROP FUNCTION give_up() CASCADE")


@asynccontextmanager
async def _tables_locked(site: Site) -> AsyncIterator[None]:
    """Let every statement wait: soon, every connection of the pool is waiting, and nobody gets one."""
    async with engine_for(site.database_url) as engine, engine.begin() as connection:
        await connection.execute(text("LOCK TABLE trip, trip_event IN ACCESS EXCLUSIVE MODE"))
        yield


@asynccontextmanager
async def _too_many_connections(site: Site) -> AsyncIterator[None]:
    await site.sql(
        f"ALTER ROLE {site.account} CONNECTION LIMIT 0",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{site.account}'",  # noqa: S608 - ours
    )
    yield
    await site.sql(f"ALTER ROLE {site.account} CONNECTION LIMIT -1")


@asynccontextmanager
async def _standby(site: Site) -> AsyncIterator[None]:
    """Lead to a server that only reads; when it is over, the connections that were made meanwhile still lead there."""
    account = site.account
    await site.sql(
        f"ALTER ROLE {account} SET default_transaction_read_only = on",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{account}'",  # noqa: S608 - ours
    )
    yield
    await site.sql(f"ALTER ROLE {account} RESET default_transaction_read_only")


@asynccontextmanager
async def _nothing(_site: Site) -> AsyncIterator[None]:
    yield


NO_FAULT: Final = Fault(place=None, what="no fault", stage=_nothing, seconds=3.0)
"""The control: how long it takes when nothing happens."""

FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault
    for fault in [
        NO_FAULT,
        *_of_the_link(Place.DATABASE),
        Fault(place=Place.DATABASE, what="restart", stage=_database_restarts, seconds=3.0, private=True),
        Fault(place=Place.DATABASE, what="crash", stage=_database_dies, seconds=FAILOVER_SECONDS, private=True),
        Fault(place=Place.DATABASE, what="became a standby", stage=_standby),
        Fault(place=Place.DATABASE, what="serialization failures", stage=_serialization_failures),
        Fault(place=Place.DATABASE, what="pool exhausted", stage=_tables_locked, seconds=FAILOVER_SECONDS),
        Fault(place=Place.DATABASE, what="too many connections", stage=_too_many_connections, seconds=FAILOVER_SECONDS),
        *_of_the_link(Place.BROKER),
        Fault(place=Place.BROKER, what="restart", stage=_broker_restarts, seconds=3.0, private=True),
        Fault(place=Place.BROKER, what="crash", stage=_broker_dies, seconds=3.0, private=True),
        Fault(place=Place.BROKER, what="memory alarm", stage=_memory_alarm, seconds=FAILOVER_SECONDS, private=True),
        Fault(place=Place.BROKER, what="connections closed", stage=_connections_closed, seconds=1.0, private=True),
        Fault(place=Place.BROKER, what="queues deleted", stage=_queues_deleted, seconds=1.0, calm=True),
        Fault(place=Place.BROKER, what="basic.cancel", stage=_consumers_cancelled, seconds=1.0, calm=True),
        Fault(
            place=Place.BROKER,
            what="queue stands otherwise",
            stage=_queue_stands_otherwise,
            calm=True,
            ends_worker=True,
        ),
        *_of_the_link(Place.WECHATPAY),
    ]
}
