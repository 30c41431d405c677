"""Authorisations in the console: what needs somebody, a passenger's without his name in full, and the story of one."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.domain.authorisation import Ending, authorization_code_for
from payscore_worker.logs import short_openid
from payscore_worker.settlement.authorising import Authorising
from payscore_worker.simulator import Behaviour, Passenger
from payscore_worker.storage import Storage
from payscore_worker.storage.actions import Actions
from tests.integration.console.site import Site
from tests.integration.settlement.town import Town, a_town

OPENID = "oPassengerWhoAuthorises"
CODE = authorization_code_for("q1")


@pytest.fixture
async def town(storage: Storage) -> AsyncIterator[Town]:
    async with a_town(storage, "serviceorder") as town:
        town.simulator.set_passenger(OPENID, Passenger(Behaviour.NOT_ENABLED))
        await town.wants(openid=OPENID)
        yield town


async def signs(town: Town) -> None:
    """Have the passenger sign with what he was given, and WeChat Pay tell us."""
    ((_, told),) = [one for one in await town.announced() if one[0] == "authorisation.parameters"]
    town.signs(told["enable"], OPENID)
    await town.passes(1)


async def found(site: Site, name: str) -> str:
    return (await site.send("/authorisations", "/authorisations", name=name)).text


async def test_what_is_under_way_is_listed_and_the_passenger_is_shortened(site: Site) -> None:
    page = await site.html("/authorisations")

    assert f"authorisation?code={CODE}" in page
    assert "REQUESTED" in page
    assert short_openid(OPENID) in page
    assert OPENID not in page


async def test_what_stands_still_is_listed_first_with_the_code(site: Site, engine: AsyncEngine) -> None:
    problem = '{"code": "INVALID_REQUEST", "message": "x", "request_id": "", "since": "2026-05-01T00:00:00Z"}'
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE authorisation SET problem = '{problem}', due_at = NULL"))  # noqa: S608 - ours

    page = await site.page("/authorisations")

    assert page.index("That stand still") < page.index("INVALID_REQUEST") < page.index("Under way")
    story = await site.page(f"/authorisation?code={CODE}")
    assert "problem INVALID_REQUEST" in story


async def test_a_passenger_is_found_by_openid_which_stands_in_no_address_and_on_no_page(site: Site) -> None:
    page = await found(site, OPENID)

    assert f"authorisation?code={CODE}" in page
    assert OPENID not in page


async def test_an_authorisation_is_found_by_its_number(site: Site) -> None:
    response = await site.send("/authorisations", "/authorisations", name=CODE)

    assert (response.status_code, response.headers["location"]) == (303, f"/console/authorisation?code={CODE}")


@pytest.mark.parametrize("name", ["oNobody", "x" * 500])
async def test_who_is_not_known_is_not_found_and_not_named(site: Site, name: str) -> None:
    page = await found(site, name)

    assert "None." in page
    assert name[:100] not in page


async def test_the_story_tells_who_asked_what_was_called_and_how_it_came_to_be_open(site: Site, town: Town) -> None:
    await signs(town)

    story = await site.page(f"/authorisation?code={CODE}")

    in_turn(
        story,
        ["authorisation.requested", "pre_authorise", "REQUESTED", "payscore.user_open_service", "OPEN"],
    )
    assert "by WeChat Pay's notification" in story
    assert "authorisation.opened" in story
    assert "north" in story
    assert OPENID not in await site.html(f"/authorisation?code={CODE}")


async def test_the_story_tells_who_ended_it_and_why(site: Site, town: Town, engine: AsyncEngine) -> None:
    await signs(town)
    authorising = Authorising(authorisations=town.authorisations, actions=Actions(engine), clock=town.clock)
    await authorising.end(OPENID, by="li", reason="乘客来电")

    story = await site.page(f"/authorisation?code={CODE}")

    in_turn(story, ["authorisation end", "li", "乘客来电", "CLOSED"])
    assert "li: 乘客来电" in story


async def test_an_end_that_waits_is_said_with_whose_word_it_is(site: Site, town: Town) -> None:
    await signs(town)
    town.refuse("terminate_permission", "INVALID_REQUEST", "存在未完成订单")
    await town.authorisations.end_by_hand(OPENID, Ending(reason="乘客来电", by="li", word="w1"))

    assert "To be ended li: 乘客来电" in await site.page(f"/authorisation?code={CODE}")


async def test_a_trip_leads_to_what_its_passenger_has_authorised(site: Site, town: Town) -> None:
    await town.starts("t1", openid=OPENID)

    assert "authorisations?trip=t1" in await site.html("/trip?id=t1")
    page = await site.html("/authorisations?trip=t1")
    assert f"authorisation?code={CODE}" in page
    assert OPENID not in page


@pytest.mark.parametrize("path", ["/authorisation?code=nobodys", "/authorisation"])
async def test_an_authorisation_that_there_is_not_is_not_found(site: Site, path: str) -> None:
    await site.page(path, status=404)


async def test_a_trip_that_there_is_not_has_no_passenger(site: Site) -> None:
    assert "None." in await site.page("/authorisations?trip=nobodys")


async def test_the_pages_are_said_in_chinese_too(site: Site, town: Town) -> None:
    await signs(town)

    headers: dict[str, Any] = {"Accept-Language": "zh-CN"}
    assert "停滞的授权" in await site.page("/authorisations", headers=headers)
    story = await site.page(f"/authorisation?code={CODE}", headers=headers)
    assert "乘客已授权支付分" in story
    assert "由微信支付通知得知" in story


async def test_nobody_looks_without_having_signed_in(guarded_site: Site) -> None:
    for path in ("/authorisations", f"/authorisation?code={CODE}"):
        response = await guarded_site.browser.get(f"/console{path}")
        assert CODE not in response.text
    assert (await guarded_site.post("/authorisations", name=OPENID)).status_code != 200


def in_turn(page: str, words: Sequence[str]) -> None:
    """See that words come one after another."""
    at = 0
    for word in words:
        at = page.find(word, at)
        assert at >= 0, word
