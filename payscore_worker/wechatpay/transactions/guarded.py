"""Refunds behind a circuit breaker: the same port, and calls are held back while WeChat Pay is out."""

from collections.abc import Mapping
from typing import Any

from payscore_worker.wechatpay.breaker import Breaker
from payscore_worker.wechatpay.calls import Answer, Call
from payscore_worker.wechatpay.guarding import guarded
from payscore_worker.wechatpay.transactions.port import NewRefund, Refunds, RefundTold


class GuardedRefunds:
    """Refunds that are not called for while the breaker is open."""

    def __init__(self, refunds: Refunds, breaker: Breaker) -> None:
        self._refunds = refunds
        self._breaker = breaker

    @property
    def mchid(self) -> str:
        return self._refunds.mchid

    def of(self, mchid: str) -> Refunds:
        self._refunds.of(mchid)
        return self

    def request(self, new: NewRefund) -> Call:
        return self._refunds.request(new)

    async def send(self, call: Call) -> Answer:
        return await guarded(self._breaker, lambda: self._refunds.send(call))

    async def query(self, out_refund_no: str) -> tuple[RefundTold, Answer]:
        return await guarded(self._breaker, lambda: self._refunds.query(out_refund_no))

    def read(self, data: Mapping[str, Any]) -> RefundTold:
        return self._refunds.read(data)
