"""By how much our clock is off, as answers tell: one that is signed accuses it, one that is not can only acquit."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from payscore_worker.wechatpay.skew import Skew

TOLD = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return TOLD + timedelta(seconds=seconds)


def heard(sent: float, came: float) -> Skew:
    """Hear a signed answer of TOLD; our clock showed so many seconds more when it was sent for, and when it came."""
    skew = Skew()
    skew.signed(TOLD, sent=after(sent), came=after(came))
    return skew


@pytest.mark.parametrize(
    ("sent", "came", "ahead"),
    [
        (0.0, 0.0, 0.0),
        (-0.2, 0.3, 0.0),
        (0.9, 0.95, 0.0),  # it tells whole seconds
        (-20.0, 30.0, 0.0),  # slow: it may have been made at any time between
        (7.0, 7.2, 6.0),
        (7.0, 30.0, 6.0),
        (-9.0, -8.5, -8.5),
        (-60.0, -8.5, -8.5),
    ],
)
def test_it_is_the_least_that_explains_the_answer(sent: float, came: float, ahead: float) -> None:
    assert heard(sent, came).ahead_seconds == ahead


@pytest.mark.parametrize(("seconds", "is_off"), [(6.0, False), (6.1, True), (-5.0, False), (-5.1, True)])
def test_more_than_five_seconds_are_too_much(seconds: float, is_off: bool) -> None:  # noqa: FBT001
    skew = heard(seconds, seconds)

    assert skew.is_off is is_off
    assert bool(skew.trouble) is is_off


@pytest.mark.parametrize(
    ("seconds", "trouble"),
    [(10.0, "our clock is 9.0 s ahead of WeChat Pay's"), (-10.0, "our clock is 10.0 s behind WeChat Pay's"), (0.0, "")],
)
def test_the_trouble_is_told_in_words(seconds: float, trouble: str) -> None:
    assert heard(seconds, seconds).trouble == trouble


def test_an_answer_that_nobody_signed_accuses_no_clock() -> None:
    skew = Skew()

    skew.unsigned(TOLD, sent=after(86_400), came=after(86_400))

    assert not skew.is_off


@pytest.mark.parametrize(
    ("told", "is_off"), [(after(60.0), False), (after(53.0), True), (None, True), (after(-60.0), True)]
)
def test_an_answer_that_nobody_signed_acquits_if_it_agrees(told: datetime | None, is_off: bool) -> None:  # noqa: FBT001
    skew = heard(60.0, 60.0)

    skew.unsigned(told, sent=after(60.0), came=after(60.1))

    assert skew.is_off is is_off


def test_that_it_is_off_is_told_once_and_so_is_that_it_is_right_again() -> None:
    skew = Skew()

    with capture_logs() as logs:
        for seconds in (0.0, 10.26, 20.0, -10.0, 0.0, 0.0):
            skew.signed(TOLD, sent=after(seconds), came=after(seconds))
        skew.signed(TOLD, sent=after(10.0), came=after(10.0))
        skew.unsigned(TOLD, sent=TOLD, came=TOLD)

    assert [(line["event"], line["log_level"], line["ahead_of_wechatpay_seconds"]) for line in logs] == [
        ("clock_off", "error", 9.3),
        ("clock_right_again", "warning", 0.0),
        ("clock_off", "error", 9.0),
        ("clock_right_again", "warning", 0.0),
    ]
    assert logs[0]["remedy"] == "see that NTP sets this machine's clock"
