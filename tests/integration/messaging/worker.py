"""Consumers and publisher as the worker runs them, around a handler that a test can follow."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from payscore_worker.events import EventIn, TripCancelled, TripEnded
from payscore_worker.messaging.consumer import Consumers
from payscore_worker.messaging.consuming import UNBROKEN, Breaker, Patience
from payscore_worker.messaging.handling import Subscription
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import Topology
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED
from tests.integration.messaging.waiting import eventually

IMPATIENT = Patience(check_every_seconds=0.1, hold_seconds=0.1)
PUBLISH_SECONDS = 1.0
GRACE_SECONDS = 30.0


class Handler:
    """Notes whom it heard of, then does as told."""

    def __init__(self, react: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.heard: list[str] = []
        self.done: list[str] = []
        self._react = react

    async def __call__(self, event: EventIn) -> None:
        trip_id: str = event.trip_id  # type: ignore[attr-defined]  # every event that these tests send has one
        self.heard.append(trip_id)
        if self._react is not None:
            await self._react(trip_id)
        self.done.append(trip_id)


class Worker:
    """What runs."""

    def __init__(self, consumers: Consumers, publisher: Publisher) -> None:
        self.consumers = consumers
        self.publisher = publisher
        self.consuming = asyncio.create_task(consumers.run())
        self.publishing = asyncio.create_task(publisher.run())

    @property
    def is_ready(self) -> bool:
        return self.consumers.hearing.is_consuming and self.publisher.is_ready

    async def ready(self) -> None:
        await eventually(lambda: self.is_ready)

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        await self.consumers.stop(grace_seconds=grace_seconds)
        await asyncio.wait([self.consuming], timeout=GRACE_SECONDS)


@asynccontextmanager
async def a_worker(
    url: str,
    topology: Topology,
    handler: Callable[[EventIn], Awaitable[None]],
    *,
    publish_url: str | None = None,
    publish_seconds: float = PUBLISH_SECONDS,
    prefetch: int = 10,
    patience: Patience = IMPATIENT,
    queues: Sequence[str] = (TRIP_CANCELLED,),
    ready: bool = True,
    breaker: Breaker = UNBROKEN,
) -> AsyncIterator[Worker]:
    """Run a worker, and end it."""
    events: dict[str, dict[str, type[EventIn]]] = {
        TRIP_CANCELLED: {"trip.cancelled": TripCancelled},
        TRIP_ENDED: {"trip.ended": TripEnded},
    }
    publisher = Publisher(publish_url or url, name="test publish", topology=topology, timeout_seconds=publish_seconds)
    consumers = Consumers(
        url=url,
        name="test consume",
        topology=topology,
        subscriptions=[Subscription(queue=queue, events=events[queue], handle=handler) for queue in queues],
        publisher=publisher,
        prefetch=prefetch,
        patience=patience,
        breaker=breaker,
    )
    worker = Worker(consumers, publisher)
    try:
        if ready:
            await worker.ready()
        yield worker
    finally:
        await worker.stop(grace_seconds=1.0)  # for the last ack; handlers that wait for ever are not waited for
        for task in (worker.consuming, worker.publishing):
            task.cancel()
        await asyncio.gather(worker.consuming, worker.publishing, return_exceptions=True)
