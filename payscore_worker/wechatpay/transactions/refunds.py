"""Refunds by the call that every product shares (reference payscore-api G.1, G.3)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from payscore_worker.errors import FailureClass, MalformedMessage, MerchantRefused
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.reading import Json, fen, member_of, text
from payscore_worker.wechatpay.texts import cap_bytes
from payscore_worker.wechatpay.times import read_time
from payscore_worker.wechatpay.transactions.port import NewRefund, Refunds, RefundStatus, RefundTold

PATH: Final = "/v3/refund/domestic/refunds"

REASON_BYTES: Final = 80
"""Some documents count bytes, others characters: what fits as bytes fits both."""

STATUSES: Final[Mapping[str, RefundStatus]] = {status.value: status for status in RefundStatus}
"""By `status` in answers, `refund_status` in notifications."""

_OUT_REFUND_NO: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""WeChat Pay takes `|*@` too, but would have them escaped in the signed path (reference payscore-api E.1)."""

_TRANSACTION_ID: Final = re.compile(r"[\x21-\x7e]{1,32}")
"""WeChat Pay's own number: printable, and within its length."""


class MerchantRefunds:
    """The refunds of the merchant whose client this is."""

    def __init__(self, client: WechatPayClient) -> None:
        self._client = client

    @property
    def mchid(self) -> str:
        return self._client.merchant.mchid

    def of(self, mchid: str) -> Refunds:
        if mchid != self.mchid:
            raise MerchantRefused(
                f"the refund is of a payment to mchid {mchid}; its keys are not set",
                attempts=0,
                failure=FailureClass.MISCONFIGURED,
            )
        return self

    def request(self, new: NewRefund) -> Call:
        """Ask for a refund. The notify URL is always named: which one is meant otherwise is in doubt (G.4)."""
        _check(new)
        body: dict[str, Any] = {"transaction_id": new.transaction_id, "out_refund_no": new.out_refund_no}
        if reason := cap_bytes(new.reason, REASON_BYTES):
            body["reason"] = reason
        body["notify_url"] = self._client.merchant.notify_url
        body["amount"] = {"refund": new.amount_fen, "total": new.total_fen, "currency": "CNY"}
        return Call(CallKind.REFUND, "POST", PATH, msgspec.json.encode(body))

    async def send(self, call: Call) -> Answer:
        return await self._client.send(call)

    async def query(self, out_refund_no: str) -> tuple[RefundTold, Answer]:
        _check_out_refund_no(out_refund_no)
        answer = await self.send(Call(CallKind.REFUND_QUERY, "GET", f"{PATH}/{out_refund_no}"))
        return self.read(answer.data), answer

    def read(self, data: Mapping[str, Any]) -> RefundTold:
        return read_refund(data)


class AccountRefunds:
    """The refunds of several merchants; the first is that of the default account."""

    def __init__(self, merchants: Sequence[Refunds]) -> None:
        self._default = merchants[0]
        self._by_mchid = {one.mchid: one for one in merchants}

    @property
    def mchid(self) -> str:
        return self._default.mchid

    def of(self, mchid: str) -> Refunds:
        return self._by_mchid.get(mchid, self._default).of(mchid)

    def request(self, new: NewRefund) -> Call:
        return self._default.request(new)

    async def send(self, call: Call) -> Answer:
        return await self._default.send(call)

    async def query(self, out_refund_no: str) -> tuple[RefundTold, Answer]:
        return await self._default.query(out_refund_no)

    def read(self, data: Mapping[str, Any]) -> RefundTold:
        return self._default.read(data)


def read_refund(data: Json) -> RefundTold:
    """Read a refund (reference payscore-api G.1, G.4).

    Raises:
        MalformedMessage: out_refund_no is missing, or a member is of another type than documented; the text names it.

    """
    out_refund_no = text(data, "out_refund_no")
    if not out_refund_no:
        raise MalformedMessage("out_refund_no: missing")
    amount = member_of(data, "amount")
    return RefundTold(
        mchid=text(data, "mchid"),
        out_refund_no=out_refund_no,
        refund_id=text(data, "refund_id"),
        transaction_id=text(data, "transaction_id"),
        status=_status(data),
        amount_fen=fen(amount, "refund"),
        total_fen=fen(amount, "total"),
        payer_refund_fen=fen(amount, "payer_refund"),
        succeeded_at=read_time(text(data, "success_time")),
    )


def _status(data: Json) -> RefundStatus:
    """Read where it stands; answers and notifications call it by different names."""
    answered, notified = text(data, "status"), text(data, "refund_status")
    if answered and notified and answered != notified:
        raise MalformedMessage("status: differs from refund_status")
    return STATUSES.get(answered or notified, RefundStatus.UNKNOWN)


def _check(new: NewRefund) -> None:
    _check_out_refund_no(new.out_refund_no)
    if not _TRANSACTION_ID.fullmatch(new.transaction_id):
        raise MalformedMessage("transaction_id: 1 to 32 printable characters are expected")
    if new.amount_fen <= 0:
        raise MalformedMessage("amount_fen: must be above 0")
    if new.amount_fen > new.total_fen:
        raise MalformedMessage("amount_fen: is more than total_fen")


def _check_out_refund_no(out_refund_no: str) -> None:
    if not _OUT_REFUND_NO.fullmatch(out_refund_no):
        raise MalformedMessage("out_refund_no: 1 to 64 letters, digits, _ or - are expected")
