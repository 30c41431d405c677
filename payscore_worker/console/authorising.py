"""The pages of authorisations: those that need somebody, a passenger's, and the story of one."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from payscore_worker.console.looking import MAX_NAME, read_problem
from payscore_worker.console.screen import Screen, link
from payscore_worker.logs import short_openid
from payscore_worker.oversight.explain_authorisation import explain_authorisation
from payscore_worker.storage.authorisations import AuthorisationReports
from payscore_worker.storage.belonging import belonging_of_order
from payscore_worker.storage.browsing import PAGE_ROWS, Browsing
from payscore_worker.storage.reports import Row

LISTS: Final = ("standing_still", "under_way")


class AuthorisationPages:
    """Shows authorisations; a passenger is never named in full, neither on a page nor in its address."""

    def __init__(
        self,
        *,
        screen: Screen,
        browsing: Browsing,
        own_number: Callable[[str, str], str],
        names: Mapping[str, str],
        clock: Callable[[], datetime],
    ) -> None:
        """`own_number`: makes the number of a passenger with a merchant; `names`: of several accounts, by mchid."""
        self._screen = screen
        self._browsing = browsing
        self._reports = AuthorisationReports(browsing)
        self._own_number = own_number
        self._names = names
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Make the routes."""
        return [
            Route("/authorisations", self.list, methods=["GET"]),
            Route("/authorisations", self.find, methods=["POST"]),
            Route("/authorisation", self.one, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """Show those that need somebody; or, where a trip is named, those of its passenger."""
        if trip_id := request.query_params.get("trip", "")[:MAX_NAME]:
            trip = await self._browsing.trip(trip_id)
            openid = None if trip is None else trip["openid"]
            return self._show(request, {"found": await self._reports.of(openid) if openid else []}, trip_id=trip_id)
        still, under_way = await self._reports.standing_still(PAGE_ROWS), await self._reports.under_way(PAGE_ROWS)
        return self._show(request, dict(zip(LISTS, (still, under_way), strict=True)))

    async def find(self, request: Request) -> Response:
        """Find by number or by passenger, whom a form may name and an address may not."""
        name = (await self._screen.form(request)).get("name", "")[:MAX_NAME]
        if name and await self._reports.find(name) is not None:
            return RedirectResponse(link("authorisation", code=name), HTTPStatus.SEE_OTHER)
        return self._show(request, {"found": await self._reports.of(name)})

    async def one(self, request: Request) -> Response:
        """Tell the story of one."""
        row = await self._reports.find(request.query_params.get("code", "")[:MAX_NAME])
        if row is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        own_number = self._own_number(row["openid"], belonging_of_order(row["terms"]).mchid)
        story = await explain_authorisation(self._browsing, row, own_number=own_number)
        return self._screen.show(
            request, "authorisation.html", {"story": story, "names": self._names, "now": self._clock()}
        )

    def _show(self, request: Request, lists: Mapping[str, Sequence[Row]], *, trip_id: str = "") -> Response:
        values: dict[str, Any] = {
            "lists": {title: rows[:PAGE_ROWS] for title, rows in lists.items()},
            "trip_id": trip_id,
            "whose": self._whose,
            "passenger": short_openid,
            "problem": read_problem,
        }
        return self._screen.show(request, "authorisations.html", values)

    def _whose(self, row: Row) -> str:
        return belonging_of_order(row["terms"]).name(self._names)
