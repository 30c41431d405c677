"""What people leaf through: pages by key, filters, search; bounded, and unable to write."""

from datetime import timedelta

import pytest
from sqlalchemy import func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.domain.trip import TripState
from payscore_worker.errors import StorageUnavailable
from payscore_worker.storage import browsing
from payscore_worker.storage.browsing import Browsing, Wanted
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.tables import trip
from tests.integration.settlement.town import Town

DAY = timedelta(days=1)


@pytest.fixture
def pages(engine: AsyncEngine) -> Browsing:
    return Browsing(engine)


async def listed(pages: Browsing, town: Town, wanted: Wanted) -> list[str]:
    return [row["trip_id"] for row in (await pages.page(wanted, town.now)).rows]


async def test_pages_follow_each_other_without_a_gap_or_a_repetition(
    pages: Browsing, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "PAGE_ROWS", 3)
    for number in range(8):
        await town.starts(f"t{number}")
        if number % 3 == 2:  # three at the same moment, so that only the id tells them apart
            town.clock.now += timedelta(seconds=1)
    await town.cancels("t4")

    seen: list[str] = []
    page = await pages.page(Wanted(), town.now)
    while True:
        seen += [row["trip_id"] for row in page.rows]
        assert len(page.rows) <= 3
        if page.following is None:
            break
        page = await pages.page(Wanted(after=page.following), town.now)

    assert seen == ["t7", "t6", "t5", "t4", "t3", "t2", "t1", "t0"]


async def test_trips_are_chosen_by_state_problem_and_age(pages: Browsing, town: Town) -> None:
    await town.rides("paid")
    await town.passes(10)
    await town.starts("old")
    town.clock.now += DAY
    await town.starts("troubled")
    town.clock.now += timedelta(minutes=5)
    town.simulator.complete_by_hand("troubled", 100)
    town.simulator.pay("troubled")
    await town.simulator.run_once()
    await town.starts("riding")

    assert await listed(pages, town, Wanted()) == ["riding", "troubled", "old", "paid"]
    assert await listed(pages, town, Wanted(state=TripState.PAID)) == ["paid"]
    assert await listed(pages, town, Wanted(unfinished=True)) == ["riding", "troubled", "old"]
    assert await listed(pages, town, Wanted(with_problem=True)) == ["troubled"]
    assert await listed(pages, town, Wanted(state=TripState.PAID, with_problem=True)) == []
    assert await listed(pages, town, Wanted(state=TripState.PAID, unfinished=True)) == []
    assert await listed(pages, town, Wanted(older_than=timedelta(hours=1), unfinished=True)) == ["old"]
    assert await listed(pages, town, Wanted(stuck=True)) == ["troubled"]
    town.clock.now += 2 * DAY  # and no reconciler comes
    assert await listed(pages, town, Wanted(stuck=True)) == ["riding", "troubled", "old"]


async def test_a_trip_is_found_by_each_of_its_names(pages: Browsing, town: Town) -> None:
    await town.rides("with spaces, so that its number is another")
    await town.passes(10)
    (row,) = (await pages.page(Wanted(), town.now)).rows
    (paid,) = await pages.sample(1)

    assert row["out_order_no"] != row["trip_id"]
    for name in (row["trip_id"], row["out_order_no"], paid["transaction_id"]):
        assert await pages.find(name) == [row["trip_id"]]
    for name in ("", "with", "%", "with spaces, so that its number is anotheR"):
        assert await pages.find(name) == []


async def test_money_is_summed_up_over_the_trips_of_a_span(pages: Browsing, town: Town) -> None:
    await town.rides("before")
    town.clock.now += DAY
    await town.rides("paid")
    await town.passes(10)
    await town.rides("owed")

    money = await pages.money(town.now - timedelta(hours=12))

    assert (money.trips, money.completed_fen, money.paid_fen) == (2, 6_400, 3_200)
    assert await pages.ended_since(town.now - timedelta(hours=12)) == {"PAID": 1}


async def test_the_outbox_shows_the_oldest_announcements_that_wait(pages: Browsing, town: Town) -> None:
    await town.rides()

    rows = await pages.outbox()

    assert [row["type"] for row in rows] == ["settlement.opened", "settlement.completed"]
    await town.announced()
    assert await pages.outbox() == []


async def test_the_database_gives_up_on_what_takes_too_long(engine: AsyncEngine, town: Town) -> None:
    await town.starts()
    hasty = Browsing(engine, limit=timedelta(seconds=2))
    if engine.dialect.name == "postgresql":
        slow = select(func.pg_sleep(30))
    else:
        numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < 500_000_000))
        slow = select(func.max(numbers.c.n))

    with pytest.raises(StorageUnavailable):  # left to itself it takes half a minute, and then succeeds
        await hasty._all(slow)
    assert len((await hasty.page(Wanted(), town.now)).rows) == 1  # and its place is free again


async def test_what_is_asked_cannot_write(engine: AsyncEngine, town: Town) -> None:
    await town.starts()
    pages = Browsing(engine)
    async with engine.connect() as connection:
        await pages._restrain(connection)
        with pytest.raises(Exception, match=r"read.?only"):
            await connection.execute(text("DELETE FROM trip"))
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(trip)) == 1


async def test_a_database_that_is_away_is_unavailable(town: Town) -> None:
    async with engine_for("postgresql+asyncpg://nobody@127.0.0.1:1/none") as engine:
        with pytest.raises(StorageUnavailable):
            await Browsing(engine).page(Wanted(), town.now)
        with pytest.raises(StorageUnavailable):
            await Browsing(engine).standing(town.now)
