"""The two PayScore families, by the names that settings know."""

from collections.abc import Mapping
from typing import Final

from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.family import Family
from payscore_worker.wechatpay.payafter import Payafter
from payscore_worker.wechatpay.port import PayScore
from payscore_worker.wechatpay.serviceorder import Serviceorder

FAMILIES: Final[Mapping[str, type[Family]]] = {cls.family: cls for cls in (Payafter, Serviceorder)}


def payscore(family: str, client: WechatPayClient) -> PayScore:
    """Speak PayScore in one of its two families."""
    if family not in FAMILIES:
        raise ValueError(f"no PayScore family {family}; there are {', '.join(FAMILIES)}")
    return FAMILIES[family](client)
