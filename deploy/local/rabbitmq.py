"""Tell whether a RabbitMQ will do, and start a private one."""

import json
import os
import secrets
import shutil
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedRWPair
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from deploy.local.errors import SetupFailed, Unusable
from deploy.local.processes import Process, free_ports, last_lines, run, wait_until

DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/"
OLDEST_VERSION = (3, 10)  # the first that dead-letters "at least once", which our queues rest on

PROBE_SECONDS = 5.0  # RabbitMQ itself waits 3 s before it hangs up on a wrong password
EPMD_SECONDS = 10.0  # it only opens a port
START_SECONDS = 120.0  # 5 s on two idle cores; a busy CI machine may take many times that
STOP_SECONDS = 30.0  # 2 s with few messages; queues are closed one by one
CTL_SECONDS = 60.0  # one command is one start of the Erlang machine, about 1 s

# Debian's /usr/sbin/rabbitmq-server changes to the account "rabbitmq" when root calls it, and turns everybody else
# away. The scripts behind it run as whoever calls them, and they are the same for Debian, Ubuntu and RPMs.
PACKAGED_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
METRICS = "prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n"
LOOPBACK_ONLY = "-kernel inet_dist_use_interface {127,0,0,1}"


# --- a private one ---


def start_rabbitmq(
    directory: Path, *, with_metrics: bool = False, settings: tuple[str, ...] = (), plugins: tuple[str, ...] = ()
) -> "PrivateRabbitMQ":
    """The RabbitMQ that lives in this directory, running: the one that runs already, else a new start."""
    node = PrivateRabbitMQ.load(directory)
    if node is not None and node.is_running():
        return node
    if node is not None:
        node.kill()  # what a crash may have left of it
    scripts = find_scripts()
    if scripts is None:
        raise SetupFailed("RabbitMQ is not installed")
    amqp_port, distribution_port, epmd_port, metrics_port = free_ports(4)
    node = PrivateRabbitMQ(
        directory=directory.resolve(),
        scripts=scripts,
        amqp_port=amqp_port,
        distribution_port=distribution_port,
        epmd_port=epmd_port,
        metrics_port=metrics_port if with_metrics else None,
        settings=settings,
        plugins=plugins,
    )
    node.save()
    node.start()
    return node


def find_scripts() -> Path | None:
    """The folder of rabbitmq-server and rabbitmqctl, where they are installed."""
    found = shutil.which("rabbitmq-server")
    folders = [PACKAGED_SCRIPTS] if found is None else [PACKAGED_SCRIPTS, Path(found).parent]
    for folder in folders:
        if (folder / "rabbitmq-server").exists() and (folder / "rabbitmqctl").exists():
            return folder
    return None


@dataclass(frozen=True)
class PrivateRabbitMQ:
    """A broker with its own directory, ports, cookie and epmd, on loopback only; it keeps its data between starts."""

    directory: Path
    scripts: Path
    amqp_port: int
    distribution_port: int
    epmd_port: int
    metrics_port: int | None = None  # of the plugin for Prometheus, where it is wanted
    settings: tuple[str, ...] = ()  # more lines of rabbitmq.conf
    plugins: tuple[str, ...] = ()

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The one that was last started in this directory, running or not."""
        try:
            saved = json.loads((directory / "node.json").read_text())
        except FileNotFoundError:
            return None
        return cls(
            directory=directory.resolve(),
            scripts=Path(saved["scripts"]),
            amqp_port=saved["amqp_port"],
            distribution_port=saved["distribution_port"],
            epmd_port=saved["epmd_port"],
            metrics_port=saved.get("metrics_port"),
            settings=tuple(saved.get("settings", ())),
            plugins=tuple(saved.get("plugins", ())),
        )

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        saved = {
            "scripts": str(self.scripts),
            "amqp_port": self.amqp_port,
            "distribution_port": self.distribution_port,
            "epmd_port": self.epmd_port,
            "metrics_port": self.metrics_port,
            "settings": self.settings,
            "plugins": self.plugins,
        }
        (self.directory / "node.json").write_text(json.dumps(saved))

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.amqp_port}/"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def is_running(self) -> bool:
        server = Process.load(self._server_file)
        return server is not None and server.is_alive() and self._answers()

    def ctl(self, *args: str) -> str:
        """What `rabbitmqctl ARGS` prints for this node."""
        return run([self.scripts / "rabbitmqctl", *args], seconds=CTL_SECONDS, env=self._environment())

    def start(self) -> None:
        """Start it on the ports it has, and wait until it answers."""
        self._write_configuration()
        # The server would start epmd itself, but as a daemon that nobody ends; so it finds ours running.
        epmd = self._spawn_epmd()
        server = Process.spawn([self.scripts / "rabbitmq-server"], env=self._environment(), log=self.log)
        server.save(self._server_file)
        wait_until(lambda: self._answers() or not (server.is_alive() and epmd.is_alive()), seconds=START_SECONDS)
        if not self._answers():
            self.kill()
            raise SetupFailed(f"RabbitMQ did not start. The end of {self.log}:\n{last_lines(self.log.read_text())}")

    def stop(self) -> None:
        """End it in order: what is durable is there at the next start."""
        server = Process.load(self._server_file)
        if server is not None:
            server.terminate(seconds=STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would."""
        for file in (self._server_file, self._epmd_file):
            process = Process.load(file)
            if process is not None:
                process.kill()
            file.unlink(missing_ok=True)

    def restart(self) -> None:
        """Stop it and start it again, under the same URL."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """End it, and delete all it had."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _server_file(self) -> Path:
        return self.directory / "server.pid"

    @property
    def _epmd_file(self) -> Path:
        return self.directory / "epmd.pid"

    def _answers(self) -> bool:
        with suppress(Unusable):
            log_in(self.url)
            return True
        return False

    def _spawn_epmd(self) -> Process:
        program = shutil.which("epmd")
        if program is None:
            raise SetupFailed("epmd, a part of Erlang, is not on the PATH; RabbitMQ cannot start without it")
        words = [program, "-address", "127.0.0.1", "-port", str(self.epmd_port)]
        epmd = Process.spawn(words, env=self._environment(), log=self.directory / "epmd.log")
        epmd.save(self._epmd_file)
        wait_until(lambda: _listens(self.epmd_port) or not epmd.is_alive(), seconds=EPMD_SECONDS)
        return epmd

    def _write_configuration(self) -> None:
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():  # Erlang would make one itself, from less chance than a secret needs
            cookie.write_text(secrets.token_hex(32))
            cookie.chmod(0o400)  # it refuses a cookie that others may read
        # The machine's own RabbitMQ keeps these files in /etc/rabbitmq; each is named so that none of those is read.
        metrics = "" if self.metrics_port is None else METRICS.format(port=self.metrics_port)
        plugins = [*self.plugins, *([] if self.metrics_port is None else ["rabbitmq_prometheus"])]
        (self.directory / "rabbitmq.conf").write_text(metrics + "".join(f"{line}\n" for line in self.settings))
        (self.directory / "rabbitmq-env.conf").write_text("")
        (self.directory / "advanced.config").write_text("[].\n")
        (self.directory / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")

    def _environment(self) -> dict[str, str]:
        """All that server and rabbitmqctl are told; nothing is inherited that could point them to another node."""
        here = self.directory
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(here / "home"),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": "payscore@localhost",  # its own epmd keeps it apart from its namesakes
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.amqp_port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": LOOPBACK_ONLY,
            "RABBITMQ_CTL_ERL_ARGS": LOOPBACK_ONLY,
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(here / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
        }


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PROBE_SECONDS):
        return True
    return False


# --- is this one usable? ---

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = 1
FRAME_END = b"\xce"
MAX_FRAME_BYTES = 128 * 1024  # RabbitMQ's own limit; what claims to be longer is not AMQP
START, START_OK, TUNE = (10, 10), (10, 11), (10, 30)


def check_rabbitmq(url: str) -> None:
    """Raise Unusable unless a RabbitMQ that is new enough lets this user in."""
    version = log_in(url)
    if _major_minor(version) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise Unusable(f"RabbitMQ {version} runs at {where(url)}, and {oldest} is the oldest that will do")


def log_in(url: str) -> str:
    """Open an AMQP connection as far as the password goes; the server's version, once it has accepted that."""
    with _connected(url) as stream:
        method, properties = _ask(stream, PROTOCOL_HEADER, url)
        if method != START:
            raise Unusable(f"what answers at {where(url)} does not speak AMQP 0-9-1")
        try:
            method, _ = _ask(stream, _start_ok(url), url)
        except (OSError, Unusable) as error:
            raise Unusable(f"RabbitMQ at {where(url)} does not let this user in") from error
        if method != TUNE:
            raise Unusable(f"RabbitMQ at {where(url)} does not let this user in")
        return _version(properties)


def where(url: str) -> str:
    """Host and port of the URL: fit to be shown, for it has no password."""
    parts = _split(url)
    return f"{parts.hostname}:{_port(parts)}"


@contextmanager
def _connected(url: str) -> Iterator[BufferedRWPair]:
    try:
        with _connect(_split(url)) as connection, connection.makefile("rwb") as stream:
            yield stream
    except OSError as error:
        raise Unusable(f"no RabbitMQ answers at {where(url)}: {error}") from error


def _connect(parts: SplitResult) -> socket.socket:
    connection = socket.create_connection((parts.hostname or "", _port(parts)), timeout=PROBE_SECONDS)
    if parts.scheme == "amqp":
        return connection
    authority = parse_qs(parts.query).get("cafile", [None])[0]
    return ssl.create_default_context(cafile=authority).wrap_socket(connection, server_hostname=parts.hostname)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError as error:
        raise Unusable(f"this is no AMQP address: {error}") from error
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
        raise Unusable("this is no AMQP address; one looks like amqp://user:password@host:5672/")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (5671 if parts.scheme == "amqps" else 5672)


def _start_ok(url: str) -> bytes:
    parts = _split(url)
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    response = f"\0{user}\0{password}".encode()
    payload = struct.pack(">HH", *START_OK)
    payload += struct.pack(">I", 0)  # a table of client properties, empty
    payload += b"\x05PLAIN" + struct.pack(">I", len(response)) + response + b"\x05en_US"
    return struct.pack(">BHI", METHOD_FRAME, 0, len(payload)) + payload + FRAME_END


def _ask(stream: BufferedRWPair, words: bytes, url: str) -> tuple[tuple[int, int], bytes]:
    """Say this; class and number of the method that comes back, and its arguments as they came."""
    stream.write(words)
    stream.flush()
    kind, _channel, size = struct.unpack(">BHI", _read(stream, 7, url))
    if kind != METHOD_FRAME or not 4 <= size <= MAX_FRAME_BYTES:  # noqa: PLR2004  class and number take 4 bytes
        raise Unusable(f"what answers at {where(url)} does not speak AMQP 0-9-1")
    payload = _read(stream, size + len(FRAME_END), url)
    return struct.unpack(">HH", payload[:4]), payload[4:]


def _read(stream: BufferedRWPair, size: int, url: str) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Unusable(f"what answers at {where(url)} hung up on an AMQP 0-9-1 greeting")
    return data


def _version(arguments: bytes) -> str:
    """The server's version, from the table of server properties; "0" where it does not say."""
    _, found, rest = arguments.partition(b"\x07versionS")
    if not found:
        return "0"
    size = struct.unpack(">I", rest[:4])[0]
    return rest[4 : 4 + size].decode()


def _major_minor(version: str) -> tuple[int, ...]:
    """(3, 10) of "3.10.8"; letters, as in "4.0.0-rc.1", come later and do not matter."""
    return tuple(int(number) for number in version.split(".")[:2])
