"""Bodies that the simulator accepts, and ways to spoil them."""

import copy
from typing import Any

Json = dict[str, Any]

ABSENT = object()
FAMILIES = ("payafter", "serviceorder")
NOTIFY_URL = "http://receiver/notify/payscore"


def a_create(family: str, out_order_no: str = "trip-1", /, **changes: object) -> Json:
    return changed(_CREATES[family], {"out_order_no": out_order_no} | changes)


def a_complete(family: str, end: str, total: int = 3200, /, **changes: object) -> Json:
    """One item and no discount that add up to the total."""
    body = copy.deepcopy(_COMPLETES[family]) | {"total_amount": total}
    if family == "payafter":
        body["fees"] = [{"fee_name": "车费", "fee_amount": total}]
        body["real_service_end_time"] = end
    else:
        body["post_payments"] = [{"name": "车费", "amount": total}]
        body["time_range"] = {"end_time": end}
    return changed(body, changes)


def a_refund(transaction_id: str, refund: int = 1000, /, *, total: int = 3200, **changes: object) -> Json:
    body = {
        "transaction_id": transaction_id,
        "out_refund_no": "refund-1",
        "amount": {"refund": refund, "total": total, "currency": "CNY"},
    }
    return changed(body, changes)


def changed(body: Json, changes: dict[str, object]) -> Json:
    """`time_range__start_time` names a member of a member, `post_payments__0__name` one of an item; ABSENT removes."""
    body = copy.deepcopy(body)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place: Any = body
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
        if value is ABSENT:
            place.pop(name, None)
        else:
            place[name] = copy.deepcopy(value)
    return body


_CREATES: dict[str, Json] = {
    "payafter": {
        "service_start_time": "OnAccept",
        "service_introduction": "网约车出行",
        "risk_amount": 20000,
        "need_user_confirm": False,
        "openid": "passenger-1",
    },
    "serviceorder": {
        "service_introduction": "网约车出行",
        "time_range": {"start_time": "OnAccept"},
        "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": 20000},
        "notify_url": NOTIFY_URL,
        "need_user_confirm": False,
        "openid": "passenger-1",
    },
}
_COMPLETES: dict[str, Json] = {"payafter": {"finish_type": 2}, "serviceorder": {}}
