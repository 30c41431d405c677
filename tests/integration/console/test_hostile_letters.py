"""Letters that somebody wrote to hurt whoever looks: pages come, nothing is held, and one bad letter fails alone."""

import asyncio
import time
import tracemalloc
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from payscore_worker.console import letters as pages
from payscore_worker.errors import StorageUnavailable
from payscore_worker.messaging import deadletters, moving
from payscore_worker.messaging.deadletters import (
    MAX_READ_BYTES,
    Choice,
    DeadLetter,
    DeadLetters,
    Decision,
    Fate,
    Progress,
)
from payscore_worker.messaging.envelope import ERROR, REASON, original_message
from payscore_worker.oversight.replay import Judge
from tests.integration.console.site import Site
from tests.integration.messaging.desk import TRIP_CANCELLED, Desk, a_cancellation

DEAD = f"{TRIP_CANCELLED}.dead"
MEGABYTE = 1024 * 1024


async def dies(desk: Desk, name: str, body: bytes, **headers: Any) -> None:
    await desk.put(DEAD, body, message_id=f"m-{name}", headers={REASON: "gave up", ERROR: "TripBusy"} | headers)


async def replayed(site: Site, desk: Desk) -> dict[str, Progress]:
    """Replay all, judged as the console judges."""
    plan = site.plan
    judge = Judge(
        storage=plan.storage,
        payscores=plan.payscores,
        queues=plan.queues,
        out_order_no_prefix="",
        clock=plan.clock,
    )
    letters = DeadLetters(plan.amqp_url, desk.topology)
    return {step.letter.id: step async for step in letters.replay(TRIP_CANCELLED, Choice(), judge.decide)}


async def longest_stand(work: Awaitable[object]) -> float:
    """Do it, and tell for how long the event loop stood meanwhile, in seconds of its own processor time.

    How long it stood because the machine was busy with others says nothing.
    """
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.01)
            longest = max(longest, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    await work
    watching.cancel()
    return longest


async def test_a_reason_as_long_as_a_header_may_be_stops_nobody(site: Site, desk: Desk) -> None:
    for number in range(3):
        await dies(desk, f"t{number}", a_cancellation(f"t{number}"), **{REASON: "x" * 110_000})

    stood = await longest_stand(site.page("/dead"))
    page = await site.page(f"/dead/letter?queue={TRIP_CANCELLED}&id=m-t1")

    assert stood < 2.0
    assert len(page) < 5_000


async def test_looking_at_large_letters_holds_none_of_them(site: Site, desk: Desk) -> None:
    for number in range(12):
        await dies(desk, f"t{number}", b'{"trip_id": "t", "padding": "' + b"x" * 4 * MEGABYTE + b'"}')
    await site.page("/dead")  # what is imported and cached is not counted

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        look = await DeadLetters(site.plan.amqp_url, desk.topology).look(TRIP_CANCELLED)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [letter.size for letter in look.letters] == [4 * MEGABYTE + 31] * 12
    assert after - before < MEGABYTE
    assert peak - before < 32 * MEGABYTE


async def test_a_look_ends_early_where_letters_are_large_and_says_so(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadletters, "MAX_LOOKED_BYTES", 25_000)
    for number in range(5):
        await dies(desk, f"t{number}", b"x" * 10_000)

    assert "the oldest 3 of 5" in await site.page("/dead")


async def test_of_a_large_letter_the_beginning_is_shown(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SHOWN_BYTES", 1000)
    await dies(desk, "t1", b"a" * 1000 + b"b" * (MAX_READ_BYTES - 999))

    page = await site.page(f"/dead/letter?queue={TRIP_CANCELLED}&id=m-t1")
    prospect = await site.page(f"/dead/prospect?queue={TRIP_CANCELLED}&id=m-t1")

    assert "The first 1,000 of 1,048,577 bytes." in page
    assert "a" * 1000 in page
    assert "bbb" not in page
    assert prospect.endswith(
        "Not judged. 1048577 bytes: larger than any message of ours Times are Beijing time (UTC+8)."
    )


async def test_a_time_at_the_end_of_the_calendar_is_shown_as_it_was_told(site: Site, desk: Desk) -> None:
    first, last = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"
    await dies(desk, "t1", b"{}", **{"x-first-failed-at": first, "x-last-failed-at": last})

    page = await site.page(f"/dead/letter?queue={TRIP_CANCELLED}&id=m-t1")

    assert f"First failed {first} Last failed {last}" in page
    assert last in await site.page("/dead")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (a_cancellation("t\x00"), r"t\x00"),
        (b'{"trip_id": "t\\ud800", "cancelled_at": "2026-05-01T20:00:00+08:00"}', ""),
        (b'{"trip_id": "t\xed\xa0\x80", "cancelled_at": "2026-05-01T20:00:00+08:00"}', ""),
        (a_cancellation("t", cancelled_at="0001-01-01T00:00:00+14:00"), "t"),
    ],
    ids=["NUL", "half a character, escaped", "half a character, raw", "the beginning of the calendar"],
)
async def test_a_letter_that_nobody_can_keep_fails_alone(site: Site, desk: Desk, body: bytes, named: str) -> None:
    await dies(desk, "good-1", a_cancellation("good-1"))
    await dies(desk, "bad", body, **{"x-note": bytearray(b"\xed\xa0\x80")})
    await dies(desk, "good-2", a_cancellation("good-2"))

    steps = await replayed(site, desk)

    assert list(steps) == ["m-good-1", "m-bad", "m-good-2"]
    assert steps["m-good-1"].fate is steps["m-good-2"].fate is Fate.REPLAYED
    assert steps["m-bad"].letter.trip_id == named
    assert steps["m-bad"].why != ""
    assert "will be dead-lettered again" in steps["m-bad"].why or steps["m-bad"].fate is Fate.REFUSED


async def test_a_letter_whose_judge_fails_stays_is_named_and_the_others_go_back(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumbles(_judge: Judge, letter: DeadLetter) -> Decision:
        if letter.id == "m-bad":
            raise TypeError("no rule for this")
        return Decision(allowed=True, why="")

    monkeypatch.setattr(Judge, "decide", stumbles)
    for name in ("good-1", "bad", "good-2"):
        await dies(desk, name, a_cancellation(name))

    steps = await replayed(site, desk)

    assert [step.fate for step in steps.values()] == [Fate.REPLAYED, Fate.REFUSED, Fate.REPLAYED]
    assert steps["m-bad"].why == "it cannot be judged: TypeError"
    assert await desk.ready(TRIP_CANCELLED) == 2


async def test_a_letter_that_cannot_be_written_again_stays_and_the_others_go_back(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwritable(message: Any, *, queue: str) -> Any:
        outgoing = original_message(message, queue=queue)
        if message.message_id == "m-bad":
            return replace(outgoing, headers={**outgoing.headers, "x-number": 2**80})
        return outgoing

    monkeypatch.setattr(moving, "original_message", unwritable)
    for name in ("good-1", "bad", "good-2"):
        await dies(desk, name, a_cancellation(name))

    steps = await replayed(site, desk)

    assert [step.fate for step in steps.values()] == [Fate.REPLAYED, Fate.REFUSED, Fate.REPLAYED]
    assert "cannot be written unchanged" in steps["m-bad"].why
    assert await desk.ready(TRIP_CANCELLED) == 2


async def test_without_a_database_nothing_goes_back(site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_judge: Judge, _letter: DeadLetter) -> Decision:
        raise StorageUnavailable("away")

    monkeypatch.setattr(Judge, "decide", away)
    await dies(desk, "t1", a_cancellation("t1"))

    with pytest.raises(StorageUnavailable):
        await replayed(site, desk)
    assert await desk.is_empty(TRIP_CANCELLED)


async def test_a_letter_larger_than_any_of_ours_stays(site: Site, desk: Desk) -> None:
    await dies(desk, "large", a_cancellation("large") + b" " * MAX_READ_BYTES)
    await dies(desk, "good", a_cancellation("good"))

    steps = await replayed(site, desk)

    assert (steps["m-large"].fate, steps["m-good"].fate) == (Fate.REFUSED, Fate.REPLAYED)
    assert "larger than any message of ours" in steps["m-large"].why


async def test_a_letter_with_an_id_that_nobody_can_type_can_be_named_and_dropped(site: Site, desk: Desk) -> None:
    await desk.put(DEAD, a_cancellation("t1"), message_id="m\x00\x1b[2J", headers={REASON: "gave up"})
    letters = DeadLetters(site.plan.amqp_url, desk.topology)
    (letter,) = (await letters.look(TRIP_CANCELLED)).letters

    assert await letters.find(TRIP_CANCELLED, letter.id) is not None
    dropped = await site.send("/dead", "/dead/drop", queue=TRIP_CANCELLED, id=letter.id, reason="sent twice")

    assert "dropped=yes" in dropped.headers["location"]
    assert await desk.is_empty(DEAD)


@pytest.mark.parametrize("stranger", ["m-other", None])
async def test_what_strangers_staged_is_put_right_in_pieces(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch, stranger: str | None
) -> None:
    monkeypatch.setattr(moving, "MAX_STAGED_BYTES", 1)
    monkeypatch.setattr(moving, "RETURN_SECONDS", 0.2)
    async with desk.connection.channel() as channel:
        await desk.topology.declare_staging(channel, TRIP_CANCELLED)
    for number in range(3):
        await desk.put(f"{TRIP_CANCELLED}.replay", a_cancellation(f"s{number}"), message_id=stranger)
    await dies(desk, "t1", a_cancellation("t1"))

    steps = await replayed(site, desk)

    assert steps["m-t1"].fate is Fate.REPLAYED
    assert await desk.is_empty(f"{TRIP_CANCELLED}.replay")


async def test_a_letter_that_cannot_be_judged_has_a_page_all_the_same(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumbles(*_arguments: object, **_options: object) -> None:
        raise TypeError("no rule for this")

    monkeypatch.setattr(Judge, "prospect", stumbles)
    await dies(desk, "t1", a_cancellation("t1"))

    assert "Not judged. TypeError" in await site.page(f"/dead/prospect?queue={TRIP_CANCELLED}&id=m-t1")


async def test_a_letter_in_somebody_else_s_hand_is_said_to_be(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_arguments: object) -> None:
        raise moving.Busy("in hand")

    monkeypatch.setattr(DeadLetters, "find", busy)

    page = await site.page(f"/dead/letter?queue={TRIP_CANCELLED}&id=m-t1", status=409)

    assert "Somebody has the dead letters of this queue in hand." in page
