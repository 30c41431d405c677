"""The numbers that WeChat Pay gives: to an order, and to a debit."""

import itertools
from collections.abc import Callable
from datetime import datetime

from payscore_worker.simulator.service_time import SHANGHAI


class Numbers:
    """order_id and transaction_id; they begin with the time of the start, so that a second start repeats none."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        started_ms = int(clock().timestamp() * 1000)
        self._orders = itertools.count(started_ms)
        self._transactions = itertools.count(started_ms * 10)

    def next_order_id(self) -> str:
        """31 digits that begin with 1000000000 and the date (reference payscore-api B.3)."""
        return f"1000000000{self._today()}{next(self._orders):013d}"

    def next_transaction_id(self) -> str:
        return f"4200000000{self._today()}{next(self._transactions):014d}"

    def _today(self) -> str:
        return self._clock().astimezone(SHANGHAI).strftime("%Y%m%d")
