"""The processes of a case, as the harness holds them: asked of the zygote, watched, and started again when they die."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from tests.crash.zygote import Start

ROOT: Final = Path(__file__).resolve().parents[2]

END_SECONDS: Final = 10.0
"""For the zygote to end what it has started; it kills."""


class ZygoteGone(RuntimeError):
    """The process that forks has ended; its output says why."""


class Process:
    """A role in one of its lives."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._pid: asyncio.Future[int] = loop.create_future()
        self._status: asyncio.Future[int] = loop.create_future()

    def note(self, told: Mapping[str, int]) -> None:
        """Take what the zygote tells."""
        if "pid" in told:
            self._pid.set_result(told["pid"])
        else:
            self._status.set_result(told["status"])

    def lose(self, error: Exception) -> None:
        """Give up: nobody will tell any more."""
        for future in (self._pid, self._status):
            if not future.done():
                future.set_exception(error)
                future.exception()

    @property
    def is_running(self) -> bool:
        """Whether it has not been reported dead."""
        return not self._status.done()

    async def gone(self) -> int:
        """Wait for its end; returns the exit status, negative for a signal."""
        return await asyncio.shield(self._status)

    async def kill(self) -> None:
        """End it as a crash does."""
        pid = await asyncio.shield(self._pid)
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await self.gone()


class Starter(Protocol):
    """Starts roles."""

    def start(self, role: str, **what: Any) -> Process:
        """Start a role; `what` are the members of Start."""


class Forks:
    """Asks the zygote."""

    def __init__(self, zygote: asyncio.subprocess.Process) -> None:
        self._zygote = zygote
        self._ids = itertools.count(1)
        self._processes: dict[int, Process] = {}

    def start(self, role: str, **what: Any) -> Process:
        """Fork a role."""
        if self._zygote.stdin is None or self._zygote.returncode is not None:
            raise ZygoteGone
        start = Start(id=next(self._ids), role=role, **what)
        process = self._processes[start.id] = Process()
        self._zygote.stdin.write(msgspec.json.encode(start) + b"\n")
        return process

    async def listen(self) -> None:
        """Hand on what the zygote tells, until it ends."""
        if self._zygote.stdout is None:
            raise ZygoteGone
        async for line in self._zygote.stdout:
            told: dict[str, int] = msgspec.json.decode(line)
            process = self._processes[told["id"]]
            process.note(told)
            if not process.is_running:
                del self._processes[told["id"]]
        for process in self._processes.values():
            process.lose(ZygoteGone("the zygote has ended"))


@asynccontextmanager
async def a_zygote() -> AsyncIterator[Forks]:
    """Start one, and end it with everything that it forked."""
    zygote = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.crash.zygote"),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PAYSCORE_")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; we end it in order
    )
    forks = Forks(zygote)
    listening = asyncio.create_task(forks.listen())
    try:
        yield forks
    finally:
        if zygote.stdin is not None:
            zygote.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await zygote.wait()
        except TimeoutError:
            zygote.kill()
            await zygote.wait()
        await listening
