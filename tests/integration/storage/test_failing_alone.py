"""One value, one row, one job that is bad fails alone, by its name; everybody else's goes on."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from sqlalchemy import text

from payscore_worker import metrics
from payscore_worker.domain.trip import (
    Payment,
    Trip,
)
from payscore_worker.errors import StorageUnavailable, UnreadableRow, Unstorable
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, ServiceNote, Storage
from payscore_worker.storage import postgres as postgres_module
from payscore_worker.storage import sqlite as sqlite_module
from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.port import LONGEST_LEASE
from payscore_worker.storage.sqlite import SqliteStorage
from tests.builders import NOW, SITUATIONS, a_cancellation, a_start, a_trip
from tests.integration.databases import make_tables
from tests.integration.messaging.waiting import eventually

MINUTE: Final = timedelta(minutes=1)
HALF: Final = "half \ud83d"
NUL: Final = "no\0thing"
BEFORE_ALL_TIMES: Final = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=8)))
AFTER_ALL_TIMES: Final = datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=8)))
SECRET: Final = "oSecretPassenger"
"""An openid, which no text may repeat."""

UNKEPT: Final[dict[str, tuple[Trip, str]]] = {
    "a NUL in the id": (a_trip(NUL), "trip.trip_id"),
    "half a character in the id": (a_trip(HALF), "trip.trip_id"),
    "a NUL in a fact": (replace(a_trip(), started=a_start(introduction=SECRET + NUL)), "trip.started"),
    "half a character in a fact": (replace(a_trip(), cancelled=a_cancellation(reason=SECRET + HALF)), "a fact"),
    "a time before all times": (replace(a_trip(), noted_at=BEFORE_ALL_TIMES), "trip.noted_at"),
    "a time after all times": (replace(a_trip(), asked_at=AFTER_ALL_TIMES), "trip.asked_at"),
    "more money than there is": (
        replace(a_trip(), payment=Payment(paid_fen=2**63, paid_at=NOW)),
        "trip.paid_fen",
    ),
}


def a_call(**changes: Any) -> CallRecord:
    call = CallRecord(
        kind="create", generation=1, method="POST", path="/", body=b"{}", outcome=CallOutcome.PREPARED, at=NOW
    )
    return replace(call, **changes)


def an_event(**changes: Any) -> EventRecord:
    event = EventRecord(event_id="e1", direction=Direction.OUT, type="settlement.opened", at=NOW, body=b"{}")
    return replace(event, **changes)


async def change(database_url: str, statement: str) -> None:
    async with engine_for(database_url) as engine, engine.begin() as connection:
        await connection.execute(text(statement))


# --- Values ---


@pytest.mark.parametrize("fault", UNKEPT)
async def test_what_no_database_keeps_is_refused_by_its_column_and_not_repeated(storage: Storage, fault: str) -> None:
    trip, column = UNKEPT[fault]

    refused, written = await asyncio.gather(
        storage.save(trip, due_at=None, now=NOW),
        storage.save(a_trip("good"), due_at=None, now=NOW),
        return_exceptions=True,
    )

    assert isinstance(refused, Unstorable)
    assert column in str(refused)
    assert SECRET not in str(refused)
    assert written is True


@pytest.mark.parametrize("text_", [NUL, HALF])
async def test_a_name_that_no_row_can_have_is_refused(storage: Storage, text_: str) -> None:
    note = ServiceNote(enabled=True, as_of=NOW)
    asked: list[Callable[[], Any]] = [
        lambda: storage.load(text_),
        lambda: storage.load_by_out_order_no(text_),
        lambda: storage.archived(text_),
        lambda: storage.archived_by_out_order_no(text_),
        lambda: storage.service_of(text_),
        lambda: storage.note_service(text_, note),
        lambda: storage.journal(a_trip(), a_call(request_id=text_)),
        lambda: storage.save(a_trip(), due_at=None, now=NOW, calls=[a_call(code=text_)]),
        lambda: storage.save(a_trip(), due_at=None, now=NOW, events=[an_event(event_id=text_)]),
    ]

    for ask in asked:
        with pytest.raises(Unstorable):
            await ask()

    await storage.ping()
    assert await storage.load("t1") is None


@pytest.mark.parametrize("moment", [BEFORE_ALL_TIMES, AFTER_ALL_TIMES])
async def test_a_service_that_changed_outside_of_all_times_is_refused(storage: Storage, moment: datetime) -> None:
    with pytest.raises(Unstorable, match=r"passenger\.as_of cannot be kept: it is a time that no clock shows"):
        await storage.note_service(SECRET, ServiceNote(enabled=True, as_of=moment))

    await storage.note_service(SECRET, ServiceNote(enabled=True, as_of=NOW))


async def test_what_only_looks_like_a_nul_is_kept(storage: Storage) -> None:
    trip = replace(a_trip(), started=a_start(introduction="a\\u0000b 静安寺"))

    assert await storage.save(trip, due_at=None, now=NOW)

    assert await storage.load("t1") == replace(trip, version=1)


async def test_what_the_driver_refuses_after_we_have_looked_is_refused_as_well_and_not_repeated(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (postgres_module, sqlite_module):
        monkeypatch.setattr(module, "keep", lambda *_: None)

    for openid, moment in ((SECRET + HALF, NOW), (SECRET, BEFORE_ALL_TIMES)):
        with pytest.raises(Unstorable) as refused:
            await storage.note_service(openid, ServiceNote(enabled=True, as_of=moment))
        assert SECRET not in str(refused.value)
        assert refused.value.__suppress_context__ or refused.value.__context__ is None

    await storage.ping()


# --- Rows ---

NEWER: Final = {
    "state": "'REFUNDING'",
    "declined_reason": "'weather'",
    "started": """'{"openid": 1}'""",
    "ended": """'["another", "shape"]'""",
    "cancelled": """'{}'""",
    "doubt": """'{"step": "AskOrder", "refusal": "unheard_of"}'""",
    "problem": """'{"code": "NEW"}'""",
}
"""What a newer release may have written, by column."""


@pytest.mark.parametrize("column", NEWER)
async def test_a_row_of_a_newer_release_fails_alone_by_trip_and_column(
    storage: Storage, database_url: str, column: str
) -> None:
    for trip_id in ("newer", "ours"):
        trip = replace(SITUATIONS["declining"](), trip_id=trip_id, out_order_no=trip_id)
        assert await storage.save(trip, due_at=NOW, now=NOW)
    await change(database_url, f"UPDATE trip SET {column} = {NEWER[column]} WHERE trip_id = 'newer'")  # noqa: S608

    with pytest.raises(UnreadableRow, match=rf"trip\.{column} of trip 'newer'") as unreadable:
        await storage.load("newer")
    with pytest.raises(UnreadableRow):
        await storage.load_by_out_order_no("newer")

    assert (unreadable.value.column, NEWER[column].strip("'") in str(unreadable.value)) == (column, False)
    assert await storage.load("ours") is not None


async def test_a_claim_passes_over_a_row_that_it_cannot_read_counts_it_and_leaves_it_to_its_lease(
    storage: Storage, database_url: str
) -> None:
    for trip_id in ("ours 1", "newer", "ours 2"):
        assert await storage.save(a_trip(trip_id), due_at=NOW, now=NOW)
    await change(database_url, "UPDATE trip SET state = 'REFUNDING' WHERE trip_id = 'newer'")
    counter = metrics.of(metrics.UNREADABLE, "trip")
    before = counter._value.get()

    async def claimed(after: timedelta) -> set[str]:
        return {trip.trip_id for trip in await storage.claim_due(Trip, now=NOW + after, lease=MINUTE, limit=10)}

    assert await claimed(timedelta()) == {"ours 1", "ours 2"}
    assert counter._value.get() == before + 1
    await change(database_url, "UPDATE trip SET state = 'NOTED' WHERE trip_id = 'newer'")  # the newer release is back
    assert await claimed(MINUTE / 2) == set()
    assert "newer" in await claimed(MINUTE)


async def test_a_call_of_a_newer_release_fails_alone(storage: Storage, database_url: str) -> None:
    assert await storage.save(a_trip(), due_at=None, now=NOW, calls=[a_call()])
    await change(database_url, "UPDATE wechatpay_call SET outcome = 'half_accepted'")

    with pytest.raises(UnreadableRow, match=r"wechatpay_call\.outcome of trip 't1'"):
        await storage.last_call("t1", "create")


@pytest.mark.parametrize(("column", "value"), [("state", "'REFUNDED'"), ("facts", "'{}'")])
async def test_what_a_newer_release_remembers_of_an_archived_trip_fails_alone(
    storage: Storage, database_url: str, column: str, value: str
) -> None:
    memory = ArchivedTrip.of(SITUATIONS["paid"](), archive="f", archived_at=NOW).row()
    names = ", ".join(memory)
    places = ", ".join(f":{name}" for name in memory)
    async with engine_for(database_url) as engine, engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            memory = {name: v.isoformat() if isinstance(v, datetime) else v for name, v in memory.items()}
        await connection.execute(text(f"INSERT INTO archived_trip ({names}) VALUES ({places})"), memory)  # noqa: S608
    assert await storage.archived("t1") is not None
    await change(database_url, f"UPDATE archived_trip SET {column} = {value}")  # noqa: S608

    for ask in (storage.archived, storage.archived_by_out_order_no):
        with pytest.raises(UnreadableRow, match=rf"archived_trip\.{column} of trip 't1'"):
            await ask("t1")


async def test_a_trip_that_keeps_failing_is_taken_up_every_few_minutes(storage: Storage) -> None:
    assert await storage.save(a_trip(), due_at=NOW, now=NOW)
    now = NOW
    for _ in range(20):
        assert len(await storage.claim_due(Trip, now=now, lease=MINUTE, limit=1)) == 1
        assert await storage.claim_due(Trip, now=now + MINUTE - timedelta(seconds=1), lease=MINUTE, limit=1) == []
        now += LONGEST_LEASE

    assert timedelta(minutes=4) == LONGEST_LEASE


# --- Jobs of the SQLite thread ---


@pytest.fixture
async def sqlite(tmp_path: Path) -> SqliteStorage:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    assert isinstance(storage, SqliteStorage)
    return storage


async def in_one_transaction(sqlite: SqliteStorage, *jobs: Awaitable[Any]) -> list[Any]:
    """Have the thread take these jobs in one go: it is held up until all of them wait."""
    held, go_on = threading.Event(), threading.Event()

    def hold(_db: sqlite3.Connection) -> None:
        held.set()
        go_on.wait(60)

    holding = asyncio.create_task(sqlite._do(hold))
    await asyncio.to_thread(held.wait, 60)
    waiting = [asyncio.ensure_future(job) for job in jobs]
    await eventually(lambda: sqlite._tickets.qsize() == len(jobs))
    go_on.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


def raising(error: BaseException) -> Callable[[sqlite3.Connection], NoReturn]:
    def job(db: sqlite3.Connection) -> NoReturn:
        db.execute("INSERT INTO passenger (openid, service_enabled, as_of) VALUES ('half done', true, '')")
        raise error

    return job


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OverflowError("date value out of range"), Unstorable),
        (UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed"), Unstorable),
        (sqlite3.DataError("string or blob too big"), Unstorable),
        (sqlite3.OperationalError("no such table: trip"), StorageUnavailable),
        (ValueError("not a time"), ValueError),
        (KeyError("state"), KeyError),
        (ZeroDivisionError(), ZeroDivisionError),
        (MemoryError(), MemoryError),
    ],
    ids=repr,
)
async def test_whatever_a_job_raises_is_its_own_and_those_beside_it_are_written(
    sqlite: SqliteStorage, error: Exception, named: type[Exception]
) -> None:
    results = await in_one_transaction(
        sqlite,
        sqlite.save(a_trip("before"), due_at=None, now=NOW),
        sqlite._do(raising(error)),
        sqlite.save(a_trip("after"), due_at=None, now=NOW),
    )

    assert (results[0], type(results[1]), results[2]) == (True, named, True)
    assert await sqlite.load("before") is not None
    assert await sqlite.load("after") is not None
    assert await sqlite.service_of("half done") is None
    await sqlite.aclose()


async def test_a_transaction_that_sqlite_gave_up_itself_fails_all_its_jobs_and_no_later_one(
    sqlite: SqliteStorage,
) -> None:
    def gives_up(db: sqlite3.Connection) -> None:
        db.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    results = await in_one_transaction(
        sqlite, sqlite.save(a_trip("before"), due_at=None, now=NOW), sqlite._do(gives_up)
    )

    assert [type(result) for result in results] == [StorageUnavailable, StorageUnavailable]
    assert "disk is full" in str(results[0])
    assert await sqlite.load("before") is None
    await sqlite.aclose()


async def test_were_the_thread_to_end_nobody_waits_for_it_and_the_process_is_told(sqlite: SqliteStorage) -> None:
    lost = asyncio.create_task(sqlite.until_lost())
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        results = await in_one_transaction(sqlite, sqlite.load("t1"), sqlite._do(raising(SystemExit())), sqlite.ping())
        later = await asyncio.gather(sqlite.ping(), return_exceptions=True)
        with pytest.raises(StorageUnavailable, match=r"the thread of .* has ended: SystemExit"):
            await lost

    assert [type(result) for result in (*results, *later)] == [StorageUnavailable] * 4


async def test_who_asks_after_the_end_is_refused_and_does_not_wait(sqlite: SqliteStorage) -> None:
    await sqlite.aclose()

    async with asyncio.timeout(10):
        with pytest.raises(StorageUnavailable, match="is closed"):
            await sqlite.ping()


async def test_a_loop_that_was_closed_while_its_job_waited_harms_nobody(sqlite: SqliteStorage) -> None:
    def ask_and_go() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(sqlite._do(lambda _db: asyncio.run(asyncio.sleep(0.2))))
        loop.run_until_complete(asyncio.sleep(0.05))
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()

    await asyncio.to_thread(ask_and_go)

    async with asyncio.timeout(10):
        await sqlite.ping()
    await sqlite.aclose()


def test_the_times_of_these_tests_are_none() -> None:
    for moment in (BEFORE_ALL_TIMES, AFTER_ALL_TIMES):
        with pytest.raises(OverflowError):
            moment.astimezone(UTC)
