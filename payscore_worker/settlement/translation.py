"""The words of one side in those of the next: events, facts, orders, refusals."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from payscore_worker.domain import authorisation as authorisations
from payscore_worker.domain.authorisation import Requested
from payscore_worker.domain.next_step import (
    CancelOrder,
    CompleteOrder,
    LowerOrder,
    OpenOrder,
    PayOrder,
    SyncOrder,
)
from payscore_worker.domain.refund import Refund, RefundPhase, RefundRequested, RefundSeen, Refused
from payscore_worker.domain.trip import (
    Cancelled,
    Debit,
    DeclineReason,
    Discount,
    Doubt,
    Ended,
    Fee,
    Lowered,
    Opening,
    OrderPhase,
    OrderSeen,
    PaidElsewhere,
    Started,
    Trip,
    fare_of,
    least_lowered,
)
from payscore_worker.errors import Refusal, WechatPayRejected
from payscore_worker.events import AuthorisationRequested as AuthorisationRequestedEvent
from payscore_worker.events import DiscountItem as TripDiscountItem
from payscore_worker.events import FeeItem as TripFeeItem
from payscore_worker.events import RefundRequested as RefundRequestedEvent
from payscore_worker.events import TripCancelled, TripEnded, TripFareLowered, TripPaidElsewhere, TripStarted
from payscore_worker.wechatpay import CallKind
from payscore_worker.wechatpay.payscore import Completion, DiscountItem, FeeItem, Modification, NewOrder, Order
from payscore_worker.wechatpay.transactions import NewRefund, RefundTold

SENT_BY: Final[Mapping[str, CallKind]] = {
    OpenOrder.__name__: CallKind.CREATE,
    CompleteOrder.__name__: CallKind.COMPLETE,
    CancelOrder.__name__: CallKind.CANCEL,
    LowerOrder.__name__: CallKind.MODIFY,
    SyncOrder.__name__: CallKind.SYNC,
    PayOrder.__name__: CallKind.PAY,
}
"""The call with a body that a step sends."""

PLAIN_FEE: Final = "行程费用"
PLAIN_DISCOUNT: Final = "优惠"
PLAIN_REASON: Final = "行程取消"


def started_of(event: TripStarted) -> Started:
    """Take the fact from the event."""
    return Started(
        openid=event.openid,
        started_at=event.started_at,
        start_location=event.start_location,
        end_location=event.end_location,
        estimated_fare_fen=event.estimated_fare_fen,
        risk_amount_fen=event.risk_amount_fen,
        introduction=event.introduction,
        attach=event.attach,
        account=event.account or "",
        appid=event.appid or "",
    )


def ended_of(event: TripEnded) -> Ended:
    """Take the fact from the event."""
    return Ended(
        ended_at=event.ended_at,
        fees=_fees(event.fees),
        discounts=_discounts(event.discounts),
        total_fen=event.total_fen,
        start_location=event.start_location,
        end_location=event.end_location,
    )


def lowered_of(event: TripFareLowered) -> Lowered:
    """Take the fact from the event."""
    return Lowered(
        lowered_at=event.lowered_at,
        fees=_fees(event.fees),
        discounts=_discounts(event.discounts),
        total_fen=event.total_fen,
        reason=event.reason,
    )


def paid_elsewhere_of(event: TripPaidElsewhere) -> PaidElsewhere:
    """Take the fact from the event."""
    return PaidElsewhere(paid_at=event.paid_at, amount_fen=event.amount_fen, channel=event.channel)


def _fees(items: Iterable[TripFeeItem]) -> tuple[Fee, ...]:
    return tuple(
        Fee(name=fee.name, amount_fen=fee.amount_fen, description=fee.description, count=fee.count) for fee in items
    )


def _discounts(items: Iterable[TripDiscountItem]) -> tuple[Discount, ...]:
    return tuple(Discount(name=item.name, amount_fen=item.amount_fen, description=item.description) for item in items)


def cancelled_of(event: TripCancelled) -> Cancelled:
    """Take the fact from the event."""
    return Cancelled(cancelled_at=event.cancelled_at, reason=event.reason)


def whose(trip: Trip) -> tuple[str, str]:
    """Name account and app, as the start said; empty where it did not, or is not there."""
    return ("", "") if trip.started is None else (trip.started.account, trip.started.appid)


def new_order(trip: Trip, started: Started, opening: Opening, *, introduction: str) -> NewOrder:
    """Ask for the trip's order."""
    return NewOrder(
        out_order_no=trip.out_order_no,
        openid=started.openid,
        introduction=started.introduction or introduction,
        risk_amount_fen=opening.risk_amount_fen,
        start_time=opening.start_time,
        start_location=started.start_location,
        end_location=started.end_location,
        attach=started.attach,
        need_user_confirm=_needs_confirm(opening),
    )


def plain_order(trip: Trip, started: Started, opening: Opening, *, introduction: str) -> NewOrder:
    """Ask for the trip's order without a word that need not be said: some word was refused, and nobody tells which."""
    return NewOrder(
        out_order_no=trip.out_order_no,
        openid=started.openid,
        introduction=introduction,
        risk_amount_fen=opening.risk_amount_fen,
        start_time=opening.start_time,
        need_user_confirm=_needs_confirm(opening),
    )


def _needs_confirm(opening: Opening) -> bool:
    return opening.terms is not None and opening.terms.need_user_confirm


def plain_completion(trip: Trip, ended: Ended, *, end_time: datetime) -> Completion:
    """Tell the trip's fare in one item, without a word that need not be said."""
    discount_fen = sum(item.amount_fen for item in ended.discounts)
    return Completion(
        out_order_no=trip.out_order_no,
        fees=(FeeItem(name=PLAIN_FEE, amount_fen=sum(fee.amount_fen for fee in ended.fees)),),
        discounts=(DiscountItem(name=PLAIN_DISCOUNT, amount_fen=discount_fen),) if discount_fen else (),
        total_fen=ended.total_fen,
        end_time=end_time,
        finish_ticket=trip.finish_ticket or None,
    )


def completion(trip: Trip, started: Started, ended: Ended, *, end_time: datetime) -> Completion:
    """Tell the trip's fare."""
    is_plain = trip.opening is not None and trip.opening.is_plain
    return Completion(
        out_order_no=trip.out_order_no,
        fees=_fee_items(ended.fees),
        discounts=_discount_items(ended.discounts),
        total_fen=ended.total_fen,
        end_time=end_time,
        start_location="" if is_plain else started.start_location,
        end_location=ended.end_location,
        planned_end_location="" if is_plain else started.end_location,
        finish_ticket=trip.finish_ticket or None,
    )


def modification(trip: Trip) -> Modification:
    """Have the fare that counts collected, or nothing of one that was waived; the passenger sees the reason."""
    if trip.waived is not None:
        nothing = FeeItem(name=PLAIN_FEE, amount_fen=0)
        return Modification(out_order_no=trip.out_order_no, fees=(nothing,), total_fen=0, reason=trip.waived.reason)
    fare = fare_of(trip)
    return Modification(
        out_order_no=trip.out_order_no,
        fees=_fee_items(fare.fees),
        discounts=_discount_items(fare.discounts),
        total_fen=fare.total_fen,
        reason=least_lowered(trip).reason,
    )


def _fee_items(fees: Iterable[Fee]) -> tuple[FeeItem, ...]:
    return tuple(
        FeeItem(name=fee.name, amount_fen=fee.amount_fen, description=fee.description, count=fee.count) for fee in fees
    )


def _discount_items(discounts: Iterable[Discount]) -> tuple[DiscountItem, ...]:
    return tuple(
        DiscountItem(name=item.name, amount_fen=item.amount_fen, description=item.description) for item in discounts
    )


def cancel_reason(trip: Trip) -> str:
    """Say why the order is cancelled; the passenger sees it. A reason that was refused is not said again."""
    if trip.rebuilds:
        return PLAIN_REASON
    if trip.waived is not None:
        return trip.waived.reason
    if trip.cancelled is not None:
        return trip.cancelled.reason
    if trip.paid_elsewhere is not None:
        return "本次行程已用其他方式支付"
    if trip.declined is not None and trip.declined.reason is not DeclineReason.AMOUNT_OVER_LIMIT:
        return "本次行程请用其他方式支付"
    return "车费超出可用额度，请用其他方式支付"


def seen(order: Order) -> OrderSeen:
    """Take what WeChat Pay shows."""
    return OrderSeen(
        phase=OrderPhase(order.phase.value),
        order_id=order.order_id,
        total_fen=order.total_fen,
        paid_fen=order.paid_fen,
        paid_at=order.paid_at,
        debits=tuple(Debit(transaction_id=one.transaction_id, amount_fen=one.amount_fen) for one in order.debits),
        started_at=order.started_at,
        finish_ticket=order.finish_ticket or "",
    )


def doubt(step: type, error: WechatPayRejected, *, uncertain: bool = False) -> Doubt:
    """Take a refusal; `uncertain`: another attempt with the same bytes may have been accepted."""
    return Doubt(
        step=step.__name__,
        refusal=error.refusal,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
        uncertain=uncertain,
    )


def odd_answer(step: type, code: str, message: str, *, request_id: str = "") -> Doubt:
    """Have a doubt about a signed answer that cannot be what it should be: another order's, or not to be read."""
    return Doubt(
        step=step.__name__,
        refusal=Refusal.UNCLEAR,
        code=code,
        message=message,
        request_id=request_id,
        uncertain=True,
    )


def refund_requested(event: RefundRequestedEvent) -> RefundRequested:
    """Take the fact from the event."""
    return RefundRequested(
        trip_id=event.trip_id, refund_id=event.refund_id, amount_fen=event.amount_fen, reason=event.reason
    )


def authorisation_requested(event: AuthorisationRequestedEvent) -> Requested:
    """Take the fact from the event."""
    return Requested(request_id=event.request_id, openid=event.openid, client=event.client)


def authorisation_refused(step: type, error: WechatPayRejected) -> authorisations.Refused:
    """Take the refusal of an authorisation, or of a question about it."""
    return authorisations.Refused(
        step=step.__name__,
        refusal=error.refusal,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
    )


def odd_authorisation(step: type, message: str) -> authorisations.Refused:
    """Have no word where a signed answer cannot be what it should be."""
    return authorisations.Refused(
        step=step.__name__, refusal=Refusal.UNCLEAR, code="malformed_answer", message=message, request_id=""
    )


def new_refund(refund: Refund) -> NewRefund:
    """Ask for the refund; the passenger sees the reason."""
    return NewRefund(
        out_refund_no=refund.out_refund_no,
        transaction_id=refund.transaction_id,
        amount_fen=refund.amount_fen,
        total_fen=refund.total_fen,
        reason=refund.reason,
    )


def refund_seen(told: RefundTold) -> RefundSeen:
    """Take what WeChat Pay shows of a refund."""
    return RefundSeen(
        phase=RefundPhase(told.status.value),
        wechatpay_refund_id=told.refund_id,
        transaction_id=told.transaction_id,
        amount_fen=told.amount_fen,
        total_fen=told.total_fen,
        payer_refund_fen=told.payer_refund_fen,
        refunded_at=told.succeeded_at,
    )


def refund_refused(step: type, error: WechatPayRejected) -> Refused:
    """Take the refusal of a refund, or of a question about it."""
    return Refused(
        step=step.__name__,
        refusal=error.refusal,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
    )


def odd_refund(step: type, code: str, message: str) -> Refused:
    """Have no word where a signed answer cannot be what it should be."""
    return Refused(step=step.__name__, refusal=Refusal.UNCLEAR, code=code, message=message, request_id="")
