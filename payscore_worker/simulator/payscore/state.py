"""What a simulator remembers of PayScore."""

from dataclasses import dataclass
from typing import Self

from payscore_worker.simulator.payscore.book import Book
from payscore_worker.simulator.payscore.family import Family
from payscore_worker.simulator.payscore.passes import Passes
from payscore_worker.simulator.payscore.payafter import PayAfter
from payscore_worker.simulator.payscore.permissions import Permissions
from payscore_worker.simulator.payscore.serviceorder import ServiceOrder
from payscore_worker.simulator.refunds.book import RefundBook
from payscore_worker.simulator.world import World


@dataclass(frozen=True, kw_only=True)
class PayScoreState:
    world: World
    payafter: PayAfter
    serviceorder: ServiceOrder
    book: Book
    refunds: RefundBook
    permissions: Permissions
    tokens: Passes
    """apply_permissions_token: each is for an authorization_code."""
    packages: Passes
    """Each is for the order of an out_order_no."""

    @classmethod
    def begin(cls, world: World, refunds: RefundBook) -> Self:
        return cls(
            world=world,
            payafter=PayAfter(mchid=world.config.keys.mchid, service_cap_fen=world.config.service_cap_fen),
            serviceorder=ServiceOrder(
                mchid=world.config.keys.mchid,
                service_cap_fen=world.config.service_cap_fen,
                location_characters=world.config.location_characters,
            ),
            book=Book(max_orders=world.config.max_orders, transactions=world.transactions, refunds=refunds),
            refunds=refunds,
            permissions=Permissions(),
            tokens=Passes(world.agenda.now),
            packages=Passes(world.agenda.now),
        )

    def family(self, name: str) -> Family:
        families: dict[str, Family] = {"payafter": self.payafter, "serviceorder": self.serviceorder}
        return families[name]
