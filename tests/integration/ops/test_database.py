"""What the gauges of the database say is what the database holds, on both databases."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Select, func, select, text, update
from sqlalchemy.event import listen, remove
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker import metrics
from payscore_worker.domain.next_step import IN_HAND
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import Retryable
from payscore_worker.events import AuthorisationRequested
from payscore_worker.ops.database import DatabaseLook
from payscore_worker.simulator import FaultKind
from payscore_worker.simulator.payscore.orders import Stage
from payscore_worker.storage import Storage
from payscore_worker.storage.belonging import NOBODY, Owners
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.standing import REFUND_SINCE, UNFINISHED, refunds_under_way, standing
from payscore_worker.storage.tables import authorisation, refund, trip
from tests.integration.databases import database_url, dialect, storage
from tests.integration.relabelling import as_json, has_mchid, says
from tests.integration.settlement.town import Town, a_town
from tests.unit.ops.samples import value

__all__ = ["database_url", "dialect", "storage"]  # fixtures

LIMIT = timedelta(seconds=5)
OTHER_MCHID = "1900000998"


@pytest.fixture
async def town(storage: Storage) -> AsyncIterator[Town]:
    async with a_town(storage, "payafter") as town:
        yield town


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_for(database_url) as engine:
        yield engine


def owners(town: Town, name: str = "default") -> Owners:
    return Owners(default=name, names={town.payscore.terms.mchid: name, OTHER_MCHID: "south"})


@pytest.fixture
def look(town: Town, engine: AsyncEngine) -> DatabaseLook:
    return DatabaseLook(engine, town.clock, owners(town))


async def test_an_empty_database_is_all_zeros(look: DatabaseLook) -> None:
    await look.look_at_unfinished()
    await look.look_at_all()

    for state in UNFINISHED:
        assert value(metrics.TRIPS, account="default", state=state) == 0
        assert value(metrics.TRIPS_AGE, account="default", state=state) == 0
    for state in REFUND_SINCE:
        assert value(metrics.REFUNDS, account="default", state=state) == 0
        assert value(metrics.REFUNDS_AGE, account="default", state=state) == 0
    for gauge in (metrics.PROBLEM_REFUNDS, metrics.PROBLEM_REFUNDS_AGE, metrics.RESERVED_FEN):
        assert value(gauge, account="default") == 0
    for gauge in (metrics.PROBLEM_TRIPS, metrics.OUTSTANDING_FEN, metrics.PROBLEM_AUTHORISATIONS):
        assert value(gauge, account="default") == 0
    for gauge in (metrics.REFUNDS_DUE_LAG, metrics.OUTBOX_ROWS, metrics.OUTBOX_AGE):
        assert value(gauge) == 0
    assert value(metrics.IMBALANCE) == 0


async def test_trips_are_counted_by_state_with_the_age_of_the_oldest_in_it(town: Town, look: DatabaseLook) -> None:
    await town.starts("old", openid="oOne")
    await town.passes(600)
    await town.starts("young", openid="oTwo")
    await town.ends("old")
    town.clock.now += timedelta(seconds=1)

    await look.look_at_unfinished()

    assert {state: value(metrics.TRIPS, account="default", state=state) for state in UNFINISHED} == {
        "NOTED": 0,
        "OPEN": 1,
        "COMPLETED": 1,
    }
    assert value(metrics.TRIPS_AGE, account="default", state="OPEN") == pytest.approx(1, abs=1)
    assert value(metrics.TRIPS_AGE, account="default", state="COMPLETED") == pytest.approx(1)
    assert (
        value(metrics.UNANSWERED, account="default", call="complete") == 0
    )  # the open trip rides on: nothing was sent for its end
    assert value(metrics.OUTSTANDING_FEN, account="default") == 3_200
    assert value(metrics.OUTBOX_ROWS) == 3
    assert value(metrics.OUTBOX_AGE) == pytest.approx(601)

    await town.announced()
    await town.passes(3)
    await look.look_at_unfinished()

    assert value(metrics.OUTSTANDING_FEN, account="default") == 0
    assert value(metrics.TRIPS, account="default", state="COMPLETED") == 0


async def test_what_nobody_listens_to_is_counted_by_type_and_is_no_lag(town: Town, look: DatabaseLook) -> None:
    await town.starts()
    rows = await town.storage.claim_outbox(now=town.now, lease=timedelta(minutes=1), limit=10)
    await town.storage.mark_unrouted([row.id for row in rows], now=town.now)
    town.clock.now += timedelta(hours=1)

    await look.look_at_unfinished()

    assert value(metrics.OUTBOX_UNROUTED, type="settlement.opened") == 1
    assert value(metrics.OUTBOX_UNROUTED, type="settlement.paid") == 0
    assert (value(metrics.OUTBOX_ROWS), value(metrics.OUTBOX_AGE)) == (0, 0)


async def test_a_call_that_may_be_on_its_way_is_seen_until_it_is_answered(town: Town, look: DatabaseLook) -> None:
    town.fault(FaultKind.UNAVAILABLE, "create", times=None)
    with pytest.raises(Exception, match=r"503|unavailable"):
        await town.starts()
    town.clock.now += timedelta(seconds=150)
    await look.look_at_unfinished()

    assert value(metrics.UNANSWERED, account="default", call="create") == 1
    assert value(metrics.UNANSWERED_AGE, account="default", call="create") == pytest.approx(150)
    assert value(metrics.UNANSWERED, account="default", call="complete") == 0

    town.simulator.clear_faults()
    await town.settlement.advance("t1")
    await look.look_at_unfinished()

    assert value(metrics.UNANSWERED, account="default", call="create") == 0
    assert value(metrics.UNANSWERED_AGE, account="default", call="create") == 0


async def test_a_trip_with_a_problem_is_counted_and_its_age_grows(town: Town, look: DatabaseLook) -> None:
    town.listening = False
    await town.rides()
    town.simulator.revoke("t1")
    await town.passes(5)
    town.clock.now += timedelta(hours=5)
    await look.look_at_unfinished()
    await look.look_at_all()

    assert value(metrics.PROBLEM_TRIPS, account="default") == 1
    assert value(metrics.PROBLEM_AGE, account="default") == pytest.approx(5 * 3600)
    assert value(metrics.BOOKS, entry="with_problem") == 1
    assert value(metrics.UNANSWERED, account="default", call="create") == 0  # a person has it now


async def test_a_problem_of_a_trip_that_is_over_is_counted_too(town: Town, look: DatabaseLook) -> None:
    await town.starts()
    await town.cancels()
    order = town.simulator._state.book.order("t1")
    assert order is not None
    town.simulator._state.book.save(replace(order, stage=Stage.RUNNING))
    town.simulator.complete_by_hand("t1", 1_500)
    await town.passes(3)
    assert await town.state() is TripState.CANCELLED

    await look.look_at_unfinished()
    await look.look_at_all()

    assert value(metrics.PROBLEM_TRIPS, account="default") == 1
    assert value(metrics.BOOKS, entry="with_problem") == 1


async def test_trips_that_nobody_takes_up_are_seen(town: Town, look: DatabaseLook) -> None:
    await town.starts()
    due_at = town.clock.now + town.rules.stale_after
    town.clock.now = due_at + timedelta(seconds=400)
    await look.look_at_unfinished()

    lag = value(metrics.TRIPS_DUE_LAG)
    assert lag is not None
    assert lag >= 400

    await town.reconciler.run_once()
    await look.look_at_unfinished()

    assert value(metrics.TRIPS_DUE_LAG) == 0
    assert value(metrics.TRIPS_LATE, account="default", what="stale") == 1


# --- Refunds ---


async def paid(town: Town) -> None:
    await town.rides()
    await town.passes(3)
    assert await town.state() is TripState.PAID


async def test_refunds_under_way_are_counted_by_state_with_their_age_and_the_money_promised(
    town: Town, look: DatabaseLook
) -> None:
    await paid(town)
    town.fault(FaultKind.UNAVAILABLE, "refund", times=None)
    with pytest.raises(Retryable):
        await town.refunds_of("waits", amount_fen=300)
    town.simulator.clear_faults()
    town.clock.now += timedelta(seconds=20)
    await town.refunds_of("goes", amount_fen=500)
    town.clock.now += timedelta(seconds=100)
    await town.refunds.advance("goes")  # a minute apart from the first, as WeChat Pay wants it
    town.clock.now += timedelta(seconds=30)

    await look.look_at_unfinished()

    assert {state: value(metrics.REFUNDS, account="default", state=state) for state in REFUND_SINCE} == {
        "REQUESTED": 1,
        "ACCEPTED": 1,
    }
    assert value(metrics.REFUNDS_AGE, account="default", state="REQUESTED") == pytest.approx(150)
    assert value(metrics.REFUNDS_AGE, account="default", state="ACCEPTED") == pytest.approx(30)
    assert value(metrics.RESERVED_FEN, account="default") == 800
    assert value(metrics.PROBLEM_REFUNDS, account="default") == 0

    for _ in range(3):
        await town.passes(600)
    await look.look_at_unfinished()

    assert {state: value(metrics.REFUNDS, account="default", state=state) for state in REFUND_SINCE} == {
        "REQUESTED": 0,
        "ACCEPTED": 0,
    }
    assert (value(metrics.RESERVED_FEN, account="default"), value(metrics.REFUNDS_DUE_LAG)) == (0, 0)


async def test_a_refund_with_a_problem_is_counted_its_age_grows_and_its_money_stays_promised(
    town: Town, look: DatabaseLook
) -> None:
    await paid(town)
    await stopped(town)
    problem = (await town.refund()).problem
    assert problem is not None
    town.clock.now = problem.since + timedelta(hours=5)

    await look.look_at_unfinished()

    assert value(metrics.PROBLEM_REFUNDS, account="default") == 1
    assert value(metrics.PROBLEM_REFUNDS_AGE, account="default") == pytest.approx(5 * 3600)
    assert value(metrics.RESERVED_FEN, account="default") == 1_000
    assert value(metrics.REFUNDS_DUE_LAG) == 0
    assert value(metrics.PROBLEM_TRIPS, account="default") == 0  # the trip is paid, and nobody need look at it


async def stopped(town: Town) -> None:
    """Have a refund that WeChat Pay refused twice, in a way that no waiting changes."""
    town.refuse("refund", "USER_ACCOUNT_ABNORMAL", "用户账户异常或已注销", status=403, times=None)
    await town.refunds_of("r1")
    for _ in range(4):
        await town.passes(300)


async def test_refunds_that_nobody_takes_up_are_seen(town: Town, look: DatabaseLook) -> None:
    await paid(town)
    town.fault(FaultKind.UNAVAILABLE, "refund", times=None)
    with pytest.raises(Retryable):
        await town.refunds_of("r1")
    town.clock.now += IN_HAND + timedelta(seconds=400)

    await look.look_at_unfinished()

    assert value(metrics.REFUNDS_DUE_LAG) == pytest.approx(400)
    assert value(metrics.TRIPS_DUE_LAG) == 0

    town.simulator.clear_faults()
    await town.refund_reconciler.run_once()
    await look.look_at_unfinished()

    assert value(metrics.REFUNDS_DUE_LAG) == 0


# --- Whose it is ---


async def test_what_is_unfinished_is_counted_for_the_account_whose_it_is(town: Town, engine: AsyncEngine) -> None:
    look = DatabaseLook(engine, town.clock, owners(town, "north"))
    for trip_id in ("n1", "s1", "s2", "gone"):
        await town.starts(trip_id, openid=f"o{trip_id}")
    await town.passes(600)
    for trip_id in ("n1", "s1", "s2"):
        await town.ends(trip_id)
    await has_mchid(engine, OTHER_MCHID, "s1", "s2")
    await has_mchid(engine, "1900000997", "gone")

    await look.look_at_unfinished()

    in_by = {
        account: {state: value(metrics.TRIPS, account=account, state=state) for state in ("OPEN", "COMPLETED")}
        for account in ("north", "south", NOBODY)
    }
    assert in_by == {
        "north": {"OPEN": 0, "COMPLETED": 1},
        "south": {"OPEN": 0, "COMPLETED": 2},
        NOBODY: {"OPEN": 1, "COMPLETED": 0},
    }
    assert value(metrics.OUTSTANDING_FEN, account="north") == 3_200
    assert value(metrics.OUTSTANDING_FEN, account="south") == 6_400
    assert value(metrics.TRIPS_AGE, account=NOBODY, state="OPEN") == pytest.approx(600, abs=10)

    await has_mchid(engine, OTHER_MCHID, "gone")
    await look.look_at_unfinished()

    assert value(metrics.TRIPS, account="south", state="OPEN") == 1
    assert value(metrics.TRIPS, account=NOBODY, state="OPEN") == 0  # and not for ever what it was
    whole = await standing(engine, town.now, limit=LIMIT)
    assert (whole.states["COMPLETED"].count, whole.outstanding_fen) == (3, 9_600)


async def test_before_there_is_an_order_a_trip_is_whose_its_start_says(town: Town, engine: AsyncEngine) -> None:
    look = DatabaseLook(engine, town.clock, owners(town, "north"))
    town.fault(FaultKind.UNAVAILABLE, town.service_question, times=None)
    for number, account in enumerate(("north", "south", "was-there-once", "", "")):
        with pytest.raises(Retryable):
            await town.starts(f"t{number}", openid=f"o{number}")
        await says(engine, trip.c.started, f"t{number}", account=account)

    await look.look_at_unfinished()

    noted = {account: value(metrics.TRIPS, account=account, state="NOTED") for account in ("north", "south", NOBODY)}
    assert noted == {"north": 3, "south": 1, NOBODY: 1}


async def test_problems_and_refunds_are_counted_for_the_account_whose_they_are(town: Town, engine: AsyncEngine) -> None:
    look = DatabaseLook(engine, town.clock, owners(town, "north"))
    await paid(town)
    await stopped(town)
    await has_mchid(engine, OTHER_MCHID, "t1")
    async with engine.begin() as connection:
        await connection.execute(update(trip).values(problem=select(refund.c.problem).scalar_subquery()))

    await look.look_at_unfinished()

    assert [value(metrics.PROBLEM_TRIPS, account=account) for account in ("north", "south")] == [0, 1]
    assert [value(metrics.PROBLEM_REFUNDS, account=account) for account in ("north", "south")] == [0, 1]
    assert [value(metrics.RESERVED_FEN, account=account) for account in ("north", "south")] == [0, 1_000]
    assert value(metrics.REFUNDS, account="south", state="REQUESTED") == 1


async def test_an_authorisation_that_stands_still_is_counted_for_its_account(town: Town, engine: AsyncEngine) -> None:
    look = DatabaseLook(engine, town.clock, Owners(default="north", names={"1900000997": "north"}))
    await town.authorisations.note_requested(AuthorisationRequested(request_id="q1", openid="oRider"))
    async with engine.begin() as connection:
        await connection.execute(update(authorisation).values(problem=as_json({"code": "malformed_call"})))

    await look.look_at_unfinished()

    assert value(metrics.PROBLEM_AUTHORISATIONS, account="north") == 0
    assert value(metrics.PROBLEM_AUTHORISATIONS, account=NOBODY) == 1


async def test_no_look_at_what_is_unfinished_reads_what_is_over(town: Town, engine: AsyncEngine) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    listen(engine.sync_engine, "before_cursor_execute", note)
    await standing(engine, town.now, limit=LIMIT, owners=owners(town))
    remove(engine.sync_engine, "before_cursor_execute", note)
    questions = [
        question for question in asked if "FROM trip_event" not in question[0] and "SET LOCAL" not in question[0]
    ]

    word = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("SET LOCAL enable_seqscan = off"))  # an empty table is read whole
        plans = [await connection.exec_driver_sql(f"{word} {said}", parameters) for said, parameters in questions]
        read = [" ".join(str(column) for row in plan for column in row) for plan in plans]

    indexes = (
        *("trip_state", "trip_problem", "refund_under_way", "refund_problem", "authorisation_problem"),
        *("trip_due", "refund_due", "authorisation_due"),
    )
    assert len(read) == len(indexes)
    assert [index for index, plan in zip(indexes, read, strict=True) if f" {index}" not in plan] == []


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("refund_under_way", select(func.sum(refund.c.amount_fen)).where(refunds_under_way())),
        ("refund_problem", select(func.count()).select_from(refund).where(refund.c.problem.is_not(None))),
    ],
    ids=["under way", "with a problem"],
)
async def test_refunds_that_are_over_are_not_read(engine: AsyncEngine, index: str, statement: Select[Any]) -> None:
    word = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    written = str(statement.compile(engine, compile_kwargs={"literal_binds": False, "render_postcompile": True}))
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("SET LOCAL enable_seqscan = off"))  # an empty table is read whole
        plan = await connection.execute(text(f"{word} {written}"))

        assert f" {index}" in " ".join(str(column) for row in plan for column in row)


async def test_the_books_balance_until_somebody_takes_a_trip_out_of_them(
    town: Town, engine: AsyncEngine, look: DatabaseLook
) -> None:
    await town.rides("paid")
    await town.passes(3)
    await town.starts("open", openid="oRider")
    await look.look_at_all()

    entries = {entry: value(metrics.BOOKS, entry=entry) for entry in ("noted", "settled", "declined", "waiting")}
    assert entries == {"noted": 2, "settled": 1, "declined": 0, "waiting": 1}
    assert value(metrics.TRIPS, account="", state="PAID") == 1
    assert value(metrics.IMBALANCE) == 0

    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM trip WHERE trip_id = 'open'"))
    await look.look_at_all()

    assert value(metrics.IMBALANCE) == 1


async def test_a_look_that_postgresql_would_take_too_long_for_is_given_up_by_it(
    engine: AsyncEngine, town: Town
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no limit for a statement; the look itself has one")
    async with engine.connect() as locking:
        await locking.execute(text("LOCK TABLE trip IN ACCESS EXCLUSIVE MODE"))

        with pytest.raises(Exception, match="statement timeout"):
            await standing(engine, town.now, limit=timedelta(milliseconds=50))
