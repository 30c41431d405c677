"""Replays every dead letter of a queue, in a process of its own that dies where it is told: URL PREFIX QUEUE [POINT].

A point is a step of the protocol, a side, and how often it was passed: `commit before 2`. The steps are those that
RabbitMQ sees: `publish` of the copy, its `confirm`, the `get`s, the `ack`, the `reject`, and the `commit`.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiormq

from payscore_worker.messaging.deadletters import Choice, DeadLetter, DeadLetters, Decision
from payscore_worker.messaging.topology import Topology

FLUSH_SECONDS = 0.05
"""For a frame that was handed over to leave, and for RabbitMQ to act on it."""

STEPS = {
    "basic_publish": "publish",
    "_on_confirm_frame": "confirm",
    "basic_get": "get",
    "basic_ack": "ack",
    "basic_reject": "reject",
    "tx_commit": "commit",
}


def install(point: str) -> None:
    passed: Counter[str] = Counter()

    async def strike(step: str, side: str) -> None:
        passed[f"{step} {side}"] += 1
        if f"{step} {side} {passed[f'{step} {side}']}" == point:
            if side == "after" and step != "confirm":  # whoever waits for the confirm would go on meanwhile
                await asyncio.sleep(FLUSH_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)

    def around(step: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def passing(*args: Any, **kwargs: Any) -> Any:
            await strike(step, "before")
            result = await method(*args, **kwargs)
            await strike(step, "after")
            return result

        return passing

    for name, step in STEPS.items():
        setattr(aiormq.Channel, name, around(step, getattr(aiormq.Channel, name)))


async def anything(_letter: DeadLetter) -> Decision:
    return Decision(allowed=True, why="")


async def replay(url: str, prefix: str, queue: str) -> None:
    letters = DeadLetters(url, Topology(retry_delays=[timedelta(seconds=1)], prefix=prefix))
    async for _ in letters.replay(queue, Choice(), anything):
        pass


if __name__ == "__main__":
    install(sys.argv[4] if len(sys.argv) > 4 else "")
    asyncio.run(replay(*sys.argv[1:4]))
