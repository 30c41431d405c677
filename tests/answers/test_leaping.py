"""The clock of the cases: it leaps over what is only waiting, and stands still while something real is at work."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from tests.answers.leaping import LeapingLoop, leaping


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(work)


def test_a_day_of_waiting_costs_nothing() -> None:
    """A wait in earnest would be ended by the time that a test has."""

    async def wait() -> None:
        began = leaping().time()
        await asyncio.sleep(86_400)
        assert leaping().time() - began >= 86_400

    run(wait())


def test_timers_ring_in_their_order() -> None:
    rung: list[int] = []

    async def ring(seconds: int) -> None:
        await asyncio.sleep(seconds)
        rung.append(seconds)

    async def all_of_them() -> None:
        await asyncio.gather(*(ring(seconds) for seconds in (3_600, 5, 60)))

    run(all_of_them())

    assert rung == [5, 60, 3_600]


def test_no_time_passes_while_something_real_is_at_work() -> None:
    async def work() -> None:
        loop = leaping()
        asyncio.get_running_loop().call_later(3_600, lambda: None)
        done = loop.create_future()
        began = loop.time()
        with loop.real():
            threadlike = asyncio.create_task(_finish_by_a_thread(done))
            await done
        assert loop.time() == began
        await threadlike

    run(work())


async def _finish_by_a_thread(done: "asyncio.Future[None]") -> None:
    loop = asyncio.get_running_loop()
    threading.Timer(0.05, lambda: loop.call_soon_threadsafe(done.set_result, None)).start()


def test_what_a_thread_would_do_is_done_at_once() -> None:
    async def work() -> None:
        assert await asyncio.get_running_loop().run_in_executor(None, sum, [1, 2]) == 3

    run(work())
