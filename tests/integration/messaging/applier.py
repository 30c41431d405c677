"""Runs `topology apply` in a process of its own that dies where it is told: AMQP MANAGEMENT PREFIX [POINT].

A point is something that is done to RabbitMQ, a side, and how often it was passed: `delete before 1`.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiormq

from payscore_worker.messaging import replacing
from payscore_worker.messaging.applying import apply
from payscore_worker.messaging.management import Management
from payscore_worker.messaging.topology import Topology
from tests.integration.messaging.desk import SHORT_LADDER

SETTLED_SECONDS = 3.0
"""The broker of these tests counts every half second."""

POLL_SECONDS = 0.25
"""A command looks once a second; looking more often, a wait ends when it is over, and is as long."""

FLUSH_SECONDS = 0.05
"""For a frame that was handed over to leave, and for RabbitMQ to act on it."""

STEPS: dict[type, dict[str, str]] = {
    aiormq.Channel: {
        "queue_bind": "bind",
        "queue_unbind": "unbind",
        "queue_delete": "delete",
        "basic_publish": "publish",
        "basic_ack": "ack",
    },
    Management: {"set_policy": "set_policy", "clear_policy": "clear_policy"},
}


def install(point: str) -> None:
    passed: Counter[str] = Counter()

    async def strike(step: str, side: str) -> None:
        passed[f"{step} {side}"] += 1
        if f"{step} {side} {passed[f'{step} {side}']}" == point:
            if side == "after":
                await asyncio.sleep(FLUSH_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)

    def around(step: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def passing(*args: Any, **kwargs: Any) -> Any:
            await strike(step, "before")
            result = await method(*args, **kwargs)
            await strike(step, "after")
            return result

        return passing

    for owner, steps in STEPS.items():
        for name, step in steps.items():
            setattr(owner, name, around(step, getattr(owner, name)))


async def run(amqp_url: str, management_url: str, prefix: str) -> None:
    topology = Topology(retry_delays=SHORT_LADDER, prefix=prefix)
    left = await apply(amqp_url, topology, Management(management_url, amqp_url), print)
    assert not left.drifts, left.drifts


if __name__ == "__main__":
    replacing.SETTLED_SECONDS = SETTLED_SECONDS  # type: ignore[misc]  # of a test
    replacing.POLL_SECONDS = POLL_SECONDS  # type: ignore[misc]  # of a test
    install(sys.argv[4] if len(sys.argv) > 4 else "")
    asyncio.run(run(*sys.argv[1:4]))
