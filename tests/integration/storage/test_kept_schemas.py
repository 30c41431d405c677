"""A schema goes from one test to the next only as migrating has made it: no row in it, and nothing else about it."""

import pytest
from sqlalchemy import text

from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from tests.builders import NOW, a_trip
from tests.integration.databases import KEPT, postgresql_tables


def is_kept(url: str) -> bool:
    return url in [one.url for one in KEPT]


async def change(url: str, statement: str) -> None:
    async with engine_for(url) as engine, engine.begin() as connection:
        await connection.execute(text(statement))


async def first(url: str, statement: str) -> object:
    async with engine_for(url) as engine, engine.connect() as connection:
        return (await connection.execute(text(statement))).scalar_one()


async def test_the_next_test_finds_no_row_and_counts_from_one() -> None:
    async with postgresql_tables() as url:
        storage = await open_storage(url)
        await storage.save(a_trip("t1"), due_at=None, now=NOW)
        await storage.aclose()
        await change(url, "SELECT setval('trip_event_id_seq', 99)")
    assert is_kept(url)

    async with postgresql_tables() as again:
        assert again == url
        assert await first(again, "SELECT count(*) FROM trip") == 0
        assert await first(again, "SELECT nextval('trip_event_id_seq')") == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX another ON trip (state)",
        "ALTER TABLE trip ADD COLUMN weather TEXT",
        "ALTER TABLE trip ALTER COLUMN state DROP NOT NULL",
        "DROP TABLE refund",
        "UPDATE alembic_version SET version_num = '0001'",
        "DELETE FROM schema_range",
    ],
)
async def test_what_a_test_has_changed_is_handed_to_no_other(statement: str) -> None:
    async with postgresql_tables() as url:
        await change(url, statement)

    assert not is_kept(url)
