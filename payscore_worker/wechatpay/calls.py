"""A call to WeChat Pay as it is sent, and the answer to it; the same for every product."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class CallKind(StrEnum):
    """The calls we make, by the names that journal, logs and metrics use."""

    USER_SERVICE_STATE = "user_service_state"
    QUERY_PERMISSION = "query_permission"
    PRE_AUTHORISE = "pre_authorise"
    TERMINATE_PERMISSION = "terminate_permission"
    CREATE = "create"
    QUERY = "query"
    COMPLETE = "complete"
    CANCEL = "cancel"
    CANCEL_FIRST = "cancel_first"
    MODIFY = "modify"
    SYNC = "sync"
    PAY = "pay"
    REFUND = "refund"
    REFUND_QUERY = "refund_query"
    CERTIFICATES = "certificates"
    SECURITY_ECHO = "security_echo"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, to the byte: keep it before it is sent, send it again as it was (reference payscore-api B.10)."""

    kind: CallKind
    method: str
    path: str = field(repr=False)
    """Path and query as sent and signed. Either may name the passenger: keep it out of logs."""
    body: bytes = field(default=b"", repr=False)

    @property
    def route(self) -> str:
        """The path as logs may show it: no query, and no openid."""
        return _OPENID_IN_PATH.sub(r"\1/{openid}", self.path.partition("?")[0])


_OPENID_IN_PATH: Final = re.compile(r"(/permissions/openid|/payscore/users)/[^/]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What WeChat Pay said, signed and verified."""

    status: int
    request_id: str
    attempts: int
    """How many times the bytes were sent until this answer came."""
    data: dict[str, Any] = field(repr=False)
    date: str = ""
    """The Date header: WeChat Pay's clock, unsigned."""
