"""What a family of the PayScore API says in its own words, and the simulator in shared ones."""

from datetime import datetime
from typing import Protocol

from payscore_worker.simulator.members import Body, Entity
from payscore_worker.simulator.payscore.orders import Closing, Opening, Order


class Family(Protocol):
    name: str
    announces_parts: bool
    """Whether it can say that a part has been collected."""
    confirm_seconds: int
    """How long an order waits for its passenger to confirm it."""
    confirmed_event: str
    """What the merchant is told when he has."""

    def read_create(self, body: Body) -> Opening:
        """The request, checked by every rule that needs nothing but the request."""

    def check_create(self, opening: Opening, now: datetime) -> None:
        """The rules that a create is not checked by again when it is repeated."""

    def read_complete(self, body: Body) -> Closing:
        """The request, checked by every rule that needs nothing but the request."""

    def check_complete(self, order: Order, closing: Closing, now: datetime) -> None:
        """The rules on what a complete may say about this order at this moment."""

    def most_fen(self, order: Order) -> int:
        """The most that this order may be completed with."""

    def repriced(self, closing: Closing, total_fen: int) -> Closing:
        """The same closing with one item at that price."""

    def closed_by_hand(self, total_fen: int, at: datetime) -> Closing:
        """What WeChat Pay notes where a person completes an order in its console."""

    def check_sync(self, order: Order, paid_at: datetime, now: datetime) -> None:
        """The rules on when an order may have been paid by another channel."""

    def state(self, order: Order) -> str: ...

    def create_response(self, order: Order) -> Entity: ...

    def query_response(self, order: Order) -> Entity: ...

    def complete_response(self, order: Order) -> Entity: ...

    def cancel_response(self, order: Order) -> Entity: ...

    def sync_response(self, order: Order) -> Entity: ...

    def jump_members(self, package: str) -> Entity:
        """What create answers besides, for the page on which the passenger confirms."""

    def confirmed_notification(self, order: Order) -> Entity: ...

    def paid_notification(self, order: Order) -> Entity: ...
