"""What happens to an order behind the merchant's back: debits, payment elsewhere, revocation, expiry."""

from datetime import datetime
from functools import partial
from typing import Final

from payscore_worker.simulator.orders import Order, Payment, Stage
from payscore_worker.simulator.passengers import Behaviour, Passenger
from payscore_worker.simulator.service_time import service_time_of
from payscore_worker.simulator.world import World

REVOCABLE: Final = frozenset({Stage.RUNNING, Stage.OWING})


class UnknownOrder(LookupError):
    """No order of that number is kept."""


class WrongStage(ValueError):
    """It cannot happen to the order where it stands."""


class Happenings:
    def __init__(self, world: World) -> None:
        self._world = world

    def await_payment(self, order: Order) -> None:
        """Puts the debit on the agenda, as its passenger behaves at this moment."""
        passenger = self._world.passengers.for_order(order.out_order_no, order.openid)
        if passenger.behaviour is Behaviour.NEVER_PAYS:
            return
        late = passenger.behaviour is Behaviour.PAYS_LATE
        delay_seconds = passenger.seconds if late else self._world.config.pay_after_seconds
        self._world.agenda.schedule(delay_seconds, partial(self._debit_if_owing, order.order_id, order.out_order_no))

    def pay(self, out_order_no: str) -> Order:
        """The debit succeeds now, and the merchant is told."""
        order = self._order(out_order_no, {Stage.OWING})
        passenger = self._world.passengers.for_order(order.out_order_no, order.openid)
        payment = Payment(
            amount_fen=_debited_fen(order, passenger),
            at=self._world.clock(),
            transaction_id=self._world.numbers.next_transaction_id(),
        )
        paid = order.paid(payment)
        self._world.book.save(paid)
        self._world.callbacks.announce(
            "PAYSCORE.USER_PAID",
            self._world.family(paid.family).paid_notification(paid),
            summary="支付成功",
            url=paid.opening.notify_url or self._world.config.notify_url,
            openid=paid.openid,
            out_order_no=paid.out_order_no,
        )
        return paid

    def pay_elsewhere(self, out_order_no: str, *, at: datetime) -> Order:
        """The passenger paid the merchant by another channel: nothing is collected, and nobody is told."""
        order = self._order(out_order_no, {Stage.OWING})
        paid = order.paid(Payment(amount_fen=order.total_fen or 0, at=at, transaction_id=None))
        self._world.book.save(paid)
        return paid

    def revoke(self, out_order_no: str) -> Order:
        return self._move(out_order_no, REVOCABLE, Stage.REVOKED)

    def expire(self, out_order_no: str) -> Order:
        return self._move(out_order_no, {Stage.RUNNING}, Stage.EXPIRED)

    def change_service(self, openid: str, *, enabled: bool) -> None:
        """The passenger switches the service, and the merchant is told (reference payscore-api D.3)."""
        passengers, keys = self._world.passengers, self._world.config.keys
        if not enabled:
            passengers.set(openid, Passenger(Behaviour.NOT_ENABLED))
        elif not passengers.has_enabled(openid):
            passengers.set(openid, Passenger())
        event = "USER_OPEN_SERVICE" if enabled else "USER_CLOSE_SERVICE"
        resource = {
            "appid": keys.appid,
            "mchid": keys.mchid,
            "service_id": keys.service_id,
            "openid": openid,
            "user_service_status": event,
            "openorclose_time": service_time_of(self._world.clock()).text,
        }
        self._world.callbacks.announce(
            f"PAYSCORE.{event}",
            resource,
            summary="签约成功" if enabled else "解约成功",
            url=self._world.config.notify_url,
            openid=openid,
        )

    def _debit_if_owing(self, order_id: str, out_order_no: str) -> None:
        order = self._world.book.order(out_order_no)
        if order is not None and order.order_id == order_id and order.stage is Stage.OWING:
            self.pay(out_order_no)

    def _move(self, out_order_no: str, allowed: frozenset[Stage] | set[Stage], stage: Stage) -> Order:
        moved = self._order(out_order_no, allowed).moved(stage)
        self._world.book.save(moved)
        return moved

    def _order(self, out_order_no: str, allowed: frozenset[Stage] | set[Stage]) -> Order:
        order = self._world.book.order(out_order_no)
        if order is None:
            raise UnknownOrder(f"no order {out_order_no}")
        if order.stage not in allowed:
            raise WrongStage(f"order {out_order_no} is {order.stage}; it must be {' or '.join(sorted(allowed))}")
        return order


def _debited_fen(order: Order, passenger: Passenger) -> int:
    total_fen = order.total_fen or 0
    if passenger.behaviour is Behaviour.PAYS_OTHER_AMOUNT:
        return max(total_fen - passenger.coupon_fen, 0)
    return total_fen
