"""What a passenger does in WeChat without a jump: looks at his orders, pays, lets debits fail, closes the service."""

from dataclasses import replace
from typing import Final

from payscore_worker.simulator.config import Service
from payscore_worker.simulator.passengers import Behaviour
from payscore_worker.simulator.payscore.happenings import Happenings
from payscore_worker.simulator.payscore.orders import Order, Stage
from payscore_worker.simulator.payscore.pages import PageRefused
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.payscore.switching import Switching

UNSETTLED: Final = frozenset({Stage.RUNNING, Stage.OWING})
"""With such an order nobody closes the service (reference payscore-api C.4)."""


class Wallet:
    def __init__(self, state: PayScoreState, happenings: Happenings, switching: Switching) -> None:
        self._state, self._world = state, state.world
        self._happenings, self._switching = happenings, switching

    def orders(self, openid: str) -> list[Order]:
        """The newest first."""
        return self._state.book.orders_of(openid)

    def order(self, out_order_no: str, openid: str) -> Order:
        order = self._state.book.order(out_order_no)
        if order is None or order.openid != openid:
            raise PageRefused(f"no order {out_order_no} of this passenger's")
        return order

    def services(self) -> list[Service]:
        """Those that a passenger has on or off, each once; where he confirms each order, there is nothing to switch."""
        services: dict[str, Service] = {}
        for service in self._world.config.licensed:
            if service.mode == "no_confirm":
                services.setdefault(service.service_id, service)
        return list(services.values())

    def has_enabled(self, openid: str) -> bool:
        return self._world.passengers.has_enabled(openid)

    def puts_off(self, order: Order) -> bool:
        """Whether its debits fail, until he pays by himself."""
        return self._world.passengers.for_order(order.out_order_no, order.openid).behaviour is Behaviour.NEVER_PAYS

    def pay(self, out_order_no: str, openid: str) -> None:
        """He pays what he owes, on the page of the order (reference payscore-api B.5)."""
        order = self.order(out_order_no, openid)
        if order.stage is not Stage.OWING:
            raise PageRefused(f"order {out_order_no} is {order.stage}")
        self._happenings.pay(out_order_no)

    def put_off(self, out_order_no: str, openid: str) -> None:
        """Debits of this order fail from now on: there is no money where it would be taken from."""
        self._behave(self._unsettled(out_order_no, openid), Behaviour.NEVER_PAYS)

    def let_debit(self, out_order_no: str, openid: str) -> None:
        """They succeed again; one that is owed is tried at once."""
        order = self._unsettled(out_order_no, openid)
        self._behave(order, Behaviour.PAYS)
        if order.stage is Stage.OWING:
            self._happenings.hasten_payment(order)

    def close(self, openid: str, service_id: str) -> None:
        """He closes the service, unless an order runs or is owed."""
        if service_id not in {service.service_id for service in self.services()}:
            raise PageRefused("3961: wrong service id")
        if not self.has_enabled(openid):
            raise PageRefused("the service is not on")
        if any(order.stage in UNSETTLED for order in self.orders(openid)):
            raise PageRefused("存在未完成订单")
        self._switching.close_service(openid, service_id)

    def _unsettled(self, out_order_no: str, openid: str) -> Order:
        order = self.order(out_order_no, openid)
        if order.stage not in UNSETTLED:
            raise PageRefused(f"order {out_order_no} is {order.stage}")
        return order

    def _behave(self, order: Order, behaviour: Behaviour) -> None:
        passenger = self._world.passengers.for_order(order.out_order_no, order.openid)
        self._world.passengers.set_for_order(order.out_order_no, replace(passenger, behaviour=behaviour))
