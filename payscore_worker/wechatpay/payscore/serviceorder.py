"""The `serviceorder` family: the current one (reference payscore-api B)."""

from typing import Any, Final

from payscore_worker.wechatpay.payscore.family import Family, stated
from payscore_worker.wechatpay.payscore.port import Completion, FeeItem, Modification, NewOrder
from payscore_worker.wechatpay.payscore.texts import (
    INTRODUCTION_CHARS,
    LOCATION_CHARS,
    REASON_CHARS,
    fit_items,
    url_encoded,
)
from payscore_worker.wechatpay.texts import cap, clean
from payscore_worker.wechatpay.times import wall_clock

ATTACH_CHARS: Final = 256
MAX_DISCOUNTS: Final = 30

NOTHING_CHARGED: Final = FeeItem(name="行程费用", amount_fen=0)
"""A completion needs an item even when there is nothing to pay (reference payscore-api B.6)."""


class Serviceorder(Family):
    """Create, complete; no ticket."""

    family = "serviceorder"
    needs_finish_ticket = False
    capped_by_risk_amount = False
    can_lower = True
    can_ask_to_pay = True
    orders_path = "/v3/payscore/serviceorder"

    def _new_order(self, order: NewOrder) -> dict[str, Any]:
        return self._ids() | stated(
            {
                "out_order_no": order.out_order_no,
                "service_introduction": cap(order.introduction, INTRODUCTION_CHARS) or "出行服务",
                "time_range": {
                    "start_time": "OnAccept" if order.start_time is None else wall_clock(order.start_time),
                },
                "location": _planned_location(order),
                "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": order.risk_amount_fen},
                "attach": url_encoded(order.attach, ATTACH_CHARS),
                "notify_url": self._merchant.notify_url,
                "openid": order.openid,
                "need_user_confirm": False,
            }
        )

    def _completion(self, completion: Completion) -> dict[str, Any]:
        return self._ids() | stated(
            _fare(completion)
            | {
                "time_range": {"end_time": wall_clock(completion.end_time)},
                "location": _real_location(completion),
            }
        )

    def _modification(self, modification: Modification) -> dict[str, Any]:
        reason = cap(modification.reason, REASON_CHARS) or "车费下调"
        return self._ids() | stated(_fare(modification)) | {"reason": reason}


def _fare(fare: Completion | Modification) -> dict[str, Any]:
    """Lay out items and total, which replace what WeChat Pay was told before (reference payscore-api B.6, B.8)."""
    charged = fare.fees or (NOTHING_CHARGED,)
    fees, discounts = fit_items(charged, fare.discounts, max_discounts=MAX_DISCOUNTS)
    return {
        "post_payments": [
            stated(
                {
                    "name": fee.name,
                    "amount": fee.amount_fen,
                    "description": fee.description,
                    "count": fee.count if fee.count > 1 else None,
                }
            )
            for fee in fees
        ],
        "post_discounts": [
            {  # name and description both or neither (reference payscore-api B.2)
                "name": discount.name,
                "description": discount.description or discount.name,
                "amount": discount.amount_fen,
            }
            for discount in discounts
        ],
        "total_amount": fare.total_fen,
    }


def _planned_location(order: NewOrder) -> dict[str, str]:
    """Name the places; an end is only allowed with a start (reference payscore-api B.2)."""
    start = cap(order.start_location, LOCATION_CHARS)
    if not start:
        return {}
    return stated({"start_location": start, "end_location": cap(order.end_location, LOCATION_CHARS)})


def _real_location(completion: Completion) -> dict[str, str]:
    """Name where the trip ended, if the order was made with a start (reference payscore-api B.6)."""
    if not clean(completion.start_location):
        return {}
    return stated({"end_location": cap(completion.end_location, LOCATION_CHARS)})
