"""Behind PgBouncer in transaction mode two statements of one client may reach two connections of the server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from payscore_worker.cli import doctor
from payscore_worker.errors import StorageUnavailable
from payscore_worker.migrations import migrate
from payscore_worker.storage import SCHEMA_REVISION, Direction, EventRecord, Storage
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.connecting import Connector, NoPrimary
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from tests.builders import NOW, a_trip
from tests.integration.messaging.waiting import eventually
from tests.integration.storage.servers import Server, a_pooler, a_server, a_standby, follow, pgbouncer, tracks
from tests.integration.storage.test_upgrading import become_full

TRIPS = 20


@pytest.fixture
async def database(server: Server) -> AsyncIterator[str]:
    async with server.database() as database:
        yield database


@pytest.fixture(params=[None, 0, 200], ids=["as it comes", "nothing tracked", "statements tracked"])
async def pooler(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> AsyncIterator[str]:
    if request.param is not None and not tracks(pgbouncer()):
        pytest.skip("this PgBouncer tracks no prepared statements; 1.21 and later can")
    async with a_pooler(server, tmp_path, prepared_statements=request.param) as address:
        yield address


@pytest.fixture
async def bare_pooler(server: Server, tmp_path: Path) -> AsyncIterator[str]:
    """One that tracks no prepared statements: any before 1.21, or a later one that is told so."""
    async with a_pooler(server, tmp_path, prepared_statements=0 if tracks(pgbouncer()) else None) as address:
        yield address


def through(pooler: str, database: str) -> str:
    return f"postgresql://payscore:any@{pooler}/{database}?pgbouncer=true&connect_timeout=60"


async def settle(storage: Storage, trips: range) -> None:
    """Write trips and their announcements, many at once, and read each back."""

    async def one(number: int) -> None:
        trip_id = f"t{number}"
        event = EventRecord(event_id=trip_id, direction=Direction.OUT, type="settlement.opened", at=NOW, body=b"{}")
        assert await storage.save(a_trip(trip_id), due_at=NOW, now=NOW, events=[event])
        found = await storage.load(trip_id)
        assert found is not None
        assert found.trip_id == trip_id

    await asyncio.gather(*(one(number) for number in trips))


async def test_everything_works_through_a_pooler_that_we_are_told_of(pooler: str, database: str) -> None:
    url = through(pooler, database)
    await migrate(url)
    storages = [await open_storage(url) for _ in range(2)]
    try:
        await asyncio.gather(
            *(settle(one, range(turn * TRIPS, (turn + 1) * TRIPS)) for turn, one in enumerate(storages))
        )
    finally:
        for storage in storages:
            await storage.aclose()

    async with engine_for(url) as engine:
        assert (await Reports(engine).trips_by_state()) == {"NOTED": 2 * TRIPS}
        async with Actions(engine).recorded(Action(who="w", action="a", queue="", target="t1"), lambda: NOW):
            pass


async def test_runs_of_migrate_through_a_pooler_wait_for_each_other(
    bare_pooler: str, server: Server, database: str
) -> None:
    await become_full(server.url(database))
    await server.does(f"ALTER ROLE payscore IN DATABASE {database} SET statement_timeout = '20s'")

    schemas = await asyncio.gather(*(migrate(through(bare_pooler, database)) for _ in range(2)))

    assert {schema.revision for schema in schemas} == {SCHEMA_REVISION}


async def test_a_pooler_that_we_are_not_told_of_is_named_with_what_to_do(
    bare_pooler: str, server: Server, database: str
) -> None:
    await migrate(server.url(database))
    untold = through(bare_pooler, database).removesuffix("?pgbouncer=true&connect_timeout=60")

    with pytest.raises(StorageUnavailable, match="add pgbouncer=true to PAYSCORE_DATABASE_URL"):
        await work_untold(untold)

    check = await doctor._database(untold)
    assert not check.ok
    assert "add pgbouncer=true to PAYSCORE_DATABASE_URL" in check.detail


async def work_untold(url: str) -> None:
    """Do what a worker does, again and again: two of its connections on one of the server's collide in the end."""
    for _ in range(20):
        storage = await open_storage(url)
        try:
            await asyncio.gather(*(storage.load(f"t{number}") for number in range(TRIPS)))
        finally:
            await storage.aclose()


@pytest.mark.timeout(600)
async def test_behind_poolers_the_primary_is_found_whatever_each_server_was_before(tmp_path: Path) -> None:
    with a_server(tmp_path / "one") as one, a_standby(one, tmp_path / "other") as other:
        async with a_pooler(one, tmp_path) as to_one, a_pooler(other, tmp_path) as to_other:
            url = through(f"{to_one},{to_other}", "postgres")
            await migrate(url)
            storage = await open_storage(url)
            try:
                await settle(storage, range(TRIPS))
                with pytest.raises(NoPrimary):  # its pooler has met it as a standby now
                    await Connector(lambda: through(f"{to_other},{to_other}", "postgres"))()

                await asyncio.to_thread(one.postgresql.kill)
                await asyncio.to_thread(other.postgresql.promote)
                await asyncio.to_thread(follow, other, one)

                begins = itertools.count(TRIPS, TRIPS)

                async def goes_on() -> bool:
                    begin = next(begins)  # what failed may be half written
                    with suppress(StorageUnavailable):
                        await settle(storage, range(begin, begin + TRIPS))
                        return True
                    return False

                await eventually(goes_on, every_seconds=1.0)
            finally:
                await storage.aclose()

            async with engine_for(url) as engine:
                assert (await Reports(engine).trips_by_state())["NOTED"] >= 2 * TRIPS
