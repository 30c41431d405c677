"""The self-test of POST /v3/security/echo (reference payscore-api E.10): no money moves, and every key is used."""

import base64
import json
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1

from payscore_worker.simulator import FaultKind, Simulator, SimulatorConfig, SimulatorKeys
from payscore_worker.simulator.faults import Fault

from .bodies import NOTIFY_URL
from .merchant import Merchant, check_signature
from .receiver import Receiver
from .refusals import field_of, refusal_of

ECHO = "/v3/security/echo"
PADDING = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - reference payscore-api E.7


def sealed_for(key: RSAPublicKey, text: str) -> str:
    return base64.b64encode(key.encrypt(text.encode(), PADDING)).decode()


def opened_with(key: RSAPrivateKey, sealed: str) -> str:
    return key.decrypt(base64.b64decode(sealed, validate=True), PADDING).decode()


async def echo(merchant: Merchant, serial: str = "", **members: str) -> httpx.Response:
    keys = merchant.keys
    body = json.dumps({"echo_message": "你好", **members}).encode()
    headers = {"Wechatpay-Serial": serial or keys.platform.serial_no}
    return await merchant.send("POST", ECHO, body, headers)


async def test_a_message_comes_back_open_and_sealed_for_the_merchant(merchant: Merchant, keys: SimulatorKeys) -> None:
    sealed = sealed_for(keys.platform.key.public_key(), "你好")

    response = await echo(merchant, encrypted_echo_message=sealed)

    check_signature(keys.platform.key.public_key(), response.headers, response.content)
    answer = response.json()
    assert answer["echo_message"] == "你好"
    assert opened_with(keys.merchant.key, answer["encrypted_echo_message"]) == "你好"


async def test_only_the_open_message_must_be_there(merchant: Merchant) -> None:
    assert (await echo(merchant)).status_code == 200
    headers = {"Wechatpay-Serial": merchant.keys.platform.serial_no}
    assert field_of(await merchant.send("POST", ECHO, b"{}", headers)) == "/echo_message"


@pytest.mark.parametrize("serial", ["", "7777777777777777777777777777777777777777"])
async def test_a_serial_that_names_no_key_of_wechat_pays_is_refused(merchant: Merchant, serial: str) -> None:
    headers = {"Wechatpay-Serial": serial} if serial else {}
    response = await merchant.send("POST", ECHO, b'{"echo_message":"a"}', headers)

    assert refusal_of(response)[:3] == (400, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误")


@pytest.mark.parametrize("sealed", ["MTIzNA==", "no base64"])
async def test_what_its_key_does_not_open_is_refused(merchant: Merchant, sealed: str) -> None:
    assert field_of(await echo(merchant, encrypted_echo_message=sealed)) == "/encrypted_echo_message"


async def test_what_is_sealed_with_the_merchants_own_key_is_refused(merchant: Merchant, keys: SimulatorKeys) -> None:
    sealed = sealed_for(keys.merchant.key.public_key(), "你好")

    assert field_of(await echo(merchant, encrypted_echo_message=sealed)) == "/encrypted_echo_message"


async def test_a_message_that_cannot_be_sealed_is_refused(merchant: Merchant) -> None:
    assert (await echo(merchant, echo_message="x" * 190)).status_code == 200
    assert field_of(await echo(merchant, echo_message="x" * 191)) == "/echo_message"


async def test_the_callback_goes_where_the_call_says(
    merchant: Merchant, simulator: Simulator, receiver: Receiver, keys: SimulatorKeys
) -> None:
    assert (await echo(merchant, notify_url="http://elsewhere/notify")).status_code == 200
    await simulator.run_once()

    (arrival,) = receiver.arrivals
    assert arrival.url == "http://elsewhere/notify"
    assert arrival.envelope["event_type"] == "SECURITY_ECHO.SUCCESS"
    assert arrival.envelope["resource"]["original_type"] == "security"
    assert arrival.resource["echo_message"] == "你好"
    assert opened_with(keys.merchant.key, arrival.resource["encrypt_echo_message"]) == "你好"


async def test_nobody_is_called_back_who_names_no_address(
    merchant: Merchant, simulator: Simulator, receiver: Receiver
) -> None:
    await echo(merchant)
    await simulator.run_once()

    assert receiver.arrivals == []


async def test_an_address_that_could_not_be_called_is_refused(merchant: Merchant) -> None:
    assert field_of(await echo(merchant, notify_url="http://host")) == "/notify_url"


async def test_it_can_be_struck_by_faults_like_every_call(merchant: Merchant, simulator: Simulator) -> None:
    simulator.add_fault(Fault(FaultKind.FAIL_BEFORE, call="security_echo"))

    assert refusal_of(await echo(merchant))[:2] == (500, "SYSTEM_ERROR")


class TestUnderThePublicKey:
    @pytest.fixture
    def config(self, keys: SimulatorKeys) -> SimulatorConfig:
        return replace(SimulatorConfig(keys=keys, notify_url=NOTIFY_URL), sign_with="public_key")

    async def test_what_is_sealed_for_the_public_key_is_opened_and_answered_under_it(
        self, merchant: Merchant, keys: SimulatorKeys
    ) -> None:
        sealed = sealed_for(keys.public_key_pair.public_key(), "你好")

        response = await echo(merchant, keys.public_key_id, encrypted_echo_message=sealed)

        check_signature(keys.public_key_pair.public_key(), response.headers, response.content)
        assert response.json()["echo_message"] == "你好"


async def test_a_public_key_that_is_not_in_use_is_no_key(merchant: Merchant, keys: SimulatorKeys) -> None:
    assert refusal_of(await echo(merchant, keys.public_key_id))[2] == "平台证书序列号Wechatpay-Serial错误"


async def test_a_former_certificate_still_opens_what_was_sealed_for_it(
    merchant: Merchant, simulator: Simulator, keys: SimulatorKeys
) -> None:
    sealed = sealed_for(keys.platform.key.public_key(), "你好")
    simulator.rotate_certificate()

    assert (await echo(merchant, encrypted_echo_message=sealed)).status_code == 200
