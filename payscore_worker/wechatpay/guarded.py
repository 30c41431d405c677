"""PayScore behind a circuit breaker: the same port, and calls are held back while WeChat Pay is out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from uuid import uuid4

from payscore_worker.errors import HeldBack, WechatPayError, WechatPayRejected
from payscore_worker.wechatpay.breaker import Breaker
from payscore_worker.wechatpay.port import (
    Answer,
    Call,
    Completion,
    NewOrder,
    Order,
    PayScore,
    ServiceChange,
)

T = TypeVar("T")


class GuardedPayScore:
    """A PayScore family that does not call while the breaker is open."""

    def __init__(self, payscore: PayScore, breaker: Breaker) -> None:
        self._payscore = payscore
        self._breaker = breaker

    @property
    def family(self) -> str:
        return self._payscore.family

    @property
    def needs_finish_ticket(self) -> bool:
        return self._payscore.needs_finish_ticket

    def create(self, order: NewOrder) -> Call:
        return self._payscore.create(order)

    def complete(self, completion: Completion) -> Call:
        return self._payscore.complete(completion)

    def cancel(self, *, out_order_no: str, reason: str) -> Call:
        return self._payscore.cancel(out_order_no=out_order_no, reason=reason)

    async def send(self, call: Call) -> Answer:
        return await self._guarded(lambda: self._payscore.send(call))

    async def query(self, out_order_no: str) -> tuple[Order, Answer]:
        return await self._guarded(lambda: self._payscore.query(out_order_no))

    async def service_enabled(self, openid: str) -> tuple[bool, Answer]:
        return await self._guarded(lambda: self._payscore.service_enabled(openid))

    def read_order(self, data: Mapping[str, Any]) -> Order:
        return self._payscore.read_order(data)

    def read_created(self, data: Mapping[str, Any]) -> Order:
        return self._payscore.read_created(data)

    def is_ours(self, order: Order) -> bool:
        return self._payscore.is_ours(order)

    def read_service_change(self, data: Mapping[str, Any]) -> ServiceChange:
        return self._payscore.read_service_change(data)

    def total_cap_fen(self, risk_amount_fen: int) -> int | None:
        return self._payscore.total_cap_fen(risk_amount_fen)

    def enable_jump(self, out_request_no: str) -> dict[str, str]:
        return self._payscore.enable_jump(out_request_no)

    async def probe(self) -> bool:
        """Ask, past the breaker, for an order that nobody made; any answer will do."""
        try:
            await self._payscore.query(f"probe-{uuid4().hex[:16]}")
        except WechatPayRejected:
            return True
        except WechatPayError:
            return False
        return True

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        self._breaker.admit()
        try:
            answer = await call()
        except WechatPayRejected:
            self._breaker.succeeded()
            raise
        except HeldBack:  # tells nothing of WeChat Pay
            raise
        except WechatPayError as error:
            self._breaker.failed(error)
            raise
        self._breaker.succeeded()
        return answer
