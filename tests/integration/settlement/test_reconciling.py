"""What nobody told us is found by asking, once, whoever asks; and nobody asks while WeChat Pay is out."""

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import Counter

from payscore_worker import metrics
from payscore_worker.domain.trip import TripState
from payscore_worker.settlement.reconciler import Reconciler
from payscore_worker.simulator import Behaviour, Passenger
from payscore_worker.storage import Storage
from tests.integration.settlement.town import MINUTE, Town, a_town
from tests.unit.ops.samples import value


async def test_a_trip_paid_through_another_channel_is_found_paid_although_no_callback_tells_of_it(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.simulator.sync("t1")

    await town.passes(60)

    assert await town.state() is TripState.PAID
    assert town.received == []
    assert town.charged_fen() == 0
    types = await town.announced_types()
    assert types.count("settlement.paid") == 1


async def test_an_order_that_wechat_gave_up_during_the_ride_is_found_by_the_end_of_the_trip(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.simulator.expire("t1")

    await town.ends()

    assert await town.state() is TripState.DECLINED
    assert [(t, d.get("reason")) for t, d in await town.announced()][-1] == ("settlement.declined", "expired")


async def test_reconcilers_side_by_side_ask_about_each_trip_once(storage: Storage, family: str) -> None:
    async with a_town(storage, family) as town:
        town.listening = False
        trips = [f"t{number}" for number in range(12)]
        for trip_id in trips:
            await town.starts(trip_id, openid=f"oPassenger{trip_id}")
        await town.passes(600)
        for trip_id in trips:
            await town.ends(trip_id)
        await town.passes(3)
        asked = town.calls_made("query")
        others = [Reconciler(storage=town.storage, desk=town.another_settlement(), clock=town.clock) for _ in range(3)]
        town.clock.now += MINUTE

        claimed = await asyncio.gather(*(one.run_once() for one in (town.reconciler, *others)))

        assert sum(claimed) == len(trips)
        assert town.calls_made("query") - asked == len(trips)
        assert [await town.state(trip_id) for trip_id in trips] == [TripState.PAID] * len(trips)


async def test_a_trip_that_was_taken_up_for_nothing_is_due_again_when_its_time_comes(town: Town) -> None:
    await town.starts()
    assert await town.storage.save(await town.trip(), due_at=town.now, now=town.now)

    taken_up = []
    for hours in (0, 1, 22, 1):
        town.clock.now += timedelta(hours=hours)
        taken_up.append(await town.reconciler.run_once())

    assert taken_up == [1, 0, 0, 1]
    assert (await town.announced_types())[-1] == "settlement.stale"


async def test_nothing_is_taken_up_while_wechat_pay_is_out_and_everything_after(town: Town) -> None:
    town.listening = False
    await town.rides()
    town.clock.now += MINUTE
    is_out = True
    reconciler = Reconciler(storage=town.storage, desk=town.settlement, clock=town.clock, is_out=lambda: is_out)
    await town.simulator.run_once()
    asked = town.calls_made("query")

    assert await reconciler.run_once() == 0
    assert town.calls_made("query") == asked

    is_out = False
    assert await reconciler.run_once() == 1
    assert await town.state() is TripState.PAID


@pytest.mark.parametrize("days", [1, 30])
async def test_an_unpaid_trip_is_asked_about_at_ever_longer_intervals_until_it_is_paid(
    storage: Storage, family: str, days: int
) -> None:
    async with a_town(storage, family) as town:
        town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
        town.listening = False
        await town.rides()
        for _ in range(days * 24):
            await town.passes(3_600)
        asked = town.calls_made("query")
        town.simulator.pay("t1")

        await town.passes(86_400)

        assert await town.state() is TripState.PAID
        assert asked <= 40 + days  # the first day by the schedule, then once a day (reference D.5)


@pytest.mark.usefixtures("town")
@pytest.mark.parametrize("counter", [metrics.TAKEN_UP, metrics.REFUNDS_TAKEN_UP], ids=["trips", "refunds"])
async def test_what_becomes_of_the_cases_taken_up_is_counted_from_the_start(counter: Counter) -> None:
    for outcome in ("done", "waits", "stuck", "error"):
        assert value(counter, outcome=outcome) is not None
