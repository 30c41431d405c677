"""The merchant's signature on a request (reference payscore-api E.1)."""

import re
from datetime import datetime
from typing import Final

from payscore_worker.simulator.calls import Call
from payscore_worker.simulator.keys import SimulatorKeys
from payscore_worker.simulator.refusals import bad_parameter, sign_error
from payscore_worker.simulator.signing import SCHEME, request_text, verifies

MAX_SKEW_SECONDS: Final = 300
MAX_NONCE: Final = 32

_PART: Final = re.compile(r'(\w+)="([^"]*)"')
_PARTS: Final = frozenset({"mchid", "nonce_str", "signature", "timestamp", "serial_no"})


class Authorizer:
    def __init__(self, keys: SimulatorKeys) -> None:
        self._mchid = keys.mchid
        self._serial_no = keys.merchant.serial_no
        self._public_key = keys.merchant.key.public_key()

    def check(self, call: Call, now: datetime) -> None:
        """Raises Refused with 401 SIGN_ERROR."""
        parts = _parts_of(call.headers.get("authorization", ""))
        if parts["mchid"] != self._mchid or parts["serial_no"] != self._serial_no:
            raise sign_error()
        if not 1 <= len(parts["nonce_str"]) <= MAX_NONCE:
            raise sign_error()
        _check_timestamp(parts["timestamp"], now)
        text = request_text(
            method=call.method,
            target=call.target,
            timestamp=parts["timestamp"],
            nonce=parts["nonce_str"],
            body=call.body,
        )
        if not verifies(self._public_key, text, parts["signature"]):
            raise sign_error()


def mchid_of(authorization: str) -> str:
    """Whose call it says it is; empty where it does not say so."""
    parts: dict[str, str] = dict(_PART.findall(authorization))
    return parts.get("mchid", "")


def check_headers(call: Call) -> None:
    """What every request names besides its signature (reference payscore-api E.1)."""
    if not call.headers.get("user-agent", "").strip():
        raise bad_parameter("User-Agent", "required header is missing", location="header")
    if not _accepts_json(call.headers.get("accept", "")):
        raise bad_parameter("Accept", "must be application/json", location="header")
    if call.method == "POST" and not call.headers.get("content-type", "").startswith("application/json"):
        raise bad_parameter("Content-Type", "must be application/json", location="header")


def _parts_of(header: str) -> dict[str, str]:
    scheme, _, rest = header.partition(" ")
    parts = dict(_PART.findall(rest))
    if scheme != SCHEME or not parts.keys() >= _PARTS:
        raise sign_error()
    return parts


def _check_timestamp(text: str, now: datetime) -> None:
    if not (text.isascii() and text.isdigit()):
        raise sign_error()
    if abs(int(text) - now.timestamp()) > MAX_SKEW_SECONDS:
        raise sign_error("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")


def _accepts_json(accept: str) -> bool:
    kinds = {kind.partition(";")[0].strip() for kind in accept.split(",")}
    return not kinds.isdisjoint({"application/json", "application/*", "*/*"})
