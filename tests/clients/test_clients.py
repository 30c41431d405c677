"""Clients that others wrote, given another base URL and nothing else, do all of PayScore at the simulator.

They sign, verify and decrypt by code that neither the worker nor the simulator knows: a third opinion.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from payscore_worker.simulator import (
    Behaviour,
    Fault,
    FaultKind,
    Passenger,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
    uvicorn_config,
)
from payscore_worker.simulator.service_time import SHANGHAI
from tests.clients.homes import HERE, Missing, node_home, python_home
from tests.clients.merchant import Json, Merchant, a_merchant
from tests.served import served

OPENID: Final = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
CALLBACK_SECONDS: Final = 20.0
"""Of a busy machine; the simulator looks twenty times a second whether one is due."""

pytestmark = [
    pytest.mark.timeout(400),  # the first test that needs a client installs it
    pytest.mark.asyncio(loop_scope="module"),
]

SignWith = Literal["certificate", "public_key"]


def wechatpayv3() -> list[str]:
    return [str(python_home() / "bin" / "python"), str(HERE / "wechatpayv3_merchant.py")]


def axios_plugin() -> list[str]:
    return ["node", str(HERE / "axios_plugin_merchant.mjs"), str(node_home())]


CLIENTS: Final[dict[str, Callable[[], list[str]]]] = {
    "wechatpayv3": wechatpayv3,
    "wechatpay-axios-plugin": axios_plugin,
}


class Receiver:
    """Takes callbacks as they come, raw."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Json] = asyncio.Queue()
        self.app = Starlette(routes=[Route("/notify/payscore", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        self._arrived.put_nowait({"headers": dict(request.headers), "body": (await request.body()).decode()})
        return Response()

    def forget(self) -> None:
        while not self._arrived.empty():
            self._arrived.get_nowait()

    async def next(self) -> Json:
        async with asyncio.timeout(CALLBACK_SECONDS):
            return await self._arrived.get()


class Desk:
    """A simulator, where its callbacks arrive, and a merchant who knows nothing of either but addresses and keys."""

    def __init__(self, simulator: Simulator, receiver: Receiver, merchant: Merchant) -> None:
        self.simulator, self.receiver, self.merchant = simulator, receiver, merchant
        self.service = {"service_id": simulator.config.keys.service_id}

    async def hears(self, event_type: str) -> Json:
        """The decrypted resource of the next callback, by the client."""
        told = (await self.merchant.answer("callback", **await self.receiver.next()))["told"]
        assert told is not None, f"{event_type}: the client does not believe the callback"
        assert told["event_type"] == event_type
        resource: Json = told["resource"]
        return resource

    async def order(self, verb: str, number: str, /, **said: Any) -> Any:
        return await self.merchant.does(verb, out_order_no=number, **self.service, **said)

    async def created(self, number: str) -> Json:
        """By the day, so that nothing has to wait for a second to pass between start and end."""
        order: Json = await self.order(
            "create",
            number,
            service_introduction="网约车出行",
            time_range={"start_time": today()},
            risk_fund={"name": "ESTIMATE_ORDER_COST", "amount": 20000},
            need_user_confirm=False,
            openid=OPENID,
            attach="city%3D%E6%B7%B1%E5%9C%B3",
        )
        return order

    async def completed(self, number: str, total: int = 3200) -> Json:
        order: Json = await self.order("complete", number, time_range={"end_time": today()}, **priced(total))
        return order


@pytest.fixture(scope="module", params=CLIENTS)
def words(request: pytest.FixtureRequest) -> list[str]:
    """How to start the client."""
    try:
        return CLIENTS[request.param]()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def keys() -> SimulatorKeys:
    return SimulatorKeys.generate()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["certificate", "public_key"])
async def one_desk(request: pytest.FixtureRequest, words: list[str], keys: SimulatorKeys) -> AsyncIterator[Desk]:
    """Starting a client takes longer than all that is asked of it."""
    sign_with: SignWith = request.param
    receiver = Receiver()
    config = SimulatorConfig(
        keys=keys,
        notify_url="http://receiver/notify/payscore",
        sign_with=sign_with,
        pay_after_seconds=0,
        refund_after_seconds=0,
    )
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(receiver.app)) as http,
        Simulator(config, http=http) as simulator,
        served(uvicorn_config(create_app(simulator))) as base_url,
        a_merchant(words, known_to_the_merchant(config, base_url)) as merchant,
    ):
        yield Desk(simulator, receiver, merchant)


@pytest.fixture
def desk(one_desk: Desk) -> Desk:
    """Where nothing has happened yet."""
    one_desk.simulator.reset()
    one_desk.receiver.forget()
    return one_desk


def known_to_the_merchant(config: SimulatorConfig, base_url: str) -> Json:
    keys = config.keys
    return {
        "base_url": base_url,
        "notify_url": config.notify_url,
        "sign_with": config.sign_with,
        "mchid": keys.mchid,
        "appid": keys.appid,
        "serial_no": keys.merchant.serial_no,
        "private_key": keys.merchant_private_key_pem,
        "apiv3_key": keys.apiv3_key,
        "public_key_id": keys.public_key_id,
        "public_key": keys.public_key_pem,
        "platform_serial_no": keys.platform.serial_no,
        "platform_certificate": keys.platform.certificate_pem,
    }


def today() -> str:
    return datetime.now(SHANGHAI).strftime("%Y%m%d")


def priced(total: int) -> Json:
    return {"post_payments": [{"name": "车费", "amount": total}], "total_amount": total}


async def test_a_passenger_authorises_and_ends_it(desk: Desk) -> None:
    code = {"authorization_code": "agreement-1"}
    asked = await desk.merchant.does("pre_authorise", **desk.service, **code)
    shown = await desk.merchant.does("query_permission", **desk.service, **code)
    assert shown["authorization_state"] == "UNBINDUSER"
    desk.simulator.enable(asked["apply_permissions_token"], OPENID)
    opened = await desk.hears("PAYSCORE.USER_OPEN_SERVICE")
    assert (opened["openid"], opened["authorization_code"]) == (OPENID, "agreement-1")
    shown = await desk.merchant.does("query_permission", **desk.service, openid=OPENID)
    assert (shown["authorization_state"], shown["authorization_code"]) == ("AVAILABLE", "agreement-1")
    # By its openid: the path by which wechatpayv3 would end one by its code lacks the first slash.
    await desk.merchant.does("terminate_permission", **desk.service, openid=OPENID, reason="乘客注销")
    assert (await desk.hears("PAYSCORE.USER_CLOSE_SERVICE"))["openid"] == OPENID
    shown = await desk.merchant.does("query_permission", **desk.service, **code)
    assert shown["authorization_state"] == "UNAVAILABLE"


async def test_an_order_is_completed_lowered_paid_and_refunded(desk: Desk) -> None:
    desk.simulator.set_order("trip-1", Passenger(Behaviour.PAYS_LATE, seconds=3600))
    created = await desk.created("trip-1")
    assert (created["state"], created["state_description"]) == ("DOING", "USER_CONFIRM")
    assert (await desk.completed("trip-1"))["state_description"] == "MCH_COMPLETE"
    lowered = await desk.order("modify", "trip-1", reason="绕路减免", **priced(3000))
    assert lowered["collection"]["paying_amount"] == 3000
    await desk.order("pay", "trip-1")
    desk.simulator.pay("trip-1")
    paid = await desk.hears("PAYSCORE.USER_PAID")
    assert (paid["state"], paid["collection"]["paid_amount"]) == ("DONE", 3000)
    shown = await desk.order("query", "trip-1")
    assert (shown["state"], shown["attach"]) == ("DONE", "city%3D%E6%B7%B1%E5%9C%B3")
    (debit,) = shown["collection"]["details"]
    await sends_money_back(desk, debit["transaction_id"])


async def sends_money_back(desk: Desk, transaction_id: str) -> None:
    told = await desk.merchant.does("query_transaction", transaction_id=transaction_id)
    assert (told["trade_state"], told["amount"]["total"]) == ("SUCCESS", 3000)
    amount = {"refund": 1000, "total": 3000, "currency": "CNY"}
    refund = {"transaction_id": transaction_id, "out_refund_no": "refund-1", "reason": "绕路", "amount": amount}
    accepted = await desk.merchant.does("refund", **refund)
    assert accepted["status"] == "PROCESSING"
    assert (await desk.merchant.does("refund", **refund))["refund_id"] == accepted["refund_id"]
    succeeded = await desk.hears("REFUND.SUCCESS")
    assert (succeeded["refund_id"], succeeded["amount"]["refund"]) == (accepted["refund_id"], 1000)
    assert (await desk.merchant.does("query_refund", out_refund_no="refund-1"))["status"] == "SUCCESS"
    assert (await desk.merchant.does("query_transaction", transaction_id=transaction_id))["trade_state"] == "REFUND"
    assert desk.simulator.ledger_entry("trip-1").refunded_fen == 1000


async def test_an_order_of_the_legacy_family_is_completed_and_paid(desk: Desk) -> None:
    ours = desk.service | {"appid": desk.simulator.config.keys.appid}
    path = "/v3/payscore/payafter-orders"
    trip = {
        "out_order_no": "trip-1",
        "service_start_time": today(),
        "service_introduction": "网约车出行",
        "risk_amount": 20000,
        "need_user_confirm": False,
        "openid": OPENID,
    }
    await desk.merchant.does("by_path", path=path, body=ours | trip)
    shown = await desk.merchant.does("by_path", path=f"{path}?{urlencode(ours | {'out_order_no': 'trip-1'})}")
    end = {
        "finish_type": 2,
        "finish_ticket": shown["finish_ticket"],
        "real_service_end_time": today(),
        "fees": [{"fee_name": "车费", "fee_amount": 3200}],
        "total_amount": 3200,
    }
    await desk.merchant.does("by_path", path=f"{path}/trip-1/complete", body=ours | end)
    paid = await desk.hears("PAYSCORE.USER_PAID")
    assert (paid["state"], paid["total_amount"]) == ("USER_PAID", 3200)
    assert desk.simulator.ledger_entry("trip-1").charged_fen == 3200


async def test_an_order_is_cancelled(desk: Desk) -> None:
    await desk.created("trip-1")
    await desk.order("cancel", "trip-1", reason="司机取消")
    assert (await desk.order("query", "trip-1"))["state"] == "REVOKED"


async def test_a_refusal_reads_as_one(desk: Desk) -> None:
    await desk.created("trip-1")
    refused = await desk.merchant.is_refused("query", out_order_no="trip-2", **desk.service)
    assert refused == (404, "ORDER_NOT_EXIST", "查询单据不存在")
    desk.simulator.set_order("trip-1", Passenger(Behaviour.NEVER_PAYS))
    await desk.completed("trip-1")
    again = {"time_range": {"end_time": today()}, **priced(3100)}
    refused = await desk.merchant.is_refused("complete", out_order_no="trip-1", **desk.service, **again)
    assert refused == (400, "PARAM_ERROR", "订单重入参数校验失败")


async def test_an_answer_that_does_not_verify_is_not_believed(desk: Desk) -> None:
    await desk.created("trip-1")
    for kind in (FaultKind.BAD_SIGNATURE, FaultKind.WRONG_SERIAL, FaultKind.SIGNTEST):
        desk.simulator.add_fault(Fault(kind, call="query"))
        answer = await desk.merchant.answer("query", out_order_no="trip-1", **desk.service)
        assert "failed to verify the signature" in answer["error"] or answer["error"].startswith("EV3_RES_HEADER_")
    assert (await desk.order("query", "trip-1"))["state"] == "DOING"


async def test_a_callback_that_does_not_verify_is_not_believed(desk: Desk) -> None:
    desk.simulator.add_fault(Fault(FaultKind.CALLBACK_FORGED_FIRST))
    desk.simulator.close_service(OPENID)
    assert (await desk.merchant.answer("callback", **await desk.receiver.next()))["told"] is None
    assert (await desk.hears("PAYSCORE.USER_CLOSE_SERVICE"))["openid"] == OPENID
