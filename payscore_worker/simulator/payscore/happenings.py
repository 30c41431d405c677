"""What happens to an order behind the merchant's back: debits, payment elsewhere, revocation, expiry."""

from datetime import datetime
from functools import partial
from typing import Final

from payscore_worker.simulator.passengers import Behaviour, Passenger
from payscore_worker.simulator.payscore.orders import Order, Payment, Stage
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.transactions import Transaction

LOOK_SECONDS: Final = 3600
"""How often the agenda looks whether an order still waits for its passenger."""
UNMOVED: Final = frozenset({Behaviour.PAYS_LATE, Behaviour.NEVER_PAYS})
"""Those who have no money sooner for being asked."""
REVOCABLE: Final = frozenset({Stage.CREATED, Stage.RUNNING, Stage.OWING})


class UnknownOrder(LookupError):
    """No order of that number is kept."""


class WrongStage(ValueError):
    """It cannot happen to the order where it stands."""


class WrongAmount(ValueError):
    """The order cannot cost that."""


class Happenings:
    def __init__(self, state: PayScoreState) -> None:
        self._state, self._world = state, state.world

    def await_payment(self, order: Order) -> None:
        """Puts the debit on the agenda, as its passenger behaves at this moment."""
        passenger = self._world.passengers.for_order(order.out_order_no, order.openid)
        if passenger.behaviour is Behaviour.NEVER_PAYS:
            return
        late = passenger.behaviour is Behaviour.PAYS_LATE
        delay_seconds = passenger.seconds if late else self._world.config.pay_after_seconds
        self._debit_after(delay_seconds, order)

    def await_confirmation(self, order: Order) -> None:
        """Puts its expiry on the agenda."""
        due = self._world.agenda.now() + self._state.family(order.family).confirm_seconds
        self._expire_if_created(due, order.order_id, order.out_order_no)

    def hasten_payment(self, order: Order) -> None:
        """The debit is tried now; of one who pays late or never it fails, and what is on the agenda stays there."""
        behaviour = self._world.passengers.for_order(order.out_order_no, order.openid).behaviour
        if behaviour not in UNMOVED:
            self._debit_after(0, order)

    def pay(self, out_order_no: str) -> Order:
        """The debit succeeds now, and the merchant is told; of one who pays in two, the first debit or the second."""
        order = self._order(out_order_no, {Stage.OWING})
        passenger = self._world.passengers.for_order(order.out_order_no, order.openid)
        debited_fen = _debited_fen(order, passenger)
        in_part = debited_fen < order.owed_fen and passenger.behaviour is Behaviour.PAYS_IN_TWO
        transaction = self._charged(order, debited_fen, total_fen=debited_fen if in_part else order.owed_fen)
        payment = Payment(amount_fen=debited_fen, at=self._world.clock(), transaction_id=transaction.transaction_id)
        if in_part:
            paid = order.partly_paid(payment)
            self._debit_after(self._world.config.pay_after_seconds, paid)
        else:
            paid = order.paid(payment)
        self._state.book.save(paid)
        self._announce_payment(paid)
        return paid

    def _charged(self, order: Order, debited_fen: int, *, total_fen: int) -> Transaction:
        """Notes the debit where refunds look for it; what the total has more is a coupon."""
        transaction = Transaction(
            transaction_id=self._world.numbers.next_transaction_id(),
            out_trade_no=self._world.numbers.next_out_trade_no(),
            out_order_no=order.out_order_no,
            appid=order.opening.members["appid"],
            openid=order.openid,
            total_fen=total_fen,
            payer_total_fen=debited_fen,
            at=self._world.agenda.now(),
            paid_at=self._world.clock(),
        )
        self._world.transactions.note(transaction)
        return transaction

    def _announce_payment(self, paid: Order) -> None:
        """A part is announced too, by the family that can say so (reference payscore-api D.3)."""
        family = self._state.family(paid.family)
        if paid.stage is not Stage.PAID and not family.announces_parts:
            return
        self._world.callbacks.announce(
            "PAYSCORE.USER_PAID",
            family.paid_notification(paid),
            summary="支付成功",
            url=paid.opening.notify_url or self._world.config.notify_url,
            openid=paid.openid,
            out_order_no=paid.out_order_no,
        )

    def pay_elsewhere(self, out_order_no: str, *, at: datetime) -> Order:
        """The passenger paid the merchant by another channel: nothing is collected, and nobody is told."""
        order = self._order(out_order_no, {Stage.OWING})
        paid = order.paid(Payment(amount_fen=order.owed_fen, at=at, transaction_id=None))
        self._state.book.save(paid)
        return paid

    def revoke(self, out_order_no: str) -> Order:
        return self._move(out_order_no, REVOCABLE, Stage.REVOKED)

    def expire(self, out_order_no: str) -> Order:
        return self._move(out_order_no, {Stage.CREATED, Stage.RUNNING}, Stage.EXPIRED)

    def lower(self, out_order_no: str, total_fen: int) -> Order:
        """A person lowers what is owed, in WeChat Pay's console (reference payscore-api B.8); nobody is told."""
        order = self._order(out_order_no, {Stage.OWING})
        if order.closing is None or not order.may_be_lowered_to(total_fen):
            raise WrongAmount(
                f"order {out_order_no} costs {order.total_fen} fen, {order.paid_fen} paid: not {total_fen}"
            )
        lowered = order.modified(self._state.family(order.family).repriced(order.closing, total_fen))
        self._state.book.save(lowered)
        return lowered

    def complete_by_hand(self, out_order_no: str, total_fen: int) -> Order:
        """A person completes a running order, in WeChat Pay's console; it is debited like any other."""
        order, now = self._order(out_order_no, {Stage.RUNNING}), self._world.clock()
        family = self._state.family(order.family)
        most_fen = family.most_fen(order)
        if not 0 <= total_fen <= most_fen:
            raise WrongAmount(f"order {out_order_no} may cost 0 to {most_fen} fen, not {total_fen}")
        completed = order.completed(family.closed_by_hand(total_fen, now), at=now)
        self._state.book.save(completed)
        if completed.stage is Stage.OWING:
            self.await_payment(completed)
        return completed

    def _debit_after(self, delay_seconds: float, order: Order) -> None:
        self._world.agenda.schedule(delay_seconds, partial(self._debit_if_owing, order.order_id, order.out_order_no))

    def _debit_if_owing(self, order_id: str, out_order_no: str) -> None:
        order = self._state.book.order(out_order_no)
        if order is None or order.order_id != order_id or order.stage is not Stage.OWING:
            return
        passenger = self._world.passengers.for_order(out_order_no, order.openid)
        if passenger.behaviour is not Behaviour.NEVER_PAYS:
            self.pay(out_order_no)

    def _expire_if_created(self, due: float, order_id: str, out_order_no: str) -> None:
        """Comes back every hour until it is due, so that the agenda keeps none for a month that was long confirmed."""
        order = self._state.book.order(out_order_no)
        if order is None or order.order_id != order_id or order.stage is not Stage.CREATED:
            return
        now = self._world.agenda.now()
        if now >= due:
            self._state.book.save(order.moved(Stage.EXPIRED))
            return
        comes_back = partial(self._expire_if_created, due, order_id, out_order_no)
        self._world.agenda.schedule_at(min(due, now + LOOK_SECONDS), comes_back)

    def _move(self, out_order_no: str, allowed: frozenset[Stage] | set[Stage], stage: Stage) -> Order:
        moved = self._order(out_order_no, allowed).moved(stage)
        self._state.book.save(moved)
        return moved

    def _order(self, out_order_no: str, allowed: frozenset[Stage] | set[Stage]) -> Order:
        order = self._state.book.order(out_order_no)
        if order is None:
            raise UnknownOrder(f"no order {out_order_no}")
        if order.stage not in allowed:
            raise WrongStage(f"order {out_order_no} is {order.stage}; it must be {' or '.join(sorted(allowed))}")
        return order


def _debited_fen(order: Order, passenger: Passenger) -> int:
    if passenger.behaviour is Behaviour.PAYS_OTHER_AMOUNT:
        return max(order.owed_fen - passenger.coupon_fen, 0)
    if passenger.behaviour is Behaviour.PAYS_IN_TWO and not order.payments:
        return max(order.owed_fen // 2, 1)
    return order.owed_fen
