"""Service times: China Standard Time wall-clock texts without an offset (reference payscore-api, conventions)."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from payscore_worker.simulator.refusals import bad_parameter

SHANGHAI: Final = timezone(timedelta(hours=8))
ON_ACCEPT: Final = "OnAccept"
"""Stands for a start time: the moment at which WeChat Pay accepts the order."""

_FORMATS: Final = {14: "%Y%m%d%H%M%S", 8: "%Y%m%d"}


@dataclass(frozen=True, slots=True)
class ServiceTime:
    moment: datetime
    text: str

    @property
    def to_the_second(self) -> bool:
        return len(self.text) == len("yyyyMMddHHmmss")


def read_service_time(text: str, field: str) -> ServiceTime:
    """The moment that a merchant wrote as yyyyMMddHHmmss or yyyyMMdd."""
    form = _FORMATS.get(len(text))
    if form is None or not (text.isascii() and text.isdigit()):
        raise bad_parameter(field, f"expected yyyyMMddHHmmss or yyyyMMdd, got {text[:20]!r}")
    try:
        moment = datetime.strptime(text, form).replace(tzinfo=SHANGHAI)
    except ValueError:
        raise bad_parameter(field, f"there is no such time: {text}") from None
    return ServiceTime(moment, text)


def service_time_of(moment: datetime) -> ServiceTime:
    """That moment as a service time: whole seconds, the rest cut off."""
    whole = moment.astimezone(SHANGHAI).replace(microsecond=0)
    return ServiceTime(whole, whole.strftime("%Y%m%d%H%M%S"))
