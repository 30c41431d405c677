"""Free ports, commands that end in time, and processes that outlive the one that started them."""

import fcntl
import functools
import json
import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from deploy.local.errors import SetupFailed

# Linux hands out 32768 and up to outgoing connections. A server that restarts on a port of that range may find it
# taken, by its own client even: one that keeps dialling such a port on loopback can end up connected to itself.
PORTS = range(20_000, 32_000)
PORT_ATTEMPTS = 3_000  # a quarter of the range; if all of these are taken, so is the rest
POLL_SECONDS = 0.1  # short beside any start, long beside one look
KILL_SECONDS = 10.0  # SIGKILL is obeyed at once; the rest is a machine that swaps
LAST_LINES = 15  # of a log, enough to show the first error and what led to it


@dataclass(frozen=True)
class Process:
    """A process that leads a group of its own; its start tells it from a later process with the same id."""

    pid: int
    started: str  # in clock ticks after boot, as /proc words it

    @classmethod
    def spawn(cls, command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Self:
        """Start it in a session of its own, so that Ctrl-C here does not reach it."""
        words = [str(word) for word in command]
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(words[0], words, env, file_actions=files, setsid=True)
        # One that has died already is gone from /proc, and no start matches it: it reads as not alive.
        return cls(pid=pid, started=_group(pid).get(pid, "never"))

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Read what `save` wrote; None where nothing was."""
        try:
            saved = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        return cls(pid=saved["pid"], started=saved["started"])

    def save(self, file: Path) -> None:
        file.write_text(json.dumps({"pid": self.pid, "started": self.started}))

    def is_alive(self) -> bool:
        """Whether it, or anything it started in its group, still runs."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)  # our own child stays a zombie until somebody asks
        group = _group(self.pid)
        return bool(group) and group.get(self.pid, self.started) == self.started

    def terminate(self, *, seconds: float) -> None:
        """Ask it to end; after so many seconds, make it."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            wait_until(lambda: not self.is_alive(), seconds=seconds)
        self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send it and its group a signal, if it still runs."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it and its group at once."""
        if not self.is_alive():
            return
        self.signal(signal.SIGKILL)
        if not wait_until(lambda: not self.is_alive(), seconds=KILL_SECONDS):
            raise SetupFailed(f"process {self.pid} does not end, not even by kill -KILL")


def _group(leader: int) -> dict[int, str]:
    """Every living process of this group with its start."""
    members = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may end while we look
            # "pid (name) state ppid pgrp … starttime …"; the name may hold anything, spaces and brackets too
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX" and fields[2] == str(leader):
                members[int(stat.parent.name)] = fields[19]
    return members


def wait_until(happened: Callable[[], bool], *, seconds: float) -> bool:
    """Look again and again until it has happened (true) or the time is up (false)."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def free_ports(count: int) -> list[int]:
    """So many different ports of loopback on which nobody listens; no other process is given them while this one lives.

    Between the choice and the listening, and while a server is started again, others choose.
    """
    dice = random.SystemRandom()  # several test processes choose at the same moment: a shared seed would make them meet
    with ExitStack() as held:
        ports: list[int] = []
        for _ in range(PORT_ATTEMPTS):
            port = dice.choice(PORTS)
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                if _take(port):
                    ports.append(port)
            if len(ports) == count:
                return ports
    raise SetupFailed(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")


_given: Final[set[int]] = set()


def _take(port: int) -> bool:
    """Lock the byte of this number in a file that all processes of this user have; the lock goes with the process."""
    if port in _given:
        return False
    try:
        fcntl.lockf(_ports_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True


@functools.cache
def _ports_file() -> int:
    file = Path(tempfile.gettempdir()) / f"payscore-ports-{os.getuid()}"
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def run(
    command: Sequence[str | Path],
    *,
    seconds: float,
    env: Mapping[str, str],
    account: str | None = None,
    cwd: Path | None = None,
) -> str:
    """What the command printed; SetupFailed with its last words when it fails or takes too long."""
    words = [str(word) for word in command]
    # A file, not a pipe: a daemon that the command leaves behind would hold a pipe open, and us with it.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            code = subprocess.run(  # noqa: S603  our own words, and no shell
                words,
                check=False,
                timeout=seconds,
                env=env,
                cwd=cwd,
                user=account,
                group=None if account is None else pwd.getpwnam(account).pw_gid,
                extra_groups=None if account is None else (),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise SetupFailed(f"{words[0]} did not end within {seconds:.0f} s") from error
        output.seek(0)
        printed = output.read()
    if code:
        raise SetupFailed(f"{' '.join(words)} failed:\n{last_lines(printed)}")
    return printed


def last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-LAST_LINES:])
