"""A circuit breaker: while WeChat Pay is out, nobody calls but one probe at a time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import structlog
from tenacity import AsyncRetrying, retry_if_result, wait_exponential_jitter

from payscore_worker import metrics
from payscore_worker.errors import HeldBack, WechatPayError

log = structlog.stdlib.get_logger(__name__)


class FailureClass(StrEnum):
    """How WeChat Pay can be out."""

    UNREACHABLE = "unreachable"
    """No answer at all."""
    TROUBLE = "trouble"
    """It says so itself: 5xx."""
    UNVERIFIED = "unverified"
    """Answers that cannot be believed."""
    THROTTLED = "throttled"
    """Too many calls, and slowing down has not helped."""


OPENS_AFTER: Final[Mapping[FailureClass, int]] = {
    FailureClass.UNREACHABLE: 5,
    FailureClass.TROUBLE: 5,
    FailureClass.UNVERIFIED: 5,
    FailureClass.THROTTLED: 10,
}
"""Calls that fail alike, one after the other and with no success between, each after its quick tries.

One order that WeChat Pay cannot digest does not come so often; a second of an outage does. Throttling has its own
remedy, the pace, and is given more time.
"""

FIRST_PROBE_SECONDS: Final = 1.0
LONGEST_PROBE_SECONDS: Final = 30.0
"""An outage that ends is noticed within this time; one that lasts costs two calls a minute."""

Probe = Callable[[], Awaitable[bool]]
"""Makes a call that changes nothing; tells whether WeChat Pay answered."""


class Breaker:
    """Counts failures by class, opens, and closes again when a probe is answered."""

    def __init__(self) -> None:
        self._failures: Counter[FailureClass] = Counter()
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
            HeldBack: WeChat Pay is out.

        """
        if self.is_open:
            raise HeldBack(f"WeChat Pay is out ({self.reason}); the call was not made")

    def succeeded(self) -> None:
        """Note an answer, even one that refuses: WeChat Pay is there."""
        self._failures.clear()

    def failed(self, error: WechatPayError) -> None:
        """Note that a call has failed for good; open, if it is one too many."""
        kind = failure_class(error)
        self._failures[kind] += 1
        if self._failures[kind] >= OPENS_AFTER[kind] and not self.is_open:
            self.reason = kind
            self._closed.clear()
            self._opened.set()
            metrics.of(metrics.BREAKER_OPENED, kind.value).inc()
            log.error("breaker_opened", reason=kind.value, failures=self._failures[kind])

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
            await asyncio.sleep(FIRST_PROBE_SECONDS)
            await AsyncRetrying(
                retry=retry_if_result(lambda answered: not answered),
                wait=wait_exponential_jitter(multiplier=FIRST_PROBE_SECONDS, max=LONGEST_PROBE_SECONDS),
            )(probe)
            self.close()

    def close(self) -> None:
        """Let calls through again."""
        log.warning("breaker_closed", reason=self.reason.value if self.reason is not None else "")
        self._failures.clear()
        self.reason = None
        self._opened.clear()
        self._closed.set()


def failure_class(error: WechatPayError) -> FailureClass:
    """Tell how WeChat Pay is out by what an attempt brought (reference payscore-api F.1)."""
    if error.status is None:
        return FailureClass.UNREACHABLE
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureClass.THROTTLED
    return FailureClass.TROUBLE if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else FailureClass.UNVERIFIED
