"""A trip has started: note it, then open its order."""

from payscore_worker.events import TripStarted
from payscore_worker.settlement.trips import Settlement


async def handle(event: TripStarted, settlement: Settlement) -> None:
    await settlement.note_started(event)
    await settlement.advance(event.trip_id)
