"""Money, ages and pictures as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from payscore_worker.console.depths import HEIGHT, KEPT, WIDTH, DepthRing, polyline
from payscore_worker.console.figures import age, clock, count, moment, yuan
from payscore_worker.console.words import Language
from payscore_worker.messaging.inspect import Depth


def depth(ready: int | None, queue: str = "q") -> Depth:
    return Depth(queue=queue, ready=ready, unacked=None, consumers=1, dead=0)


@pytest.mark.parametrize(
    ("fen", "text"),
    [(None, "–"), (0, "¥0.00"), (5, "¥0.05"), (123_456_789, "¥1,234,567.89"), (-300, "−¥3.00")],
)
def test_money_is_written_in_yuan(fen: int | None, text: str) -> None:
    assert yuan(fen) == text


@pytest.mark.parametrize(
    ("span", "english", "chinese"),
    [
        (timedelta(), "0 s", "0 秒"),
        (timedelta(seconds=-3), "0 s", "0 秒"),
        (timedelta(milliseconds=20), "20 ms", "20 毫秒"),
        (timedelta(seconds=59), "59 s", "59 秒"),
        (timedelta(seconds=61), "1 min 1 s", "1 分钟 1 秒"),
        (timedelta(minutes=59, seconds=59), "59 min", "59 分钟"),
        (timedelta(hours=2, minutes=5), "2 h 5 min", "2 小时 5 分钟"),
        (timedelta(hours=20, minutes=5), "20 h", "20 小时"),
        (timedelta(days=3, hours=4), "3 d 4 h", "3 天 4 小时"),
        (timedelta(days=40), "40 d", "40 天"),
    ],
)
def test_an_age_is_as_exact_as_matters(span: timedelta, english: str, chinese: str) -> None:
    assert (age(span, Language.ENGLISH), age(span, Language.CHINESE)) == (english, chinese)


def test_times_are_those_of_beijing() -> None:
    at = datetime(2026, 5, 1, 20, 30, 5, 123_000, tzinfo=UTC)

    assert (moment(at), clock(at), moment(None)) == ("05-02 04:30:05", "04:30:05.123", "–")
    assert (count(1_234), count(None)) == ("1,234", "–")


def test_the_ring_forgets_the_oldest() -> None:
    ring, now = DepthRing(kept=3), datetime(2026, 5, 1, tzinfo=UTC)
    for ready in range(5):
        ring.note(now, [depth(ready)])

    assert ring.histories() == {"q": [2, 3, 4]}
    assert ring.newest is not None
    assert ring.newest.depths[0].ready == 4


def test_the_ring_shows_the_queues_of_the_newest_look() -> None:
    ring, now = DepthRing(), datetime(2026, 5, 1, tzinfo=UTC)
    assert (ring.newest, ring.histories()) == (None, {})
    ring.note(now, [depth(1, "gone"), depth(None, "q")])
    ring.note(now, [depth(7, "q"), depth(2, "new")])

    assert ring.histories() == {"q": [None, 7], "new": [None, 2]}


def test_a_line_stays_within_its_picture_and_ends_at_the_right() -> None:
    points = [tuple(map(float, point.split(","))) for point in polyline(list(range(KEPT))).split()]

    assert len(points) == KEPT
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert points[0][0] == 0
    assert points[-1][0] == WIDTH
    assert points[-1][1] < points[0][1]


def test_one_point_is_no_line() -> None:
    assert (polyline([]), polyline([3]), polyline([None, 3, None])) == ("", "", "")


def test_a_line_has_no_point_where_nothing_is_known() -> None:
    whole, gap = polyline([3, 0, 6]).split(), polyline([3, None, 6]).split()

    assert gap == [whole[0], whole[2]]
