"""Signing in and out, the language, and the files that pages are made with."""

from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from payscore_worker.console.access import MAX_ADDRESS, MAX_NAME, Access
from payscore_worker.console.guard import COOKIE, LOGIN, ROOT, keep_session, local_path
from payscore_worker.console.screen import LANGUAGE_COOKIE, STATIC_FILES, Screen
from payscore_worker.console.words import language_named

YEAR_SECONDS = 365 * 24 * 3600

log = structlog.stdlib.get_logger(__name__)


class Doors:
    """The pages for whoever is not in yet."""

    def __init__(self, screen: Screen, access: Access) -> None:
        self._screen = screen
        self._access = access

    def routes(self) -> list[BaseRoute]:
        """Make the routes."""
        return [
            Route("/login", self.login, methods=["GET"]),
            Route("/login", self.enter, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
            Route("/language", self.switch_language, methods=["GET"]),
            Route("/static/{name}", self.static, methods=["GET"]),
        ]

    async def login(self, request: Request) -> Response:
        wanted = local_path(request.query_params.get("next", ""))
        if not self._access.needs_token:
            return RedirectResponse(wanted, HTTPStatus.SEE_OTHER)
        return self._ask(request, wanted, error="", status=HTTPStatus.OK)

    async def enter(self, request: Request) -> Response:
        """Take a token; a wrong one costs one of a few tries."""
        fields = await self._screen.form(request)
        wanted = local_path(fields.get("next", ""))
        address = request.client.host[:MAX_ADDRESS] if request.client is not None else ""
        if not self._access.may_guess(address):
            log.warning("console_too_many_guesses", address=address)
            return self._ask(request, wanted, error="too_many_guesses", status=HTTPStatus.TOO_MANY_REQUESTS)
        if not self._access.is_right(fields.get("token", "")):
            self._access.note_guess(address)
            log.warning("console_wrong_token", address=address)
            return self._ask(request, wanted, error="token_wrong", status=HTTPStatus.FORBIDDEN)
        name = fields.get("name", "")
        if not name or len(name) > MAX_NAME or not name.isprintable():
            return self._ask(request, wanted, error="name_wrong", status=HTTPStatus.BAD_REQUEST)
        log.info("console_signed_in", who=name, address=address)
        response = RedirectResponse(wanted, HTTPStatus.SEE_OTHER)
        keep_session(response, request, self._access.seal(self._access.open_session(name)))
        return response

    async def leave(self, request: Request) -> Response:
        await self._screen.form(request)
        response = RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER)
        response.delete_cookie(COOKIE, path=ROOT, httponly=True, samesite="strict")
        return response

    async def switch_language(self, request: Request) -> Response:
        """Speak another language from now on; that is all a stranger's link could do here."""
        chosen = language_named(request.query_params.get("to", ""))
        response = RedirectResponse(local_path(request.query_params.get("next", "")), HTTPStatus.SEE_OTHER)
        if chosen is not None:
            response.set_cookie(LANGUAGE_COOKIE, chosen.value, max_age=YEAR_SECONDS, path=ROOT, samesite="lax")
        return response

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC_FILES:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        headers = {"Cache-Control": "public, max-age=86400"}
        return Response(self._screen.static[name], media_type=STATIC_FILES[name], headers=headers)

    def _ask(self, request: Request, wanted: str, *, error: str, status: int) -> Response:
        return self._screen.show(request, "login.html", {"next": wanted, "error": error}, status=status)
