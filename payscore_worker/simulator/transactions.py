"""What was really charged, whatever product charged it: what a refund is checked against."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    transaction_id: str
    out_trade_no: str
    """Made up by WeChat Pay where it debits by itself."""
    out_order_no: str
    """The number by which the product, its ledger and its faults know the order."""
    appid: str
    openid: str
    total_fen: int
    """What was to be paid, the coupon included."""
    payer_total_fen: int
    """What the passenger paid of it."""
    at: float
    """Seconds on the agenda's clock."""
    paid_at: datetime


class Transactions:
    """Products write here what they charge, and strike it out when they forget the order: it is bounded by theirs."""

    def __init__(self) -> None:
        self._by_id: dict[str, Transaction] = {}
        self._by_out_trade_no: dict[str, Transaction] = {}

    def note(self, transaction: Transaction) -> None:
        self._by_id[transaction.transaction_id] = transaction
        self._by_out_trade_no[transaction.out_trade_no] = transaction

    def find(self, *, transaction_id: str, out_trade_no: str) -> Transaction | None:
        """By whichever of the two is given."""
        return self._by_id.get(transaction_id) or self._by_out_trade_no.get(out_trade_no)

    def forget(self, transaction_id: str) -> None:
        transaction = self._by_id.pop(transaction_id, None)
        if transaction is not None:
            del self._by_out_trade_no[transaction.out_trade_no]
