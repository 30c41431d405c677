"""Plays the ride service: publishes what happens to each trip, and listens to what is announced of it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import msgspec
from aio_pika.abc import AbstractIncomingMessage

from payscore_worker.demo.plan import Message, PlannedTrip
from payscore_worker.events import CloudEvent
from payscore_worker.messaging.link import Session, keep_linked
from payscore_worker.messaging.publisher import Outgoing, Publisher
from payscore_worker.messaging.topology import EVENTS, RIDE_EVENTS, Topology

WINDOW: Final = 2_000
"""Trips on the road at once."""

LONGEST_SECONDS: Final = 600.0
"""A trip that is not over by then is a finding, not a reason to wait."""

PAID: Final = "settlement.paid"
LAST: Final = frozenset({PAID, "settlement.declined", "settlement.cancelled"})

REFUNDED: Final = "settlement.refunded"
LOWERED: Final = "settlement.lowered"


@dataclass(slots=True)
class Heard:
    """What was announced of a trip."""

    ids: dict[str, set[str]] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    back_fen: Callable[[int], int] = lambda _paid_fen: 0
    """What must go back of what was paid; only then is it over."""

    def add(self, event: CloudEvent) -> None:
        """Note one announcement."""
        self.ids.setdefault(event.type, set()).add(event.id)
        self.data[event.type] = msgspec.json.decode(event.data, type=dict[str, Any])
        if event.type in LAST:
            self.settled.set()
        if self.settled.is_set() and self._is_back:
            self.over.set()

    @property
    def _is_back(self) -> bool:
        paid_fen = self.data.get(PAID, {}).get("paid_fen")
        sent_fen: int = self.data.get(REFUNDED, {}).get("refunded_fen", 0)
        return paid_fen is None or sent_fen >= self.back_fen(paid_fen)


class Audience:
    """Listens to every announcement, on a queue of its own, which goes with the connection."""

    def __init__(self, url: str, topology: Topology, trips: Sequence[PlannedTrip]) -> None:
        self._url = url
        self._topology = topology
        self._queue = topology.name(f"audience-{uuid4().hex[:8]}")
        self._listening = asyncio.Event()
        self.heard = {trip.trip_id: Heard(back_fen=trip.back_fen) for trip in trips}
        self.announcements = 0
        self.by_type: Counter[str] = Counter()

    async def run(self) -> None:
        """Listen until cancelled."""
        await keep_linked(self._url, "payscore-worker demo audience", self._work)

    async def ready(self) -> None:
        """Wait until nothing can be missed any more."""
        await self._listening.wait()

    @property
    def over(self) -> int:
        """How many trips are over."""
        return sum(heard.over.is_set() for heard in self.heard.values())

    async def _work(self, session: Session) -> None:
        channel = await session.channel()
        queue = await channel.declare_queue(self._queue, exclusive=True)  # others that do not last may be forbidden
        await queue.bind(self._topology.name(EVENTS), "#")
        await session.consume(queue, self._take)
        self._listening.set()
        await session.broken()

    async def _take(self, message: AbstractIncomingMessage) -> None:
        event = msgspec.json.decode(message.body, type=CloudEvent)
        self.announcements += 1
        self.by_type[event.type] += 1
        if isinstance(event.subject, str) and event.subject in self.heard:
            self.heard[event.subject].add(event)
        await message.ack()


class RideService:
    """Publishes the events of every trip at its time, a bounded number of trips at once."""

    def __init__(self, publisher: Publisher, topology: Topology, audience: Audience) -> None:
        self._publisher = publisher
        self._exchange = topology.name(RIDE_EVENTS)
        self._audience = audience
        self._places = asyncio.Semaphore(WINDOW)
        self.published = 0

    async def play(self, trips: Sequence[PlannedTrip], on_begin: Callable[[PlannedTrip], None]) -> None:
        """Play every trip, and wait until each is over or has had its time."""
        async with asyncio.TaskGroup() as group:
            for trip in trips:
                await self._places.acquire()
                on_begin(trip)
                group.create_task(self._play_one(trip))

    async def _play_one(self, trip: PlannedTrip) -> None:
        heard = self._audience.heard[trip.trip_id]
        try:
            async with asyncio.timeout(LONGEST_SECONDS), asyncio.TaskGroup() as group:
                for message in trip.messages:
                    group.create_task(self._publish(message, trip.begins_after_seconds + message.after_seconds))
                await heard.settled.wait()
                if trip.afterwards is not None:
                    await self._publish(trip.afterwards, trip.afterwards.after_seconds)
                await heard.over.wait()
        except TimeoutError:
            pass  # the judge will say so
        finally:
            self._places.release()

    async def _publish(self, message: Message, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        await self._publisher.publish(
            Outgoing(
                exchange=self._exchange,
                routing_key=message.type,
                body=msgspec.json.encode(message.data),
                message_id=uuid4().hex,
                content_type="application/json",
            )
        )
        self.published += 1
