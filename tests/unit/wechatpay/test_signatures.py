from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import load_pem_x509_certificate

from payscore_worker.wechatpay import load_private_key, load_public_key
from payscore_worker.wechatpay.signatures import Signer, jump_sign, make_nonce, request_text
from tests.unit.wechatpay import vectors
from tests.unit.wechatpay.wechat import merchant_key

APIV2_KEY = "192006250b4c09247ec02edce69f6a2d"

signer = Signer("1230000109", vectors.CERTIFICATE_SERIAL, merchant_key())


def test_v1_the_signature_of_a_text_is_the_published_one() -> None:
    assert signer.sign(b"source") == vectors.SOURCE_SIGNATURE


def test_v1_the_certificate_holds_the_key() -> None:
    certificate = load_pem_x509_certificate(vectors.CERTIFICATE.encode())

    assert certificate.public_key() == merchant_key().public_key()
    assert f"{certificate.serial_number:X}" == vectors.CERTIFICATE_SERIAL


@pytest.mark.parametrize(
    ("method", "target", "body", "signature"),
    [
        ("GET", vectors.CERTIFICATES_TARGET, b"", vectors.CERTIFICATES_SIGNATURE),
        ("GET", vectors.QUERY_TARGET, b"", vectors.QUERY_SIGNATURE),
        ("POST", vectors.CANCEL_TARGET, vectors.CANCEL_BODY, vectors.CANCEL_SIGNATURE),
    ],
    ids=["certificates", "query", "cancel with a Chinese reason"],
)
def test_v2_a_request_is_signed_over_its_five_lines(method: str, target: str, body: bytes, signature: str) -> None:
    signed = request_text(
        method=method,
        target=target,
        timestamp=vectors.REQUEST_TIMESTAMP,
        nonce=vectors.REQUEST_NONCE,
        body=body,
    )

    assert signer.sign(signed) == signature


def test_the_authorization_names_merchant_certificate_and_time() -> None:
    scheme, _, parts = signer.authorize(
        method="GET", target="/v3/certificates", body=b"", timestamp=vectors.REQUEST_TIMESTAMP
    ).partition(" ")
    named = dict(part.split("=", 1) for part in parts.split(","))

    assert scheme == "WECHATPAY2-SHA256-RSA2048"
    assert named["mchid"] == '"1230000109"'
    assert named["serial_no"] == f'"{vectors.CERTIFICATE_SERIAL}"'
    assert named["timestamp"] == '"1554208460"'
    assert len(b64decode(named["signature"].strip('"'))) == 256


def test_a_nonce_is_32_characters_and_new_each_time() -> None:
    nonces = {make_nonce() for _ in range(100)}

    assert len(nonces) == 100
    assert all(len(nonce) == 32 and nonce.isalnum() for nonce in nonces)


@pytest.mark.parametrize(
    ("parameters", "sign"),
    [
        (
            {
                "appid": "wxd930ea5d5a258f4f",
                "body": "test",
                "device_info": "1000",
                "mch_id": "10000100",
                "nonce_str": "ibuaiVcKdpRxkhJA",
            },
            "6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6",
        ),
        (
            {
                "timestamp": "1530097563",
                "mch_id": "1230000109",
                "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
                "package": "XXXXXXXX",
                "sign_type": "HMAC-SHA256",
            },
            "1B322799DA4A00E25DE0448667F76807D222A2A36312907CF579D4CF3A3836E6",
        ),
        (
            {
                "service_id": "2002000000000558128851361561536",
                "out_order_no": "1234323JKHDFE1243252",
                "timestamp": "1530097563",
                "mch_id": "1230000109",
                "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
                "sign_type": "HMAC-SHA256",
            },
            "BF8669DF97BBBECA4F55084DA8183383E42C6B4F7B5764C84CE8453224023A43",
        ),
    ],
    ids=["published", "wxpayScoreUse", "wxpayScoreDetail"],
)
def test_v5_a_jump_is_signed_with_the_apiv2_key(parameters: dict[str, str], sign: str) -> None:
    assert jump_sign(parameters, APIV2_KEY) == sign


def test_a_jump_signature_leaves_out_empty_parameters_and_itself() -> None:
    assert jump_sign({"a": "1", "b": "", "sign": "x"}, APIV2_KEY) == jump_sign({"a": "1"}, APIV2_KEY)


def test_a_certificate_is_not_taken_for_a_public_key() -> None:
    with pytest.raises(ValueError, match="PEM") as refused:
        load_public_key(vectors.CERTIFICATE)

    assert "MIID" not in str(refused.value)


def test_a_public_key_is_loaded_from_text() -> None:
    pem = merchant_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    assert load_public_key(pem.decode()) == merchant_key().public_key()


def test_only_an_rsa_key_without_a_password_is_taken() -> None:
    elliptic = generate_private_key(SECP256R1())
    encrypted = merchant_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))

    with pytest.raises(ValueError, match=r"^the private key is not an RSA key$"):
        load_private_key(elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match=r"^the public key is not an RSA key$"):
        load_public_key(elliptic.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ValueError, match=r"^the private key is encrypted, or of an unknown kind$"):
        load_private_key(encrypted)
    with pytest.raises(ValueError, match="PEM"):
        load_private_key("not a key")


def test_a_public_key_of_a_kind_that_nobody_knows_is_said_to_be_so() -> None:
    algorithm = bytes.fromhex("300906072a864886f70d63")  # a sequence around 1.2.840.113549.99: no kind of key
    with pytest.raises(ValueError, match=r"^the public key is of an unknown kind$"):
        load_public_key(public_key_pem(algorithm))


def public_key_pem(algorithm: bytes) -> str:
    """Put an algorithm and an empty key into the form of a public key (RFC 5280, SubjectPublicKeyInfo)."""
    body = algorithm + bytes.fromhex("030100")
    encoded = b64encode(bytes([0x30, len(body)]) + body).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n"
