"""The judge tells what went back, to the fen, and the admin API what may be asked of it."""

import dataclasses

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payscore_worker.simulator import (
    Behaviour,
    Passenger,
    RefundEntry,
    RefundOutcome,
    RefundStatus,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
)

from .bodies import NOTIFY_URL, a_refund
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver
from .refunding import NO_SUCH_TRANSACTION, accepted, ended, heard, ride
from .refusals import refusal_of

# The judge


async def test_the_ledger_tells_of_every_refund(
    merchant: Merchant, simulator: Simulator, clock: Clock, transaction_id: str
) -> None:
    await accepted(merchant, a_refund(transaction_id, 1000))
    await ended(merchant, simulator)
    simulator.advance(60)
    await accepted(merchant, a_refund(transaction_id, 200, out_refund_no="refund-2"))
    await merchant.refund(a_refund(transaction_id, 9999, out_refund_no="refund-3"))
    entry = simulator.ledger().orders["trip-1"]
    assert (entry.charged_fen, entry.refunded_fen) == (3200, 1000)
    tried, first, second = entry.refunds
    assert (first.out_refund_no, first.amount_fen, first.status, first.at) == ("refund-1", 1000, "SUCCESS", clock.now)
    assert (second.out_refund_no, second.amount_fen, second.status) == ("refund-2", 200, "PROCESSING")
    assert (tried.out_refund_no, tried.amount_fen, tried.status, tried.at) == ("refund-3", None, None, None)
    assert [refused.refusal.code for refused in tried.refused] == ["INVALID_REQUEST"]
    totals = simulator.ledger().totals
    assert (totals.refunds, totals.refunded_fen, totals.refused_calls) == (2, 1000, 1)


async def test_a_refund_leaves_the_bodies_and_refusals_of_its_order_alone(
    merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    before = simulator.ledger_entry("trip-1")
    await merchant.refund(a_refund(transaction_id, 9999))
    after = simulator.ledger_entry("trip-1")
    assert (after.bodies, after.refused, after.refused_count) == (before.bodies, [], 0)


class TestWithRoomForTwoOrders:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, max_orders=2)

    async def test_the_books_balance_after_refunds_were_forgotten(
        self, merchant: Merchant, simulator: Simulator, clock: Clock
    ) -> None:
        for number in range(5):
            transaction_id = await ride(merchant, simulator, clock, f"trip-{number}")
            await accepted(merchant, a_refund(transaction_id, 100 + number, out_refund_no=f"refund-{number}"))
            await ended(merchant, simulator, f"refund-{number}")
        ledger = simulator.ledger()
        assert (ledger.forgotten.charged_fen, ledger.forgotten.refunded_fen) == (9600, 303)
        assert (ledger.totals.charged_fen, ledger.totals.refunded_fen) == (6400, 207)

    async def test_with_its_order_a_payment_and_its_refunds_are_forgotten(
        self, merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
    ) -> None:
        first = await ride(merchant, simulator, clock, "trip-0")
        await accepted(merchant, a_refund(first))
        for number in (1, 2):
            await ride(merchant, simulator, clock, f"trip-{number}")
        assert refusal_of(await merchant.query_refund("refund-1"))[:2] == (404, "RESOURCE_NOT_EXISTS")
        assert refusal_of(await merchant.refund(a_refund(first))) == NO_SUCH_TRANSACTION
        assert await heard(simulator, receiver) == []
        world = simulator._world
        assert len(world.transactions._by_id) == len(world.transactions._by_out_trade_no) == 2
        assert (simulator._refunds._accounts, simulator._refunds._accepted) == ({}, {})


ASKED = st.lists(
    st.tuples(
        st.sampled_from(["r-1", "r-2", "r-3", "r-4"]),
        st.sampled_from([1, 800, 1600, 2400, 3200, 4000]),
        st.sampled_from([None, *(status for status in RefundStatus if status is not RefundStatus.PROCESSING)]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(asked=ASKED, coupon_fen=st.sampled_from([0, 1, 999, 3200]))
async def test_never_more_goes_back_than_was_paid(
    keys: SimulatorKeys, asked: list[tuple[str, int, RefundStatus | None]], coupon_fen: int
) -> None:
    clock = Clock()
    simulator = Simulator(SimulatorConfig(keys=keys, notify_url=NOTIFY_URL, refund_gap_seconds=0), clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(simulator)), base_url="http://s") as http:
        merchant = Merchant(http, keys, clock)
        if coupon_fen:
            simulator.set_order("trip-1", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=coupon_fen))
        transaction_id = await ride(merchant, simulator, clock)
        for out_refund_no, refund, status in asked:
            response = await merchant.refund(a_refund(transaction_id, refund, out_refund_no=out_refund_no))
            if status and response.is_success and response.json()["status"] == "PROCESSING":
                simulator.end_refund(out_refund_no, status)
    entry = simulator.ledger_entry("trip-1")
    held = [refund for refund in entry.refunds if refund.status not in {None, RefundStatus.CLOSED}]
    assert entry.refunded_fen == sum(_sent_fen(refund) for refund in entry.refunds) <= entry.charged_fen
    assert sum(refund.amount_fen or 0 for refund in held) <= 3200
    assert len({refund.out_refund_no for refund in entry.refunds}) == len(entry.refunds)


def _sent_fen(refund: RefundEntry) -> int:
    return (refund.payer_refund_fen or 0) if refund.status is RefundStatus.SUCCESS else 0


# The admin API


async def test_a_refund_is_ended_over_http(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, transaction_id: str
) -> None:
    entity = await accepted(merchant, a_refund(transaction_id))
    response = await http.post("/admin/refunds/refund-1/end", json={"status": "CLOSED"})
    assert (response.status_code, response.json()["status"]) == (200, "CLOSED")
    shown = (await http.get("/admin/refunds/refund-1")).json()
    assert (shown["ledger"]["refund_id"], shown["ledger"]["status"]) == (entity["refund_id"], "CLOSED")
    assert shown["entity"] == entity | {"status": "CLOSED"}
    assert simulator.refund_entry("refund-1").status is RefundStatus.CLOSED


@pytest.mark.parametrize("status", ["SUCCESS", "ABNORMAL", "CLOSED"])
async def test_a_refund_that_is_over_cannot_end_otherwise(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, transaction_id: str, status: str
) -> None:
    await accepted(merchant, a_refund(transaction_id))
    await ended(merchant, simulator)
    response = await http.post("/admin/refunds/refund-1/end", json={"status": status})
    message = f"refund refund-1 is SUCCESS; it cannot become {status}"
    assert (response.status_code, response.json()) == (409, {"code": "CONFLICT", "message": message})


async def test_an_end_must_be_one(http: httpx.AsyncClient, merchant: Merchant, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id))
    assert (await http.post("/admin/refunds/refund-1/end", json={"status": "PROCESSING"})).status_code == 400


async def test_an_unknown_refund_is_not_found_over_http(http: httpx.AsyncClient) -> None:
    assert (await http.get("/admin/refunds/refund-1")).status_code == 404
    assert (await http.post("/admin/refunds/refund-1/end", json={"status": "CLOSED"})).status_code == 404


async def test_the_balance_is_set_over_http(http: httpx.AsyncClient, simulator: Simulator) -> None:
    assert (await http.get("/admin/refund-balance")).json() == {"balance_fen": None}
    assert (await http.put("/admin/refund-balance", json={"balance_fen": 5})).json() == {"ok": True}
    assert (await http.get("/admin/refund-balance")).json() == {"balance_fen": 5}
    assert (await http.put("/admin/refund-balance", json={"balance_fen": -1})).status_code == 400
    await http.put("/admin/refund-balance", json={"balance_fen": None})
    assert simulator.refund_balance_fen is None


@pytest.mark.parametrize("outcome", list(RefundOutcome))
async def test_every_outcome_has_its_name(http: httpx.AsyncClient, outcome: str) -> None:
    assert (await http.put("/admin/passengers", json={"p": {"refund": outcome}})).status_code == 200
    assert (await http.get("/admin/passengers/p")).json()["refund"] == outcome


async def test_a_reset_forgets_refunds(merchant: Merchant, simulator: Simulator, transaction_id: str) -> None:
    simulator.set_refund_balance(5000)
    await accepted(merchant, a_refund(transaction_id))
    simulator.reset()
    assert simulator.refund_balance_fen is None
    assert (await merchant.query_refund("refund-1")).status_code == 404
    assert refusal_of(await merchant.refund(a_refund(transaction_id))) == NO_SUCH_TRANSACTION


@pytest.mark.parametrize(
    "wrong", [{"refund_after_seconds": -1}, {"refund_gap_seconds": -1}, {"refund_balance_fen": -1}]
)
def test_a_wrong_setting_is_refused(config: SimulatorConfig, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        dataclasses.replace(config, **wrong)  # type: ignore[arg-type]  # names of numbers
