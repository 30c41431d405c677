"""Authorisations on the command line: shown with what people did about them, and ended with a reason."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from payscore_worker.cli import authorisations as commands
from payscore_worker.cli import cli
from payscore_worker.domain.authorisation import authorization_code_for, number_of_passenger
from payscore_worker.errors import Rejected
from payscore_worker.oversight.explain import explain
from payscore_worker.settings import Environment
from payscore_worker.settlement.authorisations import Authorisations
from payscore_worker.settlement.authorising import Authorising
from payscore_worker.simulator import Behaviour, Passenger
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.authorisations import END
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from payscore_worker.storage.tables import authorisation
from tests.integration.databases import make_tables
from tests.integration.relabelling import says
from tests.integration.settlement.town import Town, a_town
from tests.unit.test_accounts import KEY, MEMBERS, OTHER, PEM, toml


class Terminal:
    """Types commands against a town, as if it were the one of the settings."""

    def __init__(self, town: Town, url: str) -> None:
        self.town = town
        self.url = url

    async def types(self, *words: str) -> Result:
        return await asyncio.to_thread(self._run, words)

    def _run(self, words: tuple[str, ...]) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commands, "_authorising", self._authorising)
            patch.setenv("PAYSCORE_DATABASE_URL", self.url)
            patch.setenv("COLUMNS", "200")
            return CliRunner().invoke(cli, words)

    @asynccontextmanager
    async def _authorising(self, _environment: Environment) -> AsyncIterator[Authorising]:
        storage = await open_storage(self.url)
        authorisations = Authorisations(
            storage=storage,
            payscores=self.town.payscores,
            settlement=self.town.another_settlement(),
            prefix="",
            clock=self.town.clock,
        )
        async with engine_for(self.url) as engine:
            yield Authorising(authorisations=authorisations, actions=Actions(engine), clock=self.town.clock)
        await storage.aclose()


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    async with a_town(storage, "serviceorder") as town:
        await town.wants()
        yield Terminal(town, url)
    await storage.aclose()


def document_in(done: Result) -> dict[str, Any]:
    """Read what was printed, below the log lines of a test."""
    document: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    return document


async def test_what_a_passenger_has_authorised_is_shown(terminal: Terminal) -> None:
    done = await terminal.types("authorisation", "show", "oPassenger")

    assert done.exit_code == 0
    assert authorization_code_for("q1") in done.output
    assert "OPEN" in done.output
    assert "oPassenger" not in done.output


async def test_of_a_passenger_that_nothing_is_known_of_that_is_said(terminal: Terminal) -> None:
    done = await terminal.types("authorisation", "show", "oStranger")

    assert (done.exit_code, done.output) == (1, "nothing is known of this passenger's authorisations\n")


async def test_an_authorisation_is_ended_and_who_did_it_and_why_is_shown(terminal: Terminal) -> None:
    done = await terminal.types(
        "authorisation", "end", "oPassenger", "--reason", "乘客来电", "--as", "li", "--yes", "--json"
    )

    assert done.exit_code == 0
    (ended,) = document_in(done)["authorisations"]
    assert (ended["state"], ended["ends"]) == ("CLOSED", False)
    assert terminal.town.simulator.passenger("oPassenger").behaviour is Behaviour.NOT_ENABLED
    shown = document_in(await terminal.types("authorisation", "show", "oPassenger", "--json"))
    (action,) = shown["actions"]
    assert (action["who"], action["reason"], action["outcome"]) == ("li", "乘客来电", "done")
    assert [one["state"] for one in shown["authorisations"]] == ["CLOSED"]


async def test_nobody_is_ended_without_being_asked_once_more(terminal: Terminal) -> None:
    done = await terminal.types("authorisation", "end", "oPassenger", "--reason", "乘客来电")

    assert done.exit_code == 2
    assert terminal.town.calls_made("terminate_permission") == 0


async def test_an_end_that_wechat_pay_refuses_is_shown_as_what_it_waits_for(terminal: Terminal) -> None:
    terminal.town.refuse("terminate_permission", "INVALID_REQUEST", "存在未完成订单")

    done = await terminal.types("authorisation", "end", "oPassenger", "--reason", "乘客来电", "--yes", "--json")

    assert done.exit_code == 1
    (waits,) = document_in(done)["authorisations"]
    assert (waits["state"], waits["ends"], waits["refused"]) == ("OPEN", True, "INVALID_REQUEST: 存在未完成订单")


async def test_a_passenger_whom_we_never_heard_of_may_be_ended(terminal: Terminal) -> None:
    terminal.town.simulator.set_passenger("oStranger", Passenger(Behaviour.PAYS))

    done = await terminal.types("authorisation", "end", "oStranger", "--reason", "乘客来电", "--yes")

    assert done.exit_code == 0
    assert terminal.town.simulator.passenger("oStranger").behaviour is Behaviour.NOT_ENABLED


# --- Several accounts ---


@pytest.fixture
async def two_accounts(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Have the passenger authorise another account, too."""
    own = {**MEMBERS, "mchid": terminal.town.payscore.terms.mchid}
    (tmp_path / "key.pem").write_text(PEM)
    (tmp_path / "apiv3").write_text(KEY)
    (tmp_path / "accounts.toml").write_text(toml({"south": OTHER, "north": own | {"default": True}}))
    monkeypatch.setenv("PAYSCORE_ACCOUNTS_FILE", str(tmp_path / "accounts.toml"))
    await terminal.town.wants("q2")
    async with engine_for(terminal.url) as engine:
        code = authorization_code_for("q2")
        await says(engine, authorisation.c.terms, code, mchid=OTHER["mchid"])
        action = Action(who="li", action=END, queue="", target=numbers("south"), reason="乘客来电")
        async with Actions(engine).recorded_for_one(action, terminal.town.clock):
            pass
    return terminal


def numbers(account: str) -> str:
    return number_of_passenger({"north": "oPassenger", "south": f"{OTHER['mchid']}/oPassenger"}[account])


async def shown(terminal: Terminal, *words: str) -> dict[str, list[tuple[str, str]]]:
    document = document_in(await terminal.types("authorisation", "show", "oPassenger", "--json", *words))
    return {
        "authorisations": [(one["account"], one["request_id"]) for one in document["authorisations"]],
        "actions": [(one["account"], one["reason"]) for one in document["actions"]],
    }


async def test_what_a_passenger_has_authorised_is_shown_with_whose_it_is(two_accounts: Terminal) -> None:
    found = await shown(two_accounts)

    assert sorted(found["authorisations"]) == [("north", "q1"), ("south", "q2")]
    assert found["actions"] == [("south", "乘客来电")]


async def test_what_was_authorised_one_account_alone_is_shown_where_that_is_named(two_accounts: Terminal) -> None:
    assert await shown(two_accounts, "--account", "north") == {"authorisations": [("north", "q1")], "actions": []}
    assert await shown(two_accounts, "--account", "south") == {
        "authorisations": [("south", "q2")],
        "actions": [("south", "乘客来电")],
    }


async def test_an_account_that_there_is_not_is_named_with_those_that_there_are(two_accounts: Terminal) -> None:
    done = await two_accounts.types("authorisation", "show", "oPassenger", "--account", "west")

    assert isinstance(done.exception, Rejected)
    assert str(done.exception) == "account: there is no account 'west'; there are north, south"


async def test_nothing_is_ended_and_nothing_recorded_for_an_account_that_there_is_not(terminal: Terminal) -> None:
    done = await terminal.types(
        *("authorisation", "end", "oPassenger", "--account", "west", "--reason", "乘客来电", "--yes")
    )

    assert isinstance(done.exception, Rejected)
    assert str(done.exception) == "account: there is no account 'west'; there are default"
    assert terminal.town.calls_made("terminate_permission") == 0
    assert document_in(await terminal.types("authorisation", "show", "oPassenger", "--json"))["actions"] == []


async def test_the_story_of_a_declined_trip_tells_of_the_token_that_was_asked_for(terminal: Terminal) -> None:
    town = terminal.town
    town.simulator.set_passenger("oStranger", Passenger(Behaviour.NOT_ENABLED))
    await town.starts("t9", openid="oStranger")
    await town.passes(10)

    async with engine_for(terminal.url) as engine:
        story = await explain(Reports(engine), "t9")

    assert "pre_authorise" in repr(story)
    ((_, declined),) = [one for one in await town.announced() if one[0] == "settlement.declined"]
    assert declined["enable"]["extraData"]["apply_permissions_token"] not in repr(story)
