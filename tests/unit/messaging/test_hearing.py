"""Deafness: silence that lasts although there is a broker."""

import pytest

from payscore_worker.messaging.hearing import DEAF_AFTER_SECONDS, Deaf, Hearing


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hearing(clock: Clock) -> Hearing:
    return Hearing(clock=clock)


def test_a_minute_of_silence_is_deafness(hearing: Hearing, clock: Clock) -> None:
    hearing.heard()
    clock.now += DEAF_AFTER_SECONDS
    hearing.check()

    clock.now += 1

    with pytest.raises(Deaf, match="not consuming for 60 seconds although RabbitMQ answers"):
        hearing.check()


def test_whoever_hears_again_in_time_is_not_deaf(hearing: Hearing, clock: Clock) -> None:
    for _ in range(10):
        clock.now += DEAF_AFTER_SECONDS - 1
        hearing.heard()

    hearing.check()


def test_the_silence_of_an_absent_broker_is_not_deafness(hearing: Hearing, clock: Clock) -> None:
    hearing.absent()
    clock.now += 100 * DEAF_AFTER_SECONDS

    hearing.check()


def test_after_an_absence_the_minute_begins_anew(hearing: Hearing, clock: Clock) -> None:
    hearing.absent()
    clock.now += 100 * DEAF_AFTER_SECONDS
    hearing.present()
    clock.now += DEAF_AFTER_SECONDS
    hearing.check()

    clock.now += 1

    assert hearing.is_deaf


def test_a_broker_that_lets_us_in_again_and_again_does_not_put_the_minute_off(hearing: Hearing, clock: Clock) -> None:
    for _ in range(12):
        hearing.present()
        clock.now += DEAF_AFTER_SECONDS / 10

    assert hearing.is_deaf
