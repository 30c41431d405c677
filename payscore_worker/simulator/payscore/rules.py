"""What both families ask of an order's amounts, times and addresses."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from payscore_worker.simulator.config import Service
from payscore_worker.simulator.payscore.orders import Closing, Opening, Order
from payscore_worker.simulator.refusals import (
    END_BEFORE_START,
    END_IN_THE_FUTURE,
    END_TIME_MISSING,
    NO_PERMISSION,
    WRONG_SUM,
    Refused,
    bad_parameter,
    out_of_range,
)
from payscore_worker.simulator.service_time import ON_ACCEPT, SHANGHAI, ServiceTime, read_service_time

END_MARGIN: Final = timedelta(minutes=1)
"""How much later than the create call an expected end must lie (reference payscore-api B.2)."""

_URL_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")


def require_query(query: Mapping[str, str], *names: str) -> None:
    for name in names:
        if not query.get(name):
            raise bad_parameter(name, "required query parameter is missing", location="query")


def openid_of(*, need_user_confirm: bool, openid: str | None) -> str:
    """An order that nobody confirms names its passenger (reference payscore-api B.0)."""
    if need_user_confirm:
        return ""
    if openid is None:
        raise bad_parameter("/openid", "required when need_user_confirm is false")
    return openid


def check_mode(opening: Opening, service: Service) -> None:
    """The one mode that the service is licensed for; in need-confirm nobody is named (reference payscore-api B.0)."""
    if opening.needs_confirm is not (service.mode == "need_confirm"):
        raise Refused(NO_PERMISSION)
    if opening.needs_confirm and "openid" in opening.members:
        raise bad_parameter("/openid", "must not be sent where the passenger confirms")


def check_risk(risk_fen: int, field: str, *, service_cap_fen: int) -> None:
    if risk_fen > service_cap_fen:
        raise out_of_range(field, f"above the cap of this service, {service_cap_fen}")


def check_sum(*, total_fen: int, fees: Iterable[int], discounts: Iterable[int]) -> None:
    if total_fen != sum(fees) - sum(discounts):
        raise Refused(WRONG_SUM)


def check_attach(attach: str | None) -> None:
    """It is URL-encoded before it is sent (reference payscore-api A.2, B.3)."""
    if attach is not None and not _URL_ENCODED.fullmatch(attach):
        raise bad_parameter("/attach", "not URL-encoded")


def read_start(text: str, field: str) -> ServiceTime | None:
    """None: OnAccept, the moment at which WeChat Pay accepts the order."""
    return None if text == ON_ACCEPT else read_service_time(text, field)


def read_time(text: str | None, field: str) -> ServiceTime | None:
    return None if text is None else read_service_time(text, field)


def check_opening_times(opening: Opening, now: datetime, *, start_field: str, end_field: str) -> None:
    """An order starts after the call that creates it, and ends after it starts (reference payscore-api B.2)."""
    start, end = opening.start, opening.end
    if start is not None and _too_early(start, now):
        raise out_of_range(start_field, "must be later than the call")
    if end is None:
        return
    if _too_early(end, now + END_MARGIN if end.to_the_second else now):
        raise out_of_range(end_field, "must be later than the call by more than a minute")
    if start is not None and _ends_before(end, start):
        raise out_of_range(end_field, "must be later than the start")


def check_closing_times(order: Order, closing: Closing, now: datetime, *, end_field: str) -> None:
    """The end lies in the past and after the start, and is as precise as at create (reference payscore-api B.6)."""
    end = closing.end
    if end is None:
        if order.opening.end is None:
            raise Refused(END_TIME_MISSING)
        return
    if end.to_the_second != (order.opening.end or order.start).to_the_second:
        raise bad_parameter(end_field, "must be as precise as at create")
    if end.moment > now:
        raise Refused(END_IN_THE_FUTURE)
    if _ends_before(end, closing.start or order.start):
        raise Refused(END_BEFORE_START)


def _too_early(time: ServiceTime, now: datetime) -> bool:
    if time.to_the_second:
        return time.moment <= now
    return time.moment.date() < now.astimezone(SHANGHAI).date()


def _ends_before(end: ServiceTime, start: ServiceTime) -> bool:
    """Seconds: the end lies after the start. Days: on the same day, or later."""
    if end.to_the_second and start.to_the_second:
        return end.moment <= start.moment
    return end.moment.date() < start.moment.date()
