"""Every order, and what was asked about it: bounded, and the books still balance after something was forgotten."""

from collections import Counter
from dataclasses import dataclass

from payscore_worker.simulator.notes import Notes
from payscore_worker.simulator.payscore.orders import FINISHED, Order, Stage
from payscore_worker.simulator.refunds.book import RefundBook
from payscore_worker.simulator.shelf import Shelf
from payscore_worker.simulator.transactions import Transactions


@dataclass(slots=True)
class Page(Notes):
    """What the book knows about one out_order_no."""

    out_order_no: str
    order: Order | None = None
    earlier: Order | None = None
    """The order as it stood before its last change."""


@dataclass(slots=True)
class Forgotten:
    """The sums of the orders that had to make room."""

    orders: int = 0
    total_fen: int = 0
    charged_fen: int = 0
    refunded_fen: int = 0


class Book:
    def __init__(self, *, max_orders: int, transactions: Transactions, refunds: RefundBook) -> None:
        self._transactions, self._refunds = transactions, refunds
        self._pages: Shelf[Page] = Shelf(capacity=max_orders)
        self._running: Counter[str] = Counter()
        self.forgotten = Forgotten()

    def page(self, out_order_no: str) -> Page | None:
        return self._pages.get(out_order_no)

    def open_page(self, out_order_no: str) -> Page:
        """The page of that number, or a new one, which counts as finished until an order is saved on it."""
        page = self._pages.get(out_order_no)
        if page is None:
            page = Page(out_order_no)
            self._forget(self._pages.put(out_order_no, page))
            self._pages.finish(out_order_no)
        return page

    def order(self, out_order_no: str) -> Order | None:
        page = self._pages.get(out_order_no)
        return page.order if page else None

    def running_of(self, openid: str) -> int:
        return self._running[openid]

    def save(self, order: Order) -> None:
        page = self.open_page(order.out_order_no)
        self._count_running(page.order, -1)
        page.earlier, page.order = page.order, order
        self._count_running(order, +1)
        if order.stage in FINISHED:
            self._pages.finish(order.out_order_no)
        else:
            self._pages.reopen(order.out_order_no)

    def pages(self) -> list[Page]:
        """In the order in which their orders were accepted; those without an order come first."""
        return sorted(self._pages.values(), key=lambda page: page.order.order_id if page.order else "")

    def orders_of(self, openid: str) -> list[Order]:
        """Of this passenger, the newest first."""
        orders = [page.order for page in self._pages.values() if page.order and page.order.openid == openid]
        return sorted(orders, key=lambda order: order.order_id, reverse=True)

    def _count_running(self, order: Order | None, change: int) -> None:
        if order is None or order.stage is not Stage.RUNNING:
            return
        self._running[order.openid] += change
        if not self._running[order.openid]:
            del self._running[order.openid]

    def _forget(self, page: Page | None) -> None:
        if page is None or page.order is None:
            return
        self._count_running(page.order, -1)
        self.forgotten.orders += 1
        self.forgotten.total_fen += page.order.total_fen or 0
        self.forgotten.charged_fen += page.order.charged_fen
        for transaction_id in page.order.transaction_ids:
            self._transactions.forget(transaction_id)
            self.forgotten.refunded_fen += self._refunds.forget(transaction_id)
