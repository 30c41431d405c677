"""A clock that stands still until it is moved."""

from datetime import datetime, timedelta, timezone

SHANGHAI = timezone(timedelta(hours=8))


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 10, 0, 0, 250_000, tzinfo=SHANGHAI)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def text(self, seconds: float = 0) -> str:
        """The service time so many seconds from now."""
        return (self.now + timedelta(seconds=seconds)).strftime("%Y%m%d%H%M%S")

    def day(self, days: int = 0) -> str:
        return (self.now + timedelta(days=days)).strftime("%Y%m%d")
