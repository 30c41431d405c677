"""A trip has ended: note its fare, then settle it as far as it will go; while WeChat Pay is out, leave it noted."""

from contextlib import suppress

from payscore_worker.errors import AccountOut
from payscore_worker.events import TripEnded
from payscore_worker.settlement.trips import Settlement


async def handle(event: TripEnded, settlement: Settlement) -> None:
    await settlement.note_ended(event)
    with suppress(AccountOut):
        await settlement.advance(event.trip_id)
