"""A trip has started: note it, then open its order; while WeChat Pay is out for its account, leave it noted."""

from contextlib import suppress

from payscore_worker.errors import AccountOut
from payscore_worker.events import TripStarted
from payscore_worker.settlement.trips import Settlement


async def handle(event: TripStarted, settlement: Settlement) -> None:
    await settlement.note_started(event)
    with suppress(AccountOut):
        await settlement.advance(event.trip_id)
