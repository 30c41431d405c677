"""Every refund, and what was asked about it: bounded by the transactions that are kept."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from payscore_worker.simulator.notes import Notes
from payscore_worker.simulator.refunds.requests import RefundRequest
from payscore_worker.simulator.shelf import Shelf
from payscore_worker.simulator.transactions import Transaction

MAX_REFUNDS: Final = 50
"""Of one payment (reference payscore-api G.1)."""
MAX_NUMBERS: Final = 2 * MAX_REFUNDS
"""Numbers remembered of one payment: all that were accepted, and the latest of those that were only tried."""


class RefundStatus(StrEnum):
    """In WeChat Pay's words."""

    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    ABNORMAL = "ABNORMAL"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    refund_id: str
    transaction: Transaction
    request: RefundRequest
    fingerprint: bytes
    payer_refund_fen: int
    """What the passenger is sent; the rest of it was a coupon."""
    accepted_at: datetime
    accepted_at_seconds: float
    """On the agenda's clock."""
    status: RefundStatus = RefundStatus.PROCESSING
    succeeded_at: datetime | None = None

    @property
    def out_refund_no(self) -> str:
        return self.request.out_refund_no

    @property
    def refund_fen(self) -> int:
        return self.request.amount.refund

    @property
    def held_fen(self) -> int:
        """What may not be refunded again: a refund that was closed gives its amount back."""
        return 0 if self.status is RefundStatus.CLOSED else self.refund_fen

    @property
    def payer_held_fen(self) -> int:
        return 0 if self.status is RefundStatus.CLOSED else self.payer_refund_fen

    @property
    def refunded_fen(self) -> int:
        """What the passenger has received."""
        return self.payer_refund_fen if self.status is RefundStatus.SUCCESS else 0

    def ended(self, status: RefundStatus, *, at: datetime) -> Self:
        return replace(self, status=status, succeeded_at=at if status is RefundStatus.SUCCESS else None)


@dataclass(slots=True)
class RefundPage(Notes):
    """What the book knows about one out_refund_no and the payment it was tried on."""

    out_refund_no: str
    transaction_id: str
    refund: Refund | None = None
    earlier: Refund | None = None
    """The refund as it stood before its last change."""


@dataclass(slots=True)
class Account:
    """What was asked back of one payment."""

    pages: Shelf[RefundPage] = field(default_factory=lambda: Shelf(capacity=MAX_NUMBERS))
    refused_elsewhere: int = 0
    """Refused calls under numbers that had to make room."""

    @property
    def refunds(self) -> list[Refund]:
        return [page.refund for page in self.pages.values() if page.refund]

    @property
    def refused_count(self) -> int:
        return self.refused_elsewhere + sum(page.refused_count for page in self.pages.values())


class WrongBalance(ValueError):
    """Nobody has less than nothing to refund from."""


class RefundBook:
    def __init__(self, *, balance_fen: int | None) -> None:
        self.balance_fen = balance_fen
        """What the merchant has to refund from; None: always enough."""
        self._accounts: dict[str, Account] = {}
        self._accepted: dict[str, RefundPage] = {}

    def open_page(self, transaction_id: str, out_refund_no: str) -> RefundPage:
        """The page of that number, or a new one, which is the first to make room until a refund is saved on it."""
        account = self._accounts.setdefault(transaction_id, Account())
        page = account.pages.get(out_refund_no)
        if page is None:
            page = RefundPage(out_refund_no, transaction_id)
            displaced = account.pages.put(out_refund_no, page)
            account.pages.finish(out_refund_no)
            account.refused_elsewhere += displaced.refused_count if displaced else 0
        return page

    def page(self, out_refund_no: str) -> RefundPage | None:
        """That of an accepted refund."""
        return self._accepted.get(out_refund_no)

    def refund(self, out_refund_no: str) -> Refund | None:
        page = self._accepted.get(out_refund_no)
        return page.refund if page else None

    def account(self, transaction_id: str) -> Account:
        return self._accounts.get(transaction_id) or Account()

    def accounts(self, transaction_ids: Iterable[str]) -> list[Account]:
        """Of those payments that anything was asked back of."""
        return [self._accounts[one] for one in transaction_ids if one in self._accounts]

    def refunded_fen(self, transaction_ids: Iterable[str]) -> int:
        """What passengers have received back of these payments."""
        return sum(refund.refunded_fen for account in self.accounts(transaction_ids) for refund in account.refunds)

    def save(self, refund: Refund) -> None:
        transaction_id, out_refund_no = refund.transaction.transaction_id, refund.out_refund_no
        page = self._accepted[out_refund_no] = self.open_page(transaction_id, out_refund_no)
        self._accounts[transaction_id].pages.reopen(out_refund_no)
        page.earlier, page.refund = page.refund, refund
        if self.balance_fen is not None:
            self.balance_fen += (page.earlier.held_fen if page.earlier else 0) - refund.held_fen

    def set_balance(self, balance_fen: int | None) -> None:
        if balance_fen is not None and balance_fen < 0:
            raise WrongBalance(f"a balance must not be negative: {balance_fen}")
        self.balance_fen = balance_fen

    def forget(self, transaction_id: str) -> int:
        """Strikes out the refunds of a payment; what of it the passenger has received."""
        refunded_fen = self.refunded_fen([transaction_id])
        for refund in self._accounts.pop(transaction_id, Account()).refunds:
            del self._accepted[refund.out_refund_no]
        return refunded_fen
