"""What a person decides about authorisations stands in the record before it is begun, and is then done."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.domain.authorisation import Authorisation, Ending, number_of_passenger
from payscore_worker.errors import Rejected, StorageUnavailable
from payscore_worker.settlement.authorisations import Authorisations
from payscore_worker.settlement.authorising import Authorising
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.tables import operator_action
from tests.builders import AUTHORISATIONS, NOW
from tests.integration.databases import make_tables


@dataclass
class Desk:
    """What is known of one passenger, and what was asked of it."""

    engine: AsyncEngine
    known: list[Authorisation]
    ends: list[str]
    """The numbers of what is to end."""
    out_of_reach: frozenset[str] = frozenset()
    rejects: bool = False
    endings: list[tuple[str, Ending]] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    advanced: list[str] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)
    """How the record stood when the end was noted."""

    def own_number(self, openid: str, *, account: str) -> str:
        assert account in ("", "suzhou")
        return number_of_passenger(openid, f"fleet{account}-")

    async def end_by_hand(self, openid: str, ending: Ending, *, account: str) -> list[str]:
        self.accounts.append(account)
        self.endings.append((openid, ending))
        self.recorded = [row["outcome"] for row in await self.actions()]
        if self.rejects:
            raise Rejected("no such app")
        return self.ends

    async def advance(self, authorization_code: str) -> None:
        self.advanced.append(authorization_code)
        if authorization_code in self.out_of_reach:
            raise StorageUnavailable("later")

    async def of(self, openid: str) -> list[Authorisation]:
        return [one for one in self.known if one.openid == openid]

    async def actions(self) -> list[dict[str, Any]]:
        async with self.engine.connect() as connection:
            rows = await connection.execute(select(operator_action))
            return [dict(row) for row in rows.mappings()]

    async def ended_by(self, who: str, *, account: str = "") -> list[Authorisation]:
        hands = Authorising(
            authorisations=cast(Authorisations, self),
            actions=Actions(self.engine),
            clock=lambda: NOW,
        )
        return await hands.end("oPassenger", by=who, reason="乘客来电", account=account)


def one(code: str, openid: str = "oPassenger") -> Authorisation:
    return replace(AUTHORISATIONS["open"](), authorization_code=code, openid=openid)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    async with engine_for(url) as engine:
        yield Desk(engine, known=[one("a3"), one("a2"), one("a1"), one("b1", "oStranger")], ends=["a1", "a3"])


async def test_who_ends_what_a_passenger_has_authorised_and_why_stands_in_the_record_before_it_is_begun(
    desk: Desk,
) -> None:
    await desk.ended_by("li")

    assert desk.recorded == ["begun"]
    (action,) = await desk.actions()
    assert {name: action[name] for name in ("who", "action", "queue", "target", "reason")} == {
        "who": "li",
        "action": "authorisation end",
        "queue": "",
        "target": number_of_passenger("oPassenger", "fleet-"),
        "reason": "乘客来电",
    }
    assert (action["outcome"], action["moved"], action["refused"], action["ended_at"]) == ("done", 2, 0, NOW)


async def test_what_ends_is_that_of_the_account_that_was_named(desk: Desk) -> None:
    await desk.ended_by("li", account="suzhou")

    assert desk.accounts == ["suzhou"]
    assert [action["target"] for action in await desk.actions()] == [number_of_passenger("oPassenger", "fleetsuzhou-")]


async def test_an_end_is_noted_with_who_said_it_and_each_is_a_word_of_its_own(desk: Desk) -> None:
    await desk.ended_by("li")
    await desk.ended_by("li")

    (passenger, first), (_, second) = desk.endings
    assert passenger == "oPassenger"
    assert (first.reason, first.by) == ("乘客来电", "li")
    assert first.word != second.word
    assert len(first.word) == len(second.word) == 32


async def test_what_is_to_end_is_advanced_and_shown_as_it_then_stands_and_nothing_else(desk: Desk) -> None:
    ended = await desk.ended_by("li")

    assert desk.advanced == ["a1", "a3"]
    assert ended == [one("a3"), one("a1")]


async def test_one_that_is_out_of_reach_is_left_to_the_reconciler_and_keeps_no_other_waiting(desk: Desk) -> None:
    desk.out_of_reach = frozenset({"a1"})

    assert await desk.ended_by("li") == [one("a3"), one("a1")]
    assert desk.advanced == ["a1", "a3"]


async def test_an_end_of_nothing_failed_and_one_that_was_rejected_was_refused(desk: Desk) -> None:
    desk.ends = []
    assert await desk.ended_by("li") == []
    desk.rejects = True
    with pytest.raises(Rejected):
        await desk.ended_by("wang")

    nothing, rejected = await desk.actions()
    assert (nothing["outcome"], nothing["moved"]) == ("failed", 0)
    assert (rejected["outcome"], rejected["refused"]) == ("failed", 1)
    assert desk.advanced == []
