"""The HTTP face: WeChat Pay for merchants under /v3 and for passengers under /passenger, and the admin API."""

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from payscore_worker.simulator.admin import admin_routes
from payscore_worker.simulator.authorization import mchid_of
from payscore_worker.simulator.calls import Call, CallKind, Reply
from payscore_worker.simulator.dropping import DroppedResponse
from payscore_worker.simulator.passenger.routes import passenger_routes
from payscore_worker.simulator.simulator import Simulator

MAX_BODY_BYTES: Final = 1_048_576
"""Far above what any call needs; more is not read."""

Serving = Callable[[Request], Simulator]
"""Says whose call it is."""

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def create_app(simulator: Simulator, *others: Simulator) -> Starlette:
    """The caller enters the simulators; the app itself starts nothing.

    Each is one merchant's WeChat Pay, and knows nothing of the others' orders; a call is answered by the one whose
    merchant has signed it. `/admin` and `/passenger` are the first one's, `/merchants/{mchid}/admin` each one's.
    """
    merchants = {one.config.keys.mchid: one for one in (simulator, *others)}
    if len(merchants) <= len(others):
        raise ValueError("each merchant has an mchid of its own")

    def serving(request: Request) -> Simulator:
        return merchants.get(mchid_of(request.headers.get("authorization", "")), simulator)

    routes = [
        _route(serving, "GET", "/v3/certificates", CallKind.CERTIFICATES),
        _route(serving, "POST", "/v3/security/echo", CallKind.SECURITY_ECHO),
        *_payscore_routes(serving, "/v3/payscore"),
        *(_payscore_routes(serving, "/payscore") if simulator.config.paths_without_version else ()),
        *(
            _route(serving, "POST", f"{base}/direct-complete", CallKind.DIRECT_COMPLETE, "serviceorder")
            for base in ("/v3/payscore/serviceorder", "/payscore/serviceorder")  # documents differ: payscore-api B.9
        ),
        _route(serving, "POST", "/v3/refund/domestic/refunds", CallKind.REFUND),
        _route(serving, "GET", "/v3/refund/domestic/refunds/{out_refund_no}", CallKind.REFUND_QUERY),
        _route(serving, "GET", "/v3/pay/transactions/id/{transaction_id}", CallKind.TRANSACTION_QUERY),
        *admin_routes(simulator),
        *(Mount(f"/merchants/{mchid}", routes=admin_routes(one)) for mchid, one in merchants.items()),
        *passenger_routes(simulator),
        Route("/healthz", _alive),
        Route("/readyz", _alive),
        Route("/{path:path}", _no_such_path, methods=list(METHODS)),
    ]
    return Starlette(routes=routes)


def _payscore_routes(serving: Serving, base: str) -> list[Route]:
    return [
        _route(serving, "GET", f"{base}/user-service-state", CallKind.USER_SERVICE_STATE),
        *_permission_routes(serving, f"{base}/permissions"),
        *_family_routes(serving, f"{base}/payafter-orders", "payafter"),
        *_family_routes(serving, f"{base}/serviceorder", "serviceorder"),
        *_current_routes(serving, f"{base}/serviceorder/{{out_order_no}}", "serviceorder"),
    ]


def _permission_routes(serving: Serving, base: str) -> list[Route]:
    return [
        _route(serving, "POST", base, CallKind.PRE_AUTHORISE),
        *(
            route
            for one in (f"{base}/authorization-code/{{authorization_code}}", f"{base}/openid/{{openid}}")
            for route in (
                _route(serving, "GET", one, CallKind.QUERY_PERMISSION),
                _route(serving, "POST", f"{one}/terminate", CallKind.TERMINATE_PERMISSION),
            )
        ),
        _route(
            serving,
            "POST",
            "/v3/payscore/users/{openid}/permissions/{service_id}/terminate",
            CallKind.TERMINATE_PERMISSION,
        ),
    ]


def _family_routes(serving: Serving, base: str, family: str) -> list[Route]:
    return [
        _route(serving, "POST", base, CallKind.CREATE, family),
        _route(serving, "GET", base, CallKind.QUERY, family),
        *(
            _route(serving, "POST", f"{base}/{{out_order_no}}/{kind}", kind, family)
            for kind in (CallKind.COMPLETE, CallKind.CANCEL, CallKind.SYNC)
        ),
    ]


def _current_routes(serving: Serving, order: str, family: str) -> list[Route]:
    """What only the current family has."""
    verbs = {
        "modify": CallKind.MODIFY,
        "pay": CallKind.PAY,
        "send-prepaidmessage": CallKind.SEND_PREPAID_MESSAGE,
        "send-pendingmessage": CallKind.SEND_PENDING_MESSAGE,
    }
    return [_route(serving, "POST", f"{order}/{verb}", kind, family) for verb, kind in verbs.items()]


def _route(serving: Serving, method: str, path: str, kind: CallKind, family: str = "") -> Route:
    async def endpoint(request: Request) -> Response:
        reply = serving(request).answer(await _read_call(request, kind, family))
        if reply.delay_seconds:
            await asyncio.sleep(reply.delay_seconds)
        return _response(reply)

    return Route(path, endpoint, methods=[method])


async def _read_call(request: Request, kind: CallKind, family: str) -> Call:
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    return Call(
        kind=kind,
        family=family,
        method=request.method,
        target=f"{path}?{query}" if query else path,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]},
        query=dict(parse_qsl(query, keep_blank_values=True)),
        path_parameters=request.path_params,
        body=await _read_body(request),
    )


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            break
    return bytes(body[:MAX_BODY_BYTES])  # what was cut off does not verify


def _response(reply: Reply) -> Response:
    if reply.dropped:
        return DroppedResponse(reply.body, reply.status, reply.headers)
    return Response(reply.body, reply.status, reply.headers)


async def _alive(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _no_such_path(_request: Request) -> Response:
    return JSONResponse({"code": "NOT_FOUND", "message": "请求的资源不存在"}, 404)
