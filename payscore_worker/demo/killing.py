"""Crashes on purpose, while a demo plays: SIGKILL for worker or webhook, again and again."""

import asyncio
import random

from payscore_worker.demo.stage import Stage


async def kill_again_and_again(stage: Stage, *, every_seconds: float, seed: int) -> None:
    """Kill one of the two at random, of those that are up: to kill what is only starting would prove nothing."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    while True:
        await asyncio.sleep(every_seconds)
        up = [role for role in (stage.worker, stage.webhook) if await role.is_ready()]
        if up:
            chance.choice(up).kill()
