import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from payscore_worker import metrics
from payscore_worker.ops.looking import SHARE, Looking, Rhythm

RHYTHM = Rhythm(every=timedelta(seconds=10), limit=timedelta(seconds=5))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def age(look: str) -> float:
    ((sample,),) = (
        [one for one in metric.samples if one.labels == {"look": look}] for metric in metrics.LOOK_AGE.collect()
    )
    return sample.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_looking(look: Callable[[], Awaitable[None]], clock: Clock, rhythm: Rhythm = RHYTHM) -> Looking:
    return Looking("test", look, rhythm, clock=clock)


async def test_a_look_that_fails_is_left_out_and_its_age_grows(clock: Clock) -> None:
    trouble: list[Exception] = []

    async def look() -> None:
        for error in trouble:
            raise error

    looking = a_looking(look, clock)
    await looking.run_once()
    assert age("test") == 0

    trouble.append(OSError("the database is away"))
    clock.now += 30
    await looking.run_once()
    assert age("test") == 30

    trouble.clear()
    await looking.run_once()
    assert age("test") == 0


async def test_a_look_that_takes_too_long_is_given_up(clock: Clock) -> None:
    given_up = asyncio.Event()

    async def look() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    await a_looking(look, clock, Rhythm(every=timedelta(seconds=10), limit=timedelta(milliseconds=1))).run_once()

    assert given_up.is_set()


async def test_who_is_told_to_end_ends_though_the_look_hides_it_behind_an_error(clock: Clock) -> None:
    looking = asyncio.Event()

    async def look() -> None:
        looking.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise TimeoutError("while it closed what was open")

    task = asyncio.create_task(a_looking(look, clock).run())
    await looking.wait()
    task.cancel()
    ended, _ = await asyncio.wait([task], timeout=60)

    assert ended
    assert task.cancelled()


@pytest.mark.parametrize(("took", "pause"), [(0.01, 10.0), (4.0, 4.0 / SHARE)])
async def test_a_look_that_takes_long_comes_seldom(
    took: float, pause: float, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def look() -> None:
        clock.now += took

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    monkeypatch.setattr("payscore_worker.ops.looking.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await a_looking(look, clock).run()

    assert pauses == [pytest.approx(pause)]
