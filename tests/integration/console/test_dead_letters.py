"""Dead letters in the browser: seen, judged, put back once, dropped with a reason; and the record of who did what."""

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec
import pytest

from payscore_worker.errors import StorageUnavailable
from payscore_worker.messaging.deadletters import Choice, DeadLetter, DeadLetters, Decision
from payscore_worker.messaging.envelope import ERROR, REASON
from payscore_worker.oversight.replay import Judge
from payscore_worker.storage.browsing import Browsing
from payscore_worker.storage.reports import Row
from tests.integration.console.site import Site, a_site, text_of
from tests.integration.messaging.desk import TRIP_CANCELLED, Desk, a_cancellation
from tests.integration.messaging.waiting import DEADLINE_SECONDS, eventually

DEAD = f"{TRIP_CANCELLED}.dead"
GAVE_UP = "gave up after 9 attempts: TripBusy()"


async def dies(desk: Desk, trip_id: str, reason: str = GAVE_UP, body: bytes | None = None) -> None:
    headers = {REASON: reason, ERROR: "TripBusy"}
    await desk.put(DEAD, body or a_cancellation(trip_id), message_id=f"m-{trip_id}", headers=headers)


async def over(site: Site, started_at: str) -> str:
    """Wait for the end of a replay; the page then."""
    path = started_at.removeprefix("/console")

    async def is_over() -> str | None:
        html = await site.html(path)
        return None if 'class="stage running"' in html else text_of(html)

    return await eventually(is_over)


@pytest.mark.usefixtures("desk")
async def test_no_dead_letters_is_said(site: Site) -> None:
    page = await site.page("/dead")

    assert "No dead letters. Nothing waits for a person." in page
    assert "Nobody has done anything yet." in page


async def test_a_group_goes_back_with_one_click_and_stands_in_the_record(site: Site, desk: Desk) -> None:
    for trip_id in ("t1", "t2", "t3"):
        await dies(desk, trip_id)
    await dies(desk, "t4", "another reason")
    page = await site.page("/dead")
    assert "3 gave up after # attempts: TripBusy()" in page
    assert "Replay all of payscore.trip-cancelled (4)" in page
    (group,) = set(re.findall(r"group=(\w+)\">gave up", await site.html("/dead")))

    started = await site.send("/dead", "/dead/replay", queue=TRIP_CANCELLED, group=group)

    page = await over(site, started.headers["location"])
    assert "Replay payscore.trip-cancelled done" in page
    assert "Put back 3 Left where they are 0" in page
    await desk.holds(TRIP_CANCELLED, 3)
    await desk.holds(DEAD, 1)
    assert f"local replay payscore.trip-cancelled {group} done 3 moved, 0 left" in page


async def test_one_goes_back_alone(site: Site, desk: Desk) -> None:
    await dies(desk, "t1")
    await dies(desk, "t2")

    started = await site.send("/dead", "/dead/replay", queue=TRIP_CANCELLED, id="m-t2")

    await over(site, started.headers["location"])
    assert (await desk.take(TRIP_CANCELLED)).message_id == "m-t2"
    await desk.holds(DEAD, 1)


async def test_what_conflicts_is_left_and_the_page_says_why(site: Site, desk: Desk) -> None:
    await site.town.rides("t1")
    await dies(desk, "t1")
    await dies(desk, "t2")

    started = await site.send("/dead", "/dead/replay", queue=TRIP_CANCELLED, all="yes")

    page = await over(site, started.headers["location"])
    assert "Put back 1 Left where they are 1" in page
    assert "m-t1 trip.cancelled after the trip ended; its fare is owed" in page
    await desk.holds(DEAD, 1)


async def test_a_letter_is_shown_beside_its_trip_and_the_word_of_wechat_pay(site: Site, desk: Desk) -> None:
    await site.town.starts("t1")
    await dies(desk, "t1")

    page = await site.page(f"/dead/letter?queue={TRIP_CANCELLED}&id=m-t1")
    prospect = await site.page(f"/dead/prospect?queue={TRIP_CANCELLED}&id=m-t1", headers={"HX-Request": "true"})

    assert "乘客取消" in page
    assert f"Reason {GAVE_UP}" in page
    assert "Our trip OPEN WeChat Pay now RUNNING" in prospect
    assert "If replayed goes back is noted; the trip is OPEN" in prospect


async def test_a_letter_keeps_the_passenger_s_secrets(site: Site, desk: Desk) -> None:
    body = msgspec.json.encode({"trip_id": "t1", "openid": "oPassenger-1", "finish_ticket": "ticket-of-t1-secret"})
    await dies(desk, "t1", body=body)

    html = await site.html(f"/dead/letter?queue={TRIP_CANCELLED}&id=m-t1")

    assert "oPasse…" in html
    for secret in ("oPassenger", "ticket-of-t1-secret"):
        assert secret not in html


async def test_what_a_publisher_wrote_is_shown_and_not_run(site: Site, desk: Desk) -> None:
    await dies(desk, "t1", "<script>alert(1)</script>", b'{"trip_id": "<img src=x>"}')

    for path in ("/dead", f"/dead/letter?queue={TRIP_CANCELLED}&id=m-t1"):
        html = await site.html(path)
        assert "&lt;script&gt;" in html
        assert "<script>alert" not in html
        assert "<img src=x>" not in html


async def test_dropping_wants_a_reason_and_stands_in_the_record(site: Site, desk: Desk) -> None:
    await dies(desk, "t1")

    refused = await site.send("/dead", "/dead/drop", queue=TRIP_CANCELLED, id="m-t1", reason=" ")
    assert refused.status_code == 400
    await desk.holds(DEAD, 1)

    dropped = await site.send("/dead", "/dead/drop", queue=TRIP_CANCELLED, id="m-t1", reason="sent twice")
    page = await site.page(dropped.headers["location"].removeprefix("/console"))
    assert "Dropped." in page
    assert "local drop payscore.trip-cancelled m-t1 done 1 moved, 0 left sent twice" in page
    await desk.holds(DEAD, 0)


async def test_dropping_what_is_gone_says_so(site: Site, desk: Desk) -> None:
    await dies(desk, "t1")

    gone = await site.send("/dead", "/dead/drop", queue=TRIP_CANCELLED, id="m-t2", reason="sent twice")

    assert "It is no longer there." in await site.page(gone.headers["location"].removeprefix("/console"))


async def test_the_record_has_the_name_of_whoever_signed_in(guarded_site: Site, desk: Desk) -> None:
    await guarded_site.post("/login", token="correct-horse-battery", name="王芳", next="")
    await dies(desk, "t1")

    started = await guarded_site.send("/dead", "/dead/replay", queue=TRIP_CANCELLED, all="yes")

    assert "王芳 replay payscore.trip-cancelled * done 1 moved, 0 left" in await over(
        guarded_site, started.headers["location"]
    )


async def test_a_page_that_says_done_has_the_end_in_its_record(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the last that the browser asks for: a record read before the end would stay on the screen."""
    allowed, read, begun = asyncio.Event(), Browsing.actions, asyncio.all_tasks()

    async def ponders(_judge: Judge, _letter: DeadLetter) -> Decision:
        await allowed.wait()
        return Decision(allowed=True, why="")

    async def read_just_before_the_end(browsing: Browsing, count: int) -> list[Row]:
        rows = await read(browsing, count)
        replaying = [one for one in asyncio.all_tasks() - begun if "Replays._run" in repr(one)]
        allowed.set()
        if replaying:
            await asyncio.wait(replaying)
        return rows

    await dies(desk, "t1")
    monkeypatch.setattr(Judge, "decide", ponders)
    started = await site.send("/dead", "/dead/replay", queue=TRIP_CANCELLED, all="yes")
    monkeypatch.setattr(Browsing, "actions", read_just_before_the_end)
    path = started.headers["location"].removeprefix("/console")

    assert "under way" in await site.page(path)
    page = await site.page(path)
    assert "Replay payscore.trip-cancelled done" in page
    assert "done 1 moved, 0 left" in page


async def test_nothing_is_done_that_could_not_be_recorded(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_arguments: object) -> int:
        raise StorageUnavailable("away")

    await dies(desk, "t1")
    word = {"queue": TRIP_CANCELLED, "id": "m-t1"}
    monkeypatch.setattr("payscore_worker.storage.actions.Actions.begin", away)

    assert (await site.send("/dead", "/dead/replay", **word)).status_code == 503
    assert (await site.send("/dead", "/dead/drop", reason="sent twice", **word)).status_code == 503
    await desk.holds(DEAD, 1)


async def test_one_replay_at_a_time_and_it_can_be_stopped(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging = asyncio.Event()

    async def ponders(_judge: Judge, letter: DeadLetter) -> Decision:
        if letter.id == "m-t2":
            judging.set()
            await asyncio.Event().wait()
        return Decision(allowed=True, why="")

    for trip_id in ("t1", "t2", "t3"):
        await dies(desk, trip_id)
    monkeypatch.setattr(Judge, "decide", ponders)
    started = await site.send("/dead", "/dead/replay", queue=TRIP_CANCELLED, all="yes")
    path = started.headers["location"].removeprefix("/console")
    async with asyncio.timeout(DEADLINE_SECONDS):
        await judging.wait()
    under_way = await site.page(path)
    second = await site.send(path, "/dead/replay", queue=TRIP_CANCELLED, all="yes")
    busy = await site.page("/dead")
    await site.send(path, "/dead/stop", id=path.partition("id=")[2])

    assert "under way Looked at 1 of 3" in under_way
    assert second.status_code == 409
    assert "Replay payscore.trip-cancelled: under way" in busy
    page = await site.page(path)
    assert "stopped Looked at 1 of 3" in page
    assert "stopped 1 moved, 0 left" in page
    await desk.holds(TRIP_CANCELLED, 1)
    await desk.holds(DEAD, 2)


async def test_a_replay_ends_with_its_worker_and_the_record_says_so(
    site: Site, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging = asyncio.Event()

    async def ponders(_judge: Judge, _letter: DeadLetter) -> Decision:
        judging.set()
        await asyncio.Event().wait()
        raise AssertionError

    await dies(desk, "t1")
    monkeypatch.setattr(Judge, "decide", ponders)
    async with a_site(site.town, site.plan.database_url, site.plan.amqp_url, desk.topology) as other:
        await other.send("/dead", "/dead/replay", queue=TRIP_CANCELLED, all="yes")
        async with asyncio.timeout(DEADLINE_SECONDS):
            await judging.wait()

    assert "local replay payscore.trip-cancelled * stopped 0 moved, 0 left" in await site.page("/dead")
    await desk.holds(DEAD, 1)


async def test_letters_that_somebody_else_has_in_hand_are_not_seen_and_that_is_said(site: Site, desk: Desk) -> None:
    async def hold(_letter: DeadLetter) -> Decision:
        return Decision(allowed=False, why="")

    await dies(desk, "t1")
    replaying = DeadLetters(site.plan.amqp_url, desk.topology).replay(TRIP_CANCELLED, Choice(), hold, dry_run=True)
    in_hand: AsyncIterator[object] = aiter(replaying)
    await anext(in_hand)
    try:
        assert "Somebody has the dead letters of payscore.trip-cancelled in hand." in await site.page("/dead")
    finally:
        await replaying.aclose()


async def test_a_replay_of_another_worker_is_known_by_the_record_alone(site: Site) -> None:
    assert "This console knows nothing of that replay" in await site.page("/dead/replay?id=another")


async def test_a_replay_of_nothing_in_particular_is_not_begun(site: Site, desk: Desk) -> None:
    await dies(desk, "t1")
    vague: list[dict[str, str]] = [{}, {"queue": "amq.nothing", "all": "yes"}, {"queue": TRIP_CANCELLED}]

    for fields in vague:
        assert (await site.send("/dead", "/dead/replay", **fields)).status_code == 400
    await desk.holds(DEAD, 1)


async def test_the_record_is_written_newest_first(site: Site, desk: Desk) -> None:
    for trip_id in ("t1", "t2"):
        await dies(desk, trip_id)
        await site.send("/dead", "/dead/drop", queue=TRIP_CANCELLED, id=f"m-{trip_id}", reason="sent twice")

    page = await site.page("/dead")
    assert page.index("m-t2") < page.index("m-t1")
