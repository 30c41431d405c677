"""The roles as a supervisor runs them: `payscore-worker worker` and its like, with nothing changed in them."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.crash.roles import Process, Starter

RESTART_SECONDS: Final = 1.0
"""A supervisor does not start at once what has just ended; the role lives at least this long, or waits so long."""


class Commands(Starter):
    """Starts commands, and tells of their ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: dict[str, float] = {}
        self._running: set[asyncio.Task[None]] = set()

    def start(self, role: str, **what: Any) -> Process:
        """Start a role; of the members of Start, those count that a command line has."""
        process = Process()
        pause_seconds = max(0.0, self._started.get(role, 0.0) + RESTART_SECONDS - time.monotonic())
        self._started[role] = time.monotonic() + pause_seconds
        task = asyncio.create_task(self._run(process, [role, *_options(what)], what, pause_seconds))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return process

    async def close(self) -> None:
        """Wait for those that have been killed."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, process: Process, words: list[str], what: Mapping[str, Any], pause_seconds: float) -> None:
        await asyncio.sleep(pause_seconds)
        try:
            with Path(what["log"]).open("ab") as log:  # noqa: ASYNC230 - a file on this machine, opened once a life
                command = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "payscore_worker", *words),
                    cwd=self._directory,  # where there is no .env
                    env={**_plain_environment(), **what["variables"], "PAYSCORE_LOG_FORMAT": "json"},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us; we end them
                )
        except OSError as error:
            process.lose(error)
            raise
        process.note({"pid": command.pid})
        try:
            status = await command.wait()
        except asyncio.CancelledError:
            command.kill()
            status = -signal.SIGKILL
            raise
        finally:
            process.note({"status": status})


@asynccontextmanager
async def commands(directory: Path) -> AsyncIterator[Commands]:
    """Be a supervisor in a directory."""
    starter = Commands(directory)
    try:
        yield starter
    finally:
        await starter.close()


def _options(what: Mapping[str, Any]) -> list[str]:
    """Write the options of a simulator."""
    simulator = what.get("simulator")
    if simulator is None:
        return []
    keys, notify_url = simulator["merchants"][0]  # here there is one account
    return [
        *("--port", str(simulator["port"]), "--keys", keys, "--notify-url", notify_url),
        *("--speed", str(simulator["speed"]), "--pay-after", str(simulator["pay_after_seconds"])),
    ]


def _plain_environment() -> dict[str, str]:
    """Pass on our environment but for the settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PAYSCORE_")} | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2])
    }
