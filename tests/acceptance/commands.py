"""Runs our commands as a person would: in a process of their own, in a directory of their own."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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


async def start(
    *arguments: str, directory: Path, settings: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payscore_worker", *arguments),
        cwd=directory,
        env=plain_environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> Done:
    async with asyncio.timeout(COMMAND_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def payscore_worker(*arguments: str, directory: Path, settings: Mapping[str, str] | None = None) -> Done:
    """Run one command to its end."""
    return await finish(await start(*arguments, directory=directory, settings=settings))
