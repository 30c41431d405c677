"""A fare after the trip has ended: lowered, paid elsewhere, asked for at once; against the simulator."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from payscore_worker.domain import fares
from payscore_worker.domain.decisions import Decision, Verb
from payscore_worker.domain.fares import MAX_LOWERED
from payscore_worker.domain.next_step import SYNC_MARGIN
from payscore_worker.domain.refund import OVER, Refund, RefundState
from payscore_worker.domain.trip import (
    PAID_TWICE,
    Asking,
    Lowering,
    Problem,
    Trip,
    TripState,
    too_much_fen,
)
from payscore_worker.errors import (
    ConflictingFact,
    IllegalTransition,
    MalformedMessage,
    NotHeardOf,
    OutcomeUnknown,
    Rejected,
    Retryable,
    TooEarly,
)
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator import CallKind as SimulatedCall
from payscore_worker.simulator.refunds.book import RefundStatus
from payscore_worker.storage import CallOutcome, Storage
from payscore_worker.wechatpay.payscore import Order, Phase
from payscore_worker.wechatpay.payscore.orders import read_order
from tests.builders import NOW, a_lowered_fare, a_payment_elsewhere
from tests.integration.settlement.town import Town, a_town, no_sleep

LATE = Passenger(Behaviour.PAYS_LATE, seconds=7_200)
NEVER = Passenger(Behaviour.NEVER_PAYS)


@pytest.fixture
def passenger(town: Town) -> Callable[[Passenger], None]:
    return lambda passenger: town.simulator.set_passenger("oPassenger", passenger)


@pytest.fixture
async def current(storage: Storage) -> AsyncIterator[Town]:
    """A town of the family that can lower a fare and ask for it."""
    async with a_town(storage, "serviceorder") as town:
        yield town


async def refunds(town: Town, trip_id: str = "t1") -> list[Refund]:
    """Find the refunds that a trip has asked for itself."""
    found, returned = [], 0
    while (refund := await town.storage.load_refund(f"back-{trip_id}-{returned}")) is not None:
        found.append(refund)
        returned += refund.amount_fen
    return found


async def until_at_rest(town: Town) -> None:
    """Let hours pass until trip and refunds are over; bounded, for they may not be."""
    for _ in range(60):
        trip, back = await town.trip(), await refunds(town)
        if trip.state is TripState.PAID and not too_much_fen(trip) and all(refund.state in OVER for refund in back):
            return
        await town.passes(600)
    raise AssertionError("it goes on and on")


def kept_fen(town: Town) -> int:
    """Count what the passenger has paid through WeChat Pay, less what went back."""
    back = sum(entry.amount_fen or 0 for entry in town.order().refunds if entry.status is RefundStatus.SUCCESS)
    return town.charged_fen() - back


async def told(town: Town, type_: str) -> list[dict[str, Any]]:
    return [data for said, data in await town.announced() if said == type_]


# --- Lowered before it is asked for ---


async def test_a_fare_that_is_lowered_before_it_is_asked_for_replaces_the_old_one(town: Town) -> None:
    town.fault(FaultKind.UNAVAILABLE, "create", times=9)
    with pytest.raises(Retryable):
        await town.starts()
    with pytest.raises(Retryable):
        await town.ends()

    with pytest.raises(Retryable):
        await town.lowers(total_fen=2_000)
    town.simulator.clear_faults()
    await until_at_rest(town)

    assert (kept_fen(town), await refunds(town)) == (2_000, [])
    announced = dict(await town.announced())
    assert announced["settlement.lowered"]["total_fen"] == 2_000
    assert announced["settlement.lowered"]["was_fen"] == 3_200
    assert announced["settlement.completed"]["total_fen"] == 2_000
    assert announced["settlement.paid"]["paid_fen"] == 2_000


# --- Lowered while the money is out ---


async def test_a_fare_that_is_lowered_while_the_money_is_out_is_collected_no_higher(
    town: Town, passenger: Callable[[Passenger], None]
) -> None:
    passenger(LATE)
    await town.rides()
    assert await town.state() is TripState.COMPLETED
    await town.announced()

    await town.lowers(total_fen=2_000)
    await until_at_rest(town)

    assert kept_fen(town) == 2_000
    (lowered,) = await told(town, "settlement.lowered")
    assert (lowered["total_fen"], lowered["was_fen"]) == (2_000, 3_200)
    by_refund = [refund.amount_fen for refund in await refunds(town)]
    assert by_refund == ([] if town.payscore.family == "serviceorder" else [1_200])
    assert town.calls_made("modify") == (1 if town.payscore.family == "serviceorder" else 0)


async def test_a_fare_that_is_lowered_twice_is_collected_at_the_last_word(
    town: Town, passenger: Callable[[Passenger], None]
) -> None:
    passenger(LATE)
    await town.rides()
    await town.lowers(total_fen=2_000)
    await town.lowers(total_fen=1_500)
    await town.lowers(total_fen=2_000, lowered_at=town.now - timedelta(0))  # the first once more
    await until_at_rest(town)

    assert kept_fen(town) == 1_500
    assert (await town.trip()).problem is None


async def test_wechat_pay_may_lower_once_only_and_the_rest_goes_back(storage: Storage) -> None:
    async with a_town(storage, "serviceorder", modify_once=True) as town:
        town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS_LATE, seconds=90_000))
        await town.rides()
        await town.lowers(total_fen=2_000)
        await town.lowers(total_fen=1_500)
        for _ in range(30):
            await town.passes(3_600)
        await until_at_rest(town)

        assert kept_fen(town) == 1_500
        assert [refund.amount_fen for refund in await refunds(town)] == [500]
        assert (await town.trip()).problem is None


async def test_a_fare_may_be_lowered_to_nothing(town: Town, passenger: Callable[[Passenger], None]) -> None:
    passenger(LATE)
    await town.rides()

    await town.lowers(total_fen=0)
    await until_at_rest(town)

    assert (kept_fen(town), (await town.trip()).problem) == (0, None)


@pytest.mark.parametrize("fault", [FaultKind.DROP_REPLY, FaultKind.FAIL_AFTER])
async def test_a_lowering_whose_answer_is_lost_is_sent_again_in_the_same_bytes(current: Town, fault: FaultKind) -> None:
    current.simulator.set_passenger("oPassenger", LATE)
    await current.rides()
    current.fault(fault, "modify", times=3)

    with pytest.raises(OutcomeUnknown):
        await current.lowers(total_fen=2_000)
    await until_at_rest(current)

    assert (kept_fen(current), await refunds(current)) == (2_000, [])
    assert len(set(current.order().bodies[SimulatedCall.MODIFY])) == 1


async def test_the_passenger_pays_the_old_fare_in_the_moment_it_is_lowered_and_gets_the_difference_back(
    current: Town,
) -> None:
    current.simulator.set_passenger("oPassenger", NEVER)
    await current.rides()
    current.listening = False
    current.simulator.pay("t1")

    await current.lowers(total_fen=2_000)
    await until_at_rest(current)

    assert kept_fen(current) == 2_000
    assert [refund.amount_fen for refund in await refunds(current)] == [1_200]
    assert [data["total_fen"] for data in await told(current, "settlement.lowered")] == [2_000]


async def test_what_was_paid_above_the_fare_goes_back_as_soon_as_wechat_pay_tells_of_it(storage: Storage) -> None:
    async with a_town(storage, "payafter") as town:
        town.simulator.set_passenger("oPassenger", LATE)
        await town.rides()
        await town.lowers(total_fen=2_000)
        town.clock.now += timedelta(hours=3)

        await town.simulator.run_once()  # and no reconciler

        assert [refund.amount_fen for refund in await refunds(town)] == [1_200]


# --- Lowered once it is paid ---


async def test_what_was_paid_above_a_lowered_fare_goes_back(town: Town) -> None:
    await town.rides()
    await town.passes(60)
    assert await town.state() is TripState.PAID
    await town.announced()

    await town.lowers(total_fen=2_000)
    await until_at_rest(town)

    assert kept_fen(town) == 2_000
    (refund,) = await refunds(town)
    assert (refund.amount_fen, refund.state) == (1_200, RefundState.REFUNDED)
    assert await town.announced_types() == ["settlement.lowered", "settlement.refunded"]


async def test_what_goes_back_of_two_debits_goes_back_by_two_refunds(
    current: Town,
) -> None:
    current.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS_IN_TWO))
    await current.rides()
    await current.passes(60)
    await current.passes(60)
    assert await current.state() is TripState.PAID

    await current.lowers(total_fen=200)
    await until_at_rest(current)

    assert kept_fen(current) == 200
    assert sorted(refund.amount_fen for refund in await refunds(current)) == [1_400, 1_600]


async def test_a_lowered_fare_is_refused_where_not_so_much_is_left_of_what_was_paid(town: Town) -> None:
    await town.rides()
    await town.passes(60)
    await town.refunds_of("r1", amount_fen=3_000)

    with pytest.raises(IllegalTransition, match="total_fen: 1200 fen would go back, and 200 fen are left"):
        await town.lowers(total_fen=2_000)

    assert (await town.trip()).lowered == ()


async def test_a_refund_of_the_ride_services_own_that_has_the_same_id_leaves_the_rest_to_a_person(town: Town) -> None:
    await town.rides()
    await town.passes(60)
    await town.refunds_of("back-t1-0", amount_fen=100)

    await town.lowers(total_fen=2_000)

    trip = await town.trip()
    assert trip.problem is not None
    assert (trip.problem.code, trip.problem.message) == ("not_sent_back", "another refund has the id back-t1-0")
    assert trip.returned_fen == 0


# --- What is not a lower fare ---


async def test_a_fare_that_is_not_lower_is_refused_and_nothing_is_touched(town: Town) -> None:
    await town.rides()
    before = await town.trip()

    for total_fen in (3_200, 4_000):
        with pytest.raises(IllegalTransition, match=f"total_fen: {total_fen} is not below the present fare of 3200"):
            await town.lowers(total_fen=total_fen)

    assert await town.trip() == before


async def test_a_lower_fare_of_a_trip_that_has_not_ended_waits_for_its_end(town: Town) -> None:
    await town.starts()

    with pytest.raises(TooEarly, match=r"before trip\.ended"):
        await town.lowers()


async def test_what_is_told_of_a_trip_that_nobody_knows_may_have_overtaken_its_start(town: Town) -> None:
    with pytest.raises(NotHeardOf, match=r"^trip_id: trip 't1' is not known$"):
        await town.lowers()
    with pytest.raises(NotHeardOf, match=r"^trip_id: trip 't1' is not known$"):
        await town.is_paid_elsewhere()


async def test_a_cancelled_trip_has_no_fare_to_lower_or_to_pay(town: Town) -> None:
    await town.starts()
    await town.cancels()

    with pytest.raises(ConflictingFact, match="cancelled"):
        await town.lowers()
    with pytest.raises(ConflictingFact, match="cancelled"):
        await town.is_paid_elsewhere()


async def test_the_same_word_again_changes_nothing_and_an_older_one_that_comes_late_neither(
    town: Town, passenger: Callable[[Passenger], None]
) -> None:
    passenger(LATE)
    await town.rides()
    at = town.now
    await town.passes(60)
    await town.lowers(total_fen=1_500)
    before = await town.trip()

    await town.lowers(total_fen=1_500)
    assert await town.trip() == before
    await town.lowers(total_fen=2_000, lowered_at=at)
    await until_at_rest(town)

    assert kept_fen(town) == 1_500


async def test_a_fare_is_lowered_so_often_and_no_more(town: Town, passenger: Callable[[Passenger], None]) -> None:
    passenger(NEVER)
    await town.rides()
    for total_fen in range(3_000, 3_000 - MAX_LOWERED, -1):
        await town.lowers(total_fen=total_fen)

    with pytest.raises(IllegalTransition, match=f"lowered {MAX_LOWERED} times"):
        await town.lowers(total_fen=100)


async def test_two_workers_that_are_told_at_once_lower_a_fare_once(
    current: Town,
) -> None:
    current.simulator.set_passenger("oPassenger", LATE)
    await current.rides()
    other = replace(current, settlement=current.another_settlement())

    await asyncio.gather(current.lowers(), other.lowers(), return_exceptions=True)
    await until_at_rest(current)

    assert kept_fen(current) == 2_000
    assert len((await current.trip()).lowered) == 1


# --- Paid elsewhere ---


async def test_wechat_pay_collects_no_more_of_what_was_paid_elsewhere(
    town: Town, passenger: Callable[[Passenger], None]
) -> None:
    passenger(NEVER)
    await town.rides()
    await town.passes(60)
    await town.announced()

    await town.is_paid_elsewhere()
    await until_at_rest(town)

    assert (town.charged_fen(), town.calls_made("sync")) == (0, 1)
    ((type_, data),) = await town.announced()
    assert (type_, data["way"], data["transaction_ids"], data["paid_fen"]) == ("settlement.paid", "cash", [], 3_200)


async def test_wechat_pay_is_told_so_only_after_its_complete_by_a_margin(
    town: Town, passenger: Callable[[Passenger], None]
) -> None:
    passenger(NEVER)
    await town.rides()

    await town.is_paid_elsewhere(paid_at=town.now - timedelta(minutes=5))
    assert town.calls_made("sync") == 0
    await town.passes(2 * SYNC_MARGIN.total_seconds())
    await until_at_rest(town)

    assert (await town.trip()).problem is None
    assert (town.charged_fen(), town.calls_made("sync")) == (0, 1)


async def test_an_order_that_was_not_completed_is_cancelled_when_the_fare_is_paid_elsewhere(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.clock.now -= timedelta(seconds=595)  # so soon after its start it cannot be completed
    await town.ends(ended_at=town.now)
    assert (await town.trip()).end_time is None

    await town.is_paid_elsewhere()
    await until_at_rest(town)

    assert (town.charged_fen(), town.calls_made("complete"), town.calls_made("cancel")) == (0, 0, 1)
    assert [data["way"] for data in await told(town, "settlement.paid")] == ["cash"]


async def test_no_order_is_opened_for_what_was_paid_elsewhere(town: Town) -> None:
    await town.ends()

    await town.is_paid_elsewhere()
    await town.starts()
    await town.passes(60)

    assert (await town.state(), town.calls_made("create")) == (TripState.PAID, 0)
    assert [data["way"] for data in await told(town, "settlement.paid")] == ["cash"]


async def test_a_declined_trip_is_paid_where_it_was_paid(town: Town, passenger: Callable[[Passenger], None]) -> None:
    passenger(Passenger(Behaviour.RISK_REFUSED))
    await town.starts()
    for _ in range(10):
        await town.passes(120)
    assert await town.state() is TripState.DECLINED
    await town.ends()

    await town.is_paid_elsewhere()

    assert await town.state() is TripState.PAID
    assert [data["way"] for data in await told(town, "settlement.paid")] == ["cash"]


@pytest.mark.parametrize("amount_fen", [3_199, 3_201])
async def test_an_amount_that_is_not_the_fare_is_refused(town: Town, amount_fen: int) -> None:
    await town.rides()

    with pytest.raises(IllegalTransition, match=f"amount_fen: {amount_fen} is not the fare, which is 3200"):
        await town.is_paid_elsewhere(amount_fen=amount_fen)


async def test_a_payment_elsewhere_that_lies_in_the_future_is_a_slip_of_the_pen(town: Town) -> None:
    await town.rides()

    with pytest.raises(Rejected, match=r"paid_at: .* lies in the future"):
        await town.is_paid_elsewhere(paid_at=town.now + timedelta(hours=1, seconds=1))
    await town.is_paid_elsewhere(paid_at=town.now + timedelta(hours=1))


async def test_another_payment_elsewhere_conflicts_and_the_same_one_does_not(
    town: Town, passenger: Callable[[Passenger], None]
) -> None:
    passenger(NEVER)
    await town.rides()
    await town.is_paid_elsewhere()

    await town.is_paid_elsewhere()
    with pytest.raises(ConflictingFact):
        await town.is_paid_elsewhere(channel="card")


async def test_what_was_paid_twice_is_for_a_person(town: Town) -> None:
    await town.rides()
    await town.passes(60)
    await town.announced()

    await town.is_paid_elsewhere()

    problem = (await town.trip()).problem
    assert problem is not None
    assert problem.code == PAID_TWICE
    assert await town.announced_types() == ["settlement.problem"]
    await town.settlement.clear_problem("t1")
    await town.passes(60)
    assert (await town.trip()).problem is None
    assert await refunds(town) == []


async def test_what_was_paid_twice_goes_back_where_the_setting_says_so(storage: Storage, family: str) -> None:
    async with a_town(storage, family, rules={"refunds_paid_twice": True}) as town:
        await town.rides()
        await town.passes(60)

        await town.is_paid_elsewhere()
        await until_at_rest(town)

        assert kept_fen(town) == 0
        assert [refund.amount_fen for refund in await refunds(town)] == [3_200]


async def test_a_debit_that_crosses_the_word_that_it_was_paid_elsewhere_goes_back(
    storage: Storage, family: str
) -> None:
    async with a_town(storage, family, rules={"refunds_paid_twice": True}) as town:
        town.simulator.set_passenger("oPassenger", NEVER)
        await town.rides()
        town.listening = False
        town.simulator.pay("t1")

        await town.is_paid_elsewhere()
        await until_at_rest(town)
        await town.passes(600)
        await until_at_rest(town)

        assert kept_fen(town) == 0
        assert [data["way"] for data in await told(town, "settlement.paid")] == ["payscore"]


# --- Asked for at once ---


async def decides_to_ask(town: Town) -> None:
    sight = await town.settlement.look("t1")
    decision = Decision(verb=Verb.PAY, by="wang", reason="乘客说已充值")
    await town.settlement.decide("t1", decision, mark=sight.mark, pause=no_sleep)


async def test_a_person_has_wechat_pay_collect_at_once(current: Town) -> None:
    current.simulator.set_passenger("oPassenger", NEVER)
    await current.rides()
    current.simulator.set_passenger("oPassenger", Passenger())  # has money again

    await decides_to_ask(current)
    await current.passes(30)

    assert current.calls_made("pay") == 1
    assert await current.state() is TripState.PAID


async def test_a_family_without_such_a_call_cannot_be_asked(storage: Storage) -> None:
    async with a_town(storage, "payafter") as town:
        town.simulator.set_passenger("oPassenger", LATE)
        await town.rides()

        with pytest.raises(IllegalTransition, match="no call for it"):
            await decides_to_ask(town)


async def test_wechat_pay_is_asked_at_the_ages_that_the_settings_name_and_at_no_other(storage: Storage) -> None:
    ages = (timedelta(hours=1), timedelta(hours=2))
    async with a_town(storage, "serviceorder", rules={"pay_after": ages}) as town:
        town.simulator.set_passenger("oPassenger", NEVER)
        await town.rides()
        town.refuse("pay", "INVALID_REQUEST", "单据正在扣款中，请稍后再试", sub_code=271316754, times=2)
        for _ in range(20):
            await town.passes(600)

        trip = await town.trip()
        assert (trip.problem, trip.asking) == (None, Asking(step=2))
        assert town.calls_made("pay") == 4  # each age once, and once more after a refusal that may be anybody's


# --- What is noted of a call about a fare ---

UNREADABLE = "total_amount: expected an amount in whole fen, not str"


async def lowers(town: Town) -> None:
    await town.lowers(total_fen=2_000)


async def is_paid_elsewhere(town: Town) -> None:
    """Have the word noted, and wait until WeChat Pay may be told."""
    await town.is_paid_elsewhere()
    town.clock.now += 2 * SYNC_MARGIN
    await town.settlement.advance("t1")


async def is_asked_for(town: Town) -> None:
    """Have it decided that WeChat Pay is asked to collect now."""
    asked_for = replace(await town.trip(), asking=Asking(due=True))
    assert await town.storage.save(asked_for, due_at=None, now=town.now)
    await town.settlement.advance("t1")


CALLS: dict[str, tuple[str, Callable[[Town], Awaitable[None]]]] = {
    "modify": ("LowerOrder", lowers),
    "sync": ("SyncOrder", is_paid_elsewhere),
    "pay": ("PayOrder", is_asked_for),
}
"""The call, its step, and what has it made."""


@pytest.fixture
async def unpaid(current: Town) -> Town:
    """A town whose fare WeChat Pay cannot collect yet, and tells nothing of."""
    current.simulator.set_passenger("oPassenger", NEVER)
    await current.rides()
    current.listening = False
    return current


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_about_a_fare_is_in_the_journal_with_its_answer(unpaid: Town, kind: str) -> None:
    before = await unpaid.trip()

    await CALLS[kind][1](unpaid)

    call, trip = await unpaid.call(kind), await unpaid.trip()
    assert (call.outcome, call.generation, call.begun, call.at) == (
        CallOutcome.ACCEPTED,
        before.bodies + 1,
        1,
        unpaid.now,
    )
    assert call.request_id != ""
    assert trip.bodies == before.bodies + 1


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_about_a_fare_that_was_not_answered_is_sent_again_in_the_same_bytes(
    unpaid: Town, kind: str
) -> None:
    unpaid.fault(FaultKind.FAIL_BEFORE, kind, times=3)
    before = await unpaid.trip()

    with pytest.raises(OutcomeUnknown):
        await CALLS[kind][1](unpaid)
    once = await unpaid.call(kind)
    await unpaid.settlement.advance("t1")

    again = await unpaid.call(kind)
    assert (once.outcome, once.begun, once.at) == (CallOutcome.UNKNOWN, 1, unpaid.now)
    assert (again.outcome, again.begun, again.generation) == (CallOutcome.ACCEPTED, 2, before.bodies + 1)
    assert again.body == once.body
    assert len(set(unpaid.order().bodies[SimulatedCall(kind)])) == 1


TOLD: dict[str, Callable[[Trip], Trip]] = {
    "modify": lambda trip: fares.note_lowered(trip, a_lowered_fare()),
    "sync": lambda trip: fares.note_paid_elsewhere(trip, a_payment_elsewhere(), NOW),
    "pay": lambda trip: replace(trip, asking=Asking(due=True)),
}
"""What has a call made, by itself."""


@pytest.mark.parametrize("kind", CALLS)
async def test_a_trip_that_another_worker_has_moved_meanwhile_is_looked_at_anew(unpaid: Town, kind: str) -> None:
    claimed = TOLD[kind](await unpaid.trip())
    unpaid.clock.now += 2 * SYNC_MARGIN
    assert await unpaid.storage.save(claimed, due_at=None, now=unpaid.now)

    await unpaid.settlement.take_up(claimed)

    assert ((await unpaid.call(kind)).outcome, (await unpaid.call(kind)).begun) == (CallOutcome.ACCEPTED, 1)
    assert unpaid.calls_made(kind) == 1


def keep_silent(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no question end the doubt."""

    def unanswered(_number: str) -> None:
        raise OutcomeUnknown("later")

    monkeypatch.setattr(town.payscore, "query", unanswered)


@pytest.mark.parametrize(("kind", "reads"), [("modify", "read_order"), ("sync", "read_created")])
async def test_an_answer_about_a_fare_that_cannot_be_read_is_asked_about(
    unpaid: Town, kind: str, reads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_data: object) -> Order:
        raise MalformedMessage(UNREADABLE)

    monkeypatch.setattr(unpaid.payscore, reads, unreadable)
    keep_silent(unpaid, monkeypatch)
    step, make = CALLS[kind]

    with pytest.raises(OutcomeUnknown):
        await make(unpaid)

    doubt, call = (await unpaid.trip()).doubt, await unpaid.call(kind)
    assert doubt is not None
    assert (doubt.step, doubt.code, doubt.message) == (step, "malformed_answer", UNREADABLE)
    assert (call.outcome, call.uncertain, call.at) == (CallOutcome.UNKNOWN, True, unpaid.now)
    assert call.request_id != ""


@pytest.mark.parametrize("kind", CALLS)
async def test_an_answer_about_a_fare_that_is_of_another_order_is_asked_about(
    unpaid: Town, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_silent(unpaid, monkeypatch)
    unpaid.fault(FaultKind.ANOTHER_ORDER, kind, variant="out_order_no")
    step, make = CALLS[kind]

    with pytest.raises(OutcomeUnknown):
        await make(unpaid)

    doubt = (await unpaid.trip()).doubt
    assert doubt is not None
    assert (doubt.step, doubt.code) == (step, "not_ours")
    assert doubt.message == "WeChat Pay answered with another out_order_no than ours"


async def test_wechat_pay_is_told_when_it_was_paid_elsewhere(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", NEVER)
    await town.rides()
    paid_at = town.now + timedelta(minutes=1)

    await town.is_paid_elsewhere(paid_at=paid_at)
    town.clock.now = paid_at + SYNC_MARGIN
    await town.settlement.advance("t1")

    assert b'"paid_time":"20260501201100"' in (await town.call("sync")).body


async def test_an_answer_that_shows_the_order_over_ends_the_trip_without_another_question(
    unpaid: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(data: dict[str, Any]) -> Order:
        return replace(read_order(data), phase=Phase.DONE)

    keep_silent(unpaid, monkeypatch)
    monkeypatch.setattr(unpaid.payscore, "read_created", over)

    await is_paid_elsewhere(unpaid)

    trip = await unpaid.trip()
    assert trip.payment is not None
    assert (trip.state, trip.payment.debits) == (TripState.PAID, ())


async def test_an_answer_that_shows_the_order_over_with_another_amount_is_for_a_person(
    unpaid: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(data: dict[str, Any]) -> Order:
        return replace(read_order(data), phase=Phase.DONE, total_fen=2_999)

    monkeypatch.setattr(unpaid.payscore, "read_created", over)

    await is_paid_elsewhere(unpaid)

    problem = (await unpaid.trip()).problem
    assert problem is not None
    assert (problem.code, problem.since) == ("amount_differs", unpaid.now)


async def test_an_answer_that_does_not_show_the_order_over_is_waited_for_whatever_it_shows(
    unpaid: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_before(data: dict[str, Any]) -> Order:
        return replace(read_order(data), phase=Phase.COLLECTING, total_fen=2_999)

    monkeypatch.setattr(unpaid.payscore, "read_created", from_before)

    await is_paid_elsewhere(unpaid)

    trip = await unpaid.trip()
    assert trip.sync is not None
    assert (trip.problem, trip.sync.accepted) == (None, True)


# --- What cannot go back ---


async def paid_above(town: Town, **changes: Any) -> Trip:
    """Have a trip that was paid 3,200 fen for a fare of 2,000; `changes` are to its debit."""
    await town.rides()
    await town.passes(60)
    paid = await town.trip()
    assert paid.payment is not None
    (debit,) = paid.payment.debits
    above = replace(
        paid,
        lowered=(a_lowered_fare(),),
        lowering=Lowering(asked_fen=3_200),
        payment=replace(paid.payment, debits=(replace(debit, **changes),)),
    )
    assert await town.storage.save(above, due_at=None, now=town.now)
    return above


async def test_money_of_which_too_little_is_left_is_for_a_person(town: Town) -> None:
    await paid_above(town, refunded_fen=3_200)

    await town.settlement.advance("t1")

    assert (await town.trip()).problem == Problem(
        code="not_sent_back",
        message="amount_fen: 1200 is more than the 0 fen left of 3200 fen paid",
        request_id="",
        step="SendBack",
        since=town.now,
    )


async def test_money_that_another_worker_has_sent_back_meanwhile_goes_back_once(town: Town) -> None:
    await paid_above(town)
    claimed = await town.trip()
    await town.another_settlement().advance("t1")

    await town.settlement.take_up(claimed)

    trip = await town.trip()
    assert (trip.problem, trip.returned_fen) == (None, 1_200)
    assert [refund.amount_fen for refund in await refunds(town)] == [1_200]
