"""A person plays the passenger in a browser on a phone: enables, puts off, pays, closes, confirms or leaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from payscore_worker.simulator import (
    PASSENGER_PAGE,
    Service,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
    uvicorn_config,
)
from payscore_worker.simulator.service_time import SHANGHAI
from payscore_worker.simulator.simulator import utc_now
from tests.acceptance.commands import HTTP_SECONDS, finish, start
from tests.acceptance.test_commands import free_port, until
from tests.acceptance.test_console import Visit
from tests.served import served
from tests.unit.simulator.bodies import ABSENT, a_complete, a_create
from tests.unit.simulator.jumping import as_json, signed
from tests.unit.simulator.merchant import Merchant

OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def keys() -> SimulatorKeys:
    return SimulatorKeys.generate()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Nobody waits for callbacks here."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _request: httpx.Response(200))) as http:
        yield http


@asynccontextmanager
async def a_visit(
    browser: Browser, config: SimulatorConfig, http: httpx.AsyncClient, **options: str
) -> AsyncIterator[tuple[Visit, Merchant]]:
    async with (
        Simulator(config, http=http) as simulator,
        served(uvicorn_config(create_app(simulator))) as root,
        httpx.AsyncClient(base_url=root, timeout=HTTP_SECONDS) as wechat_pay,
    ):
        context = await browser.new_context(base_url=root, viewport=PHONE, **options)  # type: ignore[arg-type]  # any of its options
        yield Visit(context, await context.new_page(), root), Merchant(wechat_pay, config.keys, utc_now)
        await context.close()


def today() -> str:
    return datetime.now(SHANGHAI).strftime("%Y%m%d")


async def accepted(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


async def is_no_wider_than_a_phone(page: Page) -> None:
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], page.url


async def presses(page: Page, name: str) -> None:
    """By the keyboard: a button that it does not reach is none."""
    button = page.get_by_role("button", name=name)
    await button.focus()
    await page.keyboard.press("Enter")


async def test_a_person_enables_the_service_puts_payment_off_pays_and_closes_it(
    browser: Browser, keys: SimulatorKeys, http: httpx.AsyncClient
) -> None:
    config = SimulatorConfig(keys=keys, notify_url="http://receiver/notify/payscore", pay_after_seconds=0)
    async with a_visit(browser, config, http, locale="en-US") as (visit, merchant):
        page = visit.page
        await page.goto(PASSENGER_PAGE)
        await page.get_by_label("openid").fill(OPENID)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text(OPENID)
        await presses(page, "Close the service")
        await expect(page.get_by_role("status")).to_have_text("The service is closed.")

        await enables(page, merchant)
        await owes(page, merchant)
        await presses(page, "Close the service")
        await expect(page.get_by_role("alert")).to_contain_text("存在未完成订单")
        await is_no_wider_than_a_phone(page)

        await presses(page, "Pay now trip-1")
        await expect(page.get_by_role("article", name="Order trip-1")).to_contain_text("Paid¥32.00")
        await page.get_by_role("link", name="中文").click()
        await expect(page.get_by_role("article", name="订单号 trip-1")).to_contain_text("已支付")
        await presses(page, "关闭服务")
        await expect(page.get_by_role("status")).to_have_text("服务已关闭。")
        assert visit.complaints == ["Failed to load resource: the server responded with a status of 409 (Conflict)"]


async def enables(page: Page, merchant: Merchant) -> None:
    """By a link that brings along what the merchant's client would hand on."""
    body = merchant.ours() | {"authorization_code": "agreement-1"}
    token = (await accepted(await merchant.post("/v3/payscore/permissions", body)))["apply_permissions_token"]
    jump = {"openid": OPENID, "businessType": "wxpayScoreEnable", "apply_permissions_token": token}
    await page.goto(f"{PASSENGER_PAGE}?{urlencode(jump)}")
    await presses(page, "Open")
    await expect(page.get_by_role("heading", level=2)).to_have_text("Enable the service?")
    await is_no_wider_than_a_phone(page)
    await presses(page, "Agree and enable")
    await expect(page.get_by_role("status")).to_have_text("The service is on.")


async def owes(page: Page, merchant: Merchant) -> None:
    create = a_create("serviceorder", openid=OPENID, time_range__start_time=today())
    await accepted(await merchant.create("serviceorder", create))
    await page.reload()
    await presses(page, "Pay later: let debits fail trip-1")
    await expect(page.get_by_role("status")).to_have_text("Debits of this order fail now.")
    await accepted(await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", today())))
    await page.reload()
    await expect(page.get_by_role("article", name="Order trip-1")).to_contain_text("Debits fail until you pay.")


async def test_a_person_confirms_an_order_and_leaves_another(
    browser: Browser, keys: SimulatorKeys, http: httpx.AsyncClient
) -> None:
    service = Service(appid=keys.appid, service_id=keys.service_id, mode="need_confirm")
    config = SimulatorConfig(keys=keys, notify_url="http://receiver/notify/payscore", services=(service,))
    async with a_visit(browser, config, http, locale="zh-CN", color_scheme="dark") as (visit, merchant):
        page = visit.page
        await opens_to_confirm(page, merchant, "trip-1")
        await is_no_wider_than_a_phone(page)
        await presses(page, "确认并开始")
        await expect(page.get_by_role("status")).to_have_text("订单已确认。")
        await expect(page.get_by_role("article", name="订单号 trip-1")).to_contain_text("进行中")

        jump = await opens_to_confirm(page, merchant, "trip-2")
        await presses(page, "离开")
        await expect(page.get_by_role("article", name="订单号 trip-2")).to_contain_text("待确认")
        await page.get_by_role("textbox").fill(jump)
        await presses(page, "打开")
        await expect(page.get_by_role("alert")).to_contain_text("order trip-2 has been opened before")
        states = [
            (await accepted(await merchant.query("serviceorder", trip)))["state"] for trip in ("trip-1", "trip-2")
        ]
        assert states == ["DOING", "CREATED"]


async def opens_to_confirm(page: Page, merchant: Merchant, out_order_no: str) -> str:
    """By what the merchant's client is given, pasted as it is; which is returned."""
    create = a_create("serviceorder", out_order_no, openid=ABSENT, need_user_confirm=True)
    package = (await accepted(await merchant.create("serviceorder", create)))["package"]
    await page.goto(f"{PASSENGER_PAGE}?{urlencode({'openid': OPENID})}")
    jump = as_json("wxpayScoreUse", signed(merchant.keys, package=package))
    await page.get_by_role("textbox").fill(jump)
    await presses(page, "打开")
    await expect(page.get_by_role("heading", level=2)).to_have_text("确认订单？")
    return jump


async def test_the_simulator_says_where_the_page_is(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    words = ("simulator", "--port", address.rpartition(":")[2], "--mode", "need_confirm")
    process = await start(*words, directory=tmp_path, settings={})
    async with httpx.AsyncClient(base_url=address, timeout=HTTP_SECONDS) as http:

        async def is_served() -> bool:
            try:
                return (await http.get(PASSENGER_PAGE)).is_success
            except httpx.HTTPError:
                return False

        await until(is_served)
        page = (await http.get(PASSENGER_PAGE, params={"openid": OPENID, "lang": "en"})).text
        assert "At this merchant each order is confirmed" in page
    process.terminate()
    done = await finish(process)
    assert (done.code, f"{address}{PASSENGER_PAGE}" in done.err) == (0, True)
