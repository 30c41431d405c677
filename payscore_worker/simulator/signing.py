"""Signatures and encryption as WeChat Pay defines them (reference payscore-api E.1 to E.4)."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

SCHEME: Final = "WECHATPAY2-SHA256-RSA2048"

_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()


def request_text(*, method: str, target: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """What a request's signature covers; `target` is path and query exactly as sent."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def message_text(*, timestamp: str, nonce: str, body: bytes) -> bytes:
    """What the signature of a response or of a notification covers."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def sign(key: RSAPrivateKey, text: bytes) -> str:
    return base64.b64encode(key.sign(text, _PADDING, _HASH)).decode()


def verifies(key: RSAPublicKey, text: bytes, signature: str) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), text, _PADDING, _HASH)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def encrypt(key: AESGCM, plaintext: bytes, *, nonce: str, associated_data: str) -> str:
    """AEAD_AES_256_GCM: base64 of ciphertext and tag."""
    return base64.b64encode(key.encrypt(nonce.encode(), plaintext, associated_data.encode())).decode()


def jump_signature(members: Mapping[str, str], *, apiv2_key: str, called: str = "sign") -> str:
    """Of a client jump, of all members that are not empty but itself (reference payscore-api C.3)."""
    said = sorted((name, value) for name, value in members.items() if value and name != called)
    text = "&".join(f"{name}={value}" for name, value in (*said, ("key", apiv2_key)))
    return hmac.digest(apiv2_key.encode(), text.encode(), "sha256").hex().upper()
