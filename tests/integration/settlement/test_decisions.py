"""A person decides what no rule may: with WeChat Pay's word before their eyes, never moving money twice."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from payscore_worker.domain.decisions import Decision, Known, Verb
from payscore_worker.domain.trip import (
    OrderPhase,
    Trip,
    TripState,
)
from payscore_worker.errors import IllegalTransition, OutcomeUnknown, Rejected, WechatPayUnavailable
from payscore_worker.settlement.trips import Settlement
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.payscore.orders import Stage
from payscore_worker.storage import CallOutcome, Storage
from payscore_worker.wechatpay import Answer, Call
from tests.integration.settlement.town import Town, a_town, no_sleep, reached

WHY = "与客服核对过"


def a_decision(verb: Verb, by: str = "wang") -> Decision:
    return Decision(verb=verb, by=by, reason=WHY)


async def decides(town: Town, verb: Verb, trip_id: str = "t1", settlement: Settlement | None = None) -> Trip:
    """Look, then decide about what was seen."""
    settlement = settlement or town.settlement
    sight = await settlement.look(trip_id)
    return await settlement.decide(trip_id, a_decision(verb), mark=sight.mark, pause=no_sleep)


async def code(town: Town) -> str:
    problem = (await town.trip()).problem
    return "" if problem is None else problem.code


async def a_lowered_fare(town: Town) -> None:
    """Settle a trip whose fare somebody lowers before the passenger pays."""
    town.listening = False
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.simulator.lower("t1", 3_000)


async def stands_still(town: Town, refused: str, step: str) -> None:
    """Have a call refused until a person is called."""
    town.refuse(refused, "PARAM_ERROR", "参数错误", times=None)
    await (town.starts() if step == "OpenOrder" else town.ends())
    for _ in range(12):
        await town.passes(7_300)
        if await code(town):
            break
    town.simulator.clear_faults()
    problem = (await town.trip()).problem
    assert problem is not None
    assert problem.step == step


# --- Accept ---


async def test_a_fare_lowered_in_the_console_is_accepted_and_paid_with_that_amount(town: Town) -> None:
    await a_lowered_fare(town)
    town.simulator.pay("t1")
    await town.passes(60)
    assert await code(town) == "amount_differs"
    await town.announced()

    trip = await decides(town, Verb.ACCEPT)

    assert (trip.state, trip.accepted_fen, trip.problem) == (TripState.PAID, 3_000, None)
    assert trip.payment is not None
    assert (trip.payment.paid_fen, len(trip.payment.transaction_ids)) == (3_000, 1)
    ((type_, data),) = await town.announced()
    assert (type_, data["total_fen"], data["paid_fen"]) == ("settlement.paid", 3_000, 3_000)
    assert town.charged_fen() == 3_000


async def test_a_lowered_fare_that_is_still_collected_is_waited_for_once_it_is_accepted(town: Town) -> None:
    await a_lowered_fare(town)
    await town.passes(60)
    assert await code(town) == "amount_differs"

    assert (await decides(town, Verb.ACCEPT)).state is TripState.COMPLETED
    town.simulator.pay("t1")
    await town.passes(60)

    assert await town.state() is TripState.PAID
    assert (await town.announced())[-1][1]["paid_fen"] == 3_000


async def test_an_order_completed_by_hand_with_our_fare_is_adopted_without_a_person(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.simulator.complete_by_hand("t1", 3_200)
    await town.ends()
    for _ in range(3):
        await town.passes(60)

    assert (await town.state(), await code(town)) == (TripState.PAID, "")
    assert town.charged_fen() == 3_200


async def test_an_order_completed_by_hand_with_another_amount_is_accepted(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.simulator.complete_by_hand("t1", 2_000)
    town.simulator.pay("t1")
    await town.passes(3)
    assert await code(town) == "completed_elsewhere"
    await town.ends()

    trip = await decides(town, Verb.ACCEPT)

    assert (trip.state, trip.accepted_fen, town.charged_fen()) == (TripState.PAID, 2_000, 2_000)
    types = await town.announced_types()
    assert types[-1] == "settlement.paid"
    assert types.count("settlement.completed") == 1


async def test_a_trip_that_is_over_and_was_charged_all_the_same_is_accepted_as_paid(town: Town) -> None:
    await town.starts()
    await town.cancels()
    order = town.simulator._state.book.order("t1")
    assert order is not None
    town.simulator._state.book.save(replace(order, stage=Stage.RUNNING))
    town.simulator.complete_by_hand("t1", 1_500)
    town.simulator.pay("t1")
    await town.passes(3)
    assert (await town.state(), await code(town)) == (TripState.CANCELLED, "charged_though_over")

    trip = await decides(town, Verb.ACCEPT)

    assert (trip.state, trip.accepted_fen) == (TripState.PAID, 1_500)
    assert (await town.announced_types())[-1] == "settlement.paid"


async def test_what_was_owed_need_not_be_accepted(town: Town) -> None:
    await town.rides()

    with pytest.raises(IllegalTransition, match="there is nothing to accept"):
        await decides(town, Verb.ACCEPT)


async def test_no_amount_is_accepted_of_an_order_that_runs(town: Town) -> None:
    await town.starts()

    with pytest.raises(IllegalTransition, match="the order runs"):
        await decides(town, Verb.ACCEPT)


# --- Write off ---


async def test_a_fare_whose_order_is_gone_is_written_off_and_announced(town: Town) -> None:
    town.listening = False
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.simulator.revoke("t1")
    await town.passes(60)
    assert await code(town) == "revoked_after_completion"
    await town.announced()

    trip = await decides(town, Verb.WRITE_OFF)

    assert (trip.state, trip.problem) == (TripState.CANCELLED, None)
    ((type_, data),) = await town.announced()
    assert (type_, data["total_fen"], data["by"], data["reason"]) == ("settlement.written_off", 3_200, "wang", WHY)


@pytest.mark.parametrize("verb", [Verb.WRITE_OFF, Verb.CANCEL, Verb.DECLINE])
async def test_nothing_ends_a_trip_while_wechat_collects_for_it(town: Town, verb: Verb) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    await town.announced()

    with pytest.raises(IllegalTransition, match="waive has it collect no more"):
        await decides(town, verb)

    assert await town.state() is TripState.COMPLETED
    assert await town.announced_types() == []


async def test_a_fare_is_not_written_off_while_its_order_runs(town: Town) -> None:
    await town.starts()

    with pytest.raises(IllegalTransition, match="cancel ends it"):
        await decides(town, Verb.WRITE_OFF)


@pytest.mark.parametrize(
    ("verb", "state", "told"),
    [
        (Verb.CANCEL, TripState.CANCELLED, "settlement.cancelled"),
        (Verb.WRITE_OFF, TripState.CANCELLED, "settlement.written_off"),
        (Verb.DECLINE, TripState.DECLINED, "settlement.declined"),
    ],
)
async def test_an_end_without_a_start_is_ended_by_a_person(town: Town, verb: Verb, state: TripState, told: str) -> None:
    await town.ends()

    trip = await decides(town, verb)

    assert trip.state is state
    assert await town.announced_types() == [told]
    await town.starts()  # its start, come after all, changes nothing
    assert (await town.state(), town.simulator.orders_created) == (state, [])


# --- Waive ---


async def is_collected(town: Town) -> None:
    """Have WeChat Pay collect a fare that the passenger never pays."""
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    await town.announced()


async def is_written_off(town: Town) -> None:
    """See that the trip is over, that nothing is collected, and that this was said."""
    assert (await town.state(), await code(town), town.charged_fen()) == (TripState.CANCELLED, "", 0)
    ((type_, data),) = await town.announced()
    assert (type_, data["total_fen"], data["by"], data["reason"]) == ("settlement.written_off", 3_200, "wang", WHY)


async def test_a_fare_is_waived_by_cancelling_its_order_where_wechat_takes_that(storage: Storage, family: str) -> None:
    async with a_town(storage, family, cancel_while_owing=True) as town:
        await is_collected(town)

        await decides(town, Verb.WAIVE)

        await is_written_off(town)
        assert town.order().stage is Stage.REVOKED
        assert WHY in (await town.call("cancel")).body.decode()
        assert town.calls_made("modify") == 0


async def test_a_fare_is_lowered_to_nothing_where_wechat_cancels_nothing_that_it_collects(storage: Storage) -> None:
    async with a_town(storage, "serviceorder") as town:
        await is_collected(town)

        await decides(town, Verb.WAIVE)
        await town.passes(120)

        await is_written_off(town)
        assert (town.order().stage, town.order().total_fen) == (Stage.FREE, 0)
        assert (town.calls_made("cancel"), town.calls_made("modify")) == (2, 1)


async def test_a_family_that_lowers_nothing_leaves_a_waiver_that_is_refused_to_a_person(storage: Storage) -> None:
    async with a_town(storage, "payafter") as town:
        await is_collected(town)

        await decides(town, Verb.WAIVE)
        await town.passes(120)

        assert (await town.state(), await code(town)) == (TripState.COMPLETED, "waive_refused")
        assert (await decides(town, Verb.ACCEPT)).waived is None
        town.simulator.pay("t1")
        await town.passes(60)
        assert await town.state() is TripState.PAID


@pytest.mark.parametrize("fault", [FaultKind.DROP_REPLY, FaultKind.FAIL_AFTER])
@pytest.mark.parametrize("cancels", [True, False])
async def test_a_waiver_whose_answer_is_lost_is_sent_again_to_the_byte(
    storage: Storage, fault: FaultKind, *, cancels: bool
) -> None:
    kind = "cancel" if cancels else "modify"
    async with a_town(storage, "serviceorder", cancel_while_owing=cancels) as town:
        await is_collected(town)
        town.fault(fault, kind, times=3)

        await decides(town, Verb.WAIVE)
        await town.passes(120)
        await town.passes(120)

        await is_written_off(town)
        assert len(town.order().bodies[kind]) == 1  # type: ignore[index]  # a StrEnum


async def test_a_lowered_fare_that_wechat_did_not_hear_of_is_sent_again_to_the_byte(storage: Storage) -> None:
    async with a_town(storage, "serviceorder") as town:
        await is_collected(town)
        town.fault(FaultKind.UNAVAILABLE, "modify", times=None)
        await decides(town, Verb.WAIVE)
        await town.passes(120)
        unheard = await town.call("modify")
        town.simulator.clear_faults()
        await town.passes(120)

        await is_written_off(town)
        heard = await town.call("modify")
        assert (unheard.outcome, heard.outcome) == (CallOutcome.UNKNOWN, CallOutcome.ACCEPTED)
        assert (heard.generation, heard.body, heard.begun) == (unheard.generation, unheard.body, unheard.begun + 1)


@pytest.mark.parametrize(
    ("said", "code_", "message"),
    [
        ({"total_amount": []}, "malformed_answer", "total_amount: expected an amount in whole fen, not list"),
        ({"out_order_no": "another"}, "not_ours", "WeChat Pay answered with another out_order_no than ours"),
    ],
    ids=["unreadable", "another order's"],
)
async def test_a_lowered_fare_whose_answer_cannot_be_is_noted_with_what_is_wrong_and_asked_about(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], code_: str, message: str
) -> None:
    async with a_town(storage, "serviceorder") as town:
        await is_collected(town)
        town.listening = False
        monkeypatch.setattr(town.payscore, "send", saying(town, said))
        await decides(town, Verb.WAIVE)
        await town.passes(120)
        doubt = (await town.trip()).doubt
        assert doubt is not None
        assert (doubt.step, doubt.code, doubt.message) == ("LowerOrder", code_, message)
        assert (await town.call("modify")).outcome is CallOutcome.UNKNOWN
        town.simulator.clear_faults()
        await town.passes(120)

        await is_written_off(town)


async def test_a_lowered_fare_that_wechat_answers_with_a_third_amount_is_left_to_a_person(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_town(storage, "serviceorder") as town:
        await is_collected(town)
        town.listening = False
        monkeypatch.setattr(town.payscore, "send", saying(town, {"total_amount": 1_000}))

        await decides(town, Verb.WAIVE)
        await town.passes(120)

        problem = (await town.trip()).problem
        assert problem is not None
        assert (problem.code, problem.since) == ("amount_differs", town.now)


def saying(town: Town, said: dict[str, Any]) -> Callable[[Call], Awaitable[Answer]]:
    """Have WeChat Pay take a lowered fare, answer something else, and no more questions."""
    send = town.payscore.send

    async def sending(call: Call) -> Answer:
        answer = await send(call)
        if call.kind != "modify":
            return answer
        town.fault(FaultKind.UNAVAILABLE, "query", times=None)
        return replace(answer, data=answer.data | said)

    return sending


async def test_a_debit_in_flight_is_waited_for_before_a_fare_is_waived(storage: Storage, family: str) -> None:
    async with a_town(storage, family, cancel_while_owing=True) as town:
        await is_collected(town)
        town.refuse("cancel", "INVALID_REQUEST", "单据正在扣款中，请稍后再试", sub_code=271316754)

        await decides(town, Verb.WAIVE)
        assert await town.state() is TripState.COMPLETED
        await town.passes(120)
        assert town.calls_made("cancel") == 1
        await town.passes(120)

        await is_written_off(town)


async def test_a_fare_that_is_paid_before_it_is_waived_is_paid(storage: Storage, family: str) -> None:
    async with a_town(storage, family, cancel_while_owing=True) as town:
        await is_collected(town)
        town.refuse("cancel", "INVALID_REQUEST", "单据正在扣款中，请稍后再试", sub_code=271316754)
        await decides(town, Verb.WAIVE)

        town.simulator.pay("t1")
        await town.passes(240)

        trip = await town.trip()
        assert (trip.state, trip.waived, trip.written_off) == (TripState.PAID, None, None)
        assert await town.announced_types() == ["settlement.paid"]


async def test_two_workers_that_waive_one_fare_waive_it_once(town: Town) -> None:
    await is_collected(town)
    town.fault(FaultKind.UNAVAILABLE, "cancel", times=None)
    await decides(town, Verb.WAIVE)
    town.simulator.clear_faults()
    another = town.another_settlement()

    await asyncio.gather(town.settlement.advance("t1"), another.advance("t1"), return_exceptions=True)
    await town.passes(120)

    assert len(town.order().bodies["cancel"]) == 1  # type: ignore[index]  # a StrEnum
    assert len(town.order().bodies.get("modify", [])) <= 1  # type: ignore[call-overload]  # a StrEnum


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("running", "the fare was not asked for yet: cancel ends the trip"),
        ("paid", "the money is in"),
        ("gone", "write-off ends the trip"),
        ("lowered", "accept it first"),
        ("waived", "that is what the trip does already"),
    ],
)
async def test_only_what_is_collected_is_waived(town: Town, when: str, why: str) -> None:
    if when == "running":
        await town.starts()
    elif when == "paid":
        await town.rides()
        await town.passes(60)
    else:
        await is_collected(town)
    if when == "gone":
        town.simulator.revoke("t1")
    if when == "lowered":
        town.simulator.lower("t1", 3_000)
    if when == "waived":
        town.fault(FaultKind.UNAVAILABLE, "cancel", times=None)
        await decides(town, Verb.WAIVE)

    with pytest.raises(IllegalTransition, match=why):
        await decides(town, Verb.WAIVE)


# --- Decline and cancel ---


@pytest.mark.parametrize(
    ("verb", "state", "told"),
    [
        (Verb.CANCEL, TripState.CANCELLED, "settlement.cancelled"),
        (Verb.DECLINE, TripState.DECLINED, "settlement.declined"),
    ],
)
async def test_an_order_that_runs_is_cancelled_before_its_trip_ends(
    town: Town, verb: Verb, state: TripState, told: str
) -> None:
    await town.starts()
    await town.passes(600)
    await stands_still(town, "complete", "CompleteOrder")
    await town.announced()

    trip = await decides(town, verb)

    assert (trip.state, town.order().stage, town.charged_fen()) == (state, Stage.REVOKED, 0)
    ((type_, data),) = await town.announced()
    assert (type_, data.get("message", data["reason"])) == (told, WHY)


async def test_a_trip_is_not_over_before_its_order_is(town: Town) -> None:
    await town.starts()
    town.fault(FaultKind.UNAVAILABLE, "cancel", times=None)

    trip = await decides(town, Verb.DECLINE)

    assert (trip.state, town.order().stage) == (TripState.OPEN, Stage.RUNNING)
    town.simulator.clear_faults()
    await town.passes(60)
    assert (await town.state(), town.order().stage) == (TripState.DECLINED, Stage.REVOKED)


async def test_an_order_that_was_charged_while_it_was_being_given_up_is_told_and_not_lost(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.fault(FaultKind.UNAVAILABLE, "cancel", times=None)
    await decides(town, Verb.CANCEL)
    town.simulator.complete_by_hand("t1", 3_200)
    town.simulator.clear_faults()
    town.simulator.pay("t1")
    await town.passes(60)

    assert (await town.state(), await code(town)) == (TripState.OPEN, "completed_elsewhere")
    assert (await decides(town, Verb.ACCEPT)).state is TripState.PAID


async def test_an_order_that_may_be_on_its_way_is_looked_for_once_more_after_its_trip_was_declined(town: Town) -> None:
    town.fault(FaultKind.UNAVAILABLE, "create", times=3)
    with pytest.raises(OutcomeUnknown):
        await town.starts()
    call = await town.call("create")
    assert call.outcome is not CallOutcome.ACCEPTED

    trip = await decides(town, Verb.DECLINE)

    assert trip.state is TripState.DECLINED
    assert trip.look is not None
    assert trip.look.at == town.now + timedelta(minutes=15)


async def test_a_paid_trip_is_past_every_decision(town: Town) -> None:
    await town.rides()
    await town.passes(3)

    for verb in Verb:
        with pytest.raises(IllegalTransition, match=r"the money is in|has no problem"):
            await decides(town, verb)


# --- Rebuild ---


async def test_a_create_that_was_refused_is_built_anew_where_wechat_knows_no_order(town: Town) -> None:
    await stands_still(town, "create", "OpenOrder")
    before = await town.call("create")

    trip = await decides(town, Verb.REBUILD)

    assert trip.state is TripState.OPEN
    assert (await town.call("create")).generation > before.generation
    assert town.simulator.orders_created == ["t1"]


async def test_a_complete_that_was_refused_is_built_anew_while_the_order_runs(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    await stands_still(town, "complete", "CompleteOrder")
    before = await town.call("complete")

    trip = await decides(town, Verb.REBUILD)

    assert trip.state is TripState.COMPLETED
    assert (await town.call("complete")).generation > before.generation
    await town.passes(60)
    assert (await town.state(), town.charged_fen(), len(town.order().charges)) == (TripState.PAID, 3_200, 1)


async def test_bytes_that_may_have_been_accepted_are_not_dropped(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    await stands_still(town, "complete", "CompleteOrder")
    await town.storage.begin_send("t1", "complete")  # by a worker that died

    with pytest.raises(IllegalTransition, match="stay binding"):
        await decides(town, Verb.REBUILD)

    assert await code(town) == "PARAM_ERROR"


async def test_a_completion_that_wechat_lost_is_made_anew(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.starts()
    running = town.simulator._state.book.order("t1")
    assert running is not None
    await town.passes(600)
    await town.ends()
    town.simulator._state.book.save(running)
    for _ in range(12):
        await town.passes(7_300)
    assert (await town.state(), await code(town)) == (TripState.COMPLETED, "completion_lost")

    trip = await decides(town, Verb.REBUILD)

    assert (trip.state, trip.problem) == (TripState.COMPLETED, None)
    town.simulator.pay("t1")
    await town.passes(60)
    assert (await town.state(), town.charged_fen()) == (TripState.PAID, 3_200)


# --- What was seen, and by whom ---


async def test_nothing_is_decided_while_wechat_cannot_be_asked(town: Town) -> None:
    await town.ends()
    town.fault(FaultKind.UNAVAILABLE, "query", times=None)

    sight = await town.settlement.look("t1")
    assert sight.known is None
    assert sight.text.startswith("could not be asked: ")
    with pytest.raises(WechatPayUnavailable, match="nothing is decided"):
        await town.settlement.decide("t1", a_decision(Verb.CANCEL), mark=sight.mark, pause=no_sleep)


REFUSED: Final = "WeChat Pay refused (invalid_parameter): 400 PARAM_ERROR 参数错误"


@pytest.mark.parametrize(
    ("fault", "options", "why"),
    [
        (FaultKind.UNAVAILABLE, {}, "HTTP 503"),
        (FaultKind.REFUSE, {"status": 400, "code": "PARAM_ERROR", "message": "参数错误"}, REFUSED),
        *(
            (FaultKind.ANOTHER_ORDER, {"variant": member}, "it answered with another order than ours")
            for member in ("out_order_no", "mchid", "appid", "service_id")
        ),
    ],
)
async def test_what_is_no_word_about_the_order_is_told_and_nothing_can_be_decided_about_it(
    town: Town, fault: FaultKind, options: dict[str, Any], why: str
) -> None:
    await town.starts()
    town.fault(fault, "query", times=None, **options)

    sight = await town.settlement.look("t1", pause=no_sleep)

    assert (sight.known, sight.mark, sight.asked) == (None, "", ())
    assert sight.text == f"could not be asked: {why}"
    assert sight.trip == await town.trip()


async def test_a_person_does_not_wait_for_a_wechat_that_does_not_answer(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.starts()
    monkeypatch.setattr("payscore_worker.settlement.sight.ASK_SECONDS", 0.0)

    sight = await town.settlement.look("t1")

    assert (sight.known, sight.text) == (None, "could not be asked: no answer within 0 seconds")
    assert sight.trip == await town.trip()


NEVER_SENT = frozenset({"CompleteOrder", "CancelOrder", "LowerOrder", "SyncOrder", "PayOrder"})


async def test_what_is_seen_is_the_trip_the_order_and_which_sends_are_certain(town: Town) -> None:
    await town.starts()

    sight = await town.settlement.look("t1")

    assert sight.trip == await town.trip()
    assert sight.known is not None
    assert sight.known.order is not None
    assert sight.known.order.phase is OrderPhase.RUNNING
    assert sight.known.certain == NEVER_SENT, "the create was accepted"
    assert (sight.text, sight.mark) == ("RUNNING", "OPEN//RUNNING")


async def test_of_a_create_that_was_refused_every_send_is_certain(town: Town) -> None:
    await stands_still(town, "create", "OpenOrder")

    sight = await town.settlement.look("t1")

    assert sight.known == Known(
        order=None, certain=NEVER_SENT | {"OpenOrder"}, can_pay=town.payscore.family == "serviceorder"
    )
    assert (sight.text, sight.mark) == ("no such order", "NOTED/PARAM_ERROR/no such order")


async def test_a_look_is_a_question_for_the_journal(town: Town) -> None:
    await town.starts("there")
    await town.ends("not there")
    town.clock.now += timedelta(seconds=60)

    for trip_id, outcome, status in (("there", CallOutcome.ACCEPTED, 200), ("not there", CallOutcome.REFUSED, 404)):
        (asked,) = (await town.settlement.look(trip_id)).asked

        assert (asked.kind, asked.method, asked.path, asked.body) == ("query", "GET", "", b"")
        assert (asked.outcome, asked.status, asked.attempts, asked.at) == (outcome, status, 1, town.now)


@pytest.mark.parametrize("situation", ["never asked for", "there", "not to be asked about"])
async def test_what_was_said_once_is_enough_where_no_order_can_be_on_its_way(town: Town, situation: str) -> None:
    await (town.ends() if situation == "never asked for" else town.starts())
    if situation == "not to be asked about":
        town.fault(FaultKind.UNAVAILABLE, "query", times=None)
    pauses = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    await town.settlement.look("t1", pause=pause)

    assert pauses == []


async def test_a_decision_is_about_what_was_seen_and_not_about_what_came_of_it(town: Town) -> None:
    await a_lowered_fare(town)
    await town.passes(60)
    sight = await town.settlement.look("t1")
    town.simulator.lower("t1", 100)

    with pytest.raises(IllegalTransition, match="look again"):
        await town.settlement.decide("t1", a_decision(Verb.ACCEPT), mark=sight.mark, pause=no_sleep)

    assert await code(town) == "amount_differs"


async def test_of_two_people_who_decide_at_once_one_does(town: Town) -> None:
    await a_lowered_fare(town)
    town.simulator.pay("t1")
    await town.passes(60)
    await town.announced()
    sight = await town.settlement.look("t1")
    settlements = [town.settlement, town.another_settlement()]

    done = await asyncio.gather(
        *(
            settlement.decide("t1", a_decision(Verb.ACCEPT, by), mark=sight.mark, pause=no_sleep)
            for settlement, by in zip(settlements, ["wang", "li"], strict=True)
        ),
        return_exceptions=True,
    )

    assert sorted(type(one).__name__ for one in done) == ["IllegalTransition", "Trip"]
    assert await town.announced_types() == ["settlement.paid"]


async def test_an_order_that_is_said_not_to_be_is_asked_about_twice_before_its_trip_ends(town: Town) -> None:
    await stands_still(town, "create", "OpenOrder")
    sight, pauses = await town.settlement.look("t1"), []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    await town.settlement.decide("t1", a_decision(Verb.DECLINE), mark=sight.mark, pause=pause)

    assert pauses == [10.0]
    assert (await town.trip()).look is not None


async def test_what_a_person_decided_by_stands_in_the_journal(town: Town) -> None:
    await a_lowered_fare(town)
    town.simulator.pay("t1")
    await town.passes(60)
    before = await town.call("query")

    await decides(town, Verb.ACCEPT)

    assert await town.call("query") == replace(
        before, attempts=before.attempts + 1, request_id=(await town.call("query")).request_id
    )
    assert (before.outcome, before.method, before.path) == (CallOutcome.ACCEPTED, "GET", "")


async def test_that_there_was_no_order_stands_in_the_journal_of_whoever_decided_by_it(town: Town) -> None:
    await stands_still(town, "create", "OpenOrder")
    before = await town.call("query")

    await decides(town, Verb.DECLINE)

    query = await town.call("query")
    assert (query.outcome, query.status, query.attempts) == (CallOutcome.REFUSED, 404, before.attempts + 1)


async def test_what_was_seen_stands_in_the_journal_though_nothing_was_decided(town: Town) -> None:
    await a_lowered_fare(town)
    await town.passes(60)
    sight = await town.settlement.look("t1")
    town.simulator.lower("t1", 100)
    before = await town.call("query")

    with pytest.raises(IllegalTransition, match=r"^the trip, or its order, has changed since you looked: look again$"):
        await town.settlement.decide("t1", a_decision(Verb.ACCEPT), mark=sight.mark, pause=no_sleep)

    assert (await town.call("query")).attempts == before.attempts + 1


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "to be read from its create"])
async def test_an_order_opened_under_other_terms_is_looked_at_under_them(town: Town, *, is_kept: bool) -> None:
    await town.starts()
    trip = await town.trip()
    assert trip.opening is not None
    if not is_kept:  # a release before did not keep them
        forgotten = replace(trip, opening=replace(trip.opening, terms=None))
        assert await town.storage.save(forgotten, due_at=None, now=town.now)
    town.restart(service_id="999999")

    sight = await town.settlement.look("t1")

    assert sight.text == "RUNNING"


async def test_one_person_at_a_time_decides_about_a_trip_and_another_trip_need_not_wait(town: Town) -> None:
    await stands_still(town, "create", "OpenOrder")
    await town.ends("t2")
    sight, other = await town.settlement.look("t1"), await town.settlement.look("t2")
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def pause(_seconds: float) -> None:
        asked.set()
        await go_on.wait()

    deciding = asyncio.create_task(town.settlement.decide("t1", a_decision(Verb.DECLINE), mark=sight.mark, pause=pause))
    await reached(asked, by=deciding)

    async with asyncio.timeout(60):
        await town.settlement.decide("t2", a_decision(Verb.CANCEL), mark=other.mark, pause=no_sleep)

    assert await town.state("t2") is TripState.CANCELLED
    assert not deciding.done()
    go_on.set()
    assert (await deciding).state is TripState.DECLINED


async def test_a_trip_that_nobody_knows_cannot_be_decided_about(town: Town) -> None:
    with pytest.raises(Rejected, match="'t9' is not known"):
        await town.settlement.look("t9")
