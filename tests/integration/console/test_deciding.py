"""A person decides about a trip in the console: sees WeChat Pay's word, is asked once more, and is recorded."""

import re
from html import unescape

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.domain.trip import TripState
from payscore_worker.messaging.topology import Topology
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.storage import Storage
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.browsing import Browsing
from tests.integration.console.site import Site, a_site
from tests.integration.settlement.town import a_town

WHY = "与乘客核对过"


async def a_lowered_fare(site: Site) -> None:
    """Have a trip whose fare somebody lowered in WeChat Pay's console."""
    site.town.listening = False
    site.town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await site.town.rides()
    site.town.simulator.lower("t1", 3_000)
    site.town.simulator.pay("t1")
    await site.town.passes(60)
    problem = (await site.town.trip()).problem
    assert problem is not None
    assert problem.code == "amount_differs"


async def mark_on(site: Site, page: str) -> str:
    found = re.search(r'name="mark" value="([^"]*)"', await site.html(page))
    assert found is not None
    return unescape(found[1])


async def test_the_page_of_a_trip_with_a_problem_names_what_ends_it_and_leads_there(site: Site) -> None:
    await a_lowered_fare(site)

    html = await site.html("/trip?id=t1")

    assert "/console/trip/decide?id=t1&amp;verb=accept" in html
    assert "/console/trip/word?id=t1" in html
    assert "every 10s" not in html, "each look would ask WeChat Pay again"
    assert "DONE, paid 3000 of 3000 fen" in await site.page("/trip/word?id=t1")


async def test_a_trip_in_order_offers_nothing_to_decide(site: Site) -> None:
    await site.town.starts()

    assert "trip/decide" not in await site.html("/trip?id=t1")


async def test_a_decision_shows_what_will_happen_and_is_done_when_it_is_asked_for_once_more(
    site: Site, engine: AsyncEngine
) -> None:
    await a_lowered_fare(site)
    page = "/trip/decide?id=t1&verb=accept"
    shown = await site.page(page)
    assert "DONE, paid 3000 of 3000 fen" in shown
    assert "3,000 fen, which WeChat Pay has collected, are taken for what was owed" in shown

    answer = await site.send(page, "/trip/decide", id="t1", verb="accept", mark=await mark_on(site, page), reason=WHY)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/trip?id=t1")
    trip = await site.town.trip()
    assert (trip.state, trip.accepted_fen) == (TripState.PAID, 3_000)
    (action,) = await Browsing(engine).actions_on("t1")
    assert (action["who"], action["action"], action["reason"], action["outcome"]) == (
        "local",
        "trip accept",
        WHY,
        "done",
    )
    told = await site.page("/trip?id=t1")
    assert f"a person accept local done {WHY}" in told
    assert re.search(r"Accepted \S*30\.00", told)
    assert "trip accept" in await site.page("/dead"), "the record of actions shows it"


async def test_whoever_signed_in_stands_in_the_record(guarded_site: Site, engine: AsyncEngine) -> None:
    site = guarded_site
    await site.post("/login", token="correct-horse-battery", name="王芳", next="/console/")
    await site.town.ends()
    page = "/trip/decide?id=t1&verb=cancel"

    await site.send(page, "/trip/decide", id="t1", verb="cancel", mark=await mark_on(site, page), reason=WHY)

    (action,) = await Browsing(engine).actions_on("t1")
    assert (action["who"], action["action"], action["outcome"]) == ("王芳", "trip cancel", "done")


async def test_nobody_decides_without_signing_in_or_from_another_page(guarded_site: Site) -> None:
    await guarded_site.town.ends()

    answer = await guarded_site.post("/trip/decide", id="t1", verb="cancel", mark="", reason=WHY)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=%2Fconsole%2Ftrip%2Fdecide")
    assert await guarded_site.town.state() is TripState.NOTED


async def test_what_wechats_word_forbids_is_said_and_no_form_is_there_to_send(site: Site) -> None:
    await site.town.starts()

    shown, html = await site.page("/trip/decide?id=t1&verb=accept"), await site.html("/trip/decide?id=t1&verb=accept")

    assert "This cannot be done: the order runs" in shown
    assert 'name="mark"' not in html


async def test_a_decision_about_what_is_no_longer_so_is_refused_and_recorded(site: Site, engine: AsyncEngine) -> None:
    await site.town.ends()
    page = "/trip/decide?id=t1&verb=cancel"
    mark = await mark_on(site, page)
    await site.town.starts()

    answer = await site.send(page, "/trip/decide", id="t1", verb="cancel", mark=mark, reason=WHY)

    assert answer.status_code == 409
    assert "has changed since you looked" in answer.text
    (action,) = await Browsing(engine).actions_on("t1")
    assert (action["outcome"], action["moved"], action["refused"]) == ("failed", 0, 1)


async def test_nothing_is_decided_while_wechat_cannot_be_asked(site: Site) -> None:
    await site.town.ends()
    site.town.fault(FaultKind.UNAVAILABLE, "query", times=None)

    shown = await site.page("/trip/decide?id=t1&verb=cancel")

    assert "could not be asked" in shown
    assert "Nothing can be decided while WeChat Pay cannot be asked." in shown


async def test_slips_of_the_address_and_the_form_are_refused(site: Site) -> None:
    await site.town.ends()
    page = "/trip/decide?id=t1&verb=cancel"

    assert (await site.browser.get("/console/trip/decide?id=t1&verb=pay-me")).status_code == 400
    assert (await site.browser.get("/console/trip/decide?id=t9&verb=cancel")).status_code == 404
    for reason in ("", "x" * 301, "a\x00b"):
        answer = await site.send(page, "/trip/decide", id="t1", verb="cancel", mark="", reason=reason)
        assert answer.status_code == 400
    assert await site.town.state() is TripState.NOTED


async def test_a_cleared_problem_is_recorded_too(site: Site, engine: AsyncEngine) -> None:
    await site.town.starts()
    problem = '{"code": "PARAM_ERROR", "message": "", "request_id": "", "step": "", "since": "2026-05-01T12:00:00Z"}'
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE trip SET problem = :problem"), {"problem": problem})
    page = "/trip/decide?id=t1&verb=clear-problem"

    await site.send(page, "/trip/decide", id="t1", verb="clear-problem", mark="", reason=WHY)

    assert (await site.town.trip()).problem is None
    assert [action["action"] for action in await Browsing(engine).actions_on("t1")] == ["trip clear-problem"]


async def test_an_action_that_this_release_has_no_word_for_goes_by_its_own_name(
    site: Site, engine: AsyncEngine
) -> None:
    for action in ("outbox replay", "trip waive"):
        await Actions(engine).begin(Action(who="li", action=action, queue="", target="t1"), site.town.now)

    page = await site.page("/dead")

    assert "li outbox replay t1 begun" in page
    assert "li trip waive t1 begun" in page


async def test_money_that_is_out_is_asked_for_at_once_and_the_page_of_its_trip_says_so(
    storage: Storage, database_url: str, amqp_url: str, topology: Topology
) -> None:
    async with a_town(storage, "serviceorder") as town, a_site(town, database_url, amqp_url, topology) as site:
        town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
        await town.rides()
        page = "/trip/decide?id=t1&verb=pay"
        assert "Have it collected now" in await site.page("/trip?id=t1")
        assert "WeChat Pay is asked to collect now" in await site.page(page)

        answer = await site.send(page, "/trip/decide", id="t1", verb="pay", mark=await mark_on(site, page), reason=WHY)

        assert answer.status_code == 303
        assert town.calls_made("pay") == 1
        assert f"a person pay local done {WHY}" in await site.page("/trip?id=t1")


async def test_a_family_that_cannot_be_asked_to_collect_is_said_to_be_so(site: Site) -> None:
    site.town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await site.town.rides()

    shown = await site.page("/trip/decide?id=t1&verb=pay")

    assert "the order is of a family that has no call for it" in shown
    assert "Yes, do it" not in shown


async def test_the_page_of_a_trip_shows_how_its_fare_was_lowered_and_how_it_was_paid_elsewhere(site: Site) -> None:
    site.town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await site.town.rides()
    await site.town.lowers()
    await site.town.is_paid_elsewhere(amount_fen=2_000)

    english = await site.page("/trip?id=t1")
    chinese = await site.page("/trip?id=t1", headers={"Accept-Language": "zh-CN"})

    assert re.search(r"Fare lowered .* ¥32\.00 ¥20\.00 绕路退费", english)
    assert "Fare after lowering ¥20.00 Owed ¥32.00" in english
    assert "Paid elsewhere 2000 fen by cash at " in english
    assert re.search(r"车费下调 .* ¥32\.00 ¥20\.00 绕路退费", chinese)
    assert "已用其他方式支付 2000 fen by cash at " in chinese
