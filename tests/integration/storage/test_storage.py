"""Storage on both databases: what is written comes back, and nobody overwrites anybody."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from payscore_worker.domain.trip import (
    Trip,
    TripState,
)
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, ServiceNote, Storage
from tests.builders import NOW, SITUATIONS, a_doubt, a_trip

MINUTE = timedelta(minutes=1)


def a_call(**changes: object) -> CallRecord:
    call = CallRecord(
        kind="create",
        generation=1,
        method="POST",
        path="/v3/payscore/payafter-orders",
        body='{"reason":"静安寺"}'.encode(),
        outcome=CallOutcome.PREPARED,
        at=NOW,
    )
    return replace(call, **changes)  # type: ignore[arg-type]


def an_event(event_id: str = "e1", direction: Direction = Direction.OUT) -> EventRecord:
    return EventRecord(event_id=event_id, direction=direction, type="settlement.opened", at=NOW, body=b"{}")


async def saved(storage: Storage, trip: Trip, **options: object) -> Trip:
    assert await storage.save(trip, due_at=None, now=NOW, **options)  # type: ignore[arg-type]
    return replace(trip, version=trip.version + 1)


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_trip_in_any_situation_comes_back_as_it_was_written(storage: Storage, situation: str) -> None:
    trip = replace(SITUATIONS[situation](), doubt=a_doubt(), polls=3, bodies=2, stale_since=NOW)

    written = await saved(storage, trip)

    assert await storage.load(trip.trip_id) == written
    assert await storage.load_by_out_order_no(trip.out_order_no) == written


async def test_what_only_one_run_knows_is_not_stored(storage: Storage) -> None:
    await saved(storage, replace(a_trip(), service_enabled=True))

    loaded = await storage.load("t1")

    assert loaded is not None
    assert not loaded.service_enabled


async def test_an_unknown_trip_is_none(storage: Storage) -> None:
    assert await storage.load("nobody") is None
    assert await storage.load_by_out_order_no("nobody") is None


async def test_of_two_that_write_the_same_trip_one_is_told_to_look_again(storage: Storage) -> None:
    trip = await saved(storage, SITUATIONS["completed"]())

    results = await asyncio.gather(
        *(storage.save(replace(trip, polls=polls), due_at=None, now=NOW) for polls in range(8))
    )

    assert sorted(results) == [False] * 7 + [True]


async def test_of_two_that_note_a_new_trip_one_is_told_to_look_again(storage: Storage) -> None:
    results = await asyncio.gather(*(storage.save(a_trip(), due_at=None, now=NOW) for _ in range(8)))

    assert sorted(results) == [False] * 7 + [True]


async def test_what_loses_the_race_leaves_no_call_and_no_event(storage: Storage) -> None:
    trip = await saved(storage, a_trip())
    await saved(storage, trip)

    late = await storage.save(trip, due_at=None, now=NOW, calls=[a_call()], events=[an_event()])

    assert not late
    assert await storage.last_call("t1", "create") is None
    assert await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10) == []


async def test_a_journaled_body_is_never_overwritten(storage: Storage) -> None:
    trip = await saved(storage, a_trip(), calls=[a_call()])

    await saved(storage, trip, calls=[a_call(body=b"other", path="/other", outcome=CallOutcome.ACCEPTED, attempts=1)])

    call = await storage.last_call("t1", "create")
    assert call is not None
    assert (call.body, call.path) == (a_call().body, a_call().path)
    assert call.outcome is CallOutcome.ACCEPTED


async def test_the_journal_adds_up_attempts_and_remembers_a_doubt(storage: Storage) -> None:
    trip = await saved(storage, a_trip(), calls=[a_call()])

    await storage.journal(trip, a_call(attempts=3, outcome=CallOutcome.UNKNOWN, uncertain=True))
    await storage.journal(trip, a_call(attempts=1, outcome=CallOutcome.ACCEPTED, status=200, request_id="r"))

    call = await storage.last_call("t1", "create")
    assert call is not None
    assert (call.attempts, call.uncertain, call.status, call.request_id) == (4, True, 200, "r")


async def test_the_newest_generation_of_a_call_is_the_one_to_send(storage: Storage) -> None:
    await saved(storage, a_trip(), calls=[a_call(), a_call(generation=2, body=b"new")])

    call = await storage.last_call("t1", "create")

    assert call is not None
    assert (call.generation, call.body) == (2, b"new")


async def test_a_due_trip_is_claimed_once_until_the_lease_ends_and_then_for_twice_as_long(storage: Storage) -> None:
    assert await storage.save(a_trip(), due_at=NOW, now=NOW)

    async def claimed(after: timedelta) -> int:
        return len(await storage.claim_due(Trip, now=NOW + after, lease=MINUTE, limit=10))

    assert await claimed(-timedelta(seconds=1)) == 0
    assert await claimed(timedelta(0)) == 1
    assert await claimed(timedelta(seconds=59)) == 0
    assert await claimed(MINUTE) == 1
    assert await claimed(2 * MINUTE) == 0
    assert await claimed(3 * MINUTE) == 1


async def test_reconcilers_side_by_side_claim_each_due_trip_once(storage: Storage) -> None:
    for number in range(50):
        assert await storage.save(a_trip(f"t{number}"), due_at=NOW, now=NOW)

    batches = await asyncio.gather(*(storage.claim_due(Trip, now=NOW, lease=MINUTE, limit=20) for _ in range(6)))

    claimed = [trip.trip_id for batch in batches for trip in batch]
    assert len(claimed) == len(set(claimed))
    rest = await storage.claim_due(Trip, now=NOW, lease=MINUTE, limit=50)
    assert sorted([*claimed, *(trip.trip_id for trip in rest)]) == sorted(f"t{number}" for number in range(50))


async def test_a_trip_that_is_written_is_no_longer_claimed(storage: Storage) -> None:
    assert await storage.save(a_trip(), due_at=NOW, now=NOW)
    (trip,) = await storage.claim_due(Trip, now=NOW, lease=MINUTE, limit=1)

    assert await storage.save(trip, due_at=NOW, now=NOW)

    assert len(await storage.claim_due(Trip, now=NOW, lease=MINUTE, limit=1)) == 1


async def test_rescheduling_does_not_touch_a_trip_that_somebody_wrote_meanwhile(storage: Storage) -> None:
    assert await storage.save(a_trip(), due_at=NOW, now=NOW)
    (claimed,) = await storage.claim_due(Trip, now=NOW, lease=MINUTE, limit=1)
    assert await storage.save(claimed, due_at=NOW, now=NOW)

    await storage.reschedule(claimed, due_at=None)

    assert len(await storage.claim_due(Trip, now=NOW, lease=MINUTE, limit=1)) == 1


async def test_announcements_are_claimed_in_order_and_once_until_the_lease_ends(storage: Storage) -> None:
    trip = await saved(storage, a_trip(), events=[an_event("e1"), an_event("in", Direction.IN)])
    await saved(storage, trip, events=[an_event("e2")])

    async def claimed(after: timedelta) -> list[str]:
        return [row.event_id for row in await storage.claim_outbox(now=NOW + after, lease=MINUTE, limit=10)]

    assert await claimed(timedelta(0)) == ["e1", "e2"]
    assert await claimed(timedelta(seconds=59)) == []
    assert await claimed(MINUTE) == ["e1", "e2"]


async def test_a_published_announcement_is_not_claimed_again(storage: Storage) -> None:
    await saved(storage, a_trip(), events=[an_event("e1"), an_event("e2")])
    rows = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)

    await storage.mark_published([rows[0].id], now=NOW)

    later = await storage.claim_outbox(now=NOW + MINUTE, lease=MINUTE, limit=10)
    assert [row.event_id for row in later] == ["e2"]


async def test_a_postponed_announcement_comes_back_at_its_time_with_its_attempts_counted(storage: Storage) -> None:
    await saved(storage, a_trip(), events=[an_event()])
    (row,) = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)

    await storage.postpone_outbox([row.id], until=NOW + 5 * MINUTE)

    assert await storage.claim_outbox(now=NOW + 4 * MINUTE, lease=MINUTE, limit=10) == []
    (again,) = await storage.claim_outbox(now=NOW + 5 * MINUTE, lease=MINUTE, limit=10)
    assert (row.attempts, again.attempts) == (0, 1)


async def test_relays_side_by_side_claim_each_announcement_once(storage: Storage) -> None:
    await saved(storage, a_trip(), events=[an_event(f"e{number}") for number in range(60)])

    batches = await asyncio.gather(*(storage.claim_outbox(now=NOW, lease=MINUTE, limit=25) for _ in range(6)))

    claimed = [row.event_id for batch in batches for row in batch]
    assert len(claimed) == len(set(claimed))


async def test_the_newest_word_on_a_passengers_service_stands(storage: Storage) -> None:
    await storage.note_service("o1", ServiceNote(enabled=True, as_of=NOW))
    await storage.note_service("o1", ServiceNote(enabled=False, as_of=NOW - MINUTE))
    assert await storage.service_of("o1") == ServiceNote(enabled=True, as_of=NOW)

    await storage.note_service("o1", ServiceNote(enabled=False, as_of=NOW + MINUTE))
    assert await storage.service_of("o1") == ServiceNote(enabled=False, as_of=NOW + MINUTE)
    assert await storage.service_of("o2") is None


async def test_hundreds_of_writers_at_once_all_get_through(storage: Storage) -> None:
    trips = [a_trip(f"t{number}") for number in range(300)]

    written = await asyncio.gather(*(storage.save(trip, due_at=NOW, now=NOW, events=[an_event()]) for trip in trips))

    assert all(written)
    loaded = await asyncio.gather(*(storage.load(trip.trip_id) for trip in trips))
    assert [trip.state for trip in loaded if trip is not None] == [TripState.NOTED] * 300
