"""The primary dies, and its synchronous standby takes over: nothing that was confirmed is lost, and work goes on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import structlog

from payscore_worker.errors import StorageUnavailable
from payscore_worker.migrations import migrate
from payscore_worker.storage import Storage
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from tests.builders import NOW, a_trip
from tests.integration.messaging.waiting import eventually
from tests.integration.storage.servers import Server, a_server, a_standby
from tests.proxy import Proxy

AT_ONCE: Final = 8
"""Writers: as many connections, each of which has to be found out."""

BACK_SECONDS: Final = 150.0
"""It takes three seconds, or eighteen where nobody hangs up; a busy machine multiplies that."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class Writing:
    """What was confirmed to us."""

    storage: Storage
    confirmed: list[str] = field(default_factory=list)

    async def run(self, who: int) -> None:
        """Write trip after trip, and each until it is confirmed."""
        for number in range(1_000_000):
            trip_id = f"t{who}-{number}"
            while True:
                with suppress(StorageUnavailable):
                    await self.storage.save(a_trip(trip_id), due_at=None, now=NOW)
                    break
                await asyncio.sleep(0.1)
            self.confirmed.append(trip_id)
            await asyncio.sleep(0.01)

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.confirmed) >= count, within_seconds=BACK_SECONDS)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    with a_server(tmp_path / "primary") as primary, a_standby(primary, tmp_path / "standby") as standby:
        yield primary, standby


@pytest.mark.timeout(600)
@pytest.mark.parametrize("end", ["killed", "frozen"])
async def test_nothing_confirmed_is_lost_and_work_goes_on_at_the_standby(pair: tuple[Server, Server], end: str) -> None:
    primary, standby = pair
    await migrate(primary.url("postgres"))
    async with Proxy(primary.url("postgres").replace("postgresql://", "postgresql+asyncpg://")).running() as proxy:
        both = primary.url("postgres").replace(primary.address, f"127.0.0.1:{proxy.port},{standby.address}")
        storage = await open_storage(both)
        writing = Writing(storage)
        tasks = [asyncio.create_task(writing.run(who)) for who in range(AT_ONCE)]
        await writing.until(20 * AT_ONCE)

        began = time.monotonic()
        if end == "frozen":
            proxy.freeze()
        else:
            await asyncio.to_thread(primary.postgresql.kill)
        await asyncio.to_thread(standby.postgresql.promote)
        promoted = time.monotonic()
        await writing.until(len(writing.confirmed) + AT_ONCE)
        log.warning("failed_over", end=end, promoted=promoted - began, seconds=time.monotonic() - began)

        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        async with engine_for(both) as engine:
            there = {row["trip_id"] for row in await Reports(engine).all_trips()}
        await storage.aclose()

    assert set(writing.confirmed) <= there
