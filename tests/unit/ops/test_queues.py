from datetime import timedelta

import pytest

from payscore_worker import metrics
from payscore_worker.messaging.inspect import Depth
from payscore_worker.messaging.topology import Topology
from payscore_worker.ops.queues import QueueLook
from tests.unit.ops.samples import value

TOPOLOGY = Topology(retry_delays=[timedelta(seconds=5)], prefix="test-look.")
QUEUE = TOPOLOGY.name("payscore.trip-ended")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def look(clock: Clock) -> QueueLook:
    return QueueLook("amqp://nowhere", TOPOLOGY, clock=clock)


def a_depth(ready: int | None, *, dead: int | None = 0) -> Depth:
    return Depth(queue=QUEUE, ready=ready, unacked=None, consumers=2, dead=dead)


def test_the_time_since_a_queue_was_last_seen_empty_is_shown(look: QueueLook, clock: Clock) -> None:
    shown = []
    for now, ready in [(0, 1), (10, 3), (20, 0), (30, 1), (45, 1)]:
        clock.now = now
        look.show([a_depth(ready)])
        shown.append(value(metrics.QUEUE_NOT_EMPTY, queue=QUEUE))

    assert shown == [0, 10, 0, 0, 15]


def test_what_is_ready_dead_and_consumed_is_shown(look: QueueLook) -> None:
    look.show([a_depth(7, dead=2)])

    assert value(metrics.QUEUE_READY, queue=QUEUE) == 7
    assert value(metrics.QUEUE_DEAD, queue=QUEUE) == 2
    assert value(metrics.QUEUE_CONSUMERS, queue=QUEUE) == 2


def test_of_a_queue_that_does_not_stand_nothing_is_known(look: QueueLook) -> None:
    look.show([a_depth(7, dead=2)])

    look.show([a_depth(None, dead=None)])

    assert [value(gauge, queue=QUEUE) for gauge in (metrics.QUEUE_READY, metrics.QUEUE_DEAD)] == [None, None]


def test_a_look_that_could_not_count_does_not_end_the_time_since_a_queue_was_empty(
    look: QueueLook, clock: Clock
) -> None:
    shown = []
    for now, ready in [(0, 1), (10, None), (20, 3)]:
        clock.now = now
        look.show([a_depth(ready)])
        shown.append(value(metrics.QUEUE_NOT_EMPTY, queue=QUEUE))

    assert shown == [0, None, 20]


def test_a_queue_that_is_told_of_only_while_it_holds_something_is_empty_afterwards(look: QueueLook) -> None:
    look.show([a_depth(7)])
    look.show([])

    assert value(metrics.QUEUE_READY, queue=QUEUE) == 0
