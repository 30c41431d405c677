"""How a refund ends, and how the merchant hears of it (reference payscore-api G.1, G.4)."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from payscore_worker.simulator.passengers import RefundOutcome
from payscore_worker.simulator.refunds.answers import refund_notice
from payscore_worker.simulator.refunds.book import Refund, RefundBook, RefundStatus
from payscore_worker.simulator.world import World

_STATUSES: Final[Mapping[RefundOutcome, RefundStatus]] = {
    RefundOutcome.SUCCESS: RefundStatus.SUCCESS,
    RefundOutcome.ACCOUNT_ABNORMAL: RefundStatus.SUCCESS,
    RefundOutcome.ABNORMAL: RefundStatus.ABNORMAL,
    RefundOutcome.CLOSED: RefundStatus.CLOSED,
}
"""One that is never to end is missing; an account that closed after the refund was accepted no longer stops it."""
_SUMMARIES: Final[Mapping[RefundStatus, str]] = {
    RefundStatus.SUCCESS: "退款成功",
    RefundStatus.ABNORMAL: "退款异常",
    RefundStatus.CLOSED: "退款关闭",
}
_ENDS_AS: Final[Mapping[RefundStatus, frozenset[RefundStatus]]] = {
    RefundStatus.PROCESSING: frozenset({RefundStatus.SUCCESS, RefundStatus.ABNORMAL, RefundStatus.CLOSED}),
    RefundStatus.ABNORMAL: frozenset({RefundStatus.SUCCESS, RefundStatus.CLOSED}),
}
"""An abnormal one is ended by a person; what succeeded or was closed stays so."""


class UnknownRefund(LookupError):
    """No refund of that number is kept."""


class WrongRefundStatus(ValueError):
    """The refund cannot end so where it stands."""


class RefundEndings:
    def __init__(self, world: World, book: RefundBook) -> None:
        self._world, self._book = world, book

    def await_end(self, refund: Refund) -> None:
        """Puts the end on the agenda; its passenger's behaviour is read when it comes."""
        end = partial(self._end_if_processing, refund.refund_id, refund.out_refund_no)
        self._world.agenda.schedule(self._world.config.refund_after_seconds, end)

    def end(self, out_refund_no: str, status: RefundStatus) -> None:
        """It ends so now, and the merchant is told."""
        refund = self._book.refund(out_refund_no)
        if refund is None:
            raise UnknownRefund(f"no refund {out_refund_no}")
        if status not in _ENDS_AS.get(refund.status, ()):
            raise WrongRefundStatus(f"refund {out_refund_no} is {refund.status}; it cannot become {status}")
        ended = refund.ended(status, at=self._world.clock())
        self._book.save(ended)
        self._announce(ended)

    def _end_if_processing(self, refund_id: str, out_refund_no: str) -> None:
        refund = self._book.refund(out_refund_no)
        if refund is None or refund.refund_id != refund_id or refund.status is not RefundStatus.PROCESSING:
            return
        transaction = refund.transaction
        passenger = self._world.passengers.for_order(transaction.out_order_no, transaction.openid)
        if status := _STATUSES.get(passenger.refund):
            self.end(out_refund_no, status)

    def _announce(self, ended: Refund) -> None:
        config = self._world.config
        self._world.callbacks.announce(
            f"REFUND.{ended.status}",
            refund_notice(ended, mchid=config.keys.mchid, newer=config.refund_callback_members == "newer"),
            original_type="refund",
            summary=_SUMMARIES[ended.status],
            url=ended.request.notify_url or config.notify_url,
            openid=ended.transaction.openid,
            out_order_no=ended.transaction.out_order_no,
        )
