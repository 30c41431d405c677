"""How the merchant hears of a refund, and what goes wrong on the way (reference payscore-api G.4)."""

import dataclasses
import hashlib
import json
from datetime import datetime

import httpx
import pytest

from payscore_worker.simulator import (
    Fault,
    FaultKind,
    RefundStatus,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
)

from .bodies import NOTIFY_URL, a_create, a_refund
from .clock import Clock
from .merchant import REFUNDS, Merchant
from .receiver import Receiver
from .refunding import accepted, ended, heard
from .refusals import refusal_of

# What the merchant is told


@pytest.mark.parametrize("status", ["SUCCESS", "ABNORMAL", "CLOSED"])
async def test_a_notification_tells_how_it_ended(
    merchant: Merchant,
    simulator: Simulator,
    clock: Clock,
    receiver: Receiver,
    keys: SimulatorKeys,
    transaction_id: str,
    status: str,
) -> None:
    entity = await accepted(merchant, a_refund(transaction_id))
    simulator.end_refund("refund-1", RefundStatus(status))
    await simulator.run_once()
    arrival = receiver.arrivals[-1]
    assert arrival.envelope["event_type"] == f"REFUND.{status}"
    assert arrival.envelope["resource"]["original_type"] == "refund"
    assert arrival.envelope["resource"]["associated_data"] == "refund"
    resource = arrival.resource
    if status == "SUCCESS":
        assert datetime.fromisoformat(resource.pop("success_time")) == clock.now.replace(microsecond=0)
    assert resource == {
        "mchid": keys.mchid,
        "out_trade_no": entity["out_trade_no"],
        "transaction_id": transaction_id,
        "out_refund_no": "refund-1",
        "refund_id": entity["refund_id"],
        "refund_status": status,
        "user_received_account": "支付用户零钱",
        "amount": {"total": 3200, "refund": 1000, "payer_total": 3200, "payer_refund": 1000},
    }


async def test_it_goes_where_the_request_wants_it_and_else_where_the_config_does(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id, notify_url="http://receiver/notify/refund"))
    await ended(merchant, simulator)
    assert receiver.arrivals[-1].url == "http://receiver/notify/refund"
    simulator.advance(60)
    await accepted(merchant, a_refund(transaction_id, out_refund_no="refund-2"))
    await ended(merchant, simulator, "refund-2")
    assert receiver.arrivals[-1].url == NOTIFY_URL


async def test_a_notification_that_is_not_taken_comes_again(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    await simulator.run_once()
    receiver.answers = [500]
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    simulator.advance(15)
    assert await heard(simulator, receiver) == ["REFUND.SUCCESS"] * 2


@pytest.mark.parametrize("only", [{"out_order_no": "trip-1"}, {"openid": "passenger-of-trip-1"}])
async def test_the_notification_of_an_order_or_passenger_meets_its_fault(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str, only: dict[str, str]
) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_LOST, **only))  # type: ignore[arg-type]  # names of texts
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    assert await heard(simulator, receiver) == []


class TestWithTheNewerMembers:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, refund_callback_members="newer")

    async def test_a_notification_has_currency_and_settlement(
        self, merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
    ) -> None:
        entity = await accepted(merchant, a_refund(transaction_id))
        await ended(merchant, simulator)
        assert receiver.arrivals[-1].resource["amount"] == entity["amount"]
        assert {"currency", "settlement_total"} <= receiver.arrivals[-1].resource["amount"].keys()


# What goes wrong


async def test_a_lost_reply_refunds_once(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    simulator.add_fault(Fault(FaultKind.DROP_REPLY, call="refund", out_order_no="trip-1"))
    with pytest.raises(httpx.RemoteProtocolError):
        await merchant.refund(a_refund(transaction_id))
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    assert simulator.ledger().totals.refunded_fen == 1000


async def test_a_request_that_was_not_processed_is_seen_and_refunds_nothing(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, call="refund", openid="passenger-of-trip-1"))
    body = a_refund(transaction_id)
    assert (await merchant.refund(body)).status_code == 500
    (tried,) = simulator.ledger_entry("trip-1").refunds
    sent = json.dumps(body, ensure_ascii=False).encode()
    assert (tried.refund_id, tried.bodies) == (None, [hashlib.sha256(sent).hexdigest()])
    assert (tried.creates, tried.refused_count) == (0, 0)


async def test_a_refusal_is_scripted(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    simulator.add_fault(Fault(FaultKind.REFUSE, call="refund", status=403, code="NO_AUTH", message="无权限"))
    assert refusal_of(await merchant.refund(a_refund(transaction_id))) == (403, "NO_AUTH", "无权限", 0)
    await accepted(merchant, a_refund(transaction_id))


async def test_a_fault_of_another_order_passes_a_refund_by(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, call="refund", out_order_no="trip-2"))
    await accepted(merchant, a_refund(transaction_id))


async def test_a_call_on_a_refund_is_logged_under_its_order(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    await merchant.query_refund("refund-1")
    await merchant.query_refund("refund-2")
    unknown, query, create = simulator.calls(limit=3)
    assert (create.kind, create.out_order_no, create.openid) == ("refund", "trip-1", "passenger-of-trip-1")
    assert (query.kind, query.out_order_no, query.target) == ("refund_query", "trip-1", f"{REFUNDS}/refund-1")
    assert (unknown.out_order_no, unknown.code) == ("", "RESOURCE_NOT_EXISTS")


async def test_a_query_shows_the_refund_as_it_stood_before(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.STALE, call="refund_query"))
    await accepted(merchant, a_refund(transaction_id))
    await merchant.query_refund("refund-1")
    assert not scripted.spent
    assert (await ended(merchant, simulator))["status"] == "PROCESSING"
    assert (await merchant.query_refund("refund-1")).json()["status"] == "SUCCESS"


async def test_a_query_does_not_know_the_refund_yet(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.add_fault(Fault(FaultKind.NOT_YET))
    assert refusal_of(await merchant.query_refund("refund-1"))[:2] == (404, "RESOURCE_NOT_EXISTS")


async def test_a_signed_answer_is_about_another_refund(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, call="refund", variant="out_refund_no"))
    false = await accepted(merchant, a_refund(transaction_id))
    true = await accepted(merchant, a_refund(transaction_id))
    assert {name for name in true if true[name] != false[name]} == {"out_refund_no", "refund_id"}


@pytest.mark.parametrize("member", ["out_order_no", "mchid", "appid", "service_id"])
async def test_a_refund_shows_no_other_number_to_be_false_about(
    merchant: Merchant, simulator: Simulator, transaction_id: str, member: str
) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, variant=member))
    await accepted(merchant, a_refund(transaction_id))
    assert not scripted.spent


async def test_an_order_shows_no_refund_to_be_false_about(merchant: Merchant, simulator: Simulator) -> None:
    scripted = simulator.add_fault(Fault(FaultKind.ANOTHER_ORDER, variant="out_refund_no"))
    assert (await merchant.create("payafter", a_create("payafter"))).status_code == 200
    assert not scripted.spent


async def test_a_query_shows_another_amount(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id))
    simulator.add_fault(Fault(FaultKind.AMOUNT_DIFFERS, call="refund_query", difference_fen=-1))
    amount = (await merchant.query_refund("refund-1")).json()["amount"]
    assert (amount["refund"], amount["payer_refund"], amount["total"]) == (999, 999, 3200)


async def test_a_notification_tells_another_amount(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, transaction_id: str
) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_AMOUNT_DIFFERS))
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    assert receiver.arrivals[-1].resource["amount"] == {
        "total": 3200,
        "refund": 1100,
        "payer_total": 3200,
        "payer_refund": 1100,
    }
