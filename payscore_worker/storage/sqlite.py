"""SQLite in a thread of its own: all that is waiting shares one transaction, and so one fsync."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

import structlog

from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.refund import Refund
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import StorageUnavailable, Unstorable
from payscore_worker.storage import statements, tables
from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.cases import AUTHORISATIONS, REFUNDS, TRIPS, C, Case, CaseTable, Entry, table_of
from payscore_worker.storage.port import (
    LONGEST_LEASE,
    CallOutcome,
    CallRecord,
    EventRecord,
    OutboxRow,
    ServiceNote,
)
from payscore_worker.storage.reading import Row, read, read_archived
from payscore_worker.storage.schema import Schema
from payscore_worker.storage.statements import for_sqlite
from payscore_worker.storage.tables import moment_from_text, moment_to_text
from payscore_worker.storage.values import keep, keep_records, kept_row

BUSY_SECONDS: Final = 10.0
"""How long to wait for another process's transaction; ours take milliseconds."""

MAX_BATCH: Final = 128
"""Jobs that share one transaction; a prefetch of every queue fits."""

MAX_DOUBLINGS: Final = 16
"""More than it takes from any lease to LONGEST_LEASE; a number of claims is no exponent."""

LOST_WITHIN_SECONDS: Final = 1.0
"""How soon it is noticed that the thread has ended."""

_T = TypeVar("_T")
Job = Callable[[sqlite3.Connection], _T]

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ticket:
    """A job and where its result is awaited."""

    job: Job[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


_Done: TypeAlias = tuple[_Ticket, Any, Exception | None]


class _Overtaken(Exception):
    """Somebody else was faster: what a job has written so far is to be taken back."""


class SqliteStorage:
    """The storage port on SQLite."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tickets: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._over: StorageUnavailable | None = None
        """Why nothing is answered any more."""
        self._thread = threading.Thread(target=self._work, name="sqlite", daemon=True)

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file; an empty one, if there is none."""
        storage = cls(path)
        storage._thread.start()
        await storage.ping()
        return storage

    async def load(self, trip_id: str) -> Trip | None:
        return await self._load(TRIPS, "trip_id", trip_id)

    async def load_by_out_order_no(self, out_order_no: str) -> Trip | None:
        return await self._load(TRIPS, "out_order_no", out_order_no)

    async def load_refund(self, refund_id: str) -> Refund | None:
        return await self._load(REFUNDS, "refund_id", refund_id)

    async def load_refund_by_out_refund_no(self, out_refund_no: str) -> Refund | None:
        return await self._load(REFUNDS, "out_refund_no", out_refund_no)

    async def load_authorisation(self, authorization_code: str) -> Authorisation | None:
        return await self._load(AUTHORISATIONS, "authorization_code", authorization_code)

    async def authorisations_of(self, openid: str, *, limit: int) -> list[Authorisation]:
        return await self._load_many(AUTHORISATIONS, statements.AUTHORISATIONS_OF, openid, limit)

    async def not_enabled(self, openid: str, *, limit: int) -> list[Trip]:
        return await self._load_many(TRIPS, statements.NOT_ENABLED, openid, limit)

    async def _load_many(self, table: CaseTable[C], statement: str, openid: str, limit: int) -> list[C]:
        keep(table.name, "openid", openid)
        rows = await self._do(lambda db: db.execute(for_sqlite(statement), (openid, limit)).fetchall())
        return table.readable(map(_Instants, rows))

    async def _load(self, table: CaseTable[C], column: str, value: str) -> C | None:
        keep(table.name, column, value)
        row = await self._do(lambda db: db.execute(for_sqlite(table.select_by(column)), (value,)).fetchone())
        return None if row is None else table.read(_Instants(row))

    async def archived(self, trip_id: str) -> ArchivedTrip | None:
        keep("archived_trip", "trip_id", trip_id)
        return await self._do(lambda db: _fetch_archived(db, _ARCHIVED, trip_id))

    async def archived_by_out_order_no(self, out_order_no: str) -> ArchivedTrip | None:
        keep("archived_trip", "out_order_no", out_order_no)
        return await self._do(lambda db: _fetch_archived(db, _ARCHIVED_BY_ORDER, out_order_no))

    async def save(
        self,
        case: Case,
        *,
        due_at: datetime | None,
        now: datetime,
        calls: Sequence[CallRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> bool:
        return await self._write([Entry(case=case, due_at=due_at)], now, calls, events)

    async def save_together(
        self,
        entries: Sequence[Entry],
        *,
        now: datetime,
        calls: Sequence[CallRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> bool:
        return await self._write(entries, now, calls, events)

    async def _write(
        self, entries: Sequence[Entry], now: datetime, calls: Sequence[CallRecord], events: Sequence[EventRecord]
    ) -> bool:
        savings = [(_save_statement(entry.case), _texts(kept_row(entry, now))) for entry in entries]
        keep_records(calls, events)
        first = entries[0].case

        def job(db: sqlite3.Connection) -> bool:
            if not all(db.execute(statement, row).rowcount for statement, row in savings):
                raise _Overtaken
            db.executemany(_UPSERT_CALL, [_call_row(first, call) for call in calls])
            db.executemany(_INSERT_EVENT, [_event_row(first, event) for event in events])
            return True

        try:
            return await self._do(job)
        except _Overtaken:
            return False

    async def journal(self, case: Case, call: CallRecord) -> None:
        keep_records([call], [])
        await self._do(lambda db: db.execute(_UPSERT_CALL, _call_row(case, call)).rowcount)

    async def begin_send(self, trip_id: str, kind: str, generation: int | None = None) -> CallRecord | None:
        row = await self._do(lambda db: db.execute(_BEGIN_SEND, (trip_id, kind, generation)).fetchone())
        return _journaled(trip_id, row)

    async def note_event(self, trip_id: str, event: EventRecord) -> None:
        keep_records([], [event])
        values = (trip_id, event.event_id, event.direction.value, event.type, event.at, event.body)
        await self._do(lambda db: db.execute(_NOTE_EVENT, _texts(values)).rowcount)

    async def last_call(self, trip_id: str, kind: str, generation: int | None = None) -> CallRecord | None:
        row = await self._do(lambda db: db.execute(_LAST_CALL, (trip_id, kind, generation)).fetchone())
        return _journaled(trip_id, row)

    async def service_of(self, openid: str) -> ServiceNote | None:
        keep("passenger", "openid", openid)
        row = await self._do(lambda db: db.execute(_SERVICE_OF, (openid,)).fetchone())
        return None if row is None else read("passenger", "a passenger", _service_note, _Instants(row))

    async def note_service(self, openid: str, note: ServiceNote) -> None:
        keep("passenger", "openid", openid)
        keep("passenger", "as_of", note.as_of)
        await self._do(lambda db: db.execute(_NOTE_SERVICE, _texts((openid, note.enabled, note.as_of))).rowcount)

    async def claim_due(self, kind: type[C], *, now: datetime, lease: timedelta, limit: int) -> list[C]:
        table = table_of(kind)
        due, claim = (
            _due(table),
            f"UPDATE {table.name} SET claims = claims + 1, claimed_until = ? WHERE {table.key} = ?",
        )

        def job(db: sqlite3.Connection) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = db.execute(due, (moment_to_text(now), limit)).fetchall()
            for row in rows:
                until = now + min(lease * 2 ** min(row["claims"], MAX_DOUBLINGS), LONGEST_LEASE)
                db.execute(claim, (moment_to_text(until), row[table.key]))
            return rows

        return table.readable(_Instants(row) for row in await self._do(job))

    async def reschedule(self, case: Case, *, due_at: datetime | None) -> None:
        table = table_of(type(case))
        values = _texts((due_at, table.key_of(case), case.version))
        await self._do(lambda db: db.execute(for_sqlite(table.reschedule), values).rowcount)

    async def claim_outbox(self, *, now: datetime, lease: timedelta, limit: int) -> list[OutboxRow]:
        def job(db: sqlite3.Connection) -> list[OutboxRow]:
            rows = db.execute(_CLAIM_OUTBOX, (moment_to_text(now), moment_to_text(now + lease), limit)).fetchall()
            return sorted((OutboxRow(**row) for row in rows), key=lambda row: row.id)

        return await self._do(job)

    async def mark_published(self, ids: Sequence[int], *, now: datetime) -> None:
        await self._for_each(_MARK_PUBLISHED, ids, now)

    async def mark_unrouted(self, ids: Sequence[int], *, now: datetime) -> None:
        await self._for_each(_MARK_UNROUTED, ids, now)

    async def postpone_outbox(self, ids: Sequence[int], *, until: datetime) -> None:
        await self._for_each(_POSTPONE_OUTBOX, ids, until)

    async def release_outbox(self, ids: Sequence[int], *, claimed_until: datetime) -> None:
        await self._for_each(_RELEASE_OUTBOX, ids, claimed_until)

    async def schema(self) -> Schema:
        def job(db: sqlite3.Connection) -> Schema:
            there = {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table, statement in statements.SCHEMA.items():
                if table in there and (row := db.execute(statement).fetchone()) is not None:
                    return Schema(**row)
            return Schema(revision=None)

        return await self._do(job)

    async def now(self) -> datetime:
        return datetime.now(UTC)

    async def ping(self) -> None:
        await self._do(lambda db: db.execute("SELECT 1").fetchone())

    async def until_lost(self) -> None:
        while self._over is None:  # noqa: ASYNC110 - a thread that ends sets no event of a loop
            await asyncio.sleep(LOST_WITHIN_SECONDS)
        raise self._over

    async def aclose(self) -> None:
        self._tickets.put(None)
        await asyncio.to_thread(self._thread.join, BUSY_SECONDS)

    async def _for_each(self, statement: str, ids: Sequence[int], moment: datetime) -> None:
        rows = [(id, moment_to_text(moment)) for id in ids]
        await self._do(lambda db: db.executemany(statement, rows).rowcount)

    async def _do(self, job: Job[_T]) -> _T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._tickets.put(_Ticket(job, loop, future))
        self._refuse_if_over()  # after it is in the queue: the thread, when it ends, looks there last
        return await future

    def _work(self) -> None:
        over = StorageUnavailable(f"SQLite: {self._path} is closed")
        try:
            self._serve()
        except BaseException as error:
            # Whatever it is, nobody must be left waiting for a thread that has ended.
            log.critical("storage_thread_ended", exc_info=error)
            over = StorageUnavailable(f"SQLite: the thread of {self._path} has ended: {type(error).__name__}")
        self._over = over
        self._refuse_if_over()

    def _serve(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while batch := self._next_batch():
                try:
                    connection = connection or _connect(self._path)
                    _run_batch(connection, batch)
                except BaseException as error:
                    _fail(batch, StorageUnavailable(f"SQLite: {self._path}: {error}"))
                    if not isinstance(error, Exception):
                        raise
        finally:
            if connection is not None:
                connection.close()

    def _refuse_if_over(self) -> None:
        while self._over is not None:
            try:
                ticket = self._tickets.get_nowait()
            except queue.Empty:
                return
            if ticket is not None:
                _fail([ticket], self._over)

    def _next_batch(self) -> list[_Ticket]:
        """Wait for a job, then take what else is waiting; empty when it is time to stop."""
        ticket = self._tickets.get()
        batch: list[_Ticket] = []
        while ticket is not None:
            batch.append(ticket)
            if len(batch) == MAX_BATCH:
                return batch
            try:
                ticket = self._tickets.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self._tickets.put(None)  # finish these first, then stop
        return batch


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = _row_as_dict
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a commit must outlive the power
    return connection


def _run_batch(connection: sqlite3.Connection, batch: Sequence[_Ticket]) -> None:
    """Run the jobs in one transaction; each may fail alone, and nobody hears of a result before it is committed."""
    done: list[_Done] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for ticket in batch:
            connection.execute("SAVEPOINT job")
            try:
                done.append((ticket, ticket.job(connection), None))
            except Exception as error:
                if not connection.in_transaction:  # SQLite gave up the transaction, and with it what the others did
                    raise
                connection.execute("ROLLBACK TO job")
                done.append((ticket, None, _named(error)))
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    for loop in {ticket.loop for ticket in batch}:
        _tell(loop, [entry for entry in done if entry[0].loop is loop])


def _named(error: Exception) -> Exception:
    """Name what a job failed of; a defect of ours keeps its own name."""
    match error:
        case sqlite3.OperationalError():
            return StorageUnavailable(f"SQLite: {error}")
        case OverflowError() | UnicodeEncodeError() | sqlite3.DataError():
            return Unstorable(f"SQLite does not keep one of its values: {type(error).__name__}")
        case _:
            return error


def _tell(loop: asyncio.AbstractEventLoop, done: Sequence[_Done]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
        loop.call_soon_threadsafe(_resolve, done)


def _resolve(done: Sequence[_Done]) -> None:
    for ticket, result, error in done:
        if ticket.future.done():
            continue
        if error is None:
            ticket.future.set_result(result)
        else:
            ticket.future.set_exception(error)


def _fail(batch: Sequence[_Ticket], error: StorageUnavailable) -> None:
    for ticket in batch:
        _tell(ticket.loop, [(ticket, None, error)])


def _row_as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip((column[0] for column in cursor.description), row, strict=True))


class _Instants:
    """A row whose instants are datetimes, each read when it is asked for."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row

    def __getitem__(self, name: str, /) -> Any:  # noqa: ANN401 - a column has the type that its table gives it
        value = self._row[name]
        return moment_from_text(value) if value is not None and name in _MOMENTS else value

    def keys(self) -> Iterable[str]:
        return self._row.keys()


def _fetch_archived(db: sqlite3.Connection, statement: str, key: str) -> ArchivedTrip | None:
    row = db.execute(statement, (key,)).fetchone()
    return None if row is None else read_archived(_Instants(row))


def _journaled(trip_id: str, row: dict[str, Any] | None) -> CallRecord | None:
    return None if row is None else read("wechatpay_call", f"trip {trip_id!r}", _call, _Instants(row))


def _call(row: Row) -> CallRecord:
    return CallRecord(
        **{
            **row,
            "outcome": CallOutcome(row["outcome"]),
            "uncertain": bool(row["uncertain"]),
        }
    )


def _service_note(row: Row) -> ServiceNote:
    return ServiceNote(enabled=bool(row["service_enabled"]), as_of=row["as_of"])


def _texts(values: Sequence[Any]) -> list[Any]:
    return [moment_to_text(value) if isinstance(value, datetime) else value for value in values]


def _call_row(case: Case, call: CallRecord) -> list[Any]:
    answered_at = call.at if call.attempts else None
    return _texts(
        (
            table_of(type(case)).subject_of(case),
            call.kind,
            call.generation,
            call.method,
            call.path,
            call.body,
            call.attempts,
            call.status,
            call.code,
            call.request_id,
            call.outcome.value,
            call.uncertain,
            call.begun,
            call.definite,
            call.at,
            answered_at,
        )
    )


def _event_row(case: Case, event: EventRecord) -> list[Any]:
    pending = event.direction == "out"
    subject = table_of(type(case)).subject_of(case)
    return _texts((subject, event.event_id, event.direction.value, event.type, event.at, event.body, pending))


def _save_statement(case: Case) -> str:
    table = table_of(type(case))
    return for_sqlite(table.update if case.version else table.insert)


@cache
def _due(table: CaseTable[Any]) -> str:
    return f"""
        SELECT {", ".join(table.columns)}, claims FROM {table.name}
        WHERE due_at <= ?1 AND (claimed_until IS NULL OR claimed_until <= ?1) ORDER BY due_at LIMIT ?2
    """


_MOMENTS: Final = frozenset(
    column.name
    for table in tables.metadata.tables.values()
    for column in table.columns
    if isinstance(column.type, tables.Moment)
)

_ARCHIVED: Final = for_sqlite(statements.ARCHIVED)
_ARCHIVED_BY_ORDER: Final = for_sqlite(statements.ARCHIVED_BY_ORDER)
_LAST_CALL: Final = for_sqlite(statements.LAST_CALL)
_BEGIN_SEND: Final = for_sqlite(statements.BEGIN_SEND)
_NOTE_EVENT: Final = for_sqlite(statements.NOTE_EVENT)
_SERVICE_OF: Final = for_sqlite(statements.SERVICE_OF)
_NOTE_SERVICE: Final = for_sqlite(statements.NOTE_SERVICE)

_UPSERT_CALL: Final = f"""
    INSERT INTO wechatpay_call AS stored (trip_id, kind, generation, method, path, body, attempts, status, code,
        request_id, outcome, uncertain, begun, definite, prepared_at, answered_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    {statements.TAKE_THE_ANSWER}
"""

_INSERT_EVENT: Final = """
    INSERT INTO trip_event (trip_id, event_id, direction, type, at, body, pending, attempts)
    VALUES (?, ?, ?, ?, ?, ?, ?, 0)
"""

_CLAIM_OUTBOX: Final = for_sqlite(f"""
    UPDATE trip_event SET claimed_until = $2
    WHERE id IN (
        SELECT id FROM trip_event AS one
        WHERE {statements.WAITS} AND NOT EXISTS (
            SELECT 1 FROM trip_event INDEXED BY trip_event_trip
            WHERE trip_id = one.trip_id AND id < one.id AND {statements.HAS_ITS_PLACE} AND claimed_until > $1
        )
        ORDER BY id LIMIT $3
    )
    RETURNING id, event_id, trip_id, type, body, attempts
""")

_MARK_PUBLISHED: Final = for_sqlite(statements.MARK_PUBLISHED)
_MARK_UNROUTED: Final = for_sqlite(statements.MARK_UNROUTED)
_POSTPONE_OUTBOX: Final = for_sqlite(statements.POSTPONE_OUTBOX)
_RELEASE_OUTBOX: Final = for_sqlite(statements.RELEASE_OUTBOX)
