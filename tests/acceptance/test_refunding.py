"""Money goes back by hand: on the command line, and in the console in a browser, from a fare that was really paid."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aio_pika
import pytest
from playwright.async_api import Browser, expect

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.settings import BrokerSettings, Environment
from tests.acceptance.commands import plain_environment
from tests.acceptance.test_commands import ENDED, STARTED, Desk, until
from tests.acceptance.test_console import Visit, console_is_open

WHY = "绕路，与乘客核对过"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    yield desk
    broker = Environment(plain_environment(desk.settings)).read(BrokerSettings)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker).delete(channel)


async def test_money_goes_back_by_command_and_from_the_console(desk: Desk, browser: Browser) -> None:
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator, "--pay-after", "0.2"))
        await roles.enter_async_context(desk.role("webhook", "webhook"))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await roles.enter_async_context(desk.role("console", "console"))
        await console_is_open(desk)
        await desk.publish("trip.started", STARTED)
        await desk.publish("trip.ended", ENDED)

        async def is_paid() -> bool:
            shown = await desk.run("trip", "show", "t1", "--json")
            return shown.code == 0 and shown.document["state"] == "PAID"

        await until(is_paid)
        await sends_back_by_command(desk)
        await sends_back_from_the_console(await Visit.begin(browser, desk, locale="zh-CN"))


async def sends_back_by_command(desk: Desk) -> None:
    words = ("refund", "t1", "--amount-fen", "1000", "--reason", WHY, "--refund-id", "r1")
    unasked = await desk.run(*words)
    assert (unasked.code, "say --yes" in unasked.err) == (2, True)

    done = await desk.run(*words, "--yes", "--json")

    assert (done.code, done.document["done"], done.document["problem"]) == (0, True, None)

    async def is_refunded() -> bool:
        return bool((await desk.run("refund", "show", "r1", "--json")).document["state"] == "REFUNDED")

    await until(is_refunded)
    (listed,) = (await desk.run("refund", "list", "--state", "REFUNDED", "--json")).document["refunds"]
    assert (listed["refund_id"], listed["amount_fen"]) == ("r1", 1_000)
    assert "REFUNDED of r1" in (await desk.run("trip", "explain", "t1")).out


async def sends_back_from_the_console(visit: Visit) -> None:
    """On a phone; WeChat Pay wants a minute between refunds, so it is noted, and not waited for."""
    page = visit.page
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.goto("/console/trip?id=t1")
    await page.get_by_role("link", name="退款", exact=True).click()
    await page.get_by_label("金额").fill("5.50")
    await page.get_by_label("原因").fill(WHY)
    await page.get_by_role("button", name="查看将发送的内容").click()
    await expect(page.locator("main")).to_contain_text("退回 550 分")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await page.get_by_role("button", name="确认退款 ¥5.50").click()
    await expect(page.locator(".refunds tbody tr")).to_have_count(2)
    await expect(page.locator(".refunds")).to_contain_text("¥5.50")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.complaints == []
