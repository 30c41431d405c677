"""The pages that look: is money stuck, which trips, what happened to one, what is still to be told."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from payscore_worker.errors import StorageUnavailable, WechatPayUnavailable
from payscore_worker.messaging.inspect import Depth, depths
from payscore_worker.messaging.topology import QUEUES, Topology
from tests.integration.console.site import Site, a_site
from tests.integration.messaging.desk import TRIP_CANCELLED, Desk, a_cancellation
from tests.integration.settlement.town import Town


def consumed(found: Sequence[Depth]) -> list[Depth]:
    """The same queues, as they are where workers run."""
    return [replace(depth, consumers=2) if depth.dead is not None else depth for depth in found]


async def test_where_all_is_well_it_says_so_in_a_word(site: Site, desk: Desk) -> None:
    site.plan.ring.note(site.town.now, consumed(await depths(desk.connection, desk.topology)))

    page = await site.page("/")

    assert "Money is moving. as of 05-01 20:00:00 Nothing waits longer than it should" in page
    assert "Owed now ¥0.00" in page


async def test_what_only_workers_know_is_said_to_be_unknown(site: Site, desk: Desk) -> None:
    site.plan.ring.note(site.town.now, consumed(await depths(desk.connection, desk.topology)))
    assert "WeChat Pay unknown each worker sees for itself: payscore_breaker_open" in await site.page("/")


async def test_where_no_queue_is_consumed_no_worker_runs(site: Site, desk: Desk) -> None:
    site.plan.ring.note(site.town.now, await depths(desk.connection, desk.topology))

    page = await site.page("/")

    assert "Money is stuck." in page
    assert "No worker consumes any queue." in page


async def test_the_overview_counts_trips_and_money(site: Site) -> None:
    town = site.town
    await town.rides("paid")
    await town.passes(10)
    await town.rides("owed")
    await town.starts("riding")
    town.clock.now += timedelta(minutes=2)

    page = await site.page("/")

    assert "Owed now ¥32.00 completed at WeChat Pay, not yet paid 3,200 fen" in page
    assert "Paid, trips of 24 h ¥32.00 3,200 of 6,400 fen completed" in page
    assert "Trips in flight 2 3 trips noted in 24 h" in page
    assert "OPEN order open, riding 1 2 min 0 s" in page
    assert "COMPLETED fare accepted, money not yet in 1 2 min 0 s" in page
    assert "PAID money is in 1 24 h" in page


async def test_the_overview_shows_how_full_the_queues_are(site: Site, desk: Desk) -> None:
    for trip_id in ("t1", "t2"):
        await desk.put(TRIP_CANCELLED, a_cancellation(trip_id))
    await desk.put(f"{TRIP_CANCELLED}.dead", a_cancellation("t3"))
    for _ in range(2):
        site.plan.ring.note(site.town.now, await depths(desk.connection, desk.topology))

    page, html = await site.page("/"), await site.html("/")

    assert f"{desk.topology.name(TRIP_CANCELLED)} 2 0 1" in page
    assert "Retry ladder 50ms 0 120ms 0" in page
    assert html.count("<polyline points=") == len(QUEUES)
    assert "1 dead letters wait for a person. Look" in page
    assert f"Messages wait in {desk.topology.name(TRIP_CANCELLED)}, and nobody consumes it: no worker runs, " in page
    assert page.index("Money is stuck.") < page.index("nobody consumes") < page.index("dead letters wait")


async def test_beside_the_demo_s_worker_its_breaker_is_shown(
    town: Town, database_url: str, amqp_url: str, topology: Topology
) -> None:
    async with a_site(town, database_url, amqp_url, topology, beside_worker=True) as site:
        for _ in range(5):
            site.plan.breakers.by_account["default"].failed(WechatPayUnavailable("no answer"))

        page = await site.page("/")

        assert "Money is stuck." in page
        assert "Calls to WeChat Pay are held back: it cannot be reached." in page
        assert "资金受阻。" in await site.page("/", headers={"Accept-Language": "zh"})


async def test_alone_the_console_does_not_take_its_own_breaker_for_the_workers(site: Site) -> None:
    for _ in range(5):
        site.plan.breakers.by_account["default"].failed(WechatPayUnavailable("no answer"))

    page = await site.page("/")

    assert "Whether money is moving is not known." in page
    assert "WeChat Pay does not answer this console: it cannot be reached." in page
    assert "WeChat Pay unknown for this console: it cannot be reached" in page


async def test_a_trip_with_a_problem_needs_a_person(site: Site) -> None:
    site.town.listening = False
    await site.town.rides()
    site.town.simulator.revoke("t1")
    await site.town.passes(5)
    site.town.clock.now += timedelta(hours=1)
    site.plan.ring.note(site.town.now, [])

    page = await site.page("/")

    assert "Money is moving. Some of it needs a person." in page
    assert "1 trips have a problem and stand still, the oldest for 1 h 0 min. Look" in page
    assert "t1 COMPLETED ¥32.00 – problem revoked_after_completion" in await site.page("/trips?show=problem")
    assert "What may be decided: Write the fare off · Give PayScore up" in await site.page("/trip?id=t1")


async def test_trips_that_nobody_takes_up_mean_that_money_is_stuck(site: Site) -> None:
    await site.town.rides()
    site.town.clock.now += timedelta(hours=2)

    page = await site.page("/")

    assert "Money is stuck." in page
    assert "Trips have been due for 1 h 59 min, and no reconciler takes them up." in page


async def test_a_database_that_is_away_is_said_and_the_rest_is_shown(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_arguments: object, **_options: object) -> None:
        raise StorageUnavailable("away")

    for question in ("standing", "page", "outbox"):
        monkeypatch.setattr(f"payscore_worker.storage.browsing.Browsing.{question}", away)

    assert "The database does not answer. No trip can move." in await site.page("/")
    for path in ("/trips", "/outbox"):
        assert "The settlement comes first" in await site.page(path, status=503)


async def test_a_part_of_a_page_is_the_part_that_lives(site: Site) -> None:
    part = (await site.browser.get("/console/", headers={"HX-Request": "true"})).text

    assert part.lstrip().startswith('<section class="verdict')
    assert "<html" not in part


async def test_trips_are_listed_and_searched(site: Site) -> None:
    await site.town.rides("t1")
    await site.town.starts("t2")

    assert "t2 OPEN – –" in await site.page("/trips")
    assert "t1 COMPLETED ¥32.00 –" in await site.page("/trips?state=COMPLETED&show=nonsense&age=7y&at=x&after=y")
    assert "t2" not in await site.page("/trips?state=COMPLETED")
    assert "No trip is like that." in await site.page("/trips?state=PAID")
    found = await site.browser.get("/console/trips?q=+t1+")
    assert found.headers["location"] == "/console/trip?id=t1"
    assert "No trip goes by <t3>." in await site.page("/trips?q=<t3>")
    assert "<t3>" not in await site.html("/trips?q=<t3>")


async def test_one_trip_tells_its_story(site: Site) -> None:
    await site.town.rides()
    await site.town.passes(10)

    page = await site.page("/trip?id=t1")

    for told in ("t1 PAID JSON", "Passenger oPasse…", "里程费 ¥35.00 优惠券 −¥3.00 Owed ¥32.00 Paid ¥32.00"):
        assert told in page
    story = page.partition("What happened")[2]
    steps = ["trip.started", "create accepted", "OPEN", "trip.ended", "complete accepted", "payscore.user_paid", "PAID"]
    places = [story.index(step) for step in steps]
    assert places == sorted(places)
    assert "settlement.paid not yet published" in story
    assert "发出通告 settlement.paid 尚未发布" in await site.page("/trip?id=t1", headers={"Accept-Language": "zh"})


async def test_a_story_can_be_taken_along_as_json(site: Site) -> None:
    await site.town.rides()
    await site.town.passes(10)

    response = await site.browser.get("/console/trip.json?id=t1")

    assert response.headers["content-disposition"] == 'attachment; filename="trip.json"'
    document = json.loads(response.text)
    assert (document["trip_id"], document["state"], document["openid"]) == ("t1", "PAID", "oPasse…")
    for secret in ("oPassenger", "ticket", "虹桥火车站"):
        assert secret not in response.text


async def test_what_does_not_exist_is_said_to(site: Site) -> None:
    for path in ("/trip?id=t9", "/trip", "/nothing", "/static/../console.py", "/static/words.py"):
        assert "There is no such page." in await site.page(path, status=404)


async def test_the_outbox_shows_what_is_still_to_be_told(site: Site) -> None:
    assert "The outbox is empty" in await site.page("/outbox")
    await site.town.starts()
    site.town.clock.now += timedelta(minutes=3)

    assert "settlement.opened t1 3 min 0 s 0" in await site.page("/outbox")


async def test_the_outbox_says_what_nobody_listens_to(site: Site) -> None:
    await site.town.starts()
    rows = await site.town.storage.claim_outbox(now=site.town.now, lease=timedelta(minutes=1), limit=10)
    await site.town.storage.mark_unrouted([row.id for row in rows], now=site.town.now)

    assert "Nobody listens to settlement.opened: 1 announcements are kept" in await site.page("/outbox")


async def test_a_surprise_is_a_page_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def surprised(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("payscore_worker.storage.browsing.Browsing.outbox", surprised)

    page = await site.page("/outbox", status=500)
    assert "The console has an error; the settlement goes on." in page
    assert "ZeroDivisionError" not in page


async def test_a_queue_that_does_not_stand_is_named_with_its_repair(site: Site) -> None:
    gone = Depth(queue="payscore.trip-ended", ready=None, unacked=None, consumers=None, dead=None, stands=False)
    site.plan.ring.note(site.town.now, [gone])

    assert "payscore.trip-ended does not stand. Run payscore-worker topology." in await site.page("/")


async def test_that_policies_could_not_be_looked_at_is_said(site: Site) -> None:
    await site.plan.policies.run_once()

    assert "could not be looked at: PAYSCORE_MANAGEMENT_URL is not set" in await site.page("/")
