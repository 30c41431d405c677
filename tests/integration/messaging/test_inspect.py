"""How full the queues are, as RabbitMQ tells it."""

import pytest

from payscore_worker.messaging.inspect import Depth, depths
from payscore_worker.messaging.topology import QUEUES
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker


async def depth_of(desk: Desk, queue: str) -> Depth:
    found = await depths(desk.connection, desk.topology)
    return next(depth for depth in found if depth.queue == desk.topology.name(queue))


async def test_every_queue_is_shown_with_what_is_ready_and_dead(desk: Desk) -> None:
    await desk.cancel("t1", "t2")
    await desk.put(f"{TRIP_CANCELLED}.dead", b"{}")
    await desk.put("payscore.retry.120ms", b"{}")  # its queue is nobody's: it stays

    name = desk.topology.name

    async def shown() -> dict[str, Depth] | None:
        found = {depth.queue: depth for depth in await depths(desk.connection, desk.topology)}
        counted = found[name(TRIP_CANCELLED)].ready == 2 and found[name(TRIP_CANCELLED)].dead == 1
        return found if counted and not any(depth.is_uncounted for depth in found.values()) else None

    found = await eventually(shown)
    assert list(found) == [*map(name, QUEUES), name("payscore.retry.50ms"), name("payscore.retry.120ms")]
    assert found[name(TRIP_CANCELLED)] == Depth(queue=name(TRIP_CANCELLED), ready=2, unacked=None, consumers=0, dead=1)
    assert found[name(TRIP_ENDED)] == Depth(queue=name(TRIP_ENDED), ready=0, unacked=None, consumers=0, dead=0)
    assert not found[name("payscore.retry.50ms")].is_consumed


async def is_consumed(desk: Desk) -> bool:
    return (await depth_of(desk, TRIP_CANCELLED)).consumers == 1


async def test_consumers_are_counted(amqp_url: str, desk: Desk) -> None:
    async with a_worker(amqp_url, desk.topology, Handler()):
        await eventually(lambda: is_consumed(desk))


async def test_a_queue_that_does_not_stand_is_shown_as_unknown(desk: Desk) -> None:
    await desk.delete_queue(TRIP_ENDED)

    depth = await depth_of(desk, TRIP_ENDED)

    assert (depth.ready, depth.consumers, depth.stands) == (None, None, False)
    assert not desk.connection.is_closed


async def test_a_missing_queue_of_dead_letters_does_not_go_unnoticed(desk: Desk) -> None:
    await desk.delete_queue(f"{TRIP_ENDED}.dead")

    depth = await depth_of(desk, TRIP_ENDED)

    assert (depth.dead, depth.stands, depth.is_uncounted) == (None, False, False)


async def test_nothing_that_took_rabbitmq_as_long_as_to_give_up_its_leader_is_unknown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.put(TRIP_CANCELLED, b"{}")
    await desk.holds(TRIP_CANCELLED, 1)
    monkeypatch.setattr("payscore_worker.messaging.inspect.UNASKED_SECONDS", 0.0)

    empty, full = await depth_of(desk, TRIP_ENDED), await depth_of(desk, TRIP_CANCELLED)

    assert (empty.ready, empty.consumers, empty.dead, empty.is_uncounted) == (None, None, None, True)
    assert (full.ready, full.consumers) == (1, 0)  # what is not nothing was counted
