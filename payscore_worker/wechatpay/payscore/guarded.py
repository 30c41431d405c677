"""PayScore behind a circuit breaker: the same port, and calls are held back while WeChat Pay is out."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from payscore_worker.domain.trip import OrderTerms
from payscore_worker.errors import MalformedMessage, Refusal, WechatPayError, WechatPayRejected
from payscore_worker.events import ClientJump
from payscore_worker.wechatpay.breaker import Breaker
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.guarding import guarded
from payscore_worker.wechatpay.payscore.port import (
    Completion,
    Modification,
    NewOrder,
    Order,
    PayScore,
    PayScores,
    Permission,
    ServiceChange,
)


class GuardedPayScore:
    """A PayScore family that does not call while the breaker is open."""

    def __init__(self, payscore: PayScore, breaker: Breaker) -> None:
        self._payscore = payscore
        self._breaker = breaker

    @property
    def family(self) -> str:
        return self._payscore.family

    @property
    def terms(self) -> OrderTerms:
        return self._payscore.terms

    @property
    def needs_finish_ticket(self) -> bool:
        return self._payscore.needs_finish_ticket

    def create(self, order: NewOrder) -> Call:
        return self._payscore.create(order)

    def complete(self, completion: Completion) -> Call:
        return self._payscore.complete(completion)

    def cancel(self, *, out_order_no: str, reason: str) -> Call:
        return self._payscore.cancel(out_order_no=out_order_no, reason=reason)

    def modify(self, modification: Modification) -> Call:
        return self._payscore.modify(modification)

    def sync(self, *, out_order_no: str, paid_time: datetime) -> Call:
        return self._payscore.sync(out_order_no=out_order_no, paid_time=paid_time)

    def pay(self, *, out_order_no: str) -> Call:
        return self._payscore.pay(out_order_no=out_order_no)

    async def send(self, call: Call) -> Answer:
        return await guarded(self._breaker, lambda: self._payscore.send(call))

    async def query(self, out_order_no: str) -> tuple[Order, Answer]:
        return await guarded(self._breaker, lambda: self._payscore.query(out_order_no))

    async def service_enabled(self, openid: str) -> tuple[bool, Answer]:
        return await guarded(self._breaker, lambda: self._payscore.service_enabled(openid))

    @property
    def service_question(self) -> CallKind:
        return self._payscore.service_question

    @property
    def gives_tokens(self) -> bool:
        return self._payscore.gives_tokens

    async def service_of(self, openid: str) -> tuple[Permission, Answer]:
        return await guarded(self._breaker, lambda: self._payscore.service_of(openid))

    def pre_authorise(self, authorization_code: str) -> Call:
        return self._payscore.pre_authorise(authorization_code)

    def read_token(self, data: Mapping[str, Any]) -> str:
        return self._payscore.read_token(data)

    async def permission(self, authorization_code: str) -> tuple[Permission, Answer]:
        return await guarded(self._breaker, lambda: self._payscore.permission(authorization_code))

    def terminate(self, *, openid: str, reason: str) -> Call:
        return self._payscore.terminate(openid=openid, reason=reason)

    def read_order(self, data: Mapping[str, Any]) -> Order:
        return self._payscore.read_order(data)

    def read_created(self, data: Mapping[str, Any]) -> Order:
        return self._payscore.read_created(data)

    def is_ours(self, order: Order) -> bool:
        return self._payscore.is_ours(order)

    def contradiction(self, data: Mapping[str, Any], out_order_no: str) -> str:
        return self._payscore.contradiction(data, out_order_no)

    def read_service_change(self, data: Mapping[str, Any]) -> ServiceChange:
        return self._payscore.read_service_change(data)

    def enable_jump(self, out_request_no: str, token: str = "") -> ClientJump | None:
        return self._payscore.enable_jump(out_request_no, token)

    def confirm_jump(self, package: str) -> ClientJump:
        return self._payscore.confirm_jump(package)

    def detail_jump(self, out_order_no: str) -> ClientJump:
        return self._payscore.detail_jump(out_order_no)

    def permitted(self) -> None:
        self._breaker.permitted()

    def not_permitted(self, code: str) -> None:
        self._breaker.not_permitted(code)


class GuardedPayScores:
    """PayScore under every set of terms, behind one breaker."""

    def __init__(self, payscores: PayScores, breaker: Breaker) -> None:
        self._payscores = payscores
        self._breaker = breaker
        self.current: Final = GuardedPayScore(payscores.current, breaker)

    def present(self, account: str, appid: str) -> PayScore:
        return self._guarded(self._payscores.present(account, appid))

    def of(self, terms: OrderTerms | None) -> PayScore:
        return self._guarded(self._payscores.of(terms))

    def _guarded(self, speaking: PayScore) -> PayScore:
        return self.current if speaking is self._payscores.current else GuardedPayScore(speaking, self._breaker)

    def terms_in(self, create: Call) -> OrderTerms | None:
        return self._payscores.terms_in(create)

    async def probe(self) -> bool:
        """Ask, past the breaker, for an order that nobody made; any answer will do that does not refuse us."""
        try:
            await self._payscores.current.query(f"probe-{uuid4().hex[:16]}")
        except WechatPayRejected as error:
            return error.refusal is not Refusal.NOT_PERMITTED
        except MalformedMessage:
            return True  # signed, so WeChat Pay is there
        except WechatPayError:
            return False
        return True
