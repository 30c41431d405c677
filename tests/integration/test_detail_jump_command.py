"""`trip detail-jump`: what opens WeChat Pay's page of an order, signed; or the one line that says why not."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from click.testing import CliRunner, Result

from payscore_worker.cli.trips import trip
from payscore_worker.simulator.environment import environment
from payscore_worker.storage.database import open_storage
from tests.integration.databases import make_tables
from tests.integration.settlement.town import Town, a_town, simulator_keys


class Terminal:
    """Types `trip detail-jump` against the database of a town, with the settings of its merchant."""

    def __init__(self, town: Town, url: str) -> None:
        self.town = town
        config = town.simulator.config
        self.settings = environment(config, base_url="http://127.0.0.1:9", family="serviceorder") | {
            "PAYSCORE_DATABASE_URL": url
        }

    async def types(self, name: str, *, without: str = "") -> Result:
        given = {known: "" if known == without else value for known, value in self.settings.items()}
        return await asyncio.to_thread(CliRunner(env=given).invoke, trip, ["detail-jump", name])


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    async with a_town(storage, "serviceorder") as town:
        await town.starts()
        yield Terminal(town, url)
    await storage.aclose()


async def test_what_opens_the_page_of_an_order_is_signed_and_is_all_that_is_printed(terminal: Terminal) -> None:
    done = await terminal.types("t1")

    assert done.exit_code == 0, done.output
    jump = json.loads(done.stdout)
    said, keys = jump["extraData"], simulator_keys()
    assert jump["businessType"] == "wxpayScoreDetail"
    assert (said["mch_id"], said["service_id"], said["out_order_no"]) == (keys.mchid, keys.service_id, "t1")
    assert terminal.town.simulator.pages.details(said, "oPassenger").out_order_no == "t1"
    assert dict(parse_qsl(jump["queryString"])) == said
    assert keys.apiv2_key not in done.output


async def test_without_the_key_that_signs_it_the_setting_is_named(terminal: Terminal) -> None:
    done = await terminal.types("t1", without="PAYSCORE_APIV2_KEY")

    assert done.exit_code == 1
    assert done.output == "error: PAYSCORE_APIV2_KEY is not set: it signs what opens a page of PayScore\n"


async def test_of_a_trip_without_an_order_and_of_none_that_is_said(terminal: Terminal) -> None:
    await terminal.town.ends("t2")

    assert (await terminal.types("t2")).output == "error: trip 't2' has no order at WeChat Pay\n"
    assert (await terminal.types("t3")).output == "error: no trip 't3'\n"
