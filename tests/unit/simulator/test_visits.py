"""Pages that a signed jump opens: to confirm an order, to look at one (reference payscore-api C.3)."""

import dataclasses
from typing import Literal

import httpx
import pytest

from payscore_worker.simulator import (
    Behaviour,
    PageRefused,
    Passenger,
    Service,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
)
from payscore_worker.simulator.simulator import utc_now

from .bodies import ABSENT, FAMILIES, a_create
from .jumping import signed
from .merchant import Merchant

by_family = pytest.mark.parametrize("family", FAMILIES)
GONE = "this page was left, or has done its work"


@pytest.fixture
def config(config: SimulatorConfig, keys: SimulatorKeys) -> SimulatorConfig:
    service = Service(appid=keys.appid, service_id=keys.service_id, mode="need_confirm")
    return dataclasses.replace(config, services=(service,))


async def a_package(merchant: Merchant, family: str) -> str:
    response = await merchant.create(family, a_create(family, openid=ABSENT, need_user_confirm=True))
    package: str = response.json()["package"]
    return package


@by_family
async def test_a_page_that_is_open_confirms_its_order_once(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    package = await a_package(merchant, family)
    order = simulator.pages.visit(signed(merchant.keys, package=package), "passenger-1")
    assert simulator.ledger_entry("trip-1").stage == "created"
    simulator.pages.confirm_visited("trip-1", order.visit)
    entry = simulator.ledger_entry("trip-1")
    assert (entry.stage, entry.openid) == ("running", "passenger-1")
    with pytest.raises(PageRefused, match=GONE):
        simulator.pages.confirm_visited("trip-1", order.visit)


@by_family
async def test_a_package_opens_one_page(merchant: Merchant, simulator: Simulator, family: str) -> None:
    jump = signed(merchant.keys, package=await a_package(merchant, family))
    simulator.pages.visit(jump, "passenger-1")
    with pytest.raises(PageRefused, match="opened before"):
        simulator.pages.visit(jump, "passenger-1")


async def test_a_page_that_was_left_confirms_nothing(merchant: Merchant, simulator: Simulator) -> None:
    order = simulator.pages.visit(
        signed(merchant.keys, package=await a_package(merchant, "serviceorder")), "passenger-1"
    )
    simulator.pages.leave_visited("trip-1", order.visit)
    for act in (simulator.pages.confirm_visited, simulator.pages.leave_visited):
        with pytest.raises(PageRefused, match=GONE):
            act("trip-1", order.visit)
    assert simulator.ledger_entry("trip-1").stage == "created"


async def test_a_page_that_refused_is_used_up(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.RISK_REFUSED))
    order = simulator.pages.visit(
        signed(merchant.keys, package=await a_package(merchant, "serviceorder")), "passenger-1"
    )
    with pytest.raises(PageRefused, match="综合评估未通过"):
        simulator.pages.confirm_visited("trip-1", order.visit)
    simulator.set_passenger("passenger-1", Passenger())
    with pytest.raises(PageRefused, match=GONE):
        simulator.pages.confirm_visited("trip-1", order.visit)


async def test_an_order_that_was_cancelled_meanwhile_is_not_confirmed(merchant: Merchant, simulator: Simulator) -> None:
    order = simulator.pages.visit(
        signed(merchant.keys, package=await a_package(merchant, "serviceorder")), "passenger-1"
    )
    await merchant.cancel("serviceorder", "trip-1")
    with pytest.raises(PageRefused, match="order trip-1 is revoked"):
        simulator.pages.confirm_visited("trip-1", order.visit)


@pytest.mark.parametrize("visit", ["", "页", "x"])
async def test_nobody_confirms_without_the_page(merchant: Merchant, simulator: Simulator, visit: str) -> None:
    await a_package(merchant, "serviceorder")
    for trip in ("trip-1", "trip-2"):
        with pytest.raises(PageRefused, match=GONE):
            simulator.pages.confirm_visited(trip, visit)


SPOILT = [
    ({"apiv2_key": "0" * 32}, "商户签名校验失败"),
    ({"mch_id": "1900000001"}, "4188"),
    ({"timestamp": "1772330400000"}, "timestamp"),
    ({"nonce_str": ""}, "nonce_str"),
    ({"sign_type": "MD5"}, "sign_type"),
]


@pytest.mark.parametrize(("changes", "shown"), SPOILT)
async def test_a_jump_that_is_not_the_merchant_s_uses_nothing_up(
    merchant: Merchant, simulator: Simulator, changes: dict[str, str], shown: str
) -> None:
    package = await a_package(merchant, "serviceorder")
    with pytest.raises(PageRefused, match=shown):
        simulator.pages.visit(signed(merchant.keys, package=package, **changes), "passenger-1")
    simulator.pages.visit(signed(merchant.keys, package=package), "passenger-1")


async def test_a_package_put_under_another_s_signature_opens_nothing(merchant: Merchant, simulator: Simulator) -> None:
    jump = signed(merchant.keys, package="x") | {"package": await a_package(merchant, "serviceorder")}
    with pytest.raises(PageRefused, match="商户签名校验失败"):
        simulator.pages.visit(jump, "passenger-1")


@pytest.mark.parametrize(("package", "code"), [("", "4185"), ("x", "4186")])
def test_what_is_no_package_opens_nothing(simulator: Simulator, keys: SimulatorKeys, package: str, code: str) -> None:
    with pytest.raises(PageRefused, match=code):
        simulator.pages.visit(signed(keys, package=package), "passenger-1")


@pytest.mark.parametrize(("called", "other"), [("sign", "signature"), ("signature", "sign")])
async def test_the_signature_is_called_as_one_of_the_documents_has_it(
    config: SimulatorConfig, called: Literal["sign", "signature"], other: str
) -> None:
    simulator = Simulator(dataclasses.replace(config, confirm_sign_member=called))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(simulator)), base_url="http://simulator"
    ) as http:
        package = await a_package(Merchant(http, config.keys, utc_now), "serviceorder")
    with pytest.raises(PageRefused, match="商户签名校验失败"):
        simulator.pages.visit(signed(config.keys, called=other, package=package), "passenger-1")
    simulator.pages.visit(signed(config.keys, called=called, package=package), "passenger-1")


def details_of(keys: SimulatorKeys, out_order_no: str = "trip-1", **changes: str) -> dict[str, str]:
    return signed(keys, **{"service_id": keys.service_id, "out_order_no": out_order_no} | changes)


async def test_the_details_page_shows_the_passenger_s_order(merchant: Merchant, simulator: Simulator) -> None:
    simulator.confirm(await a_package(merchant, "serviceorder"), "passenger-1")
    assert simulator.pages.details(details_of(merchant.keys), "passenger-1").out_order_no == "trip-1"
    with pytest.raises(PageRefused, match="another passenger's"):
        simulator.pages.details(details_of(merchant.keys), "passenger-2")


@pytest.mark.parametrize(
    ("changes", "shown"), [*SPOILT, ({"service_id": "500001"}, "3961"), ({"out_order_no": "trip-2"}, "3961")]
)
async def test_the_details_page_is_refused(
    merchant: Merchant, simulator: Simulator, changes: dict[str, str], shown: str
) -> None:
    simulator.confirm(await a_package(merchant, "serviceorder"), "passenger-1")
    with pytest.raises(PageRefused, match=shown):
        simulator.pages.details(details_of(merchant.keys, **changes), "passenger-1")
