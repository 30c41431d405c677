"""The page on which a person plays the passenger."""

import dataclasses
import re
from html import unescape

import httpx
import pytest

from payscore_worker.simulator import Behaviour, Passenger, Service, Simulator, SimulatorConfig, SimulatorKeys
from payscore_worker.simulator.passenger.routes import MAX_ORDERS
from payscore_worker.simulator.passenger.words import WORDS, language_of

from .bodies import ABSENT, a_complete, a_create
from .clock import Clock
from .jumping import as_json, as_query, signed
from .merchant import Merchant

PAGE = "/passenger"
ORIGIN = {"Origin": "http://simulator"}


async def seen(http: httpx.AsyncClient, openid: str = "passenger-1", **query: str) -> str:
    response = await http.get(PAGE, params={"openid": openid, "lang": "en"} | query)
    assert response.status_code == 200
    return response.text


async def done(http: httpx.AsyncClient, act: str, openid: str = "passenger-1", /, **fields: str) -> httpx.Response:
    """As a browser would: to where the answer leads."""
    form = {"openid": openid} | fields
    response = await http.post(f"{PAGE}/{act}?lang=en", data=form, headers=ORIGIN)
    return await http.get(response.headers["Location"]) if response.is_redirect else response


def refused(response: httpx.Response) -> str:
    assert response.status_code == 409, response.text
    (alert,) = re.findall(r'role="alert"><b>[^<]*</b> ([^<]*)<', response.text)
    return unescape(alert)


def told(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    (status,) = re.findall(r'role="status">([^<]*)<', response.text)
    return unescape(status)


def field(page: str, name: str) -> str:
    """What a form on it would send along."""
    value = re.findall(rf'name="{name}" value="([^"]*)"', page)[0]
    return unescape(value)


async def a_token(merchant: Merchant) -> str:
    body = merchant.ours() | {"authorization_code": "agreement-1"}
    token: str = (await merchant.post("/v3/payscore/permissions", body)).json()["apply_permissions_token"]
    return token


# Enable


@pytest.mark.parametrize("written", [as_json, as_query])
async def test_a_passenger_enables_the_service_by_a_token(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, written: type
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    assert "not enabled" in await seen(http)
    jump = written("wxpayScoreEnable", {"apply_permissions_token": await a_token(merchant)})
    asked = await done(http, "jump", jump=jump)
    assert "Enable the service?" in asked.text
    assert simulator.notifications() == []
    assert told(await done(http, "enable", jump=field(asked.text, "jump"))) == "The service is on."
    assert simulator.notifications()[0].event_type == "PAYSCORE.USER_OPEN_SERVICE"
    assert "signed already" in refused(await done(http, "jump", jump=jump))


async def test_a_passenger_enables_the_service_by_the_signed_form(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    form = signed(merchant.keys, service_id=merchant.keys.service_id, out_request_no="request-1")
    asked = await done(http, "jump", jump=as_json("wxpayScoreEnable", form))
    assert told(await done(http, "enable", jump=field(asked.text, "jump"))) == "The service is on."
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "AVAILABLE"


async def test_what_is_not_signed_by_the_merchant_enables_nothing(
    http: httpx.AsyncClient, keys: SimulatorKeys, simulator: Simulator
) -> None:
    form = signed(keys, apiv2_key="0" * 32, service_id=keys.service_id, out_request_no="request-1")
    for act in ("jump", "enable"):
        assert refused(await done(http, act, jump=as_json("wxpayScoreEnable", form))) == "商户签名校验失败"
    assert simulator.notifications() == []


@pytest.mark.parametrize(
    ("jump", "why"),
    [
        ("", "4185"),
        ("x", "expected name=value"),
        ("{", "expected businessType"),
        ('{"businessType": "wxpayScoreEnable"}', "expected businessType"),
        ('{"businessType": "wxpayScoreEnable", "extraData": {"timestamp": 1772330400}}', "expected businessType"),
        ('{"businessType": "wxpayScoreEnable", "extraData": []}', "expected businessType"),
        ('{"businessType": 1, "extraData": {}}', "expected businessType"),
        ("apply_permissions_token=x", "4185"),
        ("businessType=wxpayScoreOther&apply_permissions_token=x", "4185"),
        ("businessType=wxpayScoreUse&businessType=wxpayScoreUse", "twice"),
        ("businessType=wxpayScoreUse&apply_permissions_token=x", "stands alone"),
        ("businessType=wxpayScoreEnable&apply_permissions_token=x&mch_id=1", "stands alone"),
        ("businessType=wxpayScoreEnable&apply_permissions_token=x", "none of ours"),
        ("&".join(f"n{number}=1" for number in range(21)), "expected name=value"),
    ],
)
async def test_what_opens_no_page_says_why(http: httpx.AsyncClient, jump: str, why: str) -> None:
    assert why in refused(await done(http, "jump", jump=jump))


async def test_only_a_jump_to_enable_enables(http: httpx.AsyncClient, keys: SimulatorKeys) -> None:
    assert "4185" in refused(await done(http, "enable", jump=as_query("wxpayScoreUse", signed(keys, package="x"))))


async def test_a_link_brings_a_jump_along(http: httpx.AsyncClient, merchant: Merchant) -> None:
    token = await a_token(merchant)
    page = await seen(http, businessType="wxpayScoreEnable", apply_permissions_token=token)
    (text,) = re.findall(r"<textarea[^>]*>([^<]*)</textarea>", page)
    assert "Enable the service?" in (await done(http, "jump", jump=unescape(text))).text


# Orders


async def owing(merchant: Merchant, clock: Clock) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))


async def test_a_passenger_pays_now(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    await owing(merchant, clock)
    page = await seen(http)
    assert ("网约车出行" in page, "¥32.00" in page, "to be paid" in page, "Pay now" in page) == (True,) * 4
    assert told(await done(http, "pay", out_order_no="trip-1")) == "Paid."
    assert simulator.ledger_entry("trip-1").charged_fen == 3200
    assert "Pay now" not in await seen(http)
    assert refused(await done(http, "pay", out_order_no="trip-1")) == "order trip-1 is paid"


async def test_a_passenger_pays_later(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))
    assert told(await done(http, "put-off", out_order_no="trip-1")) == "Debits of this order fail now."
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    clock.advance(60)
    await simulator.run_once()
    assert "Debits fail until you pay." in await seen(http)
    assert simulator.ledger_entry("trip-1").charged_fen == 0
    assert told(await done(http, "let-debit", out_order_no="trip-1")) == "Debits of this order succeed now."
    await simulator.run_once()
    assert simulator.ledger_entry("trip-1").charged_fen == 3200


async def test_a_passenger_closes_the_service(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    service_id = merchant.keys.service_id
    await owing(merchant, clock)
    assert refused(await done(http, "close", service_id=service_id)) == "存在未完成订单"
    simulator.pay("trip-1")
    assert told(await done(http, "close", service_id=service_id)) == "The service is closed."
    assert "Close the service" not in await seen(http)


async def test_the_details_page_shows_one_order(http: httpx.AsyncClient, merchant: Merchant, clock: Clock) -> None:
    await owing(merchant, clock)
    await merchant.create("serviceorder", a_create("serviceorder", "trip-2"))
    members = {"service_id": merchant.keys.service_id, "out_order_no": "trip-1"}
    shown = await done(http, "jump", jump=as_query("wxpayScoreDetail", signed(merchant.keys, **members)))
    assert (shown.status_code, "trip-1" in shown.text, "trip-2" in shown.text) == (200, True, False)


async def test_another_s_order_is_not_shown(http: httpx.AsyncClient, merchant: Merchant, clock: Clock) -> None:
    await owing(merchant, clock)
    response = await http.get(f"{PAGE}/order", params={"openid": "passenger-2", "out_order_no": "trip-1"})
    assert (response.status_code, "网约车出行" in response.text) == (404, False)


async def test_the_newest_orders_are_shown_and_said_to_be(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator
) -> None:
    for number in range(MAX_ORDERS + 1):
        await merchant.create("serviceorder", a_create("serviceorder", f"trip-{number}"))
        simulator.revoke(f"trip-{number}")
    page = await seen(http)
    assert page.count("<article aria-label") == MAX_ORDERS
    assert ("Order trip-0" in page, "Older orders are not shown." in page) == (False, True)


class TestNeedConfirm:
    @pytest.fixture
    def config(self, config: SimulatorConfig, keys: SimulatorKeys) -> SimulatorConfig:
        service = Service(appid=keys.appid, service_id=keys.service_id, mode="need_confirm")
        return dataclasses.replace(config, services=(service,))

    async def opened(self, http: httpx.AsyncClient, merchant: Merchant) -> httpx.Response:
        body = a_create("serviceorder", openid=ABSENT, need_user_confirm=True)
        package = (await merchant.create("serviceorder", body)).json()["package"]
        return await done(http, "jump", jump=as_json("wxpayScoreUse", signed(merchant.keys, package=package)))

    async def test_a_passenger_confirms_an_order(
        self, http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator
    ) -> None:
        page = (await self.opened(http, merchant)).text
        assert ("Confirm the order?" in page, "¥200.00" in page) == (True, True)
        confirmed = await done(http, "confirm", out_order_no="trip-1", visit=field(page, "visit"))
        assert told(confirmed) == "The order is confirmed."
        assert simulator.ledger_entry("trip-1").stage == "running"

    async def test_who_leaves_cannot_confirm_any_more(
        self, http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator
    ) -> None:
        page = (await self.opened(http, merchant)).text
        left = await done(http, "leave", out_order_no="trip-1", visit=field(page, "visit"))
        assert told(left) == "You left the page."
        assert "left" in refused(await done(http, "confirm", out_order_no="trip-1", visit=field(page, "visit")))
        assert simulator.ledger_entry("trip-1").stage == "created"

    async def test_an_order_opens_once(self, http: httpx.AsyncClient, merchant: Merchant) -> None:
        await self.opened(http, merchant)
        assert "opened before" in refused(await self.opened(http, merchant))

    async def test_there_is_no_service_to_enable(self, http: httpx.AsyncClient) -> None:
        assert "there is no service to enable" in await seen(http)


# From where


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://elsewhere"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://elsewhere", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("act", ["jump", "enable", "confirm", "leave", "pay", "put-off", "let-debit", "close"])
async def test_a_form_of_another_site_does_nothing(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, act: str, headers: dict[str, str]
) -> None:
    form = {"openid": "passenger-1", "service_id": merchant.keys.service_id, "jump": "x", "out_order_no": "trip-1"}
    assert (await http.post(f"{PAGE}/{act}", data=form, headers=headers)).status_code == 403
    assert simulator.notifications() == []


async def test_a_browser_that_says_so_by_the_other_header_is_believed(http: httpx.AsyncClient) -> None:
    headers = {"Sec-Fetch-Site": "same-origin"}
    response = await http.post(f"{PAGE}/jump", data={"openid": "passenger-1", "jump": "x"}, headers=headers)
    assert response.status_code == 409


async def test_a_form_larger_than_any_of_ours_is_not_read(http: httpx.AsyncClient) -> None:
    response = await http.post(f"{PAGE}/jump", content=b"jump=" + b"x" * 16_384, headers=ORIGIN)
    assert response.status_code == 413


@pytest.mark.parametrize("body", [b"\xff", b"&".join(b"n=1" for _ in range(11))])
async def test_a_form_that_cannot_be_read_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    assert (await http.post(f"{PAGE}/jump", content=body, headers=ORIGIN)).status_code == 400


@pytest.mark.parametrize("openid", ["", "   ", "x" * 129, "a\nb"])
async def test_who_names_nobody_is_asked_who_he_is(http: httpx.AsyncClient, openid: str) -> None:
    assert "Be this passenger" in await seen(http, openid)
    answer = await http.post(f"{PAGE}/close?lang=en", data={"openid": openid}, headers=ORIGIN)
    assert (answer.status_code, "Be this passenger" in answer.text) == (400, True)


async def test_what_a_passenger_is_called_is_no_markup(http: httpx.AsyncClient) -> None:
    assert "<script>" not in await seen(http, "<script>alert(1)</script>")


async def test_the_page_lets_nothing_else_in(http: httpx.AsyncClient) -> None:
    response = await http.get(PAGE, params={"openid": "passenger-1"})
    policy = response.headers["Content-Security-Policy"]
    assert ("default-src 'none'" in policy, "frame-ancestors 'none'" in policy, "script" in policy) == (
        *(True, True),
        False,
    )
    assert response.headers["Cache-Control"] == "no-store"


# Languages


@pytest.mark.parametrize(
    ("asked", "accepts", "language"),
    [
        ("zh", "en", "zh"),
        ("en", "zh-CN", "en"),
        (None, "zh-CN,en;q=0.8", "zh"),
        (None, "en-GB,zh;q=0.8", "en"),
        (None, "fr,zh-TW;q=0.2,en;q=0.1", "zh"),
        (None, "zh;q=x", "en"),
        (None, "", "en"),
        ("fr", "zh", "zh"),
    ],
)
def test_the_page_speaks_as_it_is_asked_to(asked: str | None, accepts: str, language: str) -> None:
    assert language_of(asked, accepts) == language


@pytest.mark.parametrize(("language", "says"), [("en", "You play the passenger"), ("zh", "您在模拟器中扮演乘客")])
async def test_the_page_is_written_in_that_language(http: httpx.AsyncClient, language: str, says: str) -> None:
    page = (await http.get(PAGE, headers={"Accept-Language": language})).text
    assert says in page
    assert f'lang="{"zh-CN" if language == "zh" else "en"}"' in page


async def test_the_language_stays_when_something_was_done(http: httpx.AsyncClient, merchant: Merchant) -> None:
    response = await http.post(
        f"{PAGE}/close?lang=zh",
        data={"openid": "passenger-1", "service_id": merchant.keys.service_id},
        headers=ORIGIN,
    )
    assert "服务已关闭。" in (await http.get(response.headers["Location"])).text


def test_every_word_is_said_in_both_languages() -> None:
    for english, chinese in WORDS.values():
        assert english
        assert chinese
