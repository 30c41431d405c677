"""What WeChat Pay hands out for one of its pages to be opened with (reference payscore-api C.1, C.3)."""

import base64
import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable
from typing import Final

LIFE_SECONDS: Final = 3600
"""An apply_permissions_token and a package are valid for an hour (reference payscore-api C.1, C.3)."""

_HEAD: Final = struct.Struct(">d12s")
"""When it was made, and what makes each one another."""
_PROOF_BYTES: Final = 32


class Passes:
    """Each names what it is for, and is valid for an hour. Nothing is kept: it proves itself."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._secret = secrets.token_bytes(32)

    def issue(self, subject: str) -> str:
        said = _HEAD.pack(self._now(), secrets.token_bytes(12)) + subject.encode()
        return base64.urlsafe_b64encode(self._proof(said) + said).decode()

    def subject_of(self, text: str) -> str | None:
        """None where it is not one of ours, or its hour is over."""
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            return None
        proof, said = raw[:_PROOF_BYTES], raw[_PROOF_BYTES:]
        if not hmac.compare_digest(proof, self._proof(said)):
            return None
        made_at, _ = _HEAD.unpack_from(said)
        return said[_HEAD.size :].decode() if self._now() < made_at + LIFE_SECONDS else None

    def _proof(self, said: bytes) -> bytes:
        return hmac.digest(self._secret, said, hashlib.sha256)
