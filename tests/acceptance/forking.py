"""A process that has loaded all our commands and run none; it forks one whenever it is asked.

A command that is forked is the command that `python -m payscore_worker` runs, from its first line to the interpreter's
last, in a process, a directory and an environment of its own; what it saves is the second that loading takes. Those
tests that are about the start itself start commands anew (`commands.start_anew`).

Requests come as packets on standard input, each a `Command` with three descriptors: standard output, standard error,
and a pipe on which the number of the process is written, then the status that it left. When nobody asks any more, all
that was forked is killed.
"""

import ctypes
import gc
import os
import runpy
import selectors
import signal
import socket
import sys
import time
from importlib import import_module
from typing import Final

import msgspec

from payscore_worker.cli import COMMANDS

PACKET_BYTES: Final = 1 << 20

DESCRIPTORS: Final = 3

PARENT_DEATH_SIGNAL: Final = 1
"""prctl(PR_SET_PDEATHSIG): end with the parent, however it ends."""

LOADED_LATE: Final = (
    "payscore_worker.console.app",
    "payscore_worker.migrations",
    "payscore_worker.ops.database",
    "payscore_worker.storage.engine",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)
"""What commands load once they run."""


class Command(msgspec.Struct, kw_only=True):
    """A command to be run."""

    words: list[str]
    directory: str
    environment: dict[str, str]


class Forking:
    """Forks, and tells of deaths."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._statuses: dict[int, int] = {}
        self._died, self._dying = os.pipe()
        os.set_blocking(self._dying, False)
        signal.set_wakeup_fd(self._dying, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def serve(self) -> Command | None:
        """Fork until nobody asks any more, which returns None; in the process that was forked, return its command."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._died, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._died in ready:
                    os.read(self._died, PACKET_BYTES)
                    self._bury()
                if self._requests in ready:
                    packet, descriptors = self._receive()
                    if not packet:
                        self._end()
                        return None
                    if self._fork(descriptors) == 0:
                        return msgspec.json.decode(packet, type=Command)

    def _receive(self) -> tuple[bytes, list[int]]:
        packet, descriptors, _, _ = socket.recv_fds(self._requests, PACKET_BYTES, DESCRIPTORS)
        return packet, descriptors

    def _fork(self, descriptors: list[int]) -> int:
        pid = os.fork()
        out, err, status = descriptors
        if pid == 0:
            os.close(status)
            self._leave(out, err)
            return 0
        os.close(out)
        os.close(err)
        self._statuses[pid] = status
        os.write(status, b"%d\n" % pid)
        return pid

    def _leave(self, out: int, err: int) -> None:
        """Take nothing along of the process that forks, not its death either."""
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(nothing := os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        self._requests.close()
        for descriptor in (nothing, out, err, self._died, self._dying, *self._statuses.values()):
            os.close(descriptor)

    def _bury(self) -> None:
        while self._statuses:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            told = self._statuses.pop(pid)
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(told)

    def _end(self) -> None:
        for pid in self._statuses:
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    for module in (*(f"payscore_worker.cli.{one}" for one in COMMANDS.values()), *LOADED_LATE):
        import_module(module)
    gc.freeze()
    command = Forking(socket.socket(fileno=os.dup(0))).serve()
    if command is not None:
        _be(command)


def _be(command: Command) -> None:
    os.chdir(command.directory)
    os.environ.clear()
    os.environ.update(command.environment)
    time.tzset()
    sys.argv[1:] = command.words
    sys.path[0] = command.directory
    runpy.run_module("payscore_worker", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
