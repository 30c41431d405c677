"""Plays ride service for ever: so many trips a second, published as any publisher of facts should."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import msgspec

from payscore_worker.demo.plan import Message, PlannedTrip, generated_trips
from payscore_worker.errors import BrokerUnavailable, Unroutable
from payscore_worker.messaging.link import race
from payscore_worker.messaging.publisher import Outgoing, Publisher

BLOCK: Final = 100
"""Trips that are planned at once; among so many is one of every kind."""

MAX_UNDER_WAY: Final = 2_000
"""Trips that are being ridden; while the broker is away, no more are begun."""

PAUSE_SECONDS: Final = 1.0
"""Before what was not confirmed is published again."""


async def _nobody(_trips: Sequence[PlannedTrip]) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Trips without end. It needs no right at the broker but to publish to the exchange of rides."""

    amqp_url: str = field(repr=False)
    exchange: str
    trips_a_second: float
    before_block: Callable[[Sequence[PlannedTrip]], Awaitable[None]] = _nobody
    """Told of the next trips before the first of them begins."""

    async def run(self) -> None:
        """Publish until cancelled."""
        publisher = Publisher(self.amqp_url, name="payscore-worker load", topology=None)
        await race(publisher.run(), self._ride(publisher))

    async def _ride(self, publisher: Publisher) -> None:
        run = uuid4().hex[:8]  # every run has trips of its own
        places = asyncio.Semaphore(MAX_UNDER_WAY)
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                trips = generated_trips(BLOCK, seed=number)
                await self.before_block(trips)
                for trip in trips:
                    await places.acquire()
                    playing = group.create_task(self._play(trip, f"{run}-{number}-{trip.trip_id}", publisher))
                    playing.add_done_callback(lambda _task: places.release())
                    await asyncio.sleep(random.expovariate(self.trips_a_second))

    async def _play(self, trip: PlannedTrip, trip_id: str, publisher: Publisher) -> None:
        said: dict[str, bytes] = {}  # who tells something twice says the same again
        waited = 0.0
        for message in sorted(trip.messages, key=lambda one: one.after_seconds):
            await asyncio.sleep(message.after_seconds - waited)
            waited = message.after_seconds
            body = said.setdefault(message.type, _body(message, trip_id))
            await _publish(self._outgoing(body, message.type), publisher)

    def _outgoing(self, body: bytes, routing_key: str) -> Outgoing:
        return Outgoing(
            exchange=self.exchange,
            routing_key=routing_key,
            body=body,
            message_id=uuid4().hex,
            content_type="application/json",
        )


def _body(message: Message, trip_id: str) -> bytes:
    """Say that it happens now: the plan was made for another moment."""
    data: dict[str, Any] = {**message.data, "trip_id": trip_id}
    for name in ("started_at", "ended_at", "cancelled_at"):
        if name in data:
            data[name] = datetime.now(UTC).isoformat()
    return msgspec.json.encode(data)


async def _publish(outgoing: Outgoing, publisher: Publisher) -> None:
    while True:  # until it is confirmed; MAX_UNDER_WAY bounds how many do so
        try:
            await publisher.publish(outgoing)
        except (BrokerUnavailable, Unroutable):
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return
