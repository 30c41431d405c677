"""The pages that look and change nothing: overview, trips, one trip, outbox."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from payscore_worker.console.depths import DepthRing
from payscore_worker.console.screen import Screen, link
from payscore_worker.console.watching import Watch
from payscore_worker.domain.decisions import Verb, verbs_for
from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
)
from payscore_worker.oversight.explain import Story, Troubled, explain
from payscore_worker.storage.belonging import belonging
from payscore_worker.storage.browsing import PAGE_ROWS, Browsing, Key, Wanted
from payscore_worker.storage.refunds import RefundFilter, RefundReports
from payscore_worker.storage.reports import Row

AGES: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
    "30d": timedelta(days=30),
}
STATES: Final = {state.value: state for state in TripState}
SHOWS: Final = ("all", "unfinished", "problem", "stuck")

MAX_NAME: Final = 128
"""No trip id, order number or transaction id is longer."""

UNFINISHED: Final = tuple(state for state in TripState if state not in TERMINAL)
OVER: Final = tuple(state for state in TripState if state in TERMINAL)


class Problem(msgspec.Struct):
    """What a list says of a problem."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Queues as the overview lists them: those we consume, and those that only hold for a while."""

    consumed: Sequence[Any]
    others: Sequence[Any]


class Looking:
    """Shows what there is."""

    def __init__(
        self,
        *,
        screen: Screen,
        watch: Watch,
        browsing: Browsing,
        ring: DepthRing,
        clock: Callable[[], datetime],
    ) -> None:
        self._screen = screen
        self._watch = watch
        self._browsing = browsing
        self._ring = ring
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Make the routes."""
        return [
            Route("/", self.overview, methods=["GET"]),
            Route("/trips", self.trips, methods=["GET"]),
            Route("/trip", self.trip, methods=["GET"]),
            Route("/trip.json", self.trip_as_json, methods=["GET"]),
            Route("/outbox", self.outbox, methods=["GET"]),
        ]

    async def overview(self, request: Request) -> Response:
        overview = await self._watch.overview()
        depths = overview.look.depths if overview.look is not None else ()
        values = {
            "overview": overview,
            "unfinished": UNFINISHED,
            "over": OVER,
            "histories": self._ring.histories(),
            "lines": Lines(
                consumed=[depth for depth in depths if depth.is_consumed or ".retry." not in depth.queue],
                others=[depth for depth in depths if not depth.is_consumed and ".retry." in depth.queue],
            ),
        }
        return self._screen.show(request, "overview.html", values)

    async def trips(self, request: Request) -> Response:
        query = request.query_params
        name = query.get("q", "").strip()[:MAX_NAME]
        found: list[str] = []
        if name:
            found = await self._find(name)
            if len(found) == 1:
                return RedirectResponse(link("trip", id=found[0]), HTTPStatus.SEE_OTHER)
        now = self._clock()
        wanted = read_wanted(query)
        page = await self._browsing.page(wanted, now)
        values = {
            "refunds": await self._standing_still(wanted),
            "name": name,
            "found": found,
            "page": page,
            "problem": read_problem,
            "whose": belonging,
            "now": now,
            "chosen": {
                "state": wanted.state.value if wanted.state is not None else "",
                "show": query.get("show", "all") if query.get("show", "all") in SHOWS else "all",
                "age": query.get("age", "") if query.get("age", "") in AGES else "",
            },
            "states": list(TripState),
            "shows": SHOWS,
            "ages": list(AGES),
            "is_first": wanted.after is None,
        }
        return self._screen.show(request, "trips.html", values)

    async def _find(self, name: str) -> list[str]:
        """Find trips by a name of theirs, or of a refund of theirs."""
        found = await self._browsing.find(name)
        if found:
            return found
        refund = await RefundReports(self._browsing).refund(name)
        return [] if refund is None else [refund["trip_id"]]

    async def _standing_still(self, wanted: Wanted) -> Sequence[Row]:
        """List the refunds that wait for a person, where trips that do are looked for; their trips are in order."""
        if not (wanted.with_problem or wanted.stuck) or wanted.state is not None or wanted.after is not None:
            return ()
        return await RefundReports(self._browsing).refunds(RefundFilter(with_problem=True, limit=PAGE_ROWS))

    async def trip(self, request: Request) -> Response:
        story = await self._story(request)
        values = {"story": story, "verbs": _verbs(story), "refundable_fen": _refundable_fen(story)}
        return self._screen.show(request, "trip.html", values | {"now": self._clock()})

    async def trip_as_json(self, request: Request) -> Response:
        story = await self._story(request)
        text = msgspec.json.format(msgspec.json.encode(story.document()), indent=2)
        headers = {"Content-Disposition": 'attachment; filename="trip.json"'}
        return Response(text, media_type="application/json", headers=headers)

    async def outbox(self, request: Request) -> Response:
        rows = await self._browsing.outbox()
        unrouted = await self._browsing.unrouted()
        values = {"rows": rows[:PAGE_ROWS], "more": len(rows) > PAGE_ROWS, "unrouted": unrouted, "now": self._clock()}
        return self._screen.show(request, "outbox.html", values)

    async def _story(self, request: Request) -> Story:
        story = await explain(self._browsing, request.query_params.get("id", "")[:MAX_NAME])
        if story is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return story


def _verbs(story: Story) -> Sequence[Verb]:
    """Name what a person may decide of a trip: it has a problem, its other half is missing, or its money."""
    troubles = {one.what: one.code for one in story.happenings if isinstance(one, Troubled) and not one.refund_id}
    if "problem" in troubles:
        return verbs_for(troubles["problem"])
    if story.state == TripState.COMPLETED and story.archive is None:
        return verbs_for("", TripState.COMPLETED)
    is_waiting = "stale" in troubles and TripState(story.state) not in TERMINAL
    return verbs_for("") if is_waiting and story.archive is None else ()


def _refundable_fen(story: Story) -> int:
    """Say what of a trip's money could still go back."""
    if story.state != TripState.PAID or story.archive is not None:
        return 0
    return (story.paid_fen or 0) - story.reserved_fen - story.refunded_fen


def read_problem(row: Mapping[str, Any]) -> Problem:
    """Read the problem of a trip, or of a refund; one of a newer release is called so, and the others are shown."""
    try:
        return msgspec.json.decode(row["problem"], type=Problem)
    except msgspec.MsgspecError:
        return Problem(code="unreadable", message="")


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """Read which trips are asked for; what makes no sense asks for nothing in particular."""
    state, show = query.get("state", ""), query.get("show", "")
    return Wanted(
        state=STATES.get(state),
        unfinished=show == "unfinished",
        with_problem=show == "problem",
        stuck=show == "stuck",
        older_than=AGES.get(query.get("age", "")),
        after=_key(query.get("at", ""), query.get("after", "")),
    )


def _key(at: str, trip_id: str) -> Key | None:
    try:
        noted_at = datetime.fromisoformat(at)
        is_moment = noted_at.tzinfo is not None and noted_at.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: at the ends of the calendar, UTC may have no such day
        return None
    return Key(noted_at=noted_at, trip_id=trip_id[:MAX_NAME]) if is_moment and trip_id else None
