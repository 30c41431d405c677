"""The desk of refunds: whom they are about, and which of them are accepted (reference payscore-api G)."""

from typing import Final

from payscore_worker.simulator.calls import Call, CallKind
from payscore_worker.simulator.desk import Subject
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.members import Body, Entity, read_body
from payscore_worker.simulator.passengers import RefundOutcome
from payscore_worker.simulator.refunds.answers import refund_entity
from payscore_worker.simulator.refunds.book import MAX_REFUNDS, Account, Refund, RefundBook, RefundPage
from payscore_worker.simulator.refunds.endings import RefundEndings
from payscore_worker.simulator.refunds.requests import REFUND_NUMBER, RefundRequest, named_by, read_refund
from payscore_worker.simulator.refusals import (
    NO_SUCH_REFUND,
    NO_SUCH_TRANSACTION,
    NOT_ENOUGH,
    OVER_THE_REMAINING,
    PAID_TOO_LONG_AGO,
    REFUND_REENTRY_MISMATCH,
    REFUND_TOO_SOON,
    REFUNDS_TOO_CLOSE,
    TOO_MANY_REFUNDS,
    TOTAL_DIFFERS,
    USER_ACCOUNT_ABNORMAL,
    Refused,
    bad_parameter,
)
from payscore_worker.simulator.transactions import Transaction
from payscore_worker.simulator.world import World

MAX_AGE_SECONDS: Final = 365 * 86_400
"""Of a payment that may still be refunded (reference payscore-api G.1)."""


class RefundDesk:
    kinds: Final = frozenset({CallKind.REFUND, CallKind.REFUND_QUERY})
    unknown: Final = NO_SUCH_REFUND

    def __init__(self, world: World, book: RefundBook, endings: RefundEndings) -> None:
        self._world, self._book, self._endings = world, book, endings
        throttled = world.config.refund_too_soon_code == "FREQUENCY_LIMITED"
        self._too_soon: Final = REFUND_TOO_SOON if throttled else REFUNDS_TOO_CLOSE

    def subject_of(self, call: Call) -> Subject:
        """The order that the transaction belongs to; a call on no known transaction goes on a blank page."""
        if call.kind is CallKind.REFUND:
            return self._subject_of_create(call)
        page = self._page_of(call)
        return _subject(page.refund.transaction, page) if page and page.refund else Subject()

    def can_play(self, call: Call, fault: Fault) -> bool:
        page = self._page_of(call)
        match fault.fault:
            case FaultKind.STALE:
                return page is not None and page.earlier is not None
            case FaultKind.NOT_YET | FaultKind.AMOUNT_DIFFERS:
                return page is not None
            case FaultKind.DETAILS:
                return False
            case FaultKind.ANOTHER_ORDER:
                return fault.played == "out_refund_no"
            case _:
                return True

    def answer(self, call: Call) -> Entity:
        return refund_entity(self._create(call) if call.kind is CallKind.REFUND else self._query(call))

    def earlier(self, call: Call) -> Entity | None:
        page = self._page_of(call)
        return refund_entity(page.earlier) if page and page.earlier else None

    def _create(self, call: Call) -> Refund:
        """The same number with the same parameters refunds once."""
        body = read_body(call)
        request = read_refund(body)
        refund = self._book.refund(request.out_refund_no)
        if refund is None:
            return self._accept(request, body)
        if refund.fingerprint != body.fingerprint:
            raise Refused(REFUND_REENTRY_MISMATCH)
        return refund

    def _accept(self, request: RefundRequest, body: Body) -> Refund:
        transaction = self._world.transactions.find(
            transaction_id=request.transaction_id or "", out_trade_no=request.out_trade_no or ""
        )
        if transaction is None:
            raise Refused(NO_SUCH_TRANSACTION)
        account = self._book.account(transaction.transaction_id)
        self._check_for_good(request, transaction, account)
        self._check_for_now(request, account)
        refund = Refund(
            refund_id=self._world.numbers.next_refund_id(),
            transaction=transaction,
            request=request,
            fingerprint=body.fingerprint,
            payer_refund_fen=_payer_refund_fen(request, transaction, account),
            accepted_at=self._world.clock(),
            accepted_at_seconds=self._world.agenda.now(),
        )
        self._book.save(refund)
        self._endings.await_end(refund)
        return refund

    def _check_for_good(self, request: RefundRequest, transaction: Transaction, account: Account) -> None:
        """The rules under which the same request will be refused tomorrow too."""
        passenger = self._world.passengers.for_order(transaction.out_order_no, transaction.openid)
        if passenger.refund is RefundOutcome.ACCOUNT_ABNORMAL:
            raise Refused(USER_ACCOUNT_ABNORMAL)
        if request.amount.total != transaction.total_fen:
            raise Refused(TOTAL_DIFFERS)
        if self._world.agenda.now() > transaction.at + MAX_AGE_SECONDS:
            raise Refused(PAID_TOO_LONG_AGO)
        if request.amount.refund > transaction.total_fen - sum(refund.held_fen for refund in account.refunds):
            raise Refused(OVER_THE_REMAINING)
        if len(account.refunds) >= MAX_REFUNDS:
            raise Refused(TOO_MANY_REFUNDS)

    def _check_for_now(self, request: RefundRequest, account: Account) -> None:
        """The rules under which the same request may be accepted later."""
        latest = max((refund.accepted_at_seconds for refund in account.refunds), default=None)
        if latest is not None and self._world.agenda.now() < latest + self._world.config.refund_gap_seconds:
            raise Refused(self._too_soon)
        if self._book.balance_fen is not None and request.amount.refund > self._book.balance_fen:
            raise Refused(NOT_ENOUGH)

    def _query(self, call: Call) -> Refund:
        out_refund_no = call.path_parameters["out_refund_no"]
        if not REFUND_NUMBER.fullmatch(out_refund_no):
            raise bad_parameter("out_refund_no", "1 to 64 of 0-9 A-Z a-z _ - | * @", location="uri_template")
        refund = self._book.refund(out_refund_no)
        if refund is None:
            raise Refused(NO_SUCH_REFUND)
        return refund

    def _subject_of_create(self, call: Call) -> Subject:
        named = named_by(call.body)
        transaction = self._world.transactions.find(
            transaction_id=named.transaction_id, out_trade_no=named.out_trade_no
        )
        if transaction is None:
            return Subject()
        if not REFUND_NUMBER.fullmatch(named.out_refund_no):
            return _subject(transaction, RefundPage(named.out_refund_no, transaction.transaction_id))
        return _subject(transaction, self._book.open_page(transaction.transaction_id, named.out_refund_no))

    def _page_of(self, call: Call) -> RefundPage | None:
        return self._book.page(call.path_parameters.get("out_refund_no", ""))


def _subject(transaction: Transaction, page: RefundPage) -> Subject:
    return Subject(out_order_no=transaction.out_order_no, openid=transaction.openid, notes=page)


def _payer_refund_fen(request: RefundRequest, transaction: Transaction, account: Account) -> int:
    """In proportion, rounded half up (reference payscore-api G.1); never more than is left of what was paid."""
    share_fen = (2 * request.amount.refund * transaction.payer_total_fen + transaction.total_fen) // (
        2 * transaction.total_fen
    )
    left_fen = transaction.payer_total_fen - sum(refund.payer_held_fen for refund in account.refunds)
    return min(share_fen, left_fen)
