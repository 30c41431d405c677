"""The fare of a trip was paid in another way: note it, and have WeChat Pay collect no more."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import TripPaidElsewhere
from payscore_worker.settlement.trips import Settlement


async def handle(event: TripPaidElsewhere, settlement: Settlement) -> None:
    await settlement.note_paid_elsewhere(event)
    with suppress(HeldBack):
        await settlement.advance(event.trip_id)
