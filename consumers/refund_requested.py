"""Money of a trip is to go back: note it, and ask for the refund; while WeChat Pay is out, the reconciler will."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import RefundRequested
from payscore_worker.settlement.refunds import Refunds


async def handle(event: RefundRequested, refunds: Refunds) -> None:
    await refunds.note_requested(event)
    with suppress(HeldBack):
        await refunds.advance(event.refund_id)
