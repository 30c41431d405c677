"""Money, ages and moments as people read them."""

from datetime import datetime, timedelta, timezone
from typing import Final

from payscore_worker.console.words import Language

BEIJING: Final = timezone(timedelta(hours=8))
"""The clock of WeChat Pay, of the rides, and of whoever is called at night."""

_SECONDS: Final = (86_400, 3_600, 60, 1)
_UNITS: Final = {Language.ENGLISH: ("d", "h", "min", "s"), Language.CHINESE: ("天", "小时", "分钟", "秒")}

EXACT_BELOW: Final = 10
"""Of two hours the minutes still matter, of twenty they do not."""


def yuan(fen: int | None) -> str:
    """Write money: ¥1,234.50."""
    if fen is None:
        return "–"
    sign, whole = ("−" if fen < 0 else ""), abs(fen)
    return f"{sign}¥{whole // 100:,}.{whole % 100:02d}"


def count(number: int | None) -> str:
    """Write a number with its thousands apart; what is not known is a dash."""
    return "–" if number is None else f"{number:,}"


def age(span: timedelta, language: Language) -> str:
    """Write how long something takes or how old it is: in its largest unit, and the next where that still matters."""
    seconds = max(int(span.total_seconds()), 0)
    if not seconds and span > timedelta():
        return f"{span // timedelta(milliseconds=1)} {'毫秒' if language is Language.CHINESE else 'ms'}"
    index = next((index for index, length in enumerate(_SECONDS) if seconds >= length), len(_SECONDS) - 1)
    units, length = _UNITS[language], _SECONDS[index]
    text = f"{seconds // length} {units[index]}"
    if index + 1 < len(_SECONDS) and seconds // length < EXACT_BELOW:
        text += f" {seconds % length // _SECONDS[index + 1]} {units[index + 1]}"
    return text


def moment(at: datetime | None) -> str:
    """Write an instant by Beijing's clock, to the second."""
    return "–" if at is None else f"{at.astimezone(BEIJING):%m-%d %H:%M:%S}"


def told_moment(told: str) -> str:
    """Write an instant that somebody else told as text; what is no instant stays as it is."""
    try:
        at = datetime.fromisoformat(told)
        return moment(at) if at.tzinfo is not None else told
    except (ValueError, OverflowError):  # the latter: at the ends of the calendar, another zone may have no such day
        return told or "–"


def clock(at: datetime) -> str:
    """Write the time of day by Beijing's clock, to the millisecond."""
    return f"{at.astimezone(BEIJING):%H:%M:%S}.{at.microsecond // 1000:03d}"


def day(at: datetime) -> str:
    """Write the day by Beijing's clock."""
    return f"{at.astimezone(BEIJING):%Y-%m-%d}"
