"""Several merchants in one simulator: each has its keys and its orders, and sees nothing of another's."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from payscore_worker.accounts import read_accounts
from payscore_worker.errors import Refusal, WechatPayRejected
from payscore_worker.settings import Environment
from payscore_worker.simulator import Company, Simulator, SimulatorConfig, SimulatorKeys, create_app, write_accounts
from payscore_worker.wechatpay import Merchant, VerificationKeys, WechatPayClient, load_private_key
from payscore_worker.wechatpay.payscore import MerchantPayScores, NewOrder
from tests.integration.settlement.town import Clock, no_sleep, simulator_keys

NOTIFY_URL = "http://webhook.test/notify/payscore"


@dataclass
class Two:
    simulators: list[Simulator]
    payscores: list[MerchantPayScores]
    http: httpx.AsyncClient


@pytest.fixture(scope="module")
def keys() -> list[SimulatorKeys]:
    return [simulator_keys(), SimulatorKeys.generate()]


@pytest.fixture
async def two(keys: list[SimulatorKeys]) -> AsyncIterator[Two]:
    clock = Clock()
    simulators = [Simulator(SimulatorConfig(keys=one, notify_url=NOTIFY_URL), clock=clock) for one in keys]
    transport = httpx.ASGITransport(create_app(*simulators))
    clients = [
        WechatPayClient(
            merchant=Merchant(
                mchid=one.mchid,
                appid=one.appid,
                service_id=one.service_id,
                serial_no=one.merchant.serial_no,
                private_key=load_private_key(one.merchant_private_key_pem),
                apiv3_keys=(one.apiv3_key.encode(),),
                notify_url=NOTIFY_URL,
            ),
            keys=VerificationKeys(apiv3_keys=(one.apiv3_key.encode(),), clock=clock),
            base_urls=["http://wechatpay.test"],
            transport=transport,
            clock=clock,
            sleep=no_sleep,
        )
        for one in keys
    ]
    payscores = [MerchantPayScores("serviceorder", client) for client in clients]
    async with httpx.AsyncClient(transport=transport, base_url="http://wechatpay.test") as http:
        yield Two(simulators, payscores, http)
    for client in clients:
        await client.aclose()


async def open_order(two: Two, number: int, out_order_no: str) -> None:
    payscore = two.payscores[number].current
    order = NewOrder(out_order_no=out_order_no, openid="oPassenger", introduction="网约车出行", risk_amount_fen=20_000)
    await payscore.send(payscore.create(order))


async def test_an_order_is_its_merchants_alone(two: Two) -> None:
    await open_order(two, 0, "t1")

    assert two.simulators[0].orders_created == ["t1"]
    assert two.simulators[1].orders_created == []
    with pytest.raises(WechatPayRejected) as refused:
        await two.payscores[1].current.query("t1")
    assert refused.value.refusal is Refusal.ORDER_NOT_FOUND


async def test_two_merchants_may_use_the_same_number(two: Two) -> None:
    for number in range(2):
        await open_order(two, number, "t1")

    orders = [(await one.current.query("t1"))[0] for one in two.payscores]

    assert [order.mchid for order in orders] == [one.config.keys.mchid for one in two.simulators]


async def test_each_merchant_has_an_admin_api_of_its_own(two: Two) -> None:
    await open_order(two, 1, "t1")
    mchid = two.simulators[1].config.keys.mchid

    first = (await two.http.get("/admin/ledger")).json()
    second = (await two.http.get(f"/merchants/{mchid}/admin/ledger")).json()

    assert (list(first["orders"]), list(second["orders"])) == ([], ["t1"])


async def test_a_call_that_names_no_merchant_is_refused(two: Two) -> None:
    answer = await two.http.get("/v3/certificates")

    assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR")


def test_two_merchants_of_one_number_are_none(keys: list[SimulatorKeys]) -> None:
    one = Simulator(SimulatorConfig(keys=keys[0], notify_url=NOTIFY_URL))

    with pytest.raises(ValueError, match="each merchant has an mchid of its own"):
        create_app(one, one)


def test_the_file_that_is_written_for_a_worker_is_one_that_a_worker_reads(
    keys: list[SimulatorKeys], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("accounts")
    companies = [
        Company(name="default", config=SimulatorConfig(keys=keys[0], notify_url=NOTIFY_URL), family="payafter"),
        Company(
            name="suzhou",
            config=SimulatorConfig(keys=keys[1], notify_url=NOTIFY_URL, sign_with="public_key"),
            family="serviceorder",
        ),
    ]

    settings = write_accounts(directory, companies, base_url="http://127.0.0.1:8090")
    default, suzhou = read_accounts(Environment(settings))

    assert (default.name, default.merchant.mchid) == ("default", keys[0].mchid)
    assert (suzhou.name, suzhou.merchant.mchid, suzhou.merchant.api_family) == (
        "suzhou",
        keys[1].mchid,
        "serviceorder",
    )
    assert suzhou.merchant.wechatpay_public_key_id == keys[1].public_key_id
    assert keys[0].apiv3_key not in (directory / "accounts.toml").read_text()
    assert (directory / "suzhou.apiv3_key").stat().st_mode & 0o077 == 0
