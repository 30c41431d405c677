"""What was announced is told again when a person says so: the same ids and bytes, in batches, on both databases."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.storage import Direction, EventRecord, OutboxRow, Storage
from payscore_worker.storage import outbox as outbox_module
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.outbox import OutboxDesk, OutboxStandsStill, Wanted
from payscore_worker.storage.reports import Reports
from payscore_worker.storage.standing import standing
from tests.builders import NOW, a_trip

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LIMIT = timedelta(seconds=5)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_for(database_url) as engine:
        yield engine


@pytest.fixture
def desk(engine: AsyncEngine) -> OutboxDesk:
    return OutboxDesk(engine)


async def announced(
    storage: Storage, *ids: str, trip_id: str = "t1", type: str = "settlement.opened", at: datetime = NOW
) -> None:
    trip = await storage.load(trip_id) or a_trip(trip_id)
    told = [EventRecord(event_id=id, direction=Direction.OUT, type=type, at=at, body=f"{id}".encode()) for id in ids]
    heard = EventRecord(event_id=f"in-{ids[0]}", direction=Direction.IN, type="trip.started", at=at, body=b"in")
    assert await storage.save(trip, due_at=None, now=NOW, events=[heard, *told])


async def relayed(storage: Storage, now: datetime = NOW) -> list[OutboxRow]:
    rows = await storage.claim_outbox(now=now, lease=MINUTE, limit=1000)
    await storage.mark_published([row.id for row in rows], now=now)
    return rows


async def unheard(storage: Storage, now: datetime = NOW) -> None:
    """Let nobody take what waits, for an hour."""
    rows = await storage.claim_outbox(now=now, lease=MINUTE, limit=1000)
    await storage.mark_unrouted([row.id for row in rows], now=now)


async def replayed(desk: OutboxDesk, wanted: Wanted) -> int:
    return sum([count async for count in desk.replay(wanted, await desk.find(wanted))])


async def test_nothing_is_claimed_behind_what_another_relay_is_claiming_at_this_moment(
    storage: Storage, engine: AsyncEngine
) -> None:
    """Our snapshot shows the older one unclaimed; only its lock tells."""
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite lets one write at a time")
    await announced(storage, "opened", "paid")
    await announced(storage, "other", trip_id="t2")
    async with engine.begin() as claiming:
        await claiming.execute(text("SELECT 1 FROM trip_event WHERE event_id = 'opened' FOR UPDATE"))

        rows = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)

    assert [row.event_id for row in rows] == ["other"]
    assert [row.event_id for row in await relayed(storage)] == ["opened", "paid"]


async def test_a_batch_that_is_full_keeps_the_order_of_a_trip(storage: Storage) -> None:
    await announced(storage, "e1", "e2", "e3")

    first = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=2)
    behind = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=2)

    assert [row.event_id for row in first] == ["e1", "e2"]
    assert behind == []


async def test_what_stands_behind_the_batch_of_a_dead_relay_does_not_keep_others_from_theirs(storage: Storage) -> None:
    trips = [f"t{number}" for number in range(4)]
    for trip_id in trips:
        await announced(storage, f"{trip_id}-opened", trip_id=trip_id)
    assert len(await storage.claim_outbox(now=NOW, lease=MINUTE, limit=4)) == 4
    for step in ("completed", "paid"):
        for trip_id in trips:
            await announced(storage, f"{trip_id}-{step}", trip_id=trip_id)
    await announced(storage, "other", trip_id="another")

    rows = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=4)

    assert [row.event_id for row in rows] == ["other"]


async def test_what_nobody_took_for_an_hour_is_kept_and_no_longer_waits(
    storage: Storage, desk: OutboxDesk, engine: AsyncEngine
) -> None:
    await announced(storage, "e1")

    await unheard(storage, NOW + HOUR)

    assert await storage.claim_outbox(now=NOW + 9 * HOUR, lease=MINUTE, limit=10) == []
    [row] = await desk.unrouted()
    assert (row["event_id"], row["unrouted_at"], row["published_at"]) == ("e1", NOW + HOUR, None)
    assert await desk.pending() == []
    assert (await standing(engine, NOW + 9 * HOUR, limit=LIMIT)).unrouted == {"settlement.opened": 1}


async def test_what_nobody_takes_is_no_lag_of_the_outbox(storage: Storage, engine: AsyncEngine) -> None:
    await announced(storage, "tried-again", trip_id="t1")
    [row] = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)
    await storage.postpone_outbox([row.id], until=NOW + HOUR)
    await announced(storage, "kept", trip_id="t2")
    await unheard(storage)

    found = await standing(engine, NOW + HOUR, limit=LIMIT)
    late = (await Reports(engine).contradictions(NOW + HOUR))["announcements are published"]

    assert (found.outbox.count, found.outbox.oldest, late) == (0, timedelta(), [])
    assert found.unrouted == {"settlement.opened": 2}


async def test_what_waits_for_a_relay_is_lag_of_the_outbox(storage: Storage, engine: AsyncEngine) -> None:
    await announced(storage, "e1")

    found = await standing(engine, NOW + HOUR, limit=LIMIT)

    assert (found.outbox.count, found.outbox.oldest, found.unrouted) == (1, HOUR, {})
    assert (await Reports(engine).contradictions(NOW + HOUR))["announcements are published"] == ["t1"]


async def test_a_replay_of_a_trip_tells_all_that_was_announced_of_it_in_order_with_ids_and_bytes_unchanged(
    storage: Storage, desk: OutboxDesk
) -> None:
    await announced(storage, "e1", "e2")
    await announced(storage, "other", trip_id="t2")
    before = await relayed(storage)
    await announced(storage, "e3")
    await unheard(storage)

    assert await replayed(desk, Wanted(trip_id="t1")) == 3

    again = await relayed(storage, NOW + HOUR)
    assert [(row.event_id, row.body, row.attempts) for row in again] == [
        ("e1", b"e1", 0),
        ("e2", b"e2", 0),
        ("e3", b"e3", 0),
    ]
    assert [row.id for row in again][:2] == [row.id for row in before][:2]
    assert await desk.unrouted() == []


async def test_what_was_heard_is_never_announced(storage: Storage, desk: OutboxDesk) -> None:
    await announced(storage, "e1")
    await relayed(storage)

    assert (await desk.find(Wanted(trip_id="t1"))).by_type == {"settlement.opened": 1}
    await replayed(desk, Wanted(since=NOW - HOUR))

    assert [row.event_id for row in await relayed(storage, NOW + HOUR)] == ["e1"]


async def test_a_replay_of_a_span_takes_what_was_announced_within_it(storage: Storage, desk: OutboxDesk) -> None:
    for hour in range(40):
        await announced(storage, f"e{hour}", trip_id=f"t{hour}", at=NOW + hour * HOUR)
    await relayed(storage)
    wanted = Wanted(since=NOW + 10 * HOUR, until=NOW + 13 * HOUR)

    found = await desk.find(wanted)

    assert (found.count, found.trips, found.oldest, found.newest) == (3, 3, NOW + 10 * HOUR, NOW + 12 * HOUR)
    assert found.first > 10  # the history before it is not read
    assert await replayed(desk, wanted) == 3
    assert [row.event_id for row in await relayed(storage, NOW + HOUR)] == ["e10", "e11", "e12"]


@pytest.mark.parametrize("hour", [0, 1, 38, 39, 40])
async def test_a_span_may_begin_anywhere(storage: Storage, desk: OutboxDesk, hour: int) -> None:
    for number in range(40):
        await announced(storage, f"e{number}", trip_id=f"t{number}", at=NOW + number * HOUR)
    await relayed(storage)

    assert (await desk.find(Wanted(since=NOW + hour * HOUR))).count == 40 - hour


async def test_a_replay_may_be_of_one_type_and_of_what_nobody_took(storage: Storage, desk: OutboxDesk) -> None:
    await announced(storage, "heard", type="settlement.paid")
    await relayed(storage)
    await announced(storage, "unheard", type="settlement.paid")
    await announced(storage, "unwanted", type="settlement.opened")
    await unheard(storage)

    wanted = Wanted(since=NOW - HOUR, type="settlement.paid", unrouted=True)
    assert await replayed(desk, wanted) == 1

    assert [row.event_id for row in await relayed(storage, NOW + HOUR)] == ["unheard"]


async def test_what_is_tried_again_later_may_be_had_told_now(storage: Storage, desk: OutboxDesk) -> None:
    await announced(storage, "e1")
    [row] = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)
    await storage.postpone_outbox([row.id], until=NOW + HOUR)

    assert await replayed(desk, Wanted(trip_id="t1", unrouted=True)) == 1

    assert [row.event_id for row in await relayed(storage, NOW + MINUTE)] == ["e1"]


async def test_what_waits_to_be_told_for_the_first_time_is_left_as_it_is(storage: Storage, desk: OutboxDesk) -> None:
    await announced(storage, "e1")

    assert (await desk.find(Wanted(trip_id="t1"))).count == 0


async def test_what_is_told_again_is_no_lag_though_it_is_old(
    storage: Storage, desk: OutboxDesk, engine: AsyncEngine
) -> None:
    await announced(storage, "e1")
    await relayed(storage)
    await announced(storage, "e2")
    await unheard(storage)
    await replayed(desk, Wanted(trip_id="t1"))

    found = await standing(engine, NOW + HOUR, limit=LIMIT)

    assert (found.outbox.count, found.outbox.oldest) == (2, timedelta())
    assert (await Reports(engine).contradictions(NOW + HOUR))["announcements are published"] == []


async def test_a_large_replay_goes_on_only_as_the_relay_catches_up(
    storage: Storage, desk: OutboxDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "BATCH", 4)
    monkeypatch.setattr(outbox_module, "MAX_AHEAD", 4)
    await announced(storage, *(f"e{number}" for number in range(10)))
    await relayed(storage)
    wanted, waiting = Wanted(trip_id="t1"), []

    async for count in desk.replay(wanted, await desk.find(wanted)):
        waiting.append((count, len(await desk.pending())))
        if len(waiting) > 1:
            await relayed(storage, NOW + HOUR)

    assert waiting == [(4, 4), (4, 8), (2, 2)]


async def test_a_large_replay_without_a_relay_says_so_and_ends(
    storage: Storage, desk: OutboxDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "BATCH", 2)
    monkeypatch.setattr(outbox_module, "MAX_AHEAD", 2)
    monkeypatch.setattr(outbox_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(outbox_module, "STANDSTILL_SECONDS", 0.05)
    await announced(storage, *(f"e{number}" for number in range(10)))
    await relayed(storage)

    with pytest.raises(OutboxStandsStill, match="no worker"):
        await replayed(desk, Wanted(trip_id="t1"))

    assert len(await desk.pending()) == 4


async def test_what_is_announced_after_the_question_is_not_told_twice(storage: Storage, desk: OutboxDesk) -> None:
    await announced(storage, "e1")
    await relayed(storage)
    wanted = Wanted(trip_id="t1")
    found = await desk.find(wanted)
    await announced(storage, "e2")
    await relayed(storage)

    assert sum([count async for count in desk.replay(wanted, found)]) == 1
