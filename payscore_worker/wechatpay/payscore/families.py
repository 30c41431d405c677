"""The two PayScore families, by the names that settings know, under all the terms that orders were opened under."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from payscore_worker.domain.trip import OrderTerms
from payscore_worker.errors import FailureClass, MerchantRefused, Rejected
from payscore_worker.wechatpay.calls import Call
from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.payscore.family import Family
from payscore_worker.wechatpay.payscore.payafter import Payafter
from payscore_worker.wechatpay.payscore.port import PayScore, PayScores
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

    def __init__(self, family: str, client: WechatPayClient, *, appids: Sequence[str] = ()) -> None:
        if family not in FAMILIES:
            raise ValueError(f"no PayScore family {family}; there are {', '.join(FAMILIES)}")
        self._client = client
        self.appids: Final = tuple(appids) or (client.merchant.appid,)
        self.current: Final[PayScore] = FAMILIES[family](client)
        self._others: dict[OrderTerms, PayScore] = {self.current.terms: self.current}

    def present(self, account: str, appid: str) -> PayScore:
        if account not in ("", self._client.account):
            raise no_such_account(account, [self._client.account])
        if not appid or appid == self.current.terms.appid:
            return self.current
        if appid not in self.appids:
            raise Rejected(f"appid: {appid!r} is none of account {self._client.account!r}: {', '.join(self.appids)}")
        return self.of(replace(self.current.terms, appid=appid))

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


class AccountPayScores:
    """PayScore as several merchants speak it, by the names of their accounts; the first is the default."""

    def __init__(self, accounts: Mapping[str, PayScores]) -> None:
        self._accounts = accounts
        self._default = next(iter(accounts.values()))
        self._by_mchid = {one.current.terms.mchid: one for one in accounts.values()}
        self.current: Final[PayScore] = self._default.current

    def present(self, account: str, appid: str) -> PayScore:
        if not account:
            return self._default.present("", appid)
        if account not in self._accounts:
            raise no_such_account(account, self._accounts)
        return self._accounts[account].present(account, appid)

    def of(self, terms: OrderTerms | None) -> PayScore:
        speaking = self._default if terms is None else self._by_mchid.get(terms.mchid, self._default)
        return speaking.of(terms)

    def terms_in(self, create: Call) -> OrderTerms | None:
        """Read the terms from a create of a release that did not keep them: it knew the default account alone."""
        return self._default.terms_in(create)


def no_such_account(account: str, accounts: Iterable[str]) -> Rejected:
    """Say which accounts there are."""
    return Rejected(f"account: there is no account {account!r}; there are {', '.join(accounts)}")
