"""A passenger authorises PayScore, rides on though he had not, and leaves: in both families, against the simulator."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from payscore_worker.domain.authorisation import (
    GOOD_FOR,
    LOOKS,
    PAUSES,
    AuthorisationState,
    authorization_code_for,
)
from payscore_worker.domain.outcomes import APART
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import ConflictingFact, Retryable
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from tests.integration.settlement.town import Town

APART_SECONDS = APART.total_seconds()


@pytest.fixture(params=["payafter on sqlite", "serviceorder on sqlite", "serviceorder on postgresql"])
def setting(request: pytest.FixtureRequest) -> str:
    """Only one family gives tokens: it is tried on whatever database there is."""
    return str(request.param)


@pytest.fixture
def town(town: Town) -> Town:
    """The passenger has not enabled the service."""
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NOT_ENABLED))
    return town


async def told(town: Town, type_: str) -> list[dict[str, Any]]:
    """Take what waits in the outbox, and keep what is of one type."""
    return [data for kind, data in await town.announced() if kind == type_]


async def parameters(town: Town) -> dict[str, Any]:
    (only,) = await told(town, "authorisation.parameters")
    return only


# --- Requested ---


async def test_a_passenger_signs_with_what_he_is_given_and_the_ride_service_is_told(town: Town) -> None:
    await town.wants()

    given = await parameters(town)
    assert (given["request_id"], given["openid"]) == ("q1", "oPassenger")
    assert given["authorization_code"] == authorization_code_for("q1")
    town.signs(given["enable"])
    await town.passes(1)

    (opened,) = await told(town, "authorisation.opened")
    assert (opened["openid"], opened["authorization_code"]) == ("oPassenger", authorization_code_for("q1"))
    assert (await town.authorisation()).state is AuthorisationState.OPEN


async def test_a_passenger_who_has_the_service_already_is_asked_to_sign_nothing(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS))

    await town.wants()

    assert [type_ for type_, _ in await town.announced()] == ["authorisation.opened"]
    assert town.calls_made("pre_authorise") == 0


async def test_the_same_request_again_calls_nothing_while_the_parameters_are_good(town: Town) -> None:
    await town.wants()
    await parameters(town)
    made = len(town.simulator.calls(10_000))

    await town.wants()

    assert await town.announced() == []
    assert len(town.simulator.calls(10_000)) == made


async def test_the_same_request_after_an_hour_gives_fresh_parameters_under_the_same_number(
    town: Town, family: str
) -> None:
    await town.wants()
    first = await parameters(town)
    town.clock.now += GOOD_FOR

    await town.wants()

    again = await parameters(town)
    assert again["authorization_code"] == first["authorization_code"]
    assert again["enable"] != first["enable"]
    town.signs(again["enable"])
    await town.passes(1)
    assert (await town.authorisation()).state is AuthorisationState.OPEN
    if family == "serviceorder":
        call = await town.storage.last_call(authorization_code_for("q1"), "pre_authorise")
        assert call is not None
        assert (call.generation, call.begun, call.outcome) == (1, 2, "accepted")


async def test_a_request_that_was_used_for_another_passenger_is_refused_and_changes_nothing(town: Town) -> None:
    await town.wants()
    before = await town.authorisation()

    with pytest.raises(ConflictingFact, match=r"^openid: "):
        await town.wants(openid="oSomebodyElse")
    with pytest.raises(ConflictingFact, match=r"^client: "):
        await town.wants(client="h5")

    assert await town.authorisation() == before


async def test_a_request_that_is_handled_twice_at_once_asks_for_one_authorisation(town: Town) -> None:
    await asyncio.gather(town.wants(), town.wants(), town.wants())

    numbers = {data["authorization_code"] for data in await told(town, "authorisation.parameters")}
    assert numbers == {authorization_code_for("q1")}


async def test_a_signature_that_no_callback_tells_of_is_found_by_asking(town: Town) -> None:
    await town.wants()
    given = await parameters(town)
    town.listening = False
    town.signs(given["enable"])

    await town.passes(LOOKS[0].total_seconds())

    assert len(await told(town, "authorisation.opened")) == 1


async def test_a_passenger_who_never_signs_is_looked_after_for_an_hour_and_no_longer(town: Town) -> None:
    await town.wants()

    for delay in LOOKS:
        await town.passes(delay.total_seconds())
    made = town.calls_made("query_permission")
    await town.passes(timedelta(days=30).total_seconds())

    assert sum(LOOKS, timedelta()) > timedelta(hours=1)
    assert town.calls_made("query_permission") == made
    assert (await town.authorisation()).looks == len(LOOKS)


async def test_an_outage_delays_a_request_and_loses_nothing(town: Town, family: str) -> None:
    call = "query_permission" if family == "serviceorder" else "user_service_state"
    town.fault(FaultKind.UNAVAILABLE, call, times=3)
    with pytest.raises(Retryable):
        await town.wants()

    await town.passes(60)

    await parameters(town)


async def test_what_opens_the_page_is_kept_nowhere_but_in_the_outbox(town: Town, family: str) -> None:
    if family != "serviceorder":
        pytest.skip("only one family gives tokens")
    await town.wants()
    token = (await parameters(town))["enable"]["extraData"]["apply_permissions_token"]

    authorisation = await town.authorisation()
    assert token not in repr(authorisation)
    assert authorisation.token == ""
    call = await town.storage.last_call(authorization_code_for("q1"), "pre_authorise")
    assert call is not None
    assert token.encode() not in call.body


# --- Callbacks ---


async def test_a_callback_of_an_authorisation_that_nobody_requested_is_told_all_the_same(town: Town) -> None:
    town.simulator.open_service("oPassenger")
    await town.passes(1)
    town.simulator.close_service("oPassenger")
    await town.passes(1)

    types = [type_ for type_, _ in await town.announced()]
    assert types == ["authorisation.opened", "authorisation.closed"]
    (known,) = await town.authorisations.of("oPassenger")
    assert (known.state, known.request_id) == (AuthorisationState.CLOSED, "")


async def test_a_callback_that_comes_again_is_told_once(town: Town) -> None:
    town.simulator.open_service("oPassenger")
    await town.passes(1)
    await town.announced()

    for notification in town.simulator.notifications():
        town.simulator.resend(notification.id)
    await town.passes(1)

    assert await town.announced() == []


# --- A trip that was declined ---


async def declined(town: Town, trip_id: str = "t1", **changes: Any) -> dict[str, Any]:
    """Have a trip declined for want of the service; where nobody knows the passenger, that is asked twice."""
    await town.starts(trip_id, **changes)
    await town.passes(APART_SECONDS)
    assert await town.state(trip_id) is TripState.DECLINED
    (only,) = await told(town, "settlement.declined")
    return only


async def test_a_passenger_who_enables_the_service_while_riding_gets_the_order_opened(town: Town) -> None:
    town.signs((await declined(town))["enable"])

    await town.passes(1)

    assert await town.state() is TripState.OPEN
    await town.passes(600)
    await town.ends()
    await town.passes(60)
    assert town.charged_fen() == 3_200


async def test_an_authorisation_that_is_found_by_asking_opens_the_order_too(town: Town) -> None:
    await town.wants()
    given = await parameters(town)
    await declined(town)
    town.listening = False
    town.signs(given["enable"])

    await town.passes(LOOKS[0].total_seconds())

    assert await town.state() is TripState.OPEN


async def test_a_trip_that_is_over_stays_declined_when_the_service_is_enabled(town: Town) -> None:
    enable = (await declined(town))["enable"]
    await town.ends()
    await declined(town, "t2")
    await town.cancels("t2")

    town.signs(enable)
    await town.passes(1)

    assert [await town.state(trip_id) for trip_id in ("t1", "t2")] == [TripState.DECLINED] * 2
    assert town.calls_made("create") == 0


async def test_a_refused_token_does_not_hold_the_decline_up(town: Town, family: str) -> None:
    if family != "serviceorder":
        pytest.skip("only one family gives tokens")
    town.refuse("pre_authorise", "INVALID_REQUEST", "授权协议号已被使用")

    assert "enable" not in await declined(town)


async def test_an_outage_of_tokens_holds_the_decline_up_for_three_rounds(town: Town, family: str) -> None:
    if family != "serviceorder":
        pytest.skip("only one family gives tokens")
    town.fault(FaultKind.UNAVAILABLE, "pre_authorise", times=9)
    await town.starts()

    for _ in range(4):
        await town.passes(60)

    assert "enable" not in (await told(town, "settlement.declined"))[0]
    call = await town.call("pre_authorise")
    assert (call.generation, call.begun) == (0, 3)
    assert (await town.trip()).bodies == 0


# --- Ended ---


async def enabled(town: Town, request_id: str = "q1") -> None:
    await town.wants(request_id)
    town.signs((await parameters(town))["enable"])
    await town.passes(1)
    assert len(await told(town, "authorisation.opened")) == 1


async def test_a_passenger_who_leaves_has_his_service_closed(town: Town) -> None:
    await enabled(town)

    await town.leaves()
    await town.passes(1)

    (closed,) = await told(town, "authorisation.closed")
    assert (closed["openid"], closed["authorization_code"]) == ("oPassenger", authorization_code_for("q1"))
    assert town.simulator.passenger("oPassenger").behaviour is Behaviour.NOT_ENABLED
    assert town.calls_made("terminate_permission") == 1


async def test_the_same_end_again_is_told_and_asked_for_once(town: Town) -> None:
    await enabled(town)
    await town.leaves()
    await town.passes(1)
    await town.announced()

    await town.leaves()
    await town.passes(1)

    assert await town.announced() == []
    assert town.calls_made("terminate_permission") == 1


async def test_a_service_that_we_never_heard_of_is_closed(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS))

    await town.leaves()
    await town.passes(1)

    assert len(await told(town, "authorisation.closed")) == 1
    assert town.simulator.passenger("oPassenger").behaviour is Behaviour.NOT_ENABLED


async def test_where_there_is_nothing_to_end_that_is_said_once_it_is_sure(town: Town) -> None:
    await town.leaves()

    assert await town.announced() == []
    for pause in (*PAUSES[:2], APART):
        await town.passes(pause.total_seconds())

    assert len(await told(town, "authorisation.closed")) == 1


async def test_unfinished_orders_delay_the_end_with_growing_pauses_and_then_it_is_for_a_person(town: Town) -> None:
    await enabled(town)
    town.refuse("terminate_permission", "INVALID_REQUEST", "存在未完成订单", times=100)
    await town.leaves()

    for _ in range(12):
        await town.passes(timedelta(days=3).total_seconds())

    (known,) = await town.authorisations.of("oPassenger")
    assert known.problem is not None
    assert known.problem.message == "存在未完成订单"
    made = town.calls_made("terminate_permission")
    town.simulator.clear_faults()
    await town.leaves(message="m2")
    await town.passes(1)
    assert town.calls_made("terminate_permission") == made + 1
    assert (await town.authorisation()).state is AuthorisationState.CLOSED


async def test_unfinished_orders_that_are_paid_meanwhile_let_the_service_be_closed(town: Town) -> None:
    await enabled(town)
    town.refuse("terminate_permission", "INVALID_REQUEST", "存在未完成订单", times=1)
    await town.leaves()
    assert (await town.authorisation()).state is AuthorisationState.OPEN

    await town.passes(300)

    assert (await town.authorisation()).state is AuthorisationState.CLOSED
