"""Decides whether bytes come from WeChat Pay: one judgement for answers and notifications."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from payscore_worker.wechatpay.keys import SERIAL_CHARS, VerificationKeys
from payscore_worker.wechatpay.reading import printable
from payscore_worker.wechatpay.signatures import Proof

LOGGED_CHARS: Final = 32
"""How much of a signature, and of whatever a stranger sent in its place, a log line needs (payscore-api H-11)."""

_log = structlog.get_logger(__name__)


class Doubt(StrEnum):
    """Why nothing proves that WeChat Pay sent these bytes."""

    BAD_SIGNATURE = "bad_signature"
    """Wrong, undecodable or absent. WeChat Pay sends such ones on purpose, to see that we look (payscore-api D.7)."""
    STALE_TIMESTAMP = "stale_timestamp"
    UNKNOWN_SERIAL = "unknown_serial"


class Verifier:
    """Verifies raw bytes by the key that their serial names."""

    def __init__(self, keys: VerificationKeys, clock: Callable[[], datetime]) -> None:
        self._keys = keys
        self._clock = clock

    async def doubt(self, headers: Mapping[str, str], body: bytes) -> Doubt | None:
        """Say why these bytes cannot be believed; None when they can."""
        proof = Proof.read(headers)
        doubt = Doubt.BAD_SIGNATURE if proof is None else await self._doubt(proof, body)
        if doubt is not None:
            _log_doubt(doubt, proof, body)
        return doubt

    async def _doubt(self, proof: Proof, body: bytes) -> Doubt | None:
        if not proof.is_current(self._clock()):
            return Doubt.STALE_TIMESTAMP
        key = await self._keys.find(proof.serial)
        if key is None:
            return Doubt.UNKNOWN_SERIAL
        return None if proof.holds(body, key) else Doubt.BAD_SIGNATURE


def _log_doubt(doubt: Doubt, proof: Proof | None, body: bytes) -> None:
    """Show what makes the cause visible, and no more (reference payscore-api H-11)."""
    shown = (
        {}
        if proof is None
        else {
            "serial": printable(proof.serial, SERIAL_CHARS),
            "timestamp": printable(proof.timestamp, LOGGED_CHARS),
            "nonce": printable(proof.nonce, LOGGED_CHARS),
            "signature": printable(proof.signature, LOGGED_CHARS),
        }
    )
    _log.warning("wechatpay_unverified", doubt=doubt, body_sha256=hashlib.sha256(body).hexdigest(), **shown)
