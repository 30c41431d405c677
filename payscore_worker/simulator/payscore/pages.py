"""What a passenger does on the pages of WeChat Pay that a client jump opens (reference payscore-api C.3)."""

import hmac
import re
import secrets
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
    "timestamp": re.compile(r"[0-9]{10}"),
    "nonce_str": re.compile(r"[0-9A-Za-z]{1,32}"),
    "sign_type": re.compile("HMAC-SHA256"),
}
"""Of the members that every signed jump has."""
_REQUEST_NUMBER: Final = re.compile(r"\S{1,64}")


class PageRefused(ValueError):
    """The page shows this text instead of what the passenger came for; a number is one of those it shows."""


class Pages:
    def __init__(self, state: PayScoreState, switching: Switching) -> None:
        self._state, self._world = state, state.world
        self._switching = switching

    def enable(self, apply_permissions_token: str, openid: str) -> None:
        """The passenger signs what the merchant has pre-authorised."""
        self._switching.open(openid, self.asked_by(apply_permissions_token))

    def enable_signed(self, extra_data: Mapping[str, str], openid: str) -> None:
        """The older jump, which the merchant signs with its APIv2 key."""
        self._switching.open(openid, self.asked_by_signed(extra_data))

    def asked_by(self, apply_permissions_token: str) -> Permission:
        """What the passenger would sign."""
        code = self._state.tokens.subject_of(apply_permissions_token)
        permission = self._state.permissions.of_code(code) if code else None
        if permission is None:
            raise PageRefused("the apply_permissions_token is none of ours, or its hour is over")
        if permission.openid is not None:
            raise PageRefused(f"authorization_code {code} is signed already")
        return permission

    def asked_by_signed(self, extra_data: Mapping[str, str]) -> Permission:
        """What the passenger would sign, by the older jump."""
        out_request_no = extra_data.get("out_request_no", "")
        _check_form("out_request_no", out_request_no, _REQUEST_NUMBER)
        self._check_signed(extra_data)
        service = self._service(extra_data)
        if self._state.permissions.of_request(out_request_no):
            raise PageRefused(f"out_request_no {out_request_no} is signed already")
        return Permission(service=service, out_request_no=out_request_no)

    def visit(self, extra_data: Mapping[str, str], openid: str) -> Order:
        """The passenger opens the page to confirm an order, by a jump that the merchant signs with its APIv2 key."""
        self._check_signed(extra_data, by=self._world.config.confirm_sign_member)
        return self._opened(extra_data.get("package", ""), openid)

    def confirm_visited(self, out_order_no: str, visit: str) -> None:
        """The passenger confirms on the page that he has open."""
        self._confirm(self._visited(out_order_no, visit))

    def leave_visited(self, out_order_no: str, visit: str) -> None:
        self._state.book.save(self._visited(out_order_no, visit).left())

    def confirm(self, package: str, openid: str) -> None:
        """The passenger takes the order, if WeChat Pay lets him; the merchant is told."""
        self._confirm(self._opened(package, openid))

    def leave(self, package: str, openid: str) -> None:
        """The passenger opens the page and leaves it: nobody can confirm the order any more."""
        self._state.book.save(self._opened(package, openid).left())

    def details(self, extra_data: Mapping[str, str], openid: str) -> Order:
        """The order that the passenger is shown, by a jump that the merchant signs with its APIv2 key."""
        self._check_signed(extra_data)
        order = self._state.book.order(extra_data.get("out_order_no", ""))
        if order is None or order.opening.members["service_id"] != extra_data.get("service_id"):
            raise PageRefused("3961: wrong service id, or no such order")
        if order.openid != openid:
            raise PageRefused("the order is another passenger's")
        return order

    def _confirm(self, order: Order) -> None:
        """A page that refuses is used up all the same."""
        if refusal := refusal_of(self._state, order.out_order_no, order.openid):
            self._state.book.save(order.left())
            raise PageRefused(refusal.message)
        order, family = order.confirmed(self._world.clock()), self._state.family(order.family)
        self._state.book.save(order)
        self._world.callbacks.announce(
            family.confirmed_event,
            family.confirmed_notification(order),
            summary="用户确认成功",
            url=order.opening.notify_url or self._world.config.notify_url,
            openid=order.openid,
            out_order_no=order.out_order_no,
        )

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
        opened = order.opened(openid, visit=secrets.token_urlsafe())
        self._state.book.save(opened)
        return opened

    def _visited(self, out_order_no: str, visit: str) -> Order:
        order = self._state.book.order(out_order_no)
        if order is None or not order.visit or not hmac.compare_digest(order.visit.encode(), visit.encode()):
            raise PageRefused("this page was left, or has done its work")
        if order.stage is not Stage.CREATED:
            raise PageRefused(f"order {out_order_no} is {order.stage}")
        return order

    def _check_signed(self, extra_data: Mapping[str, str], *, by: str = "sign") -> None:
        """By the merchant's APIv2 key (reference payscore-api C.3)."""
        keys = self._world.config.keys
        for name, form in _FORMS.items():
            _check_form(name, extra_data.get(name, ""), form)
        if extra_data.get(by) != jump_signature(extra_data, apiv2_key=keys.apiv2_key, called=by):
            raise PageRefused("商户签名校验失败")
        if extra_data.get("mch_id") != keys.mchid:
            raise PageRefused("4188: the mchid is not in the configuration of the service")

    def _service(self, extra_data: Mapping[str, str]) -> Service:
        for service in self._world.config.licensed:
            if service.service_id == extra_data.get("service_id") and service.mode == "no_confirm":
                return service
        raise PageRefused("3961: wrong service id")


def _check_form(name: str, value: str, form: re.Pattern[str]) -> None:
    if not form.fullmatch(value):
        raise PageRefused(f"{name} of extraData must be {form.pattern}")
