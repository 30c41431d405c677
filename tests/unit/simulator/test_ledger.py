"""The ledger tells what happened, and stays within its bounds."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.simulator import Behaviour, Fault, FaultKind, Passenger, Simulator, SimulatorConfig
from payscore_worker.simulator.callbacks import MAX_ATTEMPTS_KEPT
from payscore_worker.simulator.calls import CallKind
from payscore_worker.simulator.gateway import MAX_CALLS
from payscore_worker.simulator.notes import MAX_BODIES, MAX_REFUSALS
from payscore_worker.simulator.passengers import Passengers, TooManyScripted
from payscore_worker.simulator.shelf import Shelf

from .bodies import FAMILIES, a_complete, a_create
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver


async def ride(
    merchant: Merchant, clock: Clock, out_order_no: str = "trip-1", *, family: str = "serviceorder", total: int = 3200
) -> None:
    openid = f"passenger-of-{out_order_no}"
    response = await merchant.create(family, a_create(family, out_order_no, openid=openid))
    assert response.status_code == 200, response.text
    clock.advance(600)
    body = a_complete(family, clock.text(), total)
    response = await merchant.complete(family, out_order_no, body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("family", "state"), [("payafter", "USER_PAID"), ("serviceorder", "DONE")])
async def test_an_entry_tells_the_whole_story(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str, state: str
) -> None:
    await ride(merchant, clock, family=family)
    simulator.pay("trip-1")
    entry = simulator.ledger().orders["trip-1"]
    assert (entry.family, entry.openid, entry.state, entry.stage) == (family, "passenger-of-trip-1", state, "paid")
    assert (entry.total_fen, entry.charged_fen) == (3200, 3200)
    assert (entry.creates, entry.completes, entry.cancels, entry.refused_count) == (1, 1, 0, 0)
    (charge,) = entry.charges
    assert (charge.amount_fen, charge.at) == (3200, clock.now)
    assert charge.transaction_id.startswith("420000000020260301")


async def test_identical_bodies_leave_one_digest(merchant: Merchant, simulator: Simulator) -> None:
    body = merchant.ours() | a_create("payafter")
    for _ in range(3):
        await merchant.create("payafter", body)
    entry = simulator.ledger().orders["trip-1"]
    sent = json.dumps(body, ensure_ascii=False).encode()
    assert entry.bodies == {"create": [hashlib.sha256(sent).hexdigest()]}
    assert entry.creates == 3


async def test_a_body_that_says_the_same_in_other_bytes_leaves_another_digest(
    merchant: Merchant, simulator: Simulator
) -> None:
    await merchant.create("payafter", a_create("payafter"))
    await merchant.create("payafter", dict(reversed(a_create("payafter").items())))
    assert len(simulator.ledger().orders["trip-1"].bodies[CallKind.CREATE]) == 2


@pytest.mark.parametrize("kind", [FaultKind.FAIL_BEFORE, FaultKind.THROTTLE, FaultKind.REFUSE])
async def test_a_body_that_was_not_processed_is_seen_and_not_counted(
    merchant: Merchant, simulator: Simulator, kind: FaultKind
) -> None:
    simulator.add_fault(Fault(kind))
    await merchant.create("payafter", a_create("payafter"))
    entry = simulator.ledger().orders["trip-1"]
    assert (len(entry.bodies), entry.creates, entry.refused_count) == (1, 0, 0)


async def test_a_refused_create_is_an_entry_without_an_order(merchant: Merchant, simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.RISK_REFUSED))
    await merchant.create("payafter", a_create("payafter"))
    entry = simulator.ledger().orders["trip-1"]
    assert (entry.order_id, entry.stage, entry.charged_fen, entry.refused_count) == (None, None, 0, 1)
    (refused,) = entry.refused
    assert (refused.call, refused.refusal.code, refused.refusal.sub_code) == ("create", "INVALID_REQUEST", 271300099)
    assert simulator.ledger().totals.orders == 0


async def test_a_ledger_does_not_change_after_it_was_read(merchant: Merchant, simulator: Simulator) -> None:
    await merchant.create("payafter", a_create("payafter"))
    ledger = simulator.ledger()
    await merchant.create("payafter", a_create("payafter", attach="a"))
    assert (len(ledger.orders["trip-1"].bodies[CallKind.CREATE]), ledger.orders["trip-1"].refused) == (1, [])


async def test_a_call_on_an_order_that_never_was_makes_no_entry(merchant: Merchant, simulator: Simulator) -> None:
    await merchant.cancel("payafter", "trip-9")
    await merchant.query("payafter", "trip-9")
    assert simulator.ledger().orders == {}
    assert [call.code for call in simulator.calls()] == ["ORDER_NOT_EXIST", "ORDER_NOT_EXIST"]


async def test_the_refused_calls_on_an_order_are_listed(merchant: Merchant, simulator: Simulator) -> None:
    await merchant.create("payafter", a_create("payafter"))
    await merchant.cancel("payafter", "trip-1", reason="因" * 31)
    await merchant.get("/v3/payscore/payafter-orders", out_order_no="trip-1")
    entry = simulator.ledger().orders["trip-1"]
    assert [(refused.call, refused.refusal.code) for refused in entry.refused] == [
        ("cancel", "PARAM_ERROR"),
        ("query", "PARAM_ERROR"),
    ]
    assert {kind: len(bodies) for kind, bodies in entry.bodies.items()} == {"create": 1, "cancel": 1}


async def test_the_totals_add_up(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    for number, family in enumerate(FAMILIES * 2):
        await ride(merchant, clock, f"trip-{number}", family=family, total=1000 + number)
    simulator.pay("trip-0")
    simulator.sync("trip-1")
    await merchant.create("payafter", a_create("payafter", "trip-9"))
    await merchant.cancel("payafter", "trip-9")
    await merchant.cancel("payafter", "trip-0")
    totals = simulator.ledger().totals
    stages = {stage: count for stage, count in totals.by_stage.items() if count}
    assert stages == {"paid": 2, "owing": 2, "revoked": 1}
    assert (totals.orders, totals.charges, totals.refused_calls) == (5, 1, 1)
    assert (totals.total_fen, totals.charged_fen) == (4006, 1000)


async def test_orders_are_listed_as_they_were_accepted(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    for number in (3, 1, 2):
        await ride(merchant, clock, f"trip-{number}")
        clock.advance(86_400)
    simulator.pay("trip-1")
    assert simulator.orders_created == ["trip-3", "trip-1", "trip-2"]
    assert list(simulator.ledger().orders) == ["trip-3", "trip-1", "trip-2"]


async def test_every_order_and_charge_has_a_number_of_its_own_even_after_another_start(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    order_ids, transactions = set(), set()
    for number in range(4):
        await ride(merchant, clock, f"trip-{number}")
        simulator.pay(f"trip-{number}")
        entry = simulator.ledger().orders[f"trip-{number}"]
        order_ids.add(entry.order_id)
        transactions.add(entry.charges[0].transaction_id)
        if number == 1:
            simulator.reset()
    assert (len(order_ids), len(transactions)) == (4, 4)
    assert all(len(transaction) == 32 for transaction in transactions)


# Bounds


def _sums(**said: int) -> dict[str, int]:
    """Of the forgotten; what is not said is 0."""
    return {"orders": 0, "total_fen": 0, "charged_fen": 0, "refunded_fen": 0} | said


class TestWithRoomForTwoOrders:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, max_orders=2)

    async def test_a_finished_order_is_forgotten_before_an_older_running_one(
        self, merchant: Merchant, simulator: Simulator, clock: Clock
    ) -> None:
        await ride(merchant, clock, "trip-1")
        await ride(merchant, clock, "trip-2")
        simulator.pay("trip-2")
        await ride(merchant, clock, "trip-3")
        assert list(simulator.ledger().orders) == ["trip-1", "trip-3"]

    async def test_where_none_is_finished_the_oldest_is_forgotten(
        self, merchant: Merchant, simulator: Simulator, clock: Clock
    ) -> None:
        for number in (1, 2, 3):
            await ride(merchant, clock, f"trip-{number}")
        assert list(simulator.ledger().orders) == ["trip-2", "trip-3"]
        clock.advance(10)
        await simulator.run_once()
        assert simulator.ledger().totals.charges == 2

    async def test_the_sums_of_the_forgotten_are_kept(
        self, merchant: Merchant, simulator: Simulator, clock: Clock
    ) -> None:
        for number in range(5):
            await ride(merchant, clock, f"trip-{number}", total=100)
            simulator.pay(f"trip-{number}")
        ledger = simulator.ledger()
        assert dataclasses.asdict(ledger.forgotten) == _sums(orders=3, total_fen=300, charged_fen=300)
        assert ledger.totals.charged_fen == 200

    async def test_a_forgotten_running_order_no_longer_counts_as_running(
        self, merchant: Merchant, simulator: Simulator
    ) -> None:
        for number in range(8):
            response = await merchant.create("payafter", a_create("payafter", f"trip-{number}"))
            assert response.status_code == 200
        assert simulator._state.book.running_of("passenger-1") == 2
        assert dataclasses.asdict(simulator.ledger().forgotten) == _sums(orders=6)

    async def test_passengers_without_a_running_order_take_no_room(
        self, merchant: Merchant, simulator: Simulator
    ) -> None:
        await merchant.create("payafter", a_create("payafter"))
        await merchant.cancel("payafter", "trip-1")
        assert not simulator._state.book._running

    async def test_a_number_that_was_only_refused_is_forgotten_first(
        self, merchant: Merchant, simulator: Simulator, clock: Clock
    ) -> None:
        await ride(merchant, clock, "trip-1")
        await merchant.create("payafter", a_create("payafter", "trip-9", risk_amount=0))
        assert list(simulator.ledger().orders) == ["trip-9", "trip-1"]
        await ride(merchant, clock, "trip-2")
        assert list(simulator.ledger().orders) == ["trip-1", "trip-2"]


async def test_the_refusals_and_bodies_of_one_order_are_bounded(merchant: Merchant, simulator: Simulator) -> None:
    for number in range(MAX_REFUSALS + 5):
        await merchant.create("payafter", a_create("payafter", risk_amount=-number))
    entry = simulator.ledger().orders["trip-1"]
    assert (len(entry.refused), entry.refused_count) == (MAX_REFUSALS, MAX_REFUSALS + 5)
    assert [len(bodies) for bodies in entry.bodies.values()] == [MAX_BODIES]


async def test_the_log_of_calls_is_bounded_and_newest_first(merchant: Merchant, simulator: Simulator) -> None:
    await merchant.get("/v3/certificates")
    await merchant.create("payafter", a_create("payafter"))
    await merchant.send("GET", "/v3/certificates", headers={"Authorization": ""})
    refused, create, certificates = simulator.calls()
    assert (refused.status, refused.code, refused.kind) == (401, "SIGN_ERROR", "certificates")
    assert (create.status, create.kind, create.family) == (200, "create", "payafter")
    assert (create.out_order_no, create.openid, create.fault) == ("trip-1", "passenger-1", None)
    assert certificates.target == "/v3/certificates"
    assert simulator.calls(limit=1) == [refused]
    assert simulator._gateway._records.maxlen == MAX_CALLS


async def test_the_notifications_are_bounded(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payscore_worker.simulator.callbacks.MAX_NOTIFICATIONS", 2)
    simulator.reset()
    for number in range(5):
        simulator.open_service(f"passenger-{number}")
    assert {notification.openid for notification in simulator.notifications()} == {"passenger-3", "passenger-4"}


async def test_a_delivered_notification_is_forgotten_first_and_a_forgotten_one_is_not_sent_again(
    simulator: Simulator, clock: Clock, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.simulator.callbacks.MAX_NOTIFICATIONS", 2)
    simulator.reset()
    receiver.answers = [500, 200]
    simulator.open_service("waiting")
    simulator.open_service("delivered")
    await simulator.run_once()
    simulator.open_service("passenger-3")
    assert {notification.openid for notification in simulator.notifications()} == {"waiting", "passenger-3"}
    simulator.open_service("passenger-4")
    clock.advance(15)
    await simulator.run_once()
    assert [arrival.resource["openid"] for arrival in receiver.arrivals] == [
        "waiting",
        "delivered",
        "passenger-3",
        "passenger-4",
    ]


async def test_the_attempts_of_a_notification_are_bounded(simulator: Simulator) -> None:
    simulator.open_service("passenger-1")
    for _ in range(MAX_ATTEMPTS_KEPT + 5):
        simulator.resend(simulator.notifications()[0].id)
    await simulator.run_once()
    assert len(simulator.notifications()[0].attempts) == MAX_ATTEMPTS_KEPT


def test_the_behaviours_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payscore_worker.simulator.passengers.MAX_SCRIPTED", 1)
    passengers = Passengers()
    passengers.set("passenger-1", Passenger(Behaviour.ARREARS))
    passengers.set("passenger-1", Passenger(Behaviour.NEVER_PAYS))
    with pytest.raises(TooManyScripted):
        passengers.set("passenger-2", Passenger())


OPERATIONS = st.lists(st.tuples(st.sampled_from(["put", "finish", "reopen"]), st.integers(0, 12)), max_size=60)


@given(OPERATIONS, st.integers(1, 4))
def test_a_shelf_never_holds_more_than_its_capacity_nor_drops_the_unfinished_first(
    operations: list[tuple[str, int]], capacity: int
) -> None:
    shelf: Shelf[str] = Shelf(capacity=capacity)
    unfinished: set[str] = set()
    for operation, number in operations:
        key = str(number)
        if operation == "put" and shelf.get(key) is None:
            finished = {value for value in shelf.values() if value not in unfinished}
            full = len(shelf) == capacity
            displaced = shelf.put(key, key)
            assert (displaced is not None) is full
            assert not (full and finished) or displaced in finished
            unfinished = (unfinished | {key}) - {displaced}
        elif operation == "finish":
            shelf.finish(key)
            unfinished.discard(key)
        elif operation == "reopen":
            shelf.reopen(key)
            unfinished |= {key} & set(shelf.values())
        assert len(shelf) == len(shelf.values()) <= capacity
