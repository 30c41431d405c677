"""Archiving moves trips that are over into files, each of them once, whatever happens on the way."""

import asyncio
import base64
import gzip
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from payscore_worker.domain.next_step import due_at
from payscore_worker.domain.refund import RefundState, Refused
from payscore_worker.domain.trip import (
    TERMINAL,
    Problem,
    Trip,
)
from payscore_worker.errors import Refusal, UnreadableRow
from payscore_worker.storage import CallOutcome, CallRecord, Direction, Entry, EventRecord, ServiceNote, Storage
from payscore_worker.storage.archive import PASSENGERS_KEPT, Archive, ArchiveInUse, ArchiveUnwritable, Moved, Plan
from payscore_worker.storage.engine import engine_for
from tests.builders import NOW, PAYAFTER, SITUATIONS
from tests.integration.storage.refunds import a_refund_of

DAY: Final = timedelta(days=1)
LATER: Final = NOW + DAY
NO_TEXT: Final = b"\xff\x00\xfe"


def a_call(body: bytes = b'{"reason": "x"}') -> CallRecord:
    return CallRecord(
        kind="complete",
        generation=2,
        method="POST",
        path="/v3/payscore/payafter-orders/t1/complete",
        body=body,
        outcome=CallOutcome.ACCEPTED,
        at=NOW,
        attempts=1,
        status=200,
    )


def an_event(event_id: str, direction: Direction = Direction.IN) -> EventRecord:
    return EventRecord(
        event_id=event_id, direction=direction, type="trip.ended", at=NOW, body='{"a":"静安寺"}'.encode()
    )


async def note(storage: Storage, situation: str, trip_id: str | None = None, **options: Any) -> Trip:
    name = trip_id or situation
    trip = replace(SITUATIONS[situation](), trip_id=name, out_order_no=name.replace(" ", "_").replace(",", "_"))
    settings: dict[str, Any] = {"due_at": None, "now": NOW, "calls": [a_call()], "events": [an_event(f"e-{name}")]}
    assert await storage.save(trip, **{**settings, **options})
    return replace(trip, version=1)


async def paid_trips(storage: Storage, count: int) -> set[str]:
    names = {f"t{number}" for number in range(count)}
    for name in names:
        await note(storage, "paid", name)
    return names


async def move(database_url: str, directory: Path, *, before: datetime = LATER, **options: int) -> Moved:
    total = Moved()
    async with Archive.of(database_url) as archive:
        async for moved in archive.run(Plan(before=before, directory=directory, **options), LATER):
            total += moved
    return total


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def finished(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl.gz"))


def unfinished(directory: Path) -> list[str]:
    return [file.name for file in directory.glob("*.jsonl.gz.*")]


def stories(directory: Path) -> list[dict[str, Any]]:
    """Read every story of every finished file."""
    return [story for file in finished(directory) for story in lines(file)[1:]]


def filed(directory: Path) -> list[str]:
    return sorted(story["trip"]["trip_id"] for story in stories(directory))


async def column(database_url: str, statement: str) -> list[Any]:
    async with engine_for(database_url) as engine, engine.connect() as connection:
        return [row[0] for row in await connection.execute(text(statement))]


async def standing(database_url: str) -> set[str]:
    return set(await column(database_url, "SELECT trip_id FROM trip"))


async def test_trips_that_are_over_go_and_the_others_stay_also_those_to_be_looked_at_once_more(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    over = set()
    for situation, build in SITUATIONS.items():
        trip = await note(storage, situation, due_at=due_at(build(), NOW, PAYAFTER))
        if trip.state in TERMINAL and trip.problem is None and trip.look is None:
            over.add(situation)

    moved = await move(database_url, tmp_path)

    assert over == {"cancelled, not started", "paid", "declined", "cancelled"}
    assert (moved.trips, moved.calls, moved.events) == (len(over), len(over), len(over))
    assert filed(tmp_path) == sorted(over)
    assert await standing(database_url) == set(SITUATIONS) - over


async def test_calls_and_events_go_with_their_trip_and_no_others(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    await note(storage, "paid")
    await note(storage, "open")

    await move(database_url, tmp_path)

    assert await column(database_url, "SELECT trip_id FROM wechatpay_call") == ["open"]
    assert await column(database_url, "SELECT trip_id FROM trip_event") == ["open"]


async def test_the_file_holds_all_that_the_rows_held(storage: Storage, database_url: str, tmp_path: Path) -> None:
    trip = await note(storage, "paid", calls=[a_call(NO_TEXT), replace(a_call(), kind="create", generation=1)])

    await move(database_url, tmp_path)

    [file] = finished(tmp_path)
    header, story = lines(file)
    assert (header["format"], header["trips"]) == ("payscore-archive/1", 1)
    assert (story["trip"]["state"], story["trip"]["paid_fen"], story["trip"]["version"]) == ("PAID", 3_200, 1)
    assert story["trip"]["started"]["openid"] == trip.started.openid if trip.started else False
    assert datetime.fromisoformat(story["trip"]["paid_at"]) == NOW
    bodies = {call["kind"]: call.get("body") or base64.b64decode(call["body_base64"]) for call in story["calls"]}
    assert bodies == {"complete": NO_TEXT, "create": '{"reason": "x"}'}
    assert [(noted["event_id"], noted["body"]) for noted in story["events"]] == [("e-paid", '{"a":"静安寺"}')]


async def test_only_its_owner_may_read_the_file(storage: Storage, database_url: str, tmp_path: Path) -> None:
    await note(storage, "paid")
    await move(database_url, tmp_path / "new")

    [file] = finished(tmp_path / "new")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize(
    "options",
    [
        {"events": [an_event("e1", Direction.OUT)]},
        {"due_at": NOW},
        {"now": LATER},
    ],
    ids=["has something to announce", "is due", "was touched since"],
)
async def test_a_trip_that_is_not_quite_over_stays(
    storage: Storage, database_url: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    await note(storage, "paid", **options)

    assert (await move(database_url, tmp_path)).trips == 0
    assert await standing(database_url) == {"paid"}
    assert (finished(tmp_path), unfinished(tmp_path)) == ([], [])


async def test_a_trip_goes_once_its_announcement_is_published(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    await note(storage, "paid", events=[an_event("e1", Direction.OUT)])
    [row] = await storage.claim_outbox(now=NOW, lease=DAY, limit=1)
    await storage.mark_published([row.id], now=NOW)

    assert (await move(database_url, tmp_path)).trips == 1


async def test_a_batch_is_a_file_and_no_trip_is_in_two(storage: Storage, database_url: str, tmp_path: Path) -> None:
    names = await paid_trips(storage, 5)

    moved = await move(database_url, tmp_path, batch=2)

    assert len(moved.files) == len(finished(tmp_path)) == 3
    assert filed(tmp_path) == sorted(names)


async def test_a_run_stops_at_its_limit(storage: Storage, database_url: str, tmp_path: Path) -> None:
    await paid_trips(storage, 5)

    assert (await move(database_url, tmp_path, batch=2, limit=3)).trips == 3
    assert len(await standing(database_url)) == 2


async def test_counting_touches_nothing(storage: Storage, database_url: str) -> None:
    names = await paid_trips(storage, 3)
    await note(storage, "open")

    async with Archive.of(database_url) as archive:
        assert await archive.count(LATER) == Moved(trips=3, calls=3, events=3)

    assert await standing(database_url) == {*names, "open"}


async def test_what_is_remembered_names_the_file(storage: Storage, database_url: str, tmp_path: Path) -> None:
    trip = await note(storage, "paid")

    moved = await move(database_url, tmp_path)

    archived = await storage.archived("paid")
    assert archived is not None
    assert archived == await storage.archived_by_out_order_no(trip.out_order_no)
    assert (archived.archive, archived.payment) == (moved.files[0], trip.payment)
    assert archived.knows(trip)
    assert not archived.knows(replace(trip, cancelled=SITUATIONS["cancelled"]().cancelled))


async def test_an_archived_trip_cannot_be_noted_anew(storage: Storage, database_url: str, tmp_path: Path) -> None:
    trip = await note(storage, "paid")
    await move(database_url, tmp_path)

    for again in (replace(trip, version=0), replace(trip, version=0, trip_id="another"), trip):
        assert not await storage.save(again, due_at=None, now=NOW, events=[an_event("late")])

    assert await standing(database_url) == set()
    assert await column(database_url, "SELECT event_id FROM trip_event") == []


# --- Refunds ---


async def refunded(storage: Storage, *refund_ids: str, trip_id: str = "paid", **changes: Any) -> None:
    """Have a paid trip, and refunds of it that changed nothing since."""
    trip = await note(storage, "paid", trip_id)
    for refund_id in refund_ids:
        trip, refund = a_refund_of(trip, refund_id, amount_fen=100, **{"state": RefundState.REFUNDED, **changes})
        entries = [Entry(case=trip, due_at=None), Entry(case=refund, due_at=None)]
        assert await storage.save_together(entries, now=NOW)
        trip = replace(trip, version=trip.version + 1)


async def refunds_standing(database_url: str) -> set[str]:
    return set(await column(database_url, "SELECT refund_id FROM refund"))


A_PROBLEM: Final = Problem(code="refund_slow", message="late", request_id="", step="AskRefund", since=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": RefundState.REQUESTED},
        {"state": RefundState.ACCEPTED},
        {"state": RefundState.REFUNDED, "problem": A_PROBLEM},
    ],
    ids=["requested", "accepted", "with a problem"],
)
async def test_a_trip_with_a_refund_under_way_stays_with_all_its_refunds(
    storage: Storage, database_url: str, tmp_path: Path, changes: dict[str, Any]
) -> None:
    await refunded(storage, "r1", **changes)
    await refunded(storage, "r2", trip_id="another")

    async with Archive.of(database_url) as archive:
        assert (await archive.count(LATER)).trips == 1
    assert (await move(database_url, tmp_path)).trips == 1
    assert await standing(database_url) == {"paid"}
    assert await refunds_standing(database_url) == {"r1"}


@pytest.mark.parametrize("state", [RefundState.REFUNDED, RefundState.FAILED])
async def test_refunds_that_are_over_go_with_their_trip(
    storage: Storage, database_url: str, tmp_path: Path, state: RefundState
) -> None:
    await refunded(storage, "r1", "r2", state=state)

    async with Archive.of(database_url) as archive:
        assert (await archive.count(LATER)).refunds == 2
    moved = await move(database_url, tmp_path)

    assert (moved.trips, moved.refunds) == (1, 2)
    assert await refunds_standing(database_url) == set()


async def test_a_refund_of_a_state_that_this_release_does_not_know_keeps_its_trip(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    await refunded(storage, "r1")
    await change(database_url, "UPDATE refund SET state = 'RETURNED'")

    assert (await move(database_url, tmp_path)).trips == 0


async def test_the_story_tells_of_every_refund_all_that_its_row_held(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    why = Refused(step="SendRefund", refusal=Refusal.NOT_ENOUGH, code="NOT_ENOUGH", message="余额不足", request_id="x")
    await refunded(storage, "r1", "r2", refused=why)
    await refunded(storage, trip_id="never refunded")
    await change(
        database_url, "UPDATE refund SET generation = 9 WHERE refund_id = 'r1'"
    )  # its body came after the other's

    await move(database_url, tmp_path)

    told = {story["trip"]["trip_id"]: story["refunds"] for story in stories(tmp_path)}
    assert [(refund["refund_id"], refund["amount_fen"], refund["state"]) for refund in told["paid"]] == [
        ("r2", 100, "REFUNDED"),
        ("r1", 100, "REFUNDED"),
    ]
    assert told["paid"][0]["refused"]["message"] == "余额不足"
    assert told["paid"][0]["problem"] is None
    assert told["never refunded"] == []


async def test_a_run_that_cannot_write_costs_no_refund(
    storage: Storage, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refunded(storage, "r1")
    monkeypatch.setattr("payscore_worker.storage.archive.gzip.decompress", lambda _data: b"")

    with pytest.raises(ArchiveUnwritable):
        await move(database_url, tmp_path)

    assert await refunds_standing(database_url) == {"r1"}


# --- Broken off ---

KILLED_AT: Final = {
    "the file is written, not yet checked": "gzip.decompress = die",
    "the file is whole, the rows stand": "archive.insert = die",
    "the rows are deleted, not yet committed": "event.listen(Engine, 'commit', die)",
    "committed, the file not yet renamed": "rename = archive._rename; "
    "archive._rename = lambda old, new: die() if old.suffix == '.prepared' else rename(old, new)",
}

SCRIPT: Final = """
import asyncio, gzip, os, signal, sys
from datetime import datetime
from pathlib import Path
from sqlalchemy import Engine, event
from payscore_worker.storage import archive

def die(*_args, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

{trap}

async def run():
    plan = archive.Plan(before=datetime.fromisoformat(sys.argv[3]), directory=Path(sys.argv[2]), batch=2)
    async with archive.Archive.of(sys.argv[1]) as one:
        async for _ in one.run(plan, plan.before):
            pass

asyncio.run(run())
"""


@pytest.mark.parametrize("point", KILLED_AT)
async def test_a_run_that_was_killed_loses_nothing_and_files_nothing_twice(
    storage: Storage, database_url: str, tmp_path: Path, point: str
) -> None:
    names = await paid_trips(storage, 3)
    script = SCRIPT.format(trap=KILLED_AT[point])
    words: Sequence[str] = ["-c", script, database_url, str(tmp_path), LATER.isoformat()]
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    assert await process.wait() == -signal.SIGKILL
    assert filed(tmp_path) == []  # nothing is handed out that may come again

    moved = await move(database_url, tmp_path, batch=2)

    assert filed(tmp_path) == sorted(names)
    assert await standing(database_url) == set()
    assert moved.trips == (1 if point.startswith("committed") else 3)
    assert unfinished(tmp_path) == []


async def test_a_disk_that_does_not_hold_what_was_written_costs_no_row(
    storage: Storage, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await note(storage, "paid")
    monkeypatch.setattr("payscore_worker.storage.archive.gzip.decompress", lambda _data: b"")

    with pytest.raises(ArchiveUnwritable, match="does not hold"):
        await move(database_url, tmp_path)

    assert await standing(database_url) == {"paid"}


async def test_a_directory_that_cannot_be_made_is_said_and_costs_no_row(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    await note(storage, "paid")
    (tmp_path / "file").touch()

    with pytest.raises(ArchiveUnwritable, match="File exists"):
        await move(database_url, tmp_path / "file")

    assert await standing(database_url) == {"paid"}


async def test_one_run_at_a_time_has_a_directory(storage: Storage, database_url: str, tmp_path: Path) -> None:
    await paid_trips(storage, 2)
    async with Archive.of(database_url) as archive:
        run = archive.run(Plan(before=LATER, directory=tmp_path, batch=1), LATER)
        await anext(run)

        with pytest.raises(ArchiveInUse):
            await move(database_url, tmp_path)

        await run.aclose()  # type: ignore[attr-defined]
    assert (await move(database_url, tmp_path)).trips == 1


async def test_two_runs_into_two_directories_share_the_trips(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    names = await paid_trips(storage, 12)

    await asyncio.gather(*(move(database_url, tmp_path / place, batch=2) for place in ("a", "b")))
    await move(database_url, tmp_path / "a")  # what both passed over because the other had it locked

    assert sorted(filed(tmp_path / "a") + filed(tmp_path / "b")) == sorted(names)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_trip_that_somebody_writes_at_this_moment_is_left_for_the_next_run(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    await note(storage, "paid")
    async with engine_for(database_url) as engine, engine.begin() as connection:
        await connection.execute(text("UPDATE trip SET version = version"))

        assert (await move(database_url, tmp_path)).trips == 0

    assert (await move(database_url, tmp_path)).trips == 1


# --- What a newer release wrote, and what nobody trusts any more ---


async def test_a_trip_of_a_newer_release_stays_and_holds_up_no_other(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    names = await paid_trips(storage, 5)
    await change(database_url, """UPDATE trip SET started = '{"openid": 1}' WHERE trip_id IN ('t0', 't1', 't2')""")

    moved = await move(database_url, tmp_path, batch=1)

    assert (moved.trips, moved.unreadable) == (2, 3)
    assert filed(tmp_path) == ["t3", "t4"]
    assert await standing(database_url) == names - {"t3", "t4"}


async def test_a_release_that_can_read_hardly_anything_stops(
    storage: Storage, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paid_trips(storage, 3)
    await change(database_url, """UPDATE trip SET started = '{"openid": 1}'""")
    monkeypatch.setattr("payscore_worker.storage.archive.MAX_PASSED_OVER", 2)

    with pytest.raises(UnreadableRow, match=r"trip\.started"):
        await move(database_url, tmp_path)


async def test_passengers_whose_service_nobody_trusts_any_more_are_forgotten(
    storage: Storage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.storage.archive.BATCH_PASSENGERS", 2)
    for number in range(5):
        await storage.note_service(f"old {number}", ServiceNote(enabled=True, as_of=NOW - PASSENGERS_KEPT - DAY))
    await storage.note_service("known", ServiceNote(enabled=True, as_of=NOW - PASSENGERS_KEPT + DAY))

    async with Archive.of(database_url) as archive:
        assert await archive.forget_passengers(NOW) == 5
        assert await archive.forget_passengers(NOW) == 0

    assert await column(database_url, "SELECT openid FROM passenger") == ["known"]


async def change(database_url: str, statement: str) -> None:
    async with engine_for(database_url) as engine, engine.begin() as connection:
        await connection.execute(text(statement))
