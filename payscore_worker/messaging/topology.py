"""The exchanges and queues, as one table (contract 4), and how they are declared."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from payscore_worker.errors import Rejected
from payscore_worker.messaging.link import scratch_channel

DEFAULT_EXCHANGE: Final = ""
"""Leads to the queue that the routing key names."""

RIDE_EVENTS: Final = "ride.events"
EVENTS: Final = "payscore.events"
NOTIFICATIONS: Final = "payscore.notifications"

DELIVERY_LIMIT: Final = 50
"""Deliveries a crashing worker may cost a message before RabbitMQ dead-letters it.

Generous: the crash of a worker counts for every message it had in hand, not only for the one that caused it.
"""

NO_DELIVERY_LIMIT: Final = 1_000_000_000
"""RabbitMQ 4 drops after 20 deliveries where nothing is said; looking at a dead letter is a delivery."""


DIFFERS: Final = "inequivalent arg"
"""How RabbitMQ says that something stands with other arguments; a precondition has other reasons too."""


class TopologyRefused(Rejected):
    """RabbitMQ will not have an exchange or a queue as the table says; the text names it, and what to do."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a queue receives."""

    exchange: str
    routing_keys: tuple[str, ...]


QUEUES: Final[Mapping[str, Binding]] = {
    "payscore.trip-started": Binding(RIDE_EVENTS, ("trip.started",)),
    "payscore.trip-ended": Binding(RIDE_EVENTS, ("trip.ended",)),
    "payscore.trip-cancelled": Binding(RIDE_EVENTS, ("trip.cancelled",)),
    "payscore.trip-fare-lowered": Binding(RIDE_EVENTS, ("trip.fare_lowered",)),
    "payscore.trip-paid-elsewhere": Binding(RIDE_EVENTS, ("trip.paid_elsewhere",)),
    "payscore.refund-requested": Binding(RIDE_EVENTS, ("refund.requested",)),
    "payscore.authorisation-requested": Binding(RIDE_EVENTS, ("authorisation.requested",)),
    "payscore.authorisation-ended": Binding(RIDE_EVENTS, ("authorisation.ended",)),
    "payscore.order-confirmed": Binding(NOTIFICATIONS, ("payscore.user_confirm", "payscore.user_accepted")),
    "payscore.order-paid": Binding(NOTIFICATIONS, ("payscore.user_paid",)),
    "payscore.service-changed": Binding(NOTIFICATIONS, ("payscore.user_open_service", "payscore.user_close_service")),
    "payscore.refund-changed": Binding(NOTIFICATIONS, ("refund.success", "refund.abnormal", "refund.closed")),
}


class Kind(Enum):
    """What a queue is for."""

    EVENTS = "events"
    """What we consume."""
    DEAD = "dead"
    """Dead letters, until somebody takes them."""
    RUNG = "rung"
    """Retries, for as long as their delay."""
    STAGING = "staging"
    """Dead letters on their way back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One queue as it should stand."""

    name: str
    kind: Kind
    queue: str | None = None
    """The queue of the table that it serves; None: all of them."""
    arguments: Mapping[str, Any]
    former: Mapping[str, Any] | None = None
    """As the release before declared it, where that was otherwise; one that stands so is taken as it is (ADR 20)."""
    bindings: tuple[tuple[str, str], ...] = ()
    """Exchange and routing key of each."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The table, under a prefix where several installations share one broker."""

    retry_delays: Sequence[timedelta]
    prefix: str = ""

    def name(self, name: str) -> str:
        """Name an exchange or queue as the broker knows it."""
        return self.prefix + name

    def dead(self, queue: str) -> str:
        """Name the dead-letter queue of a queue."""
        return self.name(f"{queue}.dead")

    def staging(self, queue: str) -> str:
        """Name the queue through which dead letters of a queue are replayed; a look or the first replay makes it."""
        return self.name(f"{queue}.replay")

    def turn(self, queue: str) -> str:
        """Name the exclusive queue of whoever has the dead letters of a queue in hand; it goes with them."""
        return self.name(f"{queue}.dead.turn")

    def moving(self, queue: str) -> str:
        """Name the queue that holds what a queue had while it is made anew; `queue` is its name at the broker."""
        return f"{queue}.moving"

    def rung(self, delay: timedelta) -> str:
        """Name the retry queue for a delay; an exchange of the same name leads to it."""
        return self.name(f"payscore.retry.{duration_text(delay)}")

    @property
    def exchanges(self) -> list[str]:
        """Every exchange, rungs included."""
        return [*map(self.name, (RIDE_EVENTS, EVENTS, NOTIFICATIONS)), *map(self.rung, self.retry_delays)]

    @property
    def queues(self) -> list[str]:
        """Every queue: those we consume, their dead letters, the rungs of the ladder."""
        return [*map(self.name, QUEUES), *map(self.dead, QUEUES), *map(self.rung, self.retry_delays)]

    def takes(self, exchange: str, routing_key: str) -> bool:
        """Tell whether, by the table, one of our queues takes what is published so."""
        if exchange == DEFAULT_EXCHANGE:
            return routing_key in self.queues
        if exchange in map(self.rung, self.retry_delays):
            return True
        bindings = QUEUES.values()
        return any(exchange == self.name(one.exchange) and routing_key in one.routing_keys for one in bindings)

    @property
    def places(self) -> list[Place]:
        """Every queue with all that makes it, dead letters before what dead-letters into them."""
        return [
            *(self._dead_place(queue) for queue in QUEUES),
            *(self._events_place(queue, binding) for queue, binding in QUEUES.items()),
            *(self._rung_place(delay) for delay in self.retry_delays),
        ]

    @property
    def staging_places(self) -> list[Place]:
        """The queues of replays, as they stand where there was one."""
        return [
            Place(
                name=self.staging(queue), kind=Kind.STAGING, queue=queue, arguments=_staging_arguments(self.name(queue))
            )
            for queue in QUEUES
        ]

    def _dead_place(self, queue: str) -> Place:
        return Place(
            name=self.dead(queue),
            kind=Kind.DEAD,
            queue=queue,
            arguments=_dead_arguments(),
            former=_former_dead_arguments(),
        )

    def _events_place(self, queue: str, binding: Binding) -> Place:
        exchange = self.name(binding.exchange)
        return Place(
            name=self.name(queue),
            kind=Kind.EVENTS,
            queue=queue,
            arguments=_queue_arguments(self.dead(queue)),
            bindings=tuple((exchange, routing_key) for routing_key in binding.routing_keys),
        )

    def _rung_place(self, delay: timedelta) -> Place:
        name = self.rung(delay)
        return Place(name=name, kind=Kind.RUNG, arguments=_rung_arguments(delay), bindings=((name, ""),))

    @property
    def exchange_types(self) -> Mapping[str, ExchangeType]:
        """Every exchange, and of what type it is."""
        topics = map(self.name, (RIDE_EVENTS, EVENTS, NOTIFICATIONS))
        fanouts = map(self.rung, self.retry_delays)
        return dict.fromkeys(topics, ExchangeType.TOPIC) | dict.fromkeys(fanouts, ExchangeType.FANOUT)

    async def declare_on(self, connection: AbstractConnection) -> None:
        """Declare everything; what stands already, as it should or as the release before made it, is left alone.

        A refusal costs a channel of its own, and nothing else.

        Raises:
            TopologyRefused: something stands with other arguments, or we may not declare it.

        """
        await self.declare_exchanges(connection)
        for place in self.places:
            if place.former is not None:
                await _declare_as_either(connection, place, place.former)
        async with scratch_channel(connection) as channel:
            for place in self.places:
                if place.former is None:
                    await declare_place(channel, place)

    async def declare_exchanges(self, connection: AbstractConnection) -> None:
        """Declare the exchanges alone; raises as `declare_on` does."""
        async with scratch_channel(connection) as channel:
            for name, type_ in self.exchange_types.items():
                await _exchange(channel, name, type_)

    async def declare_staging(self, channel: AbstractChannel, queue: str) -> AbstractQueue:
        """Declare the queue through which dead letters of this queue are replayed.

        Raises:
            TopologyRefused: it stands with other arguments, or we may not declare it.

        """
        return await _queue(channel, self.staging(queue), _staging_arguments(self.name(queue)))

    async def delete(self, channel: AbstractChannel) -> None:
        """Delete everything, messages included; for tests and demos under a prefix of their own."""
        for queue in [*self.queues, *map(self.staging, QUEUES)]:
            await channel.queue_delete(queue)
        for exchange in self.exchanges:
            await channel.exchange_delete(exchange)


async def declare_place(channel: AbstractChannel, place: Place) -> AbstractQueue:
    """Declare and bind one queue.

    Raises:
        TopologyRefused: it stands with other arguments, or we may not declare it.

    """
    queue = await _queue(channel, place.name, place.arguments)
    for exchange, routing_key in place.bindings:
        await _bind(queue, exchange, routing_key)
    return queue


async def _declare_as_either(connection: AbstractConnection, place: Place, former: Mapping[str, Any]) -> None:
    """Declare and bind a queue; where that is refused, see whether it stands as the release before made it."""
    try:
        async with scratch_channel(connection) as channel:
            await declare_place(channel, place)
    except TopologyRefused as refused:
        try:
            async with scratch_channel(connection) as channel:
                await declare_place(channel, replace(place, arguments=former))
        except TopologyRefused:
            raise refused from None


async def _exchange(channel: AbstractChannel, name: str, type: ExchangeType) -> None:
    with _explained("exchange", name):
        await channel.declare_exchange(name, type, durable=True)


async def _queue(channel: AbstractChannel, name: str, arguments: Mapping[str, Any]) -> AbstractQueue:
    with _explained("queue", name):
        return await channel.declare_queue(name, durable=True, arguments=dict(arguments))


async def _bind(queue: AbstractQueue, exchange: str, routing_key: str) -> None:
    with _explained("queue", queue.name):
        await queue.bind(exchange, routing_key)


@contextmanager
def _explained(kind: str, name: str) -> Iterator[None]:
    """Say what to do about a refusal that no retry will change."""
    try:
        yield
    except (ChannelPreconditionFailed, ChannelLockedResource) as error:
        if isinstance(error, ChannelPreconditionFailed) and DIFFERS not in str(error):  # a limit, for one
            raise TopologyRefused(
                f"RabbitMQ refuses {kind} {name!r} ({error}): see to what it says, and run `payscore-worker topology`"
            ) from error
        raise TopologyRefused(
            f"{kind} {name!r} stands otherwise than we need it ({error}): stop the workers, move its messages away, "
            "delete it, and run `payscore-worker topology`"
        ) from error
    except ChannelAccessRefused as error:
        raise TopologyRefused(
            f"{kind} {name!r} may not be declared or bound by us ({error}): grant our user configure, write and read"
        ) from error


def _queue_arguments(dead: str) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # without it, at-least-once silently is not
    }


def _dead_arguments() -> dict[str, Any]:
    """Keep what comes: beyond a length that somebody else sets, publishers are refused and nothing is dropped."""
    return _former_dead_arguments() | {"x-overflow": "reject-publish"}


def _former_dead_arguments() -> dict[str, Any]:
    return {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}


def _staging_arguments(origin: str) -> dict[str, Any]:
    """Keep a copy until it is rejected, and give it to its origin then."""
    return _queue_arguments(origin) | {"x-delivery-limit": NO_DELIVERY_LIMIT}


def _rung_arguments(delay: timedelta) -> dict[str, Any]:
    """Hold a message for the delay, then give it to the queue named by its routing key: its origin alone."""
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": delay // timedelta(milliseconds=1),
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def duration_text(duration: timedelta) -> str:
    """Write a duration as the settings do: 5s, 2m, 6h, 1d."""
    milliseconds = duration // timedelta(milliseconds=1)
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if milliseconds >= length and milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms"
