"""The port: how money is sent back, and what is told of it, whatever product charged it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from payscore_worker.wechatpay.calls import Answer, Call


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefund:
    out_refund_no: str
    """Our number: the same one, with the same parameters, refunds once (reference payscore-api G.1)."""
    transaction_id: str
    """Of the debit that the money goes back on."""
    amount_fen: int
    total_fen: int
    """Of that transaction, as it was charged, whatever was refunded of it since."""
    reason: str
    """Shown to the passenger; empty for none."""


class RefundStatus(StrEnum):
    """Where a refund stands (reference payscore-api G.1)."""

    PROCESSING = "PROCESSING"
    """Accepted, and no more: the money is not there."""
    SUCCESS = "SUCCESS"
    ABNORMAL = "ABNORMAL"
    """The money cannot be sent the way it came. A person goes on, in the merchant platform."""
    CLOSED = "CLOSED"
    """Nothing was refunded; another attempt takes another number."""
    UNKNOWN = "UNKNOWN"
    """Not said, or said in words that no table knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundTold:
    """A refund as WeChat Pay shows it. Texts are empty, and amounts None, where it says nothing."""

    mchid: str
    """Named by notifications, and not by answers."""
    out_refund_no: str
    refund_id: str
    """WeChat Pay's number."""
    transaction_id: str
    status: RefundStatus
    amount_fen: int | None
    total_fen: int | None
    payer_refund_fen: int | None
    """What the passenger is sent of the amount; less, where a coupon paid a part (reference payscore-api G.1)."""
    succeeded_at: datetime | None


class Refunds(Protocol):
    """The refunds of a merchant. Building a call is apart from sending it, so that its bytes can be kept in between.

    Sending raises WechatPayUnavailable, OutcomeUnknown, MerchantRefused or WechatPayRejected. A refusal that is
    `unsure` leaves an earlier attempt unknown.
    """

    @property
    def mchid(self) -> str: ...

    def of(self, mchid: str) -> "Refunds":
        """Name the refunds of the merchant whom a payment was made to.

        Raises:
            MerchantRefused: another merchant's, so that these keys neither send one nor ask about it.

        """
        ...

    def request(self, new: NewRefund) -> Call:
        """Ask for a refund; a success says that it is accepted. MalformedMessage names what cannot be sent."""
        ...

    async def send(self, call: Call) -> Answer: ...

    async def query(self, out_refund_no: str) -> tuple[RefundTold, Answer]:
        """Ask where the refund stands; an unknown one is refused with Refusal.RESOURCE_NOT_FOUND."""
        ...

    def read(self, data: Mapping[str, Any]) -> RefundTold:
        """Read an answer or a decrypted notification.

        Raises:
            MalformedMessage: out_refund_no is missing, or a member is of another type than documented; the text
                names it.

        """
        ...
