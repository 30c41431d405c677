"""What stands before every page: who may come in, from where a form may come, and what a browser may make of it."""

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from payscore_worker.console.access import (
    LOCAL,
    MAX_COOKIE,
    SESSION_LASTS,
    Access,
    Session,
    host_of,
    is_loopback,
    is_same_origin,
)

ROOT: Final = "/console"
LOGIN: Final = f"{ROOT}/login"
STATIC: Final = f"{ROOT}/static/"
OPEN: Final = (LOGIN, f"{ROOT}/language")
"""What is shown to whoever has not signed in; and the static files, which hold nothing of ours."""

COOKIE: Final = "payscore_console"

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with less, a browser keeps the Origin of our own forms back
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Lets a request through with its session, or answers it."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        session = self._session(request)
        cookie = ""
        if session is None and not self._access.needs_token:
            session = self._access.open_session(LOCAL)
            keeping = Response()
            keep_session(keeping, request, self._access.seal(session))
            cookie = keeping.headers["Set-Cookie"]
        scope.setdefault("state", {})["session"] = session
        answer = self._refusal(request) or self._to_the_door(request, session) or self._app
        await answer(scope, receive, _with_headers(send, is_static=_is_static(request), cookie=cookie))

    def _session(self, request: Request) -> Session | None:
        cookie = request.cookies.get(COOKIE, "")
        return self._access.unseal(cookie) if 0 < len(cookie) <= MAX_COOKIE else None

    def _refusal(self, request: Request) -> Response | None:
        """Refuse what no page of ours would send."""
        host = request.headers.get("host", "")
        if not self._access.needs_token and not is_loopback(host_of(host)):
            # Another site may have its own name lead to this machine, and would then be of the same origin.
            return PlainTextResponse("this console answers to localhost only\n", HTTPStatus.MISDIRECTED_REQUEST)
        if request.method in ("GET", "HEAD"):
            return None
        origin, fetch_site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if request.method != "POST" or not is_same_origin(origin=origin, fetch_site=fetch_site, host=host):
            return PlainTextResponse("not from a page of this console\n", HTTPStatus.FORBIDDEN)
        return None

    @staticmethod
    def _to_the_door(request: Request, session: Session | None) -> Response | None:
        path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
        if session is not None or path in OPEN or _is_static(request):
            return None
        if "hx-request" in request.headers:
            return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": LOGIN})
        wanted = f"{path}?{query}" if query else path
        return RedirectResponse(f"{LOGIN}?next={quote(wanted, safe='')}", HTTPStatus.SEE_OTHER)


def _is_static(request: Request) -> bool:
    path: str = request.scope["path"]  # as it is served; request.url would have the Host header take part in it
    return path.startswith(STATIC)


def _with_headers(send: Send, *, is_static: bool, cookie: str) -> Send:
    """Add to an answer what every answer of ours says."""

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            if not is_static:
                headers["Cache-Control"] = "no-store"
                if cookie:
                    headers.append("Set-Cookie", cookie)
        await send(message)

    return send_on


def keep_session(response: Response, request: Request, sealed: str) -> None:
    """Have the browser keep a session, out of the reach of scripts and of other sites."""
    response.set_cookie(
        COOKIE,
        sealed,
        max_age=int(SESSION_LASTS.total_seconds()),
        path=ROOT,
        secure=request.scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )


def local_path(wanted: str) -> str:
    """Take a path of the console; anything else leads to the overview."""
    is_ours = wanted == ROOT or wanted.startswith((f"{ROOT}/", f"{ROOT}?"))
    return wanted if is_ours and wanted.isprintable() and "\\" not in wanted and " " not in wanted else f"{ROOT}/"
