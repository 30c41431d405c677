"""What every product shares once money has moved: a transaction, and what goes back of it (API v3)."""

from payscore_worker.wechatpay.transactions.guarded import GuardedRefunds
from payscore_worker.wechatpay.transactions.port import NewRefund, Refunds, RefundStatus, RefundTold
from payscore_worker.wechatpay.transactions.refunds import AccountRefunds, MerchantRefunds, read_refund

__all__ = [
    "AccountRefunds",
    "GuardedRefunds",
    "MerchantRefunds",
    "NewRefund",
    "RefundStatus",
    "RefundTold",
    "Refunds",
    "read_refund",
]
