"""PayScore: what it can be asked, and what it tells, the same for both of its API families."""

from payscore_worker.wechatpay.payscore.families import (
    CAPPED,
    FAMILIES,
    LOWERING,
    PAYING,
    TICKETED,
    AccountPayScores,
    MerchantPayScores,
)
from payscore_worker.wechatpay.payscore.guarded import GuardedPayScore, GuardedPayScores
from payscore_worker.wechatpay.payscore.port import (
    Completion,
    Debited,
    DiscountItem,
    FeeItem,
    Modification,
    NewOrder,
    Order,
    PayScore,
    PayScores,
    Permission,
    PermissionState,
    Phase,
    ServiceChange,
)

__all__ = [
    "CAPPED",
    "FAMILIES",
    "LOWERING",
    "PAYING",
    "TICKETED",
    "AccountPayScores",
    "Completion",
    "Debited",
    "DiscountItem",
    "FeeItem",
    "GuardedPayScore",
    "GuardedPayScores",
    "MerchantPayScores",
    "Modification",
    "NewOrder",
    "Order",
    "PayScore",
    "PayScores",
    "Permission",
    "PermissionState",
    "Phase",
    "ServiceChange",
]
