"""What we react to: a trip starts, a trip ends, WeChat Pay says the rider has paid. One module per event."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from consumers import order_paid, service_changed, trip_cancelled, trip_ended, trip_started
from payscore_worker.events import EventIn, OrderPaid, ServiceChanged, TripCancelled, TripEnded, TripStarted
from payscore_worker.messaging.handling import Handle, Subscription
from payscore_worker.settlement.trips import Settlement


@dataclass(frozen=True, slots=True)
class Consumer:
    """A queue, the event types it carries, and the handler that reacts to them."""

    queue: str
    events: dict[str, type[EventIn]]
    handle: Callable[[Any, Settlement], Awaitable[None]]
    calls_wechatpay: bool = True


CONSUMERS: Final = (
    Consumer("payscore.trip-started", {"trip.started": TripStarted}, trip_started.handle),
    Consumer("payscore.trip-ended", {"trip.ended": TripEnded}, trip_ended.handle),
    Consumer(
        "payscore.trip-cancelled",
        {"trip.cancelled": TripCancelled},
        trip_cancelled.handle,
        calls_wechatpay=False,  # it is noted while WeChat Pay is out, so that no order is opened only to be cancelled
    ),
    Consumer("payscore.order-paid", {"payscore.user_paid": OrderPaid}, order_paid.handle, calls_wechatpay=False),
    Consumer(
        "payscore.service-changed",
        {"payscore.user_open_service": ServiceChanged, "payscore.user_close_service": ServiceChanged},
        service_changed.handle,
        calls_wechatpay=False,
    ),
)


def subscriptions(settlement: Settlement) -> list[Subscription]:
    """Bind every handler to the settlement it works with."""
    return [
        Subscription(
            queue=one.queue,
            events=one.events,
            handle=_bind(one, settlement),
            calls_wechatpay=one.calls_wechatpay,
        )
        for one in CONSUMERS
    ]


def _bind(consumer: Consumer, settlement: Settlement) -> Handle:
    async def handle(event: EventIn) -> None:
        await consumer.handle(event, settlement)

    return handle
