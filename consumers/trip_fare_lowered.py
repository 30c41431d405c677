"""The fare of a trip is less than was told: note it, and have less collected, or money go back."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import TripFareLowered
from payscore_worker.settlement.trips import Settlement


async def handle(event: TripFareLowered, settlement: Settlement) -> None:
    await settlement.note_lowered(event)
    with suppress(HeldBack):
        await settlement.advance(event.trip_id)
