"""One task of this process at a case: two would be right, and make their WeChat calls twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """Whose turn it is, by the key of the case; kept for as long as somebody is at it, or waits."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn, and have it."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield
