"""How passengers behave: each one, or one order of theirs."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import Final

from payscore_worker.simulator.refusals import (
    ARREARS,
    MINOR_PROTECTED,
    RISK_REFUSED,
    TOO_MANY_ORDERS,
    Refusal,
)

MAX_SCRIPTED: Final = 1_000_000
"""Passengers, and orders, that a behaviour may be set for: some 200 MB. The next one is turned away."""


class Behaviour(StrEnum):
    PAYS = "pays"
    NOT_ENABLED = "not_enabled"
    RISK_REFUSED = "risk_refused"
    ARREARS = "arrears"
    TOO_MANY_ORDERS = "too_many_orders"
    MINOR_PROTECTED = "minor_protected"
    PAYS_LATE = "pays_late"
    NEVER_PAYS = "never_pays"
    PAYS_OTHER_AMOUNT = "pays_other_amount"
    PAYS_IN_TWO = "pays_in_two"
    """Half is debited, and the rest by a second debit."""
    MUST_CONFIRM = "must_confirm"
    """Create is accepted, and the order waits in CREATED for a confirmation that nobody asks for."""


class RefundOutcome(StrEnum):
    """What becomes of money that is sent back to the passenger."""

    SUCCESS = "success"
    ABNORMAL = "abnormal"
    """It cannot be credited: the card was closed, for example."""
    CLOSED = "closed"
    """Nothing is refunded."""
    NEVER = "never"
    """It stays under way."""
    ACCOUNT_ABNORMAL = "account_abnormal"
    """The request is refused: the passenger's account was closed."""


REFUSALS: Final[Mapping[Behaviour, Refusal]] = {
    Behaviour.RISK_REFUSED: RISK_REFUSED,
    Behaviour.ARREARS: ARREARS,
    Behaviour.TOO_MANY_ORDERS: TOO_MANY_ORDERS,
    Behaviour.MINOR_PROTECTED: MINOR_PROTECTED,
}
"""What create answers; for one who has not enabled the service it is a matter of the config."""


@dataclass(frozen=True, slots=True)
class Passenger:
    behaviour: Behaviour = Behaviour.PAYS
    _: KW_ONLY
    seconds: float = 3600.0
    """How long after completion one who pays late is debited, before `speed`."""
    coupon_fen: int = 100
    """By how much the debit of one who pays another amount falls short of the total."""
    refund: RefundOutcome = RefundOutcome.SUCCESS

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ValueError("seconds must not be negative")
        if self.coupon_fen < 1:
            raise ValueError("coupon_fen must be at least 1")


class TooManyScripted(ValueError):
    """A simulator keeps a bounded number of behaviours; reset it."""


class Passengers:
    """Whoever was never mentioned pays."""

    def __init__(self) -> None:
        self._by_openid: dict[str, Passenger] = {}
        self._by_order: dict[str, Passenger] = {}

    def of(self, openid: str) -> Passenger:
        return self._by_openid.get(openid, _ORDINARY)

    def for_order(self, out_order_no: str, openid: str) -> Passenger:
        """What was set for the order goes before what was set for its passenger."""
        return self._by_order.get(out_order_no) or self.of(openid)

    def has_enabled(self, openid: str) -> bool:
        return self.of(openid).behaviour is not Behaviour.NOT_ENABLED

    def set(self, openid: str, passenger: Passenger) -> None:
        _keep(self._by_openid, openid, passenger)

    def set_for_order(self, out_order_no: str, passenger: Passenger) -> None:
        _keep(self._by_order, out_order_no, passenger)


_ORDINARY: Final = Passenger()


def _keep(scripts: dict[str, Passenger], key: str, passenger: Passenger) -> None:
    if key not in scripts and len(scripts) >= MAX_SCRIPTED:
        raise TooManyScripted(f"behaviours are already set for {MAX_SCRIPTED}")
    scripts[key] = passenger
