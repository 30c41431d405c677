"""What is heard of a trip after it was archived: nothing is charged again, and no contradiction is lost."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from consumers import order_paid
from payscore_worker.domain.refund import RefundState
from payscore_worker.errors import ConflictingFact, Rejected, TripArchived
from payscore_worker.events import OrderPaid
from payscore_worker.oversight.audit import audit_books
from payscore_worker.storage import Storage
from payscore_worker.storage.archive import Archive, Plan
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from tests.integration.databases import database_url, dialect, storage
from tests.integration.settlement.town import TERMS, Town, a_town

__all__ = ["database_url", "dialect", "storage"]  # fixtures

YEARS: Final = timedelta(days=1_100).total_seconds()


@pytest.fixture
async def town(storage: Storage) -> AsyncIterator[Town]:
    async with a_town(storage, "payafter") as town:
        town.simulator.close_service("oWithout")
        yield town


async def settle(town: Town, trip_id: str = "t1") -> None:
    await town.rides(trip_id)
    await town.passes(3)
    await town.announced()
    assert await town.state(trip_id) == "PAID"


async def years_pass_and_trips_are_archived(town: Town, database_url: str, directory: Path) -> None:
    await town.passes(YEARS)
    await town.announced()
    async with Archive.of(database_url) as archive:
        async for _ in archive.run(Plan(before=town.now, directory=directory), town.now):
            pass


async def test_a_start_that_comes_again_after_years_opens_no_second_order(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    start = town.a_start()
    await settle(town)
    before = town.calls_made("create")
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    await town.starts(started_at=start.started_at)

    assert await town.storage.load("t1") is None
    assert (town.calls_made("create"), town.charged_fen()) == (before, 3_200)
    assert await town.announced() == []


async def test_an_end_that_comes_again_after_years_changes_nothing(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await settle(town)
    ended = (await town.trip()).ended
    assert ended is not None
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    await town.ends(ended_at=ended.ended_at.astimezone(None))  # the same instant, in another zone

    assert await town.storage.load("t1") is None
    assert town.charged_fen() == 3_200


async def test_another_fare_for_an_archived_trip_is_for_a_person(town: Town, database_url: str, tmp_path: Path) -> None:
    await settle(town)
    ended = (await town.trip()).ended
    assert ended is not None
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    with pytest.raises(TripArchived, match=r"ended as PAID, and is archived in trips-before-.*\.jsonl\.gz"):
        await town.ends(ended_at=ended.ended_at, total_fen=9_900)

    assert await town.storage.load("t1") is None
    assert town.charged_fen() == 3_200


async def test_a_fact_that_was_never_noted_of_an_archived_trip_is_for_a_person(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await town.starts(openid="oWithout")
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    for tell in (town.cancels, town.ends):
        with pytest.raises(TripArchived, match="ended as DECLINED"):
            await tell()

    assert await town.storage.load("t1") is None


async def test_a_new_trip_whose_number_is_that_of_an_archived_one_is_for_a_person(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    async with a_town(storage, "payafter") as town:
        await settle(town, "ab1")
        await years_pass_and_trips_are_archived(town, database_url, tmp_path)
    async with a_town(storage, "payafter", terms=replace(TERMS, out_order_no_prefix="a")) as town:
        with pytest.raises(TripArchived, match="another trip has the out_order_no 'ab1'"):
            await town.starts("b1")

        assert town.calls_made("create") == 0


async def test_a_refund_that_is_requested_again_after_years_sends_nothing_back_and_says_where_to_look(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await settle(town)
    await town.refunds_of("r1")
    await town.passes(60)
    assert (await town.refund("r1")).state is RefundState.REFUNDED
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    for refund_id in ("r1", "r2"):
        with pytest.raises(
            TripArchived,
            match=r"is archived in trips-before-.*\.jsonl\.gz; see there whether it was refunded already",
        ):
            await town.refunds_of(refund_id)

    assert town.calls_made("refund") == 1
    assert await town.storage.load_refund("r1") is None
    assert await town.announced() == []


async def test_a_callback_that_comes_again_after_years_changes_nothing(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await settle(town)
    resource = paid_callback(town)
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    await order_paid.handle(OrderPaid(resource=resource), town.settlement)

    assert await town.storage.load("t1") is None
    assert await town.announced() == []


async def test_another_payment_for_an_archived_trip_is_for_a_person(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await settle(town)
    resource = paid_callback(town)
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    with pytest.raises(ConflictingFact, match="another payment"):
        await order_paid.handle(OrderPaid(resource={**resource, "finish_transaction_id": "4200009"}), town.settlement)


async def test_a_payment_for_an_archived_trip_that_was_declined_is_for_a_person(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await settle(town)
    resource = paid_callback(town)
    await town.starts("t2", openid="oWithout")
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    with pytest.raises(ConflictingFact, match="collects for a trip that is DECLINED"):
        await order_paid.handle(OrderPaid(resource={**resource, "out_order_no": "t2"}), town.settlement)


async def test_a_callback_for_a_trip_that_nobody_knows_is_still_refused(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await settle(town)
    resource = paid_callback(town)
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    for other, said in {
        ("out_order_no", "nobody"): "no trip has the out_order_no 'nobody'",
        ("mchid", "1"): "the notification names another mchid",
    }.items():
        with pytest.raises(Rejected, match=f"^{said}$"):
            await order_paid.handle(OrderPaid(resource=resource | dict([other])), town.settlement)


async def test_the_books_balance_when_some_of_the_trips_are_archived(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await settle(town)
    await town.starts("t2", openid="oWithout")
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)
    await settle(town, "t3")

    async with engine_for(database_url) as engine:
        findings = await audit_books(Reports(engine), town.now)

    assert [finding for finding in findings if not finding.ok] == []


async def test_other_trips_are_settled_as_ever(town: Town, database_url: str, tmp_path: Path) -> None:
    await settle(town)
    await years_pass_and_trips_are_archived(town, database_url, tmp_path)

    await settle(town, "t2")

    assert town.charged_fen("t2") == 3_200


def paid_callback(town: Town) -> dict[str, Any]:
    [resource] = [resource for type_, resource in town.received if type_ == "PAYSCORE.USER_PAID"]
    return resource
