"""Waiting for what happens elsewhere."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

DEADLINE_SECONDS = 60.0
"""For a machine that is busy with other tests; what is waited for takes a fraction of it; only a failure, all."""

POLL_SECONDS = 0.02

_T = TypeVar("_T")


@overload
async def eventually(
    ask: Callable[[], Awaitable[_T | None]], *, every_seconds: float = ..., within_seconds: float = ...
) -> _T: ...
@overload
async def eventually(
    ask: Callable[[], _T | None], *, every_seconds: float = ..., within_seconds: float = ...
) -> _T: ...
async def eventually(
    ask: Callable[[], Awaitable[_T | None] | _T | None],
    *,
    every_seconds: float = POLL_SECONDS,
    within_seconds: float = DEADLINE_SECONDS,
) -> _T:
    """Ask again and again until the answer is true, and return it; fail when the time is up.

    This is the one way in which tests wait: a state that comes about elsewhere is never read once.
    """
    patience = asyncio.timeout(within_seconds)  # also for a question that is never answered
    try:
        async with patience:
            while True:
                answer = ask()
                value: _T | None = await answer if inspect.isawaitable(answer) else answer
                if value:
                    return value
                await asyncio.sleep(every_seconds)
    except TimeoutError:
        assert not patience.expired(), f"not within {within_seconds} seconds: {ask}"
        raise
