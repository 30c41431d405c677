"""A trip will not be charged: note it, and give its order up; while WeChat Pay is out, the reconciler will."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import TripCancelled
from payscore_worker.settlement.trips import Settlement


async def handle(event: TripCancelled, settlement: Settlement) -> None:
    await settlement.note_cancelled(event)
    with suppress(HeldBack):
        await settlement.advance(event.trip_id)
