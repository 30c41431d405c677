"""WeChat Pay's clock: China Standard Time on the wire, two spellings on the way back."""

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Final

SHANGHAI: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
"""China has had one time zone and no summer time since 1991; the offset is fixed."""

CLOCK_MARGIN: Final = timedelta(seconds=10)
"""Keep this between a service time and now: clocks disagree (reference payscore-api section 0, rule 9)."""

FIRST_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
END_OF_TIME: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""WeChat Pay is younger than the one. Near the ends of the calendar no time can be brought to another zone."""

_WALL_CLOCK: Final = re.compile(r"[0-9]{14}")
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def wall_clock(moment: datetime) -> str:
    """Write `yyyyMMddHHmmss` as a clock in Shanghai shows it (reference payscore-api B.2)."""
    if moment.utcoffset() is None:
        raise ValueError("a service time needs its time zone")
    return re.sub(r"\D", "", moment.astimezone(SHANGHAI).isoformat(timespec="seconds")[:19])


def read_time(text: str) -> datetime | None:
    """Read `yyyyMMddHHmmss` in Shanghai time, or RFC 3339; None for anything else: a bare day, another century."""
    try:
        if _WALL_CLOCK.fullmatch(text):
            return _ours(datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=SHANGHAI))
        if _RFC_3339.fullmatch(text):
            return _ours(datetime.fromisoformat(text))
    except ValueError:  # the shape of a time, but no such day or hour
        return None
    return None


def read_date(header: str) -> datetime | None:
    """Read a `Date` header; None for anything that is no moment of our times."""
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return None if moment.tzinfo is None else _ours(moment)


def within_our_times(moment: datetime) -> datetime:
    """Move a moment that is too far away to where our times begin or end."""
    return max(FIRST_MOMENT, min(moment, END_OF_TIME))


def _ours(moment: datetime) -> datetime | None:
    return moment if FIRST_MOMENT <= moment < END_OF_TIME else None


def latest_end(now: datetime) -> datetime:
    """Say how late a service may end when the call that ends it is made now."""
    return now - CLOCK_MARGIN


def earliest_start(now: datetime) -> datetime:
    """Say how early a service may start, where the start is sent in seconds (B.2: it must lie after the call)."""
    return now + CLOCK_MARGIN
