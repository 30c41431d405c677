"""What a merchant says to have money sent back (reference payscore-api G.1)."""

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from payscore_worker.simulator.addresses import MAX_REFUND_NOTIFY_URL, check_notify_url
from payscore_worker.simulator.members import Body, Fen, PositiveFen, Text32, Text256, shaped
from payscore_worker.simulator.refusals import ONLY_DEPOSITS, Refused, bad_parameter, out_of_range

REFUND_NUMBER: Final = re.compile(r"\A[0-9A-Za-z_\-|*@]{1,64}\Z")
MAX_REASON_BYTES: Final = 80
"""Bytes: some documents count them, others characters, and what fits as bytes fits under both."""


class From(Struct, frozen=True, kw_only=True):
    account: Literal["AVAILABLE", "UNAVAILABLE"]
    amount: PositiveFen


class Amount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    refund: PositiveFen
    total: PositiveFen
    currency: Literal["CNY"]
    from_: tuple[From, ...] = msgspec.field(default=(), name="from")


class Goods(Struct, frozen=True, kw_only=True, omit_defaults=True):
    merchant_goods_id: Text32
    wechatpay_goods_id: Text32 | None = None
    goods_name: Text256 | None = None
    unit_price: Fen
    refund_amount: Fen
    refund_quantity: Annotated[int, Meta(ge=1)]


class RefundRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    transaction_id: Text32 | None = None
    out_trade_no: Text32 | None = None
    out_refund_no: Annotated[str, Meta(pattern=REFUND_NUMBER.pattern)]
    reason: Annotated[str, Meta(min_length=1)] | None = None
    notify_url: str | None = None
    funds_account: Literal["AVAILABLE", "UNSETTLED"] | None = None
    amount: Amount
    goods_detail: tuple[Goods, ...] = ()


class Named(Struct, frozen=True):
    """What a request names, however wrong the rest of it may be."""

    transaction_id: str = ""
    out_trade_no: str = ""
    out_refund_no: str = ""


def read_refund(body: Body) -> RefundRequest:
    """The request, checked by every rule that needs nothing but the request."""
    request = shaped(body, RefundRequest)
    if (request.transaction_id is None) == (request.out_trade_no is None):
        raise bad_parameter("/transaction_id", "give exactly one of transaction_id and out_trade_no")
    if request.reason is not None and len(request.reason.encode()) > MAX_REASON_BYTES:
        raise out_of_range("/reason", f"longer than {MAX_REASON_BYTES} bytes")
    if request.notify_url is not None:
        check_notify_url(request.notify_url, longest=MAX_REFUND_NOTIFY_URL)
    if request.amount.from_ and sum(part.amount for part in request.amount.from_) != request.amount.refund:
        raise bad_parameter("/amount/from", "must add up to the refund")
    if request.funds_account == "UNSETTLED":
        raise Refused(ONLY_DEPOSITS)
    return request


def named_by(body: bytes) -> Named:
    try:
        return msgspec.json.decode(body, type=Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Named()
