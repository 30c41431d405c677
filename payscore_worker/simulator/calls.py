"""A merchant's call as it arrives, and the reply to it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CallKind(StrEnum):
    CREATE = "create"
    DIRECT_COMPLETE = "direct_complete"
    QUERY = "query"
    COMPLETE = "complete"
    CANCEL = "cancel"
    MODIFY = "modify"
    PAY = "pay"
    SYNC = "sync"
    SEND_PREPAID_MESSAGE = "send_prepaid_message"
    SEND_PENDING_MESSAGE = "send_pending_message"
    TRANSACTION_QUERY = "transaction_query"
    REFUND = "refund"
    REFUND_QUERY = "refund_query"
    USER_SERVICE_STATE = "user_service_state"
    PRE_AUTHORISE = "pre_authorise"
    QUERY_PERMISSION = "query_permission"
    TERMINATE_PERMISSION = "terminate_permission"
    CERTIFICATES = "certificates"
    SECURITY_ECHO = "security_echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    kind: CallKind
    family: str
    """Empty for the calls that belong to no family."""
    method: str
    target: str
    """Path and query exactly as sent: what the signature covers."""
    headers: Mapping[str, str]
    """By lower-case name."""
    query: Mapping[str, str]
    path_parameters: Mapping[str, str]
    """What the path names, by the names of the documents."""
    body: bytes

    @property
    def out_order_no(self) -> str:
        """As the path names it; empty where it names none."""
        return self.path_parameters.get("out_order_no", "")

    @property
    def host(self) -> str:
        return self.headers.get("host", "")

    @property
    def body_sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes
    delay_seconds: float = 0.0
    dropped: bool = False
    """The connection is closed instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    at: datetime
    kind: CallKind
    family: str
    method: str
    target: str
    host: str
    """The Host header: under which name the merchant's process reaches the simulator."""
    out_order_no: str
    openid: str
    body_sha256: str
    status: int
    code: str
    message: str
    request_id: str
    """Empty where somebody on the way answered."""
    fault: str | None
