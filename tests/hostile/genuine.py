"""What WeChat Pay has really signed, and with what: nothing else may pass the webhook."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.unit.wechatpay import vectors
from tests.unit.wechatpay.wechat import PUBLIC_KEY_ID, a_key, merchant_key, signature_headers

NOW: Final = datetime.fromtimestamp(vectors.NOTIFICATION_TIMESTAMP, UTC)
"""The clock of the webhook: it stands still."""

APIV3_KEYS: Final = (vectors.APIV3_KEY, vectors.OPEN_SERVICE_KEY)
SIGNED_HEADERS: Final = (b"wechatpay-timestamp", b"wechatpay-nonce", b"wechatpay-serial", b"wechatpay-signature")
PER_KIND: Final = 12

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """A body, and the four headers that vouch for it."""

    headers: Headers
    body: bytes


def signed(body: bytes, *, at: datetime = NOW, with_public_key: bool = False) -> Signed:
    """Sign as WeChat Pay does, with its platform certificate or its public key."""
    if with_public_key:
        made = signature_headers(body, at=at, serial=PUBLIC_KEY_ID, key=a_key("wechat"))
    else:
        made = signature_headers(body, at=at, serial=vectors.CERTIFICATE_SERIAL, key=merchant_key())
    return Signed(as_headers(made), body)


def as_headers(headers: Mapping[str, str]) -> Headers:
    """Write the four headers as they arrive: lower case, in our order."""
    named = {name.lower(): value for name, value in headers.items()}
    return tuple((name, named[name.decode()].encode()) for name in SIGNED_HEADERS)


def a_resource(number: int) -> bytes:
    """Make what a notification of a collection says."""
    paid = json.loads(vectors.USER_PAID_RESOURCE) | {"out_order_no": f"order-{number}", "total_amount": 100 + number}
    return json.dumps(paid, separators=(",", ":")).encode()


def an_envelope(resource: bytes, number: int, *, apiv3_key: bytes = vectors.APIV3_KEY) -> dict[str, Any]:
    """Seal a resource as WeChat Pay does."""
    nonce = f"{number:012d}"[-12:]
    sealed = AESGCM(apiv3_key).encrypt(nonce.encode(), resource, b"payscore")
    return {
        "id": f"EV-{number}",
        "create_time": "2021-06-24T16:37:26+08:00",
        "resource_type": "encrypt-resource",
        "event_type": "PAYSCORE.USER_PAID",
        "summary": "支付成功",
        "resource": {
            "original_type": "payscore",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": b64encode(sealed).decode(),
            "associated_data": "payscore",
            "nonce": nonce,
        },
    }


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _published_vectors() -> list[Signed]:
    found = (
        (vectors.OPEN_SERVICE_SIGNATURE, vectors.OPEN_SERVICE_BODY),
        (vectors.USER_PAID_SIGNATURE, vectors.USER_PAID_BODY),
        (vectors.LEGACY_PAID_SIGNATURE, vectors.LEGACY_PAID_BODY),
    )
    about = {
        "Wechatpay-Timestamp": str(vectors.NOTIFICATION_TIMESTAMP),
        "Wechatpay-Nonce": vectors.NOTIFICATION_NONCE,
        "Wechatpay-Serial": vectors.CERTIFICATE_SERIAL,
    }
    return [Signed(as_headers(about | {"Wechatpay-Signature": signature}), body) for signature, body in found]


@cache
def notifications() -> tuple[Signed, ...]:
    """Make the notifications that WeChat Pay has sent just now; each is to be published."""
    made = [
        signed(
            compact(an_envelope(a_resource(number), number)),
            at=NOW + timedelta(seconds=(-290, 0, 290)[number % 3]),
            with_public_key=number % 2 == 1,
        )
        for number in range(PER_KIND)
    ]
    return (*_published_vectors(), *made)


@cache
def out_of_time() -> tuple[Signed, ...]:
    """Make notifications that WeChat Pay signed too long ago, or that are ahead of our clock."""
    offsets = (-86_400 * 365, -86_400, -3_600, -301, -300, 300, 301, 3_600, 86_400, 86_400 * 3_650)
    return tuple(
        signed(
            compact(an_envelope(a_resource(number), number)),
            at=NOW + timedelta(seconds=offset),
            with_public_key=number % 2 == 1,
        )
        for number, offset in enumerate(offsets)
    )


@cache
def answers() -> tuple[Signed, ...]:
    """Make answers of WeChat Pay to calls of ours: signed by the same keys over the same three lines."""
    bodies = (
        b"",
        b"{}",
        vectors.USER_PAID_RESOURCE,
        vectors.LEGACY_PAID_RESOURCE,
        compact({"order_id": "1", "out_order_no": "t1", "state": "DONE", "finish_ticket": "x"}),
        compact({"data": [{"serial_no": "5DEA10EF", "encrypt_certificate": an_envelope(b"-", 1)["resource"]}]}),
    )
    return tuple(signed(body) for body in bodies)


@cache
def may_pass() -> frozenset[tuple[Headers, bytes]]:
    """List what was signed for a notification within the time that counts."""
    return frozenset((one.headers, one.body) for one in notifications())
