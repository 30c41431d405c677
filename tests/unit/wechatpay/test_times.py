from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.wechatpay.times import CLOCK_MARGIN, SHANGHAI, earliest_start, latest_end, read_time, wall_clock

moments = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis wants its bounds without a zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - hypothesis wants its bounds without a zone
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


@given(text=st.text(max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    moment = read_time(text)

    assert moment is None or moment.tzinfo is not None


def test_service_times_keep_a_margin_from_now() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)

    assert now - latest_end(now) == earliest_start(now) - now == CLOCK_MARGIN >= timedelta(seconds=10)
