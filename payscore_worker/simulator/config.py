"""What a simulator is set up with."""

from dataclasses import dataclass
from typing import Final, Literal

from payscore_worker.simulator.keys import SimulatorKeys

FAMILIES: Final = frozenset({"payafter", "serviceorder"})


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service id that the merchant may use, from which of its apps, and through which families."""

    appid: str
    service_id: str
    families: frozenset[str] = FAMILIES
    mode: Literal["no_confirm", "need_confirm"] = "no_confirm"
    """Whether the passenger confirms each order; a service id has one mode (reference payscore-api B.0)."""
    direct_complete: bool = False
    """Whether it may create and complete in one call, which is not open to everybody (reference payscore-api B.9)."""

    def __post_init__(self) -> None:
        if not self.families or not self.families <= FAMILIES:
            raise ValueError(f"families must be some of {', '.join(sorted(FAMILIES))}")


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    keys: SimulatorKeys
    notify_url: str
    """Where payafter callbacks and service callbacks go; serviceorder orders name their own."""
    sign_with: Literal["certificate", "public_key"] = "certificate"
    """The key of callbacks; `public_key` also answers requests that name it under it (reference payscore-api E.6)."""
    speed: float = 1.0
    """Divides the delay of payments and the delays of the re-send schedule."""
    pay_after_seconds: float = 2.0
    """From completion to debit, before `speed`."""
    refund_after_seconds: float = 2.0
    """From the acceptance of a refund to its end, before `speed`."""
    refund_gap_seconds: float = 60.0
    """Between two refunds of one payment; 0: none is too soon (reference payscore-api G.1)."""
    refund_too_soon_code: Literal["FREQUENCY_LIMITED", "INVALID_REQUEST"] = "FREQUENCY_LIMITED"
    """What create answers within the gap: the rule is documented, its code is not (reference payscore-api G.1, G.2)."""
    refund_balance_fen: int | None = None
    """What the merchant has to refund from; None: always enough."""
    refund_callback_members: Literal["first", "newer"] = "first"
    """`newer` adds currency and settlement to refund callbacks: documents differ (reference payscore-api G.4)."""
    service_cap_fen: int = 50_000
    max_running_orders: int = 3
    max_orders: int = 200_000
    """Orders kept. Beyond it the oldest finished one is forgotten, and where none is finished, the oldest."""
    seed: int = 0
    """Of faults that strike with a probability."""
    services: tuple[Service, ...] = ()
    """All that the merchant may use, one after a migration from another for example; none named: that of the keys."""
    cancel_while_owing: bool = False
    """Whether a completed order can be cancelled before it is paid: documents differ (reference payscore-api B.7)."""
    modify_once: bool = False
    """Whether an order is lowered once only, or several times: documents differ (reference payscore-api B.8)."""
    not_enabled_code: Literal["NO_AUTH", "INVALID_REQUEST"] = "NO_AUTH"
    """What create answers for a passenger who has not enabled the service (reference payscore-api B.0, F.1)."""
    reentry_needs_service: bool = False
    """Whether an accepted create is refused when it is repeated after the passenger has switched the service off."""
    location_characters: Literal[20, 50] = 20
    """How long a place of a serviceorder may be: documents differ (reference payscore-api B.2)."""
    paths_without_version: bool = False
    """Whether PayScore answers under /payscore too: documents differ within a page (reference payscore-api A.1)."""
    confirm_sign_member: Literal["sign", "signature"] = "sign"
    """What wxpayScoreUse calls its signature: documents differ (reference payscore-api C.3)."""

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError("speed must be greater than 0")
        for name in ("pay_after_seconds", "refund_after_seconds", "refund_gap_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.refund_balance_fen is not None and self.refund_balance_fen < 0:
            raise ValueError("refund_balance_fen must not be negative")
        for name in ("service_cap_fen", "max_running_orders", "max_orders"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        modes = {(one.service_id, one.mode) for one in self.services}
        if len(modes) > len({service_id for service_id, _ in modes}):
            raise ValueError("a service id has one mode")

    @property
    def licensed(self) -> tuple[Service, ...]:
        return self.services or (Service(appid=self.keys.appid, service_id=self.keys.service_id),)
