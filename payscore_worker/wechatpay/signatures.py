"""RSA signatures, ours on requests and WeChat Pay's on answers and notifications, and the jump's HMAC."""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

SCHEME: Final = "WECHATPAY2-SHA256-RSA2048"

SERIAL_HEADER: Final = "Wechatpay-Serial"
"""Names a key: the one that a request wants the answer signed with, the one that an answer was signed with."""

TIMESTAMP_HEADER: Final = "Wechatpay-Timestamp"
"""The second at which an answer was signed."""

MAX_SKEW_SECONDS: Final = 300
"""A signature this old or this far ahead proves nothing (reference payscore-api E.2)."""

_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()
_TIMESTAMP_DIGITS: Final = 12
_PROVING: Final = frozenset({"wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature", "wechatpay-serial"})


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests as the merchant (reference payscore-api E.1)."""

    mchid: str
    serial_no: str
    private_key: RSAPrivateKey = field(repr=False)

    def authorize(self, *, method: str, target: str, body: bytes, timestamp: int) -> str:
        """Make the Authorization header; `target` is path and query exactly as sent."""
        nonce = make_nonce()
        signature = self.sign(request_text(method=method, target=target, timestamp=timestamp, nonce=nonce, body=body))
        return (
            f'{SCHEME} mchid="{self.mchid}",nonce_str="{nonce}",signature="{signature}",'
            f'timestamp="{timestamp}",serial_no="{self.serial_no}"'
        )

    def sign(self, signed: bytes) -> str:
        return b64encode(self.private_key.sign(signed, _PADDING, _HASH)).decode()


@dataclass(frozen=True, slots=True)
class Proof:
    """The headers with which WeChat Pay vouches for a body (reference payscore-api E.2, E.3)."""

    timestamp: str
    nonce: str
    signature: str
    serial: str

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> "Proof | None":
        """Find the four headers, whatever their case; None when one is missing, or comes twice."""
        named = [(name.lower(), value) for name, value in headers.items()]
        found = {name: value for name, value in named if name in _PROVING}
        if len(found) < len(_PROVING) or len(found) < sum(name in found for name, _ in named):
            return None
        return cls(
            timestamp=found["wechatpay-timestamp"],
            nonce=found["wechatpay-nonce"],
            signature=found["wechatpay-signature"],
            serial=found["wechatpay-serial"],
        )

    def is_current(self, now: datetime) -> bool:
        stamp = self.timestamp
        if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= _TIMESTAMP_DIGITS):
            return False
        return abs(now.timestamp() - int(stamp)) < MAX_SKEW_SECONDS

    def holds(self, body: bytes, key: RSAPublicKey) -> bool:
        """Verify the raw bytes. Whatever cannot be decoded, a probe for one, is a bad signature (D.7)."""
        try:
            signed = b"%b\n%b\n%b\n" % (self.timestamp.encode(), self.nonce.encode(), body)
            signature = b64decode(self.signature, validate=True)
            key.verify(signature, signed, _PADDING, _HASH)
        except (InvalidSignature, ValueError):
            return False
        return b64encode(signature).decode() == self.signature  # the last character has bits that mean nothing


def request_text(*, method: str, target: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """Lay out the five lines that a request's signature covers; the last one ends in a line feed too."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def jump_sign(parameters: Mapping[str, str], apiv2_key: str) -> str:
    """Sign what the passenger's client hands to WeChat, with the APIv2 key (reference payscore-api C.3)."""
    pairs = [f"{name}={value}" for name, value in sorted(parameters.items()) if value and name != "sign"]
    signed = "&".join([*pairs, f"key={apiv2_key}"])
    return hmac.new(apiv2_key.encode(), signed.encode(), hashlib.sha256).hexdigest().upper()


def make_nonce() -> str:
    """Make 32 random characters, letters and digits."""
    return os.urandom(16).hex()


def load_private_key(pem: str | bytes) -> RSAPrivateKey:
    """Load the merchant's key. It takes 50 ms: once, at start.

    Raises:
        ValueError: it is not a private RSA key in PEM, without a password.

    """
    try:
        key = load_pem_private_key(_as_bytes(pem), password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the private key is encrypted, or of an unknown kind") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private key is not an RSA key")  # noqa: TRY004 - a wrong value, as any other wrong PEM
    return key


def load_public_key(pem: str | bytes) -> RSAPublicKey:
    """Load WeChat Pay's public key.

    Raises:
        ValueError: it is not a public RSA key in PEM.

    """
    try:
        key = load_pem_public_key(_as_bytes(pem))
    except UnsupportedAlgorithm as error:
        raise ValueError("the public key is of an unknown kind") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("the public key is not an RSA key")  # noqa: TRY004 - a wrong value, as any other wrong PEM
    return key


def _as_bytes(pem: str | bytes) -> bytes:
    return pem.encode() if isinstance(pem, str) else pem
