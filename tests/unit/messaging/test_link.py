"""Ending what a broken link left behind, and telling a wish from an accident."""

import asyncio
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from yarl import URL

from payscore_worker.messaging.connection import _Wire
from payscore_worker.messaging.link import (
    BROKEN,
    LONGEST_PAUSE_SECONDS,
    TICKS,
    LinkBroken,
    Session,
    _pauses,
    connect,
    is_cancelled,
    race,
    translated,
)
from tests.unit.messaging.incoming import Connection


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise ConnectionResetError


async def test_the_first_to_end_ends_the_others() -> None:
    ended = False

    async def tidy_up() -> None:
        nonlocal ended
        try:
            await forever()
        finally:
            ended = True

    await race(tidy_up(), asyncio.sleep(0), tidy_up())

    assert ended


async def test_what_the_first_raises_is_raised() -> None:
    with pytest.raises(ConnectionResetError):
        await race(forever(), fail())


async def test_a_race_that_is_cancelled_ends_all() -> None:
    others: list[asyncio.Task[None]] = []

    async def enter() -> None:
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        others.append(task)
        await forever()

    running = asyncio.create_task(race(enter(), enter()))
    await asyncio.sleep(0.01)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert all(task.cancelled() for task in others)


async def test_a_cancellation_that_nobody_asked_for_is_a_broken_link() -> None:
    with pytest.raises(LinkBroken), translated():
        raise asyncio.CancelledError


async def test_a_part_that_was_cancelled_by_nobody_is_a_broken_link_too() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(LinkBroken), translated():
        await race(forever(), give_up())


async def test_a_cancellation_that_somebody_asked_for_stays_one() -> None:
    async def work() -> None:
        with translated():
            await forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_told_to_end_is_not_held_up_by_an_error_on_the_way_out() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        with translated():
            begun.set()
            try:
                await forever()
            finally:
                await fail()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()


async def test_a_broker_that_hangs_up_before_it_greets_is_a_broken_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def create_late(self: _Wire, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await create(self, url, **options)
        while not reader.at_eof():  # noqa: ASYNC110 - a reader tells nobody of its end
            await asyncio.sleep(0.01)
        return reader, writer

    create = _Wire.create
    monkeypatch.setattr(_Wire, "create", create_late)
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BROKEN):
            await connect(f"amqp://guest:guest@127.0.0.1:{port}/", "test")


async def test_a_time_out_stays_one() -> None:
    async def wait() -> None:
        async with asyncio.timeout(0):
            with translated():
                await forever()

    with pytest.raises(TimeoutError):
        await wait()
    assert not is_cancelled()


# --- Silence ---


class Peer(Connection):
    """Says something so many times that it was listened for, and then no more."""

    heartbeat_seconds = 0

    def __init__(self, *, words: int) -> None:
        super().__init__()
        self.listened = 0
        self.is_cut = False
        self._words = words

    @property
    def heard(self) -> int:
        self.listened += 1
        return min(self.listened, self._words)

    def cut(self) -> None:
        self.is_cut = True


@pytest.mark.parametrize("words", [0, 100])
async def test_a_peer_that_falls_silent_is_left_without_a_good_bye(monkeypatch: pytest.MonkeyPatch, words: int) -> None:
    monkeypatch.setattr("payscore_worker.messaging.link.SLACK_SECONDS", 0.008)
    peer = Peer(words=words)

    async def work(_session: Session) -> None:
        await forever()

    with pytest.raises(LinkBroken, match="fallen silent"):
        await Session(peer).hold(work)  # type: ignore[arg-type]

    assert peer.is_cut
    assert peer.listened >= words + TICKS  # not before, however long each turn took


def test_pauses_grow_to_a_limit_and_are_never_quite_the_same() -> None:
    series = [[next(pauses) for _ in range(10)] for pauses in (_pauses(), _pauses())]

    for pauses in series:
        assert all(later > earlier for earlier, later in pairwise(pauses[:4]))
        assert max(pauses) <= 1.5 * LONGEST_PAUSE_SECONDS
    assert series[0] != series[1]


# --- A word that is lost ---


async def result_as_the_word_comes() -> None:
    """Wait as aiormq does, and be told to end in the moment in which what it waits for comes (bpo-37658)."""
    coming: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.current_task()
    assert task is not None

    def come() -> None:
        coming.set_result(None)
        task.cancel()

    asyncio.get_running_loop().call_soon(come)
    with suppress(asyncio.CancelledError):  # from Python 3.12 on it is not lost
        await asyncio.wait_for(coming, 60)


async def test_who_is_told_to_end_ends_though_the_answer_came_in_the_same_moment() -> None:
    went_on = False

    async def work() -> None:
        nonlocal went_on
        with translated():
            await result_as_the_word_comes()
        went_on = True

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())

    assert not went_on


async def test_a_time_limit_holds_though_the_answer_came_in_the_same_moment() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.01):
            with translated():
                while not is_cancelled():
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(0.001)

    with pytest.raises(TimeoutError):
        await work()


async def test_a_race_ends_though_one_of_it_has_lost_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payscore_worker.messaging.link.END_AGAIN_SECONDS", 0.01)
    words = 0

    async def hear_the_third_time() -> None:
        nonlocal words
        while words < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                words += 1

    async def be_first() -> None:
        await asyncio.sleep(0)

    await race(hear_the_third_time(), be_first())

    assert words == 3
