"""WeChat Pay says that an order is paid: note what it says, if it is about a trip of ours."""

from payscore_worker.events import OrderPaid
from payscore_worker.settlement.trips import Settlement


async def handle(event: OrderPaid, settlement: Settlement) -> None:
    await settlement.note_paid(event)
