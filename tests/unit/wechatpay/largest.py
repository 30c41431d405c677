"""The largest notification that the documents allow: every member as long as it may be, every list as full."""

import json
from typing import Any, Final

ITEMS: Final = 100
DISCOUNTS: Final = 30
DEBITS: Final = 30
"""No page bounds them; a collection that is tried once a day for a month has as many."""

AMOUNT: Final = 999_999_999


def the_largest_order() -> bytes:
    """Write a paid order (reference payscore-api B.2, B.3, D.3), every Chinese character as six bytes, `\\u8f66`."""
    order: dict[str, Any] = {
        "appid": _ascii(32),
        "mchid": _ascii(32),
        "service_id": _ascii(32),
        "out_order_no": _ascii(32),
        "order_id": _ascii(32),
        "openid": _ascii(128),
        "state": "DONE",
        "state_description": "MCH_COMPLETE",
        "total_amount": AMOUNT,
        "need_collection": True,
        "service_introduction": _chinese(20),
        "attach": _chinese(256),
        "notify_url": _ascii(255),
        "post_payments": [
            {"name": _chinese(20), "amount": AMOUNT, "description": _chinese(30), "count": 100} for _ in range(ITEMS)
        ],
        "post_discounts": [
            {"name": _chinese(20), "amount": AMOUNT, "description": _chinese(30), "count": 100}
            for _ in range(DISCOUNTS)
        ],
        "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": AMOUNT, "description": _chinese(30)},
        "time_range": {
            "start_time": "20261121080000",
            "end_time": "20261121083000",
            "start_time_remark": _chinese(20),
            "end_time_remark": _chinese(50),
        },
        "location": {"start_location": _chinese(50), "end_location": _chinese(50)},
        "device": {"start_device_id": _chinese(50), "end_device_id": _chinese(50), "materiel_no": _chinese(100)},
        "collection": {
            "state": "USER_PAID",
            "total_amount": AMOUNT,
            "paying_amount": AMOUNT,
            "paid_amount": AMOUNT,
            "details": [
                {
                    "seq": debit,
                    "amount": AMOUNT,
                    "paid_type": "NEWTON",
                    "paid_time": "2026-11-21T08:30:00+08:00",
                    "transaction_id": _ascii(32),
                }
                for debit in range(DEBITS)
            ],
        },
    }
    return json.dumps(order, ensure_ascii=True, separators=(",", ":")).encode()


def _ascii(chars: int) -> str:
    return "1" * chars


def _chinese(chars: int) -> str:
    return "车" * chars
