"""Servers of a test's own: a PostgreSQL that asks for passwords and speaks TLS, and a PgBouncer before it."""

import asyncio
import datetime as dt
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from deploy.local.postgresql import PrivatePostgreSQL, make_home, start_postgresql
from deploy.local.processes import free_ports, run
from payscore_worker.storage.engine import engine_for
from tests.integration.messaging.waiting import eventually
from tests.programs import provide

COPY_SECONDS: Final = 120.0
"""An empty database is copied in a second or two; a slow disk may take many times that."""

TRACKS_FROM: Final = (1, 21)
"""The first PgBouncer that knows `max_prepared_statements`."""


def a_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate of this machine, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "server.crt", directory / "server.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL of ours alone."""

    postgresql: PrivatePostgreSQL
    certificate: Path
    """What a client needs to know it by."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.postgresql.port}"

    def url(self, database: str, *, user: str = "payscore", password: str | None = None, parameters: str = "") -> str:
        """Lead to a database, as people write it."""
        login = f"{user}:{password or self.postgresql.password}"
        return f"postgresql://{login}@{self.address}/{database}{'?' if parameters else ''}{parameters}"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Make a database, and name it."""
        name = f"payscore_{uuid4().hex[:12]}"
        await self.does(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            await self.does(f"DROP DATABASE {name} WITH (FORCE)")

    async def does(self, *statements: str, database: str = "postgres") -> None:
        """Run what only its owner may."""
        async with engine_for(self.url(database)) as engine, engine.connect() as connection:
            owner = await connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in statements:
                await owner.execute(text(statement))


@contextmanager
def a_server(directory: Path) -> Iterator[Server]:
    """Start a PostgreSQL that speaks TLS, and asks for passwords."""
    postgresql = start_postgresql(directory)
    try:
        certificate, key = a_certificate(directory)
        shutil.copy(certificate, postgresql.data)
        inside = Path(shutil.copy(key, postgresql.data))
        shutil.chown(inside, user=postgresql.account or os.geteuid())
        inside.chmod(0o600)
        with (postgresql.data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\n")
        postgresql.restart()
        yield Server(postgresql, certificate)
    finally:
        postgresql.remove()


def pgbouncer() -> str:
    """Find PgBouncer: what `PAYSCORE_TEST_PGBOUNCER` names, or the system's, installed where we may."""
    return os.environ.get("PAYSCORE_TEST_PGBOUNCER") or provide("pgbouncer", package="pgbouncer")


def tracks(program: str) -> bool:
    """Tell whether it can carry prepared statements from one connection of the server to the next."""
    major, minor, *_ = map(int, version_of(program).split("."))
    return (major, minor) >= TRACKS_FROM


def version_of(program: str) -> str:
    """Tell which PgBouncer it is."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    version = re.search(r"PgBouncer ([\d.]+)", said)
    assert version is not None
    return version[1]


@asynccontextmanager
async def a_pooler(server: Server, directory: Path, *, prepared_statements: int | None = None) -> AsyncIterator[str]:
    """Start a PgBouncer in transaction mode, with few connections for many clients; gives host and port."""
    port = free_ports(1)[0]
    tracked = [] if prepared_statements is None else [f"max_prepared_statements = {prepared_statements}"]
    settings = [
        "[databases]",
        f"* = host=127.0.0.1 port={server.postgresql.port} user=payscore password={server.postgresql.password}",
        "[pgbouncer]",
        *("listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "auth_type = any"),
        *("pool_mode = transaction", "default_pool_size = 2", "max_client_conn = 200"),
        *tracked,
    ]
    file = directory / f"pgbouncer-{uuid4().hex[:6]}.ini"
    file.touch(mode=0o600)
    file.write_text("\n".join(settings) + "\n")
    as_somebody = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(
        *(pgbouncer(), "-q", *as_somebody, str(file)),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _until_it_listens(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_it_listens(port: int, process: asyncio.subprocess.Process) -> None:
    def listens() -> bool:
        with socket.socket() as client, suppress(OSError):
            client.connect(("127.0.0.1", port))
            return True
        assert process.returncode is None, "PgBouncer ended as it started"
        return False

    await eventually(listens)


@contextmanager
def a_standby(primary: Server, directory: Path) -> Iterator[Server]:
    """Start a synchronous standby: what the primary has confirmed to anybody, this one has."""
    home = make_home(directory, account=primary.postgresql.account)
    standby = replace(
        primary, postgresql=replace(primary.postgresql, directory=directory, home=home, port=free_ports(1)[0])
    )
    try:
        follow(primary, standby)
        yield standby
    finally:
        standby.postgresql.remove()


def follow(primary: Server, standby: Server) -> None:
    """Make of a server that does not run the synchronous standby of another, whatever it was before."""
    first, second = primary.postgresql, standby.postgresql
    shutil.rmtree(second.data, ignore_errors=True)
    run(
        [
            *(second.programs / "pg_basebackup", "--pgdata", second.data, "--write-recovery-conf", "--no-sync"),
            *("--checkpoint=fast", "--dbname", f"host=127.0.0.1 port={first.port} user=payscore"),
        ],
        seconds=COPY_SECONDS,
        env={"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": first.password},
        account=second.account,
        cwd=second.home,
    )
    with (first.data / "postgresql.conf").open("a") as configuration:  # the copy of it stays without
        configuration.write("synchronous_standby_names = '*'\n")
    second.start()
    first.reload()
