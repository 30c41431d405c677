"""What the judge tells of the refunds of one order."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from payscore_worker.simulator.calls import CallKind
from payscore_worker.simulator.notes import RefusedCall
from payscore_worker.simulator.refunds.book import RefundBook, RefundPage, RefundStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundEntry:
    out_refund_no: str
    transaction_id: str
    refund_id: str | None
    """None, like the next four: it was never accepted under this number."""
    amount_fen: int | None
    """What the merchant asked for."""
    payer_refund_fen: int | None
    """What the passenger is sent of it; the rest is a coupon."""
    status: RefundStatus | None
    at: datetime | None
    """When it was accepted."""
    creates: int
    """Accepted ones, identical re-entries included."""
    bodies: list[str]
    """The SHA-256 of every different body that arrived under this number, accepted or not."""
    refused: list[RefusedCall]
    refused_count: int


def read_refunds(book: RefundBook, transaction_ids: Iterable[str]) -> list[RefundEntry]:
    """In the order in which they were accepted; those that never were come first."""
    entries = [read_refund_page(page) for account in book.accounts(transaction_ids) for page in account.pages.values()]
    return sorted(entries, key=lambda entry: entry.refund_id or "")


def read_refund_page(page: RefundPage) -> RefundEntry:
    refund = page.refund
    return RefundEntry(
        out_refund_no=page.out_refund_no,
        transaction_id=page.transaction_id,
        refund_id=refund.refund_id if refund else None,
        amount_fen=refund.refund_fen if refund else None,
        payer_refund_fen=refund.payer_refund_fen if refund else None,
        status=refund.status if refund else None,
        at=refund.accepted_at if refund else None,
        creates=page.accepted[CallKind.REFUND],
        bodies=list(page.bodies.get(CallKind.REFUND, ())),
        refused=list(page.refused),
        refused_count=page.refused_count,
    )
