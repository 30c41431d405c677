"""Orders that the passenger confirms one by one, from the trip to the announced result, against the simulator."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from payscore_worker.domain.trip import (
    DeclineReason,
    TripState,
)
from payscore_worker.errors import OutcomeUnknown
from payscore_worker.events import CLOUD_EVENT
from payscore_worker.simulator import FaultKind, Service
from payscore_worker.storage import Storage
from tests.integration.settlement.test_replay import a_letter, judged
from tests.integration.settlement.town import Town, a_town, simulator_keys

EXPIRES = timedelta(minutes=55)


@pytest.fixture
async def town(storage: Storage, family: str) -> AsyncIterator[Town]:
    """A town whose merchant may open orders that need a confirmation, and no others."""
    keys = simulator_keys()
    service = Service(appid=keys.appid, service_id=keys.service_id, mode="need_confirm")
    async with a_town(
        storage,
        family,
        rules={"need_user_confirm": True, "confirm_expires": EXPIRES},
        merchant={"need_user_confirm": True},
        services=(service,),
    ) as town:
        yield town


async def asked(town: Town) -> dict[str, Any]:
    """Take the one announcement by which the passenger is asked to confirm."""
    ((type_, data),) = await town.announced()
    assert type_ == "settlement.confirmation_requested"
    return data


def package_of(data: dict[str, Any]) -> str:
    return str(data["confirm"]["extraData"]["package"])


async def test_the_passenger_is_asked_to_confirm_and_rides_once_he_has(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    assert request["confirm"]["businessType"] == "wxpayScoreUse"
    assert (await town.trip()).opened_at is None

    town.simulator.confirm(package_of(request), "oPassenger")
    await town.passes(5)
    assert await town.announced_types() == ["settlement.opened"]
    await town.passes(600)
    await town.ends()
    await town.passes(60)

    assert (await town.state(), town.charged_fen()) == (TripState.PAID, 3_200)
    assert await town.announced_types() == ["settlement.completed", "settlement.paid"]


async def test_what_opens_the_page_is_told_once_and_is_kept_nowhere(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    await town.starts()
    await town.passes(60)

    assert await town.announced() == []
    assert package_of(request) not in repr(await town.trip())


async def test_no_service_state_is_asked_for_where_each_order_is_confirmed(town: Town) -> None:
    await town.starts()

    assert town.calls_made("user_service_state") + town.calls_made("query_permission") == 0


async def test_a_confirmation_that_nobody_told_of_is_asked_for(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    town.listening = False
    town.simulator.confirm(package_of(request), "oPassenger")
    town.simulator.clear_faults()

    await town.passes(60)

    assert await town.announced_types() == ["settlement.opened"]


async def test_an_order_that_is_not_confirmed_in_time_is_cancelled_and_declined(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    town.simulator.leave(package_of(request), "oPassenger")
    for _ in range(5):
        await town.passes(660)

    trip = await town.trip()
    assert trip.state is TripState.DECLINED
    assert trip.declined is not None
    assert trip.declined.reason is DeclineReason.NOT_CONFIRMED
    assert (town.calls_made("cancel"), town.charged_fen()) == (1, 0)
    assert [data["reason"] for _, data in await town.announced()] == ["not_confirmed"]


async def test_a_passenger_who_confirms_at_the_last_moment_unheard_rides_on_the_order(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    await town.passes(EXPIRES.total_seconds() - 1)
    town.listening = False
    town.simulator.confirm(package_of(request), "oPassenger")

    await town.passes(1)

    assert await town.announced_types() == ["settlement.opened"]
    assert town.calls_made("cancel") == 0


async def test_while_wechat_pay_does_not_say_whether_he_has_nothing_is_decided(town: Town) -> None:
    await town.starts()
    await asked(town)
    town.refuse("query", "SYSTEM_ERROR", "系统繁忙", times=None)
    await town.passes(EXPIRES.total_seconds() + 1)
    assert ((await town.state()), town.calls_made("cancel")) == (TripState.OPEN, 0)

    town.simulator.clear_faults()
    for _ in range(3):
        await town.passes(3_600)

    assert await town.state() is TripState.DECLINED


async def test_a_passenger_who_confirms_while_the_order_is_cancelled_does_not_ride_on_it(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    await town.passes(EXPIRES.total_seconds() - 1)
    town.fault(FaultKind.UNAVAILABLE, "cancel", times=9)
    await town.passes(2)
    town.listening = False
    town.simulator.confirm(package_of(request), "oPassenger")
    town.simulator.clear_faults()
    for _ in range(3):
        await town.passes(120)

    assert (await town.state(), town.charged_fen()) == (TripState.DECLINED, 0)


@pytest.mark.parametrize("fault", [FaultKind.DROP_REPLY, FaultKind.FAIL_AFTER])
async def test_a_create_whose_answer_is_lost_is_sent_again_and_the_passenger_asked(
    town: Town, fault: FaultKind
) -> None:
    town.fault(fault, "create", times=3)

    with pytest.raises(OutcomeUnknown):
        await town.starts()
    await town.passes(60)
    request = await asked(town)
    town.simulator.confirm(package_of(request), "oPassenger")
    await town.passes(5)

    assert await town.announced_types() == ["settlement.opened"]
    assert town.order().creates >= 1


async def test_a_trip_that_is_cancelled_before_it_is_confirmed_is_over(town: Town) -> None:
    await town.starts()
    await asked(town)

    await town.cancels()

    assert (await town.state(), town.calls_made("cancel")) == (TripState.CANCELLED, 1)


async def test_a_trip_that_ended_before_it_was_confirmed_is_completed_then(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    await town.passes(600)
    await town.ends()
    assert await town.announced() == []

    town.simulator.confirm(package_of(request), "oPassenger")
    for _ in range(4):
        await town.passes(30)

    assert (await town.state(), town.charged_fen()) == (TripState.PAID, 3_200)


async def test_a_passenger_who_has_authorised_orders_without_confirmation_needs_none(
    storage: Storage, family: str
) -> None:
    async with a_town(storage, family) as town:
        await town.starts()

        assert await town.announced_types() == ["settlement.opened"]


async def test_an_order_without_confirmation_is_no_passengers_choice_where_the_service_has_the_other_mode(
    storage: Storage, family: str
) -> None:
    """Reference payscore-api B.0: a service has one mode, so it is our setting that is wrong, and no trip."""
    async with a_town(storage, family, rules={"need_user_confirm": True}, merchant={"need_user_confirm": True}) as town:
        await town.starts()
        for _ in range(3):
            await town.passes(3_600)

        assert (await town.state(), await town.announced()) == (TripState.NOTED, [])
        assert town.calls_made("user_service_state") + town.calls_made("query_permission") == 0


async def test_a_dead_letter_that_tells_of_a_confirmation_says_what_would_come_of_it(town: Town) -> None:
    await town.starts()
    request = await asked(town)
    town.listening = False
    town.simulator.confirm(package_of(request), "oPassenger")
    event = {"specversion": "1.0", "id": "m1", "source": "wechatpay", "type": "payscore.user_confirm"}
    body = msgspec.json.encode(event | {"data": town.simulator.entity("t1")})
    letter = replace(a_letter("payscore.order-confirmed", body), content_type=CLOUD_EVENT)

    before = await judged(town, letter)
    await town.passes(60)
    after = await judged(town, letter)

    assert before.decision.why == "shows that the order runs; the trip is OPEN"
    assert after.decision.why == "changes nothing: the trip is OPEN"
