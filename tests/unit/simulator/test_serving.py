"""Under uvicorn, over real connections: debits and callbacks by themselves, and connections that really break."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from payscore_worker.simulator import (
    Fault,
    FaultKind,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
    uvicorn_config,
)
from payscore_worker.simulator.simulator import utc_now
from tests.served import served

from .bodies import FAMILIES, a_complete, a_create
from .clock import SHANGHAI
from .merchant import Merchant
from .receiver import Receiver


def plainly(app: ASGIApp) -> uvicorn.Config:
    """As somebody would who does not know `uvicorn_config`."""
    return uvicorn.Config(app, lifespan="off", log_config=None)


@asynccontextmanager
async def calling(config: uvicorn.Config, keys: SimulatorKeys) -> AsyncIterator[Merchant]:
    async with served(config) as address, httpx.AsyncClient(base_url=address) as http:
        yield Merchant(http, keys, utc_now)


@pytest.fixture
def simulator(config: SimulatorConfig) -> Simulator:
    return Simulator(config)


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_lost_reply_breaks_the_connection_without_a_byte(
    simulator: Simulator, keys: SimulatorKeys, family: str
) -> None:
    simulator.add_fault(Fault(FaultKind.DROP_REPLY))
    async with calling(uvicorn_config(create_app(simulator)), keys) as merchant:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await merchant.create(family, a_create(family))
        assert simulator.orders_created == ["trip-1"]
        assert (await merchant.create(family, a_create(family))).status_code == 200


async def test_a_lost_reply_leaves_no_bytes_on_the_wire(simulator: Simulator, keys: SimulatorKeys) -> None:
    simulator.add_fault(Fault(FaultKind.DROP_REPLY))
    target = "/v3/certificates"
    async with served(uvicorn_config(create_app(simulator))) as address:
        port = int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        authorization = Merchant(httpx.AsyncClient(), keys, utc_now).authorization("GET", target, b"")
        writer.write(f"GET {target} HTTP/1.1\r\nHost: simulator\r\nAuthorization: {authorization}\r\n\r\n".encode())
        try:
            answered = await reader.read()
        except ConnectionResetError:
            answered = b""
        writer.close()
    assert answered == b""


async def test_a_lost_reply_breaks_the_connection_of_any_server(simulator: Simulator, keys: SimulatorKeys) -> None:
    simulator.add_fault(Fault(FaultKind.DROP_REPLY))
    async with calling(plainly(create_app(simulator)), keys) as merchant:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await merchant.create("payafter", a_create("payafter"))
    assert simulator.orders_created == ["trip-1"]


async def test_an_answer_has_one_date(simulator: Simulator, keys: SimulatorKeys) -> None:
    async with calling(uvicorn_config(create_app(simulator)), keys) as merchant:
        response = await merchant.get("/v3/certificates")
    assert len(response.headers.get_list("date")) == 1
    assert "server" not in response.headers


async def test_once_entered_debits_and_callbacks_happen_by_themselves(
    config: SimulatorConfig, keys: SimulatorKeys, receiver: Receiver
) -> None:
    today = utc_now().astimezone(SHANGHAI).strftime("%Y%m%d")
    async with served(plainly(receiver)) as receiving:
        hurried = dataclasses.replace(config, notify_url=f"{receiving}/notify/payscore", pay_after_seconds=0)
        async with (
            Simulator(hurried) as simulator,
            calling(uvicorn_config(create_app(simulator)), keys) as merchant,
            asyncio.timeout(60),
        ):
            await merchant.create("payafter", a_create("payafter", service_start_time=today))
            response = await merchant.complete("payafter", "trip-1", a_complete("payafter", today))
            assert response.status_code == 200, response.text
            arrival = await receiver.next_arrival()
    assert arrival.resource["state"] == "USER_PAID"
    assert simulator.ledger().orders["trip-1"].charged_fen == 3200


async def test_a_receiver_that_hangs_does_not_hold_up_the_others(config: SimulatorConfig, receiver: Receiver) -> None:
    receiver.answers = [asyncio.Event()]
    async with receiver.client() as http, Simulator(config, http=http) as simulator, asyncio.timeout(60):
        simulator.open_service("passenger-1")
        simulator.open_service("passenger-2")
        arrived = [await receiver.next_arrival() for _ in range(2)]
    assert {arrival.resource["openid"] for arrival in arrived} == {"passenger-1", "passenger-2"}


async def test_a_simulator_that_broke_says_so_when_it_is_left(
    config: SimulatorConfig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver.client() as http:
        simulator = Simulator(config, http=http)
        monkeypatch.setattr(simulator._world.agenda, "run_due", no_such_thing)
        await simulator.__aenter__()
        assert simulator._running
        await asyncio.wait([simulator._running], timeout=60)
        with pytest.raises(ExceptionGroup) as broken:
            await simulator.__aexit__(None, None, None)
    assert broken.group_contains(LookupError)


def no_such_thing() -> None:
    raise LookupError
