"""A passenger has opened or closed the PayScore service: note it for their next trip."""

from payscore_worker.events import ServiceChanged
from payscore_worker.settlement.trips import Settlement


async def handle(event: ServiceChanged, settlement: Settlement) -> None:
    await settlement.note_service(event)
