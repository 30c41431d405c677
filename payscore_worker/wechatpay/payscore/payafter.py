"""The `payafter-orders` family: the one whose orders are finished with a ticket (reference payscore-api A)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from payscore_worker.events import ClientJump
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.payscore.family import Family, confirmation, enabling, stated
from payscore_worker.wechatpay.payscore.orders import read_order
from payscore_worker.wechatpay.payscore.port import Completion, Modification, NewOrder, Order, Permission, Phase
from payscore_worker.wechatpay.payscore.service import read_service_state
from payscore_worker.wechatpay.payscore.texts import (
    INTRODUCTION_CHARS,
    LOCATION_CHARS,
    fit_items,
    url_encoded,
)
from payscore_worker.wechatpay.reading import text
from payscore_worker.wechatpay.texts import cap
from payscore_worker.wechatpay.times import wall_clock

ATTACH_CHARS: Final = 200
MAX_DISCOUNTS: Final = 5

FINISH_AND_COLLECT: Final = 2
"""`finish_type`: the service was used."""


class Payafter(Family):
    """Create, query for the ticket, complete with it. The notify URL is registered with the service."""

    family = "payafter"
    needs_finish_ticket = True
    capped_by_risk_amount = True
    can_lower = False
    can_ask_to_pay = False
    orders_path = "/v3/payscore/payafter-orders"
    service_question = CallKind.USER_SERVICE_STATE
    gives_tokens = False

    def enable_jump(self, out_request_no: str, token: str = "") -> ClientJump:
        """Make the signed form of C.3, or name the service where there is no APIv2 key to sign with."""
        del token
        parameters = {"mch_id": self._merchant.mchid, "service_id": self._merchant.service_id}
        if self._merchant.apiv2_key is None:
            return enabling(parameters)
        return enabling(self._signed(parameters | {"out_request_no": out_request_no}))

    def pre_authorise(self, authorization_code: str) -> Call:
        raise ValueError(f"the {self.family} family does not pre-authorise {authorization_code!r}, nor anything")

    async def permission(self, authorization_code: str) -> tuple[Permission, Answer]:
        raise ValueError(f"the {self.family} family knows no authorization_code {authorization_code!r}")

    def _service_path(self, openid: str) -> str:
        return f"/v3/payscore/user-service-state?{urlencode(self._ids() | {'openid': openid})}"

    def _read_service(self, data: Mapping[str, Any]) -> Permission:
        return read_service_state(data)

    def _termination_path(self, openid: str) -> str:
        return f"/v3/payscore/users/{openid}/permissions/{self._merchant.service_id}/terminate"

    def _termination(self, reason: str) -> dict[str, Any]:
        return {"appid": self._merchant.appid, "reason": reason}

    def read_created(self, data: Mapping[str, Any]) -> Order:
        """Take the order for accepted and no more: it runs once a query says so (reference payscore-api 0.3, A.2)."""
        order = read_order(data)
        return order if text(data, "state") else replace(order, phase=Phase.ACCEPTED)

    def _new_order(self, order: NewOrder) -> dict[str, Any]:
        return self._ids() | stated(
            {
                "out_order_no": order.out_order_no,
                "service_start_time": "OnAccept" if order.start_time is None else wall_clock(order.start_time),
                "service_start_location": cap(order.start_location, LOCATION_CHARS),
                "service_end_location": cap(order.end_location, LOCATION_CHARS),
                "service_introduction": cap(order.introduction, INTRODUCTION_CHARS) or "出行服务",
                "risk_amount": order.risk_amount_fen,
                "attach": url_encoded(order.attach, ATTACH_CHARS),
            }
            | confirmation(order)
        )

    def _completion(self, completion: Completion) -> dict[str, Any]:
        if not completion.finish_ticket:
            raise ValueError("a finish_ticket is needed to complete")
        fees, discounts = fit_items(completion.fees, completion.discounts, max_discounts=MAX_DISCOUNTS)
        return self._ids() | stated(
            {
                "finish_type": FINISH_AND_COLLECT,
                "real_service_end_time": wall_clock(completion.end_time),
                "real_service_end_location": _real_end_location(completion),
                "fees": [
                    stated(
                        {
                            "fee_name": fee.name,
                            "fee_amount": fee.amount_fen,
                            "fee_desc": fee.description,
                            "fee_count": fee.count if fee.count > 1 else None,
                        }
                    )
                    for fee in fees
                ],
                "discounts": [
                    stated(
                        {
                            "discount_name": discount.name,
                            "discount_amount": discount.amount_fen,
                            "discount_desc": discount.description,
                        }
                    )
                    for discount in discounts
                ],
                "total_amount": completion.total_fen,
                "finish_ticket": completion.finish_ticket,
            }
        )

    def _modification(self, modification: Modification) -> dict[str, Any]:
        raise ValueError(f"order {modification.out_order_no}: this family has no call that lowers a fare")


def _real_end_location(completion: Completion) -> str:
    """Say where the trip ended, unless WeChat Pay must not be told again what it knows (the table of A.5)."""
    start = cap(completion.start_location, LOCATION_CHARS)
    planned = cap(completion.planned_end_location, LOCATION_CHARS)
    real = cap(completion.end_location, LOCATION_CHARS)
    return "" if real in (start, planned) else real
