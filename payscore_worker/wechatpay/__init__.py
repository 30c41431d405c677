"""The edge to WeChat Pay: what is sent there, signed, and what comes from there, verified. Knows nothing of trips.

What belongs to one product stands in that product's room.
"""

from payscore_worker.wechatpay.breaker import Breaker, Breakers
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.keys import UnusableCertificates, VerificationKeys
from payscore_worker.wechatpay.merchant import Merchant
from payscore_worker.wechatpay.notifications import (
    BadSignature,
    MalformedNotification,
    Notification,
    NotificationError,
    Notifications,
    StaleTimestamp,
    UndecryptableNotification,
    UnknownSerial,
)
from payscore_worker.wechatpay.signatures import load_private_key, load_public_key
from payscore_worker.wechatpay.times import CLOCK_MARGIN, earliest_start, latest_end, read_date
from payscore_worker.wechatpay.transport import make_transport

__all__ = [
    "CLOCK_MARGIN",
    "Answer",
    "BadSignature",
    "Breaker",
    "Breakers",
    "Call",
    "CallKind",
    "MalformedNotification",
    "Merchant",
    "Notification",
    "NotificationError",
    "Notifications",
    "StaleTimestamp",
    "UndecryptableNotification",
    "UnknownSerial",
    "UnusableCertificates",
    "VerificationKeys",
    "WechatPayClient",
    "earliest_start",
    "latest_end",
    "load_private_key",
    "load_public_key",
    "make_transport",
    "read_date",
]
