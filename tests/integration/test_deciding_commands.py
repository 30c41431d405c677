"""What a person decides on the command line: shown first, asked once more, recorded; bad input changes nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from payscore_worker.cli import deciding as commands
from payscore_worker.cli import desk as cli_desk
from payscore_worker.cli.trips import trip
from payscore_worker.domain.decisions import Decision, Verb
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import IllegalTransition, Rejected
from payscore_worker.oversight.explain import Decided, explain
from payscore_worker.settings import Environment
from payscore_worker.settlement.deciding import Deciding
from payscore_worker.settlement.trip_calls import Run
from payscore_worker.settlement.trips import Settlement
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from tests.integration.databases import make_tables
from tests.integration.settlement.town import TERMS, Town, a_town, no_sleep

WHY = "checked with the passenger"


class Terminal:
    """Types commands against a town, as if it were the one of the settings."""

    def __init__(self, town: Town, url: str) -> None:
        self.town = town
        self.url = url

    async def types(self, *words: str, answers: str | None = None) -> Result:
        """Run `trip ...`; `answers`: a person sits there and types them."""
        return await asyncio.to_thread(self._run, words, answers)

    def _run(self, words: tuple[str, ...], answers: str | None) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commands, "_deciding", self._deciding)
            if answers is not None:
                patch.setattr(cli_desk, "is_somebody_there", lambda: True)
            return CliRunner().invoke(trip, words, input=answers)

    @asynccontextmanager
    async def _deciding(self, _environment: Environment) -> AsyncIterator[tuple[Deciding, Reports]]:
        storage = await open_storage(self.url)
        settlement = Settlement(
            storage=storage, payscores=self.town.payscores, rules=self.town.rules, terms=TERMS, clock=self.town.clock
        )
        async with engine_for(self.url) as engine:
            yield (
                Deciding(settlement=settlement, actions=Actions(engine), clock=self.town.clock, pause=no_sleep),
                Reports(engine),
            )
        await storage.aclose()

    async def actions(self, trip_id: str = "t1") -> list[tuple[str, str, str, str]]:
        async with engine_for(self.url) as engine:
            rows = await Reports(engine).actions_on(trip_id)
        return [(row["who"], row["action"], row["reason"], row["outcome"]) for row in rows]


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    async with a_town(storage, "payafter") as town:
        await town.payscore.service_enabled("oPassenger")  # fetches the keys in this loop, and not in a command's
        yield Terminal(town, url)
    await storage.aclose()


def document_in(done: Result) -> dict[str, Any]:
    """Read what was printed, below the log lines of a test."""
    document: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    return document


async def a_lowered_fare(town: Town) -> None:
    town.listening = False
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.simulator.lower("t1", 3_000)
    town.simulator.pay("t1")
    await town.passes(60)


async def test_a_decision_is_shown_asked_about_once_more_done_and_recorded(terminal: Terminal) -> None:
    await a_lowered_fare(terminal.town)

    done = await terminal.types("accept", "t1", "--reason", WHY, "--as", "wang", answers="y\n")

    assert done.exit_code == 0, done.output
    for word in ("amount_differs", "DONE, paid 3000 of 3000 fen", "Do it? [y/N]", "PAID"):
        assert word in done.output
    assert await terminal.town.state() is TripState.PAID
    assert await terminal.actions() == [("wang", "trip accept", WHY, "done")]


async def test_a_fare_that_is_collected_is_waived(terminal: Terminal) -> None:
    terminal.town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await terminal.town.rides()

    done = await terminal.types("waive", "t1", "--reason", WHY, "--as", "wang", answers="y\n")

    assert "COLLECTING, paid 0 of 3200 fen" in done.output
    assert (
        "WeChat Pay is told to collect no more; the trip then ends CANCELLED: 3200 fen are written off" in done.output
    )
    assert await terminal.actions() == [("wang", "trip waive", WHY, "done")]
    trip = await terminal.town.trip()
    assert (trip.state, trip.waived is None) == (TripState.COMPLETED, False), "its first refusal is anybody's"


async def test_a_family_that_cannot_be_asked_to_collect_is_named_before_anybody_is_asked(terminal: Terminal) -> None:
    terminal.town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await terminal.town.rides()

    result = await terminal.types("pay", "t1", "--reason", WHY, answers="y\n")

    assert result.exit_code == 1
    assert "a family that has no call for it" in result.output
    assert terminal.town.calls_made("pay") == 0


async def test_who_says_no_changes_nothing(terminal: Terminal) -> None:
    await a_lowered_fare(terminal.town)

    done = await terminal.types("accept", "t1", "--reason", WHY, answers="n\n")

    assert done.exit_code == 1
    assert "nothing is done" in done.output
    assert await terminal.town.state() is TripState.COMPLETED
    assert await terminal.actions() == []


async def test_without_a_terminal_and_without_yes_nothing_is_done(terminal: Terminal) -> None:
    await terminal.town.ends()

    done = await terminal.types("cancel", "t1", "--reason", WHY)

    assert done.exit_code == 2
    assert "say --yes" in done.output
    assert await terminal.town.state() is TripState.NOTED


async def test_a_script_says_yes_and_reads_one_document(terminal: Terminal) -> None:
    await a_lowered_fare(terminal.town)

    done = await terminal.types("accept", "t1", "--reason", WHY, "--yes", "--json")

    document = document_in(done)
    assert (document["done"], document["state"], document["accepted_fen"]) == (True, "PAID", 3_000)
    assert document["was"]["problem"]["code"] == "amount_differs"
    assert (document["wechatpay"]["order"], document["wechatpay"]["paid_fen"]) == ("DONE", 3_000)


async def test_what_wechats_word_forbids_is_refused_before_anybody_is_asked(terminal: Terminal) -> None:
    await terminal.town.starts()

    done = await terminal.types("write-off", "t1", "--reason", WHY, "--yes")

    assert done.exit_code == 1
    assert "error: the order runs, and can still be completed: cancel ends it without a charge" in done.output
    assert await terminal.actions() == []


async def test_why_wechat_could_not_be_asked_is_said_and_nothing_is_done(terminal: Terminal) -> None:
    await terminal.town.ends()
    terminal.town.fault(FaultKind.UNAVAILABLE, "query", times=None)

    done = await terminal.types("cancel", "t1", "--reason", WHY, "--yes")

    assert done.exit_code == 1
    assert "could not be asked: HTTP 503" in done.output
    assert await terminal.town.state() is TripState.NOTED


async def test_a_trip_that_nobody_knows_is_named(terminal: Terminal) -> None:
    done = await terminal.types("cancel", "t9", "--reason", WHY, "--yes")

    assert isinstance(done.exception, Rejected)
    assert str(done.exception) == "trip 't9' is not known"


@pytest.mark.parametrize(
    "words",
    [
        ("cancel", "t1", "--yes"),
        ("cancel", "t1", "--yes", "--reason", ""),
        ("cancel", "t1", "--yes", "--reason", "x" * 301),
        ("cancel", "t1", "--yes", "--reason", "two\nlines"),
        ("cancel", "t1", "--yes", "--reason", "half a \ud83d character"),
        ("cancel", "t1", "--yes", "--reason", WHY, "--as", "x" * 41),
        ("clear-problem",),
        ("clear-problem", "--code", "PARAM_ERROR"),
        ("clear-problem", "--all"),
        ("clear-problem", "t1", "--code", "PARAM_ERROR", "--all"),
    ],
)
async def test_slips_are_named_and_change_nothing(terminal: Terminal, words: tuple[str, ...]) -> None:
    await terminal.town.ends()

    done = await terminal.types(*words)

    assert done.exit_code == 2, done.output
    assert await terminal.town.state() is TripState.NOTED


# --- Clearing many ---


async def with_problems(town: Town, count: int) -> None:
    for number in range(count):
        trip_id = f"t{number:03}"
        await town.starts(trip_id, openid=f"oPassenger{number}")
        await town.settlement._steps.stop(Run(await town.trip(trip_id)), "PARAM_ERROR", "参数错误", step="OpenOrder")


async def test_many_problems_are_previewed_and_cleared_each_with_its_record(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.settlement.deciding.BATCH", 5)
    await with_problems(terminal.town, 12)

    done = await terminal.types(
        "clear-problem", "--code", "PARAM_ERROR", "--all", "--reason", WHY, "--as", "li", answers="y\n"
    )

    assert done.exit_code == 0, done.output
    assert "12 trips with the problem PARAM_ERROR" in done.output
    assert "OPEN" in done.output
    assert "t009" in done.output
    assert "t010" not in done.output, "the first ten"
    assert "12 trips cleared" in done.output
    for number in range(12):
        assert (await terminal.town.trip(f"t{number:03}")).problem is None
        assert await terminal.actions(f"t{number:03}") == [("li", "trip clear-problem", WHY, "done")]


async def test_many_problems_are_not_cleared_unasked(terminal: Terminal) -> None:
    await with_problems(terminal.town, 2)

    done = await terminal.types("clear-problem", "--code", "PARAM_ERROR", "--all")

    assert done.exit_code == 2
    assert (await terminal.town.trip("t000")).problem is not None


async def test_other_problems_are_left_alone(terminal: Terminal) -> None:
    await with_problems(terminal.town, 2)

    done = await terminal.types("clear-problem", "--code", "amount_differs", "--all", "--json")

    assert document_in(done) == {
        "code": "amount_differs",
        "trips": 0,
        "by_state": {},
        "first": [],
        "cleared": 0,
    }
    assert (await terminal.town.trip("t000")).problem is not None


async def test_one_problem_is_cleared_as_ever_and_recorded(terminal: Terminal) -> None:
    await with_problems(terminal.town, 1)

    done = await terminal.types("clear-problem", "t000", "--as", "li")

    assert done.exit_code == 0, done.output
    assert await terminal.actions("t000") == [("li", "trip clear-problem", "", "done")]


# --- The story ---


async def test_a_trip_s_story_tells_who_decided_what_and_what_came_of_it(terminal: Terminal) -> None:
    await terminal.town.starts()
    with pytest.raises(IllegalTransition):
        await refused(terminal)
    await terminal.types("cancel", "t1", "--reason", WHY, "--as", "wang", "--yes")

    async with engine_for(terminal.url) as engine:
        story = await explain(Reports(engine), "t1")

    assert story is not None
    decided = [one for one in story.happenings if isinstance(one, Decided)]
    assert [(one.who, one.verb, one.why, one.outcome) for one in decided] == [
        ("li", "accept", "a slip", "failed"),
        ("wang", "cancel", WHY, "done"),
    ]
    assert [one.at for one in story.happenings] == sorted(one.at for one in story.happenings)


async def refused(terminal: Terminal) -> None:
    async with engine_for(terminal.url) as engine:
        deciding = Deciding(
            settlement=terminal.town.settlement, actions=Actions(engine), clock=terminal.town.clock, pause=no_sleep
        )
        sight = await deciding.look("t1")
        await deciding.decide("t1", Decision(verb=Verb.ACCEPT, by="li", reason="a slip"), mark=sight.mark)
