"""The one way in which an authorisation is changed: on its newest row, and together with what is told of it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from payscore_worker import metrics
from payscore_worker.domain import authorisation as outcomes
from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.next_step import IN_HAND
from payscore_worker.errors import TripBusy
from payscore_worker.events import ClientJump
from payscore_worker.settlement.books import AuthorisationBooks
from payscore_worker.storage import Direction, EventRecord, OutboxRow, Storage
from payscore_worker.storage.database import open_storage
from tests.builders import AUTHORISATIONS, MINUTE, NOW, an_authorisation
from tests.integration.databases import make_tables

NOTED = EventRecord(event_id="e1", direction=Direction.IN, type="authorisation.requested", at=NOW, body=b"{}")


@dataclass
class Desk:
    """Our books on a database, and what can be seen of them."""

    storage: Storage
    books: AuthorisationBooks
    bells: list[str] = field(default_factory=list)
    """How often the relay was called."""

    async def note(self, case: Authorisation) -> Authorisation:
        """Have an authorisation stand in the database, written by nobody in particular."""
        assert await self.storage.save(case, due_at=None, now=NOW)
        return replace(case, version=case.version + 1)

    async def stored(self) -> Authorisation | None:
        return await self.storage.load_authorisation(an_authorisation().authorization_code)

    async def outbox(self) -> list[OutboxRow]:
        return await self.storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)

    async def due(self, after: timedelta) -> int:
        return len(await self.storage.claim_due(Authorisation, now=NOW + after, lease=MINUTE, limit=10))


def page(authorisation: Authorisation) -> ClientJump:
    return ClientJump(business_type="wxpayScoreEnable", extra_data={"token": authorisation.token}, query_string="token")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    bells: list[str] = []
    books = AuthorisationBooks(
        storage=storage, clock=lambda: NOW, on_announced=lambda: bells.append("rang"), enabling=page
    )
    yield Desk(storage, books, bells)
    await storage.aclose()


def unchanged(authorisation: Authorisation) -> Authorisation:
    return authorisation


def given(authorisation: Authorisation) -> Authorisation:
    return outcomes.given(authorisation, "token", NOW)


def counted(state: str) -> float:
    return float(metrics.of(metrics.AUTHORISATIONS_REACHED, state)._value.get())


async def test_one_that_is_new_is_written_as_it_began(desk: Desk) -> None:
    before = counted("REQUESTED")

    written = await desk.books.change(an_authorisation(), unchanged, events=[NOTED])

    assert written == an_authorisation(version=1)
    assert await desk.stored() == written
    assert counted("REQUESTED") == before + 1


async def test_a_change_that_changes_nothing_writes_nothing(desk: Desk) -> None:
    known = await desk.note(an_authorisation())

    assert await desk.books.change(known, unchanged, events=[NOTED]) is known
    assert await desk.stored() == known


async def test_one_that_was_changed_is_due_when_its_next_step_is(desk: Desk) -> None:
    await desk.books.change(an_authorisation(), unchanged)

    assert await desk.due(IN_HAND - timedelta(milliseconds=1)) == 0
    assert await desk.due(IN_HAND) == 1


async def test_a_token_is_told_and_kept_in_no_row_and_no_hand(desk: Desk) -> None:
    known = await desk.note(an_authorisation())

    written = await desk.books.change(known, given)

    assert written == replace(given(known), token="", version=2)
    assert await desk.stored() == written
    (row,) = await desk.outbox()
    envelope = json.loads(row.body)
    assert (row.type, envelope["sequence"]) == ("authorisation.parameters", "0000000002")
    assert envelope["data"]["enable"]["extraData"] == {"token": "token"}
    assert desk.bells == ["rang"]


async def test_a_change_is_made_on_the_newest_row_where_another_writer_was_faster(desk: Desk) -> None:
    old = await desk.note(an_authorisation())
    await desk.note(replace(old, refusals=2))

    written = await desk.books.change(old, outcomes.preparing)

    assert written == replace(outcomes.preparing(old), refusals=2, version=3)


async def test_one_that_is_not_there_is_taken_as_it_is_in_hand(desk: Desk) -> None:
    assert await desk.books.reload(AUTHORISATIONS["open"]()) == AUTHORISATIONS["open"]()


async def test_a_writer_who_is_overtaken_again_and_again_gives_up_and_names_the_authorisation(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overtaken(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(desk.storage, "save", overtaken)
    code = an_authorisation().authorization_code
    with pytest.raises(TripBusy, match=f"^authorisation {code} was moved by others 8 times in a row$"):
        await desk.books.change(an_authorisation(), unchanged)
