"""Builds refunds for tests of what is stored of them: in any state, with the money of their trip as it is then."""

from dataclasses import replace
from typing import Any

from payscore_worker.domain.refund import OVER, Pair, RefundRequested, RefundState, request
from payscore_worker.domain.trip import Trip
from tests.builders import NOW


def a_refund_of(trip: Trip, refund_id: str = "r1", *, amount_fen: int = 1_000, **changes: Any) -> Pair:
    """Refund a trip that is paid; what a refund that is over has reserved is booked."""
    asked = RefundRequested(trip_id=trip.trip_id, refund_id=refund_id, amount_fen=amount_fen, reason="绕路")
    reserved, refund = request(trip, asked, NOW, mchid="1900000001")
    refund = replace(refund, **changes)
    if reserved.payment is None or refund.state not in OVER:
        return reserved, refund
    went_back_fen = amount_fen if refund.state is RefundState.REFUNDED else 0
    [debit] = reserved.payment.debits
    booked = replace(
        debit, reserved_fen=debit.reserved_fen - amount_fen, refunded_fen=debit.refunded_fen + went_back_fen
    )
    return replace(reserved, payment=replace(reserved.payment, debits=(booked,))), refund
