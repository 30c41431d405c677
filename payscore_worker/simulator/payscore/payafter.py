"""The payafter-orders family, with its finish_ticket (reference payscore-api A)."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from payscore_worker.simulator.members import (
    Body,
    Entity,
    Fen,
    OrderNumber,
    PositiveFen,
    Text20,
    Text30,
    Text32,
    Text128,
    Text512,
    refuse_repeated_names,
    shaped,
    some_of,
)
from payscore_worker.simulator.payscore.orders import ITEM_BY_HAND, Closing, Opening, Order, Stage
from payscore_worker.simulator.payscore.rules import (
    check_attach,
    check_closing_times,
    check_opening_times,
    check_risk,
    check_sum,
    openid_of,
    read_start,
    read_time,
)
from payscore_worker.simulator.payscore.tickets import Tickets
from payscore_worker.simulator.refusals import AMOUNT_OVER_LIMIT, Refused, bad_parameter, out_of_range
from payscore_worker.simulator.service_time import service_time_of

MAX_FEES: Final = 100
MAX_DISCOUNTS: Final = 5
UNUSED: Final = 1
USED: Final = 2
"""finish_type: whether the passenger used the service."""
CONFIRM_SECONDS: Final = 3600
"""An order that is CREATED for longer expires (reference payscore-api A.4)."""
START: Final = "/service_start_time"
END: Final = "/service_end_time"
REAL_START: Final = "/real_service_start_time"
REAL_END: Final = "/real_service_end_time"


class Fee(Struct, frozen=True, kw_only=True, omit_defaults=True):
    fee_name: Text20
    fee_amount: Fen | None = None
    fee_desc: Text30 | None = None
    fee_count: Annotated[int, Meta(ge=1)] | None = None


class Discount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    discount_name: Text20
    discount_desc: Text30 | None = None
    discount_amount: Fen | None = None


Fees = Annotated[tuple[Fee, ...], Meta(max_length=MAX_FEES)]
Discounts = Annotated[tuple[Discount, ...], Meta(max_length=MAX_DISCOUNTS)]


class Create(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reference payscore-api A.2; what is required "in practice" is required here."""

    appid: Text32
    out_order_no: OrderNumber
    service_id: Text32
    service_start_time: str
    service_end_time: str | None = None
    service_start_location: Text20 | None = None
    service_end_location: Text20 | None = None
    service_introduction: Text20
    fees: Fees = ()
    discounts: Discounts = ()
    risk_amount: PositiveFen
    attach: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    need_user_confirm: bool = True
    openid: Text128 | None = None


class Complete(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reference payscore-api A.5."""

    appid: Text32
    service_id: Text32
    finish_type: Literal[1, 2]
    cancel_reason: Text30 | None = None
    real_service_start_time: str | None = None
    real_service_end_time: str | None = None
    real_service_end_location: Text20 | None = None
    fees: Fees = ()
    discounts: Discounts = ()
    total_amount: Fen
    finish_ticket: Text512
    profit_sharing: bool = False


class PayAfter:
    name = "payafter"
    announces_parts = False
    confirm_seconds = CONFIRM_SECONDS
    confirmed_event = "PAYSCORE.USER_ACCEPTED"

    def __init__(self, *, mchid: str, service_cap_fen: int) -> None:
        self._mchid = mchid
        self._service_cap_fen = service_cap_fen
        self._tickets = Tickets()

    def read_create(self, body: Body) -> Opening:
        create = shaped(body, Create)
        _check_names(create.fees, create.discounts)
        _check_estimate(create)
        check_attach(create.attach)
        return Opening(
            out_order_no=create.out_order_no,
            start=read_start(create.service_start_time, START),
            end=read_time(create.service_end_time, END),
            openid=openid_of(need_user_confirm=create.need_user_confirm, openid=create.openid),
            needs_confirm=create.need_user_confirm,
            risk_fen=create.risk_amount,
            notify_url=None,
            members=msgspec.to_builtins(create),
            fingerprint=body.fingerprint,
        )

    def check_create(self, opening: Opening, now: datetime) -> None:
        check_opening_times(opening, now, start_field=START, end_field=END)
        check_risk(opening.risk_fen, "/risk_amount", service_cap_fen=self._service_cap_fen)

    def read_complete(self, body: Body) -> Closing:
        complete = shaped(body, Complete)
        _check_names(complete.fees, complete.discounts)
        _check_amounts(complete)
        if complete.finish_type == UNUSED:
            _check_unused(complete)
        elif complete.real_service_end_time is None:
            raise bad_parameter(REAL_END, "required when finish_type is 2")
        return Closing(
            total_fen=complete.total_amount,
            start=read_time(complete.real_service_start_time, REAL_START),
            end=read_time(complete.real_service_end_time, REAL_END),
            members=msgspec.to_builtins(complete),
            fingerprint=body.fingerprint,
        )

    def check_complete(self, order: Order, closing: Closing, now: datetime) -> None:
        create, complete = order.opening.members, closing.members
        if not self._tickets.is_valid(order.order_id, complete["finish_ticket"]):
            raise bad_parameter("/finish_ticket", "not a ticket of this order")
        for field, limit in (("fees", MAX_FEES), ("discounts", MAX_DISCOUNTS)):
            if len(create.get(field, ())) + len(complete.get(field, ())) > limit:
                raise out_of_range(f"/{field}", f"more than {limit}, with those of create")
        _check_end_location(create, complete.get("real_service_end_location"))
        if complete["finish_type"] != UNUSED:
            check_closing_times(order, closing, now, end_field=REAL_END)
        if closing.total_fen > self.most_fen(order):
            raise Refused(AMOUNT_OVER_LIMIT)

    def most_fen(self, order: Order) -> int:
        return order.opening.risk_fen

    def repriced(self, closing: Closing, total_fen: int) -> Closing:
        kept = {name: value for name, value in closing.members.items() if name != "discounts"}
        return replace(closing, total_fen=total_fen, members=kept | _priced(total_fen))

    def closed_by_hand(self, total_fen: int, at: datetime) -> Closing:
        end = service_time_of(at)
        members = {"finish_type": USED, "real_service_end_time": end.text, **_priced(total_fen)}
        return Closing(total_fen=total_fen, start=None, end=end, members=members, fingerprint=b"")

    def check_sync(self, order: Order, paid_at: datetime, now: datetime) -> None:
        """After the completion and before this call (reference payscore-api A.7)."""
        if order.completed_at is None or not order.completed_at < paid_at < now:
            raise out_of_range("/detail/paid_time", "must lie between the complete call and this one")

    def state(self, order: Order) -> str:
        return _STATES[order.stage]

    def create_response(self, order: Order) -> Entity:
        return self._identity(order) | {"order_id": order.order_id}

    complete_response = create_response
    cancel_response = create_response
    sync_response = create_response

    def query_response(self, order: Order) -> Entity:
        entity = self._entity(order)
        if order.stage is Stage.RUNNING:
            entity["finish_ticket"] = self._tickets.issue(order.order_id)
        return entity

    def jump_members(self, package: str) -> Entity:
        """Reference payscore-api A.2; of the mini program's the user name is not known, and is the simulator's own."""
        return {
            "miniprogram_businesstype": "wxpayScoreUse",
            "miniprogram_appid": "wxd8f3793ea3b935b8",
            "miniprogram_path": "pages/use/use",
            "miniprogram_username": "gh_000000000000",
            "package": package,
        }

    def confirmed_notification(self, order: Order) -> Entity:
        """With a finish_ticket, as the query has it (reference payscore-api A.4)."""
        return self.paid_notification(order) | {"finish_ticket": self._tickets.issue(order.order_id)}

    def paid_notification(self, order: Order) -> Entity:
        """Reference payscore-api D.3 and V7: as the query, without the item lists."""
        entity = self._entity(order)
        for member in ("fees", "discounts"):
            entity.pop(member, None)
        return entity

    def _identity(self, order: Order) -> Entity:
        return {
            "appid": order.opening.members["appid"],
            "mchid": self._mchid,
            "out_order_no": order.out_order_no,
            "service_id": order.opening.members["service_id"],
        }

    def _entity(self, order: Order) -> Entity:
        """Reference payscore-api A.3."""
        entity = self._identity(order) | {"state": self.state(order), "service_start_time": order.start.text}
        entity |= some_of(order.opening.members, _SHOWN_OF_CREATE)
        if order.closing:
            entity |= some_of(order.closing.members, _SHOWN_OF_COMPLETE)
            entity["real_service_start_time"] = (order.closing.start or order.start).text
        if "fees" in entity:
            entity["fees"] = [{"fee_count": 1} | fee for fee in entity["fees"]]
        if order.stage is Stage.PAID:
            entity |= _paid_members(order)
        return entity


_STATES: Final = {
    Stage.CREATED: "CREATED",
    Stage.RUNNING: "USER_ACCEPTED",
    Stage.OWING: "FINISHED",
    Stage.FREE: "FINISHED",
    Stage.PAID: "USER_PAID",
    Stage.REVOKED: "REVOKED",
    Stage.EXPIRED: "EXPIRED",
}
_SHOWN_OF_CREATE: Final = (
    "service_end_time",
    "service_start_location",
    "service_end_location",
    "service_introduction",
    "fees",
    "discounts",
    "risk_amount",
    "attach",
)
_SHOWN_OF_COMPLETE: Final = (
    "finish_type",
    "real_service_end_time",
    "real_service_end_location",
    "fees",
    "discounts",
    "total_amount",
)


def _paid_members(order: Order) -> Entity:
    """This family knows one debit, the last; and no member for the amount collected, so a coupon shows in the total."""
    last = order.payments[-1]
    entity: Entity = {"pay_succ_time": service_time_of(last.at).text}
    if last.transaction_id is None:
        return entity | {"pay_type": "MchChannelPayType"}
    return entity | {"finish_transaction_id": last.transaction_id, "total_amount": order.paid_fen}


def _priced(total_fen: int) -> Entity:
    return {"fees": [{"fee_name": ITEM_BY_HAND, "fee_amount": total_fen}], "total_amount": total_fen}


def _check_names(fees: tuple[Fee, ...], discounts: tuple[Discount, ...]) -> None:
    refuse_repeated_names((fee.fee_name for fee in fees), "/fees")
    refuse_repeated_names((discount.discount_name for discount in discounts), "/discounts")


def _check_estimate(create: Create) -> None:
    """What the items of create may add up to (reference payscore-api A.2, amount rules)."""
    fees = sum(fee.fee_amount or 0 for fee in create.fees)
    discounts = [d.discount_amount for d in create.discounts if d.discount_amount is not None]
    if discounts and fees - sum(discounts) >= create.risk_amount:
        raise out_of_range("/risk_amount", "must be more than the fees less the discounts")
    if fees > create.risk_amount and not discounts:
        raise out_of_range("/risk_amount", "must not be less than the fees")


def _check_amounts(complete: Complete) -> None:
    for index, fee in enumerate(complete.fees):
        if fee.fee_amount is None:
            raise bad_parameter(f"/fees/{index}/fee_amount", "required member is missing")
    for index, discount in enumerate(complete.discounts):
        if discount.discount_amount is None:
            raise bad_parameter(f"/discounts/{index}/discount_amount", "required member is missing")
    check_sum(
        total_fen=complete.total_amount,
        fees=(fee.fee_amount or 0 for fee in complete.fees),
        discounts=(discount.discount_amount or 0 for discount in complete.discounts),
    )


def _check_unused(complete: Complete) -> None:
    """finish_type 1: a reason, no charge, no place of arrival (reference payscore-api A.5)."""
    if complete.cancel_reason is None:
        raise bad_parameter("/cancel_reason", "required when finish_type is 1")
    if complete.total_amount != 0:
        raise out_of_range("/total_amount", "must be 0 when finish_type is 1")
    if complete.real_service_end_location is not None:
        raise bad_parameter("/real_service_end_location", "must not be sent when finish_type is 1")


def _check_end_location(create: Entity, real_end: str | None) -> None:
    """Sent only where it says something new (reference payscore-api A.5, the table)."""
    if real_end is None:
        return
    if real_end == create.get("service_start_location"):
        raise bad_parameter("/real_service_end_location", "must not be sent when it is the place of the start")
    if real_end == create.get("service_end_location"):
        raise bad_parameter("/real_service_end_location", "must not be sent when it is the place expected at create")
