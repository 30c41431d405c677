"""WeChat Pay: what PayScore can be asked, and what it tells us. Knows nothing of trips."""

from payscore_worker.wechatpay.breaker import Breaker
from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.families import CAPPED, FAMILIES, TICKETED, MerchantPayScores
from payscore_worker.wechatpay.guarded import GuardedPayScore, GuardedPayScores
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
from payscore_worker.wechatpay.port import (
    Answer,
    Call,
    CallKind,
    Completion,
    DiscountItem,
    FeeItem,
    NewOrder,
    Order,
    PayScore,
    PayScores,
    Phase,
    ServiceChange,
)
from payscore_worker.wechatpay.signatures import load_private_key, load_public_key
from payscore_worker.wechatpay.times import CLOCK_MARGIN, earliest_start, latest_end, read_date
from payscore_worker.wechatpay.transport import make_transport

__all__ = [
    "CAPPED",
    "CLOCK_MARGIN",
    "FAMILIES",
    "TICKETED",
    "Answer",
    "BadSignature",
    "Breaker",
    "Call",
    "CallKind",
    "Completion",
    "DiscountItem",
    "FeeItem",
    "GuardedPayScore",
    "GuardedPayScores",
    "MalformedNotification",
    "Merchant",
    "MerchantPayScores",
    "NewOrder",
    "Notification",
    "NotificationError",
    "Notifications",
    "Order",
    "PayScore",
    "PayScores",
    "Phase",
    "ServiceChange",
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
