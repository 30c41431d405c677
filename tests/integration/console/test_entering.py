"""Coming in: the token, the session, forms of other sites, what a browser is told about every page."""

from pathlib import Path

import pytest

from payscore_worker.console.access import GUESSES_OF_ONE
from tests.integration.console.site import HOST, Site
from tests.integration.databases import make_tables

TOKEN = "correct-horse-battery"
PAGES = [
    "/",
    "/trips",
    "/trip?id=t1",
    "/trip.json?id=t1",
    "/outbox",
    "/dead",
    "/dead/group",
    "/dead/letter",
    "/dead/replay",
]


@pytest.fixture
async def database_url(tmp_path: Path) -> str:
    """One database will do: what is told here is told before any is asked."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    return url


async def signs_in(site: Site, token: str = TOKEN, name: str = "王芳", next: str = "/console/trips") -> int:  # noqa: A002 - the form's own word
    response = await site.post("/login", token=token, name=name, next=next)
    if response.is_redirect:
        assert response.headers["location"] == "/console/trips"
    return response.status_code


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_session_every_page_leads_to_the_door(guarded_site: Site, path: str) -> None:
    response = await guarded_site.browser.get(f"/console{path}")

    assert response.status_code == 303
    assert response.headers["location"].startswith("/console/login?next=%2Fconsole%2F")


@pytest.mark.parametrize("path", ["/dead/replay", "/dead/drop", "/dead/stop", "/logout"])
async def test_without_a_session_nothing_can_be_done(guarded_site: Site, path: str) -> None:
    response = await guarded_site.post(path, queue="payscore.trip-ended", all="yes")

    assert response.headers["location"].startswith("/console/login")
    assert guarded_site.plan.ring.newest is None


async def test_a_part_of_a_page_leads_the_whole_page_to_the_door(guarded_site: Site) -> None:
    response = await guarded_site.browser.get("/console/", headers={"HX-Request": "true"})

    assert (response.status_code, response.headers["hx-redirect"]) == (401, "/console/login")


async def test_the_token_opens_and_leads_to_where_one_wanted_to_go(guarded_site: Site) -> None:
    assert await signs_in(guarded_site) == 303
    assert "No trip is like that." in await guarded_site.page("/trips")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(guarded_site: Site) -> None:
    plain = await guarded_site.post("/login", token=TOKEN, name="wang", next="")
    guarded_site.browser.cookies.clear()
    proxied = await guarded_site.browser.post(
        "https://127.0.0.1:9180/console/login", data={"token": TOKEN, "name": "wang"}, headers={"Origin": HOST}
    )

    assert plain.headers["set-cookie"].endswith("; HttpOnly; Max-Age=43200; Path=/console; SameSite=strict")
    assert "Secure" in proxied.headers["set-cookie"]
    assert TOKEN not in plain.headers["set-cookie"]


async def test_a_wrong_token_opens_nothing_and_too_many_not_even_the_right_one(guarded_site: Site) -> None:
    for _ in range(GUESSES_OF_ONE):
        assert await signs_in(guarded_site, token="incorrect-horse-battery") == 403
    assert await signs_in(guarded_site) == 429
    await guarded_site.page("/", status=303)


@pytest.mark.parametrize("name", ["", " ", "x" * 41, "a\x00b"])
async def test_whoever_signs_in_says_who_they_are(guarded_site: Site, name: str) -> None:
    assert await signs_in(guarded_site, name=name) == 400


async def test_signing_out_ends_the_session(guarded_site: Site) -> None:
    await signs_in(guarded_site)
    left = await guarded_site.send("/trips", "/logout")

    assert left.headers["location"] == "/console/login"
    await guarded_site.page("/", status=303)


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/console/\\evil", "/consoles", "/metrics"]
)
async def test_the_door_leads_nowhere_else(guarded_site: Site, wanted: str) -> None:
    response = await guarded_site.post("/login", token=TOKEN, name="wang", next=wanted)

    assert response.headers["location"] == "/console/"


@pytest.mark.parametrize("path", [*PAGES, "/login", "/nothing", "/static/console.css"])
async def test_every_answer_tells_the_browser_to_be_careful(site: Site, path: str) -> None:
    response = await site.browser.get(f"/console{path}")

    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == ("public, max-age=86400" if "static" in path else "no-store")


@pytest.mark.parametrize("path", ["/", "/trips", "/outbox", "/dead"])
async def test_no_page_has_script_or_style_of_its_own(site: Site, path: str) -> None:
    html = await site.html(path)

    assert "<script src=" in html
    for inline in ("<script>", "<style", " style=", " onclick=", "javascript:"):
        assert inline not in html


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {},
    ],
)
async def test_a_form_of_another_site_is_not_accepted(guarded_site: Site, headers: dict[str, str]) -> None:
    await signs_in(guarded_site)
    fields = {"form_word": await guarded_site.form_word("/trips")}  # even if it had learnt that
    response = await guarded_site.browser.post("/console/logout", data=fields, headers=headers)

    assert response.status_code == 403
    assert "not from a page of this console" in response.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_what_no_form_can_do_is_refused(site: Site, method: str) -> None:
    response = await site.browser.request(method, "/console/dead/replay", headers={"Origin": HOST})

    assert response.status_code == 403


@pytest.mark.parametrize("word", ["", "0" * 64])
async def test_a_form_without_the_session_s_word_is_not_accepted(site: Site, word: str) -> None:
    await site.html("/dead")
    response = await site.post("/dead/replay", queue="payscore.trip-ended", all="yes", form_word=word)

    assert response.status_code == 403
    assert "does not come from a page of this console" in response.text


async def test_a_form_that_is_none_of_ours_is_not_read_to_its_end(site: Site) -> None:
    assert (await site.post("/dead/replay", queue="x" * 20_000)).status_code == 413
    assert (await site.post("/dead/replay", **{f"f{number}": "" for number in range(50)})).status_code == 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9180", "10.0.0.1:9180", ""])
async def test_without_a_token_it_answers_to_this_machine_s_names_only(site: Site, host: str) -> None:
    response = await site.browser.get("/console/", headers={"Host": host})

    assert response.status_code == 421


async def test_with_a_token_it_answers_to_any_name(guarded_site: Site) -> None:
    response = await guarded_site.browser.get("/console/login", headers={"Host": "ops.example"})

    assert response.status_code == 200


async def test_the_language_is_the_browser_s_until_it_is_switched(site: Site) -> None:
    assert "Trips by state" in await site.page("/")
    assert "各状态行程" in await site.page("/", headers={"Accept-Language": "zh-CN,zh;q=0.9"})

    switched = await site.browser.get("/console/language?to=zh&next=/console/outbox")
    assert switched.headers["location"] == "/console/outbox"
    assert "发件箱为空" in await site.page("/outbox")
    await site.browser.get("/console/language?to=klingon")
    assert "发件箱为空" in await site.page("/outbox")
