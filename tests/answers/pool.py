"""Plays cases in a few processes: each has a loop and a database of its own, and needs a core."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Final

import pytest

from tests.answers.bugs import BUGS
from tests.answers.cases import Case, Result, play
from tests.answers.city import merchant_private_key, simulator_keys
from tests.answers.ground import a_ground
from tests.answers.leaping import LeapingLoop

CHUNK: Final = 150
"""Cases that share an opening of the database, which costs as much as ten of them."""

Told = Callable[[Result], None]


def play_all(cases: Iterable[Case], *, processes: int, told: Told = lambda _result: None) -> list[Result]:
    """Play them all; returns the results in the order in which they came, and tells of each."""
    simulator_keys(), merchant_private_key()  # made here once, and inherited
    results: list[Result] = []
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        playing = [pool.submit(play_here, chunk) for chunk in _chunks(cases)]
        for played in as_completed(playing):
            for result in played.result():
                results.append(result)
                told(result)
    return results


def play_here(cases: Sequence[Case], *, briefly: bool = True) -> list[Result]:
    """Play cases of one database and one bug in this process."""
    with ExitStack() as stack:
        if cases[0].bug:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            BUGS[cases[0].bug].install(patch)
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            results = runner.run(_play(cases))
    return [result.brief() for result in results] if briefly else results


async def _play(cases: Sequence[Case]) -> list[Result]:
    async with a_ground(cases[0].database) as ground:
        return [await play(ground, case) for case in cases]


def _chunks(cases: Iterable[Case]) -> Iterator[tuple[Case, ...]]:
    """Cut into pieces of one database and one bug each."""

    def setting(case: Case) -> tuple[str, str]:
        return case.database, case.bug

    for _, alike in itertools.groupby(sorted(cases, key=setting), key=setting):
        while chunk := tuple(itertools.islice(alike, CHUNK)):
            yield chunk
