"""WeChat Pay says that the passenger has confirmed an order: note what it says, and take the trip on."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import OrderConfirmed
from payscore_worker.settlement.trips import Settlement


async def handle(event: OrderConfirmed, settlement: Settlement) -> None:
    trip_id = await settlement.note_order("payscore.user_confirm", event)
    with suppress(HeldBack):
        await settlement.advance(trip_id)
