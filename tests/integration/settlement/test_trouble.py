"""Calls go wrong in every way they can, and the money stays right: nothing lost, nothing charged twice."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from payscore_worker.domain import outcomes
from payscore_worker.domain.trip import (
    Declined,
    DeclineReason,
    Problem,
    TripState,
)
from payscore_worker.errors import OutcomeUnknown, Rejected, Retryable, TripBusy, WechatPayUnavailable
from payscore_worker.events import FeeItem, OrderPaid
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.calls import CallKind
from payscore_worker.storage import CallOutcome, Storage
from payscore_worker.wechatpay import Answer, Call
from tests.integration.settlement.town import Town, a_town


async def hours_pass(town: Town, hours: int) -> None:
    """Let the reconciler do what it has to do, by the half minute at first, then by the quarter of an hour."""
    for _ in range(10):
        await town.passes(30)
    for _ in range(4 * hours):
        await town.passes(900)


PERSISTENT = [
    FaultKind.FAIL_BEFORE,
    FaultKind.UNAVAILABLE,
    FaultKind.DROP_REPLY,
    FaultKind.FAIL_AFTER,
    FaultKind.BAD_SIGNATURE,
    FaultKind.SIGNTEST,
    FaultKind.WRONG_SERIAL,
    FaultKind.UNSIGNED,
    FaultKind.CLOCK_SKEW,
]


async def settled(town: Town) -> None:
    """Let the reconciler and WeChat do what is left to do."""
    for _ in range(6):
        await town.passes(60)


@pytest.mark.parametrize("fault", PERSISTENT)
@pytest.mark.parametrize("call", ["create", "complete"])
async def test_whatever_becomes_of_a_call_the_same_bytes_settle_the_trip_once(
    town: Town, fault: FaultKind, call: str
) -> None:
    town.fault(fault, call, times=3)  # the first send and both quick tries
    try:
        await town.rides()
    except Retryable:
        await town.passes(600)
        await town.starts(started_at=(await town.trip()).started.started_at)  # type: ignore[union-attr]
        if (await town.trip()).ended is None:
            await town.ends()
    await settled(town)

    assert await town.state() is TripState.PAID
    assert town.charged_fen() == 3_200
    assert len(town.order().charges) == 1
    assert {kind: len(bodies) for kind, bodies in town.order().bodies.items()} == {"create": 1, "complete": 1}


async def test_a_lost_reply_is_unknown_and_not_failed(town: Town) -> None:
    town.fault(FaultKind.DROP_REPLY, "create", times=3)

    with pytest.raises(OutcomeUnknown):
        await town.starts()

    call = await town.call("create")
    assert (call.outcome, call.uncertain, call.attempts) == (CallOutcome.UNKNOWN, True, 3)
    assert await town.state() is TripState.NOTED
    assert await town.announced() == []


@pytest.mark.parametrize("kind", ["create", "complete", "cancel"])
async def test_the_bytes_are_in_the_journal_before_they_are_on_the_wire(
    town: Town, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    send, journaled = town.payscore.send, []

    async def looking_first(call: Call) -> Answer:
        if call.kind == kind:
            journaled.append((await town.call(kind)).body == call.body)
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", looking_first)
    await town.starts()
    await town.passes(600)
    await (town.cancels() if kind == "cancel" else town.ends())

    assert journaled == [True]


async def test_bytes_that_may_have_been_sent_before_a_crash_stay_binding(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.starts()
    await town.passes(600)
    send = town.payscore.send

    async def dying(call: Call) -> Answer:
        answer = await send(call)
        if call.kind == "complete":
            raise asyncio.CancelledError
        return answer

    monkeypatch.setattr(town.payscore, "send", dying)
    with pytest.raises(asyncio.CancelledError):
        await town.ends()
    first = await town.call("complete")
    assert first.outcome is CallOutcome.PREPARED
    monkeypatch.setattr(town.payscore, "send", send)
    town.refuse("complete", "PARAM_ERROR", "实际结束时间不能晚于使用完结接口的时间")

    await town.settlement.advance("t1")
    await settled(town)

    last = await town.call("complete")
    assert (last.generation, last.body) == (first.generation, first.body)
    assert await town.state() is TripState.PAID
    assert len(town.order().bodies[CallKind.COMPLETE]) == 1


async def test_a_call_that_is_throttled_was_not_processed(town: Town) -> None:
    town.fault(FaultKind.THROTTLE, "create", times=3)

    with pytest.raises(WechatPayUnavailable):
        await town.starts()

    assert not (await town.call("create")).uncertain


async def test_a_trip_left_in_the_middle_is_taken_up_by_the_reconciler_after_a_minute(town: Town) -> None:
    town.fault(FaultKind.DROP_REPLY, "create", times=3)
    with pytest.raises(OutcomeUnknown):
        await town.starts()

    await town.passes(60)

    assert await town.state() is TripState.OPEN
    assert await town.announced_types() == ["settlement.opened"]


async def test_a_callback_that_overtakes_a_lost_reply_to_complete_settles_the_trip(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.fault(FaultKind.DROP_REPLY, "complete", times=3)
    with pytest.raises(OutcomeUnknown):
        await town.ends()
    assert await town.state() is TripState.OPEN

    await town.passes(3)

    assert await town.state() is TripState.PAID
    assert await town.announced_types() == ["settlement.opened", "settlement.completed", "settlement.paid"]


async def test_an_end_time_that_wechats_clock_refuses_is_rebuilt_after_a_question(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.refuse("complete", "PARAM_ERROR", "实际结束时间不能晚于使用完结接口的时间")

    await town.ends()

    assert await town.state() is TripState.COMPLETED
    assert (await town.call("complete")).generation == 3
    assert town.calls_made("query") >= 1


async def test_the_bytes_stay_binding_when_an_earlier_attempt_may_have_been_accepted(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.fault(FaultKind.DROP_REPLY, "complete", times=3)
    with pytest.raises(OutcomeUnknown):
        await town.ends()
    first = await town.call("complete")
    town.refuse("complete", "PARAM_ERROR", "实际结束时间不能晚于使用完结接口的时间")

    await town.settlement.advance("t1")

    last = await town.call("complete")
    assert (last.generation, last.body) == (first.generation, first.body)
    assert await town.state() in (TripState.COMPLETED, TripState.PAID)


async def test_a_completed_order_that_refuses_our_complete_is_taken_as_completed(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.fault(FaultKind.DROP_REPLY, "complete", times=3)
    with pytest.raises(OutcomeUnknown):
        await town.ends()
    town.refuse("complete", "INVALID_REQUEST", "订单重入参数校验失败", sub_code=271316598)

    await town.settlement.advance("t1")

    assert await town.state() is TripState.COMPLETED


async def test_a_refusal_that_stays_stops_the_trip_for_a_person_and_is_announced_once(town: Town) -> None:
    town.refuse("create", "PARAM_ERROR", "参数错误", times=None)

    await town.starts()
    await hours_pass(town, 2)

    trip = await town.trip()
    assert trip.problem is not None
    assert (trip.problem.code, trip.problem.step) == ("PARAM_ERROR", "OpenOrder")
    assert await town.announced_types() == ["settlement.problem"]
    assert town.calls_made("create") == 1 + outcomes.MAX_REBUILDS


async def test_the_same_problem_is_not_announced_again_when_it_comes_back_after_it_was_cleared(town: Town) -> None:
    town.refuse("create", "PARAM_ERROR", "参数错误", times=None)
    await town.starts()
    await hours_pass(town, 2)

    await town.settlement.clear_problem("t1")
    await town.settlement.advance("t1")
    await hours_pass(town, 2)

    assert (await town.trip()).problem is not None
    assert await town.announced_types() == ["settlement.problem"]


async def test_a_cleared_problem_takes_the_trip_up(town: Town) -> None:
    town.refuse("create", "PARAM_ERROR", "参数错误", times=3)
    await town.starts()
    await hours_pass(town, 2)

    await town.settlement.clear_problem("t1")
    await town.settlement.advance("t1")

    assert await town.state() is TripState.OPEN


async def test_a_fare_above_what_an_order_may_take_is_declined_before_one_is_opened(
    storage: Storage, family: str
) -> None:
    async with a_town(storage, family, rules={"capped": frozenset({family})}) as town:
        await town.ends(total_fen=20_001)
        await town.starts()

        trip = await town.trip()
        assert trip.state is TripState.DECLINED
        assert trip.declined == Declined(
            reason=DeclineReason.AMOUNT_OVER_LIMIT, message="the fare is above the risk amount"
        )
        assert town.simulator.orders_created == []
        assert await town.announced_types() == ["settlement.declined"]


async def test_an_order_whose_service_begins_hours_from_now_for_wechat_is_left_to_a_person(town: Town) -> None:
    await town.starts()
    trip, start = await town.trip(), town.now + timedelta(hours=3)
    assert trip.opening is not None
    later = replace(trip, opening=replace(trip.opening, start_time=start))
    assert await town.storage.save(later, due_at=None, now=town.now)

    await town.passes(600)
    await town.ends()

    assert (await town.trip()).problem == Problem(
        code="start_in_future",
        message=f"the service began for WeChat Pay at {start.isoformat()}",
        request_id="",
        step="CompleteOrder",
        since=town.now,
    )
    assert town.calls_made("complete") == 0


async def test_a_call_that_cannot_be_made_of_what_the_trip_says_is_left_to_a_person(town: Town) -> None:
    await town.starts()
    await town.passes(600)

    await town.ends(total_fen=3_200, fees=(FeeItem(name="里程费", amount_fen=3_000),), discounts=())

    assert (await town.trip()).problem == Problem(
        code="malformed_call",
        message="total_fen: is not the sum of fees less discounts",
        request_id="",
        step="CompleteOrder",
        since=town.now,
    )
    assert town.calls_made("complete") == 0


@pytest.mark.parametrize("call", ["service", "query"])
async def test_a_question_that_we_may_not_ask_counts_against_us_and_any_other_refusal_does_not(
    town: Town, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(town.payscore, "not_permitted", counted.append)
    call = town.service_question if call == "service" else call
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    town.refuse(call, "PARAM_ERROR", "参数错误")
    town.refuse(call, "NO_AUTH", "商户无权限", status=403)

    await town.rides()
    for seconds in (3, 60, 600):
        await town.passes(seconds)

    assert counted == ["NO_AUTH"]
    assert (await town.trip()).problem is None


async def test_only_a_trip_that_is_known_and_has_a_problem_can_be_cleared(town: Town) -> None:
    await town.starts()

    with pytest.raises(Rejected, match=r"^trip 't1' has no problem$"):
        await town.settlement.clear_problem("t1")
    with pytest.raises(Rejected, match=r"^trip 't2' is not known$"):
        await town.settlement.clear_problem("t2")


async def test_an_order_that_wechat_revoked_behind_our_back_is_declined_so_that_the_fare_can_be_asked_for(
    town: Town,
) -> None:
    await town.starts()
    await town.passes(600)
    town.simulator.revoke("t1")

    await town.ends()

    assert await town.state() is TripState.DECLINED
    assert [(t, d.get("reason")) for t, d in await town.announced()][-1] == ("settlement.declined", "revoked")


async def test_an_order_revoked_after_it_was_completed_is_shown_to_a_person(town: Town) -> None:
    town.listening = False
    await town.rides()
    town.simulator.revoke("t1")

    await town.passes(5)

    problem = (await town.trip()).problem
    assert problem is not None
    assert problem.code == "revoked_after_completion"


async def test_a_signed_payment_in_full_settles_a_trip_that_waits_for_a_person(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.refuse("query", "PARAM_ERROR", "参数错误", times=None)
    await hours_pass(town, 8)
    assert (await town.trip()).problem is not None

    town.simulator.pay("t1")
    await town.passes(3)

    trip = await town.trip()
    assert (trip.state, trip.problem) == (TripState.PAID, None)
    assert await town.announced_types() == [
        "settlement.opened",
        "settlement.completed",
        "settlement.problem",
        "settlement.paid",
    ]


async def test_two_workers_on_one_trip_open_one_order_and_announce_it_once(town: Town) -> None:
    other = town.another_settlement()
    await town.settlement.note_started(town.a_start())

    await asyncio.gather(
        *(settlement.advance("t1") for settlement in (town.settlement, other) for _ in range(3)),
        return_exceptions=True,
    )

    assert await town.state() is TripState.OPEN
    assert town.simulator.orders_created == ["t1"]
    assert len(town.order().bodies[CallKind.CREATE]) == 1
    assert await town.announced_types() == ["settlement.opened"]


async def test_one_process_lets_one_task_at_a_trip(town: Town) -> None:
    await town.settlement.note_started(town.a_start())

    await asyncio.gather(*(town.settlement.advance("t1") for _ in range(5)))

    assert town.calls_made("create") == 1
    assert town.calls_made(town.service_question) == 1


async def test_a_fact_that_comes_while_the_order_is_being_opened_is_kept(town: Town) -> None:
    await asyncio.gather(town.starts(), town.ends(), return_exceptions=False)
    await town.passes(11)
    await town.passes(3)

    assert await town.state() is TripState.PAID


async def test_a_writer_who_is_overtaken_every_time_says_that_the_trip_is_busy(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.starts()

    async def overtaken(*_arguments: object, **_options: object) -> bool:
        return False

    monkeypatch.setattr(town.storage, "save", overtaken)

    with pytest.raises(TripBusy):
        await town.ends()


async def test_an_answer_that_names_another_order_is_not_believed(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides("t1")
    await town.rides("t2")
    query = town.payscore.query

    async def other(_out_order_no: str) -> object:
        return await query("t2")

    monkeypatch.setattr(town.payscore, "query", other)
    await town.passes(60)
    assert (await town.trip("t1")).problem is None
    await hours_pass(town, 8)

    problem = (await town.trip("t1")).problem
    assert problem is not None
    assert problem.code == "not_ours"


async def test_a_forged_notification_in_the_queue_cannot_pay_a_trip_less_than_it_owes(town: Town) -> None:
    town.listening = False
    await town.rides()
    await town.passes(3)
    town.listening = True
    await town.passes(15)
    resource = dict(town.received[-1][1])

    trip = await town.trip()
    assert trip.state is TripState.PAID
    assert resource["total_amount"] == 3_200

    await town.rides("t2")
    await town.settlement.note_paid(OrderPaid(resource=resource | {"out_order_no": "t2", "total_amount": 1}))

    assert await town.state("t2") is TripState.COMPLETED


# --- Whether bytes that were refused can have been accepted before ---


async def test_a_refusal_after_a_try_of_the_same_send_that_was_lost_is_not_sure_and_keeps_the_bytes(
    town: Town,
) -> None:
    await town.starts()
    await town.passes(600)
    town.fault(FaultKind.FAIL_BEFORE, "complete")
    town.refuse("complete", "PARAM_ERROR", "实际结束时间不能晚于使用完结接口的时间")

    await town.ends()
    await settled(town)

    assert (await town.call("complete")).generation == 2  # the first is the create
    assert await town.state() is TripState.PAID


async def test_a_refusal_says_whether_an_earlier_send_of_the_same_bytes_may_have_been_accepted(town: Town) -> None:
    """Seen while the order cannot be asked about, as `trip explain` shows it."""
    send, seen = town.payscore.send, []

    def refuse() -> None:
        town.refuse("create", "INVALID_REQUEST", "综合评估未通过", sub_code=271300099)

    town.fault(FaultKind.UNAVAILABLE, "query", for_seconds=30, since="added", times=None)
    refuse()
    with suppress(Retryable):
        await town.starts("sure")
    seen.append(await town.trip("sure"))

    town.fault(FaultKind.FAIL_BEFORE, "create")
    refuse()
    with suppress(Retryable):
        await town.starts("tried before")
    seen.append(await town.trip("tried before"))

    async def dying(call: Call) -> Answer:
        if call.kind == "create":
            raise asyncio.CancelledError
        return await send(call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(town.payscore, "send", dying)
        with pytest.raises(asyncio.CancelledError):
            await town.starts("sent by another")
    refuse()
    with suppress(Retryable):
        await town.another_settlement().advance("sent by another")
    seen.append(await town.trip("sent by another"))

    assert [trip.doubt is not None and trip.doubt.uncertain for trip in seen] == [False, True, True]
    certain = [(await town.call("create", trip.trip_id)).is_surely_without_effect for trip in seen]
    assert certain == [True, False, False]


async def test_a_row_that_contradicts_its_state_is_called_one(town: Town) -> None:
    await town.starts()
    assert await town.storage.save(replace(await town.trip(), end_time=town.now), due_at=None, now=town.now)

    with pytest.raises(RuntimeError, match=r"^a trip's row contradicts its state$"):
        await town.ends()
