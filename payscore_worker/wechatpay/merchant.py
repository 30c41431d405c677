"""Who we are to WeChat Pay."""

import re
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

APIV3_KEY_BYTES: Final = 32

_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """The merchant's ids and secrets (reference payscore-api E.8). A wrong one is a ValueError that names it."""

    mchid: str
    appid: str
    service_id: str
    serial_no: str
    """Of the merchant's API certificate; not of a platform certificate."""
    private_key: RSAPrivateKey = field(repr=False)
    apiv3_keys: tuple[bytes, ...] = field(repr=False)
    """The current one, then the previous one if it may still be in use."""
    notify_url: str
    apiv2_key: str | None = field(default=None, repr=False)
    need_user_confirm: bool = False
    """The service is licensed for orders that the passenger confirms, and for no others (payscore-api B.0)."""

    def __post_init__(self) -> None:
        for name in ("mchid", "appid", "service_id", "serial_no"):
            if not _ID.fullmatch(getattr(self, name)):
                raise ValueError(f"{name}: letters, digits, _ and - are expected")
        if not self.apiv3_keys or any(len(key) != APIV3_KEY_BYTES for key in self.apiv3_keys):
            raise ValueError(f"apiv3_keys: each has exactly {APIV3_KEY_BYTES} bytes")
