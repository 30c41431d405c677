"""How a reply is signed, and by which key (reference payscore-api E.2, E.5, E.6)."""

import dataclasses
import json
import re
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from payscore_worker.simulator import Simulator, SimulatorConfig, SimulatorKeys

from .bodies import a_create
from .clock import Clock
from .merchant import Merchant, check_signature, decrypted


def public_key_of(certificate_pem: str | bytes) -> RSAPublicKey:
    pem = certificate_pem.encode() if isinstance(certificate_pem, str) else certificate_pem
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def check(response: httpx.Response, key: RSAPublicKey) -> None:
    check_signature(key, response.headers, response.content)


async def test_a_reply_is_signed_by_the_platform_certificate(merchant: Merchant, keys: SimulatorKeys) -> None:
    response = await merchant.create("serviceorder", a_create("serviceorder"))
    check(response, public_key_of(keys.platform.certificate_pem))
    assert response.headers["Wechatpay-Serial"] == keys.platform.serial_no
    assert response.headers["Wechatpay-Signature-Type"] == "WECHATPAY2-SHA256-RSA2048"
    assert response.headers["Content-Type"] == "application/json"


async def test_a_reply_carries_the_time_of_the_simulator(merchant: Merchant, clock: Clock) -> None:
    response = await merchant.get("/v3/certificates")
    assert parsedate_to_datetime(response.headers["Date"]) == clock.now.replace(microsecond=0)
    assert response.headers["Wechatpay-Timestamp"] == str(int(clock.now.timestamp()))


async def test_every_reply_has_a_request_id_of_its_own(merchant: Merchant) -> None:
    ids = [(await merchant.get("/v3/certificates")).headers["Request-ID"] for _ in range(2)]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"08[0-9A-F]{32}-0", request_id) for request_id in ids)


async def test_a_refusal_is_not_signed(merchant: Merchant) -> None:
    response = await merchant.query("serviceorder", "trip-1")
    assert response.status_code == 404
    assert not [name for name in response.headers if name.startswith("wechatpay")]


async def test_the_public_key_has_no_effect_before_it_is_in_use(merchant: Merchant, keys: SimulatorKeys) -> None:
    response = await merchant.send("GET", "/v3/certificates", headers={"Wechatpay-Serial": keys.public_key_id})
    assert response.headers["Wechatpay-Serial"] == keys.platform.serial_no


class TestWithThePublicKeyInUse:
    @pytest.fixture
    def config(self, config: SimulatorConfig) -> SimulatorConfig:
        return dataclasses.replace(config, sign_with="public_key")

    async def test_a_request_that_names_it_is_answered_under_it(self, merchant: Merchant, keys: SimulatorKeys) -> None:
        response = await merchant.send("GET", "/v3/certificates", headers={"Wechatpay-Serial": keys.public_key_id})
        key = load_pem_public_key(keys.public_key_pem.encode())
        assert isinstance(key, RSAPublicKey)
        check(response, key)
        assert response.headers["Wechatpay-Serial"] == keys.public_key_id

    @pytest.mark.parametrize("headers", [{}, {"Wechatpay-Serial": "PUB_KEY_ID_0"}])
    async def test_any_other_request_is_answered_under_the_certificate(
        self, merchant: Merchant, keys: SimulatorKeys, headers: dict[str, str]
    ) -> None:
        response = await merchant.send("GET", "/v3/certificates", headers=headers)
        check(response, public_key_of(keys.platform.certificate_pem))


# Certificates


async def test_the_certificates_are_those_that_sign(merchant: Merchant, keys: SimulatorKeys) -> None:
    response = await merchant.get("/v3/certificates")
    (listed,) = response.json()["data"]
    assert listed["serial_no"] == keys.platform.serial_no
    assert listed["encrypt_certificate"]["algorithm"] == "AEAD_AES_256_GCM"
    assert listed["encrypt_certificate"]["associated_data"] == "certificate"
    assert datetime.fromisoformat(listed["effective_time"]) < datetime.fromisoformat(listed["expire_time"])
    certificate_pem = decrypted(listed["encrypt_certificate"], keys.apiv3_key)
    check(response, public_key_of(certificate_pem))
    assert f"{x509.load_pem_x509_certificate(certificate_pem).serial_number:X}" == keys.platform.serial_no.lstrip("0")


async def test_after_a_rotation_the_new_certificate_signs_and_both_are_listed(
    merchant: Merchant, simulator: Simulator, keys: SimulatorKeys
) -> None:
    serial_no = simulator.rotate_certificate()
    response = await merchant.get("/v3/certificates")
    listed = {item["serial_no"]: item["encrypt_certificate"] for item in response.json()["data"]}
    assert list(listed) == [keys.platform.serial_no, serial_no]
    assert response.headers["Wechatpay-Serial"] == serial_no
    check(response, public_key_of(decrypted(listed[serial_no], keys.apiv3_key)))
    with pytest.raises(InvalidSignature):
        check(response, public_key_of(keys.platform.certificate_pem))


async def test_the_list_of_certificates_is_bounded(merchant: Merchant, simulator: Simulator) -> None:
    serials = [simulator.rotate_certificate() for _ in range(6)]
    listed = (await merchant.get("/v3/certificates")).json()["data"]
    assert [item["serial_no"] for item in listed] == serials[-5:]


async def test_errors_point_to_the_member(merchant: Merchant) -> None:
    response = await merchant.create("serviceorder", a_create("serviceorder", risk_fund__amount="1"))
    assert json.loads(response.content) == {
        "code": "PARAM_ERROR",
        "message": "参数错误",
        "detail": {"field": "/risk_fund/amount", "issue": "Expected `int`, got `str`", "location": "body"},
    }
