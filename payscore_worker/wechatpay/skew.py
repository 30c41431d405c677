"""By how much our clock is ahead of WeChat Pay's, as its answers tell."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from payscore_worker.clocks import are_apart, trouble_with

TOLD_TO: Final = timedelta(seconds=1)
"""WeChat Pay tells whole seconds."""

log = structlog.stdlib.get_logger(__name__)


class Skew:
    """Only what is signed says that our clock is wrong; that it is right again, any answer may say."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        """The least by which our clock must be ahead; below nothing it is behind."""

    @property
    def is_off(self) -> bool:
        """Whether our clock is too far from WeChat Pay's."""
        return are_apart(self.ahead)

    @property
    def ahead_seconds(self) -> float:
        """The same in seconds."""
        return self.ahead.total_seconds()

    @property
    def trouble(self) -> str:
        """What is wrong with our clock, if anything is."""
        return trouble_with(self.ahead, "WeChat Pay's")

    def signed(self, told: datetime, *, sent: datetime, came: datetime) -> None:
        """Note the time in an answer that was verified, sent for and come when our clock showed this."""
        was_off, self.ahead = self.is_off, _least(told, sent, came)
        self._say(was_off=was_off)

    def unsigned(self, told: datetime | None, *, sent: datetime, came: datetime) -> None:
        """Note the time in an answer that nobody has signed: a probe gets no other."""
        if self.is_off and told is not None and not are_apart(_least(told, sent, came)):
            self.ahead = _least(told, sent, came)
            self._say(was_off=True)

    def _say(self, *, was_off: bool) -> None:
        ahead = round(self.ahead_seconds, 1)
        if self.is_off and not was_off:
            log.error("clock_off", ahead_of_wechatpay_seconds=ahead, remedy="see that NTP sets this machine's clock")
        elif was_off and not self.is_off:
            log.warning("clock_right_again", ahead_of_wechatpay_seconds=ahead)


def _least(told: datetime, sent: datetime, came: datetime) -> timedelta:
    """Find the least skew that explains it: the answer was made between the two, however long it was on its way."""
    at_least, at_most = sent - told - TOLD_TO, came - told
    return max(at_least, timedelta()) + min(at_most, timedelta())
