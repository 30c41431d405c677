"""Several lanes side by side: most of a case is waiting, so a core carries a few of them."""

import asyncio
import itertools
import math
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.crash.cases import Case, Played, Result, close_books, play, setting_of
from tests.crash.lane import Lane, a_lane
from tests.crash.orphans import clear_up
from tests.crash.roles import a_zygote

CHUNK: Final = 16
"""Cases between two closings of the books: those cost a restart, and a late finding is better found near its cause."""

Told = Callable[[Result], None]


class Fleet:
    """Plays cases, as many at once as there are lanes."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes

    async def play(self, cases: Iterable[Case], told: Told = lambda _result: None) -> list[Result]:
        """Play them all; returns the results in the order in which they came, and tells of each."""
        cases = list(cases)
        chunks = list(_chunks(cases, size=max(1, min(CHUNK, math.ceil(len(cases) / len(self._lanes))))))
        results: list[Result] = []

        async def work(lane: Lane) -> None:
            while chunks:
                for result in await _play_chunk(lane, chunks.pop(0)):
                    results.append(result)
                    told(result)

        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(work(lane))
        return results


async def _play_chunk(lane: Lane, cases: Sequence[Case]) -> list[Result]:
    results: list[Result] = []
    open_: list[Played] = []
    for case in cases:
        open_.append(await play(lane, case))
        if open_[-1].result.violations:
            results += await close_books(lane, open_)
            open_ = []
    return results + (await close_books(lane, open_) if open_ else [])


def _chunks(cases: Iterable[Case], *, size: int) -> Iterator[list[Case]]:
    """Cut into pieces of one setting each."""

    for _, alike in itertools.groupby(sorted(cases, key=setting_of), key=setting_of):
        yield from map(list, _batched(alike, size))


def _batched(cases: Iterable[Case], size: int) -> Iterator[tuple[Case, ...]]:
    iterator = iter(cases)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


@asynccontextmanager
async def a_fleet(
    *, amqp_url: str, postgresql_url: str | None, lanes: int, keep: Path | None = None
) -> AsyncIterator[Fleet]:
    """Build the lanes, and leave broker and databases as they were; clear up after those who could not."""
    await clear_up()
    async with AsyncExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="payscore-crash-")))
        directory.mkdir(parents=True, exist_ok=True)
        forks = await stack.enter_async_context(a_zygote())
        building = [
            a_lane(forks=forks, amqp_url=amqp_url, postgresql_url=postgresql_url, directory=directory)
            for _ in range(lanes)
        ]
        yield Fleet([await stack.enter_async_context(lane) for lane in building])
