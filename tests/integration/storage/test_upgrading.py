"""A schema is brought up beside the work, by one run at a time; and a release can be taken back."""

import asyncio
import re
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from payscore_worker import migrations
from payscore_worker.bootstrap.database import database
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import SchemaOutdated, StorageUnavailable
from payscore_worker.migrations import migrate, read_schema
from payscore_worker.settings import Environment
from payscore_worker.storage import SCHEMA_REVISION, Schema, Storage, see_that_it_fits
from payscore_worker.storage import schema as schema_module
from payscore_worker.storage.archive import Archive, Plan
from payscore_worker.storage.cases import Entry
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from tests.acceptance.commands import payscore_worker
from tests.builders import NOW, SITUATIONS, a_trip, requested

VERSIONS: Final = Path(migrations.__file__).parent / "versions"
PROCESSES: Final = 18
ROWS: Final = 1_000


async def migrate_to(database_url: str, revision: str, *, down: bool = False) -> None:
    """Bring a database to where an earlier release left it; `down`: take it back there."""

    def upgrade(connection: Connection) -> None:
        config = migrations._config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
        connection.commit()

    async with engine_for(database_url) as engine, engine.connect() as connection:
        await connection.run_sync(upgrade)


async def change(database_url: str, *statements: str) -> None:
    async with engine_for(database_url) as engine, engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def first(database_url: str, statement: str) -> object:
    async with engine_for(database_url) as engine, engine.connect() as connection:
        return await connection.scalar(text(statement))


@pytest.fixture
async def full_database_url(empty_database_url: str) -> str:
    await become_full(empty_database_url)
    return empty_database_url


async def become_full(database_url: str) -> None:
    """Make of it a database of an earlier release with some trips in it."""
    await migrate_to(database_url, "0002")
    await change(
        database_url,
        f"""
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS})
        INSERT INTO trip (trip_id, out_order_no, state, noted_at, order_id, refusals, bodies, polls, claims, version,
            updated_at)
        SELECT 't' || n, 't' || n, 'NOTED', '2026-05-01 12:00:00+00:00', '', 0, 0, 0, 0, 1, '2026-05-01 12:00:00+00:00'
        FROM n
        """,  # noqa: S608 - our own words
        """
        INSERT INTO trip_event (event_id, trip_id, direction, type, at, body, pending, attempts)
        SELECT trip_id, trip_id, 'in', 'trip.started', noted_at, '{}', false, 0 FROM trip
        """,
    )


# --- Migrating ---


async def test_a_full_database_is_migrated_and_keeps_its_trips(full_database_url: str) -> None:
    await migrate(full_database_url)

    assert (await read_schema(full_database_url)).revision == SCHEMA_REVISION
    assert await first(full_database_url, "SELECT count(*) FROM trip") == ROWS


async def test_runs_that_start_together_wait_for_each_other_and_all_succeed(full_database_url: str) -> None:
    schemas = await asyncio.gather(*(migrate(full_database_url) for _ in range(8)))

    assert {schema.revision for schema in schemas} == {SCHEMA_REVISION}


async def test_commands_that_start_together_all_succeed(empty_database_url: str, tmp_path: Path) -> None:
    settings = {"PAYSCORE_DATABASE_URL": empty_database_url}

    done = await asyncio.gather(*(payscore_worker("migrate", directory=tmp_path, settings=settings) for _ in range(3)))

    assert [(one.code, one.out) for one in done] == [(0, f"the database is at revision {SCHEMA_REVISION}\n")] * 3


AT_ONE_MOMENT: Final = """
import asyncio, os, sys, time
from payscore_worker.migrations import migrate

url, count = sys.argv[1], int(sys.argv[2])
moment = time.time() + 1.0

def one() -> int:
    time.sleep(max(0.0, moment - time.time()))
    asyncio.run(migrate(url))
    return 0

children = []
for _ in range(count):
    child = os.fork()
    if not child:
        try:
            os._exit(one())
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""
"""Processes that have loaded everything, and begin together."""


async def test_processes_that_begin_at_one_moment_all_succeed(full_database_url: str) -> None:
    words = (AT_ONE_MOMENT, full_database_url, str(PROCESSES))
    crowd = await asyncio.create_subprocess_exec(sys.executable, "-c", *words, stdout=asyncio.subprocess.PIPE)

    said, _ = await crowd.communicate()

    assert crowd.returncode == 0, said.decode()
    assert (await read_schema(full_database_url)).revision == SCHEMA_REVISION


KILLED: Final = """
import asyncio, os, signal, sys
from alembic import op
from payscore_worker.migrations import migrate

create_index = op.create_index

def die_at(name, *args, **options):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    create_index(name, *args, **options)

op.create_index = die_at
asyncio.run(migrate(sys.argv[1]))
"""


@pytest.mark.parametrize("index", ["trip_transaction", "trip_event_unrouted", "refund_due", "refund_under_way"])
async def test_a_run_that_was_killed_is_finished_by_the_next(full_database_url: str, index: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, full_database_url, index)
    assert await process.wait() < 0

    await migrate(full_database_url)

    assert (await read_schema(full_database_url)).revision == SCHEMA_REVISION


async def test_a_payment_from_before_refunds_were_kept_can_be_refunded(full_database_url: str) -> None:
    await migrate_to(full_database_url, "0006")
    await change(
        full_database_url,
        """
        UPDATE trip SET state = 'PAID', paid_fen = 3200, paid_at = noted_at, transaction_id = '4200001',
            transaction_ids = '["4200001"]'
        WHERE trip_id = 't1'
        """,
    )

    await migrate(full_database_url)

    storage = await open_storage(full_database_url)
    trip = await storage.load("t1")
    assert trip is not None
    pair = requested(trip)
    assert await storage.save_together([Entry(case=case, due_at=None) for case in pair], now=NOW)
    stored = await storage.load("t1")
    await storage.aclose()
    assert stored == replace(pair[0], version=2)
    assert stored.payment is not None
    assert (stored.payment.transaction_ids, stored.payment.reserved_fen) == (("4200001",), 1_000)


async def test_refunds_are_taken_out_of_the_schema_and_put_in_again(full_database_url: str) -> None:
    await migrate(full_database_url)
    before = await refund_schema(full_database_url)

    await migrate_to(full_database_url, "0006", down=True)
    assert await refund_schema(full_database_url) == ([], [])
    assert await first(full_database_url, "SELECT count(*) FROM trip") == ROWS

    await migrate(full_database_url)
    assert await refund_schema(full_database_url) == before
    assert before == (
        ["refund_due", "refund_problem", "refund_trip", "refund_under_way"],
        ["debits", "refunded_fen", "reserved_fen"],
    )


async def refund_schema(database_url: str) -> tuple[list[str], list[str]]:
    """List the indexes of the table of refunds, if it is there, and what trips have for them."""

    def look(connection: Connection) -> tuple[list[str], list[str]]:
        inspector = inspect(connection)
        indexes = inspector.get_indexes("refund") if inspector.has_table("refund") else []
        columns = {column["name"] for column in inspector.get_columns("trip")}
        names = (str(index["name"]) for index in indexes if not index["unique"])
        return sorted(names), sorted(columns & {"debits", "reserved_fen", "refunded_fen"})

    async with engine_for(database_url) as engine, engine.connect() as connection:
        return await connection.run_sync(look)


# --- On PostgreSQL ---

postgresql_only = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


@postgresql_only
async def test_an_index_that_a_broken_run_left_invalid_is_built_again(full_database_url: str) -> None:
    await change(full_database_url, "CREATE INDEX trip_problem ON trip (noted_at) WHERE problem IS NOT NULL")
    await change(
        full_database_url,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('trip_problem')",
    )

    await migrate(full_database_url)

    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('trip_problem')"
    assert await first(full_database_url, valid) is True


@postgresql_only
@pytest.mark.parametrize(
    ("revision", "waits"),
    [("0002", "CREATE INDEX CONCURRENTLY"), ("0003", "ALTER TABLE trip"), ("0006", "ALTER TABLE trip")],
)
async def test_trips_are_written_while_a_migration_waits_for_somebodys_long_transaction(
    full_database_url: str, monkeypatch: pytest.MonkeyPatch, revision: str, waits: str
) -> None:
    monkeypatch.setattr(migrations, "TABLE_LOCK_TIMEOUT", "200ms")
    await migrate_to(full_database_url, revision)
    async with engine_for(full_database_url) as engine, engine.begin() as reading:
        await reading.execute(text("SELECT count(*) FROM trip"))  # and holds on to the table
        migrating = asyncio.create_task(migrate(full_database_url))
        await _until_it_waits(full_database_url, waits)

        async with asyncio.timeout(5):
            await change(full_database_url, "UPDATE trip SET polls = 1 WHERE trip_id = 't1'")

        assert not migrating.done()
    async with asyncio.timeout(30):
        assert (await migrating).revision == SCHEMA_REVISION


async def _until_it_waits(database_url: str, statement: str) -> None:
    waiting = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{statement}%'"  # noqa: S608
    for _ in range(400):
        if await first(database_url, waiting):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the migration did not come to the table")


@postgresql_only
async def test_somebody_who_never_lets_go_is_said_and_what_is_done_stays(
    full_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "TABLE_LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(migrations, "TABLE_LOCK_SECONDS", 0.5)
    await migrate_to(full_database_url, "0003")
    async with engine_for(full_database_url) as engine, engine.begin() as reading:
        await reading.execute(text("SELECT count(*) FROM trip"))

        with pytest.raises(StorageUnavailable, match="lock"):
            await migrate(full_database_url)

    assert (await migrate(full_database_url)).revision == SCHEMA_REVISION


def test_no_migration_indexes_a_table_that_others_write_to_without_the_helper() -> None:
    for version in sorted(VERSIONS.glob("*.py")):
        source = version.read_text()
        made = set(re.findall(r'op\.create_table\(\s*"(\w+)"', source))
        indexed = set(re.findall(r'op\.create_index\(\s*"\w+",\s*"(\w+)"', source))
        assert source.count("op.create_index(") == len(re.findall(r'op\.create_index\(\s*"\w+",\s*"\w+"', source))
        assert indexed <= made, f"{version.name}: use alter.create_index"


def test_a_migration_after_the_range_says_from_which_code_on_it_can_be_used() -> None:
    for version in VERSIONS.glob("*.py"):
        if version.name >= "0005":
            assert re.search(r'^RUNS_FROM = "\d{4}"$', version.read_text(), re.MULTILINE), version.name


# --- Taking a release back ---

NEXT: Final = (
    "ALTER TABLE trip ADD COLUMN weather TEXT",
    "UPDATE alembic_version SET version_num = '9999'",
    "UPDATE schema_range SET revision = '9999', runs_from = '{runs_from}', migrated_by = '9.9.9'",
)
"""What the migration of some later release does."""


async def become_next(database_url: str, runs_from: str = SCHEMA_REVISION) -> None:
    await change(database_url, *(statement.format(runs_from=runs_from) for statement in NEXT))


async def test_this_release_runs_on_the_schema_of_the_next(database_url: str) -> None:
    await become_next(database_url)

    async with database(Environment({"PAYSCORE_DATABASE_URL": database_url})) as storage:
        assert await storage.save(a_trip(), due_at=NOW, now=NOW)
        (trip,) = await storage.claim_due(Trip, now=NOW, lease=timedelta(minutes=1), limit=1)
        assert await storage.save(trip, due_at=None, now=NOW)
        assert (await storage.schema()).revision == "9999"


async def test_a_schema_that_allows_newer_code_alone_is_refused_with_the_release_to_start(database_url: str) -> None:
    await become_next(database_url, runs_from="9998")

    with pytest.raises(SchemaOutdated, match=r"wants code of revision 9998 or later.*start release 9\.9\.9"):
        async with database(Environment({"PAYSCORE_DATABASE_URL": database_url})):
            pass


async def test_a_newer_schema_that_says_nothing_of_itself_is_refused(database_url: str) -> None:
    await change(database_url, "UPDATE alembic_version SET version_num = '9999'")  # the range is of another revision

    with pytest.raises(SchemaOutdated, match="start the one that migrated it or a newer one"):
        async with database(Environment({"PAYSCORE_DATABASE_URL": database_url})):
            pass


async def test_code_of_the_revision_before_runs_on_this_schema(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_module, "SCHEMA_REVISION", "0004")

    async with database(Environment({"PAYSCORE_DATABASE_URL": database_url})) as storage:
        assert (await storage.schema()).is_ahead


@postgresql_only
@pytest.mark.parametrize("revision", ["0002", "0004"])
async def test_a_schema_that_is_behind_is_refused_with_what_to_do(empty_database_url: str, revision: str) -> None:
    await migrate_to(empty_database_url, revision)

    with pytest.raises(SchemaOutdated, match=rf"at revision {revision}, .* needs {SCHEMA_REVISION}: .*worker migrate"):
        async with database(Environment({"PAYSCORE_DATABASE_URL": empty_database_url})):
            pass


async def test_migrate_of_an_older_release_changes_nothing_and_says_so_in_a_line(
    database_url: str, tmp_path: Path
) -> None:
    settings = {"PAYSCORE_DATABASE_URL": database_url}
    await become_next(database_url)
    fine = await payscore_worker("migrate", directory=tmp_path, settings=settings)
    await change(database_url, "UPDATE schema_range SET runs_from = '9998'")
    with pytest.raises(SchemaOutdated, match="start release"):
        await migrate(database_url)

    said = "the database is at revision 9999, of a newer release, on which this one runs; nothing was changed\n"
    assert (fine.code, fine.out) == (0, said)
    assert (await read_schema(database_url)).revision == "9999"


async def test_an_older_release_does_not_archive_what_it_knows_only_in_part(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    assert await storage.save(SITUATIONS["paid"](), due_at=None, now=NOW)
    await become_next(database_url)

    async with Archive.of(database_url) as archive:
        with pytest.raises(SchemaOutdated, match=r"archive with release 9\.9\.9"):
            async for _ in archive.run(Plan(before=NOW, directory=tmp_path), NOW):
                pass


async def test_a_migration_that_broke_off_before_it_was_remembered_is_remembered_by_the_next_run(
    database_url: str,
) -> None:
    await change(database_url, "DELETE FROM schema_range")

    await migrate(database_url)

    storage = await open_storage(database_url)
    assert (await storage.schema()).runs_from == "0004"
    await storage.aclose()


def test_schemas_are_compared_as_their_revisions_say() -> None:
    assert Schema(revision=None).is_behind
    assert Schema(revision="0004").is_behind
    assert Schema(revision="9999").is_ahead
    see_that_it_fits(Schema(revision=SCHEMA_REVISION))
    see_that_it_fits(Schema(revision="9999", runs_from=SCHEMA_REVISION))
