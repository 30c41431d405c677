"""Callbacks: their form, their signature, and how often they are sent (reference payscore-api D)."""

import asyncio
import dataclasses
import uuid
from datetime import datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payscore_worker.simulator import (
    Behaviour,
    Fault,
    FaultKind,
    Passenger,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    callbacks,
)

from .bodies import FAMILIES, NOTIFY_URL, a_complete, a_create
from .clock import Clock
from .merchant import Merchant, check_signature
from .receiver import Receiver

SCHEDULE = [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600]


@pytest.fixture
def platform_key(keys: SimulatorKeys) -> RSAPublicKey:
    key = x509.load_pem_x509_certificate(keys.platform.certificate_pem.encode()).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


async def paid(merchant: Merchant, simulator: Simulator, clock: Clock, family: str = "serviceorder") -> None:
    """One order, paid; its callback waits to be sent."""
    await merchant.create(family, a_create(family))
    clock.advance(600)
    response = await merchant.complete(family, "trip-1", a_complete(family, clock.text()))
    assert response.status_code == 200, response.text
    simulator.pay("trip-1")


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_callback_is_an_encrypted_envelope(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str
) -> None:
    await paid(merchant, simulator, clock, family)
    await simulator.run_once()
    envelope = receiver.arrivals[0].envelope
    assert str(uuid.UUID(envelope["id"])) == envelope["id"]
    assert datetime.fromisoformat(envelope["create_time"]) == clock.now.replace(microsecond=0)
    assert envelope["create_time"].endswith("+08:00")
    assert envelope["event_type"] == "PAYSCORE.USER_PAID"
    assert envelope["resource_type"] == "encrypt-resource"
    assert envelope["resource"]["original_type"] == "payscore"
    assert envelope["resource"]["algorithm"] == "AEAD_AES_256_GCM"
    assert envelope["resource"]["associated_data"] == "payscore"
    assert len(envelope["resource"]["nonce"].encode()) == 12


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_callback_is_signed(
    merchant: Merchant,
    simulator: Simulator,
    clock: Clock,
    receiver: Receiver,
    keys: SimulatorKeys,
    platform_key: RSAPublicKey,
    family: str,
) -> None:
    await paid(merchant, simulator, clock, family)
    await simulator.run_once()
    (arrival,) = receiver.arrivals
    headers = {name.title(): value for name, value in arrival.headers.items()}
    check_signature(platform_key, headers, arrival.body)
    assert headers["Wechatpay-Serial"] == keys.platform.serial_no
    assert headers["Wechatpay-Signature-Type"] == "WECHATPAY2-SHA256-RSA2048"
    assert headers["Content-Type"] == "application/json"
    assert headers["Request-Id"]


async def test_a_serviceorder_callback_shows_the_paid_order(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    await paid(merchant, simulator, clock)
    await simulator.run_once()
    resource = receiver.arrivals[0].resource
    assert resource == (await merchant.query("serviceorder", "trip-1")).json()
    assert (resource["state"], resource["collection"]["state"]) == ("DONE", "USER_PAID")
    assert resource["collection"]["paid_amount"] == resource["total_amount"] == 3200


async def test_a_payafter_callback_shows_the_paid_order_without_its_items(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    await paid(merchant, simulator, clock, "payafter")
    await simulator.run_once()
    resource = receiver.arrivals[0].resource
    entity = (await merchant.query("payafter", "trip-1")).json()
    assert resource == {name: value for name, value in entity.items() if name != "fees"}
    assert resource["state"] == "USER_PAID"
    assert resource["finish_transaction_id"]
    assert resource["pay_succ_time"] == clock.text()


@pytest.mark.parametrize(
    ("family", "url"), [("payafter", NOTIFY_URL), ("serviceorder", "http://receiver/of/this/order")]
)
async def test_a_callback_goes_where_the_order_or_else_the_service_wants_it(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver, family: str, url: str
) -> None:
    await merchant.create(family, a_create(family, notify_url="http://receiver/of/this/order"))
    clock.advance(600)
    await merchant.complete(family, "trip-1", a_complete(family, clock.text()))
    simulator.pay("trip-1")
    await simulator.run_once()
    assert [arrival.url for arrival in receiver.arrivals] == [url]


async def test_the_public_key_signs_where_it_is_in_use(
    config: SimulatorConfig, receiver: Receiver, clock: Clock, keys: SimulatorKeys
) -> None:
    async with receiver.client() as http:
        simulator = Simulator(dataclasses.replace(config, sign_with="public_key"), clock=clock, http=http)
        simulator.open_service("passenger-1")
        await simulator.run_once()
    (arrival,) = receiver.arrivals
    headers = {name.title(): value for name, value in arrival.headers.items()}
    assert headers["Wechatpay-Serial"] == keys.public_key_id
    check_signature(keys.public_key_pair.public_key(), headers, arrival.body)


# The service, opened and closed


async def test_a_passenger_who_closes_the_service_is_announced_and_unavailable(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    simulator.close_service("passenger-1")
    await simulator.run_once()
    (arrival,) = receiver.arrivals
    assert arrival.url == NOTIFY_URL
    assert arrival.envelope["event_type"] == "PAYSCORE.USER_CLOSE_SERVICE"
    assert arrival.envelope["summary"] == "解约成功"
    assert arrival.resource == merchant.ours() | {
        "mchid": merchant.keys.mchid,
        "openid": "passenger-1",
        "user_service_status": "USER_CLOSE_SERVICE",
        "openorclose_time": clock.text(),
    }
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "UNAVAILABLE"


async def test_a_passenger_who_opens_the_service_is_announced_and_available(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NOT_ENABLED))
    simulator.open_service("passenger-1")
    await simulator.run_once()
    assert receiver.arrivals[0].envelope["event_type"] == "PAYSCORE.USER_OPEN_SERVICE"
    assert receiver.arrivals[0].resource["user_service_status"] == "USER_OPEN_SERVICE"
    assert (await merchant.user_service_state("passenger-1")).json()["use_service_state"] == "AVAILABLE"


async def test_opening_the_service_leaves_another_behaviour_alone(simulator: Simulator) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.NEVER_PAYS))
    simulator.open_service("passenger-1")
    assert simulator.passenger("passenger-1").behaviour is Behaviour.NEVER_PAYS


# Sent again


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_2xx_means_delivered(simulator: Simulator, clock: Clock, receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    simulator.open_service("passenger-1")
    await simulator.run_once()
    clock.advance(100_000)
    await simulator.run_once()
    assert len(receiver.arrivals) == 1
    assert simulator.notifications()[0].state == "delivered"


@pytest.mark.parametrize("answer", [301, 400, 401, 500, 503, ConnectionError("the receiver broke")])
async def test_anything_else_means_again_in_fifteen_seconds(
    simulator: Simulator, clock: Clock, receiver: Receiver, answer: int | Exception
) -> None:
    receiver.answers = [answer]
    simulator.open_service("passenger-1")
    await simulator.run_once()
    clock.advance(14.9)
    await simulator.run_once()
    assert len(receiver.arrivals) == 1
    clock.advance(0.1)
    await simulator.run_once()
    assert len(receiver.arrivals) == 2
    (notification,) = simulator.notifications()
    first, second = notification.attempts
    assert (first.status, first.error) in {(answer, None), (None, repr(answer))}
    assert (second.status, notification.state) == (200, "delivered")


async def test_the_schedule_is_wechats_and_ends(simulator: Simulator, clock: Clock, receiver: Receiver) -> None:
    receiver.answers = [500] * 100
    simulator.open_service("passenger-1")
    begin, before, after = clock.now, [], []
    await simulator.run_once()
    for wait in [*SCHEDULE, 86_400]:
        clock.advance(wait - 0.5)
        await simulator.run_once()
        before.append(len(receiver.arrivals))
        clock.advance(0.5)
        await simulator.run_once()
        after.append(len(receiver.arrivals))
    assert before == [*range(1, 16), 16]
    assert after == [*range(2, 17), 16]
    assert sum(SCHEDULE) == 24 * 3600 + 4 * 60
    assert (clock.now - begin).total_seconds() == sum(SCHEDULE) + 86_400
    assert simulator.notifications()[0].state == "gave_up"


async def test_a_resend_keeps_its_id_and_body_and_is_signed_afresh(
    simulator: Simulator, clock: Clock, receiver: Receiver, platform_key: RSAPublicKey
) -> None:
    receiver.answers = [500]
    simulator.open_service("passenger-1")
    await simulator.run_once()
    clock.advance(15)
    await simulator.run_once()
    first, second = receiver.arrivals
    assert first.body == second.body
    assert first.headers["wechatpay-nonce"] != second.headers["wechatpay-nonce"]
    assert int(second.headers["wechatpay-timestamp"]) - int(first.headers["wechatpay-timestamp"]) == 15
    check_signature(platform_key, {name.title(): value for name, value in second.headers.items()}, second.body)


async def test_speed_compresses_the_schedule_and_the_delay_of_payment(
    config: SimulatorConfig, receiver: Receiver, clock: Clock
) -> None:
    receiver.answers = [500]
    async with receiver.client() as http:
        simulator = Simulator(dataclasses.replace(config, speed=100), clock=clock, http=http)
        simulator.open_service("passenger-1")
        await simulator.run_once()
        clock.advance(0.15)
        await simulator.run_once()
    assert len(receiver.arrivals) == 2


async def test_a_resend_by_hand_is_one_more_copy_now(simulator: Simulator, clock: Clock, receiver: Receiver) -> None:
    simulator.open_service("passenger-1")
    await simulator.run_once()
    receiver.answers = [500]
    simulator.resend(simulator.notifications()[0].id)
    await simulator.run_once()
    clock.advance(100_000)
    await simulator.run_once()
    assert len({arrival.body for arrival in receiver.arrivals}) == 1
    assert len(receiver.arrivals) == 2


async def test_one_that_was_taken_when_sent_by_hand_is_not_sent_again(
    simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    receiver.answers = [500]
    simulator.open_service("passenger-1")
    await simulator.run_once()
    simulator.resend(simulator.notifications()[0].id)
    await simulator.run_once()
    clock.advance(15)
    await simulator.run_once()
    assert len(receiver.arrivals) == 2


async def test_a_receiver_that_does_not_answer_in_time_is_a_failure(
    simulator: Simulator, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "TIMEOUT_SECONDS", 0.01)
    receiver.answers = [asyncio.Event()]
    simulator.open_service("passenger-1")
    await simulator.run_once()
    (notification,) = simulator.notifications()
    assert notification.attempts[0].error == "TimeoutError()"
    assert notification.state == "waiting"


async def test_without_a_way_out_a_callback_is_an_error_that_says_so(config: SimulatorConfig, clock: Clock) -> None:
    simulator = Simulator(config, clock=clock)
    simulator.open_service("passenger-1")
    with pytest.raises(RuntimeError, match="enter the simulator"):
        await simulator.run_once()


# Faults


async def test_a_lost_callback_is_never_sent(simulator: Simulator, clock: Clock, receiver: Receiver) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_LOST))
    simulator.open_service("passenger-1")
    clock.advance(100_000)
    await simulator.run_once()
    assert not receiver.arrivals
    (notification,) = simulator.notifications()
    assert (notification.state, notification.fault) == ("lost", "callback_lost")


async def test_a_lost_callback_can_be_sent_by_hand(simulator: Simulator, receiver: Receiver) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_LOST))
    simulator.open_service("passenger-1")
    simulator.resend(simulator.notifications()[0].id)
    await simulator.run_once()
    assert len(receiver.arrivals) == 1


async def test_a_duplicated_callback_comes_twice_under_one_id(simulator: Simulator, receiver: Receiver) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_DUPLICATED))
    simulator.open_service("passenger-1")
    await simulator.run_once()
    assert len(receiver.arrivals) == 2
    assert len({arrival.envelope["id"] for arrival in receiver.arrivals}) == 1


async def test_a_late_callback_comes_late(simulator: Simulator, clock: Clock, receiver: Receiver) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_LATE, seconds=3600))
    simulator.open_service("passenger-1")
    clock.advance(3599)
    await simulator.run_once()
    assert not receiver.arrivals
    clock.advance(1)
    await simulator.run_once()
    assert len(receiver.arrivals) == 1


async def test_a_forgery_comes_first_and_counts_for_nothing(
    simulator: Simulator, clock: Clock, receiver: Receiver, platform_key: RSAPublicKey
) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_FORGED_FIRST))
    receiver.answers = [200, 500]
    simulator.open_service("passenger-1")
    await simulator.run_once()
    forged, genuine = ({name.title(): value for name, value in a.headers.items()} for a in receiver.arrivals)
    assert forged["Wechatpay-Serial"] == genuine["Wechatpay-Serial"]
    with pytest.raises(InvalidSignature):
        check_signature(platform_key, forged, receiver.arrivals[0].body)
    check_signature(platform_key, genuine, receiver.arrivals[1].body)
    assert simulator.notifications()[0].state == "waiting"
    clock.advance(15)
    await simulator.run_once()
    assert [attempt.copy for attempt in simulator.notifications()[0].attempts] == ["forged", "genuine", "genuine"]


async def test_a_callback_fault_may_be_for_one_order_or_passenger(
    merchant: Merchant, simulator: Simulator, clock: Clock, receiver: Receiver
) -> None:
    simulator.add_fault(Fault(FaultKind.CALLBACK_LOST, out_order_no="trip-2"))
    simulator.add_fault(Fault(FaultKind.CALLBACK_LOST, openid="passenger-2"))
    simulator.open_service("passenger-2")
    await paid(merchant, simulator, clock)
    await simulator.run_once()
    assert [arrival.envelope["event_type"] for arrival in receiver.arrivals] == ["PAYSCORE.USER_PAID"]
