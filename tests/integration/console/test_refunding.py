"""A person sends money back in the console: says how much, sees what will be sent, is asked once more, is recorded."""

import re
from datetime import timedelta
from html import unescape

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.domain.refund import Refund, RefundState
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.passengers import RefundOutcome
from payscore_worker.simulator.refunds.book import RefundStatus
from payscore_worker.storage.browsing import Browsing
from payscore_worker.storage.refunds import RefundReports
from tests.integration.console.site import Site, text_of

WHY = "绕路，与乘客核对过"
PAGE = "/trip/refund?id=t1"


@pytest.fixture
async def paid(site: Site) -> Site:
    """A console, and a trip that has paid ¥32.00."""
    await has_paid(site)
    return site


async def has_paid(site: Site) -> None:
    await site.town.rides()
    await site.town.passes(60)
    assert (await site.town.trip()).payment is not None


async def abnormal(site: Site) -> None:
    """Have a refund whose money cannot be delivered."""
    await site.town.refunds_of("r1", amount_fen=1_000)
    site.town.simulator.end_refund("r1", RefundStatus.ABNORMAL)
    await site.town.passes(0)
    assert (await site.town.refund()).problem is not None


async def look(site: Site, amount: str = "10.00", reason: str = WHY) -> httpx.Response:
    return await site.send(PAGE, "/trip/refund/look", id="t1", amount=amount, reason=reason)


def fields_of(preview: httpx.Response) -> dict[str, str]:
    """Read the form that a preview carries."""
    return {
        name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', preview.text)
    }


async def refunds(site: Site, engine: AsyncEngine) -> list[Refund]:
    rows = await RefundReports(Browsing(engine)).of_trip("t1")
    return [await site.town.refund(row["refund_id"]) for row in rows]


async def actions(engine: AsyncEngine, *refund_ids: str) -> list[tuple[str, str, str, str]]:
    rows = await RefundReports(Browsing(engine)).actions_on("t1", refund_ids)
    return [(row["who"], row["action"], row["target"], row["outcome"]) for row in rows]


# --- Sending money back ---


async def test_a_refund_is_previewed_and_requested_when_it_is_asked_for_once_more(
    paid: Site, engine: AsyncEngine
) -> None:
    assert "/console/trip/refund?id=t1" in await paid.html("/trip?id=t1")
    assert "Paid ¥32.00 Going back ¥0.00 Refunded ¥0.00 Left to refund ¥32.00" in await paid.page(PAGE)

    preview = await look(paid)

    shown = text_of(preview.text)
    assert "1,000 fen, of a debit of 3,200 fen" in shown
    assert f"reason {WHY}" in shown
    assert "1,000 fen go back; WeChat Pay is asked for it at once." in shown
    assert await refunds(paid, engine) == []

    answer = await paid.post("/trip/refund", **fields_of(preview))

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/trip?id=t1")
    (refund,) = await refunds(paid, engine)
    assert (refund.state, refund.amount_fen, refund.reason) == (RefundState.ACCEPTED, 1_000, WHY)
    assert refund.refund_id.startswith("by-hand-")
    assert await actions(engine) == [("local", "refund request", "t1", "done")]
    told = await paid.page("/trip?id=t1")
    assert f"a person refund request local done 1000 fen as {refund.refund_id}: {WHY}" in told
    assert f"{refund.refund_id} ¥10.00 ACCEPTED" in told
    assert "Going back −¥10.00" in told
    assert "refund request" in await paid.page("/dead"), "the record of actions shows it"
    await paid.town.passes(60)
    assert "Refunded −¥10.00" in await paid.page("/trip?id=t1")


async def test_the_same_form_again_is_the_same_refund(paid: Site, engine: AsyncEngine) -> None:
    fields = fields_of(await look(paid))

    answers = [await paid.post("/trip/refund", **fields) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]
    (refund,) = await refunds(paid, engine)
    assert refund.amount_fen == 1_000


async def test_money_that_has_moved_since_the_preview_is_not_sent_back_again(paid: Site, engine: AsyncEngine) -> None:
    fields = fields_of(await look(paid))
    await paid.town.refunds_of("r1", amount_fen=1_000)

    answer = await paid.post("/trip/refund", **fields)

    assert answer.status_code == 409
    assert "Nothing was done: the trip's money has changed since you looked" in unescape(text_of(answer.text))
    assert [refund.refund_id for refund in await refunds(paid, engine)] == ["r1"]
    assert await actions(engine) == [("local", "refund request", "t1", "failed")]
    again = fields_of(answer)
    assert again["mark"] != fields["mark"]
    assert (await paid.post("/trip/refund", **again)).status_code == 303


async def test_what_cannot_go_back_is_said_and_no_form_is_there_to_send(paid: Site) -> None:
    preview = await look(paid, amount="32.01")

    assert "This cannot be done: amount_fen: 3201 is more than the 3200 fen left" in text_of(preview.text)
    assert "refund_id" not in fields_of(preview)


async def test_what_is_no_amount_is_refused_and_what_was_typed_is_kept(paid: Site) -> None:
    answer = await look(paid, amount="1.005")

    assert answer.status_code == 400
    assert "That is no amount" in text_of(answer.text)
    assert 'value="1.005"' in answer.text
    assert f'value="{WHY}"' in answer.text
    assert "refund_id" not in fields_of(answer)


@pytest.mark.parametrize("reason", ["", "x" * 301])
async def test_a_refund_without_a_reason_is_refused(paid: Site, reason: str) -> None:
    answer = await look(paid, reason=reason)

    assert answer.status_code == 400
    assert "Say why" in text_of(answer.text)


async def test_a_form_that_no_page_made_sends_nothing_back(paid: Site, engine: AsyncEngine) -> None:
    fields = fields_of(await look(paid))

    for forged in (
        {"refund_id": "r1"},
        {"amount_fen": "0"},
        {"amount_fen": "-1"},
        {"amount_fen": "1000000000"},
        {"reason": ""},
        {"refund_id": ""},
    ):
        assert (await paid.post("/trip/refund", **(fields | forged))).status_code == 400
    assert (await paid.post("/trip/refund", **(fields | {"form_word": "0" * 64}))).status_code == 403
    assert (await paid.post("/trip/refund", **(fields | {"mark": ""}))).status_code == 409
    assert (await paid.browser.post("/console/trip/refund", data=fields)).status_code == 403, "without our Origin"
    assert await refunds(paid, engine) == []


async def test_nobody_sends_money_back_without_signing_in(guarded_site: Site, engine: AsyncEngine) -> None:
    await has_paid(guarded_site)

    answer = await guarded_site.post("/trip/refund", id="t1")

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=%2Fconsole%2Ftrip%2Frefund")
    assert await refunds(guarded_site, engine) == []


async def test_whoever_signed_in_stands_in_the_record(guarded_site: Site, engine: AsyncEngine) -> None:
    await guarded_site.post("/login", token="correct-horse-battery", name="王芳", next="/console/")
    await has_paid(guarded_site)

    await guarded_site.post("/trip/refund", **fields_of(await look(guarded_site)))

    assert await actions(engine) == [("王芳", "refund request", "t1", "done")]


async def test_a_refund_is_noted_while_wechat_pay_is_out(paid: Site, engine: AsyncEngine) -> None:
    paid.town.fault(FaultKind.UNAVAILABLE, "refund", times=None)

    answer = await paid.post("/trip/refund", **fields_of(await look(paid)))

    assert answer.status_code == 303
    (refund,) = await refunds(paid, engine)
    assert refund.state is RefundState.REQUESTED


async def test_a_trip_that_has_not_paid_offers_no_refund(site: Site) -> None:
    await site.town.starts()

    assert "/trip/refund" not in await site.html("/trip?id=t1")
    assert "There is nothing to refund." in await site.page(PAGE)


async def test_a_trip_that_has_given_all_back_offers_no_refund(paid: Site) -> None:
    await paid.town.refunds_of("r1", amount_fen=3_200)

    assert "/trip/refund?" not in await paid.html("/trip?id=t1")


async def test_pages_about_what_nobody_knows_are_not_there(site: Site) -> None:
    for path in ("/trip/refund?id=t9", "/trip/refund/clear?id=r9", "/trip/refund"):
        await site.page(path, status=404)


# --- A refund that stands still ---


async def test_a_refund_that_stands_still_is_listed_where_trips_are_that_do(paid: Site) -> None:
    await abnormal(paid)
    paid.town.clock.now += timedelta(hours=1)
    paid.plan.ring.note(paid.town.now, [])

    assert "1 refunds have a problem and stand still, the oldest for 1 h 0 min. Look" in await paid.page("/")
    for show in ("problem", "stuck"):
        listed = await paid.page(f"/trips?show={show}")
        assert "Refunds that stand still" in listed
        assert "r1 t1 ¥10.00 ACCEPTED problem refund_abnormal" in listed
    assert "Refunds that stand still" not in await paid.page("/trips")
    assert "停滞的退款" in await paid.page("/trips?show=problem", headers={"Accept-Language": "zh"})


async def test_the_page_of_its_trip_says_so_and_the_trip_itself_has_nothing_to_decide(paid: Site) -> None:
    await abnormal(paid)

    page, html = await paid.page("/trip?id=t1"), await paid.html("/trip?id=t1")

    assert "problem Refund r1 refund_abnormal WeChat Pay cannot deliver the money" in page
    assert "r1 ¥10.00 ACCEPTED" in page
    assert "/console/trip/refund/clear?id=r1" in html
    assert "/trip/decide" not in html
    assert "every 10s" in html


async def test_a_refund_is_taken_up_again_and_that_is_recorded(paid: Site, engine: AsyncEngine) -> None:
    await abnormal(paid)
    paid.town.listening = False
    paid.town.simulator.end_refund("r1", RefundStatus.SUCCESS)
    page = "/trip/refund/clear?id=r1"
    assert "problem refund_abnormal" in await paid.page(page)

    answer = await paid.send(page, "/trip/refund/clear", id="r1", reason=WHY)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/trip?id=t1")
    assert (await paid.town.refund()).state is RefundState.REFUNDED
    assert await actions(engine, "r1") == [("local", "refund clear-problem", "r1", "done")]
    assert f"a person refund clear-problem local done {WHY} r1" in await paid.page("/trip?id=t1")


async def test_a_refund_without_a_problem_is_not_taken_up(paid: Site, engine: AsyncEngine) -> None:
    await paid.town.refunds_of("r1", amount_fen=1_000)
    assert "This refund has no problem." in await paid.page("/trip/refund/clear?id=r1")

    answer = await paid.send(PAGE, "/trip/refund/clear", id="r1", reason=WHY)

    assert answer.status_code == 409
    assert await actions(engine, "r1") == [("local", "refund clear-problem", "r1", "failed")]


async def test_a_refund_is_not_taken_up_without_a_reason(paid: Site, engine: AsyncEngine) -> None:
    await abnormal(paid)

    answer = await paid.send("/trip/refund/clear?id=r1", "/trip/refund/clear", id="r1", reason="")

    assert answer.status_code == 400
    assert (await paid.town.refund()).problem is not None
    assert await actions(engine, "r1") == []


# --- A refund that WeChat Pay refuses for good ---

GIVE_UP = "/trip/refund/give-up?id=r1"


@pytest.fixture
async def stuck(site: Site) -> Site:
    """A refund of ¥10.00 to an account that is closed."""
    closed = Passenger(Behaviour.PAYS, refund=RefundOutcome.ACCOUNT_ABNORMAL)
    site.town.simulator.set_passenger("oPassenger", closed)
    await has_paid(site)
    await site.town.refunds_of("r1", amount_fen=1_000)
    await site.town.passes(61)
    assert (await site.town.refund()).problem is not None
    return site


async def test_a_refund_that_was_refused_for_good_is_given_up_and_that_is_told_and_recorded(
    stuck: Site, engine: AsyncEngine
) -> None:
    assert f"/console{GIVE_UP}" in await stuck.html("/trip?id=t1")
    preview = await stuck.browser.get(f"/console{GIVE_UP}")
    shown = text_of(preview.text)
    assert "problem USER_ACCOUNT_ABNORMAL" in shown
    assert "no such refund" in shown
    assert "1,000 fen are reserved no longer; the refund ends FAILED" in shown
    assert "退款以 FAILED 告终" in await stuck.page(GIVE_UP, headers={"Accept-Language": "zh"})

    answer = await stuck.post("/trip/refund/give-up", **fields_of(preview), reason=WHY)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/trip?id=t1")
    assert (await stuck.town.refund()).state is RefundState.FAILED
    assert await actions(engine, "r1") == [("local", "refund give-up", "r1", "done")]
    page = await stuck.page("/trip?id=t1")
    assert f"FAILED ¥10.00 given up by local: {WHY}" in page
    assert f"a person refund give-up local done {WHY} r1" in page
    assert "/trip/refund/give-up" not in await stuck.html("/trip?id=t1")


async def test_what_has_changed_since_the_preview_is_not_given_up_and_shown_anew(
    stuck: Site, engine: AsyncEngine
) -> None:
    fields = fields_of(await stuck.browser.get(f"/console{GIVE_UP}"))
    await stuck.town.refunds.clear_problem("r1")

    answer = await stuck.post("/trip/refund/give-up", **fields, reason=WHY)

    assert answer.status_code == 409
    shown = unescape(text_of(answer.text))
    assert "Nothing was done: the refund has changed since you looked" in shown
    assert "This cannot be done: the refund has no problem" in shown
    assert "mark" not in fields_of(answer)
    assert await actions(engine, "r1") == [("local", "refund give-up", "r1", "failed")]


async def test_while_wechat_pay_is_out_nothing_is_given_up(stuck: Site) -> None:
    fields = fields_of(await stuck.browser.get(f"/console{GIVE_UP}"))
    stuck.town.fault(FaultKind.UNAVAILABLE, "refund_query", times=None)

    answer = await stuck.post("/trip/refund/give-up", **fields, reason=WHY)

    assert answer.status_code == 409
    assert "Nothing can be decided while WeChat Pay cannot be asked." in text_of(answer.text)
    assert (await stuck.town.refund()).state is RefundState.REQUESTED


async def test_a_refund_that_wechat_pay_has_taken_offers_no_giving_up(paid: Site) -> None:
    await abnormal(paid)

    assert "/trip/refund/give-up" not in await paid.html("/trip?id=t1")
    assert "This cannot be done: WeChat Pay has the refund as ABNORMAL" in await paid.page(GIVE_UP)


async def test_a_refund_is_not_given_up_without_a_reason_or_by_a_form_that_no_page_made(stuck: Site) -> None:
    fields = fields_of(await stuck.browser.get(f"/console{GIVE_UP}"))

    assert (await stuck.post("/trip/refund/give-up", **fields, reason="")).status_code == 400
    assert (await stuck.post("/trip/refund/give-up", **(fields | {"mark": ""}), reason=WHY)).status_code == 409
    assert (
        await stuck.post("/trip/refund/give-up", **(fields | {"form_word": "0" * 64}), reason=WHY)
    ).status_code == 403
    await stuck.page("/trip/refund/give-up?id=r9", status=404)
    assert (await stuck.town.refund()).state is RefundState.REQUESTED


async def test_a_trip_is_found_by_a_refund_of_it(paid: Site) -> None:
    await paid.town.refunds_of("a refund", amount_fen=1_000)
    number = (await paid.town.refund("a refund")).out_refund_no

    for name in ("a refund", number):
        answer = await paid.browser.get("/console/trips", params={"q": name})
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/trip?id=t1")
