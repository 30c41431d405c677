"""The admin API: behaviours, faults, happenings, and questions about what happened. JSON, without authentication."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Final, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from payscore_worker.simulator.callbacks import Notification, UnknownNotification
from payscore_worker.simulator.faults import Fault
from payscore_worker.simulator.passengers import Passenger, TooManyScripted
from payscore_worker.simulator.payscore.happenings import UnknownOrder, WrongAmount, WrongStage
from payscore_worker.simulator.payscore.pages import PageRefused
from payscore_worker.simulator.payscore.switching import UnknownService
from payscore_worker.simulator.refunds.book import RefundStatus, WrongBalance
from payscore_worker.simulator.refunds.endings import UnknownRefund, WrongRefundStatus
from payscore_worker.simulator.script import ScriptedFault, TooManyFaults
from payscore_worker.simulator.simulator import Simulator

MAX_LIMIT: Final = 10_000
MAX_ADVANCE_SECONDS: Final = 10 * 365 * 86_400

Answer = Callable[[Simulator, Request], Awaitable[object]]
T = TypeVar("T")


class BadRequest(ValueError):
    """A slip in the use of the admin API; the text says which."""


_SLIPS: Final = (
    *(BadRequest, msgspec.DecodeError, UnicodeDecodeError),
    *(TooManyFaults, TooManyScripted, WrongAmount, WrongBalance),
)


def admin_routes(simulator: Simulator) -> list[Route]:
    return [
        Route(path, _endpoint(simulator, answer), methods=[method])
        for method, path, answer in (
            ("GET", "/admin/ledger", _ledger),
            ("GET", "/admin/calls", _calls),
            ("GET", "/admin/notifications", _notifications),
            ("POST", "/admin/notifications/{id}/resend", _resend),
            ("PUT", "/admin/passengers", _set_passengers),
            ("GET", "/admin/passengers/{openid}", _passenger),
            ("POST", "/admin/passengers/{openid}/open-service", _open_service),
            ("POST", "/admin/passengers/{openid}/close-service", _close_service),
            ("POST", "/admin/passengers/{openid}/enable", _enable),
            ("POST", "/admin/passengers/{openid}/enable-signed", _enable_signed),
            ("POST", "/admin/passengers/{openid}/confirm", _confirm),
            ("POST", "/admin/passengers/{openid}/leave", _leave),
            ("GET", "/admin/orders/{out_order_no}", _order),
            ("PUT", "/admin/orders/{out_order_no}", _set_order),
            ("POST", "/admin/orders/{out_order_no}/pay", _pay),
            ("POST", "/admin/orders/{out_order_no}/revoke", _revoke),
            ("POST", "/admin/orders/{out_order_no}/expire", _expire),
            ("POST", "/admin/orders/{out_order_no}/sync", _sync),
            ("POST", "/admin/orders/{out_order_no}/lower", _lower),
            ("POST", "/admin/orders/{out_order_no}/complete-by-hand", _complete_by_hand),
            ("GET", "/admin/refunds/{out_refund_no}", _refund),
            ("POST", "/admin/refunds/{out_refund_no}/end", _end_refund),
            ("GET", "/admin/refund-balance", _refund_balance),
            ("PUT", "/admin/refund-balance", _set_refund_balance),
            ("GET", "/admin/faults", _faults),
            ("POST", "/admin/faults", _add_fault),
            ("DELETE", "/admin/faults", _clear_faults),
            ("POST", "/admin/clock", _advance),
            ("POST", "/admin/certificates/rotate", _rotate),
            ("POST", "/admin/reset", _reset),
        )
    ]


def _endpoint(simulator: Simulator, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return _response(200, await answer(simulator, request))
        except (UnknownOrder, UnknownRefund, UnknownNotification, UnknownService) as error:
            return _response(404, {"code": "NOT_FOUND", "message": str(error)})
        except (WrongStage, WrongRefundStatus, PageRefused) as error:
            return _response(409, {"code": "CONFLICT", "message": str(error)})
        except _SLIPS as error:
            return _response(400, {"code": "BAD_REQUEST", "message": str(error)})

    return endpoint


def _response(status: int, content: object) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _ledger(simulator: Simulator, _request: Request) -> object:
    return simulator.ledger()


async def _calls(simulator: Simulator, request: Request) -> object:
    return {"calls": simulator.calls(_limit(request))}


async def _notifications(simulator: Simulator, request: Request) -> object:
    return {"notifications": [_shown_notification(n) for n in simulator.notifications(_limit(request))]}


async def _resend(simulator: Simulator, request: Request) -> object:
    simulator.resend(request.path_params["id"])
    return _DONE


async def _set_passengers(simulator: Simulator, request: Request) -> object:
    passengers = {
        openid: _checked(members, Passenger) for openid, members in (await _json(request, dict[str, Any])).items()
    }
    for openid, passenger in passengers.items():
        simulator.set_passenger(openid, passenger)
    return {"passengers": len(passengers)}


async def _passenger(simulator: Simulator, request: Request) -> object:
    return simulator.passenger(request.path_params["openid"])


async def _open_service(simulator: Simulator, request: Request) -> object:
    simulator.open_service(request.path_params["openid"], service_id=request.query_params.get("service_id"))
    return _DONE


async def _close_service(simulator: Simulator, request: Request) -> object:
    simulator.close_service(request.path_params["openid"], service_id=request.query_params.get("service_id"))
    return _DONE


@dataclass(frozen=True, slots=True)
class _Token:
    apply_permissions_token: str


async def _enable(simulator: Simulator, request: Request) -> object:
    token = _checked(await _json(request, dict[str, Any]), _Token)
    simulator.enable(token.apply_permissions_token, request.path_params["openid"])
    return _DONE


async def _enable_signed(simulator: Simulator, request: Request) -> object:
    simulator.enable_signed(await _json(request, dict[str, str]), request.path_params["openid"])
    return _DONE


@dataclass(frozen=True, slots=True)
class _Package:
    package: str


async def _confirm(simulator: Simulator, request: Request) -> object:
    package = _checked(await _json(request, dict[str, Any]), _Package).package
    simulator.confirm(package, request.path_params["openid"])
    return _DONE


async def _leave(simulator: Simulator, request: Request) -> object:
    package = _checked(await _json(request, dict[str, Any]), _Package).package
    simulator.leave(package, request.path_params["openid"])
    return _DONE


async def _order(simulator: Simulator, request: Request) -> object:
    out_order_no = request.path_params["out_order_no"]
    return {"ledger": simulator.ledger_entry(out_order_no), "entity": simulator.entity(out_order_no)}


async def _set_order(simulator: Simulator, request: Request) -> object:
    simulator.set_order(request.path_params["out_order_no"], _checked(await _json(request, dict[str, Any]), Passenger))
    return _DONE


async def _pay(simulator: Simulator, request: Request) -> object:
    return _after(simulator, request, simulator.pay)


async def _revoke(simulator: Simulator, request: Request) -> object:
    return _after(simulator, request, simulator.revoke)


async def _expire(simulator: Simulator, request: Request) -> object:
    return _after(simulator, request, simulator.expire)


async def _sync(simulator: Simulator, request: Request) -> object:
    return _after(simulator, request, simulator.sync)


@dataclass(frozen=True, slots=True)
class _Price:
    total_fen: int


async def _lower(simulator: Simulator, request: Request) -> object:
    price = _checked(await _json(request, dict[str, Any]), _Price)
    return _after(simulator, request, partial(simulator.lower, total_fen=price.total_fen))


async def _complete_by_hand(simulator: Simulator, request: Request) -> object:
    price = _checked(await _json(request, dict[str, Any]), _Price)
    return _after(simulator, request, partial(simulator.complete_by_hand, total_fen=price.total_fen))


async def _refund(simulator: Simulator, request: Request) -> object:
    out_refund_no = request.path_params["out_refund_no"]
    return {"ledger": simulator.refund_entry(out_refund_no), "entity": simulator.refund_entity(out_refund_no)}


@dataclass(frozen=True, slots=True)
class _End:
    status: Literal["SUCCESS", "ABNORMAL", "CLOSED"]


async def _end_refund(simulator: Simulator, request: Request) -> object:
    out_refund_no = request.path_params["out_refund_no"]
    simulator.end_refund(out_refund_no, RefundStatus(_checked(await _json(request, dict[str, Any]), _End).status))
    return simulator.refund_entry(out_refund_no)


@dataclass(frozen=True, slots=True)
class _Balance:
    balance_fen: int | None


async def _refund_balance(simulator: Simulator, _request: Request) -> object:
    return {"balance_fen": simulator.refund_balance_fen}


async def _set_refund_balance(simulator: Simulator, request: Request) -> object:
    simulator.set_refund_balance(_checked(await _json(request, dict[str, Any]), _Balance).balance_fen)
    return _DONE


async def _faults(simulator: Simulator, _request: Request) -> object:
    return {"faults": [_shown_fault(scripted) for scripted in simulator.faults()]}


async def _add_fault(simulator: Simulator, request: Request) -> object:
    return _shown_fault(simulator.add_fault(_checked(await _json(request, dict[str, Any]), Fault)))


async def _clear_faults(simulator: Simulator, _request: Request) -> object:
    simulator.clear_faults()
    return _DONE


@dataclass(frozen=True, slots=True)
class _Advance:
    advance_seconds: float


async def _advance(simulator: Simulator, request: Request) -> object:
    seconds = _checked(await _json(request, dict[str, Any]), _Advance).advance_seconds
    if not 0 <= seconds <= MAX_ADVANCE_SECONDS:
        raise BadRequest(f"advance_seconds must be 0 to {MAX_ADVANCE_SECONDS}")
    simulator.advance(seconds)
    return {"advanced_seconds": simulator.advanced_seconds}


async def _rotate(simulator: Simulator, _request: Request) -> object:
    return {"serial_no": simulator.rotate_certificate()}


async def _reset(simulator: Simulator, _request: Request) -> object:
    simulator.reset()
    return _DONE


_DONE: Final = {"ok": True}


def _after(simulator: Simulator, request: Request, happens: Callable[[str], None]) -> object:
    """The order as it stands when that has happened to it."""
    out_order_no = request.path_params["out_order_no"]
    happens(out_order_no)
    return simulator.ledger_entry(out_order_no)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "100")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_LIMIT):
        raise BadRequest(f"limit must be 1 to {MAX_LIMIT}")
    return int(text)


async def _json(request: Request, shape: type[T]) -> T:
    return msgspec.json.decode(await request.body(), type=shape)


def _checked(members: object, shape: type[T]) -> T:
    """A dataclass from its members; an unknown name is a slip of the caller, not something to ignore."""
    known = {field.name for field in fields(shape)}  # type: ignore[arg-type]  # T is a dataclass; typing cannot say so
    if isinstance(members, dict) and (unknown := members.keys() - known):
        raise BadRequest(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return msgspec.convert(members, shape)


def _shown_fault(scripted: ScriptedFault) -> object:
    return {
        "id": scripted.id,
        "seen": scripted.seen,
        "strikes": scripted.strikes,
        "spent": scripted.spent,
        **asdict(scripted.fault),
    }


def _shown_notification(notification: Notification) -> object:
    return {field.name: getattr(notification, field.name) for field in fields(notification) if field.name != "body"}
