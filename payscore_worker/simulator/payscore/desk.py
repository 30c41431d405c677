"""PayScore's desk: whom its calls are about, and which faults can show on them."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from payscore_worker.simulator.calls import Call, CallKind
from payscore_worker.simulator.desk import Subject
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.members import ORDER_NUMBER, Entity
from payscore_worker.simulator.payscore.answering import PayScore
from payscore_worker.simulator.payscore.book import Page
from payscore_worker.simulator.payscore.orders import Order
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.refusals import ORDER_NOT_EXIST

_NUMBERS_SHOWN: Final[Mapping[CallKind, tuple[str, ...]]] = {
    CallKind.USER_SERVICE_STATE: ("appid", "service_id"),
    CallKind.PRE_AUTHORISE: (),
    CallKind.QUERY_PERMISSION: ("mchid", "appid", "service_id"),
    CallKind.TERMINATE_PERMISSION: (),
    CallKind.SEND_PREPAID_MESSAGE: (),
    CallKind.SEND_PENDING_MESSAGE: (),
}
"""Of the numbers that another_order changes; every other call shows all of them."""
_ALL_NUMBERS: Final = ("out_order_no", "mchid", "appid", "service_id")
_WITHOUT_BODY: Final = frozenset(
    {CallKind.TERMINATE_PERMISSION, CallKind.SEND_PREPAID_MESSAGE, CallKind.SEND_PENDING_MESSAGE}
)
"""What is answered has no body that could not be read."""


class _Named(Struct, frozen=True):
    """Whom a create names, however wrong the rest of it may be."""

    out_order_no: str = ""
    openid: str = ""


class PayScoreDesk:
    kinds: Final = frozenset(
        {
            CallKind.CREATE,
            CallKind.DIRECT_COMPLETE,
            CallKind.QUERY,
            CallKind.COMPLETE,
            CallKind.CANCEL,
            CallKind.MODIFY,
            CallKind.PAY,
            CallKind.SYNC,
            CallKind.SEND_PREPAID_MESSAGE,
            CallKind.SEND_PENDING_MESSAGE,
            CallKind.USER_SERVICE_STATE,
            CallKind.PRE_AUTHORISE,
            CallKind.QUERY_PERMISSION,
            CallKind.TERMINATE_PERMISSION,
        }
    )
    unknown: Final = ORDER_NOT_EXIST

    def __init__(self, state: PayScoreState, payscore: PayScore) -> None:
        self._state = state
        self._payscore = payscore

    def subject_of(self, call: Call) -> Subject:
        """A create opens a page; a call on no known order goes on a blank one."""
        match call.kind:
            case CallKind.CREATE | CallKind.DIRECT_COMPLETE:
                return self._subject_of_create(call)
            case CallKind.USER_SERVICE_STATE:
                return Subject(openid=call.query.get("openid", ""))
            case CallKind.PRE_AUTHORISE:
                return Subject()
            case CallKind.QUERY_PERMISSION | CallKind.TERMINATE_PERMISSION:
                return Subject(openid=call.path_parameters.get("openid") or self._signed_by(call))
            case _:
                page = self._page_of(call)
                openid = page.order.openid if page.order else ""
                return Subject(out_order_no=page.out_order_no, openid=openid, notes=page)

    def can_play(self, call: Call, fault: Fault) -> bool:
        page, order = self._page_of(call), self._order_of(call)
        match fault.fault:
            case FaultKind.STALE:
                return order is not None and page.earlier is not None
            case FaultKind.NOT_YET:
                return order is not None
            case FaultKind.AMOUNT_DIFFERS:
                return order is not None and order.total_fen is not None
            case FaultKind.DETAILS:
                return order is not None and order.family == "serviceorder" and bool(order.payments)
            case FaultKind.UNREADABLE:
                return call.kind not in _WITHOUT_BODY
            case FaultKind.ANOTHER_ORDER:
                return fault.played in _NUMBERS_SHOWN.get(call.kind, _ALL_NUMBERS)
            case _:
                return True

    def answer(self, call: Call) -> Entity | None:
        return self._payscore.answer(call)

    def earlier(self, call: Call) -> Entity | None:
        order = self._page_of(call).earlier
        return self._state.family(order.family).query_response(order) if order else None

    def _signed_by(self, call: Call) -> str:
        permission = self._state.permissions.of_code(call.path_parameters.get("authorization_code", ""))
        return permission.openid or "" if permission else ""

    def _subject_of_create(self, call: Call) -> Subject:
        named = _named_by(call.body)
        if not ORDER_NUMBER.fullmatch(named.out_order_no):
            return Subject(out_order_no=named.out_order_no, openid=named.openid)
        page = self._state.book.open_page(named.out_order_no)
        return Subject(out_order_no=named.out_order_no, openid=named.openid, notes=page)

    def _page_of(self, call: Call) -> Page:
        out_order_no = call.out_order_no or call.query.get("out_order_no", "")
        return self._state.book.page(out_order_no) or Page(out_order_no)

    def _order_of(self, call: Call) -> Order | None:
        """The order, spoken to in its family."""
        order = self._page_of(call).order
        return order if order and order.family == call.family else None


def _named_by(body: bytes) -> _Named:
    try:
        return msgspec.json.decode(body, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Named()
