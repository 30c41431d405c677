"""What is a switch because the documents say both: each is played as the one and as the other."""

import dataclasses

import httpx
import pytest

from payscore_worker.simulator import SimulatorConfig

from .bodies import a_complete, a_create
from .clock import Clock
from .merchant import Merchant
from .refusals import field_of


async def stated(merchant: Merchant, path: str) -> httpx.Response:
    return await merchant.get(path, openid="passenger-1", **merchant.ours())


async def test_a_path_has_its_version(merchant: Merchant) -> None:
    assert (await stated(merchant, "/v3/payscore/user-service-state")).status_code == 200
    assert (await stated(merchant, "/payscore/user-service-state")).status_code == 404


class TestPathsWithoutVersion:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, paths_without_version=True)

    async def test_a_path_may_do_without(self, merchant: Merchant) -> None:
        for version in ("", "/v3"):
            assert (await stated(merchant, f"{version}/payscore/user-service-state")).status_code == 200
        body = merchant.ours() | a_create("serviceorder")
        assert (await merchant.post("/payscore/serviceorder", body)).status_code == 200

    async def test_what_is_signed_is_the_path_that_is_asked(self, merchant: Merchant) -> None:
        target = "/payscore/user-service-state"
        other = {"Authorization": merchant.authorization("GET", f"/v3{target}", b"")}
        assert (await merchant.send("GET", target, headers=other)).status_code == 401


class TestLongPlaces:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, location_characters=50)

    async def test_a_place_has_fifty_characters(self, merchant: Merchant, clock: Clock) -> None:
        for trip, place, status in (("trip-1", "站" * 50, 200), ("trip-2", "站" * 51, 400)):
            response = await merchant.create(
                "serviceorder", a_create("serviceorder", trip, location__start_location=place)
            )
            assert response.status_code == status, response.text
        clock.advance(600)
        ended = {"location": {"end_location": "站" * 51}}
        refused = await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text(), **ended))
        assert field_of(refused) == "/location/end_location"
        ended = {"location": {"end_location": "站" * 50}}
        response = await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text(), **ended))
        assert response.status_code == 200, response.text
