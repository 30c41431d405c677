"""Deafness: silence that lasts although there is a broker."""

import pytest

from payscore_worker.messaging.hearing import DEAF_AFTER_SECONDS, Deaf, Ear, Hearing


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


@pytest.fixture
def ear(hearing: Hearing) -> Ear:
    return hearing.ears[0]


def test_a_minute_of_silence_is_deafness(hearing: Hearing, ear: Ear, clock: Clock) -> None:
    ear.heard()
    clock.now += DEAF_AFTER_SECONDS
    hearing.check()

    clock.now += 1

    with pytest.raises(Deaf, match="not consuming for 60 seconds although RabbitMQ answers"):
        hearing.check()


def test_whoever_hears_again_in_time_is_not_deaf(hearing: Hearing, ear: Ear, clock: Clock) -> None:
    for _ in range(10):
        clock.now += DEAF_AFTER_SECONDS - 1
        ear.heard()

    hearing.check()


def test_the_silence_of_an_absent_broker_is_not_deafness(hearing: Hearing, ear: Ear, clock: Clock) -> None:
    ear.absent()
    clock.now += 100 * DEAF_AFTER_SECONDS

    hearing.check()


def test_after_an_absence_the_minute_begins_anew(hearing: Hearing, ear: Ear, clock: Clock) -> None:
    ear.absent()
    clock.now += 100 * DEAF_AFTER_SECONDS
    ear.present()
    clock.now += DEAF_AFTER_SECONDS
    hearing.check()

    clock.now += 1

    assert hearing.is_deaf


def test_a_broker_that_lets_us_in_again_and_again_does_not_put_the_minute_off(
    hearing: Hearing, ear: Ear, clock: Clock
) -> None:
    for _ in range(12):
        ear.present()
        clock.now += DEAF_AFTER_SECONDS / 10

    assert hearing.is_deaf


# --- Two links ---


@pytest.fixture
def both(clock: Clock) -> Hearing:
    return Hearing(2, clock=clock)


def test_whoever_hears_with_one_ear_is_not_deaf(both: Hearing, clock: Clock) -> None:
    for _ in range(10):
        clock.now += DEAF_AFTER_SECONDS - 1
        both.ears[1].heard()

    assert not both.is_deaf
    assert both.silent_seconds == 0


def test_an_ear_for_which_there_is_no_broker_does_not_hide_that_the_other_is_deaf(both: Hearing, clock: Clock) -> None:
    both.ears[0].absent()
    clock.now += DEAF_AFTER_SECONDS + 1

    assert both.is_deaf


def test_two_ears_without_a_broker_are_not_deaf(both: Hearing, clock: Clock) -> None:
    for ear in both.ears:
        ear.absent()
    clock.now += DEAF_AFTER_SECONDS + 1

    assert both.silent_seconds == 0
    assert not both.is_deaf


def test_we_consume_as_long_as_one_link_does(both: Hearing) -> None:
    assert not both.is_consuming

    both.ears[1].is_consuming = True

    assert both.is_consuming
