"""The pages on which a person sends money back, takes a refund up again, or gives it up: shown first, then asked."""

import re
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from payscore_worker.console.access import Session
from payscore_worker.console.screen import Screen, link
from payscore_worker.domain.refund import Refund, RefundRequested
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import Rejected, TripBusy, WechatPayError
from payscore_worker.events import MAX_FEN
from payscore_worker.settlement.deciding import MAX_REASON
from payscore_worker.settlement.refunding import Refunding, giving_up, money_of, new_refund_id, outlook, sent

MAX_ID: Final = 128

YUAN: Final = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,2}))?")
"""An amount as people write it; nothing is ever rounded."""

MADE_HERE: Final = re.compile(r"by-hand-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
"""A refund's id from a page of ours: with another one, a form could ask for a refund in the ride service's name."""

log = structlog.stdlib.get_logger(__name__)


class RefundPages:
    """Shows what would go back, and asks for it when a person has said so once more."""

    def __init__(self, *, screen: Screen, refunding: Refunding, clock: Callable[[], datetime]) -> None:
        self._screen = screen
        self._refunding = refunding
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Make the routes."""
        return [
            Route("/trip/refund", self.begin, methods=["GET"]),
            Route("/trip/refund/look", self.look, methods=["POST"]),
            Route("/trip/refund", self.request, methods=["POST"]),
            Route("/trip/refund/clear", self.ask, methods=["GET"]),
            Route("/trip/refund/clear", self.clear, methods=["POST"]),
            Route("/trip/refund/give-up", self.ask_to_give_up, methods=["GET"]),
            Route("/trip/refund/give-up", self.give_up, methods=["POST"]),
        ]

    # --- Sending money back: amount and reason, then what will be sent, then the request ---

    async def begin(self, request: Request) -> Response:
        """Ask how much, and why."""
        return self._begin(request, await self._trip(request.query_params.get("id", "")))

    async def look(self, request: Request) -> Response:
        """Show what will be sent, and ask once more; nothing is done."""
        fields = await self._screen.form(request)
        amount_fen, reason = read_yuan(fields.get("amount", "")), fields.get("reason", "")
        if amount_fen is None or not _is_reason(reason):
            wrong = "refund_amount_wrong" if amount_fen is None else "refund_reason_wrong"
            trip = await self._trip(fields.get("id", ""))
            return self._begin(request, trip, fields=fields, wrong=wrong, status=HTTPStatus.BAD_REQUEST)
        refund_id = new_refund_id(self._clock())
        return await self._ask(request, _asked(fields, refund_id, amount_fen, reason))

    async def request(self, request: Request) -> Response:
        """Ask for it, of what was shown and nothing else; the same form again is the same refund."""
        fields = await self._screen.form(request)
        refund_id, told, reason = fields.get("refund_id", ""), fields.get("amount_fen", ""), fields.get("reason", "")
        amount_fen = int(told) if re.fullmatch(r"[0-9]{1,9}", told) else 0
        if not (MADE_HERE.fullmatch(refund_id) and 1 <= amount_fen <= MAX_FEN and _is_reason(reason)):
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        asked, session = _asked(fields, refund_id, amount_fen, reason), _session(request)
        note = {"trip_id": asked.trip_id, "refund_id": refund_id, "by": session.name}
        try:
            await self._refunding.request(asked, by=session.name, mark=fields.get("mark", ""))
        except (Rejected, TripBusy) as error:
            log.info("refund_refused", **note, reason=str(error))
            return await self._ask(request, asked, not_done=str(error), status=HTTPStatus.CONFLICT)
        log.warning("refund_requested", **note, amount_fen=amount_fen)
        return RedirectResponse(link("trip", id=asked.trip_id), HTTPStatus.SEE_OTHER)

    def _begin(
        self,
        request: Request,
        trip: Trip,
        *,
        fields: dict[str, str] | None = None,
        wrong: str = "",
        status: int = HTTPStatus.OK,
    ) -> Response:
        typed = {name: (fields or {}).get(name, "") for name in ("amount", "reason")}
        values: dict[str, Any] = {"trip": trip, "money": money_of(trip), "typed": typed, "wrong": wrong}
        return self._screen.show(request, "refund.html", values, status=status)

    async def _ask(
        self, request: Request, asked: RefundRequested, *, not_done: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        try:
            foreseen = await self._refunding.foresee(asked)
        except Rejected as error:
            raise HTTPException(HTTPStatus.NOT_FOUND) from error
        values: dict[str, Any] = {
            "asked": asked,
            "foreseen": foreseen,
            "money": money_of(foreseen.trip),
            "sent": sent(foreseen),
            "prospect": outlook(foreseen, asked, self._clock()),
            "not_done": not_done,
        }
        return self._screen.show(request, "refund_ask.html", values, status=status)

    async def _trip(self, trip_id: str) -> Trip:
        try:
            return await self._refunding.look(trip_id[:MAX_ID])
        except Rejected as error:
            raise HTTPException(HTTPStatus.NOT_FOUND) from error

    # --- Taking a refund up again ---

    async def ask(self, request: Request) -> Response:
        """Show what a refund stands still for, and ask once more."""
        return self._ask_to_clear(request, await self._refund(request.query_params.get("id", "")))

    async def clear(self, request: Request) -> Response:
        """Take it up again."""
        fields = await self._screen.form(request)
        refund_id, reason = fields.get("id", "")[:MAX_ID], fields.get("reason", "")
        if not _is_reason(reason):
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        refund, session = await self._refund(refund_id), _session(request)
        try:
            await self._refunding.clear_problem(refund_id, by=session.name, reason=reason)
        except (Rejected, TripBusy) as error:
            return self._ask_to_clear(request, refund, not_done=str(error), status=HTTPStatus.CONFLICT)
        log.warning("refund_taken_up", trip_id=refund.trip_id, refund_id=refund_id, by=session.name)
        return RedirectResponse(link("trip", id=refund.trip_id), HTTPStatus.SEE_OTHER)

    def _ask_to_clear(
        self, request: Request, refund: Refund, *, not_done: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        return self._screen.show(request, "refund_clear.html", {"refund": refund, "not_done": not_done}, status=status)

    # --- Giving a refund up that WeChat Pay refuses for good ---

    async def ask_to_give_up(self, request: Request) -> Response:
        """Show what WeChat Pay says of the refund now and what will happen, and ask once more."""
        return await self._ask_to_give_up(request, request.query_params.get("id", "")[:MAX_ID])

    async def give_up(self, request: Request) -> Response:
        """End it, as it was shown and not otherwise."""
        fields = await self._screen.form(request)
        refund_id, reason = fields.get("id", "")[:MAX_ID], fields.get("reason", "")
        if not _is_reason(reason):
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        refund, session = await self._refund(refund_id), _session(request)
        note = {"trip_id": refund.trip_id, "refund_id": refund_id, "by": session.name}
        try:
            await self._refunding.give_up(refund_id, by=session.name, reason=reason, mark=fields.get("mark", ""))
        except (Rejected, WechatPayError, TripBusy) as error:
            log.info("giving_up_refused", **note, reason=str(error))
            return await self._ask_to_give_up(request, refund_id, not_done=str(error), status=HTTPStatus.CONFLICT)
        log.warning("refund_given_up", **note)
        return RedirectResponse(link("trip", id=refund.trip_id), HTTPStatus.SEE_OTHER)

    async def _ask_to_give_up(
        self, request: Request, refund_id: str, *, not_done: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        try:
            sight = await self._refunding.see(refund_id)
        except Rejected as error:
            raise HTTPException(HTTPStatus.NOT_FOUND) from error
        values = {"sight": sight, "refund": sight.refund, "prospect": giving_up(sight), "not_done": not_done}
        return self._screen.show(request, "refund_give_up.html", values, status=status)

    async def _refund(self, refund_id: str) -> Refund:
        try:
            return await self._refunding.find(refund_id[:MAX_ID])
        except Rejected as error:
            raise HTTPException(HTTPStatus.NOT_FOUND) from error


def read_yuan(text: str) -> int | None:
    """Read an amount in yuan as whole fen; None where it is none, or is nothing, or more than there can be."""
    written = YUAN.fullmatch(text)
    if written is None:
        return None
    fen = int(written[1]) * 100 + int((written[2] or "").ljust(2, "0"))
    return fen if 1 <= fen <= MAX_FEN else None


def _asked(fields: dict[str, str], refund_id: str, amount_fen: int, reason: str) -> RefundRequested:
    trip_id = fields.get("id", "")[:MAX_ID]
    return RefundRequested(trip_id=trip_id, refund_id=refund_id, amount_fen=amount_fen, reason=reason)


def _is_reason(text: str) -> bool:
    return 0 < len(text) <= MAX_REASON and text.isprintable()


def _session(request: Request) -> Session:
    session: Session = request.state.session
    return session
