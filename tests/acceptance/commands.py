"""Runs our commands as a person would: in a process of their own, in a directory of their own."""

import asyncio
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.acceptance.forking import DESCRIPTORS, Command

ROOT: Final = Path(__file__).resolve().parents[2]

COMMAND_SECONDS: Final = 240.0
"""The longest command of the tests is a demo of half a minute; a busy machine multiplies that."""

HTTP_SECONDS: Final = 30.0
"""What we ask answers in milliseconds, unless its process gets no processor."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


def plain_environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment without any setting but the broker's and those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAYSCORE_")}
    broker = {name: os.environ[name] for name in ("PAYSCORE_AMQP_URL",) if name in os.environ}
    return {**kept, **broker, **(settings or {})}


class Pipe(asyncio.StreamReaderProtocol):
    """The end of a pipe that is read."""

    def __init__(self) -> None:
        self.reader: Final = asyncio.StreamReader()
        super().__init__(self.reader)
        self._over = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._over.set()

    async def closed(self) -> None:
        """Wait until nobody writes any more, and all was read."""
        await self._over.wait()


class Forked:
    """A command that was forked, in the manner of asyncio.subprocess.Process."""

    def __init__(self, pid: int, out: Pipe, err: Pipe, told: Pipe) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: Final = out.reader
        self._pipes = (out, err, told)
        self._gone = asyncio.create_task(self._listen(told.reader))

    async def _listen(self, told: asyncio.StreamReader) -> None:
        self.returncode = int(await told.readline())

    async def wait(self) -> int | None:
        """Wait for its end, and that of its pipes; returns the exit status, negative for a signal."""
        await asyncio.shield(self._gone)
        await asyncio.gather(*(pipe.closed() for pipe in self._pipes))
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read what it says to its end."""
        out, err, _ = self._pipes
        said = await asyncio.gather(out.reader.read(), err.reader.read())
        await self.wait()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        """Send a signal; to one that is gone, none."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def forking() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start what forks, once for all tests of this process; it ends with the socket by which it is asked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.forking"],
            cwd=ROOT,
            env=plain_environment(),
            stdin=theirs.fileno(),
            start_new_session=True,  # Ctrl-C is for us
        )
    return ours, process


async def start(*arguments: str, directory: Path, settings: Mapping[str, str] | None = None) -> Forked:
    """Start a command, loaded already."""
    command = Command(words=[*arguments], directory=str(directory), environment=plain_environment(settings))
    pipes = [os.pipe() for _ in range(DESCRIPTORS)]
    requests, _ = forking()
    socket.send_fds(requests, [msgspec.json.encode(command)], [written for _, written in pipes])
    for _, written in pipes:
        os.close(written)
    loop = asyncio.get_running_loop()
    out, err, told = [(await loop.connect_read_pipe(Pipe, os.fdopen(read, "rb", 0)))[1] for read, _ in pipes]
    async with asyncio.timeout(COMMAND_SECONDS):
        return Forked(int(await told.reader.readline()), out, err, told)


async def start_anew(
    *arguments: str, directory: Path, settings: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a command as a shell does, for tests that are about its start."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payscore_worker", *arguments),
        cwd=directory,
        env=plain_environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: Forked | asyncio.subprocess.Process) -> Done:
    async with asyncio.timeout(COMMAND_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def payscore_worker(*arguments: str, directory: Path, settings: Mapping[str, str] | None = None) -> Done:
    """Run one command to its end."""
    return await finish(await start(*arguments, directory=directory, settings=settings))
