"""Reads what opens one of WeChat Pay's pages, as a merchant's client hands it on (reference payscore-api C.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from payscore_worker.simulator.payscore.pages import PageRefused

ENABLE: Final = "wxpayScoreEnable"
USE: Final = "wxpayScoreUse"
DETAIL: Final = "wxpayScoreDetail"

BUSINESS_TYPE: Final = "businessType"
EXTRA_DATA: Final = "extraData"
QUERY_STRING: Final = "queryString"
MAX_MEMBERS: Final = 20
TOKEN: Final = "apply_permissions_token"  # noqa: S105 - the name of one


@dataclass(frozen=True, slots=True)
class Jump:
    business_type: str
    extra_data: Mapping[str, str]

    @property
    def token(self) -> str | None:
        """None: it is a signed one."""
        return self.extra_data.get(TOKEN)

    @property
    def text(self) -> str:
        """A form that reads as the same jump."""
        return urlencode({BUSINESS_TYPE: self.business_type, **self.extra_data})


def read_jump(text: str) -> Jump:
    """What the mini program takes as JSON, or `businessType=…&` and what H5 and apps take as their query string.

    Raises PageRefused.
    """
    members = _from_json(text) if text.lstrip().startswith("{") else _from_query(text)
    business_type = members.pop(BUSINESS_TYPE, "")
    if business_type not in {ENABLE, USE, DETAIL}:
        raise PageRefused(f"4185: businessType must be {ENABLE}, {USE} or {DETAIL}")
    if TOKEN in members and (business_type != ENABLE or len(members) > 1):
        raise PageRefused(f"{TOKEN} stands alone, in {ENABLE}")
    return Jump(business_type, members)


def _from_json(text: str) -> dict[str, str]:
    """`extraData`, or where there is none, `queryString`."""
    try:
        said = msgspec.json.decode(text, type=dict[str, Any])
        extra_data = said.get(EXTRA_DATA)
        members = _from_query(said[QUERY_STRING]) if extra_data is None else extra_data
        return msgspec.convert({BUSINESS_TYPE: said.get(BUSINESS_TYPE, "")} | members, dict[str, str])
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError):
        raise PageRefused(f"expected {BUSINESS_TYPE}, and {EXTRA_DATA} or {QUERY_STRING}, all of it texts") from None


def _from_query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text.strip(), keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_MEMBERS)
    except ValueError:
        raise PageRefused("expected name=value&name=value") from None
    members = dict(pairs)
    if len(members) < len(pairs):
        raise PageRefused("a name stands there twice")
    return members
