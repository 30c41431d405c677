"""What we react to: a trip starts, a trip ends, WeChat Pay says the rider has paid. One module per event."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from consumers import (
    authorisation_ended,
    authorisation_requested,
    order_confirmed,
    order_paid,
    refund_changed,
    refund_requested,
    service_changed,
    trip_cancelled,
    trip_ended,
    trip_fare_lowered,
    trip_paid_elsewhere,
    trip_started,
)
from payscore_worker.events import (
    AuthorisationEnded,
    AuthorisationRequested,
    EventIn,
    OrderConfirmed,
    OrderPaid,
    RefundChanged,
    RefundRequested,
    ServiceChanged,
    TripCancelled,
    TripEnded,
    TripFareLowered,
    TripPaidElsewhere,
    TripStarted,
)
from payscore_worker.messaging.handling import Handle, Subscription
from payscore_worker.settlement.authorisations import Authorisations
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.settlement.trips import Settlement

Desk = Settlement | Refunds | Authorisations


@dataclass(frozen=True, slots=True)
class Consumer:
    """A queue, the event types it carries, and the handler that reacts to them."""

    queue: str
    events: dict[str, type[EventIn]]
    handle: Callable[[Any, Any], Awaitable[None]]
    """Of the event, and the desk."""
    calls_wechatpay: bool = True
    desk: type[Desk] = Settlement


CONSUMERS: Final = (
    Consumer("payscore.trip-started", {"trip.started": TripStarted}, trip_started.handle),
    Consumer("payscore.trip-ended", {"trip.ended": TripEnded}, trip_ended.handle),
    Consumer(
        "payscore.trip-cancelled",
        {"trip.cancelled": TripCancelled},
        trip_cancelled.handle,
        calls_wechatpay=False,  # it is noted while WeChat Pay is out, so that no order is opened only to be cancelled
    ),
    Consumer(
        "payscore.trip-fare-lowered",
        {"trip.fare_lowered": TripFareLowered},
        trip_fare_lowered.handle,
        calls_wechatpay=False,  # it is noted while WeChat Pay is out, so that no old fare is asked for
    ),
    Consumer(
        "payscore.trip-paid-elsewhere",
        {"trip.paid_elsewhere": TripPaidElsewhere},
        trip_paid_elsewhere.handle,
        calls_wechatpay=False,  # likewise: so that no order is opened, or completed, for what is paid
    ),
    Consumer(
        "payscore.order-confirmed",
        {"payscore.user_confirm": OrderConfirmed, "payscore.user_accepted": OrderConfirmed},
        order_confirmed.handle,
        calls_wechatpay=False,
    ),
    Consumer("payscore.order-paid", {"payscore.user_paid": OrderPaid}, order_paid.handle, calls_wechatpay=False),
    Consumer(
        "payscore.service-changed",
        {"payscore.user_open_service": ServiceChanged, "payscore.user_close_service": ServiceChanged},
        service_changed.handle,
        calls_wechatpay=False,
        desk=Authorisations,
    ),
    Consumer(
        "payscore.authorisation-requested",
        {"authorisation.requested": AuthorisationRequested},
        authorisation_requested.handle,
        calls_wechatpay=False,
        desk=Authorisations,
    ),
    Consumer(
        "payscore.authorisation-ended",
        {"authorisation.ended": AuthorisationEnded},
        authorisation_ended.handle,
        calls_wechatpay=False,
        desk=Authorisations,
    ),
    Consumer(
        "payscore.refund-requested",
        {"refund.requested": RefundRequested},
        refund_requested.handle,
        calls_wechatpay=False,  # what cannot be refunded is told at once, also while WeChat Pay is out
        desk=Refunds,
    ),
    Consumer(
        "payscore.refund-changed",
        dict.fromkeys(("refund.success", "refund.abnormal", "refund.closed"), RefundChanged),
        refund_changed.handle,
        calls_wechatpay=False,
        desk=Refunds,
    ),
)


def subscriptions(*desks: Desk) -> list[Subscription]:
    """Bind every handler to the desk it works with."""
    by_kind = {type(desk): desk for desk in desks}
    return [
        Subscription(
            queue=one.queue,
            events=one.events,
            handle=_bind(one, by_kind[one.desk]),
            calls_wechatpay=one.calls_wechatpay,
        )
        for one in CONSUMERS
    ]


def _bind(consumer: Consumer, desk: Desk) -> Handle:
    async def handle(event: EventIn) -> None:
        await consumer.handle(event, desk)

    return handle
