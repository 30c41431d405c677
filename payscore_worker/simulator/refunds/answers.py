"""Refunds in WeChat Pay's words (reference payscore-api G.1, G.3, G.4)."""

from datetime import datetime
from typing import Final

import msgspec

from payscore_worker.simulator.members import Entity, some_of
from payscore_worker.simulator.refunds.book import Refund, RefundStatus
from payscore_worker.simulator.service_time import SHANGHAI

RECEIVED_BY: Final = "支付用户零钱"
"""user_received_account: every passenger of the simulator keeps his money in his wallet."""
_FIRST_AMOUNTS: Final = ("total", "refund", "payer_total", "payer_refund")
"""What the older transcriptions of the notification list."""


def refund_entity(refund: Refund) -> Entity:
    entity = _numbers(refund) | {
        "channel": "ORIGINAL",
        "user_received_account": RECEIVED_BY,
        "create_time": _time(refund.accepted_at),
        "status": refund.status,
        "funds_account": refund.request.funds_account or "AVAILABLE",
        "amount": _amount(refund),
        "promotion_detail": _promotions(refund),
    }
    return entity | _success(refund)


def refund_notice(refund: Refund, *, mchid: str, newer: bool) -> Entity:
    amount = _amount(refund)
    entity = {"mchid": mchid, **_numbers(refund)} | {
        "refund_status": refund.status,
        "user_received_account": RECEIVED_BY,
        "amount": amount if newer else some_of(amount, _FIRST_AMOUNTS),
    }
    return entity | _success(refund)


def _numbers(refund: Refund) -> Entity:
    return {
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": refund.transaction.transaction_id,
        "out_trade_no": refund.transaction.out_trade_no,
    }


def _amount(refund: Refund) -> Entity:
    """A coupon of the simulator's is WeChat Pay's own cash, so that the merchant is settled, and pays back, in full."""
    transaction = refund.transaction
    amount: Entity = {
        "total": transaction.total_fen,
        "refund": refund.refund_fen,
        "payer_total": transaction.payer_total_fen,
        "payer_refund": refund.payer_refund_fen,
        "settlement_refund": refund.refund_fen,
        "settlement_total": transaction.total_fen,
        "discount_refund": refund.refund_fen - refund.payer_refund_fen,
        "currency": "CNY",
    }
    if refund.request.amount.from_:
        amount["from"] = msgspec.to_builtins(refund.request.amount.from_)
    return amount


def _promotions(refund: Refund) -> list[Entity]:
    transaction = refund.transaction
    coupon_fen = transaction.total_fen - transaction.payer_total_fen
    if not coupon_fen:
        return []
    return [
        {
            "promotion_id": transaction.transaction_id,
            "scope": "GLOBAL",
            "type": "CASH",
            "amount": coupon_fen,
            "refund_amount": refund.refund_fen - refund.payer_refund_fen,
        }
    ]


def _success(refund: Refund) -> Entity:
    if refund.status is not RefundStatus.SUCCESS or refund.succeeded_at is None:
        return {}
    return {"success_time": _time(refund.succeeded_at)}


def _time(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).isoformat(timespec="seconds")
