"""What each call of a merchant does (reference payscore-api A, B)."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from msgspec import Struct

from payscore_worker.simulator.calls import Call, CallKind
from payscore_worker.simulator.config import Service
from payscore_worker.simulator.members import Entity, Text30, Text32, read_body, shaped
from payscore_worker.simulator.passengers import Behaviour
from payscore_worker.simulator.payscore.authorising import Authorising
from payscore_worker.simulator.payscore.evaluating import refusal_of
from payscore_worker.simulator.payscore.family import Family
from payscore_worker.simulator.payscore.happenings import Happenings
from payscore_worker.simulator.payscore.orders import COMPLETED, Closing, Opening, Order, Stage
from payscore_worker.simulator.payscore.rules import check_mode, require_query
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.payscore.switching import Switching
from payscore_worker.simulator.refusals import (
    APPID_NOT_BOUND,
    COMPLETE_REENTRY_MISMATCH,
    MESSAGE_SENT,
    MODIFIED_BEFORE,
    NO_PERMISSION,
    NOT_CANCELLABLE,
    NOT_MODIFIABLE,
    ORDER_CANCELED,
    ORDER_NOT_EXIST,
    REENTRY_MISMATCH,
    SERVICE_NOT_ENABLED,
    STATE_CANCELLED,
    STATE_NOT_ALLOWED,
    STATE_STILL_CONFIRM,
    Refusal,
    Refused,
    bad_parameter,
    out_of_range,
    wrong_state,
)
from payscore_worker.simulator.service_time import read_service_time, service_time_of


class Cancel(Struct, frozen=True, kw_only=True):
    """Reference payscore-api A.6 and B.7; of the two limits of `reason` the one that holds everywhere."""

    appid: Text32
    service_id: Text32
    reason: Text30


class Pay(Struct, frozen=True, kw_only=True):
    """Reference payscore-api B.9."""

    appid: Text32
    service_id: Text32


class SyncDetail(Struct, frozen=True, kw_only=True):
    paid_time: str


class Sync(Struct, frozen=True, kw_only=True):
    """Reference payscore-api A.7 and B.9."""

    appid: Text32
    service_id: Text32
    type: Literal["Order_Paid"]
    detail: SyncDetail


_STATE_SUB_CODES: Final = {Stage.RUNNING: STATE_STILL_CONFIRM, Stage.REVOKED: STATE_CANCELLED}


class PayScore:
    def __init__(self, state: PayScoreState, happenings: Happenings, switching: Switching) -> None:
        self._state, self._world = state, state.world
        self._happenings = happenings
        authorising = Authorising(state, switching)
        self._answers: Final[dict[CallKind, Callable[[Call], Entity | None]]] = {
            CallKind.USER_SERVICE_STATE: self._user_service_state,
            CallKind.PRE_AUTHORISE: authorising.pre_authorise,
            CallKind.QUERY_PERMISSION: authorising.query,
            CallKind.TERMINATE_PERMISSION: authorising.terminate,
            CallKind.CREATE: self._create,
            CallKind.DIRECT_COMPLETE: self._direct_complete,
            CallKind.QUERY: self._query,
            CallKind.COMPLETE: self._complete,
            CallKind.CANCEL: self._cancel,
            CallKind.MODIFY: self._modify,
            CallKind.PAY: self._pay,
            CallKind.SYNC: self._sync,
            CallKind.SEND_PREPAID_MESSAGE: self._send_message,
            CallKind.SEND_PENDING_MESSAGE: self._send_message,
        }
        in_words = state.world.config.not_enabled_code == "INVALID_REQUEST"
        self._not_enabled: Final = SERVICE_NOT_ENABLED if in_words else NO_PERMISSION

    def answer(self, call: Call) -> Entity | None:
        """The JSON object of a 200; None: a 204. Raises Refused."""
        return self._answers[call.kind](call)

    def _user_service_state(self, call: Call) -> Entity:
        """Reference payscore-api A.1."""
        require_query(call.query, "appid", "service_id", "openid")
        self._check_ours(call, call.query)
        enabled = self._world.passengers.has_enabled(call.query["openid"])
        return {
            "appid": call.query["appid"],
            "service_id": call.query["service_id"],
            "openid": call.query["openid"],
            "use_service_state": "AVAILABLE" if enabled else "UNAVAILABLE",
        }

    def _create(self, call: Call) -> Entity:
        family = self._state.family(call.family)
        body = read_body(call)
        opening = family.read_create(body)
        check_mode(opening, self._check_ours(call, body.members))
        order = self._state.book.order(opening.out_order_no)
        if order is None:
            order = self._accept(family, opening)
        elif order.opening.fingerprint != body.fingerprint or order.family != family.name:
            raise Refused(REENTRY_MISMATCH)
        elif self._world.config.reentry_needs_service and self._lacks_service(opening):
            raise Refused(self._not_enabled)
        response = family.create_response(order)
        if opening.needs_confirm:
            response |= family.jump_members(self._state.packages.issue(order.out_order_no))
        return response

    def _direct_complete(self, call: Call) -> Entity:
        """Create and complete in one, without an evaluation of the passenger (reference payscore-api B.9)."""
        family = self._state.serviceorder
        body = read_body(call)
        opening, closing = family.read_direct(body)
        service = self._check_ours(call, body.members)
        check_mode(opening, service)
        if not service.direct_complete:
            raise Refused(NO_PERMISSION)
        order = self._state.book.order(opening.out_order_no)
        if order is None:
            order = self._accept_completed(opening, closing)
        elif order.opening.fingerprint != body.fingerprint:
            raise Refused(REENTRY_MISMATCH)
        return family.direct_response(order)

    def _accept_completed(self, opening: Opening, closing: Closing) -> Order:
        if self._lacks_service(opening):
            raise Refused(self._not_enabled)
        order = Order(
            family=self._state.serviceorder.name,
            order_id=self._world.numbers.next_order_id(),
            opening=opening,
            start=opening.start or service_time_of(self._world.clock()),
        )
        return self._finish(self._state.serviceorder, order, closing)

    def _accept(self, family: Family, opening: Opening) -> Order:
        now = self._world.clock()
        family.check_create(opening, now)
        if refusal := self._refusal_for(opening):
            raise Refused(refusal)
        waits = opening.needs_confirm or self._behaviour_of(opening) is Behaviour.MUST_CONFIRM
        order = Order(
            family=family.name,
            order_id=self._world.numbers.next_order_id(),
            opening=opening,
            start=opening.start or service_time_of(now),
            stage=Stage.CREATED if waits else Stage.RUNNING,
        )
        self._state.book.save(order)
        if opening.needs_confirm:
            self._happenings.await_confirmation(order)
        return order

    def _behaviour_of(self, opening: Opening) -> Behaviour:
        return self._world.passengers.for_order(opening.out_order_no, opening.openid).behaviour

    def _lacks_service(self, opening: Opening) -> bool:
        """An order that its passenger confirms needs no service that he enables (reference payscore-api B.0)."""
        return not opening.needs_confirm and self._behaviour_of(opening) is Behaviour.NOT_ENABLED

    def _refusal_for(self, opening: Opening) -> Refusal | None:
        """Whoever is to confirm is not known yet."""
        if opening.needs_confirm:
            return None
        if self._lacks_service(opening):
            return self._not_enabled
        return refusal_of(self._state, opening.out_order_no, opening.openid)

    def _query(self, call: Call) -> Entity:
        """By exactly one of out_order_no and query_id (reference payscore-api A.3, B.4); no query_id is ever issued."""
        require_query(call.query, "appid", "service_id")
        out_order_no = call.query.get("out_order_no")
        if bool(out_order_no) == bool(call.query.get("query_id")):
            raise bad_parameter("out_order_no", "give exactly one of out_order_no and query_id", location="query")
        self._check_ours(call, call.query)
        family = self._state.family(call.family)
        return family.query_response(self._order(family, out_order_no or "", call.query))

    def _complete(self, call: Call) -> Entity:
        family = self._state.family(call.family)
        body = read_body(call)
        closing = family.read_complete(body)
        self._check_ours(call, body.members)
        order = self._order(family, call.out_order_no, body.members)
        if order.stage not in COMPLETED:
            order = self._finish(family, order, closing)
        elif order.completed_with != body.fingerprint:
            raise Refused(COMPLETE_REENTRY_MISMATCH)
        return family.complete_response(order)

    def _finish(self, family: Family, order: Order, closing: Closing) -> Order:
        if order.stage is not Stage.RUNNING:
            raise wrong_state(_STATE_SUB_CODES.get(order.stage, STATE_NOT_ALLOWED), code="PARAM_ERROR")
        now = self._world.clock()
        family.check_complete(order, closing, now)
        completed = order.completed(closing, at=now)
        self._state.book.save(completed)
        if completed.stage is Stage.OWING:
            self._happenings.await_payment(completed)
        return completed

    def _cancel(self, call: Call) -> Entity:
        """Before completion, or before payment where the config has it so (reference payscore-api B.7)."""
        family = self._state.family(call.family)
        body = read_body(call)
        shaped(body, Cancel)
        self._check_ours(call, body.members)
        order = self._order(family, call.out_order_no, body.members)
        if order.stage in {Stage.CREATED, Stage.RUNNING} or self._may_be_waived(order):
            order = order.cancelled(body.fingerprint)
            self._state.book.save(order)
        elif order.stage is not Stage.REVOKED:
            raise Refused(NOT_CANCELLABLE)
        elif order.cancelled_with is None:
            raise Refused(ORDER_CANCELED)
        elif order.cancelled_with != body.fingerprint:
            raise Refused(REENTRY_MISMATCH)
        return family.cancel_response(order)

    def _may_be_waived(self, order: Order) -> bool:
        return self._world.config.cancel_while_owing and order.stage is Stage.OWING and not order.payments

    def _modify(self, call: Call) -> Entity:
        """Strictly lower, and only while the money is not in (reference payscore-api B.8)."""
        family = self._state.serviceorder
        body = read_body(call)
        modification = family.read_modify(body)
        self._check_ours(call, body.members)
        order = self._order(family, call.out_order_no, body.members)
        if order.stage is not Stage.OWING or order.closing is None:
            raise Refused(NOT_MODIFIABLE)
        family.check_modify(order)
        if order.was_lowered and self._world.config.modify_once:
            raise Refused(MODIFIED_BEFORE)
        if not order.may_be_lowered_to(modification.total_fen):
            raise out_of_range("/total_amount", "must be lower than the present total, and more than what is paid")
        order = order.modified(family.modified(order.closing, modification))
        self._state.book.save(order)
        return family.modify_response(order)

    def _pay(self, call: Call) -> Entity:
        """Asks WeChat Pay to collect now; whether it succeeds shows later (reference payscore-api B.9)."""
        family = self._state.serviceorder
        body = read_body(call)
        shaped(body, Pay)
        self._check_ours(call, body.members)
        order = self._order(family, call.out_order_no, body.members)
        if order.stage is not Stage.OWING:
            raise wrong_state(_STATE_SUB_CODES.get(order.stage, STATE_NOT_ALLOWED))
        self._happenings.hasten_payment(order)
        return family.pay_response(order)

    def _sync(self, call: Call) -> Entity:
        """The passenger paid by another channel (reference payscore-api A.7, B.9)."""
        family = self._state.family(call.family)
        body = read_body(call)
        sync = shaped(body, Sync)
        self._check_ours(call, body.members)
        paid_at = read_service_time(sync.detail.paid_time, "/detail/paid_time").moment
        order = self._order(family, call.out_order_no, body.members)
        if order.stage is not Stage.OWING:
            raise wrong_state(_STATE_SUB_CODES.get(order.stage, STATE_NOT_ALLOWED))
        family.check_sync(order, paid_at, self._world.clock())
        return family.sync_response(self._happenings.pay_elsewhere(order.out_order_no, at=paid_at))

    def _send_message(self, call: Call) -> None:
        """Tells the passenger what is to be debited, each kind once (reference payscore-api B.9)."""
        family = self._state.serviceorder
        body = read_body(call)
        family.check_message(body)
        self._check_service(body.members)
        order = self._order(family, call.out_order_no, body.members, spoken_by=("service_id",))
        if order.stage not in {Stage.RUNNING, Stage.OWING}:
            raise wrong_state(_STATE_SUB_CODES.get(order.stage, STATE_NOT_ALLOWED))
        if self._state.book.open_page(order.out_order_no).accepted[call.kind]:
            raise Refused(MESSAGE_SENT)

    def _order(
        self,
        family: Family,
        out_order_no: str,
        said: Mapping[str, object],
        *,
        spoken_by: tuple[str, ...] = ("appid", "service_id"),
    ) -> Order:
        """The order, spoken to as it was created: in its family, by its appid and its service_id."""
        order = self._state.book.order(out_order_no)
        if order is None or order.family != family.name:
            raise Refused(ORDER_NOT_EXIST)
        if any(order.opening.members[name] != said.get(name) for name in spoken_by):
            raise Refused(ORDER_NOT_EXIST)
        return order

    def _check_service(self, members: Mapping[str, object]) -> None:
        """Where a call names no app: a service of the merchant's in the current family."""
        ours = {one.service_id for one in self._world.config.licensed if "serviceorder" in one.families}
        if members.get("service_id") not in ours:
            raise Refused(NO_PERMISSION)

    def _check_ours(self, call: Call, members: Mapping[str, object]) -> Service:
        """An app of the merchant, and a service that this app may use through this family."""
        services = [one for one in self._world.config.licensed if one.appid == members.get("appid")]
        if not services:
            raise Refused(APPID_NOT_BOUND)
        for one in services:
            if one.service_id == members.get("service_id") and (not call.family or call.family in one.families):
                return one
        raise Refused(NO_PERMISSION)
