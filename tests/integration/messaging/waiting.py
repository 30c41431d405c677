"""Waiting for what happens elsewhere."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

DEADLINE_SECONDS = 20.0  # for a machine that is busy with other tests; what is waited for takes a fraction of it
POLL_SECONDS = 0.02

_T = TypeVar("_T")


@overload
async def eventually(ask: Callable[[], Awaitable[_T | None]]) -> _T: ...
@overload
async def eventually(ask: Callable[[], _T | None]) -> _T: ...
async def eventually(ask: Callable[[], Awaitable[_T | None] | _T | None]) -> _T:
    """Ask again and again until the answer is true, and return it; fail when the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_SECONDS
    while True:
        answer = ask()
        value: _T | None = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        assert loop.time() < deadline, f"not within {DEADLINE_SECONDS} seconds: {ask}"
        await asyncio.sleep(POLL_SECONDS)
