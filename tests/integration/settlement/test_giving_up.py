"""A person ends a refund that WeChat Pay refuses for good, against WeChat Pay as the simulator plays it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from consumers import refund_changed
from payscore_worker.domain.refund import GIVEN_UP, GivenUp, Refund, RefundState
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import ConflictingFact, IllegalTransition, Rejected, Retryable, WechatPayUnavailable
from payscore_worker.events import RefundChanged
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.passengers import RefundOutcome
from payscore_worker.storage import CallOutcome
from payscore_worker.wechatpay import Call, CallKind
from payscore_worker.wechatpay.transactions import MerchantRefunds, RefundStatus
from payscore_worker.wechatpay.transactions.refunds import read_refund
from tests.integration.settlement.town import Town, no_sleep

FARE_FEN = 3_200
CLOSED_ACCOUNT = Passenger(Behaviour.PAYS, refund=RefundOutcome.ACCOUNT_ABNORMAL)
PAYS = Passenger(Behaviour.PAYS)
BY_LI = GivenUp(by="li", reason="账户已注销，改为现金")


async def refused_for_good(town: Town, *, lost: bool = False) -> None:
    """Have a refund that stands still: the passenger's account is closed. `lost`: no answer came to the first send."""
    town.simulator.set_passenger("oPassenger", CLOSED_ACCOUNT)
    await town.rides()
    for _ in range(3):  # two debits, and the word on them
        await town.passes(60)
    assert await town.state() is TripState.PAID
    if lost:
        town.fault(FaultKind.DROP_REPLY, "refund", times=3)
    with suppress(Retryable):
        await town.refunds_of("r1", amount_fen=FARE_FEN)
    for _ in range(4):
        await town.passes(61)
    problem = (await town.refund()).problem
    assert problem is not None
    assert problem.code == "USER_ACCOUNT_ABNORMAL"
    await town.announced()


async def reserved_fen(town: Town) -> int:
    payment = (await town.trip()).payment
    assert payment is not None
    return payment.reserved_fen


async def mark(town: Town) -> str:
    return (await town.refunds.see("r1")).mark


async def gives_up(
    town: Town,
    seen: str | None = None,
    *,
    by: Refunds | None = None,
    pause: Callable[[float], Awaitable[None]] = no_sleep,
) -> Refund:
    seen = await mark(town) if seen is None else seen
    return await (by or town.refunds).give_up("r1", BY_LI, mark=seen, pause=pause)


async def a_send_arrives(town: Town) -> None:
    """Have WeChat Pay take a send that it was thought to have refused."""
    town.simulator.set_passenger("oPassenger", PAYS)
    record = await town.storage.last_call("t1", "refund", (await town.refund()).generation)
    assert record is not None
    await town.client.send(Call(CallKind.REFUND, record.method, record.path, record.body))


async def stands_as_before(town: Town) -> None:
    refund = await town.refund()
    assert (refund.state, refund.given_up) == (RefundState.REQUESTED, None)
    assert await reserved_fen(town) == FARE_FEN
    assert await town.announced() == []


async def test_a_refund_that_is_given_up_has_failed_and_frees_what_it_reserved(town: Town) -> None:
    await refused_for_good(town)
    seen, pauses = await mark(town), []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    asked = town.calls_made("refund_query")
    refund = await gives_up(town, seen, pause=pause)

    assert (refund.state, refund.problem, refund.given_up) == (RefundState.FAILED, None, BY_LI)
    assert refund == await town.refund()
    assert (await reserved_fen(town), (await town.trip()).payment.refunded_fen) == (0, 0)  # type: ignore[union-attr]
    assert (pauses, town.calls_made("refund_query") - asked) == ([10.0], 2)
    ((type_, data),) = await town.announced()
    assert (type_, data["refund_id"], data["amount_fen"]) == ("settlement.refund_problem", "r1", FARE_FEN)
    assert (data["code"], data["message"]) == (GIVEN_UP, BY_LI.reason)
    question = await town.storage.last_call("t1", "refund_query", refund.generation)
    assert question is not None
    assert (question.outcome, question.code) == (CallOutcome.REFUSED, "RESOURCE_NOT_EXISTS")


async def test_what_was_given_up_can_be_asked_for_again_under_a_new_id_and_is_never_sent_again_itself(
    town: Town,
) -> None:
    await refused_for_good(town)
    sends = len(town.simulator.calls(10_000))
    await gives_up(town)
    town.simulator.set_passenger("oPassenger", PAYS)

    await town.refunds_of("r1", amount_fen=FARE_FEN)
    await town.passes(86_400)
    assert town.calls_made("refund") == sum(call.kind == "refund" for call in town.simulator.calls(10_000)[:sends])

    await town.refunds_of("r2", amount_fen=FARE_FEN)
    for _ in range(4):
        await town.passes(61)
    assert (await town.refund("r2")).state is RefundState.REFUNDED
    assert (await town.refund("r1")).state is RefundState.FAILED


async def test_a_refund_of_which_a_send_may_have_been_accepted_is_not_given_up(town: Town) -> None:
    await refused_for_good(town, lost=True)

    with pytest.raises(IllegalTransition, match=r"a send of it may have been accepted.*clear-problem sends it again"):
        await gives_up(town)

    await stands_as_before(town)


async def test_a_refund_that_wechat_pay_has_taken_meanwhile_is_not_given_up_and_its_word_is_taken(town: Town) -> None:
    await refused_for_good(town)
    seen = await mark(town)

    async def meanwhile(_seconds: float) -> None:
        await a_send_arrives(town)

    with pytest.raises(IllegalTransition, match="has the refund as PROCESSING: that is taken, nothing is given up"):
        await gives_up(town, seen, pause=meanwhile)

    refund = await town.refund()
    assert (refund.state, refund.problem, refund.given_up) == (RefundState.ACCEPTED, None, None)
    assert await reserved_fen(town) == FARE_FEN
    await town.passes(61)
    assert (await town.refund()).state is RefundState.REFUNDED


async def test_nothing_is_decided_while_wechat_pay_cannot_be_asked(town: Town) -> None:
    await refused_for_good(town)
    seen = await mark(town)
    town.fault(FaultKind.UNAVAILABLE, "refund_query", times=None)

    with pytest.raises(WechatPayUnavailable, match="nothing is decided: WeChat Pay could not be asked"):
        await gives_up(town, seen)

    assert await mark(town) == ""
    await stands_as_before(town)


async def test_one_answer_that_there_is_none_is_not_enough(town: Town) -> None:
    await refused_for_good(town)

    async def goes_out(_seconds: float) -> None:
        town.fault(FaultKind.UNAVAILABLE, "refund_query", times=None)

    with pytest.raises(WechatPayUnavailable, match="nothing is decided"):
        await gives_up(town, pause=goes_out)

    await stands_as_before(town)


async def refuses_the_question(town: Town) -> None:
    town.refuse("refund_query", "INVALID_REQUEST", "请求异常")


async def answers_about_another(town: Town) -> None:
    await a_send_arrives(town)
    town.fault(FaultKind.ANOTHER_ORDER, "refund_query", variant="out_refund_no")


async def answers_unreadably(town: Town) -> None:
    await a_send_arrives(town)
    town.fault(FaultKind.UNREADABLE, "refund_query", variant="wrong_types")


@pytest.mark.parametrize(
    ("wechat_pay", "why"),
    [
        (refuses_the_question, "INVALID_REQUEST"),
        (answers_about_another, "it answered with another out_refund_no than ours"),
        (answers_unreadably, "out_refund_no: expected a string, not int"),
    ],
)
async def test_what_is_no_answer_about_this_refund_decides_nothing(
    town: Town, wechat_pay: Callable[[Town], Awaitable[None]], why: str
) -> None:
    await refused_for_good(town)
    seen = await mark(town)
    town.listening = False
    await wechat_pay(town)

    with pytest.raises(WechatPayUnavailable, match=f"nothing is decided: WeChat Pay could not be asked: .*{why}"):
        await gives_up(town, seen)

    await stands_as_before(town)


async def test_a_word_that_does_not_say_where_the_refund_stands_decides_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refused_for_good(town)
    await a_send_arrives(town)
    monkeypatch.setattr(
        MerchantRefunds, "read", lambda _, data: replace(read_refund(data), status=RefundStatus.UNKNOWN)
    )

    sight = await town.refunds.see("r1")

    assert (sight.known, sight.mark) == (None, "")
    assert sight.text == "could not be asked: it does not say where the refund stands"


async def test_the_send_of_a_later_refund_of_the_trip_makes_this_one_no_less_certain(town: Town) -> None:
    await refused_for_good(town)
    refund = await town.refund()
    record = await town.storage.last_call("t1", "refund", refund.generation)
    assert record is not None
    later = replace(record, generation=refund.generation + 1, outcome=CallOutcome.UNKNOWN, begun=1, definite=0)
    await town.storage.journal(refund, later)

    assert (await gives_up(town)).state is RefundState.FAILED


async def test_a_person_does_not_wait_for_a_wechat_that_does_not_answer(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refused_for_good(town)
    monkeypatch.setattr("payscore_worker.settlement.refund_sight.ASK_SECONDS", 0.0)

    sight = await town.refunds.see("r1")

    assert (sight.known, sight.text) == (None, "could not be asked: no answer within 0 seconds")
    assert sight.pair == (await town.trip(), await town.refund())


async def test_that_wechat_was_asked_twice_before_a_refund_was_given_up_is_in_the_journal(town: Town) -> None:
    await refused_for_good(town)
    generation = (await town.refund()).generation
    before = await town.storage.last_call("t1", "refund_query", generation)
    assert before is not None

    await gives_up(town)

    after = await town.storage.last_call("t1", "refund_query", generation)
    assert after is not None
    assert after.attempts == before.attempts + 2


async def test_another_merchants_refund_is_not_given_up_for_that_these_keys_see_none(town: Town) -> None:
    await refused_for_good(town)
    theirs = replace(await town.refund(), mchid="1999999999")
    assert await town.storage.save(theirs, due_at=None, now=town.now)
    asked = town.calls_made("refund_query")

    with pytest.raises(WechatPayUnavailable, match="mchid 1999999999"):
        await gives_up(town)

    assert town.calls_made("refund_query") == asked
    await stands_as_before(town)


async def test_two_persons_at_once_give_it_up_once(town: Town) -> None:
    await refused_for_good(town)
    seen = await mark(town)

    taken = await asyncio.gather(
        gives_up(town, seen), gives_up(town, seen, by=town.other_refunds()), return_exceptions=True
    )

    (refused,) = [one for one in taken if isinstance(one, BaseException)]
    assert isinstance(refused, IllegalTransition)
    assert "the refund has changed since you looked: look again" in str(refused)
    assert await reserved_fen(town) == 0
    assert [data["code"] for _, data in await town.announced()] == [GIVEN_UP]


async def test_a_refund_that_somebody_took_up_again_meanwhile_is_not_given_up(town: Town) -> None:
    await refused_for_good(town)
    other = town.other_refunds()

    async def somebody_else(_seconds: float) -> None:
        await other.clear_problem("r1")
        await other.advance("r1")

    with pytest.raises(IllegalTransition, match="changed since you looked"):
        await gives_up(town, pause=somebody_else)

    await stands_as_before(town)


async def test_another_refund_of_the_trip_meanwhile_is_no_hindrance(town: Town) -> None:
    await refused_for_good(town)
    trip = await town.trip()

    async def the_trip_moves(_seconds: float) -> None:
        assert await town.storage.save(replace(trip, polls=7), due_at=None, now=town.now)

    assert (await gives_up(town, pause=the_trip_moves)).state is RefundState.FAILED
    assert (await town.trip()).polls == 7
    assert await reserved_fen(town) == 0


async def test_money_that_comes_back_all_the_same_contradicts_it_and_is_noted(town: Town) -> None:
    await refused_for_good(town)
    refund = await gives_up(town)
    resource = {
        "mchid": refund.mchid,
        "transaction_id": refund.transaction_id,
        "out_refund_no": "r1",
        "refund_id": "50000000382019052709732678859",
        "refund_status": "SUCCESS",
        "success_time": "2026-05-01T20:30:00+08:00",
        "amount": {"total": refund.total_fen, "refund": FARE_FEN, "payer_total": FARE_FEN, "payer_refund": FARE_FEN},
    }

    with pytest.raises(ConflictingFact, match="shows a refund as SUCCESS that was given up here"):
        await refund_changed.handle(RefundChanged(resource=resource), town.refunds)

    assert await town.refund() == refund
    assert await reserved_fen(town) == 0


async def test_a_refund_that_nobody_knows_is_named(town: Town) -> None:
    with pytest.raises(Rejected, match="refund 'r9' is not known"):
        await town.refunds.give_up("r9", BY_LI, mark="", pause=no_sleep)
