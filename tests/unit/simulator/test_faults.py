"""What goes wrong by script, where, and how often."""

import dataclasses
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payscore_worker.simulator import Fault, FaultKind, Simulator, SimulatorConfig, SimulatorKeys
from payscore_worker.simulator.calls import Call, CallKind
from payscore_worker.simulator.script import MAX_SPENT, Faults, TooManyFaults

from .bodies import FAMILIES, a_complete, a_create
from .clock import Clock
from .merchant import Merchant, check_signature
from .refusals import refusal_of


@pytest.fixture
def platform_key(keys: SimulatorKeys) -> RSAPublicKey:
    key = x509.load_pem_x509_certificate(keys.platform.certificate_pem.encode()).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


# Before the call is processed


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        (FaultKind.FAIL_BEFORE, (500, "SYSTEM_ERROR", "系统错误", 0)),
        (FaultKind.THROTTLE, (429, "FREQUENCY_LIMITED", "请求过于频繁", 268435472)),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_call_fails_without_being_processed(
    merchant: Merchant, simulator: Simulator, kind: FaultKind, refusal: tuple[object, ...], family: str
) -> None:
    simulator.add_fault(Fault(kind, call="create"))
    assert refusal_of(await merchant.create(family, a_create(family))) == refusal
    assert simulator.orders_created == []
    assert (await merchant.create(family, a_create(family))).status_code == 200


async def test_a_gateway_that_is_down_answers_without_an_envelope(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.UNAVAILABLE))
    response = await merchant.create("payafter", a_create("payafter"))
    assert (response.status_code, response.text) == (503, "Service Unavailable")
    assert response.headers["Content-Type"] == "text/plain"
    assert simulator.orders_created == []


async def test_any_refusal_can_be_scripted(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(
        Fault(
            FaultKind.REFUSE,
            status=400,
            code="PARAM_ERROR",
            message="单据正在扣款中，请稍后重试",
            sub_code=271316754,
        )
    )
    response = await merchant.create("payafter", a_create("payafter"))
    assert refusal_of(response) == (400, "PARAM_ERROR", "单据正在扣款中，请稍后重试", 271316754)
    assert simulator.orders_created == []


async def test_a_scripted_refusal_is_a_business_refusal_unless_it_says_more(
    merchant: Merchant, simulator: Simulator
) -> None:
    simulator.add_fault(Fault(FaultKind.REFUSE))
    assert refusal_of(await merchant.get("/v3/certificates")) == (400, "INVALID_REQUEST", "请求异常,请稍后重试", 0)


@pytest.mark.parametrize("status", [400, 599])
def test_a_scripted_refusal_has_any_status_of_failure(status: int) -> None:
    assert Fault(FaultKind.REFUSE, status=status).status == status


# After it


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_reply_is_dropped_after_the_call_was_processed(
    merchant: Merchant, simulator: Simulator, clock: Clock, family: str
) -> None:
    for call in ("create", "complete"):
        simulator.add_fault(Fault(FaultKind.DROP_REPLY, call=call))
    with pytest.raises(httpx.RemoteProtocolError):
        await merchant.create(family, a_create(family))
    assert simulator.orders_created == ["trip-1"]
    clock.advance(600)
    body = a_complete(family, clock.text()) | {"finish_ticket": await merchant.finish_ticket("trip-1")}
    with pytest.raises(httpx.RemoteProtocolError):
        await merchant.complete(family, "trip-1", body)
    assert simulator.ledger().orders["trip-1"].total_fen == 3200
    assert (await merchant.complete(family, "trip-1", body)).status_code == 200


async def test_a_call_fails_after_it_was_processed(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_AFTER))
    assert refusal_of(await merchant.create("payafter", a_create("payafter")))[:2] == (500, "SYSTEM_ERROR")
    assert simulator.orders_created == ["trip-1"]


async def test_a_refusal_too_is_lost_in_a_failure_after_processing(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_AFTER))
    assert refusal_of(await merchant.query("payafter", "trip-1"))[:2] == (500, "SYSTEM_ERROR")


async def test_a_slow_call_is_processed_and_answered_late(simulator: Simulator, keys: SimulatorKeys) -> None:
    simulator.add_fault(Fault(FaultKind.SLOW, seconds=7))
    merchant = Merchant(httpx.AsyncClient(), keys, Clock())
    target = "/v3/certificates"
    headers = {"authorization": merchant.authorization("GET", target, b""), "accept": "*/*", "user-agent": "t"}
    call = Call(
        kind=CallKind.CERTIFICATES,
        family="",
        method="GET",
        target=target,
        headers=headers,
        query={},
        path_parameters={},
        body=b"",
    )
    assert [simulator.answer(call).delay_seconds for _ in range(2)] == [7, 0]


async def test_a_slow_call_is_answered_in_the_end(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.SLOW, seconds=0.001))
    assert (await merchant.get("/v3/certificates")).status_code == 200


# The signature


async def test_a_bad_signature_does_not_verify(
    merchant: Merchant, simulator: Simulator, platform_key: RSAPublicKey, keys: SimulatorKeys
) -> None:
    simulator.add_fault(Fault(FaultKind.BAD_SIGNATURE))
    response = await merchant.create("payafter", a_create("payafter"))
    assert response.headers["Wechatpay-Serial"] == keys.platform.serial_no
    with pytest.raises(InvalidSignature):
        check_signature(platform_key, response.headers, response.content)
    assert simulator.orders_created == ["trip-1"]


async def test_a_probe_is_a_right_signature_with_a_wrong_beginning(
    merchant: Merchant, simulator: Simulator, platform_key: RSAPublicKey
) -> None:
    simulator.add_fault(Fault(FaultKind.SIGNTEST))
    response = await merchant.get("/v3/certificates")
    probe = response.headers["Wechatpay-Signature"]
    assert probe.startswith("WECHATPAY/SIGNTEST/")
    repaired = dict(response.headers.multi_items()) | {"wechatpay-signature": probe.removeprefix("WECHATPAY/SIGNTEST/")}
    check_signature(platform_key, httpx.Headers(repaired), response.content)


async def test_a_wrong_serial_names_a_key_that_nobody_has(
    merchant: Merchant, simulator: Simulator, platform_key: RSAPublicKey, keys: SimulatorKeys
) -> None:
    simulator.add_fault(Fault(FaultKind.WRONG_SERIAL))
    response = await merchant.get("/v3/certificates")
    assert len(response.headers["Wechatpay-Serial"]) == 40
    assert response.headers["Wechatpay-Serial"] != keys.platform.serial_no
    check_signature(platform_key, response.headers, response.content)


async def test_an_unsigned_reply_has_no_signature_headers(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.UNSIGNED))
    response = await merchant.get("/v3/certificates")
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("wechatpay")]


async def test_a_skewed_clock_shows_in_the_date_and_in_the_signed_timestamp(
    merchant: Merchant, simulator: Simulator, clock: Clock, platform_key: RSAPublicKey
) -> None:
    simulator.add_fault(Fault(FaultKind.CLOCK_SKEW, seconds=-400))
    response = await merchant.get("/v3/certificates")
    skewed = int(clock.now.timestamp()) - 400
    assert response.headers["Wechatpay-Timestamp"] == str(skewed)
    assert parsedate_to_datetime(response.headers["Date"]).timestamp() == skewed
    check_signature(platform_key, response.headers, response.content)


# Which calls


async def failures(merchant: Merchant, calls: int) -> list[bool]:
    return [(await merchant.get("/v3/certificates")).status_code != 200 for _ in range(calls)]


async def test_a_fault_strikes_once(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE))
    assert await failures(merchant, 3) == [True, False, False]


async def test_a_fault_strikes_as_often_as_it_is_told(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, times=2))
    assert await failures(merchant, 4) == [True, True, False, False]


async def test_a_fault_lets_the_first_calls_pass(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, skip=2))
    assert await failures(merchant, 4) == [False, False, True, False]


async def test_a_fault_without_end_strikes_until_it_is_cleared(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, times=None))
    assert await failures(merchant, 3) == [True, True, True]
    simulator.clear_faults()
    assert await failures(merchant, 1) == [False]


async def test_faults_strike_one_after_the_other(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE))
    simulator.add_fault(Fault(FaultKind.THROTTLE))
    assert [(await merchant.get("/v3/certificates")).status_code for _ in range(3)] == [500, 429, 200]


async def test_a_request_that_is_not_ours_meets_no_fault(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE))
    assert (await merchant.send("GET", "/v3/certificates", headers={"Authorization": ""})).status_code == 401
    assert await failures(merchant, 1) == [True]


@pytest.mark.parametrize("call", list(CallKind))
async def test_a_fault_strikes_the_call_it_names(
    merchant: Merchant, clock: Clock, simulator: Simulator, call: str
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, call=call, times=None))
    responses = {
        "certificates": await merchant.get("/v3/certificates"),
        "security_echo": await merchant.post("/v3/security/echo", {}),
        "user_service_state": await merchant.user_service_state("passenger-1"),
        "pre_authorise": await merchant.post("/v3/payscore/permissions", {}),
        "query_permission": await merchant.get("/v3/payscore/permissions/openid/passenger-1"),
        "terminate_permission": await merchant.post("/v3/payscore/permissions/openid/passenger-1/terminate", {}),
        "create": await merchant.create("serviceorder", a_create("serviceorder")),
        "direct_complete": await merchant.post("/v3/payscore/serviceorder/direct-complete", {}),
        "query": await merchant.query("serviceorder", "trip-1"),
        "complete": await merchant.complete("serviceorder", "trip-1", {}),
        "cancel": await merchant.cancel("serviceorder", "trip-1"),
        "modify": await merchant.post("/v3/payscore/serviceorder/trip-1/modify", {}),
        "pay": await merchant.post("/v3/payscore/serviceorder/trip-1/pay", {}),
        "sync": await merchant.sync("serviceorder", "trip-1", clock.now),
        "send_prepaid_message": await merchant.post("/v3/payscore/serviceorder/trip-1/send-prepaidmessage", {}),
        "send_pending_message": await merchant.post("/v3/payscore/serviceorder/trip-1/send-pendingmessage", {}),
        "transaction_query": await merchant.get("/v3/pay/transactions/id/42"),
        "refund": await merchant.refund({}),
        "refund_query": await merchant.query_refund("refund-1"),
    }
    assert [name for name, response in responses.items() if response.status_code == 500] == [call]


@pytest.mark.parametrize("only", [{"out_order_no": "trip-1"}, {"openid": "passenger-1"}])
async def test_a_fault_strikes_the_order_or_passenger_it_names(
    merchant: Merchant, simulator: Simulator, only: dict[str, str]
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_AFTER, **only, times=None))  # type: ignore[arg-type]  # names of texts
    other = a_create("serviceorder", "trip-2", openid="passenger-2")
    assert (await merchant.create("serviceorder", other)).status_code == 200
    assert (await merchant.create("serviceorder", a_create("serviceorder"))).status_code == 500
    assert (await merchant.query("serviceorder", "trip-1")).status_code == 500
    assert (await merchant.cancel("serviceorder", "trip-1")).status_code == 500
    assert (await merchant.query("serviceorder", "trip-2")).status_code == 200


async def test_a_fault_for_a_passenger_strikes_the_question_for_the_service_state(
    merchant: Merchant, simulator: Simulator
) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, openid="passenger-1"))
    assert (await merchant.user_service_state("passenger-2")).status_code == 200
    assert (await merchant.user_service_state("passenger-1")).status_code == 500


def test_a_fault_for_an_order_of_one_passenger_needs_both() -> None:
    faults = Faults(seed=0, now=lambda: 0.0)
    faults.add(Fault(FaultKind.FAIL_BEFORE, out_order_no="trip-1", openid="passenger-1"))
    assert faults.strike_call(CallKind.QUERY, out_order_no="trip-1", openid="passenger-2") is None
    assert faults.strike_call(CallKind.QUERY, out_order_no="trip-1", openid="passenger-1") is not None


def test_the_order_goes_before_the_passenger_and_the_passenger_before_the_rest() -> None:
    faults = Faults(seed=0, now=lambda: 0.0)
    for fault in (
        Fault(FaultKind.FAIL_BEFORE),
        Fault(FaultKind.THROTTLE, openid="passenger-1"),
        Fault(FaultKind.SLOW, out_order_no="trip-1"),
    ):
        faults.add(fault)
    struck = [faults.strike_call(CallKind.QUERY, out_order_no="trip-1", openid="passenger-1") for _ in range(4)]
    assert [fault.fault if fault else None for fault in struck] == ["slow", "throttle", "fail_before", None]


# By chance


def strikes(*, config_seed: int = 0, seed: int | None = None, calls: int = 200) -> list[bool]:
    faults = Faults(seed=config_seed, now=lambda: 0.0)
    faults.add(Fault(FaultKind.FAIL_BEFORE, times=None, probability=0.3, seed=seed))
    return [faults.strike_call(CallKind.QUERY, out_order_no="", openid="") is not None for _ in range(calls)]


def test_chance_is_the_same_each_time() -> None:
    assert strikes() == strikes()
    assert strikes(seed=7) == strikes(seed=7, config_seed=1)


def test_another_seed_is_another_chance() -> None:
    assert len({tuple(strikes(config_seed=seed)) for seed in range(5)}) == 5


def test_chance_strikes_about_as_often_as_it_says() -> None:
    assert 0.2 < sum(strikes(calls=2000)) / 2000 < 0.4


# Bounds and slips


@pytest.mark.parametrize(
    ("slip", "complaint"),
    [
        ({"call": "charge"}, "call must be one of create"),
        ({"fault": FaultKind.CALLBACK_LOST, "call": "create"}, "leave `call` out"),
        ({"probability": 0}, "probability"),
        ({"probability": 1.5}, "probability"),
        ({"skip": -1}, "skip"),
        ({"times": 0}, "times"),
        ({"status": 399}, "status"),
        ({"status": 600}, "status"),
    ],
)
def test_a_script_that_cannot_be_meant_is_refused(slip: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(Fault(FaultKind.FAIL_BEFORE), **slip)


def test_the_faults_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payscore_worker.simulator.script.MAX_FAULTS", 2)
    faults = Faults(seed=0, now=lambda: 0.0)
    for _ in range(2):
        faults.add(Fault(FaultKind.FAIL_BEFORE))
    with pytest.raises(TooManyFaults):
        faults.add(Fault(FaultKind.FAIL_BEFORE))
    faults.strike_call(CallKind.QUERY, out_order_no="", openid="")
    faults.add(Fault(FaultKind.FAIL_BEFORE))


def test_the_faults_that_are_spent_are_remembered_up_to_a_bound() -> None:
    faults = Faults(seed=0, now=lambda: 0.0)
    for _ in range(MAX_SPENT + 5):
        faults.add(Fault(FaultKind.FAIL_BEFORE))
        faults.strike_call(CallKind.QUERY, out_order_no="", openid="")
    assert (faults.waiting(), faults._waiting) == ([], {})
    assert [len(faults.spent()), faults.spent()[0].id, faults.spent()[0].strikes] == [MAX_SPENT, "fault-6", 1]


def test_clearing_forgets_the_spent_too() -> None:
    faults = Faults(seed=0, now=lambda: 0.0)
    faults.add(Fault(FaultKind.FAIL_BEFORE))
    faults.strike_call(CallKind.QUERY, out_order_no="", openid="")
    faults.clear()
    assert faults.spent() == []


async def test_a_simulator_repeats_its_chance(config: SimulatorConfig) -> None:
    seeded = dataclasses.replace(config, seed=42)
    first, second = (Simulator(seeded).add_fault(Fault(FaultKind.SLOW, probability=0.5)) for _ in range(2))
    assert [first.random.random() for _ in range(3)] == [second.random.random() for _ in range(3)]
