"""How full the queues are, as RabbitMQ tells it."""

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
        return found if found[name(TRIP_CANCELLED)].ready == 2 and found[name(TRIP_CANCELLED)].dead == 1 else None

    found = await eventually(shown)
    assert list(found) == [*map(name, QUEUES), name("payscore.retry.50ms"), name("payscore.retry.120ms")]
    assert found[name(TRIP_CANCELLED)] == Depth(queue=name(TRIP_CANCELLED), ready=2, unacked=None, consumers=0, dead=1)
    assert found[name(TRIP_ENDED)] == Depth(queue=name(TRIP_ENDED), ready=0, unacked=None, consumers=0, dead=0)


async def is_consumed(desk: Desk) -> bool:
    return (await depth_of(desk, TRIP_CANCELLED)).consumers == 1


async def test_consumers_are_counted(amqp_url: str, desk: Desk) -> None:
    async with a_worker(amqp_url, desk.topology, Handler()):
        await eventually(lambda: is_consumed(desk))


async def test_a_queue_that_does_not_stand_is_shown_as_unknown(desk: Desk) -> None:
    await desk.delete_queue(TRIP_ENDED)

    depth = await depth_of(desk, TRIP_ENDED)

    assert (depth.ready, depth.consumers, depth.dead) == (None, None, 0)
    assert not desk.connection.is_closed
