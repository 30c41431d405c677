"""Whatever URL the worker works with, every command does: hot path, migrations and reports read it as one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from payscore_worker.bootstrap import database as opening
from payscore_worker.errors import StorageUnavailable
from payscore_worker.migrations import migrate, read_schema
from payscore_worker.settings import Environment
from payscore_worker.storage import SCHEMA_REVISION
from payscore_worker.storage.connecting import Connector, NoPrimary
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from tests.acceptance.commands import payscore_worker
from tests.builders import NOW, a_trip
from tests.integration.storage.servers import Server
from tests.proxy import Conduct, Connection, Proxy

ANSWER_SECONDS: Final = 30.0
"""A new connection takes milliseconds."""

_END_ALL: Final = "pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"


@pytest.fixture
async def database(server: Server) -> AsyncIterator[str]:
    async with server.database() as database:
        yield database


async def is_encrypted(url: str) -> bool:
    connection = await Connector(lambda: url)()
    try:
        return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await connection.close()


async def work_through(url: str) -> None:
    """Do with a URL what worker and commands do."""
    assert (await migrate(url)).revision == SCHEMA_REVISION
    storage = await open_storage(url)
    try:
        assert await storage.save(a_trip(), due_at=NOW, now=NOW)
    finally:
        await storage.aclose()
    async with engine_for(url) as engine:
        assert (await Reports(engine).trips_by_state())["NOTED"] == 1


@pytest.mark.parametrize(
    ("parameters", "encrypted"),
    [
        ("sslmode=disable", False),
        ("sslmode=require", True),
        ("sslmode=verify-ca&sslrootcert={certificate}", True),
        ("sslmode=verify-full&sslrootcert={certificate}&connect_timeout=30", True),
        ("application_name=pay&options=-c%20geqo%3Doff&target_session_attrs=read-write", True),
    ],
)
async def test_parameters_of_libpq_mean_the_same_to_worker_and_commands(
    server: Server, database: str, parameters: str, *, encrypted: bool
) -> None:
    url = server.url(database, parameters=parameters.format(certificate=server.certificate))

    await work_through(url)

    assert await is_encrypted(url) is encrypted


async def test_a_server_that_cannot_prove_who_it_is_is_not_spoken_to(server: Server, database: str) -> None:
    url = server.url(database, parameters=f"sslmode=verify-full&sslrootcert={server.certificate}")
    url = url.replace("127.0.0.1", "localhost")  # a name that its certificate does not have

    with pytest.raises(StorageUnavailable, match="certificate"):
        await open_storage(url)


async def test_the_commands_take_it_as_people_paste_it(server: Server, database: str, tmp_path: Path) -> None:
    url = server.url(database, parameters=f"sslmode=verify-full&sslrootcert={server.certificate}")
    settings = {"PAYSCORE_DATABASE_URL": url.replace("postgresql://", "postgres://")}
    commands = (("migrate",), ("trip", "list", "--json"), ("outbox", "list", "--json"))

    done = [await payscore_worker(*words, directory=tmp_path, settings=settings) for words in commands]

    assert [one.code for one in done] == [0, 0, 0], [one.err for one in done]


async def test_a_parameter_that_nobody_knows_ends_a_command_with_one_line(tmp_path: Path) -> None:
    settings = {"PAYSCORE_DATABASE_URL": "postgresql://pay:secret@127.0.0.1/payscore?sslmod=require"}

    done = await payscore_worker("migrate", directory=tmp_path, settings=settings)

    assert done.code == 2
    assert "PAYSCORE_DATABASE_URL: parameter sslmod: not one that we act on; did you mean sslmode?" in done.err
    assert len(done.err.splitlines()) == 1
    assert "secret" not in done.err


# --- Several hosts ---


class Counting(Conduct):
    clients = 0

    async def met(self, _connection: Connection) -> None:
        self.clients += 1


async def test_a_host_that_is_gone_costs_the_way_to_the_next(server: Server, database: str) -> None:
    url = server.url(database).replace("@", "@127.0.0.1:1,")

    await work_through(url)


async def test_a_host_that_is_frozen_is_given_its_bound_once_and_is_not_begun_with_again(
    server: Server, database: str
) -> None:
    async with Proxy(server.url(database).replace("postgresql://", "postgresql+asyncpg://")).running() as proxy:
        proxy.freeze()
        url = server.url(database, parameters="connect_timeout=1").replace("@", f"@127.0.0.1:{proxy.port},")
        proxy.conduct, connect = Counting(), Connector(lambda: url)

        for _ in range(3):
            await (await connect()).close()

        assert proxy.conduct.clients == 1


async def test_where_no_host_takes_writes_it_says_so(server: Server, database: str) -> None:
    await server.does(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    url = server.url(database).replace("@", f"@{server.address},")

    with pytest.raises(NoPrimary, match=f"no primary among {server.address}"):
        await Connector(lambda: url)()
    with pytest.raises(StorageUnavailable, match="no primary among"):
        await open_storage(url)
    with pytest.raises(StorageUnavailable, match="no primary among"):
        await migrate(url)


# --- A password that changes ---


async def until(ask: Callable[[], Awaitable[None]], *, says: str | None = None) -> None:
    """Ask until it answers, or says this: a connection that was ended may be found out only when it is used."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            try:
                await ask()
            except StorageUnavailable as error:
                if says is not None and says in str(error):
                    return
            else:
                if says is None:
                    return
            await asyncio.sleep(0.05)


@pytest.fixture
async def role(server: Server, database: str) -> AsyncIterator[str]:
    role = f"{database}_owner"
    await server.does(f"CREATE ROLE {role} LOGIN PASSWORD 'old'", f"ALTER DATABASE {database} OWNER TO {role}")
    yield role
    await server.does(f"REASSIGN OWNED BY {role} TO payscore", f"DROP OWNED BY {role}", database=database)
    await server.does(f"DROP ROLE {role}")


async def test_a_new_password_in_the_file_is_used_by_the_next_connection(
    server: Server, database: str, role: str, tmp_path: Path
) -> None:
    file = tmp_path / "database-url"
    file.write_text(server.url(database, user=role, password="old"))
    environment = Environment({"PAYSCORE_DATABASE_URL_FILE": str(file)}, env_file=tmp_path / "none")
    await opening.run_migrate(environment)
    async with opening.database(environment) as storage, engine_for(opening.database_url(environment)) as engine:
        await server.does(f"ALTER ROLE {role} PASSWORD 'new'", f"SELECT {_END_ALL.format(role=role)}")
        await until(storage.ping, says="password authentication failed")
        file.write_text(server.url(database, user=role, password="new"))

        await until(storage.ping)
        assert (await Reports(engine).trips_by_state()) == {}


async def test_a_file_that_cannot_be_read_for_a_moment_leaves_the_last_url(
    server: Server, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "database-url"
    file.write_text(server.url(database))
    told = opening.database_url(Environment({"PAYSCORE_DATABASE_URL_FILE": str(file)}, env_file=tmp_path / "none"))

    for spoil in (lambda: file.write_text("half a li"), file.unlink):
        spoil()
        with capture_logs() as logs:
            assert told() == server.url(database)
        assert [entry["event"] for entry in logs] == ["database_url_not_read"]


async def test_a_new_password_in_a_passfile_is_used_too(
    server: Server, database: str, role: str, tmp_path: Path
) -> None:
    passfile = tmp_path / "pgpass"
    passfile.touch(mode=0o600)
    url = f"postgresql://{role}@{server.address}/{database}?passfile={passfile}"
    passfile.write_text(f"*:*:*:{role}:old\n")
    storage = await open_storage(url)
    try:
        await server.does(f"ALTER ROLE {role} PASSWORD 'new'", f"SELECT {_END_ALL.format(role=role)}")
        passfile.write_text(f"*:*:*:{role}:new\n")

        await until(storage.ping)
        assert (await read_schema(url)).revision is None
    finally:
        await storage.aclose()
