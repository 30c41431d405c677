"""What a worker looks at beside its work: queues and database, now and then."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from importlib import import_module

import structlog

from payscore_worker.messaging.inspect import Depth
from payscore_worker.messaging.topology import Topology
from payscore_worker.ops.lag import measure_lag
from payscore_worker.ops.queues import QueueLook
from payscore_worker.storage.belonging import Owners
from payscore_worker.storage.url import Told

log = structlog.stdlib.get_logger(__name__)


async def watch(
    *,
    amqp_url: str,
    topology: Topology,
    database_url: str | Told,
    clock: Callable[[], datetime],
    owners: Owners,
    on_depths: Callable[[list[Depth]], None] = lambda _: None,
) -> None:
    """Look at queues and database now and then, until cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(measure_lag())
            group.create_task(QueueLook(amqp_url, topology, on_look=on_depths).run())
            group.create_task(_look_at_database(database_url, clock, owners))
    except Exception:  # to go on settling is more than to be watched; the ages of the looks tell
        log.exception("watching_ended")


async def _look_at_database(database_url: str | Told, clock: Callable[[], datetime], owners: Owners) -> None:
    """Look at the database, by way of SQLAlchemy, which takes its time to import: in a thread, once all runs."""
    engine_for = (await asyncio.to_thread(import_module, "payscore_worker.storage.engine")).engine_for
    database = await asyncio.to_thread(import_module, "payscore_worker.ops.database")
    async with engine_for(database_url) as engine, asyncio.TaskGroup() as group:
        for looking in database.DatabaseLook(engine, clock, owners).lookings():
            group.create_task(looking.run())
