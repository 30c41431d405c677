"""Plays faults, several at once where they do not meet."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.crash.orphans import clear_up
from tests.faults.cases import Result, play
from tests.faults.faults import Fault
from tests.faults.site import Servers, Site, a_site, private_servers

SIMULATOR_KEYS: Final = "keys"

Told = Callable[[Result], None]


class Matrix:
    """Sites in which faults are played: some share their servers, one has its own."""

    def __init__(self, shared: Sequence[Site], private: Sequence[Site]) -> None:
        self._shared = shared
        self._private = private

    async def play(
        self, faults: Iterable[Fault], told: Told, *, family: str, seconds: float | None = None
    ) -> list[Result]:
        """Play each fault once; returns the results in the order of the faults."""
        faults = list(faults)
        of_links = [fault for fault in faults if not fault.private]
        of_servers = [fault for fault in faults if fault.private]
        results: list[Result] = []

        async def work(site: Site, *heaps: list[Fault]) -> None:
            for heap in heaps:
                while heap:
                    fault = heap.pop(0)
                    result = await play(site, fault, family=family, seconds=seconds, last=not any(heaps))
                    results.append(result)
                    told(result)

        async with asyncio.TaskGroup() as group:
            for site in self._shared:
                group.create_task(work(site, of_links))
            for site in self._private:
                group.create_task(work(site, of_servers, of_links))
        return sorted(results, key=lambda result: faults.index(result.fault))


@asynccontextmanager
async def a_matrix(
    *, servers: Servers, lanes: int, private: bool, directory: Path, settings: dict[str, str]
) -> AsyncIterator[Matrix]:
    """Build the sites, and leave broker and database as they were; clear up after those who could not."""
    await clear_up()
    async with AsyncExitStack() as stack:
        shared = [await stack.enter_async_context(a_site(servers, directory, settings)) for _ in range(lanes)]
        own = []
        if private:
            ours = await stack.enter_async_context(private_servers(directory))
            own.append(await stack.enter_async_context(a_site(ours, directory, settings)))
        yield Matrix(shared, own)
