"""The numbers that WeChat Pay gives: to an order, to a debit, and to a refund."""

import itertools
from collections.abc import Callable
from datetime import datetime

from payscore_worker.simulator.service_time import SHANGHAI


class Numbers:
    """Each kind begins with the time of the start, so that a second start repeats none."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        started_ms = int(clock().timestamp() * 1000)
        self._orders = itertools.count(started_ms)
        self._transactions = itertools.count(started_ms * 10)
        self._trades = itertools.count(started_ms)
        self._refunds = itertools.count(started_ms)

    def next_order_id(self) -> str:
        """31 digits that begin with 1000000000 and the date (reference payscore-api B.3)."""
        return f"1000000000{self._today()}{next(self._orders):013d}"

    def next_transaction_id(self) -> str:
        return f"4200000000{self._today()}{next(self._transactions):014d}"

    def next_out_trade_no(self) -> str:
        """Of an automatic debit, which the merchant gave no number (reference payscore-api G.1)."""
        return f"PS{self._today()}{next(self._trades):022d}"

    def next_refund_id(self) -> str:
        return f"5030000000{self._today()}{next(self._refunds):013d}"

    def _today(self) -> str:
        return self._clock().astimezone(SHANGHAI).strftime("%Y%m%d")
