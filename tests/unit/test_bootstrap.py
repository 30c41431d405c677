"""A role ends as a whole: when one part has failed and another does not end, the process ends itself."""

import subprocess
import sys
from typing import Final

STUBBORN: Final = """
import asyncio
from payscore_worker.bootstrap import parts

parts.LAST_RESORT_SECONDS = 0.5

async def fail():
    raise OSError("a part has failed")

async def go_on():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("told to end", flush=True)

async def role():
    async with asyncio.TaskGroup() as group:
        parts.start(group, go_on())
        await asyncio.sleep(0)
        parts.start(group, fail())

asyncio.run(role())
"""


def test_a_process_of_which_a_part_has_failed_ends_though_another_part_does_not() -> None:
    ended = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", STUBBORN], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1
    assert "part_failed" in ended.stdout
    assert "told to end" in ended.stdout
    assert "Timeout" in ended.stderr  # and where it stood
