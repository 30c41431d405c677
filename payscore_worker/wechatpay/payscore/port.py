"""The port: what can be asked of PayScore, and what it tells, the same for both API families."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from payscore_worker.domain.trip import OrderTerms
from payscore_worker.events import ClientJump
from payscore_worker.wechatpay.calls import Answer, Call, CallKind


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeItem:
    name: str
    amount_fen: int
    description: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountItem:
    name: str
    amount_fen: int
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    out_order_no: str
    openid: str = field(repr=False)
    introduction: str
    risk_amount_fen: int
    start_time: datetime | None = None
    """None: the moment at which WeChat Pay accepts the order (`OnAccept`)."""
    start_location: str = ""
    end_location: str = ""
    """Where the trip is planned to end; empty when unknown."""
    attach: str = field(default="", repr=False)
    need_user_confirm: bool = False
    """The passenger confirms it; who that is, WeChat Pay learns then, and is not told before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    out_order_no: str
    fees: tuple[FeeItem, ...]
    discounts: tuple[DiscountItem, ...] = ()
    total_fen: int
    end_time: datetime
    start_location: str = ""
    """As it was given when the order was made."""
    end_location: str = ""
    """Where the trip really ended."""
    planned_end_location: str = ""
    """As it was given when the order was made."""
    finish_ticket: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Modification:
    """A lower fare for an order that is completed and not paid (reference payscore-api B.8)."""

    out_order_no: str
    fees: tuple[FeeItem, ...]
    discounts: tuple[DiscountItem, ...] = ()
    total_fen: int
    reason: str


class Phase(StrEnum):
    """Where an order stands (reference payscore-api A.4, B.5)."""

    ACCEPTED = "ACCEPTED"
    """A create was accepted; whether the order runs was not said."""
    CREATED = "CREATED"
    """Waiting for the passenger's confirmation; for an order without confirmation, a failed create."""
    RUNNING = "RUNNING"
    COLLECTING = "COLLECTING"
    """Completed; the money is not in."""
    DONE = "DONE"
    """Over. Paid to the extent of `paid_fen`."""
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"
    """Not said, or said in words that no table knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Debited:
    """A debit that became a transaction."""

    transaction_id: str
    amount_fen: int | None
    """None where it is not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as WeChat Pay shows it. Texts are empty, and amounts None, where it says nothing."""

    mchid: str
    appid: str
    service_id: str
    out_order_no: str
    order_id: str
    phase: Phase
    total_fen: int | None
    paid_fen: int | None
    debits: tuple[Debited, ...]
    """Each transaction once, in no order that means anything (reference F.5 i)."""
    paid_at: datetime | None
    started_at: datetime | None
    finish_ticket: str | None = field(repr=False)
    package: str = field(repr=False)
    """What opens the page on which the passenger confirms the order; only in the answer to its create."""
    paid_through: str
    """`NEWTON`, `MCH`, `MchChannelPayType`…: an open list, to show and not to decide by."""

    @property
    def transaction_ids(self) -> tuple[str, ...]:
        """One for each debit."""
        return tuple(debit.transaction_id for debit in self.debits)


class PermissionState(StrEnum):
    """Where an authorisation stands (reference payscore-api A.1, C.2)."""

    UNSIGNED = "UNSIGNED"
    """Asked for, and no passenger has signed."""
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What a passenger has authorised. Texts are empty where WeChat Pay says nothing."""

    state: PermissionState
    service_id: str
    openid: str = field(repr=False)
    authorization_code: str = ""
    authorised_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceChange:
    """A passenger opened or closed the service."""

    mchid: str
    appid: str
    service_id: str
    openid: str = field(repr=False)
    enabled: bool
    changed_at: datetime | None
    number: str = ""
    """The authorization_code, or the out_request_no of the older flow; empty where he came without either."""


class PayScore(Protocol):
    """One PayScore API family. Building a call is apart from sending it, so that its bytes can be kept in between.

    Sending raises WechatPayUnavailable, OutcomeUnknown, MerchantRefused or WechatPayRejected. A refusal that is
    `unsure` leaves an earlier attempt unknown.
    """

    @property
    def family(self) -> str: ...

    @property
    def terms(self) -> OrderTerms:
        """Under which terms orders are opened and spoken of."""
        ...

    @property
    def needs_finish_ticket(self) -> bool: ...

    def create(self, order: NewOrder) -> Call: ...

    def complete(self, completion: Completion) -> Call: ...

    def cancel(self, *, out_order_no: str, reason: str) -> Call: ...

    def modify(self, modification: Modification) -> Call:
        """Lower the fare of an order that is completed and not paid; ValueError in a family that cannot."""
        ...

    def sync(self, *, out_order_no: str, paid_time: datetime) -> Call:
        """Tell that the fare of an order that is completed and not paid was paid to us in another way."""
        ...

    def pay(self, *, out_order_no: str) -> Call:
        """Ask to collect for an order now; ValueError in a family that cannot."""
        ...

    async def send(self, call: Call) -> Answer: ...

    async def query(self, out_order_no: str) -> tuple[Order, Answer]:
        """Ask where the order stands; an unknown one is refused with Refusal.ORDER_NOT_FOUND."""
        ...

    @property
    def service_question(self) -> CallKind:
        """By which call `service_enabled` asks."""
        ...

    async def service_enabled(self, openid: str) -> tuple[bool, Answer]:
        """Ask whether the passenger has enabled the service; Refusal.NOT_ENABLED: he never has, unsigned."""
        ...

    async def service_of(self, openid: str) -> tuple[Permission, Answer]:
        """Ask what the passenger has authorised; raises as `service_enabled` does."""
        ...

    @property
    def gives_tokens(self) -> bool:
        """Whether an authorisation is asked for beforehand, for a token that opens the page (reference C.1)."""
        ...

    def pre_authorise(self, authorization_code: str) -> Call:
        """Ask for an authorisation that a passenger is to sign; ValueError in a family without tokens."""
        ...

    def read_token(self, data: Mapping[str, Any]) -> str:
        """Read the answer to `pre_authorise`; MalformedMessage where it has none. It opens a page: never log it."""
        ...

    async def permission(self, authorization_code: str) -> tuple[Permission, Answer]:
        """Ask for an authorisation by our number; ValueError in a family without tokens."""
        ...

    def terminate(self, *, openid: str, reason: str) -> Call:
        """End what a passenger has authorised (reference C.4, A.1)."""
        ...

    def read_order(self, data: Mapping[str, Any]) -> Order:
        """Read an answer or a decrypted notification, of either family."""
        ...

    def read_created(self, data: Mapping[str, Any]) -> Order:
        """Read the answer to create, which in one family does not say whether the order runs: ACCEPTED then."""
        ...

    def is_ours(self, order: Order) -> bool:
        """Tell whether the order names our merchant, our app and our service."""
        ...

    def contradiction(self, data: Mapping[str, Any], out_order_no: str) -> str:
        """Name the member by which a signed answer is about another order than ours; empty where none contradicts."""
        ...

    def read_service_change(self, data: Mapping[str, Any]) -> ServiceChange:
        """Read a decrypted notification that a passenger opened or closed the service; Rejected when not ours."""
        ...

    def enable_jump(self, out_request_no: str, token: str = "") -> ClientJump | None:
        """Make what the passenger's client opens the page with that enables the service (reference C.3).

        With the token in a family that gives them, signed in the other; None: there it takes a token.
        """
        ...

    def confirm_jump(self, package: str) -> ClientJump:
        """Make what the passenger's client opens the page with that confirms an order (reference C.3).

        Raises:
            MerchantRefused: there is no APIv2 key to sign it with.

        """
        ...

    def detail_jump(self, out_order_no: str) -> ClientJump:
        """Make what the passenger's client opens the page with that shows an order; as `confirm_jump`."""
        ...

    def permitted(self) -> None:
        """Note that WeChat Pay has accepted an order of ours."""
        ...

    def not_permitted(self, code: str) -> None:
        """Note that WeChat Pay has refused an order as not permitted, though the passenger has enabled the service."""
        ...


class PayScores(Protocol):
    """PayScore under every set of terms: orders live under those that they were opened under."""

    @property
    def current(self) -> PayScore:
        """Under the terms of the settings, of the default account and its default app."""
        ...

    def present(self, account: str, appid: str) -> PayScore:
        """Under the present terms of an account and an app: new orders are opened so; empty: the default ones.

        Raises:
            Rejected: there is no such account, or it has no such app; names the member.

        """
        ...

    def of(self, terms: OrderTerms | None) -> PayScore:
        """Under the terms of an order, or the current ones where it has none yet.

        Raises:
            MerchantRefused: the order was opened under another mchid, whose keys we do not hold.

        """
        ...

    def terms_in(self, create: Call) -> OrderTerms | None:
        """Read the terms from a create that was sent; None where they cannot be read from it."""
        ...
