"""What the overview shows: read every few seconds at most, however many watch, and not at all while nobody does."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from payscore_worker.console.depths import DepthRing, Look
from payscore_worker.console.verdict import Finding, Severity, Situation, findings, worst
from payscore_worker.errors import StorageUnavailable
from payscore_worker.ops.policies import PolicyLook
from payscore_worker.storage.browsing import Browsing, Money
from payscore_worker.storage.refunds import RefundReports
from payscore_worker.storage.standing import Some, Standing
from payscore_worker.wechatpay import Breakers

FRESH_SECONDS: Final = 2.0
"""Pages ask every five seconds; many of them share one answer."""

DAY: Final = timedelta(days=1)

MONEY_FRESH_SECONDS: Final = 30.0
MONEY_SHARE: Final = 0.05
"""Summing up a city's day takes long; at most this part of the time goes into it."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySums:
    """The trips of the last day."""

    at: datetime
    money: Money
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything at a glance."""

    at: datetime
    standing: Standing | None
    sums: DaySums | None
    look: Look | None
    breaker: str
    beside_worker: bool
    """Whether the breaker is a worker's."""
    policies_unseen: str
    """Why it is not known whether policies lose messages; empty: it is."""
    findings: list[Finding]

    @property
    def severity(self) -> Severity:
        """Whether money is stuck."""
        return worst(self.findings)


class Watch:
    """Reads the overview, once for all who ask at the same time."""

    def __init__(
        self,
        *,
        browsing: Browsing,
        ring: DepthRing,
        breakers: Breakers,
        is_linked: Callable[[], bool],
        beside_worker: bool,
        policies: PolicyLook,
        clock: Callable[[], datetime],
    ) -> None:
        self._browsing = browsing
        self._ring = ring
        self._breakers = breakers
        self._is_linked = is_linked
        self._beside_worker = beside_worker
        self._policies = policies
        self._clock = clock
        self._began = clock()
        self._lock = asyncio.Lock()
        self._overview: Overview | None = None
        self._read_at = 0.0
        self._sums: DaySums | None = None
        self._next_sums_at = 0.0

    async def overview(self) -> Overview:
        """Give the overview, a few seconds old at most."""
        async with self._lock:
            if self._overview is None or time.monotonic() - self._read_at > FRESH_SECONDS:
                self._overview = await self._read()
                self._read_at = time.monotonic()
            return self._overview

    async def _read(self) -> Overview:
        now = self._clock()
        try:
            standing: Standing | None = await self._browsing.standing(now)
            refunds_with_problem = await RefundReports(self._browsing).with_problem(now)
            await self._sum_up(now)
        except StorageUnavailable as error:
            log.info("console_look_left_out", reason=str(error))
            standing, refunds_with_problem = None, Some(count=0, oldest=timedelta())
        reasons = {account: reason.value for account, reason in self._breakers.reasons.items()}
        breaker = next(iter(reasons.values()), "") if self._breakers.is_open else ""
        situation = Situation(
            now=now,
            standing=standing,
            look=self._ring.newest,
            breaker=breaker,
            accounts_out={} if breaker else reasons,
            watching_since=self._began,
            is_linked=self._is_linked(),
            beside_worker=self._beside_worker,
            policies=self._policies.newest,
            refunds_with_problem=refunds_with_problem,
        )
        return Overview(
            at=now,
            standing=standing,
            sums=self._sums,
            look=self._ring.newest,
            breaker=breaker,
            beside_worker=self._beside_worker,
            policies_unseen=self._policies.newest.unseen,
            findings=findings(situation),
        )

    async def _sum_up(self, now: datetime) -> None:
        """Sum up the last day, if that is due; where it takes too long, the last sums stand, with their time."""
        began = time.monotonic()
        if began < self._next_sums_at:
            return
        try:
            money = await self._browsing.money(now - DAY)
            ended = await self._browsing.ended_since(now - DAY)
        except StorageUnavailable as error:
            log.info("console_sums_left_out", reason=str(error))
        else:
            self._sums = DaySums(at=now, money=money, ended=ended)
        took = time.monotonic() - began
        self._next_sums_at = began + max(MONEY_FRESH_SECONDS, took / MONEY_SHARE)
