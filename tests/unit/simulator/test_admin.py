"""The admin API over HTTP."""

import httpx
import pytest

from payscore_worker.simulator import Behaviour, FaultKind, Passenger, Simulator

from .bodies import a_complete, a_create
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver


async def owing(merchant: Merchant, clock: Clock) -> None:
    await merchant.create("serviceorder", a_create("serviceorder"))
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_it_says_that_it_is_well(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).json() == {"status": "ok"}


# Behaviours


async def test_passengers_are_set_in_bulk(http: httpx.AsyncClient, simulator: Simulator) -> None:
    body = {
        "passenger-1": {"behaviour": "pays_late", "seconds": 86400},
        "passenger-2": {"behaviour": "pays_other_amount", "coupon_fen": 250},
        "passenger-3": {"seconds": 0, "coupon_fen": 1},
    }
    assert (await http.put("/admin/passengers", json=body)).json() == {"passengers": 3}
    assert simulator.passenger("passenger-1") == Passenger(Behaviour.PAYS_LATE, seconds=86400)
    assert simulator.passenger("passenger-2") == Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=250)
    shown = (await http.get("/admin/passengers/passenger-1")).json()
    assert shown == {"behaviour": "pays_late", "seconds": 86400, "coupon_fen": 100, "refund": "success"}


@pytest.mark.parametrize("behaviour", list(Behaviour))
async def test_every_behaviour_has_its_name(http: httpx.AsyncClient, behaviour: str) -> None:
    assert (await http.put("/admin/passengers", json={"p": {"behaviour": behaviour}})).status_code == 200
    assert (await http.get("/admin/passengers/p")).json()["behaviour"] == behaviour


async def test_a_slip_in_one_passenger_sets_none(http: httpx.AsyncClient, simulator: Simulator) -> None:
    body = {"passenger-1": {"behaviour": "arrears"}, "passenger-2": {"behaviour": "rich"}}
    assert (await http.put("/admin/passengers", json=body)).status_code == 400
    assert simulator.passenger("passenger-1") == Passenger()


async def test_one_order_is_set(http: httpx.AsyncClient, merchant: Merchant) -> None:
    assert (await http.put("/admin/orders/trip-1", json={"behaviour": "risk_refused"})).json() == {"ok": True}
    assert (await merchant.create("payafter", a_create("payafter"))).status_code == 400
    assert (await merchant.create("payafter", a_create("payafter", "trip-2"))).status_code == 200


async def test_the_service_is_closed_and_opened(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    for action, state in (("close-service", "UNAVAILABLE"), ("open-service", "AVAILABLE")):
        assert (await http.post(f"/admin/passengers/passenger-1/{action}")).json() == {"ok": True}
        assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == state
    await simulator.run_once()
    assert len(receiver.arrivals) == 2


async def test_the_service_is_closed_as_of_the_service_that_one_names(
    http: httpx.AsyncClient, simulator: Simulator, receiver: Receiver
) -> None:
    service_id = simulator.config.keys.service_id
    for path in (f"?service_id={service_id}", "?service_id=none"):
        await http.post(f"/admin/passengers/passenger-1/close-service{path}")
    await simulator.run_once()
    assert [arrival.resource["service_id"] for arrival in receiver.arrivals] == [service_id]
    response = await http.post("/admin/passengers/passenger-1/open-service?service_id=none")
    assert (response.status_code, response.json()["message"]) == (404, f"no service none; there are {service_id}")


# Behind the merchant's back


@pytest.mark.parametrize(("action", "stage"), [("pay", "paid"), ("revoke", "revoked"), ("sync", "paid")])
async def test_something_happens_to_an_owing_order(
    http: httpx.AsyncClient, merchant: Merchant, clock: Clock, action: str, stage: str
) -> None:
    await owing(merchant, clock)
    entry = (await http.post(f"/admin/orders/trip-1/{action}")).json()
    assert (entry["out_order_no"], entry["stage"]) == ("trip-1", stage)


@pytest.mark.parametrize(("action", "stage"), [("expire", "expired"), ("revoke", "revoked")])
async def test_something_happens_to_a_running_order(
    http: httpx.AsyncClient, merchant: Merchant, action: str, stage: str
) -> None:
    await merchant.create("payafter", a_create("payafter"))
    assert (await http.post(f"/admin/orders/trip-1/{action}")).json()["stage"] == stage


@pytest.mark.parametrize("path", ["lower", "complete-by-hand"])
async def test_a_person_prices_an_order(http: httpx.AsyncClient, merchant: Merchant, clock: Clock, path: str) -> None:
    await (owing(merchant, clock) if path == "lower" else merchant.create("payafter", a_create("payafter")))
    response = await http.post(f"/admin/orders/trip-1/{path}", json={"total_fen": 99_999})
    assert (response.status_code, response.json()["code"]) == (400, "BAD_REQUEST")
    entry = (await http.post(f"/admin/orders/trip-1/{path}", json={"total_fen": 3000})).json()
    assert (entry["stage"], entry["total_fen"]) == ("owing", 3000)


@pytest.mark.parametrize("action", ["pay", "sync"])
async def test_what_cannot_happen_to_a_running_order_is_a_conflict(
    http: httpx.AsyncClient, merchant: Merchant, action: str
) -> None:
    await merchant.create("payafter", a_create("payafter"))
    response = await http.post(f"/admin/orders/trip-1/{action}")
    assert response.status_code == 409
    assert response.json() == {"code": "CONFLICT", "message": "order trip-1 is running; it must be owing"}


@pytest.mark.parametrize("action", ["pay", "revoke", "expire", "sync"])
async def test_nothing_happens_to_an_unknown_order(http: httpx.AsyncClient, action: str) -> None:
    response = await http.post(f"/admin/orders/trip-1/{action}")
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


async def test_an_order_is_shown_by_the_ledger_and_as_a_query_shows_it(
    http: httpx.AsyncClient, merchant: Merchant, clock: Clock
) -> None:
    await owing(merchant, clock)
    shown = (await http.get("/admin/orders/trip-1")).json()
    assert shown["ledger"]["stage"] == "owing"
    assert shown["entity"] == (await merchant.query("serviceorder", "trip-1")).json()
    assert (await http.get("/admin/orders/trip-2")).status_code == 404


# Faults


async def test_a_fault_is_added_shown_and_cleared(http: httpx.AsyncClient, merchant: Merchant) -> None:
    body = {"fault": "fail_before", "call": "certificates", "skip": 1, "times": None}
    added = (await http.post("/admin/faults", json=body)).json()
    assert added["id"] == "fault-1"
    assert added | body == added
    assert [(await merchant.get("/v3/certificates")).status_code for _ in range(3)] == [200, 500, 500]
    (shown,) = (await http.get("/admin/faults")).json()["faults"]
    assert (shown["seen"], shown["strikes"], shown["spent"]) == (3, 2, False)
    await http.delete("/admin/faults")
    assert (await http.get("/admin/faults")).json() == {"faults": []}
    assert (await merchant.get("/v3/certificates")).status_code == 200


async def test_a_spent_fault_is_still_shown(http: httpx.AsyncClient, merchant: Merchant) -> None:
    await http.post("/admin/faults", json={"fault": "throttle"})
    await merchant.get("/v3/certificates")
    (shown,) = (await http.get("/admin/faults")).json()["faults"]
    assert (shown["fault"], shown["strikes"], shown["spent"]) == ("throttle", 1, True)


@pytest.mark.parametrize("fault", list(FaultKind))
async def test_every_fault_has_its_name(http: httpx.AsyncClient, fault: str) -> None:
    assert (await http.post("/admin/faults", json={"fault": fault})).json()["fault"] == fault


@pytest.mark.parametrize(
    ("method", "path", "body", "complaint"),
    [
        ("POST", "/admin/faults", {"fault": "explode"}, "explode"),
        ("POST", "/admin/faults", {"fault": "slow", "second": 1}, "unknown: second"),
        ("POST", "/admin/faults", {"fault": "slow", "skip": -1}, "skip must not be negative"),
        ("POST", "/admin/faults", {"call": "create"}, "fault"),
        ("POST", "/admin/faults", [], "object"),
        ("PUT", "/admin/passengers", {"p": {"behavior": "pays"}}, "unknown: behavior"),
        ("PUT", "/admin/passengers", {"p": {"seconds": -1}}, "seconds must not be negative"),
        ("PUT", "/admin/passengers", {"p": {"coupon_fen": 0}}, "coupon_fen must be at least 1"),
        ("PUT", "/admin/passengers", {"p": "pays"}, "object"),
        ("PUT", "/admin/orders/trip-1", {"behaviour": 1}, "behaviour"),
        ("POST", "/admin/clock", {"advance_seconds": -1}, "advance_seconds must be"),
        ("POST", "/admin/clock", {}, "advance_seconds"),
        ("POST", "/admin/orders/trip-1/lower", {"total": 1}, "unknown: total"),
        ("POST", "/admin/orders/trip-1/complete-by-hand", {"total_fen": "1"}, "total_fen"),
        ("GET", "/admin/calls?limit=0", None, "limit must be"),
        ("GET", "/admin/calls?limit=many", None, "limit must be"),
    ],
)
async def test_a_slip_is_told(http: httpx.AsyncClient, method: str, path: str, body: object, complaint: str) -> None:
    response = await http.request(method, path, json=body)
    assert (response.status_code, response.json()["code"]) == (400, "BAD_REQUEST")
    assert complaint in response.json()["message"]


async def test_what_is_not_json_is_told(http: httpx.AsyncClient) -> None:
    for content in (b"{", b"\xff"):
        assert (await http.post("/admin/faults", content=content)).status_code == 400


# What happened


async def test_the_ledger_is_json(http: httpx.AsyncClient, merchant: Merchant, clock: Clock) -> None:
    await owing(merchant, clock)
    await http.post("/admin/orders/trip-1/pay")
    ledger = (await http.get("/admin/ledger")).json()
    entry = ledger["orders"]["trip-1"]
    assert entry["charges"][0]["amount_fen"] == entry["charged_fen"] == entry["total_fen"] == 3200
    assert (entry["creates"], entry["completes"], entry["cancels"]) == (1, 1, 0)
    assert {kind: len(digests) for kind, digests in entry["bodies"].items()} == {"create": 1, "complete": 1}
    assert ledger["totals"] == {
        "orders": 1,
        "by_stage": {"created": 0, "running": 0, "owing": 0, "paid": 1, "free": 0, "revoked": 0, "expired": 0},
        "total_fen": 3200,
        "charged_fen": 3200,
        "charges": 1,
        "refunded_fen": 0,
        "refunds": 0,
        "refused_calls": 0,
    }
    assert ledger["forgotten"] == {"orders": 0, "total_fen": 0, "charged_fen": 0, "refunded_fen": 0}


async def test_the_calls_are_listed(http: httpx.AsyncClient, merchant: Merchant) -> None:
    for number in (1, 2, 3):
        await merchant.query("payafter", f"trip-{number}")
    calls = (await http.get("/admin/calls?limit=2")).json()["calls"]
    assert [(call["out_order_no"], call["status"], call["code"]) for call in calls] == [
        ("trip-3", 404, "ORDER_NOT_EXIST"),
        ("trip-2", 404, "ORDER_NOT_EXIST"),
    ]


async def test_a_notification_is_listed_and_sent_again(
    http: httpx.AsyncClient, simulator: Simulator, receiver: Receiver
) -> None:
    await http.post("/admin/passengers/passenger-1/close-service")
    await simulator.run_once()
    (shown,) = (await http.get("/admin/notifications")).json()["notifications"]
    assert (shown["event_type"], shown["state"]) == ("PAYSCORE.USER_CLOSE_SERVICE", "delivered")
    assert [attempt["status"] for attempt in shown["attempts"]] == [200]
    assert shown["id"] == receiver.arrivals[0].envelope["id"]
    await http.post(f"/admin/notifications/{shown['id']}/resend")
    await simulator.run_once()
    assert len(receiver.arrivals) == 2


async def test_an_unknown_notification_is_not_sent(http: httpx.AsyncClient) -> None:
    assert (await http.post("/admin/notifications/none/resend")).status_code == 404


# Time, keys, and a new beginning


async def test_time_is_brought_forward(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    await http.put("/admin/passengers", json={"passenger-1": {"behaviour": "pays_late", "seconds": 86400}})
    await owing(merchant, clock)
    for total in (43_200, 86_400):
        answer = await http.post("/admin/clock", json={"advance_seconds": 43_200})
        assert answer.json() == {"advanced_seconds": total}
    await simulator.run_once()
    assert simulator.ledger().orders["trip-1"].stage == "paid"


async def test_the_wire_keeps_the_true_time_when_time_is_brought_forward(
    http: httpx.AsyncClient, merchant: Merchant, clock: Clock
) -> None:
    await http.post("/admin/clock", json={"advance_seconds": 86_400})
    response = await merchant.create("serviceorder", a_create("serviceorder"))
    assert response.headers["Wechatpay-Timestamp"] == str(int(clock.now.timestamp()))
    assert response.json()["time_range"]["start_time"] == clock.text()


async def test_the_certificate_is_rotated(http: httpx.AsyncClient, merchant: Merchant) -> None:
    serial_no = (await http.post("/admin/certificates/rotate")).json()["serial_no"]
    assert (await merchant.get("/v3/certificates")).headers["Wechatpay-Serial"] == serial_no


async def test_a_reset_begins_anew_with_the_same_keys(
    http: httpx.AsyncClient, merchant: Merchant, simulator: Simulator
) -> None:
    await merchant.create("payafter", a_create("payafter"))
    await http.post("/admin/certificates/rotate")
    await http.post("/admin/faults", json={"fault": "unavailable"})
    assert (await http.post("/admin/reset")).json() == {"ok": True}
    assert (simulator.orders_created, simulator.calls(), simulator.faults()) == ([], [], [])
    response = await merchant.get("/v3/certificates")
    assert response.headers["Wechatpay-Serial"] == merchant.keys.platform.serial_no
