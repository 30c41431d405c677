"""PostgreSQL by asyncpg: every transaction of the hot path is one statement (ADR 3)."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Self, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.refund import Refund
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import StorageUnavailable, Unstorable
from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.cases import AUTHORISATIONS, REFUNDS, TRIPS, C, Case, CaseTable, Entry, table_of
from payscore_worker.storage.connecting import COLLISIONS, POOLER, Connector
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
from payscore_worker.storage.statements import (
    ARCHIVED,
    ARCHIVED_BY_ORDER,
    AUTHORISATIONS_OF,
    BEGIN_SEND,
    HAS_ITS_PLACE,
    LAST_CALL,
    MARK_PUBLISHED,
    MARK_UNROUTED,
    NOT_ENABLED,
    NOTE_EVENT,
    NOTE_SERVICE,
    POSTPONE_OUTBOX,
    RELEASE_OUTBOX,
    SCHEMA,
    SERVICE_OF,
    TAKE_THE_ANSWER,
    WAITS,
    WINDOW,
    for_many,
)
from payscore_worker.storage.url import Told, UnreadableUrl
from payscore_worker.storage.values import keep, keep_records, kept_row

MAX_CONNECTIONS: Final = 16
"""Statements take well under a millisecond; more connections would only queue inside PostgreSQL."""

COMMAND_TIMEOUT_SECONDS: Final = 10.0
"""No statement of ours needs a tenth of it; a database that takes longer is treated as gone."""

CANCEL_SECONDS: Final = 2.0
"""For a server that is alive, to hear that a statement is given up; for one that is not, no longer than that."""

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class PostgresStorage:
    """The storage port on PostgreSQL."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @classmethod
    async def open(cls, told: Told) -> Self:
        """Connect, as the URL says; every connection that is opened later, as it says then."""
        with _told_as_ours():
            connector = Connector(told)
            pool = await asyncpg.create_pool(
                connect=connector,
                init=_learn_types if connector.url.is_pooled else None,
                min_size=1,
                max_size=MAX_CONNECTIONS,
                command_timeout=COMMAND_TIMEOUT_SECONDS,
                reset=_nothing_to_reset,
            )
        return cls(pool)

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
        return await self._load_many(AUTHORISATIONS, AUTHORISATIONS_OF, openid, limit)

    async def not_enabled(self, openid: str, *, limit: int) -> list[Trip]:
        return await self._load_many(TRIPS, NOT_ENABLED, openid, limit)

    async def _load_many(self, table: CaseTable[C], statement: str, openid: str, limit: int) -> list[C]:
        keep(table.name, "openid", openid)
        async with self._connection() as connection:
            rows = await connection.fetch(statement, openid, limit)
        return table.readable(rows)

    async def _load(self, table: CaseTable[C], column: str, value: str) -> C | None:
        keep(table.name, column, value)
        async with self._connection() as connection:
            row = await connection.fetchrow(table.select_by(column), value)
        return None if row is None else table.read(row)

    async def archived(self, trip_id: str) -> ArchivedTrip | None:
        keep("archived_trip", "trip_id", trip_id)
        async with self._connection() as connection:
            row = await connection.fetchrow(ARCHIVED, trip_id)
        return None if row is None else read_archived(row)

    async def archived_by_out_order_no(self, out_order_no: str) -> ArchivedTrip | None:
        keep("archived_trip", "out_order_no", out_order_no)
        async with self._connection() as connection:
            row = await connection.fetchrow(ARCHIVED_BY_ORDER, out_order_no)
        return None if row is None else read_archived(row)

    async def save(
        self,
        case: Case,
        *,
        due_at: datetime | None,
        now: datetime,
        calls: Sequence[CallRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> bool:
        keep_records(calls, events)
        statement, arguments = _saving(Entry(case=case, due_at=due_at), now, calls, events)
        async with self._connection() as connection:
            return bool(await connection.fetchval(statement, *arguments))

    async def save_together(
        self,
        entries: Sequence[Entry],
        *,
        now: datetime,
        calls: Sequence[CallRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> bool:
        keep_records(calls, events)
        first, *others = entries
        savings = [_saving(first, now, calls, events), *(_saving(entry, now, (), ()) for entry in others)]
        async with self._connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                for statement, arguments in savings:
                    if not await connection.fetchval(statement, *arguments):
                        await transaction.rollback()
                        return False
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()
        return True

    async def journal(self, case: Case, call: CallRecord) -> None:
        keep_records([call], [])
        async with self._connection() as connection:
            await connection.execute(_JOURNAL, table_of(type(case)).subject_of(case), *_call_columns([call]))

    async def begin_send(self, trip_id: str, kind: str, generation: int | None = None) -> CallRecord | None:
        async with self._connection() as connection:
            row = await connection.fetchrow(BEGIN_SEND, trip_id, kind, generation)
        return _journaled(trip_id, row)

    async def note_event(self, trip_id: str, event: EventRecord) -> None:
        keep_records([], [event])
        async with self._connection() as connection:
            await connection.execute(
                NOTE_EVENT, trip_id, event.event_id, event.direction.value, event.type, event.at, event.body
            )

    async def last_call(self, trip_id: str, kind: str, generation: int | None = None) -> CallRecord | None:
        async with self._connection() as connection:
            row = await connection.fetchrow(LAST_CALL, trip_id, kind, generation)
        return _journaled(trip_id, row)

    async def service_of(self, openid: str) -> ServiceNote | None:
        keep("passenger", "openid", openid)
        async with self._connection() as connection:
            row = await connection.fetchrow(SERVICE_OF, openid)
        return None if row is None else read("passenger", "a passenger", _service_note, row)

    async def note_service(self, openid: str, note: ServiceNote) -> None:
        keep("passenger", "openid", openid)
        keep("passenger", "as_of", note.as_of)
        async with self._connection() as connection:
            await connection.execute(NOTE_SERVICE, openid, note.enabled, note.as_of)

    async def claim_due(self, kind: type[C], *, now: datetime, lease: timedelta, limit: int) -> list[C]:
        table = table_of(kind)
        async with self._connection() as connection:
            rows = await connection.fetch(_claim_due(table), now, lease, limit, LONGEST_LEASE)
        return table.readable(rows)

    async def reschedule(self, case: Case, *, due_at: datetime | None) -> None:
        table = table_of(type(case))
        async with self._connection() as connection:
            await connection.execute(table.reschedule, due_at, table.key_of(case), case.version)

    async def claim_outbox(self, *, now: datetime, lease: timedelta, limit: int) -> list[OutboxRow]:
        async with self._connection() as connection:
            rows = await connection.fetch(_CLAIM_OUTBOX, now, lease, limit)
        return sorted((OutboxRow(**row) for row in rows), key=lambda row: row.id)

    async def mark_published(self, ids: Sequence[int], *, now: datetime) -> None:
        async with self._connection() as connection:
            await connection.execute(_MARK_PUBLISHED, list(ids), now)

    async def mark_unrouted(self, ids: Sequence[int], *, now: datetime) -> None:
        async with self._connection() as connection:
            await connection.execute(_MARK_UNROUTED, list(ids), now)

    async def postpone_outbox(self, ids: Sequence[int], *, until: datetime) -> None:
        async with self._connection() as connection:
            await connection.execute(_POSTPONE_OUTBOX, list(ids), until)

    async def release_outbox(self, ids: Sequence[int], *, claimed_until: datetime) -> None:
        async with self._connection() as connection:
            await connection.execute(_RELEASE_OUTBOX, list(ids), claimed_until)

    async def schema(self) -> Schema:
        for statement in SCHEMA.values():
            with suppress(asyncpg.UndefinedTableError):
                async with self._connection() as connection:
                    row = await connection.fetchrow(statement)
                return Schema(revision=None) if row is None else Schema(**row)
        return Schema(revision=None)

    async def now(self) -> datetime:
        async with self._connection() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return now

    async def ping(self) -> None:
        async with self._connection() as connection:
            await connection.fetchval("SELECT 1")

    async def until_lost(self) -> None:
        await asyncio.Event().wait()  # the pool connects anew for as long as the process lives

    async def aclose(self) -> None:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with _told_as_ours():
            async with self._pool.acquire(timeout=COMMAND_TIMEOUT_SECONDS) as connection:
                try:
                    yield connection
                except _SPOILT:
                    connection.terminate()
                    await self._pool.expire_connections()
                    raise
                except TimeoutError:  # the others lead to the same server, and would be found out one by one
                    await self._pool.expire_connections()
                    with suppress(TimeoutError):
                        await self._pool.release(connection, timeout=CANCEL_SECONDS)
                    raise


@contextmanager
def _told_as_ours() -> Iterator[None]:
    """Translate what asyncpg raises."""
    try:
        yield
    except COLLISIONS as error:
        raise StorageUnavailable(POOLER) from error
    except _UNAVAILABLE as error:
        raise StorageUnavailable(f"PostgreSQL: {error!r}") from error
    except _UNKEPT as error:  # its text repeats the value
        raise Unstorable(f"PostgreSQL does not keep one of its values: {type(error).__name__}") from None


def _journaled(trip_id: str, row: asyncpg.Record | None) -> CallRecord | None:
    return None if row is None else read("wechatpay_call", f"trip {trip_id!r}", _call, row)


async def _learn_types(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Have asyncpg look up the types of our arrays in one transaction.

    It turns JIT off for that, for its session, and on again. Behind a pooler that may be on three connections: then the
    look-up takes seconds with JIT, and JIT stays off for somebody else.
    """
    async with connection.transaction():
        await connection.prepare(f"SELECT {', '.join(f'NULL::{type_}[]' for type_ in _ARRAY_TYPES)}", name="")


async def _nothing_to_reset(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare the round trip that resets a connection: we change nothing of a session."""


_SPOILT: Final = (asyncpg.InternalClientError, asyncpg.exceptions.ReadOnlySQLTransactionError)
"""What no connection recovers from: asyncpg has lost track of it (PostgreSQL ended it between two statements), or it
leads to a server that has become a standby, and would go on doing so."""

_UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
    asyncpg.exceptions.InvalidCatalogNameError,
    UnreadableUrl,
    *_SPOILT,
)
"""The database is away, closing, full, does not let us in, or gave our statement up: the same later. A password may be
changed at the server before it is changed here."""

_UNKEPT: Final = (asyncpg.DataError, UnicodeEncodeError, OverflowError)
"""A value that was not seen to be one that no database keeps."""

_CALL_COLUMNS: Final = {
    "kind": "text",
    "generation": "int",
    "method": "text",
    "path": "text",
    "body": "bytea",
    "attempts": "int",
    "status": "int",
    "code": "text",
    "request_id": "text",
    "outcome": "text",
    "uncertain": "bool",
    "begun": "int",
    "definite": "int",
    "at": "timestamptz",
}

_EVENT_COLUMNS: Final = {
    "event_id": "text",
    "direction": "text",
    "type": "text",
    "at": "timestamptz",
    "body": "bytea",
}


_ARRAY_TYPES: Final = sorted({*_CALL_COLUMNS.values(), *_EVENT_COLUMNS.values(), "bigint"})
"""Of the arrays in our statements."""


def _call(row: Row) -> CallRecord:
    return CallRecord(**{**row, "outcome": CallOutcome(row["outcome"])})


def _service_note(row: Row) -> ServiceNote:
    return ServiceNote(enabled=row["service_enabled"], as_of=row["as_of"])


def _call_columns(calls: Sequence[CallRecord]) -> list[list[object]]:
    return [[getattr(call, name) for call in calls] for name in _CALL_COLUMNS]


def _event_columns(events: Sequence[EventRecord]) -> list[list[object]]:
    return [[getattr(event, name) for event in events] for name in _EVENT_COLUMNS]


def _saving(
    entry: Entry, now: datetime, calls: Sequence[CallRecord], events: Sequence[EventRecord]
) -> tuple[str, list[object]]:
    """Say by which statement a case is written, and with what."""
    table, is_new = table_of(type(entry.case)), entry.case.version == 0
    statement = _save_statement(table, is_new=is_new, calls=bool(calls), events=bool(events))
    arguments = [*kept_row(entry, now)]
    if calls:
        arguments += _call_columns(calls)
    if events:
        arguments += _event_columns(events)
    return statement, arguments


@cache
def _save_statement(table: CaseTable[Any], *, is_new: bool, calls: bool, events: bool) -> str:
    """Build the one statement that writes a case under its version guard, and with it calls and events of its trip."""
    parts = [f"saved AS ({table.insert if is_new else table.update} RETURNING {table.subject} AS trip_id)"]
    first = len(table.columns) + 1
    if calls:
        parts.append(f"calls AS ({_UPSERT_CALLS.format(arrays=_arrays(_CALL_COLUMNS, first))})")
        first += len(_CALL_COLUMNS)
    if events:
        parts.append(f"events AS ({_INSERT_EVENTS.format(arrays=_arrays(_EVENT_COLUMNS, first))})")
    return f"WITH {', '.join(parts)} SELECT count(*) FROM saved"


@cache
def _claim_due(table: CaseTable[Any]) -> str:
    """Build the statement that takes what is due of one kind of case."""
    return f"""
        UPDATE {table.name} SET claims = claims + 1,
            claimed_until = $1::timestamptz + least($2::interval * power(2, least(claims, 16)), $4::interval)
        WHERE {table.key} IN (
            SELECT {table.key} FROM {table.name}
            WHERE due_at <= $1 AND (claimed_until IS NULL OR claimed_until <= $1)
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        RETURNING {", ".join(table.columns)}
    """


def _arrays(columns: dict[str, str], first: int) -> str:
    return ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(columns.values(), first))


_UPSERT_CALLS: Final = f"""
    INSERT INTO wechatpay_call AS stored (trip_id, kind, generation, method, path, body, attempts, status, code,
        request_id, outcome, uncertain, begun, definite, prepared_at, answered_at)
    SELECT saved.trip_id, c.kind, c.generation, c.method, c.path, c.body, c.attempts, c.status, c.code,
        c.request_id, c.outcome, c.uncertain, c.begun, c.definite, c.at, CASE WHEN c.attempts > 0 THEN c.at END
    FROM saved, unnest({{arrays}}) AS c (kind, generation, method, path, body, attempts, status, code, request_id,
        outcome, uncertain, begun, definite, at)
    {TAKE_THE_ANSWER}
"""

_JOURNAL: Final = f"""
    WITH saved AS (SELECT $1::text AS trip_id) {_UPSERT_CALLS.format(arrays=_arrays(_CALL_COLUMNS, 2))}
"""

_INSERT_EVENTS: Final = """
    INSERT INTO trip_event (trip_id, event_id, direction, type, at, body, pending, attempts)
    SELECT saved.trip_id, e.event_id, e.direction, e.type, e.at, e.body, e.direction = 'out', 0
    FROM saved, unnest({arrays}) AS e (event_id, direction, type, at, body)
"""

_CLAIM_OUTBOX: Final = f"""
    WITH free AS MATERIALIZED (
        SELECT id, trip_id FROM trip_event
        WHERE {WAITS} ORDER BY id LIMIT {WINDOW} * $3 FOR UPDATE SKIP LOCKED
    ), held AS MATERIALIZED (
        SELECT trip_id, min(id) AS first FROM trip_event
        WHERE trip_id = ANY(ARRAY(SELECT DISTINCT trip_id FROM free)) AND {HAS_ITS_PLACE}
            AND id NOT IN (SELECT id FROM free)
        GROUP BY trip_id
    ), mine AS MATERIALIZED (
        SELECT free.id FROM free LEFT JOIN held USING (trip_id)
        WHERE held.first IS NULL OR free.id < held.first
        ORDER BY free.id LIMIT $3
    )
    UPDATE trip_event SET claimed_until = $1::timestamptz + $2::interval WHERE id IN (SELECT id FROM mine)
    RETURNING id, event_id, trip_id, type, body, attempts
"""
"""What waits and is not `free` is claimed, or is being claimed at this moment: our snapshot still shows it unclaimed,
and its lock, or its new row, has kept it out of `free`. Whatever stands behind it in its trip is not ours.

An array, and no NOT EXISTS: PostgreSQL looks it up in the index of the trips whatever it believes of their number, and
does not take the statement for one worth compiling.
"""

_MARK_PUBLISHED: Final = for_many(MARK_PUBLISHED)
_MARK_UNROUTED: Final = for_many(MARK_UNROUTED)
_POSTPONE_OUTBOX: Final = for_many(POSTPONE_OUTBOX)
_RELEASE_OUTBOX: Final = for_many(RELEASE_OUTBOX)
