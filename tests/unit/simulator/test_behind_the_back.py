"""What a person does in WeChat Pay's console, and passengers who make an order hard to read."""

import dataclasses
from typing import Literal

import pytest

from payscore_worker.simulator import Behaviour, Fault, FaultKind, Passenger, Simulator, SimulatorConfig
from payscore_worker.simulator.payscore.happenings import WrongAmount, WrongStage

from .bodies import FAMILIES, a_complete, a_create
from .clock import Clock
from .merchant import Json, Merchant
from .receiver import Receiver
from .refusals import refusal_of

by_family = pytest.mark.parametrize("family", FAMILIES)


async def running(merchant: Merchant, family: str) -> None:
    assert (await merchant.create(family, a_create(family))).status_code == 200


async def owing(merchant: Merchant, clock: Clock, family: str, total: int = 3200) -> None:
    await running(merchant, family)
    clock.advance(600)
    response = await merchant.complete(family, "trip-1", a_complete(family, clock.text(), total))
    assert response.status_code == 200, response.text


async def entity(merchant: Merchant, family: str) -> Json:
    response = await merchant.query(family, "trip-1")
    assert response.status_code == 200, response.text
    shown: Json = response.json()
    return shown


def priced(shown: Json) -> tuple[int, int]:
    """The total, and what its items add up to."""
    items = shown.get("post_payments") or shown["fees"]
    return shown["total_amount"], sum(item.get("amount", item.get("fee_amount")) for item in items)


# A person lowers the amount


@by_family
async def test_the_amount_is_lowered_and_what_is_left_is_debited(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    await owing(merchant, clock, family)
    simulator.lower("trip-1", 3000)
    assert priced(await entity(merchant, family)) == (3000, 3000)
    clock.advance(2)
    await simulator.run_once()
    assert (simulator.ledger_entry("trip-1").charged_fen, len(receiver.arrivals)) == (3000, 1)
    assert receiver.arrivals[0].resource["total_amount"] == 3000


@by_family
async def test_a_discount_goes_where_the_amount_is_lowered(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await running(merchant, family)
    clock.advance(600)
    discounts = {
        "payafter": {"discounts": [{"discount_name": "新客", "discount_amount": 200}]},
        "serviceorder": {"post_discounts": [{"name": "新客", "description": "首单", "amount": 200}]},
    }
    body = a_complete(family, clock.text(), 3200, total_amount=3000) | discounts[family]
    response = await merchant.complete(family, "trip-1", body)
    assert response.status_code == 200, response.text
    simulator.lower("trip-1", 2500)
    shown = await entity(merchant, family)
    assert priced(shown) == (2500, 2500)
    assert not {"discounts", "post_discounts"} & shown.keys()


@by_family
async def test_an_amount_lowered_to_nothing_is_not_collected(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await owing(merchant, clock, family)
    simulator.lower("trip-1", 0)
    clock.advance(2)
    await simulator.run_once()
    entry = simulator.ledger_entry("trip-1")
    assert (entry.stage, entry.total_fen, entry.charged_fen) == ("free", 0, 0)


@pytest.mark.parametrize("total_fen", [-1, 3200, 3201])
@by_family
async def test_an_amount_is_only_ever_lowered(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str, total_fen: int
) -> None:
    await owing(merchant, clock, family)
    with pytest.raises(WrongAmount, match=f"3200 fen, 0 paid: not {total_fen}"):
        simulator.lower("trip-1", total_fen)


@by_family
async def test_only_what_is_owed_is_lowered(merchant: Merchant, simulator: Simulator, family: str) -> None:
    await running(merchant, family)
    with pytest.raises(WrongStage):
        simulator.lower("trip-1", 100)


# A person completes the order


@by_family
async def test_an_order_completed_by_hand_is_debited_like_any_other(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    await running(merchant, family)
    clock.advance(600)
    simulator.complete_by_hand("trip-1", 2800)
    shown = await entity(merchant, family)
    assert priced(shown) == (2800, 2800)
    end = shown["time_range"]["end_time"] if family == "serviceorder" else shown["real_service_end_time"]
    assert (end, shown["state"]) == (clock.text(), "DOING" if family == "serviceorder" else "FINISHED")
    clock.advance(2)
    await simulator.run_once()
    assert receiver.arrivals[0].resource["total_amount"] == simulator.ledger_entry("trip-1").charged_fen == 2800


@pytest.mark.parametrize("total", [2800, 3200])
@by_family
async def test_a_complete_of_the_merchant_then_is_another_one(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str, total: int
) -> None:
    await running(merchant, family)
    clock.advance(600)
    body = a_complete(family, clock.text(), total)
    if family == "payafter":
        body |= {"finish_ticket": await merchant.finish_ticket("trip-1")}
    simulator.complete_by_hand("trip-1", 2800)
    refused = refusal_of(await merchant.complete(family, "trip-1", body))
    assert refused == (400, "PARAM_ERROR", "订单重入参数校验失败", 271316598)


@by_family
async def test_an_order_is_completed_by_hand_for_nothing(merchant: Merchant, simulator: Simulator, family: str) -> None:
    await running(merchant, family)
    simulator.complete_by_hand("trip-1", 0)
    assert simulator.ledger_entry("trip-1").stage == "free"


@pytest.mark.parametrize(("family", "most"), [("payafter", 20_000), ("serviceorder", 50_000)])
async def test_an_order_costs_no_more_than_it_may(
    merchant: Merchant, simulator: Simulator, family: str, most: int
) -> None:
    await running(merchant, family)
    for total_fen in (-1, most + 1):
        with pytest.raises(WrongAmount, match=f"0 to {most} fen, not {total_fen}"):
            simulator.complete_by_hand("trip-1", total_fen)
    simulator.complete_by_hand("trip-1", most)
    with pytest.raises(WrongStage):
        simulator.complete_by_hand("trip-1", most)


# Cancelling what is owed


@by_family
async def test_what_is_owed_is_cancelled_in_the_console(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    await owing(merchant, clock, family)
    simulator.revoke("trip-1")
    clock.advance(2)
    await simulator.run_once()
    assert (await entity(merchant, family))["state"] == "REVOKED"
    assert simulator.ledger_entry("trip-1").charged_fen == 0


class TestWhereWhatIsOwedCanBeCancelled:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, cancel_while_owing=True)

    @by_family
    async def test_a_cancel_waives_the_fare(
        self, merchant: Merchant, simulator: Simulator, clock: Clock, family: str
    ) -> None:
        await owing(merchant, clock, family)
        for _ in range(2):  # the same bytes again succeed
            assert (await merchant.cancel(family, "trip-1")).status_code == 200
        clock.advance(2)
        await simulator.run_once()
        entry = simulator.ledger_entry("trip-1")
        assert (entry.stage, entry.charged_fen, entry.cancels) == ("revoked", 0, 2)

    @by_family
    async def test_what_is_paid_or_partly_paid_stays(
        self, merchant: Merchant, simulator: Simulator, clock: Clock, family: str
    ) -> None:
        simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
        await owing(merchant, clock, family)
        for _ in range(2):
            simulator.pay("trip-1")
            refused = refusal_of(await merchant.cancel(family, "trip-1"))
            assert refused == (400, "INVALID_REQUEST", "当前订单状态不满足撤销条件", 271316592)


# Two debits


async def test_an_order_is_paid_by_two_debits(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
    await owing(merchant, clock, "serviceorder", 3201)
    clock.advance(2)
    await simulator.run_once()
    part = (await entity(merchant, "serviceorder"))["collection"]
    assert (part["state"], part["paying_amount"], part["paid_amount"]) == ("USER_PAYING", 1601, 1600)
    assert [(row["amount"], "promotion_detail" in row) for row in part["details"]] == [(1600, False)]
    clock.advance(2)
    await simulator.run_once()
    whole = (await entity(merchant, "serviceorder"))["collection"]
    assert (whole["state"], whole["paying_amount"], whole["paid_amount"]) == ("USER_PAID", 0, 3201)
    assert [(row["seq"], row["amount"]) for row in whole["details"]] == [(1, 1600), (2, 1601)]
    assert not [row for row in whole["details"] if "promotion_detail" in row]
    assert [arrival.resource["collection"] for arrival in receiver.arrivals] == [part, whole]
    charges = simulator.ledger_entry("trip-1").charges
    assert [charge.transaction_id for charge in charges] == [row["transaction_id"] for row in whole["details"]]
    assert len({charge.transaction_id for charge in charges}) == 2


async def test_the_older_family_tells_the_last_of_two_debits(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
    await owing(merchant, clock, "payafter")
    simulator.pay("trip-1")
    part = await entity(merchant, "payafter")
    assert (part["state"], part["total_amount"]) == ("FINISHED", 3200)
    assert not {"finish_transaction_id", "pay_succ_time"} & part.keys()
    simulator.pay("trip-1")
    await simulator.run_once()
    (arrival,) = receiver.arrivals
    last = simulator.ledger_entry("trip-1").charges[-1].transaction_id
    assert (arrival.resource["finish_transaction_id"], arrival.resource["total_amount"]) == (last, 3200)


@by_family
async def test_one_fen_is_not_debited_in_two(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
    await owing(merchant, clock, family, 1)
    simulator.pay("trip-1")
    assert (simulator.ledger_entry("trip-1").stage, simulator.ledger_entry("trip-1").charged_fen) == ("paid", 1)


@by_family
async def test_the_rest_is_paid_elsewhere(merchant: Merchant, simulator: Simulator, clock: Clock, family: str) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
    await owing(merchant, clock, family)
    simulator.pay("trip-1")
    simulator.sync("trip-1")
    entry = simulator.ledger_entry("trip-1")
    assert (entry.stage, entry.charged_fen) == ("paid", 1600)
    if family == "serviceorder":
        assert (await entity(merchant, family))["collection"]["paid_amount"] == 3200


async def test_an_order_partly_paid_is_lowered_to_what_leaves_something(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
    await owing(merchant, clock, "serviceorder")
    simulator.pay("trip-1")
    modify = {"post_payments": [{"name": "车费", "amount": 1600}], "total_amount": 1600, "reason": "优惠"}
    path = "/v3/payscore/serviceorder/trip-1/modify"
    assert refusal_of(await merchant.post(path, merchant.ours() | modify))[1] == "PARAM_ERROR"
    with pytest.raises(WrongAmount):
        simulator.lower("trip-1", 1600)
    simulator.lower("trip-1", 1601)
    simulator.pay("trip-1")
    assert [charge.amount_fen for charge in simulator.ledger_entry("trip-1").charges] == [1600, 1]


# How debits are told


def details(shown: Json) -> list[Json] | None:
    rows: list[Json] | None = shown["collection"].get("details")
    return rows


@pytest.mark.parametrize("variant", ["reversed", "without_seq", "absent"])
async def test_the_debits_are_told_otherwise(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, variant: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_IN_TWO))
    scripted = simulator.add_fault(Fault(FaultKind.DETAILS, variant=variant))
    await owing(merchant, clock, "serviceorder")
    await entity(merchant, "serviceorder")
    assert scripted.strikes == 0  # there are none to tell
    simulator.pay("trip-1")
    simulator.add_fault(Fault(FaultKind.CALLBACK_DETAILS, variant=variant))
    simulator.close_service("passenger-2")  # about no debit: the fault waits
    simulator.pay("trip-1")
    await simulator.run_once()
    asked, true = [await entity(merchant, "serviceorder") for _ in range(2)]
    rows = details(true) or []
    told = {
        "reversed": rows[::-1],
        "without_seq": [{name: row[name] for name in row if name != "seq"} for row in rows],
        "absent": None,
    }[variant]
    assert len(rows) == 2
    assert details(asked) == details(receiver.arrivals[-1].resource) == told
    assert asked | {"collection": true["collection"]} == true


# An order that waits for its passenger


@by_family
async def test_an_order_left_created_can_only_be_cancelled(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.MUST_CONFIRM))
    created = await merchant.create(family, a_create(family))
    assert created.status_code == 200
    if family == "serviceorder":
        assert (created.json()["state"], "state_description" in created.json()) == ("CREATED", False)
    shown = await entity(merchant, family)
    assert (shown["state"], "finish_ticket" in shown) == ("CREATED", False)
    assert simulator.ledger_entry("trip-1").stage == "created"
    clock.advance(600)
    body = a_complete(family, clock.text()) | ({"finish_ticket": "none"} if family == "payafter" else {})
    refused = refusal_of(await merchant.complete(family, "trip-1", body))
    assert refused[1:3] == ("PARAM_ERROR", "当前订单状态不合法")
    assert (await merchant.cancel(family, "trip-1")).status_code == 200
    assert (await entity(merchant, family))["state"] == "REVOKED"


@pytest.mark.parametrize(("happens", "stage"), [("expire", "expired"), ("revoke", "revoked")])
async def test_an_order_left_created_ends(merchant: Merchant, simulator: Simulator, happens: str, stage: str) -> None:
    simulator.set_order("trip-1", Passenger(Behaviour.MUST_CONFIRM))
    await running(merchant, "serviceorder")
    getattr(simulator, happens)("trip-1")
    assert simulator.ledger_entry("trip-1").stage == stage


async def test_an_order_left_created_is_none_of_the_running(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.MUST_CONFIRM))
    for number in range(5):
        assert (await merchant.create("payafter", a_create("payafter", f"trip-{number}"))).status_code == 200


# A passenger who has not enabled the service, or no longer


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        ("NO_AUTH", (403, "NO_AUTH", "商户暂无权限使用此服务", 0)),
        ("INVALID_REQUEST", (400, "INVALID_REQUEST", "用户未开启服务", 0)),
    ],
)
class TestASpellingOfNotEnabled:
    @pytest.fixture
    def config(self, config: SimulatorConfig, code: Literal["NO_AUTH", "INVALID_REQUEST"]) -> SimulatorConfig:
        return dataclasses.replace(config, not_enabled_code=code, reentry_needs_service=True)

    @by_family
    async def test_create_says_it(
        self, merchant: Merchant, simulator: Simulator, family: str, refusal: tuple[object, ...]
    ) -> None:
        simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
        assert refusal_of(await merchant.create(family, a_create(family))) == refusal
        assert simulator.orders_created == []

    @by_family
    async def test_a_repeated_create_says_it_after_the_service_was_switched_off(
        self, merchant: Merchant, simulator: Simulator, family: str, refusal: tuple[object, ...]
    ) -> None:
        await running(merchant, family)
        await running(merchant, family)
        simulator.close_service("passenger-1")
        assert refusal_of(await merchant.create(family, a_create(family))) == refusal
        assert simulator.ledger_entry("trip-1").stage == "running"
        simulator.open_service("passenger-1")
        await running(merchant, family)


@by_family
async def test_a_repeated_create_needs_no_service_unless_the_config_says_so(
    merchant: Merchant, simulator: Simulator, family: str
) -> None:
    await running(merchant, family)
    simulator.close_service("passenger-1")
    await running(merchant, family)
