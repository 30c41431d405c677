"""The audit is content with a fare that was lowered or paid elsewhere, at every moment, and finds what is kept back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from consumers import order_paid
from payscore_worker.domain.trip import (
    PAID_TWICE,
    TripState,
)
from payscore_worker.errors import ConflictingFact, Retryable, TripArchived
from payscore_worker.events import OrderPaid
from payscore_worker.oversight.audit import Finding, audit_books, audit_refunds_at_wechatpay, audit_wechatpay
from payscore_worker.settlement.reconciler import Reconciler
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.storage import Storage
from payscore_worker.storage.archive import Archive, Plan
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from payscore_worker.storage.standing import standing
from payscore_worker.wechatpay.transactions import MerchantRefunds
from tests.integration.databases import database_url, dialect, storage
from tests.integration.settlement.town import Town, a_town

__all__ = ["database_url", "dialect", "storage"]  # fixtures

NEVER: Final = Passenger(Behaviour.NEVER_PAYS)
DAY: Final = timedelta(days=1)


@pytest.fixture(params=["payafter", "serviceorder"])
async def town(storage: Storage, request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    async with a_town(storage, request.param) as town:
        yield town


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_for(database_url) as engine:
        yield engine


async def wrong(town: Town, engine: AsyncEngine) -> list[Finding]:
    """Audit the books, and ask WeChat Pay about everything in them."""
    reports = Reports(engine)
    rows = await reports.all_trips()
    refunds = await reports.refunds_of([row["trip_id"] for row in rows])
    findings = [
        *await audit_books(reports, town.now),
        await audit_wechatpay(rows, town.payscores),
        await audit_refunds_at_wechatpay(refunds, MerchantRefunds(town.client)),
    ]
    return [finding for finding in findings if not finding.ok]


# --- What may become of a fare ---


async def lowered_while_the_money_is_out(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS_LATE, seconds=7_200))
    await town.rides()
    await town.lowers()


async def lowered_with_the_answer_lost(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS_LATE, seconds=7_200))
    await town.rides()
    town.fault(FaultKind.DROP_REPLY, "modify", times=3)
    with suppress(Retryable):
        await town.lowers()


async def lowered_once_it_was_paid(town: Town) -> None:
    await town.rides()
    await town.passes(60)
    await town.lowers()


async def paid_elsewhere_while_the_money_is_out(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", NEVER)
    await town.rides()
    await town.is_paid_elsewhere()


async def paid_elsewhere_before_the_order_was_completed(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.clock.now -= timedelta(seconds=595)  # so soon after its start it cannot be completed
    await town.ends(ended_at=town.now)
    await town.is_paid_elsewhere()


async def paid_elsewhere_without_an_order(town: Town) -> None:
    await town.ends()
    await town.is_paid_elsewhere()
    await town.starts()


async def paid_elsewhere_once_it_was_declined(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.RISK_REFUSED))
    await town.starts()
    for _ in range(10):
        await town.passes(120)
    await town.ends()
    await town.is_paid_elsewhere()


HAPPENINGS: Final = (
    lowered_while_the_money_is_out,
    lowered_with_the_answer_lost,
    lowered_once_it_was_paid,
    paid_elsewhere_while_the_money_is_out,
    paid_elsewhere_before_the_order_was_completed,
    paid_elsewhere_without_an_order,
    paid_elsewhere_once_it_was_declined,
)


@pytest.mark.parametrize("happens", HAPPENINGS)
async def test_the_books_are_in_order_at_every_moment(
    town: Town, engine: AsyncEngine, happens: Callable[[Town], Awaitable[None]]
) -> None:
    await happens(town)
    await town.announced()

    for seconds in (60, 3_600, 7_200, 3_600):
        assert await wrong(town, engine) == []
        await town.passes(seconds)
        await town.announced()

    assert await wrong(town, engine) == []
    assert await town.state() is TripState.PAID


# --- What is too much ---


async def test_what_was_paid_twice_is_a_problem_and_no_fault_of_the_books(town: Town, engine: AsyncEngine) -> None:
    await town.rides()
    await town.passes(60)
    await town.is_paid_elsewhere()
    await town.announced()

    problem = (await town.trip()).problem
    assert problem is not None
    assert problem.code == PAID_TWICE
    assert await wrong(town, engine) == []
    await town.settlement.clear_problem("t1")
    assert await wrong(town, engine) == []


async def test_too_much_that_nobody_will_send_back_is_found(town: Town, engine: AsyncEngine) -> None:
    await town.rides()
    await town.passes(60)
    await town.lowers()
    for _ in range(5):
        await town.passes(600)
    await town.announced()
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE trip SET returned_fen = 1199"))

    found = await wrong(town, engine)

    assert [(finding.check, finding.trips) for finding in found] == [("what is too much goes back", ("t1",))]


async def test_too_much_that_is_due_and_that_nobody_takes_up_is_found(town: Town, engine: AsyncEngine) -> None:
    await town.rides()
    await town.passes(60)
    await town.settlement.note_lowered(town.a_lower_fare())
    await town.announced()
    soon = await wrong(town, engine)
    town.clock.now += timedelta(minutes=10)

    late = await wrong(town, engine)

    assert soon == []
    assert [(finding.check, finding.trips) for finding in late] == [("due trips are taken up", ("t1",))]


async def test_money_that_wechat_pay_took_for_what_was_paid_elsewhere_is_found(town: Town, engine: AsyncEngine) -> None:
    await town.rides()
    await town.passes(60)
    await town.announced()
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE trip SET transaction_id = '', transaction_ids = NULL, debits = NULL, paid_elsewhere = "
                """'{"paid_at": "2026-05-01T12:00:00Z", "amount_fen": 3200, "channel": "cash"}'"""
            )
        )

    found = {finding.check: finding.detail for finding in await wrong(town, engine)}

    assert set(found) == {"WeChat Pay says the same", "no order runs for a trip that is over"}
    assert (
        found["WeChat Pay says the same"]
        == "t1: PAID with 3200 fen, paid elsewhere, and WeChat Pay: DONE, paid 3200 of 3200"
    )


# --- What is outstanding ---


async def test_money_that_was_paid_elsewhere_is_outstanding_no_more(town: Town, engine: AsyncEngine) -> None:
    town.simulator.set_passenger("oPassenger", NEVER)
    await town.rides()
    limit = timedelta(seconds=5)
    before = (await standing(engine, town.now, limit=limit)).outstanding_fen

    await town.is_paid_elsewhere(paid_at=town.now + timedelta(minutes=5))

    assert await town.state() is TripState.COMPLETED
    assert (before, (await standing(engine, town.now, limit=limit)).outstanding_fen) == (3_200, 0)


# --- Archived ---


async def archived(town: Town, database_url: str, directory: Path) -> int:
    """Archive whatever may go; returns how many trips went."""
    await town.announced()
    async with Archive.of(database_url) as archive:
        runs = archive.run(Plan(before=town.now + DAY, directory=directory), town.now)
        return sum([moved.trips async for moved in runs])


async def test_a_trip_is_not_archived_before_all_that_is_too_much_went_back(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await town.rides()
    await town.passes(60)
    await town.settlement.note_lowered(town.a_lower_fare())
    noted = await archived(town, database_url, tmp_path)
    await town.settlement.advance("t1")
    going_back = await archived(town, database_url, tmp_path)
    await Reconciler(storage=town.storage, desk=town.refunds, clock=town.clock).run_once()
    for _ in range(5):
        await town.passes(600)

    assert (noted, going_back, await archived(town, database_url, tmp_path)) == (0, 0, 1)


async def test_what_is_told_of_the_fare_of_an_archived_trip_is_for_a_person(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await town.rides()
    await town.passes(60)
    await town.lowers()
    for _ in range(5):
        await town.passes(600)
    assert await archived(town, database_url, tmp_path) == 1

    with pytest.raises(TripArchived, match="is archived in"):
        await town.lowers()
    with pytest.raises(TripArchived, match="is archived in"):
        await town.is_paid_elsewhere(amount_fen=2_000)


async def test_a_charge_that_comes_after_a_trip_was_archived_as_paid_elsewhere_is_no_secret(
    town: Town, database_url: str, tmp_path: Path
) -> None:
    await town.rides("another")
    await town.passes(60)
    resource = dict(town.received[-1][1])
    await town.ends()
    await town.is_paid_elsewhere()
    assert await archived(town, database_url, tmp_path) == 2

    with pytest.raises(ConflictingFact, match="paid without it, and is archived"):
        await order_paid.handle(OrderPaid(resource=resource | {"out_order_no": "t1"}), town.settlement)
