"""When a service may begin and end, in both families (reference payscore-api B.2, B.6)."""

from datetime import datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.simulator.service_time import read_service_time, service_time_of

from .bodies import FAMILIES, Json, a_complete, a_create
from .clock import SHANGHAI, Clock
from .merchant import Merchant
from .refusals import field_of, refusal_of

START = {"payafter": "service_start_time", "serviceorder": "time_range__start_time"}
END = {"payafter": "service_end_time", "serviceorder": "time_range__end_time"}


def at(family: str, *, start: str | None = None, end: str | None = None) -> Json:
    times = {START[family]: start, END[family]: end}
    return a_create(family, **{name: text for name, text in times.items() if text is not None})


def pointer(path: str) -> str:
    return "/" + path.replace("__", "/")


# Create


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("seconds", "accepted"), [(-1, False), (0, False), (1, True)])
async def test_a_start_in_seconds_lies_after_the_call(
    merchant: Merchant, clock: Clock, family: str, seconds: int, *, accepted: bool
) -> None:
    response = await merchant.create(family, at(family, start=clock.text(seconds)))
    assert (response.status_code == 200) is accepted
    assert accepted or field_of(response) == pointer(START[family])


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_start_in_the_past_is_a_parameter_out_of_range(merchant: Merchant, clock: Clock, family: str) -> None:
    refused = refusal_of(await merchant.create(family, at(family, start=clock.text(-3600))))
    assert refused == (400, "PARAM_ERROR", "参数超出取值范围", 268435464)


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_start_is_not_the_moment_of_the_call(merchant: Merchant, clock: Clock, family: str) -> None:
    clock.now = clock.now.replace(microsecond=0)
    assert field_of(await merchant.create(family, at(family, start=clock.text()))) == pointer(START[family])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("days", "accepted"), [(-1, False), (0, True), (1, True)])
async def test_a_start_in_days_is_no_day_that_has_passed(
    merchant: Merchant, clock: Clock, family: str, days: int, *, accepted: bool
) -> None:
    response = await merchant.create(family, at(family, start=clock.day(days)))
    assert (response.status_code == 200) is accepted
    assert accepted or field_of(response) == pointer(START[family])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "text", ["", "now", "onaccept", "2026030110000", "202603011000000", "20260230", "２０２６０４０１"]
)
async def test_a_start_is_a_time(merchant: Merchant, family: str, text: str) -> None:
    assert field_of(await merchant.create(family, at(family, start=text))) == pointer(START[family])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("seconds", "accepted"), [(59, False), (60, False), (61, True)])
async def test_an_expected_end_lies_more_than_a_minute_after_the_call(
    merchant: Merchant, clock: Clock, family: str, seconds: int, *, accepted: bool
) -> None:
    response = await merchant.create(family, at(family, end=clock.text(seconds)))
    assert (response.status_code == 200) is accepted
    assert accepted or field_of(response) == pointer(END[family])


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_expected_end_lies_after_the_start(merchant: Merchant, clock: Clock, family: str) -> None:
    response = await merchant.create(family, at(family, start=clock.text(600), end=clock.text(600)))
    assert field_of(response) == pointer(END[family])
    assert (await merchant.create(family, at(family, start=clock.text(600), end=clock.text(601)))).status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_expected_end_in_days_may_be_the_day_of_the_start(
    merchant: Merchant, clock: Clock, family: str
) -> None:
    early = await merchant.create(family, at(family, start=clock.day(1), end=clock.day(0)))
    assert field_of(early) == pointer(END[family])
    assert (await merchant.create(family, at(family, start=clock.day(), end=clock.day()))).status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_expected_end_in_days_is_no_day_that_has_passed(merchant: Merchant, clock: Clock, family: str) -> None:
    assert field_of(await merchant.create(family, at(family, end=clock.day(-1)))) == pointer(END[family])


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_start_in_seconds_and_an_end_in_days_are_compared_by_days(
    merchant: Merchant, clock: Clock, family: str
) -> None:
    assert (await merchant.create(family, at(family, start=clock.text(600), end=clock.day()))).status_code == 200


# Complete


async def ended(
    merchant: Merchant, clock: Clock, family: str, create: Json, end: str, *, after: float = 600
) -> httpx.Response:
    response = await merchant.create(family, create)
    assert response.status_code == 200, response.text
    clock.advance(after)
    return await merchant.complete(family, "trip-1", a_complete(family, end))


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_end_in_the_future_is_refused(merchant: Merchant, clock: Clock, family: str) -> None:
    response = await ended(merchant, clock, family, at(family), clock.text(601))
    assert refusal_of(response) == (400, "PARAM_ERROR", "实际结束时间不能晚于使用完结接口的时间", 0)


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_end_in_this_very_second_is_accepted(merchant: Merchant, clock: Clock, family: str) -> None:
    assert (await ended(merchant, clock, family, at(family), clock.text(600))).status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_end_may_be_the_moment_of_the_call(merchant: Merchant, clock: Clock, family: str) -> None:
    clock.now = clock.now.replace(microsecond=0)
    assert (await ended(merchant, clock, family, at(family), clock.text(600))).status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("seconds", "accepted"), [(-5, False), (0, False), (1, True)])
async def test_an_end_lies_after_the_moment_of_acceptance(
    merchant: Merchant, clock: Clock, family: str, seconds: int, *, accepted: bool
) -> None:
    response = await ended(merchant, clock, family, at(family, start="OnAccept"), clock.text(seconds))
    assert (response.status_code == 200) is accepted
    assert accepted or refusal_of(response) == (400, "PARAM_ERROR", "真实结束时间小于预计开始时间", 271316637)


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_end_lies_after_a_start_that_was_given(merchant: Merchant, clock: Clock, family: str) -> None:
    response = await ended(merchant, clock, family, at(family, start=clock.text(300)), clock.text(300))
    assert refusal_of(response)[3] == 271316637


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_order_of_seconds_ends_in_seconds(merchant: Merchant, clock: Clock, family: str) -> None:
    end = {"payafter": "/real_service_end_time", "serviceorder": "/time_range/end_time"}[family]
    assert field_of(await ended(merchant, clock, family, at(family, start="OnAccept"), clock.day())) == end


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_order_of_days_ends_in_days(merchant: Merchant, clock: Clock, family: str) -> None:
    end = {"payafter": "/real_service_end_time", "serviceorder": "/time_range/end_time"}[family]
    create = at(family, start=clock.day())
    assert field_of(await ended(merchant, clock, family, create, clock.text(60))) == end
    body = a_complete(family, clock.day())
    assert (await merchant.complete(family, "trip-1", body)).status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_order_of_days_does_not_end_before_its_day(merchant: Merchant, clock: Clock, family: str) -> None:
    create, today = at(family, start=clock.day(1)), clock.day()
    response = await ended(merchant, clock, family, create, today, after=2 * 86_400)
    assert refusal_of(response)[3] == 271316637


async def test_a_real_start_moves_what_the_end_is_measured_by(merchant: Merchant, clock: Clock) -> None:
    await merchant.create("payafter", at("payafter"))
    clock.advance(600)
    body = a_complete("payafter", clock.text(-60), real_service_start_time=clock.text(-60))
    assert refusal_of(await merchant.complete("payafter", "trip-1", body))[3] == 271316637


# Texts


@given(st.datetimes(min_value=Clock().now.replace(tzinfo=None), timezones=st.just(SHANGHAI)))
def test_a_service_time_is_read_as_it_is_written(moment: datetime) -> None:
    written = service_time_of(moment)
    assert read_service_time(written.text, "/start") == written
    assert written.moment == moment.replace(microsecond=0)
