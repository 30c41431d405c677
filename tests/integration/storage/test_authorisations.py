"""Authorisations on both databases: what is written comes back, by passenger too, and the old are forgotten."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from payscore_worker.domain import authorisation as outcomes
from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.outcomes import NOT_ENABLED, declined
from payscore_worker.domain.trip import (
    DeclineReason,
    note_cancelled,
    note_ended,
)
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, Storage
from payscore_worker.storage.archive import Archive
from tests.builders import (
    AUTHORISATIONS,
    MINUTE,
    NOW,
    SITUATIONS,
    a_cancellation,
    an_authorisation,
    an_end,
)

CALL = CallRecord(
    kind="pre_authorise",
    generation=1,
    method="POST",
    path="/v3/payscore/permissions",
    body=b"{}",
    outcome=CallOutcome.PREPARED,
    at=NOW,
    begun=1,
)
EVENT = EventRecord(event_id="e1", direction=Direction.OUT, type="authorisation.opened", at=NOW, body=b"{}")


async def saved(storage: Storage, authorisation: Authorisation, **options: Any) -> Authorisation:
    assert await storage.save(authorisation, due_at=options.pop("due_at", None), now=NOW, **options)
    return replace(authorisation, version=authorisation.version + 1)


@pytest.mark.parametrize("situation", AUTHORISATIONS)
async def test_what_is_written_comes_back_but_for_the_token(storage: Storage, situation: str) -> None:
    written = await saved(storage, AUTHORISATIONS[situation]())

    assert await storage.load_authorisation(written.authorization_code) == replace(written, token="")


async def test_of_two_who_begin_one_only_one_is_written(storage: Storage) -> None:
    await saved(storage, an_authorisation())

    assert not await storage.save(an_authorisation(), due_at=None, now=NOW)


async def test_of_two_who_move_one_only_one_is_written(storage: Storage) -> None:
    first = await saved(storage, an_authorisation())

    await saved(storage, outcomes.not_signed(first, NOW))
    assert not await storage.save(outcomes.not_signed(first, NOW), due_at=None, now=NOW)


async def test_calls_and_events_are_kept_under_its_own_number(storage: Storage) -> None:
    one = await saved(storage, an_authorisation(), calls=[CALL], events=[EVENT])
    await storage.journal(one, replace(CALL, begun=1, attempts=1))

    call = await storage.begin_send(one.authorization_code, "pre_authorise")
    assert call is not None
    assert (call.begun, call.attempts) == (3, 1)
    (row,) = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=9)
    assert row.trip_id == one.authorization_code


async def test_what_is_due_is_claimed_once(storage: Storage) -> None:
    one = await saved(storage, an_authorisation(), due_at=NOW)

    assert await storage.claim_due(Authorisation, now=NOW, lease=MINUTE, limit=9) == [one]
    assert await storage.claim_due(Authorisation, now=NOW, lease=MINUTE, limit=9) == []
    await storage.reschedule(one, due_at=NOW)
    assert await storage.claim_due(Authorisation, now=NOW, lease=MINUTE, limit=9) == [one]


async def test_the_authorisations_of_a_passenger_come_newest_first_and_not_too_many(storage: Storage) -> None:
    for number in range(3):
        at = NOW + number * MINUTE
        await saved(storage, an_authorisation(authorization_code=f"code-{number}", noted_at=at))
    await saved(storage, an_authorisation(authorization_code="another", openid="oAnother"))

    known = await storage.authorisations_of("oPassenger", limit=2)

    assert [one.authorization_code for one in known] == ["code-2", "code-1"]


async def test_the_trips_that_wait_for_the_service_are_those_that_may_be_ridden(storage: Storage) -> None:
    waiting = declined(SITUATIONS["started"](), DeclineReason.SERVICE_NOT_ENABLED, NOT_ENABLED, now=NOW)
    trips = {
        "waiting": waiting,
        "ended": note_ended(waiting, an_end()),
        "cancelled": note_cancelled(waiting, a_cancellation()),
        "otherwise": declined(SITUATIONS["started"](), DeclineReason.ARREARS, "", now=NOW),
    }
    for trip_id, trip in trips.items():
        assert await storage.save(replace(trip, trip_id=trip_id, out_order_no=trip_id), due_at=None, now=NOW)

    assert [trip.trip_id for trip in await storage.not_enabled("oPassenger", limit=9)] == ["waiting"]
    assert await storage.not_enabled("oAnother", limit=9) == []
    assert await storage.not_enabled("oPassenger", limit=0) == []


async def test_the_old_are_forgotten_with_what_was_said_of_them_and_the_open_stay(
    storage: Storage, database_url: str
) -> None:
    for number, situation in enumerate(AUTHORISATIONS):
        one = replace(AUTHORISATIONS[situation](), authorization_code=f"code-{number}")
        await saved(storage, one, calls=[CALL], due_at=outcomes.due_at(one, NOW))
    shared = await saved(storage, replace(AUTHORISATIONS["closed"](), authorization_code="t1"))
    trip = SITUATIONS["started"]()
    assert await storage.save(trip, due_at=NOW, now=NOW, calls=[CALL])

    async with Archive.of(database_url) as archive:
        assert await archive.forget_authorisations(NOW) == 0
        assert await archive.forget_authorisations(NOW + timedelta(days=1)) == 2  # one that is closed, and the shared

    assert await storage.load_authorisation(shared.authorization_code) is None
    assert await storage.last_call("t1", "pre_authorise") is not None
    closed = f"code-{list(AUTHORISATIONS).index('closed')}"
    assert await storage.load_authorisation(closed) is None
    assert await storage.last_call(closed, "pre_authorise") is None
    kept = [f"code-{n}" for n in range(len(AUTHORISATIONS)) if f"code-{n}" != closed]
    assert [await storage.load_authorisation(code) is not None for code in kept] == [True] * len(kept)
