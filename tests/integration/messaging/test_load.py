"""Load without end, as a demo plays it: over whichever address answers, and on through the loss of a link."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from payscore_worker.demo.load import Load
from payscore_worker.messaging.topology import RIDE_EVENTS
from tests.integration.messaging.desk import Desk
from tests.integration.messaging.waiting import eventually
from tests.proxy import Proxy

TRIP_STARTED = "payscore.trip-started"


@asynccontextmanager
async def under_load(amqp_url: str, desk: Desk) -> AsyncIterator[None]:
    load = Load(amqp_url=amqp_url, exchange=desk.topology.name(RIDE_EVENTS), trips_a_second=50.0)
    running = asyncio.create_task(load.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_an_address_where_nobody_answers_is_passed_over(amqp_url: str, desk: Desk) -> None:
    async with under_load(f"amqp://guest:guest@127.0.0.1:1,{amqp_url}", desk):
        await eventually(lambda: has(desk, 5))


async def test_it_goes_on_after_its_link_was_cut(proxy: Proxy, desk: Desk) -> None:
    async with under_load(proxy.url, desk):
        await eventually(lambda: has(desk, 5))
        proxy.cut()
        before = await desk.ready(TRIP_STARTED)
        await eventually(lambda: has(desk, before + 20))


async def has(desk: Desk, count: int) -> bool:
    return await desk.ready(TRIP_STARTED) >= count
