"""The `serviceorder` family: the current one (reference payscore-api B)."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from payscore_worker.errors import MalformedMessage
from payscore_worker.events import ClientJump
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.payscore.family import Family, confirmation, enabling, encode, stated
from payscore_worker.wechatpay.payscore.port import Completion, FeeItem, Modification, NewOrder, Permission
from payscore_worker.wechatpay.payscore.service import read_permission
from payscore_worker.wechatpay.payscore.texts import (
    INTRODUCTION_CHARS,
    LOCATION_CHARS,
    REASON_CHARS,
    fit_items,
    url_encoded,
)
from payscore_worker.wechatpay.texts import cap, clean
from payscore_worker.wechatpay.times import wall_clock

PERMISSIONS: Final = "/v3/payscore/permissions"

ATTACH_CHARS: Final = 256
MAX_DISCOUNTS: Final = 30

NOTHING_CHARGED: Final = FeeItem(name="行程费用", amount_fen=0)
"""A completion needs an item even when there is nothing to pay (reference payscore-api B.6)."""

_AUTHORIZATION_CODE: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
"""WeChat Pay takes `|` and `*` too, but would have them escaped in the signed path (reference payscore-api E.1)."""


class Serviceorder(Family):
    """Create, complete; no ticket."""

    family = "serviceorder"
    needs_finish_ticket = False
    capped_by_risk_amount = False
    can_lower = True
    can_ask_to_pay = True
    orders_path = "/v3/payscore/serviceorder"
    service_question = CallKind.QUERY_PERMISSION
    gives_tokens = True

    def enable_jump(self, out_request_no: str, token: str = "") -> ClientJump | None:
        """Make the token form of C.3: it needs no signature, and nothing takes the place of the token."""
        del out_request_no  # WeChat Pay knows it by the token
        return enabling({"apply_permissions_token": token}) if token else None

    def pre_authorise(self, authorization_code: str) -> Call:
        """Ask for an authorisation; the same code and body again give a new token (reference payscore-api C.1)."""
        _check_authorization_code(authorization_code)
        body = {
            "service_id": self._merchant.service_id,
            "appid": self._merchant.appid,
            "authorization_code": authorization_code,
            "notify_url": self._merchant.notify_url,
        }
        return Call(CallKind.PRE_AUTHORISE, "POST", PERMISSIONS, encode(body))

    async def permission(self, authorization_code: str) -> tuple[Permission, Answer]:
        """Ask for an authorisation by our number (reference payscore-api C.2)."""
        _check_authorization_code(authorization_code)
        query = urlencode({"service_id": self._merchant.service_id})
        path = f"{PERMISSIONS}/authorization-code/{authorization_code}?{query}"
        answer = await self.send(Call(CallKind.QUERY_PERMISSION, "GET", path))
        permission = read_permission(answer.data)
        self._check_asked(permission, authorization_code=authorization_code)
        return permission, answer

    def _service_path(self, openid: str) -> str:
        query = {"service_id": self._merchant.service_id, "appid": self._merchant.appid}
        return f"{PERMISSIONS}/openid/{openid}?{urlencode(query)}"

    def _read_service(self, data: Mapping[str, Any]) -> Permission:
        return read_permission(data)

    def _termination_path(self, openid: str) -> str:
        return f"{PERMISSIONS}/openid/{openid}/terminate"

    def _termination(self, reason: str) -> dict[str, Any]:
        return {"service_id": self._merchant.service_id, "appid": self._merchant.appid, "reason": reason}

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
            }
            | confirmation(order)
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


def _check_authorization_code(authorization_code: str) -> None:
    if not _AUTHORIZATION_CODE.fullmatch(authorization_code):
        raise MalformedMessage("authorization_code: 1 to 32 letters, digits, _ or - are expected")


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
