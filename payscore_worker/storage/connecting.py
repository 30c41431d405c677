"""Opens a connection to PostgreSQL: by the URL as it is now, at whichever of its hosts is the primary now."""

from typing import Any, Final, TypeAlias

import asyncpg

from payscore_worker.storage.url import Postgresql, Told, UnreadableUrl, read_url

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NEXT: Final = (
    OSError,  # a time-out too
    asyncpg.PostgresConnectionError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
)
"""This one cannot serve us now; another may. A wrong password is wrong everywhere."""

POOLER: Final = (
    "PostgreSQL: prepared statements collide, as they do behind PgBouncer in transaction mode: "
    "add pgbouncer=true to PAYSCORE_DATABASE_URL, or set max_prepared_statements in PgBouncer 1.21 or later"
)

COLLISIONS: Final = (
    asyncpg.exceptions.DuplicatePreparedStatementError,
    asyncpg.exceptions.InvalidSQLStatementNameError,
)
"""Of prepared statements that belong to another client of a pooler, or to none."""


class NoPrimary(ConnectionError):
    """Of the hosts none takes what we write."""


class Connector:
    """Opens connections; begins where the last one was opened, and goes on to the next host from one that fails."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._turn = 0

    @property
    def url(self) -> Postgresql:
        """The URL as it is now.

        Raises:
            UnreadableUrl: it is none of PostgreSQL.

        """
        url = read_url(self._told())
        if not isinstance(url, Postgresql):
            raise UnreadableUrl("it is not one of PostgreSQL")
        return url

    async def __call__(self, *_nothing: object, **how: Any) -> Connection:  # noqa: ANN401 - whatever asyncpg takes
        """Connect; each host is tried once, within the URL's bound.

        Raises:
            NoPrimary: they answer, and none is a primary.
            Exception: what asyncpg raised at the last host.

        """
        url = self.url
        hosts = url.hosts or ((None, None),)
        trouble: Exception = NoPrimary("no host")
        for _ in hosts:
            turn = self._turn
            host, port = hosts[turn % len(hosts)]
            try:
                return await _connect(url, host, port, how)
            except NEXT as error:
                trouble = error
                self._go_on_from(turn)
            except BaseException:
                self._go_on_from(turn)  # whoever waited has given up, and comes again
                raise
        if isinstance(trouble, asyncpg.TargetServerAttributeNotMatched):
            raise NoPrimary(f"no primary among {', '.join(f'{host}:{port}' for host, port in hosts)}") from trouble
        raise trouble

    def _go_on_from(self, turn: int) -> None:
        if self._turn == turn:  # of several that find the same host dead, one moves on
            self._turn += 1


async def _connect(url: Postgresql, host: str | None, port: int | None, how: dict[str, Any]) -> Connection:
    said: dict[str, Any] = {
        "host": host,
        "port": port,
        "user": url.user,
        "password": url.password,
        "database": url.database,
        "target_session_attrs": "any" if url.is_pooled else url.primary,  # a pooler tells of a server what it was
        "server_settings": dict(url.server_settings),
        "timeout": url.connect_seconds,
    }
    if url.is_pooled:
        said["statement_cache_size"] = 0
    connection: Connection = await asyncpg.connect(url.dsn, **said, **how)
    if url.is_pooled and url.primary != "any":
        await _see_that_it_takes_writes(connection, url)
    return connection


async def _see_that_it_takes_writes(connection: Connection, url: Postgresql) -> None:
    """Ask the server itself: after a failover, a pooler still greets with what its server told before."""
    try:
        only_reads = await connection.fetchval(
            "SELECT pg_catalog.current_setting('transaction_read_only')::bool", timeout=url.connect_seconds
        )
    except BaseException:
        connection.terminate()
        raise
    if only_reads:
        connection.terminate()
        raise asyncpg.TargetServerAttributeNotMatched("the server behind the pooler only reads")


async def see_that_statements_stay(told: Told) -> None:
    """See that what a connection prepares is its own, as it is not behind a pooler that does not keep account of it.

    Raises:
        DuplicatePreparedStatementError: the next connection found what the one before had prepared.

    """
    connect = Connector(told)
    if connect.url.is_pooled:
        return
    for _ in range(2):
        connection = await connect()
        try:
            await (await connection.prepare("SELECT 1", name=_PROBE)).fetchval()
        finally:
            await connection.close(timeout=connect.url.connect_seconds)


_PROBE: Final = "payscore_probe"
