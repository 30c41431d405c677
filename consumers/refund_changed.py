"""WeChat Pay says how a refund ended, or that it cannot be delivered: note what it says, if the refund is ours."""

from payscore_worker.events import RefundChanged
from payscore_worker.settlement.refunds import Refunds


async def handle(event: RefundChanged, refunds: Refunds) -> None:
    await refunds.note_changed(event)
