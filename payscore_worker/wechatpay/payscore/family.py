"""What the two PayScore API families share."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec

from payscore_worker.domain.trip import OrderTerms
from payscore_worker.errors import FailureClass, MalformedMessage, MerchantRefused, NotOurs, Rejected
from payscore_worker.events import ClientJump
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.merchant import Merchant
from payscore_worker.wechatpay.payscore.orders import read_order
from payscore_worker.wechatpay.payscore.port import (
    Completion,
    Modification,
    NewOrder,
    Order,
    Permission,
    PermissionState,
    ServiceChange,
)
from payscore_worker.wechatpay.payscore.service import read_change, read_token
from payscore_worker.wechatpay.payscore.texts import REASON_CHARS
from payscore_worker.wechatpay.signatures import jump_sign, make_nonce
from payscore_worker.wechatpay.texts import cap
from payscore_worker.wechatpay.times import wall_clock

_OUT_ORDER_NO: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
"""WeChat Pay takes `|` and `*` too, but would have them escaped in the signed path (reference payscore-api E.1)."""

_OPENID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")


class Family(ABC):
    """A PayScore API family: its bodies, and how the passenger authorises it, differ; the rest is the same."""

    family: ClassVar[str]
    needs_finish_ticket: ClassVar[bool]
    capped_by_risk_amount: ClassVar[bool]
    """Whether a total may not exceed the risk amount (reference payscore-api 0.8); else only WeChat Pay knows."""
    can_lower: ClassVar[bool]
    """Whether a fare can be lowered once it is asked for (reference payscore-api B.8)."""
    can_ask_to_pay: ClassVar[bool]
    """Whether WeChat Pay can be asked to collect now (reference payscore-api B.9)."""
    orders_path: ClassVar[str]
    service_question: ClassVar[CallKind]
    """By which call the state of a passenger's service is asked for."""
    gives_tokens: ClassVar[bool]
    """Whether the page that enables the service is opened with a token (reference payscore-api C.1, C.3)."""

    def __init__(self, client: WechatPayClient, merchant: Merchant | None = None) -> None:
        self._client = client
        self._merchant = merchant or client.merchant

    @property
    def terms(self) -> OrderTerms:
        """Under which terms orders are opened and spoken of."""
        merchant = self._merchant
        return OrderTerms(
            family=self.family,
            mchid=merchant.mchid,
            appid=merchant.appid,
            service_id=merchant.service_id,
            notify_url=merchant.notify_url,
            need_user_confirm=merchant.need_user_confirm,
        )

    def create(self, order: NewOrder) -> Call:
        """Ask for an order, which the passenger confirms where the service is licensed for that."""
        _check_out_order_no(order.out_order_no)
        if not order.need_user_confirm:
            _check_openid(order.openid)
        if order.risk_amount_fen <= 0:
            raise MalformedMessage("risk_amount_fen: must be above 0")
        return Call(CallKind.CREATE, "POST", self.orders_path, encode(self._new_order(order)))

    def complete(self, completion: Completion) -> Call:
        """Tell the fare. The bytes of the first complete stay binding (reference payscore-api B.10)."""
        _check_out_order_no(completion.out_order_no)
        _check_sum(completion)
        path = f"{self.orders_path}/{completion.out_order_no}/complete"
        return Call(CallKind.COMPLETE, "POST", path, encode(self._completion(completion)))

    def cancel(self, *, out_order_no: str, reason: str) -> Call:
        """Give the order up, before it is completed (reference payscore-api A.6, B.7)."""
        _check_out_order_no(out_order_no)
        body = self._ids() | {"reason": cap(reason, REASON_CHARS) or "行程取消"}
        return Call(CallKind.CANCEL, "POST", f"{self.orders_path}/{out_order_no}/cancel", encode(body))

    def modify(self, modification: Modification) -> Call:
        """Lower a fare that is asked for and not paid; only ever lower (reference payscore-api B.8)."""
        _check_out_order_no(modification.out_order_no)
        _check_sum(modification)
        path = f"{self.orders_path}/{modification.out_order_no}/modify"
        return Call(CallKind.MODIFY, "POST", path, encode(self._modification(modification)))

    def sync(self, *, out_order_no: str, paid_time: datetime) -> Call:
        """Tell that the fare was paid otherwise, after the complete and before this call (payscore-api A.7, B.9)."""
        _check_out_order_no(out_order_no)
        body = self._ids() | {"type": "Order_Paid", "detail": {"paid_time": wall_clock(paid_time)}}
        return Call(CallKind.SYNC, "POST", f"{self.orders_path}/{out_order_no}/sync", encode(body))

    def pay(self, *, out_order_no: str) -> Call:
        """Ask to collect now, while the money is out (reference payscore-api B.9)."""
        _check_out_order_no(out_order_no)
        if not self.can_ask_to_pay:
            raise ValueError(f"order {out_order_no}: this family has no call that asks to collect")
        return Call(CallKind.PAY, "POST", f"{self.orders_path}/{out_order_no}/pay", encode(self._ids()))

    async def send(self, call: Call) -> Answer:
        return await self._client.send(call)

    async def query(self, out_order_no: str) -> tuple[Order, Answer]:
        _check_out_order_no(out_order_no)
        merchant = self._merchant
        query = {"service_id": merchant.service_id, "appid": merchant.appid, "out_order_no": out_order_no}
        answer = await self.send(Call(CallKind.QUERY, "GET", f"{self.orders_path}?{urlencode(query)}"))
        return self.read_order(answer.data), answer

    async def service_enabled(self, openid: str) -> tuple[bool, Answer]:
        permission, answer = await self.service_of(openid)
        return permission.state is PermissionState.AVAILABLE, answer

    async def service_of(self, openid: str) -> tuple[Permission, Answer]:
        _check_openid(openid)
        answer = await self.send(Call(self.service_question, "GET", self._service_path(openid)))
        permission = self._read_service(answer.data)
        self._check_asked(permission, openid=openid)
        return permission, answer

    def read_token(self, data: Mapping[str, Any]) -> str:
        return read_token(data)

    def terminate(self, *, openid: str, reason: str) -> Call:
        """End what a passenger has authorised; orders that stand can still be charged (reference payscore-api C.4)."""
        _check_openid(openid)
        body = self._termination(cap(reason, REASON_CHARS) or "终止授权")
        return Call(CallKind.TERMINATE_PERMISSION, "POST", self._termination_path(openid), encode(body))

    def read_order(self, data: Mapping[str, Any]) -> Order:
        return read_order(data)

    def read_created(self, data: Mapping[str, Any]) -> Order:
        return read_order(data)

    def is_ours(self, order: Order | ServiceChange) -> bool:
        merchant = self._merchant
        ours = (merchant.mchid, merchant.appid, merchant.service_id)
        return (order.mchid, order.appid, order.service_id) == ours

    def contradiction(self, data: Mapping[str, Any], out_order_no: str) -> str:
        """Compare what an answer names with what we asked about; what it leaves out contradicts nothing."""
        merchant = self._merchant
        ours = {
            "mchid": merchant.mchid,
            "appid": merchant.appid,
            "service_id": merchant.service_id,
            "out_order_no": out_order_no,
        }
        return next((name for name, value in ours.items() if data.get(name) not in (None, "", value)), "")

    def read_service_change(self, data: Mapping[str, Any]) -> ServiceChange:
        change = read_change(data)
        if change.mchid != self._merchant.mchid:
            raise Rejected("the notification names another mchid")
        if not self.is_ours(change):
            raise NotOurs("the notification names another appid or service_id of our merchant")
        return change

    def confirm_jump(self, package: str) -> ClientJump:
        """Make the signed form of C.3: the package opens the page once, and for an hour."""
        return jump("wxpayScoreUse", self._signed({"mch_id": self._merchant.mchid, "package": package}))

    def detail_jump(self, out_order_no: str) -> ClientJump:
        """Make the signed form of C.3 for the page on which WeChat Pay shows an order to its passenger."""
        merchant = self._merchant
        parameters = {"mch_id": merchant.mchid, "service_id": merchant.service_id, "out_order_no": out_order_no}
        return jump("wxpayScoreDetail", self._signed(parameters))

    def _signed(self, parameters: dict[str, str]) -> dict[str, str]:
        """Sign what opens a page; this is WeChat Pay's older signature, by the APIv2 key.

        Raises:
            MerchantRefused: there is no such key.

        """
        if self._merchant.apiv2_key is None:
            message = "PAYSCORE_APIV2_KEY is not set: it signs what opens a page of PayScore"
            raise MerchantRefused(message, attempts=0, failure=FailureClass.MISCONFIGURED)
        parameters = parameters | {
            "timestamp": str(int(self._client.clock().timestamp())),
            "nonce_str": make_nonce(),
            "sign_type": "HMAC-SHA256",
        }
        return parameters | {"sign": jump_sign(parameters, self._merchant.apiv2_key)}

    @abstractmethod
    def enable_jump(self, out_request_no: str, token: str = "") -> ClientJump | None:
        """Make the form of C.3 that this family's page takes."""

    @abstractmethod
    def pre_authorise(self, authorization_code: str) -> Call:
        """Ask for an authorisation; ValueError in a family that has no such call."""

    @abstractmethod
    async def permission(self, authorization_code: str) -> tuple[Permission, Answer]:
        """Ask for an authorisation by our number; ValueError in a family that has no such call."""

    def _check_asked(self, permission: Permission, **asked: str) -> None:
        """Refuse an answer about somebody, or something, else than we asked for; what it leaves out is fine."""
        for name, value in (asked | {"service_id": self._merchant.service_id}).items():
            if getattr(permission, name) not in ("", value):
                raise MalformedMessage(f"{name}: is another than we asked for")

    @abstractmethod
    def _service_path(self, openid: str) -> str:
        """Say where the state of a passenger's service is asked for."""

    @abstractmethod
    def _read_service(self, data: Mapping[str, Any]) -> Permission:
        """Read the answer to that."""

    @abstractmethod
    def _termination_path(self, openid: str) -> str:
        """Say where a passenger's authorisation is ended."""

    @abstractmethod
    def _termination(self, reason: str) -> dict[str, Any]:
        """Lay out the body of that."""

    def permitted(self) -> None:  # noqa: B027 - there is nothing to add to it
        """Count nothing: the breaker does."""

    def not_permitted(self, code: str) -> None:  # noqa: B027
        """Count nothing: the breaker does."""

    @abstractmethod
    def _new_order(self, order: NewOrder) -> dict[str, Any]:
        """Lay out the body of create."""

    @abstractmethod
    def _completion(self, completion: Completion) -> dict[str, Any]:
        """Lay out the body of complete."""

    @abstractmethod
    def _modification(self, modification: Modification) -> dict[str, Any]:
        """Lay out the body of modify; ValueError in a family that has none."""

    def _ids(self) -> dict[str, Any]:
        """Every call on an order names both; without, WeChat Pay answers NO_AUTH (reference payscore-api H-1)."""
        return {"appid": self._merchant.appid, "service_id": self._merchant.service_id}


def jump(business_type: str, extra_data: dict[str, str]) -> ClientJump:
    """Write what opens a page: in mini programs an object, elsewhere a query (reference payscore-api C.3)."""
    return ClientJump(business_type=business_type, extra_data=extra_data, query_string=urlencode(extra_data))


def enabling(extra_data: dict[str, str]) -> ClientJump:
    """Write what opens the page that enables the service."""
    return jump("wxpayScoreEnable", extra_data)


def confirmation(order: NewOrder) -> dict[str, Any]:
    """Say who the passenger is, or that he will confirm the order; both in one is refused (payscore-api B.0)."""
    if order.need_user_confirm:
        return {"need_user_confirm": True}
    return {"need_user_confirm": False, "openid": order.openid}


def stated(members: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is empty: WeChat Pay takes no null, and an empty text says nothing (payscore-api E.1)."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}


def encode(body: Mapping[str, Any]) -> bytes:
    """Write compact JSON in UTF-8, members in the order of the layout."""
    return msgspec.json.encode(body)


def _check_out_order_no(out_order_no: str) -> None:
    if not _OUT_ORDER_NO.fullmatch(out_order_no):
        raise MalformedMessage("out_order_no: 1 to 32 letters, digits, _ or - are expected")


def _check_openid(openid: str) -> None:
    if not _OPENID.fullmatch(openid):
        raise MalformedMessage("openid: 1 to 128 letters, digits, _ or - are expected")


def _check_sum(completion: Completion | Modification) -> None:
    """Refuse a total that is not what its items add up to (reference payscore-api section 0, rule 8)."""
    fees_fen = [fee.amount_fen for fee in completion.fees]
    discounts_fen = [discount.amount_fen for discount in completion.discounts]
    if min([completion.total_fen, *fees_fen, *discounts_fen]) < 0:
        raise MalformedMessage("total_fen: an amount is negative")
    if completion.total_fen != sum(fees_fen) - sum(discounts_fen):
        raise MalformedMessage("total_fen: is not the sum of fees less discounts")
