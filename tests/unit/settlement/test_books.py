"""The one way in which a trip's row is changed: on its newest row, and together with what is told of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from payscore_worker import metrics, tracing
from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import IN_HAND
from payscore_worker.domain.trip import (
    DeclineReason,
    Trip,
    TripState,
    note_cancelled,
    note_started,
)
from payscore_worker.errors import TripArchived, TripBusy
from payscore_worker.migrations import migrate
from payscore_worker.settlement.books import MAX_CONFLICTS, TripBooks
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, OutboxRow, Storage
from payscore_worker.storage.database import open_storage
from tests.builders import NOW, PAYAFTER, SITUATIONS, a_cancellation, a_jump, a_start, a_trip, an_order

MINUTE = timedelta(minutes=1)
CALL = CallRecord(
    kind="create", generation=1, method="POST", path="/create", body=b"{}", outcome=CallOutcome.PREPARED, at=NOW
)
NOTED = EventRecord(event_id="e1", direction=Direction.IN, type="trip.started", at=NOW, body=b"{}")


@dataclass
class Desk:
    """Our books on a database, and what can be seen of them."""

    storage: Storage
    books: TripBooks
    bells: list[str] = field(default_factory=list)
    """How often the relay was called."""

    async def note(self, trip: Trip) -> Trip:
        """Have a trip stand in the database, written by nobody in particular."""
        assert await self.storage.save(trip, due_at=None, now=NOW)
        return replace(trip, version=trip.version + 1)

    async def outbox(self) -> list[OutboxRow]:
        return await self.storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Make the tables once; each test has a copy."""
    file = tmp_path_factory.mktemp("books") / "empty.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{file}"))
    return file.read_bytes()


@pytest.fixture
async def desk(empty_database: bytes, tmp_path: Path) -> AsyncIterator[Desk]:
    file = tmp_path / "test.db"
    file.write_bytes(empty_database)
    storage = await open_storage(f"sqlite+aiosqlite:///{file}")
    bells: list[str] = []
    books = TripBooks(
        storage=storage,
        rules=PAYAFTER,
        clock=lambda: NOW,
        jump=a_jump,
        on_announced=lambda: bells.append("rang"),
    )
    yield Desk(storage, books, bells)
    await storage.aclose()


def started(trip: Trip) -> Trip:
    return note_started(trip, a_start())


def counted(name: str, *labels: str) -> float:
    return float(metrics.of(getattr(metrics, name), *labels)._value.get())


# --- Changed, with all that belongs to it ---


async def test_a_change_is_written_with_its_calls_and_events_and_comes_back_under_its_new_version(desk: Desk) -> None:
    before = counted("EVENTS_NOTED", "trip.started")

    changed = await desk.books.change(a_trip(), started, calls=[CALL], events=[NOTED])

    assert changed == replace(started(a_trip()), version=1)
    assert await desk.storage.load("t1") == changed
    call = await desk.storage.last_call("t1", "create")
    assert call is not None
    assert call.path == "/create"
    assert counted("EVENTS_NOTED", "trip.started") == before + 1


async def test_a_change_that_changes_nothing_writes_nothing_and_notes_no_event(desk: Desk) -> None:
    trip = await desk.note(started(a_trip()))
    before = counted("EVENTS_NOTED", "trip.started")

    assert await desk.books.change(trip, started, events=[NOTED]) is trip

    assert await desk.storage.load("t1") == trip
    assert counted("EVENTS_NOTED", "trip.started") == before


async def test_calls_are_kept_though_they_changed_nothing_and_no_event_is_noted_with_them(desk: Desk) -> None:
    trip = await desk.note(started(a_trip()))
    before = counted("EVENTS_NOTED", "trip.started")

    left = await desk.books.change(trip, started, calls=[CALL], events=[NOTED])

    assert left == replace(trip, version=2)
    assert await desk.storage.last_call("t1", "create") is not None
    assert counted("EVENTS_NOTED", "trip.started") == before


async def test_a_trip_that_was_changed_is_due_when_its_next_step_is(desk: Desk) -> None:
    await desk.books.change(a_trip(), started)

    async def due(after: timedelta) -> list[str]:
        return [trip.trip_id for trip in await desk.storage.claim_due(Trip, now=NOW + after, lease=MINUTE, limit=10)]

    assert await due(IN_HAND - timedelta(milliseconds=1)) == []
    assert await due(IN_HAND) == ["t1"]


# --- Overtaken ---


async def test_a_change_is_made_on_the_newest_row_where_another_writer_was_faster(desk: Desk) -> None:
    old = await desk.note(a_trip())
    await desk.note(replace(old, polls=7))

    changed = await desk.books.change(old, started, calls=[CALL], events=[NOTED])

    assert changed == replace(started(a_trip()), polls=7, version=3)
    assert await desk.storage.load("t1") == changed
    assert await desk.storage.last_call("t1", "create") is not None


async def test_what_only_the_run_in_hand_knows_survives_that_the_row_is_loaded_anew(desk: Desk) -> None:
    trip = await desk.note(a_trip())

    reloaded = await desk.books.reload(replace(trip, service_enabled=True, finish_ticket="ticket"))

    assert reloaded == replace(trip, service_enabled=True, finish_ticket="ticket")


async def test_a_ticket_that_the_newest_row_holds_is_the_newer_one(desk: Desk) -> None:
    trip = await desk.note(replace(a_trip(), finish_ticket="newer"))

    assert (await desk.books.reload(replace(trip, finish_ticket="older"))).finish_ticket == "newer"


async def test_a_writer_who_is_overtaken_again_and_again_gives_up_and_names_the_trip(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = await desk.note(a_trip())
    asked: list[Trip] = []

    def asks(newest: Trip) -> Trip:
        asked.append(newest)
        return started(newest)

    async def overtaken(*_: Any, **__: Any) -> bool:
        return False

    monkeypatch.setattr(desk.storage, "save", overtaken)
    with pytest.raises(TripBusy, match=r"^trip t1 was moved by others 8 times in a row$"):
        await desk.books.change(trip, asks)

    assert len(asked) == MAX_CONFLICTS == 8


async def test_a_trip_that_is_gone_meanwhile_is_said_to_be_gone(desk: Desk) -> None:
    with pytest.raises(TripArchived, match=r"^trip 't1' is no longer there$"):
        await desk.books.change(replace(a_trip(), version=3), started)


async def test_who_loses_the_race_announces_nothing_counts_nothing_and_wakes_nobody(desk: Desk) -> None:
    old = await desk.note(started(a_trip()))
    await desk.note(old)
    before = counted("STATES_REACHED", "default", "CANCELLED")

    written = await desk.books.write(old, note_cancelled(old, a_cancellation()), calls=[])

    assert not written
    assert (await desk.outbox(), desk.bells) == ([], [])
    assert counted("STATES_REACHED", "default", "CANCELLED") == before


# --- Announced ---


class Tracer:
    """Have a trace for everything."""

    def span(self, *_: Any) -> Any:
        raise NotImplementedError

    def carried(self) -> dict[str, str]:
        return {"traceparent": "00-1-2-01"}

    def end(self) -> None:
        """Have nothing to end."""


async def test_what_is_announced_waits_in_the_outbox_under_the_version_that_it_tells_of(desk: Desk) -> None:
    before = await desk.note(SITUATIONS["creating"]())
    counted_before = counted("ANNOUNCEMENTS", "settlement.opened")

    with tracing.traced(Tracer()):
        opened = await desk.books.change(before, lambda trip: outcomes.opened(trip, an_order(), NOW))

    assert (opened.state, opened.version) == (TripState.OPEN, 2)
    (row,) = await desk.outbox()
    envelope = json.loads(row.body)
    data = envelope.pop("data")
    assert envelope == {
        "specversion": "1.0",
        "id": row.event_id,
        "source": "payscore-worker",
        "type": "settlement.opened",
        "time": NOW.isoformat().replace("+00:00", "Z"),
        "subject": "t1",
        "datacontenttype": "application/json",
        "sequence": "0000000002",
        "traceparent": "00-1-2-01",
    }
    assert (row.trip_id, row.type, len(row.event_id)) == ("t1", "settlement.opened", 32)
    assert (data["trip_id"], data["risk_amount_fen"]) == ("t1", 20_000)
    assert desk.bells == ["rang"]
    assert counted("ANNOUNCEMENTS", "settlement.opened") == counted_before + 1


async def test_a_change_of_which_nothing_is_told_wakes_nobody(desk: Desk) -> None:
    await desk.books.change(a_trip(), started, events=[NOTED])

    assert (await desk.outbox(), desk.bells) == ([], [])


async def test_each_announcement_has_an_id_of_its_own_and_a_decline_tells_how_to_enable_the_service(
    desk: Desk,
) -> None:
    def declined(trip: Trip) -> Trip:
        return outcomes.declined(trip, DeclineReason.SERVICE_NOT_ENABLED, "", now=NOW)

    for trip_id in ("t1", "t2"):
        await desk.books.change(await desk.note(started(a_trip(trip_id))), declined)

    rows = await desk.outbox()

    assert len({row.event_id for row in rows}) == 2
    assert [json.loads(row.body)["data"]["enable"]["extraData"] for row in rows] == [{"of": "t1"}, {"of": "t2"}]


async def test_a_state_is_counted_for_the_account_whose_trip_it_is(desk: Desk) -> None:
    books = TripBooks(
        storage=desk.storage,
        rules=replace(PAYAFTER, account="home"),
        clock=lambda: NOW,
        jump=a_jump,
        on_announced=lambda: None,
    )
    before = counted("STATES_REACHED", "home", "NOTED")

    await books.change(a_trip(), started)

    assert counted("STATES_REACHED", "home", "NOTED") == before + 1
