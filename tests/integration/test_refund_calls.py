"""Refunds through the real client, against WeChat Pay as the simulator plays it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import httpx
import msgspec
import pytest

from payscore_worker.errors import OutcomeUnknown, Refusal, WechatPayRejected, WechatPayUnavailable
from payscore_worker.simulator import (
    Behaviour,
    Fault,
    FaultKind,
    Passenger,
    RefundOutcome,
    Simulator,
    SimulatorConfig,
)
from payscore_worker.wechatpay import Notifications, VerificationKeys, WechatPayClient
from payscore_worker.wechatpay.payscore import Completion, FeeItem, MerchantPayScores, NewOrder
from payscore_worker.wechatpay.transactions import MerchantRefunds, NewRefund, RefundStatus, RefundTold
from tests.integration.settlement.town import NOTIFY_URL, Clock, a_client, simulator_keys

NOBODYS = "4200009999999999999999999999"
APART = timedelta(seconds=61)
"""Refunds of one transaction come a minute apart (reference payscore-api G.1)."""


@dataclass
class Counter:
    """Where refunds are asked for, and what is heard of them."""

    refunds: MerchantRefunds
    client: WechatPayClient
    simulator: Simulator
    clock: Clock
    told: list[RefundTold] = field(default_factory=list)

    async def charge(self, passenger: Passenger | None = None) -> str:
        """Charge a passenger 3200 fen; say in which transaction."""
        payscore = MerchantPayScores("serviceorder", self.client).current
        self.simulator.set_passenger("oPassenger", passenger or Passenger())
        order = NewOrder(out_order_no="t1", openid="oPassenger", introduction="网约车出行", risk_amount_fen=20_000)
        await payscore.send(payscore.create(order))
        self.clock.now += timedelta(minutes=10)
        fees = (FeeItem(name="里程费", amount_fen=3_200),)
        ended = Completion(out_order_no="t1", fees=fees, total_fen=3_200, end_time=self.clock() - timedelta(seconds=10))
        await payscore.send(payscore.complete(ended))
        self.simulator.pay("t1")
        return self.simulator.ledger_entry("t1").charges[-1].transaction_id

    async def refund(self, transaction_id: str, amount_fen: int = 1_000, **changes: Any) -> RefundTold:
        members: dict[str, Any] = {
            "out_refund_no": "refund_1-a",
            "total_fen": 3_200,
            "reason": "司机绕路，按约定退还部分车费" * 3,
        }
        new = NewRefund(transaction_id=transaction_id, amount_fen=amount_fen, **members | changes)
        return self.refunds.read((await self.refunds.send(self.refunds.request(new))).data)

    async def passes(self, time: timedelta) -> None:
        self.clock.now += time
        await self.simulator.run_once()


@pytest.fixture
def callback_members() -> Literal["first", "newer"]:
    """Which amounts a notification lists; a test may want others."""
    return "first"


@pytest.fixture
async def counter(callback_members: Literal["first", "newer"]) -> AsyncIterator[Counter]:
    keys, clock = simulator_keys(), Clock()
    apiv3_keys = (keys.apiv3_key.encode(),)
    verification = VerificationKeys(apiv3_keys=apiv3_keys, clock=clock)
    notifications = Notifications(keys=verification, apiv3_keys=apiv3_keys, clock=clock)

    there: Counter

    async def receive(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == NOTIFY_URL
        notification = await notifications.open(request.headers, await request.aread())
        if notification.event_type.startswith("REFUND."):
            there.told.append(there.refunds.read(msgspec.json.decode(notification.resource)))
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(receive)) as http:
        elsewhere = "http://nobody.test/notify"
        config = SimulatorConfig(keys=keys, notify_url=elsewhere, refund_callback_members=callback_members)
        simulator = Simulator(config, clock=clock, http=http)
        client = a_client(simulator, verification, clock)
        there = Counter(MerchantRefunds(client), client, simulator, clock)
        yield there
        await client.aclose()


@pytest.mark.parametrize("callback_members", ["first", "newer"])
async def test_a_refund_is_accepted_and_told_of_by_answer_query_and_callback_alike(counter: Counter) -> None:
    transaction_id = await counter.charge(Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=200))

    accepted = await counter.refund(transaction_id)
    await counter.passes(timedelta(seconds=5))
    asked, _ = await counter.refunds.query("refund_1-a")
    (notified,) = counter.told

    assert (accepted.status, accepted.succeeded_at) == (RefundStatus.PROCESSING, None)
    assert (accepted.amount_fen, accepted.total_fen) == (1_000, 3_200)
    assert asked.status is notified.status is RefundStatus.SUCCESS
    assert asked.succeeded_at == notified.succeeded_at is not None
    for told in (asked, notified):
        assert (told.refund_id, told.out_refund_no) == (accepted.refund_id, "refund_1-a")
        assert (told.transaction_id, told.amount_fen, told.total_fen) == (transaction_id, 1_000, 3_200)
        assert told.payer_refund_fen == accepted.payer_refund_fen == 938  # 15/16 of it was paid without a coupon
    assert (asked.mchid, notified.mchid) == ("", counter.refunds.mchid)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(RefundOutcome.ABNORMAL, RefundStatus.ABNORMAL), (RefundOutcome.CLOSED, RefundStatus.CLOSED)],
)
async def test_a_refund_that_does_not_arrive_says_so(
    counter: Counter, outcome: RefundOutcome, status: RefundStatus
) -> None:
    await counter.refund(await counter.charge(Passenger(refund=outcome)))
    await counter.passes(timedelta(seconds=5))

    asked, _ = await counter.refunds.query("refund_1-a")

    assert [(told.status, told.succeeded_at) for told in (asked, *counter.told)] == [(status, None)] * 2


async def test_the_same_bytes_refund_once(counter: Counter) -> None:
    transaction_id = await counter.charge()
    counter.simulator.add_fault(Fault(FaultKind.DROP_REPLY, call="refund", times=3))
    with pytest.raises(OutcomeUnknown):
        await counter.refund(transaction_id)

    await counter.refund(transaction_id)
    await counter.passes(timedelta(seconds=5))

    assert counter.simulator.ledger_entry("t1").refunded_fen == 1_000
    assert len(counter.simulator.refund_entry("refund_1-a").bodies) == 1


async def refusal_of(counter: Counter, transaction_id: str, **changes: Any) -> Refusal:
    with pytest.raises(WechatPayRejected) as refused:
        await counter.refund(transaction_id, **changes)
    return refused.value.refusal


async def test_what_wechat_does_not_know_is_not_found(counter: Counter) -> None:
    with pytest.raises(WechatPayRejected) as refused:
        await counter.refunds.query("refund-9")

    assert refused.value.refusal is Refusal.RESOURCE_NOT_FOUND
    assert await refusal_of(counter, NOBODYS) is Refusal.RESOURCE_NOT_FOUND


async def test_a_merchant_without_money_tops_up_and_sends_the_same_again(counter: Counter) -> None:
    transaction_id = await counter.charge()
    counter.simulator.set_refund_balance(999)
    assert await refusal_of(counter, transaction_id) is Refusal.NOT_ENOUGH

    counter.simulator.set_refund_balance(1_000)

    assert (await counter.refund(transaction_id)).status is RefundStatus.PROCESSING


async def test_to_an_account_that_is_closed_nothing_can_be_refunded(counter: Counter) -> None:
    transaction_id = await counter.charge(Passenger(refund=RefundOutcome.ACCOUNT_ABNORMAL))

    assert await refusal_of(counter, transaction_id) is Refusal.ACCOUNT_ABNORMAL


async def test_more_than_is_left_is_refused_without_a_word_of_its_own(counter: Counter) -> None:
    transaction_id = await counter.charge()
    await counter.refund(transaction_id)
    await counter.passes(APART)

    assert await refusal_of(counter, transaction_id, amount_fen=2_201, out_refund_no="r2") is Refusal.UNCLEAR


async def test_the_next_refund_of_a_transaction_within_a_minute_is_throttled(counter: Counter) -> None:
    transaction_id = await counter.charge()
    await counter.refund(transaction_id)

    with pytest.raises(WechatPayUnavailable):
        await counter.refund(transaction_id, out_refund_no="r2")
    await counter.passes(APART)

    assert (await counter.refund(transaction_id, out_refund_no="r2")).status is RefundStatus.PROCESSING
