"""The pages on which a person decides about a trip: what WeChat Pay says now, what will happen, and asked once more."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from payscore_worker.console.access import Session
from payscore_worker.console.screen import Screen, link
from payscore_worker.domain.decisions import Decision, Verb
from payscore_worker.errors import Rejected, TripBusy, WechatPayError
from payscore_worker.settlement.deciding import MAX_REASON, Deciding, outlook
from payscore_worker.settlement.sight import Sight

MAX_ID: Final = 128
VERBS: Final = {verb.value: verb for verb in Verb}

log = structlog.stdlib.get_logger(__name__)


class DecidingPages:
    """Shows what may be decided, and does what was."""

    def __init__(self, *, screen: Screen, deciding: Deciding, clock: Callable[[], datetime]) -> None:
        self._screen = screen
        self._deciding = deciding
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Make the routes."""
        return [
            Route("/trip/word", self.word, methods=["GET"]),
            Route("/trip/decide", self.ask, methods=["GET"]),
            Route("/trip/decide", self.decide, methods=["POST"]),
        ]

    async def word(self, request: Request) -> Response:
        """Say what WeChat Pay says of the order now: a part of the trip's page that takes its time."""
        sight = await self._look(request.query_params.get("id", ""))
        return self._screen.show(request, "word.html", {"sight": sight})

    async def ask(self, request: Request) -> Response:
        """Show what will happen, and ask once more."""
        verb = _verb(request.query_params.get("verb", ""))
        return self._ask(request, await self._look(request.query_params.get("id", "")), verb)

    async def decide(self, request: Request) -> Response:
        """Do it, about what was shown and nothing else."""
        fields = await self._screen.form(request)
        verb, reason = _verb(fields.get("verb", "")), fields.get("reason", "")
        if not reason or len(reason) > MAX_REASON or not reason.isprintable():
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        trip_id = fields.get("id", "")[:MAX_ID]
        session: Session = request.state.session
        decision = Decision(verb=verb, by=session.name, reason=reason)
        try:
            await self._deciding.decide(trip_id, decision, mark=fields.get("mark", ""))
        except (Rejected, WechatPayError, TripBusy) as error:
            log.info("decision_refused", trip_id=trip_id, verb=verb.value, by=decision.by, reason=str(error))
            return self._ask(request, await self._look(trip_id), verb, not_done=str(error), status=HTTPStatus.CONFLICT)
        log.warning("decision_made", trip_id=trip_id, verb=verb.value, by=decision.by)
        return RedirectResponse(link("trip", id=trip_id), HTTPStatus.SEE_OTHER)

    def _ask(
        self, request: Request, sight: Sight, verb: Verb, *, not_done: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        prospect = outlook(sight, Decision(verb=verb, by="", reason=""), self._clock())
        values = {"sight": sight, "verb": verb, "prospect": prospect, "not_done": not_done}
        return self._screen.show(request, "decide.html", values, status=status)

    async def _look(self, trip_id: str) -> Sight:
        try:
            return await self._deciding.look(trip_id[:MAX_ID])
        except Rejected as error:
            raise HTTPException(HTTPStatus.NOT_FOUND) from error


def _verb(name: str) -> Verb:
    if name not in VERBS:
        raise HTTPException(HTTPStatus.BAD_REQUEST)
    return VERBS[name]
