"""Our signatures and ciphertexts are those that third parties published (reference payscore-api E.9)."""

import base64
import json

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from payscore_worker.simulator.signing import encrypt, message_text, request_text, sign, verifies

from . import vectors
from .merchant import decrypted, signature_of


@pytest.fixture(scope="module")
def private_key() -> RSAPrivateKey:
    assert isinstance(vectors.V1_PRIVATE_KEY, RSAPrivateKey)
    return vectors.V1_PRIVATE_KEY


@pytest.fixture(scope="module")
def public_key() -> RSAPublicKey:
    key = vectors.V1_CERTIFICATE.public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def test_v1_a_signature_is_the_published_one(private_key: RSAPrivateKey, public_key: RSAPublicKey) -> None:
    assert sign(private_key, vectors.V1_TEXT) == vectors.V1_SIGNATURE
    assert verifies(public_key, vectors.V1_TEXT, vectors.V1_SIGNATURE)


V2 = pytest.mark.parametrize("request_", [vectors.V2_CERTIFICATES, vectors.V2_QUERY, vectors.V2_CANCEL])


@V2
def test_v2_the_signature_of_a_request_is_the_published_one(
    private_key: RSAPrivateKey, public_key: RSAPublicKey, request_: vectors.SignedRequest
) -> None:
    text = request_text(
        method=request_.method,
        target=request_.target,
        timestamp=vectors.V2_TIMESTAMP,
        nonce=vectors.V2_NONCE,
        body=request_.body.encode(),
    )
    assert verifies(public_key, text, request_.signature)
    assert sign(private_key, text) == request_.signature


@V2
def test_v2_the_signer_of_these_tests_agrees(private_key: RSAPrivateKey, request_: vectors.SignedRequest) -> None:
    lines = (request_.method, request_.target, vectors.V2_TIMESTAMP, vectors.V2_NONCE, request_.body)
    assert signature_of(private_key, *(line.encode() for line in lines)) == request_.signature


V6_AND_V7 = pytest.mark.parametrize("notification", [vectors.V6, vectors.V7])


@V6_AND_V7
def test_v6_v7_the_signature_of_a_notification_is_the_published_one(
    private_key: RSAPrivateKey, public_key: RSAPublicKey, notification: vectors.SignedNotification
) -> None:
    text = message_text(timestamp=vectors.V6_TIMESTAMP, nonce=vectors.V6_NONCE, body=notification.body.encode())
    assert verifies(public_key, text, notification.signature)
    assert sign(private_key, text) == notification.signature


@V6_AND_V7
def test_v6_v7_the_ciphertext_of_a_notification_is_the_published_one(
    notification: vectors.SignedNotification,
) -> None:
    resource = json.loads(notification.body)["resource"]
    ciphertext = encrypt(
        AESGCM(vectors.V6_APIV3_KEY.encode()),
        notification.plaintext.encode(),
        nonce=notification.resource_nonce,
        associated_data="payscore",
    )
    assert ciphertext == resource["ciphertext"]
    assert decrypted(resource, vectors.V6_APIV3_KEY).decode() == notification.plaintext


@pytest.mark.parametrize("sealed", vectors.V4)
def test_v4_a_ciphertext_is_the_published_one(sealed: vectors.Sealed) -> None:
    key = AESGCM(sealed.key.encode())
    ciphertext = encrypt(key, sealed.plaintext.encode(), nonce=sealed.nonce, associated_data=sealed.associated_data)
    assert ciphertext == sealed.ciphertext


@pytest.mark.parametrize(
    "signature",
    [
        "WECHATPAY/SIGNTEST/" + vectors.V6.signature,
        vectors.V7.signature,
        vectors.V6.signature[:-4],
        vectors.V6.signature + "\n",
        base64.urlsafe_b64encode(base64.b64decode(vectors.V6.signature)).decode(),
        "",
    ],
)
def test_v8_another_signature_does_not_verify(public_key: RSAPublicKey, signature: str) -> None:
    text = message_text(timestamp=vectors.V6_TIMESTAMP, nonce=vectors.V6_NONCE, body=vectors.V6.body.encode())
    assert not verifies(public_key, text, signature)


@pytest.mark.parametrize(
    ("timestamp", "nonce", "body"),
    [
        ("1624523847", vectors.V6_NONCE, vectors.V6.body),
        (vectors.V6_TIMESTAMP, vectors.V6_NONCE[:-1], vectors.V6.body),
        (vectors.V6_TIMESTAMP, vectors.V6_NONCE, vectors.V6.body.replace("paid", "Paid", 1)),
        (vectors.V6_TIMESTAMP, vectors.V6_NONCE, json.dumps(json.loads(vectors.V6.body))),
    ],
)
def test_v8_a_signature_does_not_verify_for_another_message(
    public_key: RSAPublicKey, timestamp: str, nonce: str, body: str
) -> None:
    text = message_text(timestamp=timestamp, nonce=nonce, body=body.encode())
    assert not verifies(public_key, text, vectors.V6.signature)


def test_v8_another_associated_data_does_not_decrypt() -> None:
    resource = json.loads(vectors.V6.body)["resource"] | {"associated_data": "transaction"}
    with pytest.raises(InvalidTag):
        decrypted(resource, vectors.V6_APIV3_KEY)
