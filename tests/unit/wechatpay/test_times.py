from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.wechatpay.times import (
    CLOCK_MARGIN,
    END_OF_TIME,
    FIRST_MOMENT,
    SHANGHAI,
    earliest_start,
    latest_end,
    read_date,
    read_time,
    wall_clock,
    within_our_times,
)

moments = st.datetimes(
    min_value=datetime(2000, 1, 2),  # noqa: DTZ001 - hypothesis wants its bounds without a zone
    max_value=datetime(2099, 12, 30),  # noqa: DTZ001 - hypothesis wants its bounds without a zone
    timezones=st.sampled_from([UTC, SHANGHAI, timezone(timedelta(hours=-11, minutes=-30))]),
)


def test_a_time_is_written_as_a_clock_in_shanghai_shows_it() -> None:
    assert wall_clock(datetime(2026, 11, 21, 17, 30, 5, 999999, tzinfo=UTC)) == "20261122013005"


def test_a_time_without_a_zone_is_not_guessed() -> None:
    with pytest.raises(ValueError, match=r"^a service time needs its time zone$"):
        wall_clock(datetime(2026, 11, 21))  # noqa: DTZ001 - the missing zone is the point


@given(moment=moments)
def test_a_time_is_read_as_it_was_written_to_the_second(moment: datetime) -> None:
    assert read_time(wall_clock(moment)) == moment.replace(microsecond=0)


@given(moment=moments)
def test_both_spellings_of_a_time_are_read(moment: datetime) -> None:
    assert read_time(moment.isoformat()) == moment


@pytest.mark.parametrize(
    "text",
    ["", "20261121", "OnAccept", "20261301000000", "20261121250000", "2026-11-21T08:00:00", "2026-13-01T00:00:00Z"],
)
def test_what_is_no_moment_is_none(text: str) -> None:
    assert read_time(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0001-01-01T00:00:00+08:00",
            "1999-12-31T23:59:59Z",
            "2000-01-01T07:59:59+08:00",
            "9999-12-31T23:59:59-12:00",
        ),
        *("00010101000000", "20000101075959", "99991231235959", "21000101080000"),
    ],
)
def test_a_time_of_another_century_is_none(text: str) -> None:
    assert read_time(text) is None


def test_our_times_begin_and_end_to_the_second() -> None:
    assert read_time("2000-01-01T00:00:00Z") == FIRST_MOMENT
    assert read_time("20000101080000") == FIRST_MOMENT
    assert read_time("2099-12-31T23:59:59Z") == END_OF_TIME - timedelta(seconds=1)


def test_a_date_header_is_read() -> None:
    assert read_date("Sat, 21 Nov 2026 08:00:00 GMT") == datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "header",
    [
        *(
            "",
            "soon",
            "Sat, 21 Nov 2026 08:00:00 -0000",
            "Fri, 31 Dec 1999 23:59:59 GMT",
            "Sat, 32 Nov 2026 08:00:00 GMT",
        ),
        *("Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 21 Nov 2026 08:00:00 +9999", "1 1 99999999999999999999 1:1:1 GMT"),
    ],
)
def test_a_date_header_that_tells_no_time_of_ours_is_none(header: str) -> None:
    assert read_date(header) is None


@given(header=st.text(max_size=40))
def test_no_date_header_breaks_the_reader(header: str) -> None:
    moment = read_date(header)

    assert moment is None or FIRST_MOMENT <= moment < END_OF_TIME


def test_a_moment_too_far_away_is_moved_to_where_our_times_end() -> None:
    assert within_our_times(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) == END_OF_TIME
    assert within_our_times(datetime(1, 1, 1, tzinfo=UTC)) == FIRST_MOMENT
    assert within_our_times(datetime(2026, 11, 21, tzinfo=UTC)) == datetime(2026, 11, 21, tzinfo=UTC)


@given(text=st.text(max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    moment = read_time(text)

    assert moment is None or moment.tzinfo is not None


def test_service_times_keep_a_margin_from_now() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)

    assert now - latest_end(now) == earliest_start(now) - now == CLOCK_MARGIN >= timedelta(seconds=10)
