from collections.abc import AsyncIterator

import httpx
import pytest

from payscore_worker.simulator import Simulator, SimulatorConfig, SimulatorKeys, create_app

from .bodies import NOTIFY_URL
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver
from .refunding import ride


@pytest.fixture(scope="session")
def keys() -> SimulatorKeys:
    return SimulatorKeys.generate()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config(keys: SimulatorKeys) -> SimulatorConfig:
    return SimulatorConfig(keys=keys, notify_url=NOTIFY_URL)


@pytest.fixture
def receiver(keys: SimulatorKeys) -> Receiver:
    return Receiver(keys)


@pytest.fixture
async def simulator(config: SimulatorConfig, clock: Clock, receiver: Receiver) -> AsyncIterator[Simulator]:
    async with receiver.client() as http:
        yield Simulator(config, clock=clock, http=http)


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(simulator))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
        yield client


@pytest.fixture
def merchant(http: httpx.AsyncClient, keys: SimulatorKeys, clock: Clock) -> Merchant:
    return Merchant(http, keys, clock)


@pytest.fixture
async def transaction_id(merchant: Merchant, simulator: Simulator, clock: Clock) -> str:
    """Of trip-1, which is paid."""
    return await ride(merchant, simulator, clock)
