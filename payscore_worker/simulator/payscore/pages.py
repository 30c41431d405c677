"""What a passenger does on the pages of WeChat Pay that a client jump opens (reference payscore-api C.3)."""

import re
from collections.abc import Mapping
from typing import Final

from payscore_worker.simulator.config import Service
from payscore_worker.simulator.payscore.evaluating import refusal_of
from payscore_worker.simulator.payscore.orders import Order, Stage
from payscore_worker.simulator.payscore.permissions import Permission
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.payscore.switching import Switching
from payscore_worker.simulator.signing import jump_signature

_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "out_request_no": re.compile(r"\S{1,64}"),
    "timestamp": re.compile(r"[0-9]{10}"),
    "nonce_str": re.compile(r"[0-9A-Za-z]{1,32}"),
    "sign_type": re.compile("HMAC-SHA256"),
}


class PageRefused(ValueError):
    """The page shows this text instead of what the passenger came for; a number is one of those it shows."""


class Pages:
    def __init__(self, state: PayScoreState, switching: Switching) -> None:
        self._state, self._world = state, state.world
        self._switching = switching

    def enable(self, apply_permissions_token: str, openid: str) -> None:
        """The passenger signs what the merchant has pre-authorised."""
        code = self._state.tokens.subject_of(apply_permissions_token)
        permission = self._state.permissions.of_code(code) if code else None
        if permission is None:
            raise PageRefused("the apply_permissions_token is none of ours, or its hour is over")
        if permission.openid is not None:
            raise PageRefused(f"authorization_code {code} is signed already")
        self._switching.open(openid, permission)

    def enable_signed(self, extra_data: Mapping[str, str], openid: str) -> None:
        """The older jump, which the merchant signs with its APIv2 key."""
        config = self._world.config
        for name, form in _FORMS.items():
            if not form.fullmatch(extra_data.get(name, "")):
                raise PageRefused(f"{name} of extraData must be {form.pattern}")
        if extra_data.get("sign") != jump_signature(extra_data, apiv2_key=config.keys.apiv2_key):
            raise PageRefused("商户签名校验失败")
        if extra_data.get("mch_id") != config.keys.mchid:
            raise PageRefused("4188: the mchid is not in the configuration of the service")
        service, out_request_no = self._service(extra_data), extra_data["out_request_no"]
        if self._state.permissions.of_request(out_request_no):
            raise PageRefused(f"out_request_no {out_request_no} is signed already")
        self._switching.open(openid, Permission(service=service, out_request_no=out_request_no))

    def confirm(self, package: str, openid: str) -> None:
        """The passenger takes the order, if WeChat Pay lets him; the merchant is told."""
        order = self._opened(package, openid)
        if refusal := refusal_of(self._state, order.out_order_no, openid):
            raise PageRefused(refusal.message)
        order, family = order.confirmed(self._world.clock()), self._state.family(order.family)
        self._state.book.save(order)
        self._world.callbacks.announce(
            family.confirmed_event,
            family.confirmed_notification(order),
            summary="用户确认成功",
            url=order.opening.notify_url or self._world.config.notify_url,
            openid=openid,
            out_order_no=order.out_order_no,
        )

    def leave(self, package: str, openid: str) -> None:
        """The passenger opens the page and leaves it: nobody can confirm the order any more."""
        self._opened(package, openid)

    def _opened(self, package: str, openid: str) -> Order:
        """A package opens the page once, and the order is then the passenger's."""
        if not package:
            raise PageRefused("4185: the package is empty")
        out_order_no = self._state.packages.subject_of(package)
        order = self._state.book.order(out_order_no) if out_order_no else None
        if order is None:
            raise PageRefused("4186: the package is none that create returned, or its hour is over")
        if order.opened_by:
            raise PageRefused(f"order {out_order_no} has been opened before")
        if order.stage is not Stage.CREATED:
            raise PageRefused(f"order {out_order_no} is {order.stage}")
        opened = order.opened(openid)
        self._state.book.save(opened)
        return opened

    def _service(self, extra_data: Mapping[str, str]) -> Service:
        for service in self._world.config.licensed:
            if service.service_id == extra_data.get("service_id") and service.mode == "no_confirm":
                return service
        raise PageRefused("3961: wrong service id")
