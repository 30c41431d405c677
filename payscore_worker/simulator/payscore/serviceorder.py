"""The serviceorder family, the current one (reference payscore-api B)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from payscore_worker.simulator.addresses import check_notify_url
from payscore_worker.simulator.members import (
    Body,
    Count,
    Entity,
    Fen,
    OrderNumber,
    PositiveFen,
    Text20,
    Text30,
    Text32,
    Text50,
    Text100,
    Text128,
    refuse_repeated_names,
    shaped,
    some_of,
)
from payscore_worker.simulator.payscore.orders import ITEM_BY_HAND, Closing, Opening, Order, Payment, Stage
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
from payscore_worker.simulator.refusals import (
    AMOUNT_OVER_LIMIT,
    NO_PERMISSION,
    NOT_MODIFIABLE,
    Refused,
    bad_parameter,
    out_of_range,
)
from payscore_worker.simulator.service_time import ServiceTime, read_service_time, service_time_of

START: Final = "/time_range/start_time"
END: Final = "/time_range/end_time"
CONFIRM_SECONDS: Final = 30 * 86_400
"""An order that is CREATED for longer expires (reference payscore-api B.5)."""
EXEMPT_FIRST: Final = frozenset({"DEPOSIT", "ADVANCE", "CASH_DEPOSIT"})
"""Names of a risk_fund that only orders with a confirmation have (reference payscore-api B.0)."""
REPEATABLE_NAMES: Final = frozenset({"商品信息"})
"""Item names that may stand more than once in an order (reference payscore-api B.2)."""


class PostPayment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: Text20
    amount: Fen | None = None
    description: Text30 | None = None
    count: Count | None = None


class PostDiscount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: Text20
    description: Text30
    amount: Fen | None = None
    count: Count | None = None


class TimeRange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    start_time: str
    end_time: str | None = None
    start_time_remark: Text20 | None = None
    end_time_remark: Text20 | None = None


class Location(Struct, frozen=True, kw_only=True, omit_defaults=True):
    start_location: Text50 | None = None
    end_location: Text50 | None = None


class RiskFund(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: Literal["DEPOSIT", "ADVANCE", "CASH_DEPOSIT", "ESTIMATE_ORDER_COST"]
    amount: PositiveFen
    description: Text30 | None = None


class Device(Struct, frozen=True, kw_only=True, omit_defaults=True):
    start_device_id: Text50 | None = None
    end_device_id: Text50 | None = None
    materiel_no: Text100 | None = None


PostPayments = Annotated[tuple[PostPayment, ...], Meta(max_length=100)]
PostDiscounts = Annotated[tuple[PostDiscount, ...], Meta(max_length=30)]


class Create(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reference payscore-api B.3."""

    out_order_no: OrderNumber
    appid: Text32
    service_id: Text32
    service_introduction: Text20
    post_payments: PostPayments = ()
    post_discounts: PostDiscounts = ()
    time_range: TimeRange
    location: Location | None = None
    risk_fund: RiskFund
    attach: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    notify_url: str
    openid: Text128 | None = None
    need_user_confirm: bool = True
    device: Device | None = None


class WholeTimeRange(TimeRange, frozen=True, kw_only=True, omit_defaults=True):
    end_time: str


class DirectComplete(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reference payscore-api B.9."""

    out_order_no: OrderNumber
    appid: Text32
    openid: Text128
    service_id: Text32
    service_introduction: Text20
    post_payments: Annotated[tuple[PostPayment, ...], Meta(min_length=1, max_length=100)]
    post_discounts: Annotated[tuple[PostDiscount, ...], Meta(max_length=5)] = ()
    time_range: WholeTimeRange
    location: Location | None = None
    total_amount: Fen
    profit_sharing: bool = False
    goods_tag: Text32 | None = None
    attach: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    notify_url: str | None = None


class CompleteTimeRange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    start_time: str | None = None
    end_time: str | None = None
    start_time_remark: Text20 | None = None
    end_time_remark: Text20 | None = None


class Complete(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reference payscore-api B.6."""

    appid: Text32
    service_id: Text32
    post_payments: Annotated[tuple[PostPayment, ...], Meta(min_length=1, max_length=100)]
    post_discounts: PostDiscounts = ()
    total_amount: Fen
    time_range: CompleteTimeRange | None = None
    location: Location | None = None
    profit_sharing: bool = False
    goods_tag: Text32 | None = None
    device: Device | None = None


class Modify(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reference payscore-api B.8."""

    appid: Text32
    service_id: Text32
    post_payments: Annotated[tuple[PostPayment, ...], Meta(min_length=1, max_length=100)]
    post_discounts: PostDiscounts = ()
    total_amount: Fen
    reason: Text50
    device: Device | None = None


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reference payscore-api B.9."""

    service_id: Text32
    post_payments: Annotated[tuple[PostPayment, ...], Meta(min_length=1, max_length=100)]
    post_discounts: PostDiscounts = ()
    total_amount: Fen
    prepaid_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Modification:
    total_fen: int
    members: Entity


class ServiceOrder:
    name = "serviceorder"
    announces_parts = True
    confirm_seconds = CONFIRM_SECONDS
    confirmed_event = "PAYSCORE.USER_CONFIRM"

    def __init__(self, *, mchid: str, service_cap_fen: int, location_characters: int) -> None:
        self._mchid = mchid
        self._service_cap_fen = service_cap_fen
        self._location_characters = location_characters

    def read_create(self, body: Body) -> Opening:
        create = shaped(body, Create)
        _check_items(create.post_payments, create.post_discounts)
        _check_location(create.location)
        self._check_places(create.location)
        check_attach(create.attach)
        check_notify_url(create.notify_url)
        start = read_start(create.time_range.start_time, START)
        end = read_time(create.time_range.end_time, END)
        openid = openid_of(need_user_confirm=create.need_user_confirm, openid=create.openid)
        if create.risk_fund.name in EXEMPT_FIRST and not create.need_user_confirm:
            raise Refused(NO_PERMISSION)
        return Opening(
            out_order_no=create.out_order_no,
            openid=openid,
            needs_confirm=create.need_user_confirm,
            risk_fen=create.risk_fund.amount,
            start=start,
            end=end,
            notify_url=create.notify_url,
            members=msgspec.to_builtins(create),
            fingerprint=body.fingerprint,
        )

    def check_create(self, opening: Opening, now: datetime) -> None:
        check_opening_times(opening, now, start_field=START, end_field=END)
        check_risk(opening.risk_fen, "/risk_fund/amount", service_cap_fen=self._service_cap_fen)

    def read_complete(self, body: Body) -> Closing:
        complete = shaped(body, Complete)
        _check_items(complete.post_payments, complete.post_discounts)
        _check_amounts(complete.total_amount, complete.post_payments, complete.post_discounts)
        self._check_places(complete.location)
        times = complete.time_range or CompleteTimeRange()
        return Closing(
            total_fen=complete.total_amount,
            start=read_time(times.start_time, START),
            end=read_time(times.end_time, END),
            members=msgspec.to_builtins(complete),
            fingerprint=body.fingerprint,
        )

    def read_direct(self, body: Body) -> tuple[Opening, Closing]:
        """What create and complete would have said, checked likewise."""
        direct = shaped(body, DirectComplete)
        _check_items(direct.post_payments, direct.post_discounts)
        _check_amounts(direct.total_amount, direct.post_payments, direct.post_discounts)
        _check_location(direct.location)
        self._check_places(direct.location)
        check_attach(direct.attach)
        if direct.notify_url is not None:
            check_notify_url(direct.notify_url)
        members = msgspec.to_builtins(direct)
        opening = Opening(
            out_order_no=direct.out_order_no,
            openid=direct.openid,
            needs_confirm=False,
            risk_fen=self._service_cap_fen,
            start=read_start(direct.time_range.start_time, START),
            end=None,
            notify_url=direct.notify_url,
            members=members,
            fingerprint=body.fingerprint,
        )
        closing = Closing(
            total_fen=direct.total_amount,
            start=None,
            end=read_time(direct.time_range.end_time, END),
            members={name: value for name, value in members.items() if name != "location"},
            fingerprint=body.fingerprint,
        )
        return opening, closing

    def read_modify(self, body: Body) -> Modification:
        modify = shaped(body, Modify)
        _check_items(modify.post_payments, modify.post_discounts)
        _check_amounts(modify.total_amount, modify.post_payments, modify.post_discounts)
        return Modification(total_fen=modify.total_amount, members=msgspec.to_builtins(modify))

    def check_message(self, body: Body) -> None:
        """By every rule that needs nothing but the request."""
        message = shaped(body, Message)
        _check_items(message.post_payments, message.post_discounts)
        _check_amounts(message.total_amount, message.post_payments, message.post_discounts)
        read_service_time(message.prepaid_time, "/prepaid_time")

    def check_complete(self, order: Order, closing: Closing, now: datetime) -> None:
        """Reference payscore-api B.6."""
        _check_real_start(order.start, closing.start, now)
        check_closing_times(order, closing, now, end_field=END)
        if closing.total_fen > self.most_fen(order):
            raise Refused(AMOUNT_OVER_LIMIT)
        location = closing.members.get("location", {})
        if "start_location" in location:
            raise bad_parameter("/location/start_location", "must not be sent at complete")
        planned = order.opening.members.get("location", {})
        if "end_location" in location and "start_location" not in planned:
            raise bad_parameter("/location/end_location", "create gave no start_location")

    def most_fen(self, order: Order) -> int:
        """Above its risk_fund, if need be, up to the service's cap; but for an exempt-first order."""
        return order.opening.risk_fen if _is_exempt_first(order) else self._service_cap_fen

    def check_modify(self, order: Order) -> None:
        """An order with a deposit is not lowered (reference payscore-api B.8)."""
        if _is_exempt_first(order):
            raise Refused(NOT_MODIFIABLE)

    def repriced(self, closing: Closing, total_fen: int) -> Closing:
        return self.modified(closing, Modification(total_fen=total_fen, members=_priced(total_fen)))

    def closed_by_hand(self, total_fen: int, at: datetime) -> Closing:
        end = service_time_of(at)
        members = {"time_range": {"end_time": end.text}, **_priced(total_fen)}
        return Closing(total_fen=total_fen, start=None, end=end, members=members, fingerprint=b"")

    def check_sync(self, order: Order, paid_at: datetime, now: datetime) -> None:
        """Reference payscore-api B.9 knows no rule."""

    def state(self, order: Order) -> str:
        return _STATES[order.stage]

    def create_response(self, order: Order) -> Entity:
        return _without(self._entity(order), "openid", "collection")

    def complete_response(self, order: Order) -> Entity:
        """The entity without `collection` (reference payscore-api B.6)."""
        return _without(self._entity(order), "openid", "collection")

    def direct_response(self, order: Order) -> Entity:
        """Reference payscore-api B.9."""
        return _without(self._entity(order), "openid", "collection", "need_collection", "risk_fund")

    def query_response(self, order: Order) -> Entity:
        return self._entity(order)

    def modified(self, closing: Closing, modification: Modification) -> Closing:
        """The same closing with other items and another total."""
        kept = {name: value for name, value in closing.members.items() if name != "post_discounts"}
        return replace(closing, total_fen=modification.total_fen, members=kept | modification.members)

    def cancel_response(self, order: Order) -> Entity:
        return some_of(self._entity(order), ("appid", "mchid", "out_order_no", "service_id", "order_id"))

    def jump_members(self, package: str) -> Entity:
        return {"package": package}

    def confirmed_notification(self, order: Order) -> Entity:
        """Reference payscore-api D.3."""
        return _without(self._entity(order), "notify_url")

    pay_response = cancel_response
    modify_response = query_response
    sync_response = query_response
    paid_notification = query_response

    def _check_places(self, location: Location | None) -> None:
        """No longer than the documents that are played have it (reference payscore-api B.2)."""
        for name, place in msgspec.to_builtins(location or Location()).items():
            if len(place) > self._location_characters:
                raise out_of_range(f"/location/{name}", f"longer than {self._location_characters} characters")

    def _entity(self, order: Order) -> Entity:
        """Reference payscore-api B.4 and D.3."""
        create, complete = order.opening.members, order.closing.members if order.closing else {}
        entity: Entity = {
            "appid": create["appid"],
            "mchid": self._mchid,
            "service_id": create["service_id"],
            "out_order_no": order.out_order_no,
            "order_id": order.order_id,
            "state": self.state(order),
        }
        if order.openid:
            entity["openid"] = order.openid
        if description := _STATE_DESCRIPTIONS.get(order.stage):
            entity["state_description"] = description
        entity |= some_of(create, _SHOWN_OF_CREATE)
        entity |= some_of(complete, _SHOWN_OF_COMPLETE)
        entity["time_range"] = (
            create["time_range"] | complete.get("time_range", {}) | {"start_time": _start(order).text}
        )
        if "location" in create:
            entity["location"] = create["location"] | complete.get("location", {})
        if order.total_fen is not None:
            entity["total_amount"] = order.total_fen
            entity["need_collection"] = order.total_fen > 0
        if order.stage in _COLLECTING:
            entity["collection"] = _collection(order)
        return entity


_STATES: Final = {
    Stage.CREATED: "CREATED",
    Stage.RUNNING: "DOING",
    Stage.OWING: "DOING",
    Stage.FREE: "DONE",
    Stage.PAID: "DONE",
    Stage.REVOKED: "REVOKED",
    Stage.EXPIRED: "EXPIRED",
}
_STATE_DESCRIPTIONS: Final = {Stage.RUNNING: "USER_CONFIRM", Stage.OWING: "MCH_COMPLETE"}
_COLLECTING: Final = frozenset({Stage.OWING, Stage.PAID})
_SHOWN_OF_CREATE: Final = (
    "service_introduction",
    "post_payments",
    "post_discounts",
    "risk_fund",
    "attach",
    "notify_url",
)
_SHOWN_OF_COMPLETE: Final = ("post_payments", "post_discounts")


def _is_exempt_first(order: Order) -> bool:
    """One that was completed as it was created has no risk_fund."""
    return order.opening.members.get("risk_fund", {}).get("name") in EXEMPT_FIRST


def _start(order: Order) -> ServiceTime:
    return order.closing.start if order.closing and order.closing.start else order.start


def _without(entity: Entity, *names: str) -> Entity:
    return {name: value for name, value in entity.items() if name not in names}


def _collection(order: Order) -> Entity:
    """Reference payscore-api B.2, `collection`."""
    paid = order.stage is Stage.PAID
    collection: Entity = {
        "state": "USER_PAID" if paid else "USER_PAYING",
        "total_amount": order.total_fen,
        "paying_amount": 0 if paid else order.owed_fen,
        "paid_amount": order.paid_fen,
    }
    if order.payments:
        *earlier, last = order.payments
        details = [_collection_detail(seq, payment) for seq, payment in enumerate(earlier, start=1)]
        coupon_fen = order.owed_fen if paid else 0
        details.append(_collection_detail(len(order.payments), last, coupon_fen=coupon_fen))
        collection["details"] = details
    return collection


def _collection_detail(seq: int, payment: Payment, *, coupon_fen: int = 0) -> Entity:
    detail: Entity = {"seq": seq, "amount": payment.amount_fen, "paid_time": service_time_of(payment.at).text}
    if payment.transaction_id is None:
        return detail | {"paid_type": "MCH"}
    detail |= {"paid_type": "NEWTON", "transaction_id": payment.transaction_id}
    if coupon_fen > 0:
        coupon = {"coupon_id": f"{payment.transaction_id}-1", "scope": "GLOBAL", "type": "CASH", "amount": coupon_fen}
        detail["promotion_detail"] = [coupon]
    return detail


def _priced(total_fen: int) -> Entity:
    return {"post_payments": [{"name": ITEM_BY_HAND, "amount": total_fen}], "total_amount": total_fen}


def _check_items(payments: tuple[PostPayment, ...], discounts: tuple[PostDiscount, ...]) -> None:
    for index, payment in enumerate(payments):
        if payment.amount is None and payment.description is None:
            raise bad_parameter(f"/post_payments/{index}", "amount or description is required")
    refuse_repeated_names((p.name for p in payments), "/post_payments", repeatable=REPEATABLE_NAMES)
    refuse_repeated_names((d.name for d in discounts), "/post_discounts")


def _check_amounts(total_fen: int, payments: tuple[PostPayment, ...], discounts: tuple[PostDiscount, ...]) -> None:
    for index, discount in enumerate(discounts):
        if discount.amount is None:
            raise bad_parameter(f"/post_discounts/{index}/amount", "required member is missing")
    check_sum(
        total_fen=total_fen,
        fees=(payment.amount or 0 for payment in payments),
        discounts=(discount.amount or 0 for discount in discounts),
    )


def _check_location(location: Location | None) -> None:
    if location and location.end_location is not None and location.start_location is None:
        raise bad_parameter("/location/end_location", "only allowed together with start_location")


def _check_real_start(planned: ServiceTime, real: ServiceTime | None, now: datetime) -> None:
    """Not before the start at create, not after the call, and as precise (reference payscore-api B.6)."""
    if real is None:
        return
    if real.to_the_second != planned.to_the_second:
        raise bad_parameter(START, "must be as precise as at create")
    if not planned.moment <= real.moment <= now:
        raise out_of_range(START, "must not be before the start at create, nor after the call")
