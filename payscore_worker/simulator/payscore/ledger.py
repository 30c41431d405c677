"""The judge: what happened to every order, and what was charged."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

from payscore_worker.simulator.calls import CallKind
from payscore_worker.simulator.notes import RefusedCall
from payscore_worker.simulator.payscore.book import Forgotten, Page
from payscore_worker.simulator.payscore.orders import Order, Stage
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.refunds.ledger import RefundEntry, read_refunds


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    transaction_id: str
    amount_fen: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    out_order_no: str
    order_id: str | None
    """None, like the next five: no create was ever accepted."""
    family: str | None
    openid: str | None
    """None also as long as nobody has opened an order that is to be confirmed."""
    state: str | None
    """As the family says it."""
    stage: Stage | None
    """The same word for both families."""
    total_fen: int | None
    """None until the order is completed."""
    charged_fen: int
    charges: list[Charge]
    refunded_fen: int
    """What the passenger has received back, never more than was charged; a coupon's part is nobody's money."""
    refunds: list[RefundEntry]
    """Every number that a refund of these charges was tried under."""
    creates: int
    """Accepted ones, identical re-entries included; so with completes and cancels."""
    completes: int
    cancels: int
    bodies: dict[CallKind, list[str]]
    """The SHA-256 of every different body that arrived, accepted or not."""
    refused: list[RefusedCall]
    refused_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    orders: int
    by_stage: dict[Stage, int]
    total_fen: int
    charged_fen: int
    charges: int
    refunded_fen: int
    refunds: int
    """Accepted ones, however they ended."""
    refused_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    orders: dict[str, LedgerEntry]
    totals: Totals
    forgotten: Forgotten


def read_ledger(state: PayScoreState) -> Ledger:
    entries = [read_page(page, state) for page in state.book.pages()]
    accounts = state.refunds.accounts(charge.transaction_id for entry in entries for charge in entry.charges)
    stages = Counter(entry.stage for entry in entries if entry.stage)
    totals = Totals(
        orders=sum(stages.values()),
        by_stage={stage: stages[stage] for stage in Stage},
        total_fen=sum(entry.total_fen or 0 for entry in entries),
        charged_fen=sum(entry.charged_fen for entry in entries),
        charges=sum(len(entry.charges) for entry in entries),
        refunded_fen=sum(entry.refunded_fen for entry in entries),
        refunds=sum(1 for entry in entries for refund in entry.refunds if refund.refund_id),
        refused_calls=sum(entry.refused_count for entry in entries)
        + sum(account.refused_count for account in accounts),
    )
    return Ledger(
        orders={entry.out_order_no: entry for entry in entries}, totals=totals, forgotten=replace(state.book.forgotten)
    )


def read_page(page: Page, state: PayScoreState) -> LedgerEntry:
    order = page.order
    transaction_ids = order.transaction_ids if order else []
    return LedgerEntry(
        out_order_no=page.out_order_no,
        order_id=order.order_id if order else None,
        family=order.family if order else None,
        openid=order.openid or None if order else None,
        state=state.family(order.family).state(order) if order else None,
        stage=order.stage if order else None,
        total_fen=order.total_fen if order else None,
        charged_fen=order.charged_fen if order else 0,
        charges=_charges(order) if order else [],
        refunded_fen=state.refunds.refunded_fen(transaction_ids),
        refunds=read_refunds(state.refunds, transaction_ids),
        creates=page.accepted[CallKind.CREATE],
        completes=page.accepted[CallKind.COMPLETE],
        cancels=page.accepted[CallKind.CANCEL],
        bodies={kind: list(digests) for kind, digests in page.bodies.items()},
        refused=list(page.refused),
        refused_count=page.refused_count,
    )


def _charges(order: Order) -> list[Charge]:
    return [
        Charge(transaction_id=payment.transaction_id, amount_fen=payment.amount_fen, at=payment.at)
        for payment in order.payments
        if payment.transaction_id
    ]
