"""`make demo-ops`, as a newcomer uses it: an outage, its end, a dead letter put back, and all of it on the graphs."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.acceptance.chromium import PATIENCE_MS
from tests.acceptance.commands import HTTP_SECONDS, finish, plain_environment
from tests.acceptance.test_commands import ROOT, until
from tests.integration.messaging.waiting import eventually

UP_SECONDS: Final = 180.0
"""Four processes start, each of which may take a minute."""

pytestmark = [
    pytest.mark.usefixtures("prometheus_installed"),
    pytest.mark.timeout(600),  # all of it in turn, each part with its own patience
]


@dataclass(frozen=True, slots=True)
class House:
    """What it says about where to go."""

    console: str
    graphs: str
    take_away: str
    bring_back: str

    @property
    def prometheus(self) -> str:
        return self.graphs.partition("/consoles")[0]


@asynccontextmanager
async def a_house() -> AsyncIterator[House]:
    """Type the command, and read what it prints; Ctrl-C at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local.demo_ops", "--trips-a-second", "8"),
        cwd=ROOT,
        env=plain_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(UP_SECONDS):
            said = (await process.stdout.readuntil(b"goes on to paid.")).decode()
        yield House(
            console=_found(r"console +(\S+)", said),
            graphs=_found(r"graphs +(\S+)", said),
            take_away=_found(r"(curl -X POST .+)", said),
            bring_back=_found(r"(curl -X DELETE .+)", said),
        )
    finally:
        process.send_signal(signal.SIGINT)
        done = await finish(process)
    assert (done.code, done.err) == (0, "")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


async def types(command: str) -> None:
    """Type what we were told to."""
    process = await asyncio.create_subprocess_shell(f"{command} --silent --show-error --fail")
    assert await process.wait() == 0


async def test_a_newcomer_stages_an_outage_and_puts_a_dead_letter_back(browser: Browser) -> None:
    async with a_house() as house:
        page = await browser.new_page(locale="en-US")
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(house.console)
        await expect(page.locator("h1")).to_have_text("Money is moving.")
        await puts_a_letter_back(page, house)

        await page.goto(house.console)
        await types(house.take_away)
        await expect(page.locator(".verdict")).to_contain_text("Calls to WeChat Pay are held back")
        # While it lasts: what came and went between two scrapes would never be on the graphs.
        await is_on_the_graphs(house, 'max_over_time(payscore_breaker_open{reason="trouble"}[10m])')
        await is_on_the_graphs(house, 'max_over_time(payscore_queue_paused{queue=~".*trip-started"}[10m])')
        await types(house.bring_back)
        await expect(page.locator(".verdict")).not_to_contain_text("Calls to WeChat Pay are held back")

        await page.goto(house.graphs)
        await expect(page).to_have_url(re.compile(r"/graph\?.*g0\.expr="))
        await expect(page.get_by_text("payscore_breaker_open").filter(visible=True).first).to_be_visible()
        await is_on_the_graphs(house, "sum(payscore_trips_paid_total)")


async def puts_a_letter_back(page: Page, house: House) -> None:
    """Wait for the one that comes by itself; two clicks; its trip is paid."""
    dead_letters = page.get_by_role("link", name="Dead letters").first
    groups = page.locator(".groups").get_by_role("link", name="gave up after")

    async def is_there() -> bool:
        await dead_letters.click()
        return await groups.count() > 0

    await eventually(is_there, every_seconds=0.5, within_seconds=PATIENCE_MS / 1000)
    # Before it goes back: the gauge is read, and scraped, only now and then.
    await is_on_the_graphs(house, "sum(payscore_queue_dead_messages)")
    group = await groups.first.get_attribute("href")
    await groups.first.click()
    trip_id = await page.locator(".letters td.id").nth(1).inner_text()
    await dead_letters.click()
    row = page.locator(".groups tr").filter(has=page.locator(f'a[href="{group}"]'))  # others may have come above it
    await row.get_by_role("button", name="Replay group").click()
    await expect(page.locator("#stage")).to_have_text("done")

    async with httpx.AsyncClient(timeout=HTTP_SECONDS) as http:

        async def is_paid() -> bool:
            story = await http.get(f"{house.console}trip.json", params={"id": trip_id})
            return story.is_success and story.json()["state"] == "PAID"

        await until(is_paid)


async def is_on_the_graphs(house: House, expr: str) -> None:
    async with httpx.AsyncClient(base_url=house.prometheus, timeout=HTTP_SECONDS) as http:

        async def is_seen() -> bool:
            answer = await http.get("/api/v1/query", params={"query": expr})
            return any(float(series["value"][1]) > 0 for series in answer.json()["data"]["result"])

        await until(is_seen)
