"""finish_ticket: the right to complete one order (reference payscore-api A.4)."""

import base64
import hashlib
import hmac
import secrets
from typing import Final

NONCE_BYTES: Final = 16


class Tickets:
    """A new value each time; earlier ones stay valid; each belongs to one order. Nothing is kept: it proves itself."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def issue(self, order_id: str) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return base64.urlsafe_b64encode(nonce + self._proof(order_id, nonce)).decode()

    def is_valid(self, order_id: str, ticket: str) -> bool:
        try:
            raw = base64.b64decode(ticket.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            return False
        nonce, proof = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        return hmac.compare_digest(proof, self._proof(order_id, nonce))

    def _proof(self, order_id: str, nonce: bytes) -> bytes:
        return hmac.digest(self._secret, order_id.encode() + nonce, hashlib.sha256)
