"""The two PayScore families, by the names that settings know, under all the terms that orders were opened under."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from payscore_worker.domain.trip import OrderTerms
from payscore_worker.errors import FailureClass, MerchantRefused
from payscore_worker.wechatpay.calls import Call
from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.payscore.family import Family
from payscore_worker.wechatpay.payscore.payafter import Payafter
from payscore_worker.wechatpay.payscore.port import PayScore
from payscore_worker.wechatpay.payscore.serviceorder import Serviceorder

FAMILIES: Final[Mapping[str, type[Family]]] = {cls.family: cls for cls in (Payafter, Serviceorder)}

TICKETED: Final = frozenset(name for name, cls in FAMILIES.items() if cls.needs_finish_ticket)
"""The families that complete an order with a ticket."""

CAPPED: Final = frozenset(name for name, cls in FAMILIES.items() if cls.capped_by_risk_amount)
"""The families in which a total may not exceed the risk amount (reference payscore-api 0.8)."""

LOWERING: Final = frozenset(name for name, cls in FAMILIES.items() if cls.can_lower)
"""The families in which a fare can be lowered once it is asked for (reference payscore-api B.8)."""

PAYING: Final = frozenset(name for name, cls in FAMILIES.items() if cls.can_ask_to_pay)
"""The families in which WeChat Pay can be asked to collect now (reference payscore-api B.9)."""

MAX_TERMS: Final = 64
"""Sets of terms that are kept at hand; a platform has a few."""


class _Terms(msgspec.Struct):
    appid: str
    service_id: str
    notify_url: str = ""
    need_user_confirm: bool = False


class MerchantPayScores:
    """PayScore as one merchant speaks it: both families, under every appid and service of its orders."""

    def __init__(self, family: str, client: WechatPayClient) -> None:
        if family not in FAMILIES:
            raise ValueError(f"no PayScore family {family}; there are {', '.join(FAMILIES)}")
        self._client = client
        self.current: Final[PayScore] = FAMILIES[family](client)
        self._others: dict[OrderTerms, PayScore] = {self.current.terms: self.current}

    def of(self, terms: OrderTerms | None) -> PayScore:
        if terms is None:
            return self.current
        speaking = self._others.get(terms) or self._under(terms)
        if len(self._others) < MAX_TERMS:
            self._others[terms] = speaking
        return speaking

    def terms_in(self, create: Call) -> OrderTerms | None:
        family = next((name for name, cls in FAMILIES.items() if cls.orders_path == create.path), None)
        try:
            body = msgspec.json.decode(create.body, type=_Terms)
        except msgspec.MsgspecError:
            return None
        if family is None:
            return None
        ours = self.current.terms
        return OrderTerms(
            family=family,
            mchid=ours.mchid,
            appid=body.appid,
            service_id=body.service_id,
            notify_url=body.notify_url or ours.notify_url,
            need_user_confirm=body.need_user_confirm,
        )

    def permitted(self) -> None:
        """Count nothing: the breaker does."""

    def not_permitted(self, code: str) -> None:
        """Count nothing: the breaker does."""

    def _under(self, terms: OrderTerms) -> PayScore:
        merchant = self._client.merchant
        if terms.mchid != merchant.mchid or terms.family not in FAMILIES:
            raise MerchantRefused(
                f"the order was opened under mchid {terms.mchid} in the family {terms.family}; its keys are not set",
                attempts=0,
                failure=FailureClass.MISCONFIGURED,
            )
        own = replace(
            merchant,
            appid=terms.appid,
            service_id=terms.service_id,
            notify_url=terms.notify_url,
            need_user_confirm=terms.need_user_confirm,
        )
        return FAMILIES[terms.family](self._client, own)
