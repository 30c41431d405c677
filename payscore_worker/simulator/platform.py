"""WeChat Pay's own keys: which one signs, and the certificates that merchants download."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from payscore_worker.simulator.config import SimulatorConfig
from payscore_worker.simulator.keys import CertifiedKey
from payscore_worker.simulator.members import Entity
from payscore_worker.simulator.signing import SCHEME, encrypt, message_text, sign

ALGORITHM: Final = "AEAD_AES_256_GCM"
MAX_CERTIFICATES: Final = 5
"""Certificates listed at once; a rotation beyond it drops the oldest."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    serial: str
    key: RSAPrivateKey


class Platform:
    def __init__(self, config: SimulatorConfig) -> None:
        self._certified = [config.keys.platform]
        self._certificate_key = _signing_key(config.keys.platform)
        self._public_key = SigningKey(config.keys.public_key_id, config.keys.public_key_pair)
        self._speaks_by_public_key = config.sign_with == "public_key"
        self._merchant_key = config.keys.merchant.key
        self._apiv3 = AESGCM(config.keys.apiv3_key.encode())

    def key_for_reply(self, requested_serial: str | None) -> SigningKey:
        """The public key if in use and named by the request, else the certificate (reference payscore-api E.6)."""
        if self._speaks_by_public_key and requested_serial == self._public_key.serial:
            return self._public_key
        return self._certificate_key

    def key_named(self, serial: str) -> SigningKey | None:
        """The key of that serial, whose public half seals what only WeChat Pay may read (payscore-api E.7)."""
        if self._speaks_by_public_key and serial == self._public_key.serial:
            return self._public_key
        certified = {one.serial_no: one for one in self._certified}
        return _signing_key(certified[serial]) if serial in certified else None

    def key_for_callback(self) -> SigningKey:
        return self._public_key if self._speaks_by_public_key else self._certificate_key

    def forgery_of(self, key: SigningKey) -> SigningKey:
        """The same serial, and signatures that do not verify under it."""
        return SigningKey(key.serial, self._merchant_key)

    def rotate(self) -> str:
        """A new certificate signs from now on; the former ones stay listed. Returns its serial."""
        newest = CertifiedKey.generate("Simulated WeChat Pay")
        self._certified = [*self._certified, newest][-MAX_CERTIFICATES:]
        self._certificate_key = _signing_key(newest)
        return newest.serial_no

    def certificates(self) -> Entity:
        """Reference payscore-api E.5."""
        return {"data": [self._listed(certified) for certified in self._certified]}

    def encrypted(self, plaintext: bytes, *, associated_data: str) -> Entity:
        """Reference payscore-api E.4."""
        nonce = secrets.token_hex(6)
        return {
            "algorithm": ALGORITHM,
            "ciphertext": encrypt(self._apiv3, plaintext, nonce=nonce, associated_data=associated_data),
            "associated_data": associated_data,
            "nonce": nonce,
        }

    def _listed(self, certified: CertifiedKey) -> Entity:
        certificate = certified.certificate
        return {
            "serial_no": certified.serial_no,
            "effective_time": certificate.not_valid_before_utc.isoformat(),
            "expire_time": certificate.not_valid_after_utc.isoformat(),
            "encrypt_certificate": self.encrypted(certified.certificate_pem.encode(), associated_data="certificate"),
        }


def signature_headers(key: SigningKey, body: bytes, *, at: datetime) -> dict[str, str]:
    """Of a response or of a callback (reference payscore-api D.1, E.2)."""
    timestamp, nonce = str(int(at.timestamp())), secrets.token_hex(16)
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": sign(key.key, message_text(timestamp=timestamp, nonce=nonce, body=body)),
        "Wechatpay-Signature-Type": SCHEME,
        "Wechatpay-Serial": key.serial,
    }


def request_id(sub_code: int = 0) -> str:
    """The digits after the last '-' are the sub-code (reference payscore-api F.2)."""
    return f"08{secrets.token_hex(16).upper()}-{sub_code}"


def _signing_key(certified: CertifiedKey) -> SigningKey:
    return SigningKey(certified.serial_no, certified.key)
