"""What docs/simulator.md lists is what there is, and its commands work."""

import dataclasses
import re
import shlex
from pathlib import Path

import httpx
import pytest

from payscore_worker.simulator import Behaviour, FaultKind, RefundOutcome, Simulator, SimulatorConfig
from payscore_worker.simulator.admin import admin_routes

from .bodies import a_complete, a_create
from .clock import Clock
from .merchant import Merchant

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """Of the table whose head begins so."""
    rows = PAGE.partition(f"| {heading} |")[2].split("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip().strip("`") for row in rows]


def test_every_behaviour_is_listed() -> None:
    assert set(first_column("behaviour")) == set(Behaviour)


def test_every_outcome_of_a_refund_is_listed() -> None:
    assert first_column("`refund`") == list(RefundOutcome)


def test_every_fault_is_listed() -> None:
    assert first_column("fault") == list(FaultKind)


def test_every_setting_is_listed() -> None:
    assert first_column("`SimulatorConfig`") == [field.name for field in dataclasses.fields(SimulatorConfig)]


def test_every_admin_call_is_listed(simulator: Simulator) -> None:
    listed = set(re.findall(r"^\| `(GET|PUT|POST|DELETE) (/admin/\S+)` \|", PAGE, re.MULTILINE))
    routes = admin_routes(simulator)
    assert listed == {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}


COMMANDS = re.findall(r"^curl .*$", PAGE, re.MULTILINE)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_of_the_page_works(
    http: httpx.AsyncClient, merchant: Merchant, clock: Clock, command: str
) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    words = shlex.split(command)[1:]
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    body = words[words.index("-d") + 1] if "-d" in words else None
    (url,) = (word for word in words if word.startswith("http"))
    response = await http.request(method, url, content=body)
    assert response.status_code == 200, response.text
