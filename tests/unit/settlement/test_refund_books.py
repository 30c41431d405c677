"""The one way in which a refund is changed: with its trip, on the newest rows of both, and with what is told of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from payscore_worker import metrics
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.next_step import IN_HAND
from payscore_worker.domain.refund import Pair, Refund, RefundPhase, RefundState
from payscore_worker.domain.trip import (
    Look,
    Problem,
    Trip,
)
from payscore_worker.errors import TripArchived, TripBusy
from payscore_worker.migrations import migrate
from payscore_worker.settlement.books import MAX_CONFLICTS, RefundBooks, ReturnBooks
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, OutboxRow, Storage
from payscore_worker.storage.database import open_storage
from tests.builders import FARE_SITUATIONS, MINUTE, NOW, PAYAFTER, a_paid_trip, a_word, requested

CALL = CallRecord(
    kind="refund", generation=3, method="POST", path="/refunds", body=b"{}", outcome=CallOutcome.PREPARED, at=NOW
)
NOTED = EventRecord(event_id="e1", direction=Direction.IN, type="refund.requested", at=NOW, body=b"{}")

C = TypeVar("C", Trip, Refund)


@dataclass
class Desk:
    """Our books on a database, and what can be seen of them."""

    storage: Storage
    books: RefundBooks
    bells: list[str] = field(default_factory=list)
    """How often the relay was called."""

    async def asked_for(self, **changes: Any) -> Pair:
        """Have a refund of a paid trip stand in the database."""
        trip = await self.note(a_paid_trip())
        pair = await self.books.write((trip, requested(trip)[1]), requested(trip, **changes), calls=[])
        assert pair is not None
        return pair

    async def note(self, case: C) -> C:
        """Have a case written by nobody in particular."""
        assert await self.storage.save(case, due_at=None, now=NOW)
        return replace(case, version=case.version + 1)

    async def stored(self) -> tuple[Trip | None, Refund | None]:
        return await self.storage.load("t1"), await self.storage.load_refund("r1")

    async def outbox(self) -> list[OutboxRow]:
        return await self.storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)

    async def due(self, kind: type[Trip | Refund], after: timedelta) -> int:
        return len(await self.storage.claim_due(kind, now=NOW + after, lease=MINUTE, limit=10))


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
    books = RefundBooks(storage=storage, rules=PAYAFTER, clock=lambda: NOW, on_announced=lambda: bells.append("rang"))
    yield Desk(storage, books, bells)
    await storage.aclose()


def prepared(pair: Pair) -> Pair:
    return pair[0], refunds.prepared(pair[1])


def shown(phase: RefundPhase) -> Callable[[Pair], Pair]:
    return lambda pair: refunds.see(*pair, a_word(phase), NOW)


def counted(name: str, label: str) -> float:
    return float(metrics.of(getattr(metrics, name), label)._value.get())


# --- Changed, with all that belongs to it ---


async def test_a_request_is_written_on_the_trip_and_as_a_refund_with_what_was_heard(desk: Desk) -> None:
    trip = await desk.note(a_paid_trip())
    before = counted("EVENTS_NOTED", "refund.requested"), counted("REFUNDS_REACHED", "REQUESTED")
    pair = requested(trip)

    written = await desk.books.write((trip, pair[1]), pair, calls=[], events=[NOTED])

    assert written == (replace(pair[0], version=2), replace(pair[1], version=1))
    assert await desk.stored() == written
    assert counted("EVENTS_NOTED", "refund.requested") == before[0] + 1
    assert counted("REFUNDS_REACHED", "REQUESTED") == before[1] + 1


async def test_a_change_of_the_refund_alone_leaves_its_trip_as_it_was(desk: Desk) -> None:
    trip, refund = await desk.asked_for()

    changed = await desk.books.change((trip, refund), prepared, calls=[CALL])

    assert changed == (trip, replace(refund, is_prepared=True, version=2))
    assert changed[0] is trip
    assert await desk.stored() == changed
    call = await desk.storage.last_call("t1", "refund", 3)
    assert call is not None
    assert call.path == "/refunds"


async def test_a_change_that_changes_nothing_writes_nothing(desk: Desk) -> None:
    pair = await desk.asked_for()

    assert await desk.books.change(pair, lambda same: same, events=[NOTED]) is pair

    assert await desk.stored() == pair


async def test_calls_are_kept_though_they_changed_nothing_and_no_event_is_noted_with_them(desk: Desk) -> None:
    trip, refund = await desk.asked_for()
    before = counted("EVENTS_NOTED", "refund.requested")

    left = await desk.books.change((trip, refund), lambda same: same, calls=[CALL], events=[NOTED])

    assert left == (trip, replace(refund, version=2))
    assert await desk.storage.last_call("t1", "refund") is not None
    assert counted("EVENTS_NOTED", "refund.requested") == before


async def test_a_change_of_the_trip_alone_is_a_change_as_well(desk: Desk) -> None:
    trip, refund = await desk.asked_for()

    changed = await desk.books.change((trip, refund), lambda pair: (replace(pair[0], polls=7), pair[1]))

    assert changed == (replace(trip, polls=7, version=3), replace(refund, version=2))
    assert await desk.stored() == changed


async def test_a_refund_that_was_written_is_due_when_its_next_step_is_and_its_trip_when_the_trips_is(
    desk: Desk,
) -> None:
    await desk.asked_for()

    assert await desk.due(Refund, IN_HAND - timedelta(milliseconds=1)) == 0
    assert await desk.due(Refund, IN_HAND) == 1
    assert await desk.due(Trip, timedelta(days=1_000)) == 0


async def test_the_trip_of_a_refund_keeps_the_time_when_it_is_due_itself(desk: Desk) -> None:
    trip, refund = await desk.asked_for()
    late = NOW + timedelta(hours=1)

    def looked_at(pair: Pair) -> Pair:
        return replace(pair[0], look=Look(at=late)), pair[1]

    await desk.books.change((trip, refund), looked_at)

    assert await desk.due(Trip, timedelta(hours=1) - timedelta(milliseconds=1)) == 0
    assert await desk.due(Trip, timedelta(hours=1)) == 1


# --- Overtaken ---


async def test_a_change_is_made_on_the_newest_rows_where_another_wrote_the_trip(desk: Desk) -> None:
    old, refund = await desk.asked_for()
    await desk.note(replace(old, polls=7))

    trip, changed = await desk.books.change((old, refund), shown(RefundPhase.SUCCESS))

    assert (trip.polls, trip.version) == (7, 4)
    assert (changed.state, changed.version) == (RefundState.REFUNDED, 2)
    assert await desk.stored() == (trip, changed)


async def test_a_change_is_made_on_the_newest_rows_where_another_wrote_the_refund(desk: Desk) -> None:
    trip, old = await desk.asked_for()
    await desk.note(replace(old, polls=7))

    changed = await desk.books.change((trip, old), prepared, calls=[CALL])

    assert changed == (trip, replace(old, polls=7, is_prepared=True, version=3))
    assert await desk.stored() == changed
    assert await desk.storage.last_call("t1", "refund") is not None


async def test_of_a_trip_and_a_refund_none_is_written_where_another_wrote_one_of_them(desk: Desk) -> None:
    trip, refund = await desk.asked_for()
    newer = await desk.note(refund)
    told_before = counted("REFUNDS_REACHED", "REFUNDED")

    after = refunds.see(trip, refund, a_word(), NOW)
    assert await desk.books.write((trip, refund), after, calls=[CALL], events=[NOTED]) is None

    assert await desk.stored() == (trip, newer)
    assert await desk.storage.last_call("t1", "refund") is None
    assert (await desk.outbox(), desk.bells) == ([], [])
    assert counted("REFUNDS_REACHED", "REFUNDED") == told_before


async def test_of_two_requests_at_once_the_second_is_made_on_what_the_first_has_left(desk: Desk) -> None:
    trip = await desk.note(a_paid_trip())
    first, second = requested(trip, amount_fen=3_200), requested(trip, refund_id="r2", amount_fen=3_200)
    assert await desk.books.write((trip, first[1]), first, calls=[]) is not None

    assert await desk.books.write((trip, second[1]), second, calls=[]) is None

    assert await desk.storage.load_refund("r2") is None
    stored, _ = await desk.stored()
    assert stored is not None
    assert stored.payment is not None
    assert stored.payment.reserved_fen == 3_200


async def test_a_refund_that_is_not_stored_yet_is_kept_when_its_trip_is_loaded_anew(desk: Desk) -> None:
    trip = await desk.note(a_paid_trip())
    newer = await desk.note(replace(trip, polls=7))
    _, refund = requested(trip)

    assert await desk.books.reload((trip, refund)) == (newer, refund)


async def test_a_writer_who_is_overtaken_again_and_again_gives_up_and_names_the_trip(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await desk.asked_for()
    asked: list[Pair] = []

    def asks(newest: Pair) -> Pair:
        asked.append(newest)
        return refunds.see(*newest, a_word(), NOW)

    async def overtaken(*_: Any, **__: Any) -> bool:
        return False

    monkeypatch.setattr(desk.storage, "save_together", overtaken)
    with pytest.raises(TripBusy, match=r"^trip t1 was moved by others 8 times in a row$"):
        await desk.books.change(pair, asks)

    assert len(asked) == MAX_CONFLICTS


async def test_a_refund_whose_trip_is_gone_meanwhile_says_so(desk: Desk) -> None:
    trip, refund = requested()

    with pytest.raises(TripArchived, match=r"^trip 't1' is no longer there$"):
        await desk.books.change((replace(trip, version=3), replace(refund, version=1)), shown(RefundPhase.SUCCESS))


async def test_the_trip_is_written_first_whoever_writes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    trip, refund = await desk.asked_for()
    written: list[list[type]] = []
    save_together = desk.storage.save_together

    async def watched(entries: Any, **others: Any) -> bool:
        written.append([type(entry.case) for entry in entries])
        return await save_together(entries, **others)

    monkeypatch.setattr(desk.storage, "save_together", watched)
    await desk.books.change((trip, refund), shown(RefundPhase.SUCCESS))

    assert written == [[Trip, Refund]]


# --- Announced ---


async def test_what_is_announced_carries_the_version_of_the_trip_though_nothing_changed_on_it(desk: Desk) -> None:
    trip, refund = await desk.asked_for()
    before = counted("ANNOUNCEMENTS", "settlement.refund_problem")

    changed = await desk.books.change((trip, refund), shown(RefundPhase.ABNORMAL))

    assert changed[0] == replace(trip, version=3)
    assert await desk.stored() == changed
    (row,) = await desk.outbox()
    envelope = json.loads(row.body)
    assert (row.trip_id, row.type) == ("t1", "settlement.refund_problem")
    assert (envelope["sequence"], envelope["subject"]) == ("0000000003", "t1")
    assert (envelope["data"]["refund_id"], envelope["data"]["code"]) == ("r1", "refund_abnormal")
    assert desk.bells == ["rang"]
    assert counted("ANNOUNCEMENTS", "settlement.refund_problem") == before + 1


async def test_money_that_went_back_is_announced_under_the_version_in_which_it_was_booked(desk: Desk) -> None:
    pair = await desk.asked_for()

    trip, _ = await desk.books.change(pair, shown(RefundPhase.SUCCESS))

    (row,) = await desk.outbox()
    envelope = json.loads(row.body)
    assert envelope["sequence"] == f"{trip.version:010}"
    assert envelope["data"]["refunded_fen"] == 1_000


async def test_what_follows_an_announcement_is_written_on_the_rows_that_it_left(desk: Desk) -> None:
    stopped = await desk.books.change(await desk.asked_for(), shown(RefundPhase.ABNORMAL))

    over = await desk.books.write(stopped, shown(RefundPhase.SUCCESS)(stopped), calls=[])

    assert over is not None
    assert await desk.stored() == over
    assert [json.loads(row.body)["sequence"] for row in await desk.outbox()] == ["0000000003", "0000000004"]


async def test_a_change_of_which_nothing_is_told_wakes_nobody(desk: Desk) -> None:
    await desk.books.change(await desk.asked_for(), shown(RefundPhase.PROCESSING), events=[NOTED])

    assert (await desk.outbox(), desk.bells) == ([], [])


async def test_what_went_back_is_counted_for_the_account_whose_trip_it_is(desk: Desk) -> None:
    rules = replace(PAYAFTER, account="home")
    books = RefundBooks(storage=desk.storage, rules=rules, clock=lambda: NOW, on_announced=lambda: None)
    pair, before = await desk.asked_for(), counted("REFUNDED_FEN", "home")

    await books.change(pair, shown(RefundPhase.SUCCESS))

    assert counted("REFUNDED_FEN", "home") == before + 1_000


async def test_a_trip_that_was_paid_twice_is_due_as_the_settings_say(desk: Desk) -> None:
    twice = await desk.note(FARE_SITUATIONS["paid twice"]())

    written = await desk.books.write((twice, requested(twice)[1]), requested(twice), calls=[])

    assert written is not None
    assert await desk.due(Trip, IN_HAND) == 1


# --- Asked for by the trip itself ---


async def test_a_refund_that_a_trip_has_asked_for_itself_is_due_at_once_and_its_trip_is_not(desk: Desk) -> None:
    returns = ReturnBooks(
        storage=desk.storage, rules=PAYAFTER, clock=lambda: NOW, on_announced=lambda: desk.bells.append("rang")
    )
    trip = await desk.note(FARE_SITUATIONS["paid twice"]())
    pair = requested(trip)

    written = await returns.write((trip, pair[1]), pair, calls=[])

    assert written == (replace(pair[0], version=2), replace(pair[1], version=1))
    assert await desk.stored() == written
    assert await desk.due(Refund, timedelta(0)) == 1
    assert await desk.due(Trip, IN_HAND - timedelta(milliseconds=1)) == 0


async def test_what_is_told_of_such_a_refund_is_written_with_its_trip(desk: Desk) -> None:
    returns = ReturnBooks(
        storage=desk.storage, rules=PAYAFTER, clock=lambda: NOW, on_announced=lambda: desk.bells.append("rang")
    )
    trip, refund = await desk.asked_for()
    stopped = replace(refund, problem=Problem(code="X", message="", request_id="", step="SendRefund", since=NOW))

    await returns.write((trip, refund), (trip, replace(stopped, problem_told="X SendRefund")), calls=[])

    assert [json.loads(row.body)["sequence"] for row in await desk.outbox()] == ["0000000003"]
    assert (await desk.stored())[0] == replace(trip, version=3)
