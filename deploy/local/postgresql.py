"""Tell whether a PostgreSQL will do, and start a private one."""

import json
import os
import pwd
import secrets
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from io import BufferedRWPair
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from deploy.local.errors import SetupFailed, Unusable
from deploy.local.processes import free_ports, last_lines, run

USUAL_URLS = (
    "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres",
    "postgresql+asyncpg://postgres@/postgres?host=/var/run/postgresql",
)

PROBE_SECONDS = 5.0  # a server on this machine answers in milliseconds
INITDB_SECONDS = 120.0  # 2 s here; a slow disk may take many times that
START_SECONDS = 60  # 0.1 s, or a crash recovery
STOP_SECONDS = 30
PG_CTL_SECONDS = 90.0  # more than pg_ctl itself is told to wait, so that its own message comes first

PACKAGED = Path("/usr/lib/postgresql")  # Debian and Ubuntu: one folder per major version
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")  # the first of them that exists


# --- a private one ---


def start_postgresql(directory: Path) -> "PrivatePostgreSQL":
    """The PostgreSQL that lives in this directory, running: the one that runs already, else a new start."""
    server = PrivatePostgreSQL.load(directory)
    if server is None:
        server = _create(directory)
    elif server.is_running():
        return server
    server = replace(server, port=free_ports(1)[0])
    server.save()
    server.start()
    return server


def find_programs() -> Path | None:
    """The folder of initdb and pg_ctl, the newest where several versions are installed."""
    versions = [folder for folder in PACKAGED.glob("*/bin") if folder.parent.name.isdigit()]
    folders = sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    found = shutil.which("initdb")
    if found is not None:
        folders.append(Path(found).parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    return None


@dataclass(frozen=True)
class PrivatePostgreSQL:
    """A server with its own data and password, on a port of loopback only; it keeps its data between starts."""

    directory: Path
    programs: Path
    home: Path  # data and log
    account: str | None  # whose the server is; None: ours
    password: str
    port: int

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The one that was last started in this directory, running or not; None, too, when its data are gone."""
        try:
            saved = json.loads((directory / "server.json").read_text())
        except FileNotFoundError:
            return None
        server = cls(
            directory=directory.resolve(),
            programs=Path(saved["programs"]),
            home=Path(saved["home"]),
            account=saved["account"],
            password=saved["password"],
            port=saved["port"],
        )
        # A cleaned /var/tmp takes the data away, an upgrade of PostgreSQL the programs that can read them.
        return server if server.data.exists() and (server.programs / "pg_ctl").exists() else None

    def save(self) -> None:
        file = self.directory / "server.json"
        file.touch(mode=0o600)  # before the password is in it
        file.write_text(json.dumps(asdict(self), default=str))

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://payscore:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    def is_running(self) -> bool:
        with suppress(Unusable):
            check_postgresql(self.url)
            return self._has_processes()
        return False

    def start(self) -> None:
        """Start it on the port it has, and wait until it answers."""
        try:
            self._pg_ctl("start", "-l", self.log, "-o", f"-p {self.port}", "-t", str(START_SECONDS), "-w")
        except SetupFailed as error:
            log = last_lines(self.log.read_text()) if self.log.exists() else ""
            raise SetupFailed(f"{error}\nThe end of {self.log}:\n{log}") from error

    def stop(self) -> None:
        """End it in order; connections that are open are cut."""
        self._stop("fast")

    def kill(self) -> None:
        """End it as a power cut would: the next start recovers from its log."""
        self._stop("immediate")

    def restart(self) -> None:
        """Stop it and start it again, under the same URL."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Read its configuration again."""
        self._pg_ctl("reload")

    def promote(self) -> None:
        """Make a standby the primary."""
        self._pg_ctl("promote", "-t", str(START_SECONDS), "-w")

    def remove(self) -> None:
        """End it, and delete all it had."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _stop(self, mode: str) -> None:
        if self._has_processes():
            self._pg_ctl("stop", "-m", mode, "-t", str(STOP_SECONDS), "-w")

    def _has_processes(self) -> bool:
        with suppress(SetupFailed):
            self._pg_ctl("status")
            return True
        return False

    def _pg_ctl(self, *args: str | Path) -> None:
        command = [self.programs / "pg_ctl", "-D", self.data, *args]
        run(command, seconds=PG_CTL_SECONDS, env=_environment(), account=self.account, cwd=self.home)


def _create(directory: Path) -> PrivatePostgreSQL:
    programs = find_programs()
    if programs is None:
        raise SetupFailed("PostgreSQL is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    account = _unprivileged_account() if os.geteuid() == 0 else None
    server = PrivatePostgreSQL(
        directory=directory.resolve(),
        programs=programs,
        home=make_home(directory, account=account),
        account=account,
        password=secrets.token_hex(16),
        port=0,
    )
    _initialise(server)
    return server


def _unprivileged_account() -> str:
    for name in UNPRIVILEGED_ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    accounts = " or ".join(UNPRIVILEGED_ACCOUNTS)
    raise SetupFailed(f"PostgreSQL does not run as root, and there is no account {accounts} to run it as")


def make_home(directory: Path, *, account: str | None) -> Path:
    """A new folder for the data.

    PostgreSQL does not run as root. As another account it may be unable to reach our directory (/root, say, is closed
    to all others), so the data then live in /var/tmp, which everybody can reach.
    """
    if account is None:
        return Path(tempfile.mkdtemp(prefix="home-", dir=directory.resolve()))
    home = Path(tempfile.mkdtemp(prefix="payscore-postgresql-", dir="/var/tmp"))
    shutil.chown(home, user=account)
    return home


def _initialise(server: PrivatePostgreSQL) -> None:
    # A password, although it listens on loopback only: a superuser of PostgreSQL can run programs as the account that
    # the server runs as, and other people may be on this machine.
    password_file = server.home / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(server.password)
    shutil.chown(password_file, user=server.account or os.geteuid())
    command: list[str | Path] = [
        server.programs / "initdb",
        "--username=payscore",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",  # the one locale that every machine has
        "--no-sync",
        f"--pgdata={server.data}",
    ]
    run(command, seconds=INITDB_SECONDS, env=_environment(), account=server.account, cwd=server.home)
    password_file.unlink()
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("listen_addresses = '127.0.0.1'\n")
        configuration.write("unix_socket_directories = ''\n")  # a socket's path may have 107 bytes, ours are longer
        configuration.write("max_connections = 200\n")  # every test process has a pool of its own


def _environment() -> dict[str, str]:
    """Nothing is inherited: the machine's PGDATA, PGPORT and the like mean another server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


# --- is this one usable? ---

PROTOCOL_3_0 = 196_608
MAX_MESSAGE_BYTES = 64 * 1024  # greetings and errors are short; what claims to be longer is not PostgreSQL
LET_IN = 0
ASKS_FOR_A_PASSWORD = {3, 5, 10}  # in clear, as MD5, SASL (SCRAM)


def check_postgresql(url: str) -> None:
    """Raise Unusable unless a PostgreSQL lets this user in, or asks for a password and the URL has one."""
    with _connected(url) as stream:
        stream.write(_startup(url))
        stream.flush()
        method = _authentication(stream, url)
        if method == LET_IN:
            while _read_message(stream, url)[0] != b"Z":  # ready; an error on the way there raises
                pass
        elif method not in ASKS_FOR_A_PASSWORD:
            raise Unusable(f"PostgreSQL at {where(url)} asks for a kind of authentication that we do not have")
        elif not _split(url).password:
            raise Unusable(f"PostgreSQL at {where(url)} asks for a password, and the URL has none")


def where(url: str) -> str:
    """Host and port, or the socket: fit to be shown, for it has no password."""
    parts = _split(url)
    folder = _socket_folder(parts)
    return f"{parts.hostname}:{_port(parts)}" if folder is None else str(folder)


@contextmanager
def _connected(url: str) -> Iterator[BufferedRWPair]:
    try:
        with _connect(_split(url)) as connection, connection.makefile("rwb") as stream:
            yield stream
    except OSError as error:
        raise Unusable(f"no PostgreSQL answers at {where(url)}: {error}") from error


def _connect(parts: SplitResult) -> socket.socket:
    folder = _socket_folder(parts)
    if folder is None:
        return socket.create_connection((parts.hostname or "", _port(parts)), timeout=PROBE_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PROBE_SECONDS)
    try:
        connection.connect(str(folder / f".s.PGSQL.{_port(parts)}"))
    except OSError:
        connection.close()
        raise
    return connection


def _split(url: str) -> SplitResult:
    looks_like = "postgresql+asyncpg://user:password@host:5432/database"
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError as error:
        raise Unusable(f"this is no PostgreSQL address: {error}") from error
    if parts.scheme.partition("+")[0] != "postgresql" or not (parts.hostname or _socket_folder(parts)):
        raise Unusable(f"this is no PostgreSQL address; one looks like {looks_like}")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or 5432


def _socket_folder(parts: SplitResult) -> Path | None:
    host = parse_qs(parts.query).get("host", [""])[0]
    return Path(host) if host.startswith("/") else None


def _startup(url: str) -> bytes:
    parts = _split(url)
    user = unquote(parts.username or "postgres")
    database = unquote(parts.path.removeprefix("/")) or user
    payload = struct.pack(">I", PROTOCOL_3_0) + f"user\0{user}\0database\0{database}\0\0".encode()
    return struct.pack(">I", len(payload) + 4) + payload


def _authentication(stream: BufferedRWPair, url: str) -> int:
    kind, payload = _read_message(stream, url)
    if kind != b"R":
        raise Unusable(f"what answers at {where(url)} is no PostgreSQL")
    method: int = struct.unpack(">I", payload[:4])[0]
    return method


def _read_message(stream: BufferedRWPair, url: str) -> tuple[bytes, bytes]:
    header = stream.read(5)
    if len(header) < 5:  # noqa: PLR2004  a letter and a length
        raise Unusable(f"what answers at {where(url)} hung up on a PostgreSQL greeting")
    kind, size = header[:1], struct.unpack(">I", header[1:])[0]
    if not 4 <= size <= MAX_MESSAGE_BYTES:  # noqa: PLR2004  the length counts itself
        raise Unusable(f"what answers at {where(url)} is no PostgreSQL")
    payload = stream.read(size - 4)
    if kind == b"E":
        raise Unusable(f"PostgreSQL at {where(url)} refuses: {_error_text(payload)}")
    return kind, payload


def _error_text(payload: bytes) -> str:
    """The field "M" of an error: what a person should read."""
    for field in payload.split(b"\0"):
        if field[:1] == b"M":
            return field[1:].decode(errors="replace")
    return "it does not say why"
