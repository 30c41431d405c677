"""Refunds, from the request to the announced result, against WeChat Pay as the simulator plays it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from consumers import refund_changed, refund_requested
from payscore_worker.domain.refund import (
    ABNORMAL,
    AMOUNT_DIFFERS,
    GAP,
    LONGEST_PROCESSING,
    OVER,
    PAUSES,
    REFUNDABLE_FOR,
    SLOW,
    Refund,
    RefundState,
)
from payscore_worker.domain.trip import (
    Payment,
    TripState,
)
from payscore_worker.errors import (
    ConflictingFact,
    IllegalTransition,
    MalformedMessage,
    OutcomeUnknown,
    Rejected,
    Retryable,
)
from payscore_worker.events import RefundChanged, RefundRequested
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.passengers import RefundOutcome
from payscore_worker.simulator.refunds.book import RefundStatus
from payscore_worker.storage import CallOutcome, Storage
from tests.builders import a_request
from tests.integration.settlement.town import MINUTE, Town, a_town, reached

FARE_FEN = 3_200
PAID = Passenger(Behaviour.PAYS)

Announced = list[tuple[str, dict[str, Any]]]


async def paid(town: Town, passenger: Passenger = PAID) -> None:
    """Have a trip that is paid, and what was announced of it told."""
    town.simulator.set_passenger("oPassenger", passenger)
    await town.rides()
    for _ in range(3):  # two debits, and the word on them
        await town.passes(60)
    assert await town.state() is TripState.PAID
    await town.announced()


async def payment(town: Town) -> Payment:
    payment = (await town.trip()).payment
    assert payment is not None
    return payment


async def until_over(town: Town, refund_id: str = "r1") -> Refund:
    """Let minutes pass until a refund rests for good; bounded, for it may not."""
    for _ in range(30):
        refund = await town.refund(refund_id)
        if refund.state in OVER or refund.problem is not None:
            return refund
        await town.passes(60)
    raise AssertionError(f"refund {refund_id} goes on and on")


def refunds_made(town: Town) -> int:
    """Count the refunds that WeChat Pay has taken of the trip."""
    return sum(1 for entry in town.order().refunds if entry.refund_id is not None)


def sent_back_fen(town: Town) -> int:
    return sum(entry.amount_fen or 0 for entry in town.order().refunds if entry.status is RefundStatus.SUCCESS)


# --- It goes back ---


async def test_a_refund_goes_back_and_is_announced(town: Town) -> None:
    await paid(town)

    await town.refunds_of("r1", amount_fen=1_000)
    assert (await town.refund()).state is RefundState.ACCEPTED
    assert (await payment(town)).reserved_fen == 1_000
    await town.passes(60)

    refund = await town.refund()
    assert (refund.state, refund.payer_refund_fen, refund.problem) == (RefundState.REFUNDED, 1_000, None)
    assert ((await payment(town)).reserved_fen, (await payment(town)).refunded_fen) == (0, 1_000)
    ((type_, data),) = await town.announced()
    assert type_ == "settlement.refunded"
    assert data == {
        "trip_id": "t1",
        "out_order_no": "t1",
        "state": "PAID",
        "refund_id": "r1",
        "out_refund_no": "r1",
        "amount_fen": 1_000,
        "refunded_fen": 1_000,
        "refunded_at": data["refunded_at"],
    }
    assert sent_back_fen(town) == 1_000


async def test_many_refunds_of_one_payment_keep_their_distance_and_add_up(town: Town) -> None:
    await paid(town)

    for number in range(3):
        await town.refunds_of(f"r{number}", amount_fen=1_000)
    for number in range(3):
        assert (await until_over(town, f"r{number}")).state is RefundState.REFUNDED

    sent_after = [(await town.refund(f"r{number}")).send_after for number in range(3)]
    assert [later - earlier for earlier, later in pairwise(sent_after)] == [GAP, GAP]
    assert town.calls_made("refund") == 3, "none was refused as too soon"
    told = [data["refunded_fen"] for type_, data in await town.announced() if type_ == "settlement.refunded"]
    assert told == [1_000, 2_000, 3_000]
    assert sent_back_fen(town) == 3_000


async def test_a_lost_callback_is_made_up_for_by_a_question(town: Town) -> None:
    await paid(town)
    town.listening = False

    await town.refunds_of()
    await town.passes(30)
    assert (await town.refund()).state is RefundState.ACCEPTED
    await town.passes(31)

    assert (await town.refund()).state is RefundState.REFUNDED
    assert town.calls_made("refund_query") == 1


async def test_a_callback_that_comes_twice_or_late_changes_nothing(town: Town) -> None:
    await paid(town)
    await town.refunds_of()
    await until_over(town)
    await town.announced()

    await refund_changed.handle(RefundChanged(resource=town.received[-1][1]), town.refunds)

    assert await town.announced() == []
    assert (await payment(town)).refunded_fen == 1_000


# --- What cannot be refunded is refused, and touches nothing ---


async def test_a_trip_that_is_not_paid_is_not_refunded(town: Town) -> None:
    await town.starts()
    with pytest.raises(IllegalTransition, match="trip_id: the trip is OPEN, and only what is paid"):
        await town.refunds_of()
    assert await town.storage.load_refund("r1") is None


async def test_a_trip_that_nobody_knows_is_not_refunded(town: Town) -> None:
    with pytest.raises(Rejected, match="trip_id: trip 't1' is not known"):
        await town.refunds_of()


async def test_more_than_was_paid_is_refused_and_what_is_left_is_named(town: Town) -> None:
    await paid(town)
    await town.refunds_of("r1", amount_fen=3_000)

    with pytest.raises(IllegalTransition, match="amount_fen: 201 is more than the 200 fen left of 3200 fen paid"):
        await town.refunds_of("r2", amount_fen=201)
    await town.refunds_of("r3", amount_fen=200)

    assert (await payment(town)).reserved_fen == FARE_FEN


async def test_a_person_asks_for_a_refund_of_the_money_they_saw_and_of_no_other(town: Town) -> None:
    await paid(town)
    asked = a_request(amount_fen=1_000)
    seen = (await town.refunds.foresee(asked)).mark

    refund = await town.refunds.request_by_hand(asked, mark=seen)

    assert (refund, refund.amount_fen) == (await town.refund(), 1_000)
    with pytest.raises(IllegalTransition, match=r"^the trip's money has changed since you looked: look again$"):
        await town.refunds.request_by_hand(a_request(refund_id="r2"), mark=seen)
    assert (await payment(town)).reserved_fen == 1_000


async def test_a_refund_that_is_requested_again_is_one_refund(town: Town) -> None:
    await paid(town)
    await town.refunds_of("r1")
    await town.refunds_of("r1")
    await until_over(town)
    await town.refunds_of("r1")

    assert (await payment(town)).refunded_fen == 1_000
    assert refunds_made(town) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [({"amount_fen": 999}, "amount_fen"), ({"reason": "other"}, "reason"), ({"trip_id": "t2"}, "trip_id")],
)
async def test_a_refund_that_is_requested_otherwise_is_refused(town: Town, change: Any, named: str) -> None:
    await paid(town)
    await town.refunds_of("r1")

    with pytest.raises(ConflictingFact, match=f"otherwise than before in {named}$"):
        await town.refunds_of("r1", **change)
    assert (await payment(town)).reserved_fen == 1_000


async def test_a_payment_of_last_year_is_not_refunded(town: Town) -> None:
    await paid(town)
    town.clock.now += REFUNDABLE_FOR + timedelta(seconds=1)
    with pytest.raises(IllegalTransition, match="365 days"):
        await town.refunds_of()


async def test_a_refund_goes_back_on_the_debit_that_has_enough_left(town: Town) -> None:
    await paid(town, Passenger(Behaviour.PAYS_IN_TWO))
    debits = (await payment(town)).debits
    if town.payscore.family == "payafter":  # names one transaction, whatever was debited
        await town.refunds_of("r1", amount_fen=1_600)
        for _ in range(12):
            await town.passes(3_600)
        assert (await town.refund()).problem is not None, "WeChat Pay knows another total of that transaction"
        assert (await payment(town)).refunded_fen == 0
        return

    with pytest.raises(IllegalTransition, match="in one of 2 debits"):
        await town.refunds_of("r1", amount_fen=1_700)
    await town.refunds_of("r2", amount_fen=1_600)
    await town.refunds_of("r3", amount_fen=1_600)

    assert {(await town.refund(id)).transaction_id for id in ("r2", "r3")} == {one.transaction_id for one in debits}


async def test_two_requests_at_once_in_two_workers_cannot_send_back_more_than_was_paid(town: Town) -> None:
    await paid(town)
    workers = [town.refunds, *(town.other_refunds() for _ in range(3))]

    async def requests(worker: Refunds, refund_id: str) -> bool:
        event = RefundRequested(trip_id="t1", refund_id=refund_id, amount_fen=2_000, reason="绕路")
        try:
            await refund_requested.handle(event, worker)
        except IllegalTransition:
            return False
        return True

    taken = await asyncio.gather(*(requests(worker, f"r{number}") for number, worker in enumerate(workers)))
    for number, is_taken in enumerate(taken):
        if is_taken:
            await until_over(town, f"r{number}")

    assert sum(taken) == 1
    assert sent_back_fen(town) == 2_000
    assert (await payment(town)).refunded_fen == 2_000


async def test_one_request_at_once_in_two_workers_is_one_refund(town: Town) -> None:
    await paid(town)
    event = RefundRequested(trip_id="t1", refund_id="r1", amount_fen=2_000, reason="绕路")
    workers = [town.refunds, *(town.other_refunds() for _ in range(3))]

    await asyncio.gather(*(refund_requested.handle(event, worker) for worker in workers))
    await until_over(town)

    assert refunds_made(town) == 1
    assert ((await payment(town)).reserved_fen, (await payment(town)).refunded_fen) == (0, 2_000)
    assert [type_ for type_, _ in await town.announced()] == ["settlement.refunded"]


# --- Trouble on the way ---


@pytest.mark.parametrize("fault", [FaultKind.DROP_REPLY, FaultKind.FAIL_BEFORE, FaultKind.FAIL_AFTER])
async def test_an_unknown_outcome_is_sent_again_to_the_byte(town: Town, fault: FaultKind) -> None:
    await paid(town)
    town.fault(fault, "refund", times=3)

    with pytest.raises(Retryable):
        await town.refunds_of()
    assert (await town.refund()).state is RefundState.REQUESTED
    await town.passes(61)
    await until_over(town)

    entry = town.simulator.refund_entry("r1")
    assert (len(entry.bodies), sent_back_fen(town)) == (1, 1_000)


async def test_a_refusal_asks_first_and_then_sends_the_same_bytes(town: Town) -> None:
    await paid(town)
    town.refuse("refund", "INVALID_REQUEST", "请求异常")

    await town.refunds_of()
    refund = await town.refund()
    assert (refund.state, refund.ask_after) == (RefundState.REQUESTED, town.now + PAUSES[0])
    assert (await payment(town)).reserved_fen == 1_000, "a refusal is unsigned, and frees nothing"
    await town.passes(60)

    assert (await until_over(town)).state is RefundState.REFUNDED
    assert town.calls_made("refund_query") >= 1
    assert len(town.simulator.refund_entry("r1").bodies) == 1


async def test_a_refusal_of_what_was_done_is_found_out_by_the_question(town: Town) -> None:
    await paid(town)
    town.refuse("refund", "INVALID_REQUEST", "请求异常", after=True)

    await town.refunds_of()
    await town.passes(60)

    assert (await until_over(town)).state is RefundState.REFUNDED
    assert town.calls_made("refund") == 1


async def test_too_little_to_refund_from_goes_on_by_itself_once_there_is_enough(town: Town) -> None:
    await paid(town)
    town.simulator.set_refund_balance(0)

    await town.refunds_of()
    for _ in range(8):
        await town.passes(60)
    assert (await town.refund()).refused_as == "not_enough"
    town.simulator.set_refund_balance(None)

    assert (await until_over(town)).state is RefundState.REFUNDED


async def test_too_little_to_refund_from_for_hours_is_for_a_person_and_said_once(town: Town) -> None:
    await paid(town)
    town.simulator.set_refund_balance(0)

    await town.refunds_of()
    for _ in range(12):
        await town.passes(3_600)
    refund = await town.refund()

    assert refund.problem is not None
    assert (refund.state, refund.problem.code) == (RefundState.REQUESTED, "NOT_ENOUGH")
    assert (await payment(town)).reserved_fen == 1_000
    ((type_, data),) = await town.announced()
    assert (type_, data["code"], data["amount_fen"]) == ("settlement.refund_problem", "NOT_ENOUGH", 1_000)

    town.simulator.set_refund_balance(None)
    await town.refunds.clear_problem("r1")
    assert (await until_over(town)).state is RefundState.REFUNDED
    assert [type_ for type_, _ in await town.announced()] == ["settlement.refunded"]


async def test_an_account_that_is_closed_is_for_a_person_after_the_second_refusal(town: Town) -> None:
    await paid(town, Passenger(Behaviour.PAYS, refund=RefundOutcome.ACCOUNT_ABNORMAL))

    await town.refunds_of()
    assert (await town.refund()).problem is None, "one refusal is unsigned, and may be anybody's"
    await town.passes(61)

    problem = (await town.refund()).problem
    assert problem is not None
    assert problem.code == "USER_ACCOUNT_ABNORMAL"


async def test_a_refund_that_wechat_pay_closes_has_failed_and_frees_what_it_reserved(town: Town) -> None:
    await paid(town, Passenger(Behaviour.PAYS, refund=RefundOutcome.CLOSED))

    await town.refunds_of("r1", amount_fen=FARE_FEN)
    assert (await until_over(town)).state is RefundState.FAILED

    assert (await payment(town)).reserved_fen == 0
    ((type_, data),) = await town.announced()
    assert (type_, data["code"]) == ("settlement.refund_problem", "refund_closed")
    town.simulator.set_passenger("oPassenger", PAID)
    await town.refunds_of("r2", amount_fen=FARE_FEN)
    assert (await until_over(town, "r2")).state is RefundState.REFUNDED
    assert sent_back_fen(town) == FARE_FEN


async def test_money_that_cannot_be_delivered_is_for_a_person_until_wechat_pay_says_how_it_ended(town: Town) -> None:
    await paid(town, Passenger(Behaviour.PAYS, refund=RefundOutcome.ABNORMAL))

    await town.refunds_of()
    refund = await until_over(town)
    assert refund.problem is not None
    assert (refund.state, refund.problem.code) == (RefundState.ACCEPTED, ABNORMAL)
    assert [data["code"] for _, data in await town.announced()] == [ABNORMAL]

    town.simulator.end_refund("r1", RefundStatus.SUCCESS)
    await town.passes(1)

    refund = await town.refund()
    assert (refund.state, refund.problem) == (RefundState.REFUNDED, None)
    assert [type_ for type_, _ in await town.announced()] == ["settlement.refunded"]


async def test_a_refund_that_never_ends_is_asked_about_less_and_less_and_then_for_a_person(town: Town) -> None:
    await paid(town, Passenger(Behaviour.PAYS, refund=RefundOutcome.NEVER))

    await town.refunds_of()
    while (await town.refund()).problem is None:
        assert town.now < (await town.refund()).requested_at + LONGEST_PROCESSING + timedelta(days=1)
        await town.passes(1_800)

    problem = (await town.refund()).problem
    assert problem is not None
    assert problem.code == SLOW
    assert town.calls_made("refund_query") < 80

    town.simulator.end_refund("r1", RefundStatus.SUCCESS)
    await town.passes(1)
    assert (await town.refund()).state is RefundState.REFUNDED


@pytest.mark.parametrize("fault", [FaultKind.STALE, FaultKind.NOT_YET])
async def test_a_replica_that_lags_decides_nothing(town: Town, fault: FaultKind) -> None:
    await paid(town)
    town.listening = False
    town.fault(fault, "refund_query")

    await town.refunds_of()

    assert (await until_over(town)).state is RefundState.REFUNDED
    assert town.calls_made("refund") == 1


async def test_another_amount_under_our_number_is_for_a_person(town: Town) -> None:
    await paid(town)
    town.listening = False
    town.fault(FaultKind.AMOUNT_DIFFERS, "refund_query")

    await town.refunds_of()
    await town.passes(60)

    problem = (await town.refund()).problem
    assert problem is not None
    assert problem.code == AMOUNT_DIFFERS
    assert (await payment(town)).refunded_fen == 0


@pytest.mark.parametrize("call", ["refund", "refund_query"])
async def test_a_signed_answer_about_another_refund_is_no_answer(town: Town, call: str) -> None:
    await paid(town)
    town.listening = False
    town.fault(FaultKind.ANOTHER_ORDER, call, variant="out_refund_no")

    await town.refunds_of()
    assert (await until_over(town)).state is RefundState.REFUNDED

    assert len(town.simulator.refund_entry("r1").bodies) == 1
    assert sent_back_fen(town) == 1_000


@pytest.mark.parametrize("call", ["refund", "refund_query"])
async def test_an_answer_that_cannot_be_read_is_no_answer(town: Town, call: str) -> None:
    await paid(town)
    town.listening = False
    town.fault(FaultKind.UNREADABLE, call, variant="wrong_types")

    with suppress(OutcomeUnknown):
        await town.refunds_of()
    assert (await until_over(town)).state is RefundState.REFUNDED

    assert sent_back_fen(town) == 1_000


# --- Notifications ---


def ended_as(town: Town, **changes: Any) -> RefundChanged:
    resource = {
        "mchid": town.client.merchant.mchid,
        "transaction_id": town.order().refunds[0].transaction_id,
        "out_refund_no": "r1",
        "refund_id": "50000000382019052709732678859",
        "refund_status": "SUCCESS",
        "success_time": "2026-05-01T20:30:00+08:00",
        "amount": {"total": FARE_FEN, "refund": 1_000, "payer_total": FARE_FEN, "payer_refund": 1_000},
    }
    return RefundChanged(resource=resource | changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mchid": "1999999999"}, "mchid"),
        ({"transaction_id": "4299999999"}, "transaction_id"),
        ({"out_refund_no": "r9"}, "out_refund_no"),
    ],
)
async def test_a_notification_about_another_refund_is_refused(town: Town, changes: Any, named: str) -> None:
    await paid(town)
    town.listening = False
    await town.refunds_of()

    with pytest.raises(Rejected, match=named):
        await refund_changed.handle(ended_as(town, **changes), town.refunds)
    assert (await town.refund()).state is RefundState.ACCEPTED


async def test_a_notification_that_does_not_say_how_much_went_back_is_refused(town: Town) -> None:
    await paid(town)
    town.listening = False
    await town.refunds_of()

    with pytest.raises(MalformedMessage, match="refund_status"):
        await refund_changed.handle(ended_as(town, amount={}), town.refunds)


async def test_a_notification_of_another_amount_is_for_a_person(town: Town) -> None:
    await paid(town)
    town.listening = False
    await town.refunds_of()

    await refund_changed.handle(ended_as(town, amount={"total": FARE_FEN, "refund": 999}), town.refunds)

    problem = (await town.refund()).problem
    assert problem is not None
    assert problem.code == AMOUNT_DIFFERS


async def test_a_notification_that_contradicts_the_end_is_refused_and_noted(town: Town) -> None:
    await paid(town)
    await town.refunds_of()
    await until_over(town)

    with pytest.raises(ConflictingFact, match="closed that it had sent"):
        await refund_changed.handle(ended_as(town, refund_status="CLOSED"), town.refunds)
    assert (await town.refund()).state is RefundState.REFUNDED
    assert (await payment(town)).refunded_fen == 1_000


# --- Crashes, other workers, other settings ---


async def test_a_request_that_was_noted_by_a_worker_that_died_is_sent_by_the_reconciler(town: Town) -> None:
    await paid(town)
    event = RefundRequested(trip_id="t1", refund_id="r1", amount_fen=1_000, reason="绕路")
    await town.refunds.note_requested(event)

    assert town.calls_made("refund") == 0
    await town.passes(61)

    assert town.calls_made("refund") == 1
    assert (await until_over(town)).state is RefundState.REFUNDED


async def test_the_body_is_stored_before_it_is_sent_and_each_send_is_counted(town: Town) -> None:
    await paid(town)
    town.listening = False
    town.fault(FaultKind.DROP_REPLY, "refund", times=3)
    with suppress(Retryable):
        await town.refunds_of()
    refund = await town.refund()

    call = await town.storage.last_call("t1", "refund", refund.generation)
    assert call is not None
    assert (call.begun, call.outcome, call.uncertain) == (1, CallOutcome.UNKNOWN, True)
    await town.passes(61)
    after = await town.storage.last_call("t1", "refund", refund.generation)
    assert after is not None
    assert (after.begun, after.outcome, after.body) == (2, CallOutcome.ACCEPTED, call.body)


async def test_refunds_of_one_trip_have_a_place_each_in_its_journal(town: Town) -> None:
    await paid(town)
    await town.refunds_of("r1")
    await town.refunds_of("r2")
    await until_over(town, "r2")

    first, second = await town.refund("r1"), await town.refund("r2")
    bodies = [await town.storage.last_call("t1", "refund", one.generation) for one in (first, second)]
    assert [b'"out_refund_no":"r' in one.body for one in bodies if one is not None] == [True, True]
    assert first.generation != second.generation


async def test_a_worker_that_hears_the_answer_late_drops_no_word(town: Town) -> None:
    """The callback is there before the answer to the create is written."""
    await paid(town)
    arrived, may_go_on = asyncio.Event(), asyncio.Event()
    send = town.client.send

    async def slow(call: Any) -> Any:
        answer = await send(call)
        if call.kind == "refund":
            arrived.set()
            await may_go_on.wait()
        return answer

    town.client.send = slow  # type: ignore[method-assign]
    request = asyncio.create_task(town.refunds_of())
    await reached(arrived, by=request)
    town.clock.now += timedelta(seconds=10)
    await town.simulator.run_once()
    assert (await town.refund()).state is RefundState.REFUNDED
    may_go_on.set()
    await request

    assert (await town.refund()).state is RefundState.REFUNDED
    assert (await payment(town)).refunded_fen == 1_000
    assert [type_ for type_, _ in await town.announced()] == ["settlement.refunded"]


async def test_a_refund_of_another_merchants_payment_waits_for_that_merchants_keys(town: Town) -> None:
    await paid(town)
    refund = await town.refunds.note_requested(
        RefundRequested(trip_id="t1", refund_id="r1", amount_fen=1_000, reason="绕路")
    )
    theirs = replace(refund, mchid="1999999999")
    assert await town.storage.save(theirs, due_at=town.now, now=town.now)

    with pytest.raises(Retryable, match="mchid 1999999999"):
        await town.refunds.advance("r1")
    assert town.calls_made("refund") == 0


async def test_a_problem_is_taken_up_again_only_where_there_is_one(town: Town) -> None:
    await paid(town)
    await town.refunds_of()

    with pytest.raises(Rejected, match="has no problem"):
        await town.refunds.clear_problem("r1")
    with pytest.raises(Rejected, match="is not known"):
        await town.refunds.clear_problem("r9")


# --- Clocks ---


@pytest.fixture
async def strict_town(storage: Storage, family: str) -> AsyncIterator[Town]:
    async with a_town(storage, family, refund_too_soon_code="INVALID_REQUEST") as town:
        yield town


async def test_two_refunds_that_an_outage_has_brought_together_both_go_back(strict_town: Town) -> None:
    """WeChat Pay refuses the second as too soon, in words that say nothing else."""
    town = strict_town
    await paid(town)
    town.fault(FaultKind.FAIL_BEFORE, "refund", times=3)
    with suppress(Retryable):
        await town.refunds_of("r1")
    await town.refunds_of("r2")
    town.clock.now += 5 * MINUTE

    for refund_id in ("r1", "r2"):
        assert (await until_over(town, refund_id)).state is RefundState.REFUNDED
    assert sent_back_fen(town) == 2_000
