"""Refunds on the command line: shown first, asked once more, recorded; then looked at, and taken up again."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from payscore_worker.cli import cli
from payscore_worker.cli import desk as cli_desk
from payscore_worker.cli import refunds as commands
from payscore_worker.cli import trips as trip_commands
from payscore_worker.domain.refund import RefundRequested, RefundState
from payscore_worker.errors import ConflictingFact, IllegalTransition, Rejected, StorageUnavailable
from payscore_worker.oversight.explain import Story, explain
from payscore_worker.settings import Environment
from payscore_worker.settlement import refunding
from payscore_worker.settlement.refunding import Refunding
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.passengers import RefundOutcome
from payscore_worker.simulator.refunds.book import RefundStatus
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.refunds import RefundReports
from payscore_worker.storage.reports import Reports
from payscore_worker.wechatpay.transactions import MerchantRefunds
from tests.integration.databases import make_tables
from tests.integration.settlement.town import Town, a_town, no_sleep

WHY = "绕路，与乘客核对过"
BY_HAND = r"by-hand-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"


class Terminal:
    """Types commands against a town, as if it were the one of the settings."""

    def __init__(self, town: Town, url: str) -> None:
        self.town = town
        self.url = url

    async def types(self, *words: str, answers: str | None = None) -> Result:
        """Run a command; `answers`: a person sits there and types them."""
        return await asyncio.to_thread(self._run, words, answers)

    def _run(self, words: tuple[str, ...], answers: str | None) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commands, "_refunding", self._refunding)
            patch.setattr(commands, "_reports", self._reports)
            patch.setattr(commands, "now", self.town.clock)
            patch.setattr(trip_commands, "_explained", self._explained)
            patch.setenv("PAYSCORE_DATABASE_URL", self.url)
            patch.setenv("COLUMNS", "200")
            if answers is not None:
                patch.setattr(cli_desk, "is_somebody_there", lambda: True)
            return CliRunner().invoke(cli, words, input=answers)

    @asynccontextmanager
    async def _refunding(self, _environment: Environment) -> AsyncIterator[Refunding]:
        storage = await open_storage(self.url)
        refunds = Refunds(
            storage=storage,
            refunds=MerchantRefunds(self.town.client),
            rules=self.town.rules,
            prefix="",
            clock=self.town.clock,
        )
        async with engine_for(self.url) as engine:
            yield Refunding(refunds=refunds, actions=Actions(engine), clock=self.town.clock, pause=no_sleep)
        await storage.aclose()

    @asynccontextmanager
    async def _reports(self, _environment: Environment) -> AsyncIterator[Reports]:
        async with engine_for(self.url) as engine:
            yield Reports(engine)

    async def _explained(self, _environment: Environment, trip_id: str) -> Story | None:
        async with engine_for(self.url) as engine:
            return await explain(Reports(engine), trip_id)

    async def actions(self, *refund_ids: str) -> list[tuple[str, str, str, str, str]]:
        async with engine_for(self.url) as engine:
            rows = await RefundReports(Reports(engine)).actions_on("t1", refund_ids)
        return [(row["who"], row["action"], row["target"], row["reason"], row["outcome"]) for row in rows]


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    async with a_town(storage, "payafter") as town:
        yield Terminal(town, url)
    await storage.aclose()


@pytest.fixture
async def paid(terminal: Terminal) -> Terminal:
    """A trip that has paid 3200 fen."""
    await terminal.town.rides()
    await terminal.town.passes(60)
    assert (await terminal.town.trip()).payment is not None
    return terminal


async def money(town: Town) -> tuple[int, int]:
    payment = (await town.trip()).payment
    assert payment is not None
    return payment.reserved_fen, payment.refunded_fen


def document_in(done: Result) -> dict[str, Any]:
    """Read what was printed, below the log lines of a test."""
    document: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{\n") :])
    return document


def row_in(done: Result, name: str) -> str:
    """Find a line of a table."""
    found = re.search(rf"│ {re.escape(name)} +│ (.*?) +│", done.output)
    assert found is not None, done.output
    return found[1]


async def abnormal(town: Town, refund_id: str = "r1") -> None:
    """Have a refund whose money cannot be delivered."""
    await town.refunds_of(refund_id, amount_fen=1_000)
    town.simulator.end_refund(refund_id, RefundStatus.ABNORMAL)
    await town.passes(0)
    problem = (await town.refund(refund_id)).problem
    assert problem is not None
    assert problem.code == "refund_abnormal"


# --- Asking for a refund ---


async def test_a_refund_is_shown_asked_about_once_more_requested_and_recorded(paid: Terminal) -> None:
    done = await paid.types("refund", "t1", "--amount-fen", "1000", "--reason", WHY, "--as", "wang", answers="y\n")

    assert done.exit_code == 0, done.output
    shown = {name: row_in(done, name) for name in ("state", "paid_fen", "reserved_fen", "refunded_fen", "left_fen")}
    assert shown == {"state": "PAID", "paid_fen": "3200", "reserved_fen": "0", "refunded_fen": "0", "left_fen": "3200"}
    assert row_in(done, "will be sent: amount") == "refund 1000, total 3200, currency CNY"
    assert row_in(done, "will be sent: reason") == WHY
    assert "refund: 1000 fen go back; WeChat Pay is asked for it at once. Do it? [y/N]" in done.output
    refund_id = row_in(done, "will be sent: out_refund_no")
    assert re.fullmatch(BY_HAND, refund_id)
    assert refund_id.startswith(f"by-hand-{paid.town.now:%Y%m%dT%H%M%SZ}-")
    assert (await paid.town.refund(refund_id)).state is RefundState.ACCEPTED
    assert await money(paid.town) == (1_000, 0)
    assert await paid.actions() == [("wang", "refund request", "t1", f"1000 fen as {refund_id}: {WHY}", "done")]
    await paid.town.passes(60)
    assert await money(paid.town) == (0, 1_000)


async def test_request_spelled_out_is_the_same_command(paid: Terminal) -> None:
    done = await paid.types(
        *("refund", "request", "t1", "--amount-fen", "1000", "--reason", WHY, "--refund-id", "r1", "--yes")
    )

    assert done.exit_code == 0, done.output
    assert (await paid.town.refund("r1")).amount_fen == 1_000


async def test_options_may_stand_before_the_trip(paid: Terminal) -> None:
    done = await paid.types(*("refund", "--amount-fen", "1000", "--reason", WHY, "--refund-id", "r1", "--yes", "t1"))

    assert done.exit_code == 0, done.output
    assert (await paid.town.refund("r1")).amount_fen == 1_000


async def test_who_says_no_changes_nothing(paid: Terminal) -> None:
    done = await paid.types("refund", "t1", "--amount-fen", "1000", "--reason", WHY, answers="n\n")

    assert done.exit_code == 1
    assert "nothing is done" in done.output
    assert await money(paid.town) == (0, 0)
    assert await paid.actions() == []


async def test_without_a_terminal_and_without_yes_nothing_is_done(paid: Terminal) -> None:
    done = await paid.types("refund", "t1", "--amount-fen", "1000", "--reason", WHY)

    assert done.exit_code == 2
    assert "say --yes" in done.output
    assert await money(paid.town) == (0, 0)
    assert paid.town.calls_made("refund") == 0


async def test_a_command_that_is_repeated_is_another_refund_and_shows_the_one_before(paid: Terminal) -> None:
    words = ("refund", "t1", "--amount-fen", "1000", "--reason", WHY)
    await paid.types(*words, answers="y\n")

    done = await paid.types(*words, answers="y\n")

    assert row_in(done, "refunds before") == "1"
    assert (row_in(done, "reserved_fen"), row_in(done, "left_fen")) == ("1000", "2200")
    assert "it wants a minute between refunds" in done.output
    assert await money(paid.town) == (2_000, 0)
    await paid.town.passes(80)
    await paid.town.passes(60)
    assert await money(paid.town) == (0, 2_000)


async def test_the_same_refund_id_is_the_same_refund_however_often_it_is_asked_for(paid: Terminal) -> None:
    words = ("refund", "t1", "--amount-fen", "1000", "--reason", WHY, "--refund-id", "r1", "--yes", "--json")
    first = document_in(await paid.types(*words))

    again = await paid.types(*words)

    assert (first["done"], first["outlook"]["key"], first["was"]["left_fen"]) == (True, "asked", 3_200)
    assert first["will_be_sent"]["amount"] == {"refund": 1_000, "total": 3_200, "currency": "CNY"}
    document = document_in(again)
    assert (again.exit_code, document["done"], document["outlook"]["key"]) == (0, False, "stands")
    assert document["state"] == "ACCEPTED"
    assert await money(paid.town) == (1_000, 0)
    assert len(await paid.actions()) == 1


async def test_a_refund_id_that_was_used_for_another_amount_is_refused(paid: Terminal) -> None:
    words = ("refund", "t1", "--reason", WHY, "--refund-id", "r1", "--yes", "--amount-fen")
    await paid.types(*words, "1000")

    done = await paid.types(*words, "1001")

    assert isinstance(done.exception, ConflictingFact)
    assert "amount_fen" in str(done.exception)
    assert await money(paid.town) == (1_000, 0)


@pytest.mark.parametrize("as_json", [False, True])
async def test_more_than_is_left_is_refused_before_anybody_is_asked(paid: Terminal, *, as_json: bool) -> None:
    done = await paid.types(
        *("refund", "t1", "--amount-fen", "3201", "--reason", WHY, "--yes", *(["--json"] if as_json else []))
    )

    assert done.exit_code == 1
    assert "error: amount_fen: 3201 is more than the 3200 fen left of 3200 fen paid" in done.output
    assert await paid.actions() == []
    if as_json:
        document = json.loads(done.stdout[done.stdout.index("{\n") : done.stdout.rindex("}") + 1])
        assert (document["done"], document["outlook"]["allowed"], document["will_be_sent"]) == (False, False, None)


async def test_a_trip_that_has_not_paid_gives_nothing_back(terminal: Terminal) -> None:
    await terminal.town.starts()

    done = await terminal.types("refund", "t1", "--amount-fen", "1", "--reason", WHY, "--yes")

    assert done.exit_code == 1
    assert "the trip is OPEN, and only what is paid can be refunded" in done.output


async def test_a_trip_that_nobody_knows_is_named(terminal: Terminal) -> None:
    done = await terminal.types("refund", "t9", "--amount-fen", "1", "--reason", WHY, "--yes")

    assert isinstance(done.exception, Rejected)
    assert str(done.exception) == "trip_id: trip 't9' is not known"


async def test_while_wechat_pay_is_out_the_refund_stands_noted_and_says_what_it_waits_for(paid: Terminal) -> None:
    paid.town.fault(FaultKind.UNAVAILABLE, "refund", times=None)

    done = await paid.types(
        *("refund", "t1", "--amount-fen", "1000", "--reason", WHY, "--refund-id", "r1", "--yes", "--json")
    )

    document = document_in(done)
    assert (done.exit_code, document["done"], document["state"]) == (0, True, "REQUESTED")
    assert "HTTP 503" in document["waits"]
    assert await money(paid.town) == (1_000, 0)
    paid.town.simulator.clear_faults()
    await paid.town.passes(120)
    await paid.town.passes(60)
    assert await money(paid.town) == (0, 1_000)


async def test_money_that_has_moved_since_somebody_looked_is_not_sent_back_again(paid: Terminal) -> None:
    asked = RefundRequested(trip_id="t1", refund_id="r2", amount_fen=1_000, reason=WHY)
    async with engine_for(paid.url) as engine:
        refunding = Refunding(refunds=paid.town.refunds, actions=Actions(engine), clock=paid.town.clock)
        mark = (await refunding.foresee(asked)).mark
        await paid.town.refunds_of("r1", amount_fen=1_000)

        with pytest.raises(IllegalTransition, match="changed since you looked"):
            await refunding.request(asked, by="li", mark=mark)

    assert await paid.town.storage.load_refund("r2") is None
    assert await paid.actions() == [("li", "refund request", "t1", f"1000 fen as r2: {WHY}", "failed")]


async def test_what_cannot_be_recorded_is_not_done(paid: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    await abnormal(paid.town)

    async def unrecorded(*_what: object) -> int:
        raise StorageUnavailable("the record of actions")

    monkeypatch.setattr(Actions, "begin", unrecorded)

    asked = await paid.types("refund", "t1", "--amount-fen", "200", "--reason", WHY, "--refund-id", "r2", "--yes")
    cleared = await paid.types("refund", "clear-problem", "r1", "--reason", WHY)

    assert isinstance(asked.exception, StorageUnavailable)
    assert isinstance(cleared.exception, StorageUnavailable)
    assert await paid.town.storage.load_refund("r2") is None
    assert paid.town.calls_made("refund_query") == 0


async def test_nothing_is_said_to_have_been_heard_of_what_a_person_asked_for(paid: Terminal) -> None:
    done = await paid.types("refund", "t1", "--amount-fen", "1000", "--reason", WHY, "--yes")
    assert done.exit_code == 0

    async with engine_for(paid.url) as engine:
        events = await Reports(engine).events("t1")

    assert "refund.requested" not in [event["type"] for event in events]


@pytest.mark.parametrize(
    "words",
    [
        ("t1", "--amount-fen", "1", "--yes"),
        ("t1", "--reason", WHY, "--yes"),
        ("t1", "--amount-fen", "0", "--reason", WHY, "--yes"),
        ("t1", "--amount-fen", "-1", "--reason", WHY, "--yes"),
        ("t1", "--amount-fen", "1.5", "--reason", WHY, "--yes"),
        ("t1", "--amount-fen", "100000001", "--reason", WHY, "--yes"),
        ("t1", "--amount-fen", "1", "--reason", "", "--yes"),
        ("t1", "--amount-fen", "1", "--reason", "x" * 301, "--yes"),
        ("t1", "--amount-fen", "1", "--reason", "two\nlines", "--yes"),
        ("t1", "--amount-fen", "1", "--reason", "half a \ud83d character", "--yes"),
        ("t1", "--amount-fen", "1", "--reason", WHY, "--yes", "--refund-id", ""),
        ("t1", "--amount-fen", "1", "--reason", WHY, "--yes", "--refund-id", "x" * 65),
        ("t1", "--amount-fen", "1", "--reason", WHY, "--yes", "--refund-id", "退款"),
        ("t1", "--amount-fen", "1", "--reason", WHY, "--yes", "--as", "x" * 41),
        ("lsit",),
        ("list", "--state", "PAID"),
        ("clear-problem", "r1"),
        ("clear-problem", "--reason", WHY),
        ("clear-problem", "--code", "NOT_ENOUGH", "--reason", WHY),
        ("clear-problem", "--all", "--reason", WHY),
        ("clear-problem", "r1", "--code", "NOT_ENOUGH", "--all", "--reason", WHY),
        ("give-up", "r1", "--yes"),
        ("give-up", "--reason", WHY, "--yes"),
    ],
)
async def test_slips_are_named_and_change_nothing(paid: Terminal, words: tuple[str, ...]) -> None:
    done = await paid.types("refund", *words)

    assert done.exit_code == 2, done.output
    assert await money(paid.town) == (0, 0)
    assert await paid.actions() == []


# --- Looking ---


async def test_refunds_are_listed_the_newest_first_and_by_trip_state_and_problem(paid: Terminal) -> None:
    await abnormal(paid.town)
    await paid.town.passes(80)
    await paid.town.refunds_of("r2", amount_fen=200)

    async def listed(*words: str) -> list[str]:
        done = await paid.types("refund", "list", "--json", *words)
        return [one["refund_id"] for one in document_in(done)["refunds"]]

    assert await listed() == ["r2", "r1"]
    assert await listed("--limit", "1") == ["r2"]
    assert await listed("--trip", "t1") == ["r2", "r1"]
    assert await listed("--trip", "t2") == []
    assert await listed("--state", "REFUNDED") == []
    assert await listed("--problem") == ["r1"]
    table = await paid.types("refund", "list", "--problem")
    assert "refund_abnormal" in table.output
    assert "r2" not in table.output


async def test_a_refund_is_shown_with_its_calls_and_what_people_did(paid: Terminal) -> None:
    await abnormal(paid.town)
    await paid.types("refund", "clear-problem", "r1", "--reason", "told the bank", "--as", "li")

    document = document_in(await paid.types("refund", "show", "r1", "--json"))

    assert (document["refund_id"], document["trip_id"], document["amount_fen"]) == ("r1", "t1", 1_000)
    assert (document["state"], document["problem"]["code"]) == ("ACCEPTED", "refund_abnormal")
    assert [call["kind"] for call in document["calls"]] == ["refund", "refund_query"]
    assert [(one["who"], one["action"], one["reason"]) for one in document["actions"]] == [
        ("li", "refund clear-problem", "told the bank")
    ]
    table = await paid.types("refund", "show", "r1")
    for word in ("refund_abnormal", "told the bank", "refund_query"):
        assert word in table.output


async def test_a_refund_goes_by_its_number_at_wechat_pay_too(paid: Terminal) -> None:
    await paid.town.refunds_of("a refund", amount_fen=1_000)
    number = (await paid.town.refund("a refund")).out_refund_no

    document = document_in(await paid.types("refund", "show", number, "--json"))

    assert number != "a refund"
    assert document["refund_id"] == "a refund"


async def test_a_refund_that_nobody_knows_is_named(terminal: Terminal) -> None:
    done = await terminal.types("refund", "show", "r9")

    assert (done.exit_code, done.stderr) == (1, "error: no refund 'r9'\n")


# --- Taking a refund up again ---


async def test_a_cleared_problem_is_recorded_and_the_refund_asked_about_at_once(paid: Terminal) -> None:
    await abnormal(paid.town)
    paid.town.simulator.end_refund("r1", RefundStatus.SUCCESS)
    paid.town.listening = False

    done = await paid.types("refund", "clear-problem", "r1", "--reason", "told the bank", "--as", "li", "--json")

    assert (done.exit_code, document_in(done)["state"]) == (0, "REFUNDED")
    assert await money(paid.town) == (0, 1_000)
    assert await paid.actions("r1") == [("li", "refund clear-problem", "r1", "told the bank", "done")]


async def test_a_problem_that_is_there_again_is_not_fine(paid: Terminal) -> None:
    await abnormal(paid.town)

    done = await paid.types("refund", "clear-problem", "r1", "--reason", "told the bank")

    assert done.exit_code == 1
    assert "refund_abnormal" in done.output


@pytest.mark.parametrize(("refund_id", "why"), [("r1", "has no problem"), ("r9", "is not known")])
async def test_what_has_no_problem_is_not_cleared_and_the_record_says_so(
    paid: Terminal, refund_id: str, why: str
) -> None:
    await paid.town.refunds_of("r1", amount_fen=1_000)

    done = await paid.types("refund", "clear-problem", refund_id, "--reason", WHY, "--as", "li")

    assert isinstance(done.exception, Rejected)
    assert why in str(done.exception)
    assert await paid.actions(refund_id) == [("li", "refund clear-problem", refund_id, WHY, "failed")]


async def not_enough(town: Town, *refund_ids: str) -> None:
    """Have refunds stand still, since there was too little to refund from."""
    town.simulator.set_refund_balance(0)
    for refund_id in refund_ids:
        await town.refunds_of(refund_id, amount_fen=100)
    for _ in range(14):
        await town.passes(3_600)
    codes = [problem.code for id in refund_ids if (problem := (await town.refund(id)).problem) is not None]
    assert codes == ["NOT_ENOUGH"] * len(refund_ids)
    town.simulator.set_refund_balance(None)


@pytest.mark.parametrize("batch", [1, 100])
async def test_all_refunds_with_one_problem_are_shown_asked_about_and_taken_up_each_once(
    paid: Terminal, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(refunding, "BATCH", batch)
    await abnormal(paid.town, "r0")
    await not_enough(paid.town, "r1", "r2", "r3")
    sends = paid.town.calls_made("refund")
    words = ("refund", "clear-problem", "--code", "NOT_ENOUGH", "--all", "--reason", "topped up", "--as", "li")

    asked = await paid.types(*words)
    assert (asked.exit_code, await paid.actions("r1", "r2", "r3")) == (2, [])
    done = await paid.types(*words, answers="y\n")

    assert done.exit_code == 0, done.output
    assert "3 refunds with the problem NOT_ENOUGH" in done.output
    assert "the first: r1, r2, r3" in done.output
    assert row_in(done, "REQUESTED").strip() == "3"
    assert "clear-problem: 3 refunds are taken up again. Do it? [y/N]" in done.output
    assert "3 refunds cleared; the workers take them up within a minute" in done.output
    recorded = [("li", "refund clear-problem", id, "topped up", "done") for id in ("r1", "r2", "r3")]
    assert await paid.actions("r0", "r1", "r2", "r3") == recorded
    assert paid.town.calls_made("refund") == sends, "the workers send them"
    assert [(await paid.town.refund(id)).problem is None for id in ("r0", "r1", "r2", "r3")] == [False, *[True] * 3]
    for _ in range(8):
        await paid.town.passes(70)
    assert [(await paid.town.refund(id)).state for id in ("r1", "r2", "r3")] == [RefundState.REFUNDED] * 3


async def test_all_refunds_with_a_problem_that_none_has_are_none(paid: Terminal) -> None:
    words = ("refund", "clear-problem", "--code", "NOT_ENOUGH", "--all", "--reason", WHY)

    document = document_in(await paid.types(*words, "--json"))

    assert document == {"code": "NOT_ENOUGH", "refunds": 0, "by_state": {}, "first": [], "cleared": 0}


async def test_who_is_slower_than_another_clears_the_rest(paid: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    await not_enough(paid.town, "r1", "r2")
    problems = RefundReports.problems

    async def slow(self: RefundReports, code: str, *, after: str, limit: int) -> Any:
        rows = await problems(self, code, after=after, limit=limit)
        if not after and limit == refunding.BATCH:
            await paid.town.refunds.clear_problem("r1")
        return rows

    monkeypatch.setattr(RefundReports, "problems", slow)
    words = ("refund", "clear-problem", "--code", "NOT_ENOUGH", "--all", "--reason", WHY, "--yes", "--json")

    document = document_in(await paid.types(*words))

    assert (document["refunds"], document["by_state"], document["cleared"]) == (2, {"REQUESTED": 2}, 1)


# --- Giving a refund up ---


@pytest.fixture
async def stuck(terminal: Terminal) -> Terminal:
    """A refund of 1000 fen that WeChat Pay refuses for good."""
    closed = Passenger(Behaviour.PAYS, refund=RefundOutcome.ACCOUNT_ABNORMAL)
    terminal.town.simulator.set_passenger("oPassenger", closed)
    await terminal.town.rides()
    await terminal.town.passes(60)
    await terminal.town.refunds_of("r1", amount_fen=1_000)
    await terminal.town.passes(61)
    assert (await terminal.town.refund()).problem is not None
    return terminal


GIVE_UP = ("refund", "give-up", "r1", "--reason", WHY, "--as", "wang")


async def test_a_refund_is_given_up_when_it_was_shown_and_asked_about_once_more_and_that_is_recorded(
    stuck: Terminal,
) -> None:
    done = await stuck.types(*GIVE_UP, answers="y\n")

    assert done.exit_code == 0, done.output
    assert row_in(done, "WeChat Pay now") == "no such refund"
    assert row_in(done, "problem").startswith("USER_ACCOUNT_ABNORMAL: ")
    assert "give-up: 1000 fen are reserved no longer; the refund ends FAILED" in done.output
    refund = await stuck.town.refund()
    assert refund.state is RefundState.FAILED
    assert refund.given_up is not None
    assert (refund.given_up.by, refund.given_up.reason) == ("wang", WHY)
    assert await money(stuck.town) == (0, 0)
    assert await stuck.actions("r1") == [("wang", "refund give-up", "r1", WHY, "done")]


async def test_who_gave_a_refund_up_and_why_is_told_of_it_and_in_the_story_of_its_trip(stuck: Terminal) -> None:
    await stuck.types(*GIVE_UP, "--yes")
    refund = await stuck.town.refund()
    later = stuck.town.now + timedelta(hours=1)
    assert await stuck.town.storage.save(refund, due_at=None, now=later), "its row is written later, too"

    document = document_in(await stuck.types("refund", "show", "r1", "--json"))
    story = document_in(await stuck.types("trip", "explain", "t1", "--json"))

    assert (document["state"], document["given_up"]) == ("FAILED", f"by wang: {WHY}")
    assert [(one["who"], one["action"]) for one in document["actions"]] == [("wang", "refund give-up")]
    assert story["refunds"][0]["given_up"] == f"given up by wang: {WHY}"
    (end,) = [one for one in story["happenings"] if one["kind"] == "refund" and one["state"] == "FAILED"]
    told = [one for one in story["happenings"] if one["kind"] == "announced"][-1]
    assert (end["at"], end["why"]) == (told["at"], f"given up by wang: {WHY}")
    assert f"by wang: {WHY}" in (await stuck.types("refund", "show", "r1")).output


@pytest.mark.parametrize("answers", ["n\n", None])
async def test_without_a_yes_nothing_is_given_up(stuck: Terminal, answers: str | None) -> None:
    done = await stuck.types(*GIVE_UP, answers=answers)

    assert done.exit_code == (1 if answers else 2)
    assert (await stuck.town.refund()).state is RefundState.REQUESTED
    assert await stuck.actions("r1") == []


async def test_what_wechat_pay_has_is_not_given_up_and_nobody_is_asked(paid: Terminal) -> None:
    await abnormal(paid.town)

    done = await paid.types(*GIVE_UP, "--yes", "--json")

    assert done.exit_code == 1
    assert "error: WeChat Pay has the refund as ABNORMAL: its word decides, not a person" in done.output
    document = json.loads(done.stdout[done.stdout.index("{\n") : done.stdout.rindex("}") + 1])
    assert (document["done"], document["outlook"]["allowed"]) == (False, False)
    assert document["wechatpay"] == {"asked": True, "why": None, "refund": "ABNORMAL"}
    assert await paid.actions("r1") == []


async def test_while_wechat_pay_is_out_nothing_is_given_up(stuck: Terminal) -> None:
    stuck.town.fault(FaultKind.UNAVAILABLE, "refund_query", times=None)

    done = await stuck.types(*GIVE_UP, "--yes")

    assert done.exit_code == 1
    assert "error: nothing can be decided while WeChat Pay cannot be asked" in done.output
    assert row_in(done, "WeChat Pay now").startswith("could not be asked: ")
    assert await money(stuck.town) == (1_000, 0)


async def test_a_giving_up_that_is_refused_stands_in_the_record(stuck: Terminal) -> None:
    async with engine_for(stuck.url) as engine:
        hands = Refunding(refunds=stuck.town.refunds, actions=Actions(engine), clock=stuck.town.clock, pause=no_sleep)
        mark = (await hands.see("r1")).mark
        await hands.clear_problem("r1", by="li", reason=WHY)

        with pytest.raises(IllegalTransition, match="changed since you looked"):
            await hands.give_up("r1", by="wang", reason=WHY, mark=mark)

    assert [(who, action, outcome) for who, action, _, _, outcome in await stuck.actions("r1")] == [
        ("li", "refund clear-problem", "done"),
        ("wang", "refund give-up", "failed"),
    ]


# --- The trip's own commands ---


async def test_a_trip_s_story_tells_of_its_refunds_on_the_command_line(paid: Terminal) -> None:
    await abnormal(paid.town)
    await paid.types("refund", "t1", "--amount-fen", "200", "--reason", WHY, "--as", "wang", "--yes")

    told = await paid.types("trip", "explain", "t1")

    assert (row_in(told, "reserved_fen"), row_in(told, "refunded_fen")) == ("1200", "0")
    for line in ("refund accepted of r1", "ACCEPTED of r1", "problem of r1", "refund request done"):
        assert line in told.output
    assert "1000 fen: 绕路" in told.output


async def test_showing_a_trip_shows_its_refunds(paid: Terminal) -> None:
    await paid.town.refunds_of("r1", amount_fen=1_000)
    await paid.town.passes(60)

    document = document_in(await paid.types("trip", "show", "t1", "--json"))

    assert (document["paid_fen"], document["reserved_fen"], document["refunded_fen"]) == (3_200, 0, 1_000)
    (refund,) = document["refunds"]
    assert (refund["refund_id"], refund["state"], refund["amount_fen"]) == ("r1", "REFUNDED", 1_000)
    (call,) = (call for call in document["calls"] if call["kind"] == "refund")
    assert (call["generation"], call["outcome"]) == (refund["generation"], "accepted")
    assert "r1" in (await paid.types("trip", "show", "t1")).output
