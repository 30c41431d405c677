"""A circuit breaker: while WeChat Pay is out, or our clock wrong, nobody calls but one probe at a time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from tenacity import AsyncRetrying, retry_if_result, wait_exponential_jitter

from payscore_worker import metrics
from payscore_worker.domain.account import DEFAULT
from payscore_worker.errors import AccountOut, FailureClass, WechatPayError

log = structlog.stdlib.get_logger(__name__)


OPENS_AFTER: Final[Mapping[FailureClass, int]] = {
    FailureClass.UNREACHABLE: 5,
    FailureClass.TROUBLE: 5,
    FailureClass.UNVERIFIED: 5,
    FailureClass.FOREIGN: 5,
    FailureClass.THROTTLED: 10,
    FailureClass.MISCONFIGURED: 3,
}
"""Calls that fail alike, one after the other and with no success between, each after its quick tries.

One order that WeChat Pay cannot digest does not come so often; a second of an outage does. Throttling has its own
remedy, the pace, and is given more time. What is wrong with the merchant is wrong with every call.
"""

REMEDIES: Final[Mapping[FailureClass, str]] = {
    FailureClass.MISCONFIGURED: "WeChat Pay refuses this merchant: run `payscore-worker doctor`",
    FailureClass.FOREIGN: "answers come from something between us and WeChat Pay: look at proxies and firewalls",
    FailureClass.UNVERIFIED: "answers are not signed as they should be: look at keys, clock and proxies",
    FailureClass.CLOCK: "see that NTP sets this machine's clock, and the database's",
}
"""What a person can do; the other classes pass by themselves."""

FIRST_PROBE_SECONDS: Final = 1.0
LONGEST_PROBE_SECONDS: Final = 30.0
"""An outage that ends is noticed within this time; one that lasts costs two calls a minute."""

Probe = Callable[[], Awaitable[bool]]
"""Makes a call that changes nothing; tells whether WeChat Pay answered."""


class Breaker:
    """Counts failures by class, opens, and closes again when a probe is answered."""

    def __init__(
        self,
        *,
        account: str = DEFAULT,
        clock_trouble: Callable[[], str] = lambda: "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.account: Final = account
        self._clock_trouble = clock_trouble
        """Says what is wrong with our clock, if anything is."""
        self._sleep = sleep
        self._failures: Counter[FailureClass] = Counter()
        self._not_permitted = 0
        self._closed = asyncio.Event()
        self._closed.set()
        self._opened = asyncio.Event()
        self.reason: FailureClass | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are held back."""
        return self._opened.is_set()

    def admit(self) -> None:
        """Let a call pass.

        Raises:
            AccountOut: WeChat Pay is out for this account, or our clock is wrong.

        """
        if trouble := self._clock_trouble():
            self._open(FailureClass.CLOCK, why=trouble)
        if self.is_open:
            raise AccountOut(f"no calls to WeChat Pay now ({self.reason}); this one was not made")

    def succeeded(self) -> None:
        """Note an answer, even one that refuses: WeChat Pay is there."""
        self._failures.clear()

    def failed(self, error: WechatPayError) -> None:
        """Note that a call has failed for good; open, if it is one too many."""
        kind = error.failure
        self._failures[kind] += 1
        if self._failures[kind] >= OPENS_AFTER[kind]:
            self._open(kind, why=error.code or error.message)

    def permitted(self) -> None:
        """Note that an order was accepted: we may open orders."""
        self._not_permitted = 0

    def not_permitted(self, code: str) -> None:
        """Note that a passenger who has enabled the service was refused: one may be odd, several in a row are not."""
        self._not_permitted += 1
        if self._not_permitted >= OPENS_AFTER[FailureClass.MISCONFIGURED]:
            self._open(FailureClass.MISCONFIGURED, why=code)

    def _open(self, kind: FailureClass, *, why: str) -> None:
        if self.is_open:
            return
        self.reason = kind
        self._closed.clear()
        self._opened.set()
        metrics.of(metrics.BREAKER_OPENED, self.account, kind.value).inc()
        log.error("breaker_opened", account=self.account, reason=kind.value, why=why, remedy=REMEDIES.get(kind, ""))

    async def opened(self) -> None:
        """Wait until calls are held back."""
        await self._opened.wait()

    async def closed(self) -> None:
        """Wait until calls are let through."""
        await self._closed.wait()

    async def run(self, probe: Probe) -> None:
        """Probe whenever it is open, until cancelled."""
        while True:
            await self._opened.wait()
            await self._sleep(FIRST_PROBE_SECONDS)
            await AsyncRetrying(
                sleep=self._sleep,
                retry=retry_if_result(lambda answered: not answered or bool(self._clock_trouble())),
                wait=wait_exponential_jitter(multiplier=FIRST_PROBE_SECONDS, max=LONGEST_PROBE_SECONDS),
            )(probe)
            self.close()

    def close(self) -> None:
        """Let calls through again."""
        log.warning("breaker_closed", account=self.account, reason=self.reason.value if self.reason is not None else "")
        self._failures.clear()
        self._not_permitted = 0
        self.reason = None
        self._opened.clear()
        self._closed.set()


class Breakers:
    """The breakers of every account. What they share, consuming before all, rests only while each of them is open."""

    def __init__(self, by_account: Mapping[str, Breaker]) -> None:
        self.by_account: Final = by_account

    @property
    def is_open(self) -> bool:
        """Whether calls are held back for every account."""
        return all(one.is_open for one in self.by_account.values())

    @property
    def reasons(self) -> dict[str, FailureClass]:
        """Why calls are held back, by the accounts for which they are."""
        return {name: one.reason for name, one in self.by_account.items() if one.reason is not None}

    async def opened(self) -> None:
        """Wait until calls are held back for every account."""
        while not self.is_open:  # while we wait for the last one, the first may have closed again
            await asyncio.gather(*(one.opened() for one in self.by_account.values()))

    async def closed(self) -> None:
        """Wait until calls are let through for an account."""
        waiting = [asyncio.ensure_future(one.closed()) for one in self.by_account.values()]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
