"""How late the event loop is: what blocks it delays every message, every call and every confirm alike."""

import asyncio
from typing import Final

from payscore_worker import metrics

EVERY_SECONDS: Final = 0.5


async def measure_lag() -> None:
    """Ask to be woken, and note how late that comes; until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        wanted = loop.time() + EVERY_SECONDS
        await asyncio.sleep(EVERY_SECONDS)
        metrics.LOOP_LAG.observe(max(loop.time() - wanted, 0.0))
