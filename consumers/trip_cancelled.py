"""A trip was cancelled: note it, then cancel its order if there is one."""

from payscore_worker.events import TripCancelled
from payscore_worker.settlement import Settlement


async def handle(event: TripCancelled, settlement: Settlement) -> None:
    await settlement.note_cancelled(event)
    await settlement.advance(event.trip_id)
