"""The desk that tells what became of one debit (reference ordinary-payment-api 4)."""

from typing import Final

from payscore_worker.simulator.calls import Call, CallKind
from payscore_worker.simulator.desk import Subject
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.members import Entity
from payscore_worker.simulator.refunds.book import RefundBook
from payscore_worker.simulator.refusals import TRANSACTION_NOT_EXIST, Refused, bad_parameter
from payscore_worker.simulator.service_time import SHANGHAI
from payscore_worker.simulator.transactions import Transaction
from payscore_worker.simulator.world import World

_UNSHOWN: Final = frozenset({FaultKind.STALE, FaultKind.AMOUNT_DIFFERS, FaultKind.DETAILS})
"""Faults of what an order shows; a debit has no earlier state, and its amount no items to add up."""
_NUMBERS_SHOWN: Final = frozenset({"mchid", "appid"})


class TransactionDesk:
    kinds: Final = frozenset({CallKind.TRANSACTION_QUERY})
    unknown: Final = TRANSACTION_NOT_EXIST

    def __init__(self, world: World, refunds: RefundBook) -> None:
        self._world, self._refunds = world, refunds

    def subject_of(self, call: Call) -> Subject:
        transaction = self._transaction_of(call)
        if transaction is None:
            return Subject()
        return Subject(out_order_no=transaction.out_order_no, openid=transaction.openid)

    def can_play(self, call: Call, fault: Fault) -> bool:
        if fault.fault is FaultKind.NOT_YET:
            return self._transaction_of(call) is not None
        if fault.fault is FaultKind.ANOTHER_ORDER:
            return fault.played in _NUMBERS_SHOWN
        return fault.fault not in _UNSHOWN

    def answer(self, call: Call) -> Entity:
        """A debit of the merchant that asks; whose mchid is another's asks about nothing."""
        mchid = call.query.get("mchid")
        if not mchid:
            raise bad_parameter("mchid", "required query parameter is missing", location="query")
        transaction = self._transaction_of(call)
        if transaction is None or mchid != self._world.config.keys.mchid:
            raise Refused(TRANSACTION_NOT_EXIST)
        return self._shown(transaction)

    def earlier(self, call: Call) -> Entity | None:  # noqa: ARG002 - nothing of it is kept
        return None

    def _transaction_of(self, call: Call) -> Transaction | None:
        return self._world.transactions.find(transaction_id=call.path_parameters["transaction_id"], out_trade_no="")

    def _shown(self, transaction: Transaction) -> Entity:
        """A debit is SUCCESS, and REFUND from the acceptance of its first refund, however that ends."""
        refunded = bool(self._refunds.account(transaction.transaction_id).refunds)
        entity: Entity = {
            "appid": transaction.appid,
            "mchid": self._world.config.keys.mchid,
            "out_trade_no": transaction.out_trade_no,
            "transaction_id": transaction.transaction_id,
            "trade_type": "AUTH",
            "trade_state": "REFUND" if refunded else "SUCCESS",
            "trade_state_desc": "转入退款" if refunded else "支付成功",
            "bank_type": "OTHERS",
            "success_time": transaction.paid_at.astimezone(SHANGHAI).isoformat(timespec="seconds"),
            "payer": {"openid": transaction.openid},
            "amount": {
                "total": transaction.total_fen,
                "payer_total": transaction.payer_total_fen,
                "currency": "CNY",
                "payer_currency": "CNY",
            },
        }
        if coupon_fen := transaction.total_fen - transaction.payer_total_fen:
            coupon = {"coupon_id": f"{transaction.transaction_id}-1", "scope": "GLOBAL", "type": "CASH"}
            entity["promotion_detail"] = [coupon | {"amount": coupon_fen}]
        return entity
