import asyncio
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from deploy.local import postgresql
from deploy.local.errors import Unusable
from deploy.local.postgresql import PrivatePostgreSQL, check_postgresql, start_postgresql

READY = b"Z" + struct.pack(">I", 5) + b"I"
SCRAM = 10
KERBEROS = 7


def a_request(method: int) -> bytes:
    """What PostgreSQL answers to a greeting: "R" and the kind of authentication it wants; 0 is none."""
    return b"R" + struct.pack(">II", 8, method)


def an_error(message: str) -> bytes:
    fields = b"SFATAL\0C28000\0M" + message.encode() + b"\0\0"
    return b"E" + struct.pack(">I", len(fields) + 4) + fields


def test_a_server_that_lets_the_user_in_will_do(answering: Callable[..., int]) -> None:
    check_postgresql(f"postgresql+asyncpg://postgres@127.0.0.1:{answering(a_request(0) + READY)}/postgres")


def test_a_server_that_asks_for_the_password_we_have_will_do(answering: Callable[..., int]) -> None:
    check_postgresql(f"postgresql+asyncpg://me:secret@127.0.0.1:{answering(a_request(SCRAM))}/postgres")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (a_request(SCRAM), "asks for a password, and the URL has none"),
        (a_request(KERBEROS), "a kind of authentication that we do not have"),
        (an_error('role "me" does not exist'), 'refuses: role "me" does not exist'),
        (a_request(0) + an_error('database "x" does not exist'), 'refuses: database "x" does not exist'),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no PostgreSQL"),
        (b"-ERR unknown command\r\n", "is no PostgreSQL"),
        (b"", "hung up"),
    ],
)
def test_a_server_that_will_not_do_is_told_with_the_reason(
    answering: Callable[..., int], answer: bytes, reason: str
) -> None:
    with pytest.raises(Unusable, match=reason):
        check_postgresql(f"postgresql+asyncpg://me@127.0.0.1:{answering(answer)}/x")


def test_a_closed_port_is_told_with_its_address() -> None:
    with pytest.raises(Unusable, match=r"no PostgreSQL answers at 127\.0\.0\.1:1: .*refused"):
        check_postgresql("postgresql+asyncpg://me@127.0.0.1:1/x")


def test_a_missing_socket_is_told_with_its_folder() -> None:
    with pytest.raises(Unusable, match=r"no PostgreSQL answers at /nowhere: .*No such file"):
        check_postgresql("postgresql+asyncpg://me@/x?host=/nowhere")


@pytest.mark.parametrize("url", ["", "sqlite+aiosqlite:///x.db", "postgresql:///x", "postgresql://host:port/x"])
def test_what_is_no_postgresql_address_is_told(url: str) -> None:
    with pytest.raises(Unusable, match="this is no PostgreSQL address"):
        check_postgresql(url)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    if postgresql.find_programs() is None:
        pytest.skip("PostgreSQL is not installed on this machine")
    return tmp_path / "postgresql"


def test_a_private_server_starts_restarts_and_ends(directory: Path) -> None:
    server = start_postgresql(directory)
    try:
        assert start_postgresql(directory) == server  # the second call finds the first one's
        execute(server, "CREATE TABLE kept (id int)")

        server.restart()
        execute(server, "INSERT INTO kept VALUES (1)")
        server.kill()
        assert not server.is_running()
        with pytest.raises(Unusable):
            check_postgresql(server.url)

        server.start()
        execute(server, "SELECT 1 / count(*) FROM kept")  # fails where the row was lost
    finally:
        server.remove()
    assert not directory.exists()
    assert not server.home.exists()


def execute(server: PrivatePostgreSQL, statement: str) -> None:
    """Through SQLAlchemy and asyncpg, because that is whom the URL is for."""

    async def in_a_transaction() -> None:
        engine = create_async_engine(server.url)
        async with engine.begin() as connection:
            await connection.execute(text(statement))
        await engine.dispose()

    asyncio.run(in_a_transaction())


def test_only_who_has_the_password_may_enter(directory: Path) -> None:
    server = start_postgresql(directory)
    try:
        with pytest.raises(Unusable, match="asks for a password"):
            check_postgresql(server.url.replace(f":{server.password}", ""))
    finally:
        server.remove()
