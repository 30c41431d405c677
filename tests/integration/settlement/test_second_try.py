"""A trip that was refused for risk is tried once more, for less, under a second number, where the settings say so."""

from collections.abc import AsyncIterator

import pytest

from payscore_worker.domain.second_try import FIRST_ORDER_COLLECTS, FIRST_ORDER_RUNS
from payscore_worker.domain.trip import LATE_LOOK, TripState, second_order_no_for
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.storage import Storage
from tests.integration.settlement.town import Town, a_town

SECOND = second_order_no_for("t1")

SECOND_FEN = 2_000


@pytest.fixture
async def town(storage: Storage, family: str) -> AsyncIterator[Town]:
    """A town whose orders are tried again for 20 yuan, and whose passenger is refused the first time."""
    async with a_town(storage, family, rules={"second_risk_amount_fen": SECOND_FEN}) as town:
        town.simulator.set_order("t1", Passenger(Behaviour.RISK_REFUSED))
        yield town


async def is_tried_again(town: Town) -> None:
    await town.starts()
    await town.passes(10)  # the second answer that there is no order


async def looks_at_the_first(town: Town) -> None:
    await town.passes(LATE_LOOK.total_seconds())
    await town.passes(60)  # whoever moved the trip has it for so long to itself


async def test_who_is_refused_for_risk_rides_on_an_order_for_less_and_pays_once(town: Town) -> None:
    await is_tried_again(town)
    assert await town.state() is TripState.OPEN
    await town.passes(600)
    await town.ends(total_fen=1_800)
    await looks_at_the_first(town)

    announced = await town.announced()
    assert [type_ for type_, _ in announced] == ["settlement.opened", "settlement.completed", "settlement.paid"]
    assert {data["out_order_no"] for _, data in announced} == {SECOND}
    assert announced[0][1]["risk_amount_fen"] == SECOND_FEN
    assert town.simulator.ledger_entry(SECOND).charged_fen == 1_800
    trip = await town.trip()
    assert trip.second is not None
    assert (trip.second.first_order_no, trip.second.look_at) == ("t1", None)


async def test_the_second_number_is_the_same_one_whoever_asks_for_it(town: Town) -> None:
    await town.starts()
    await town.passes(5)
    other = town.another_settlement()
    town.clock.now += town.rules.poll_delays[-1]
    await other.advance("t1")
    await town.settlement.advance("t1")

    assert (await town.trip()).out_order_no == SECOND
    assert town.calls_made("create") == 2


async def test_who_is_refused_twice_is_declined(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.RISK_REFUSED))

    await is_tried_again(town)
    await town.passes(10)
    await looks_at_the_first(town)

    ((type_, data),) = await town.announced()
    assert (type_, data["reason"], data["out_order_no"]) == ("settlement.declined", "risk_refused", SECOND)
    assert town.calls_made("create") == 2
    trip = await town.trip()
    assert (trip.look, trip.second and trip.second.look_at) == (None, None)


@pytest.mark.parametrize("behaviour", [Behaviour.ARREARS, Behaviour.TOO_MANY_ORDERS, Behaviour.MINOR_PROTECTED])
async def test_nothing_but_risk_is_tried_again(town: Town, behaviour: Behaviour) -> None:
    town.simulator.set_order("t1", Passenger(behaviour))

    await is_tried_again(town)

    assert await town.state() is TripState.DECLINED
    assert town.calls_made("create") == 1


async def test_a_trip_that_names_no_more_than_the_second_amount_is_declined(town: Town) -> None:
    await town.starts(risk_amount_fen=SECOND_FEN)
    await town.passes(10)

    assert await town.state() is TripState.DECLINED


async def test_a_fare_that_the_second_order_cannot_take_is_not_tried_again(town: Town) -> None:
    """In the legacy family the risk amount is the cap of the fare (reference payscore-api 0.8)."""
    await town.starts()
    await town.ends(total_fen=SECOND_FEN + 1)
    await town.passes(10)

    assert await town.state() is (TripState.DECLINED if town.rules.family == "payafter" else TripState.OPEN)


async def test_a_trip_that_is_cancelled_meanwhile_is_not_tried_again(town: Town) -> None:
    await town.starts()
    await town.cancels()
    await town.passes(10)

    assert await town.state() is TripState.CANCELLED
    assert town.calls_made("create") == 1


async def test_a_first_order_that_runs_all_the_same_is_cancelled_and_the_second_is_paid(town: Town) -> None:
    town.simulator.set_order("t1", Passenger())
    town.refuse("create", "INVALID_REQUEST", "综合评估未通过", sub_code=271300099, after=True)
    town.fault(FaultKind.NOT_YET, "query", out_order_no="t1", times=2)

    await is_tried_again(town)
    await looks_at_the_first(town)
    await town.ends(total_fen=1_800)
    await town.passes(600)

    assert town.order("t1").cancels == 1
    assert town.order("t1").charges == []
    assert town.order(SECOND).charged_fen == 1_800
    assert await town.state() is TripState.PAID


async def test_a_first_order_that_cannot_be_cancelled_is_tried_again_and_then_for_a_person(town: Town) -> None:
    town.simulator.set_order("t1", Passenger())
    town.refuse("create", "INVALID_REQUEST", "综合评估未通过", sub_code=271300099, after=True)
    town.fault(FaultKind.NOT_YET, "query", out_order_no="t1", times=2)
    town.refuse("cancel", "INVALID_REQUEST", "不能取消", times=None)

    await is_tried_again(town)
    await town.ends(total_fen=1_800)
    await looks_at_the_first(town)
    assert (await town.trip()).problem is None
    for _ in range(8):
        await town.passes(7_200)

    trip = await town.trip()
    assert trip.state is TripState.PAID
    assert trip.problem is not None
    assert trip.problem.code == FIRST_ORDER_RUNS
    assert town.calls_made("cancel") == 6

    town.simulator.clear_faults()
    await town.settlement.clear_problem("t1")
    await town.passes(60)

    assert town.order("t1").cancels == 1
    assert (await town.trip()).problem is None


async def test_a_first_order_that_somebody_else_completed_is_for_a_person(town: Town) -> None:
    town.simulator.set_order("t1", Passenger())
    town.refuse("create", "INVALID_REQUEST", "综合评估未通过", sub_code=271300099, after=True)
    town.fault(FaultKind.NOT_YET, "query", out_order_no="t1", times=2)
    await is_tried_again(town)
    town.simulator.complete_by_hand("t1", 900)

    await looks_at_the_first(town)

    trip = await town.trip()
    assert trip.state is TripState.OPEN
    assert trip.problem is not None
    assert trip.problem.code == FIRST_ORDER_COLLECTS


async def test_without_the_setting_nobody_is_tried_again(storage: Storage, family: str) -> None:
    async with a_town(storage, family) as town:
        town.simulator.set_order("t1", Passenger(Behaviour.RISK_REFUSED))

        await is_tried_again(town)

        assert await town.state() is TripState.DECLINED
