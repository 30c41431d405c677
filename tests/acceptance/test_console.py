"""The console in a browser, and a worker that does not know it: an outage is seen, a dead letter goes back."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aio_pika
import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Error, Page, Response, expect

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.settings import BrokerSettings, Environment
from tests.acceptance.chromium import PATIENCE_MS
from tests.acceptance.commands import HTTP_SECONDS, finish, plain_environment, start
from tests.acceptance.test_commands import ENDED, STARTED, Desk, until

TOKEN: Final = "correct-horse-battery"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    yield desk
    broker = Environment(plain_environment(desk.settings)).read(BrokerSettings)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker).delete(channel)


class Visit:
    """One person's browser, and what it complained of."""

    def __init__(self, context: BrowserContext, page: Page, root: str) -> None:
        self.context = context
        self.page = page
        self.root = root
        self.complaints: list[str] = []
        page.on("console", lambda told: self.complaints.append(told.text) if told.type == "error" else None)
        page.on("pageerror", self._note_error)
        page.on("response", self._note_stranger)
        page.set_default_timeout(PATIENCE_MS)

    @classmethod
    async def begin(cls, browser: Browser, desk: Desk, **options: str) -> "Visit":
        root = f"http://127.0.0.1:{desk.ports['console']}"
        context = await browser.new_context(base_url=root, **options)  # type: ignore[arg-type]  # any of its options
        return cls(context, await context.new_page(), root)

    def _note_error(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _note_stranger(self, response: Response) -> None:
        if not response.url.startswith(self.root):
            self.complaints.append(response.url)


async def console_is_open(desk: Desk, role: str = "console") -> None:
    """Wait for it: it opens a moment after its port."""
    async with httpx.AsyncClient(timeout=HTTP_SECONDS) as http:

        async def is_open() -> bool:
            return (await http.get(f"http://127.0.0.1:{desk.ports[role]}/console/login")).status_code != 404

        await until(is_open)


async def test_an_operator_sees_an_outage_and_its_end_and_puts_a_dead_letter_back(desk: Desk, browser: Browser) -> None:
    desk.settings["PAYSCORE_OPS_TOKEN"] = TOKEN
    async with AsyncExitStack() as roles:
        simulator = await roles.enter_async_context(AsyncExitStack())
        await simulator.enter_async_context(desk.role("simulator", *desk.simulator, "--pay-after", "0.2"))
        await roles.enter_async_context(desk.role("webhook", "webhook"))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await roles.enter_async_context(desk.role("console", "console"))
        await console_is_open(desk)
        visit = await Visit.begin(browser, desk, locale="en-US")

        await signs_in(visit.page)
        await expect(visit.page.locator("h1")).to_have_text("Money is moving.")
        await desk.publish("trip.started", STARTED)
        await desk.publish("trip.ended", ENDED)
        await desk.publish("trip.ended", ENDED | {"trip_id": "t2", "total_fen": 32.0})
        await expect(visit.page.locator("tr", has_text="PAID").locator(".n").first).to_have_text("1")
        await expect(visit.page.locator(".verdict")).to_contain_text("1 dead letters wait for a person.")

        await reads_the_story(visit.page)
        await puts_the_letter_back(visit.page)

        await simulator.aclose()
        for number in range(8):
            await desk.publish("trip.started", STARTED | {"trip_id": f"out-{number}"})
        await visit.page.goto("/console/")
        await expect(visit.page.locator("h1")).to_have_text("Money is stuck.")
        await expect(visit.page.locator(".verdict")).to_contain_text(
            "nobody consumes it: no worker runs, or all hold back"
        )

        await simulator.enter_async_context(desk.role("simulator", *desk.simulator, "--pay-after", "0.2"))
        await expect(visit.page.locator(".verdict")).not_to_contain_text("nobody consumes")
        assert visit.complaints == []
        await signs_out(visit.page)


async def signs_in(page: Page) -> None:
    await page.goto("/console/")
    await page.get_by_label("Your name").fill("王芳")
    await page.get_by_label("Token").fill(TOKEN)
    await page.get_by_role("button", name="Sign in").click()


async def reads_the_story(page: Page) -> None:
    await page.get_by_role("searchbox").fill("t1")
    await page.get_by_role("searchbox").press("Enter")
    await expect(page.locator(".title")).to_contain_text("t1 PAID")
    await expect(page.locator(".story .moved")).to_have_text(
        [re.compile(state) for state in ("NOTED", "OPEN", "COMPLETED", "PAID")]
    )
    assert STARTED["openid"] not in await page.content()


async def puts_the_letter_back(page: Page) -> None:
    """Two clicks from the overview; it is malformed, so it comes back, and the record knows."""
    await page.goto("/console/dead")
    await expect(page.locator(".groups")).to_contain_text("total_fen: Expected `int`, got `float`")
    await page.get_by_role("button", name="Replay group").click()
    await expect(page.locator("#stage")).to_have_text("done")
    await expect(page.locator("#put-back")).to_have_text("1")
    await expect(page.locator(".record")).to_contain_text("王芳")


async def signs_out(page: Page) -> None:
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    await page.goto("/console/")
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()


async def test_the_console_fits_a_phone_speaks_chinese_and_knows_the_night(desk: Desk, browser: Browser) -> None:
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await roles.enter_async_context(desk.role("console", "console"))
        await console_is_open(desk)
        await desk.publish(
            "trip.started", STARTED | {"trip_id": "a-trip-with-a-name-as-long-as-a-name-of-a-trip-may-be-here"}
        )
        await desk.publish("trip.ended", ENDED | {"trip_id": "t2", "total_fen": 32.0})
        visit = await Visit.begin(browser, desk, locale="zh-CN", color_scheme="dark")
        page = visit.page
        await page.set_viewport_size({"width": 390, "height": 844})

        await page.goto("/console/")
        await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(page.locator(".verdict")).to_contain_text("1 条死信待人工处理。")
        for path in (
            "",
            "trips",
            "trip?id=a-trip-with-a-name-as-long-as-a-name-of-a-trip-may-be-here",
            "outbox",
            "dead",
        ):
            await page.goto(f"/console/{path}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 390, f"/{path} is wider than a phone"
        night = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        await page.emulate_media(color_scheme="light")
        assert night != await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

        await page.get_by_role("link", name="English").click()
        await expect(page.locator("h1")).to_have_text("Dead letters")
        assert visit.complaints == []


async def test_a_page_whose_console_is_gone_says_that_it_is_old(desk: Desk, browser: Browser) -> None:
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator))
        console = await roles.enter_async_context(AsyncExitStack())
        await console.enter_async_context(desk.role("console", "console"))
        await console_is_open(desk)
        visit = await Visit.begin(browser, desk, locale="en-US")
        await visit.page.goto("/console/")
        await expect(visit.page.locator("#lost")).to_be_hidden()

        await console.aclose()
        await expect(visit.page.locator("#lost")).to_have_text(re.compile("What you see is old."))

        await console.enter_async_context(desk.role("console", "console"))
        await expect(visit.page.locator("#lost")).to_be_hidden()


async def test_the_worker_shows_no_console(desk: Desk) -> None:
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator))
        await roles.enter_async_context(desk.role("worker", "worker"))
        async with httpx.AsyncClient() as http:
            for path in ("/", "/console/", "/console/login"):
                answer = await http.get(f"http://127.0.0.1:{desk.ports['worker']}{path}")
                assert answer.status_code == 404


async def test_the_console_tells_of_itself_alone(desk: Desk) -> None:
    """A breaker or a queue among its metrics would be taken for a worker's."""
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator))
        await desk.run("topology")
        await roles.enter_async_context(desk.role("console", "console"))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{desk.ports['console']}") as http:
            ready, measured = await http.get("/readyz"), await http.get("/metrics")

    assert ready.json() == {"database": True, "queues": True}
    assert 'role="console"' in measured.text
    for name in ("payscore_breaker_open", "payscore_queue_ready", "payscore_trips", "payscore_consuming"):
        assert name not in measured.text


async def test_a_console_that_others_could_reach_does_not_start_without_a_token(desk: Desk) -> None:
    desk.settings["PAYSCORE_OPS_HOST"] = "0.0.0.0"  # noqa: S104 - that is what it is about

    done = await desk.run("console")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        "error: PAYSCORE_OPS_TOKEN: missing, and others can reach PAYSCORE_OPS_HOST; it should be "
    )
    assert done.err.count("\n") == 1


async def test_beside_the_demo_s_worker_too_there_is_no_console_without_a_token(desk: Desk) -> None:
    desk.settings["PAYSCORE_OPS_HOST"] = "0.0.0.0"  # noqa: S104 - that is what it is about
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator))
        worker = await start("worker", "--with-console", directory=desk.directory, settings=desk.settings)
        async with httpx.AsyncClient(timeout=HTTP_SECONDS) as http:

            async def is_ready() -> bool:
                try:
                    return (await http.get(f"http://127.0.0.1:{desk.ports['worker']}/readyz")).is_success
                except httpx.HTTPError:
                    return False

            await until(is_ready)
            answer = await http.get(f"http://127.0.0.1:{desk.ports['worker']}/console/")
        worker.terminate()
        ended = await finish(worker)

    assert answer.status_code == 404
    assert "console_off" in ended.err
    assert "PAYSCORE_OPS_TOKEN is not set" in ended.err


async def test_explain_and_watch_tell_the_same_on_a_terminal(desk: Desk) -> None:
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await desk.publish("trip.started", STARTED)

        async def is_open() -> bool:
            told = await desk.run("trip", "explain", "t1", "--json")
            return told.code == 0 and told.document["state"] == "OPEN"

        await until(is_open)
        printed = await desk.run("trip", "explain", "t1")
        assert "create accepted" in printed.out
        assert STARTED["openid"] not in printed.out
        unknown = await desk.run("trip", "explain", "t9")
        assert (unknown.code, unknown.out, unknown.err) == (1, "", "error: no trip 't9'\n")

        both = await desk.run("queues", "--watch", "--json")
        assert both.code == 2
        watching = await start("queues", "--watch", "--every", "0.5", directory=desk.directory, settings=desk.settings)
        assert watching.stdout is not None
        seen = b""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while b"consumers" not in seen:
                seen += await watching.stdout.read(1024)
        watching.send_signal(2)
        assert (await finish(watching)).code == 0
