"""The parts of a role: they run side by side, and end together."""

import asyncio
import faulthandler
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

from payscore_worker import stopping
from payscore_worker.messaging import link
from payscore_worker.messaging.connection import CLOSE_TIMEOUT_SECONDS
from payscore_worker.ops.health import Check

PARTS_SECONDS: Final = CLOSE_TIMEOUT_SECONDS + 0.5
"""The slowest part to end is one whose broker has frozen: it waits so long for the answer to its good-bye."""

MARGIN_SECONDS: Final = 1.0
"""For what happens between the steps of stopping, on a machine that is busy."""

LAST_RESORT_SECONDS: Final = 60.0
"""One part has failed, and another does not end as it is told: we would sit here deaf, and no supervisor would know."""

log = structlog.stdlib.get_logger(__name__)


def start(group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a part: when it fails, the others end with it, or else the process does."""
    task = group.create_task(work)
    task.add_done_callback(_end_soon_if_failed)
    return task


def _end_soon_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("part_failed", reason=str(error), error=type(error).__name__)
        if stopping.told() is None:  # else there is a limit already
            faulthandler.dump_traceback_later(LAST_RESORT_SECONDS, exit=True)


async def end(*parts: asyncio.Task[None], seconds: float = PARTS_SECONDS) -> None:
    """Have parts end, and wait until they have; who waits for the database longer is told when that is closed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await link.end(parts)


def holds(condition: Callable[[], bool]) -> Check:
    """Make a check of readiness from what can be told at once."""

    async def check() -> bool:
        return condition()

    return check


def answers(ask: Callable[[], Awaitable[None]]) -> Check:
    """Make a check of readiness from a question that fails where nobody answers."""

    async def check() -> bool:
        await ask()
        return True

    return check
