"""An order and its life, the same in both families."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from payscore_worker.simulator.members import Entity
from payscore_worker.simulator.service_time import ServiceTime, service_time_of


class Stage(StrEnum):
    CREATED = "created"
    """It waits for the passenger to confirm it: a create that failed, where nobody is to confirm."""
    RUNNING = "running"
    OWING = "owing"
    """Completed; the money is not in."""
    PAID = "paid"
    FREE = "free"
    """Completed with nothing to collect."""
    REVOKED = "revoked"
    EXPIRED = "expired"


COMPLETED: Final = frozenset({Stage.OWING, Stage.PAID, Stage.FREE})
ITEM_BY_HAND: Final = "订单金额"
"""The one item of an order that a person priced in WeChat Pay's console; the name is the simulator's own."""
FINISHED: Final = frozenset({Stage.PAID, Stage.FREE, Stage.REVOKED, Stage.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the merchant asked for at create, in words that both families share."""

    out_order_no: str
    openid: str
    """Empty where the passenger is to confirm: the order is his who opens it."""
    needs_confirm: bool
    risk_fen: int
    start: ServiceTime | None
    """None: OnAccept."""
    end: ServiceTime | None
    notify_url: str | None
    """None: the address configured for the service."""
    members: Entity
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What the merchant said at complete, in words that both families share."""

    total_fen: int
    start: ServiceTime | None
    end: ServiceTime | None
    members: Entity
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    amount_fen: int
    at: datetime
    transaction_id: str | None
    """None: paid to the merchant by another channel (sync); WeChat Pay collected nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    family: str
    order_id: str
    opening: Opening
    start: ServiceTime
    stage: Stage = Stage.RUNNING
    opened_by: str = ""
    """Who opened the page to confirm it; nobody else can any more (reference payscore-api C.3)."""
    visit: str = ""
    """Names the page that is open on it; empty: none is, and it cannot be confirmed."""
    closing: Closing | None = None
    completed_at: datetime | None = None
    completed_with: bytes | None = None
    """The fingerprint of the first complete, which binds every later one (reference payscore-api B.10)."""
    cancelled_with: bytes | None = None
    payments: tuple[Payment, ...] = ()
    was_lowered: bool = False
    """Since it was completed, by the merchant's call or by hand."""

    @property
    def out_order_no(self) -> str:
        return self.opening.out_order_no

    @property
    def openid(self) -> str:
        return self.opened_by or self.opening.openid

    @property
    def total_fen(self) -> int | None:
        return self.closing.total_fen if self.closing else None

    @property
    def paid_fen(self) -> int:
        return sum(payment.amount_fen for payment in self.payments)

    @property
    def charged_fen(self) -> int:
        """What WeChat Pay itself collected."""
        return sum(payment.amount_fen for payment in self.payments if payment.transaction_id)

    @property
    def transaction_ids(self) -> list[str]:
        """Of the debits, which alone can be refunded."""
        return [payment.transaction_id for payment in self.payments if payment.transaction_id]

    @property
    def owed_fen(self) -> int:
        """What is still to be collected once it is completed."""
        return (self.total_fen or 0) - self.paid_fen

    def may_be_lowered_to(self, total_fen: int) -> bool:
        """Strictly lower, and something is left to collect where a part has been (reference payscore-api B.8)."""
        least_fen = self.paid_fen + 1 if self.payments else 0
        return least_fen <= total_fen < (self.total_fen or 0)

    def opened(self, openid: str, *, visit: str) -> Self:
        return replace(self, opened_by=openid, visit=visit)

    def left(self) -> Self:
        return replace(self, visit="")

    def confirmed(self, at: datetime) -> Self:
        """OnAccept is this moment."""
        return replace(self, stage=Stage.RUNNING, start=self.opening.start or service_time_of(at), visit="")

    def completed(self, closing: Closing, *, at: datetime) -> Self:
        stage = Stage.OWING if closing.total_fen else Stage.FREE
        return replace(self, stage=stage, closing=closing, completed_at=at, completed_with=closing.fingerprint)

    def modified(self, closing: Closing) -> Self:
        stage = Stage.OWING if closing.total_fen else Stage.FREE
        return replace(self, stage=stage, closing=closing, was_lowered=True)

    def cancelled(self, fingerprint: bytes) -> Self:
        return replace(self, stage=Stage.REVOKED, cancelled_with=fingerprint)

    def paid(self, payment: Payment) -> Self:
        return replace(self, stage=Stage.PAID, payments=(*self.payments, payment))

    def partly_paid(self, payment: Payment) -> Self:
        return replace(self, payments=(*self.payments, payment))

    def moved(self, stage: Stage) -> Self:
        return replace(self, stage=stage)
