"""The pages of dead letters: groups, one letter beside its trip and WeChat Pay's word, replay, drop, and the record."""

import asyncio
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from payscore_worker.console.access import Session
from payscore_worker.console.replays import OneAtATime, Replays, Stage
from payscore_worker.console.screen import Screen, link
from payscore_worker.errors import SettlementError, StorageUnavailable
from payscore_worker.logs import without_secrets
from payscore_worker.messaging.deadletters import (
    MAX_READ_BYTES,
    Choice,
    DeadLetter,
    DeadLetters,
    Look,
    Summary,
    group_id,
    grouped,
)
from payscore_worker.messaging.link import BROKEN
from payscore_worker.messaging.moving import Busy
from payscore_worker.messaging.topology import QUEUES
from payscore_worker.oversight.replay import Judge
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.browsing import Browsing

LOOK_SECONDS: Final = 15.0
"""For a thousand letters of each queue, from a broker that is busy."""

FRESH_SECONDS: Final = 3.0
"""Each look takes the letters in hand for a moment; several people share one."""

LISTED: Final = 50
RECORDED: Final = 20
MAX_ID: Final = 300
MAX_REASON: Final = 300

SHOWN_BYTES: Final = 64 * 1024
"""Of a body on a page; a message of ours has one kilobyte, and `dead show` prints any of them whole."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What the dead-letter queues hold, and of which we could not see that."""

    looks: Sequence[Look]
    busy: Sequence[str]
    away: bool
    """RabbitMQ does not answer."""

    @property
    def letters(self) -> list[Summary]:
        """All that was seen."""
        return [letter for look in self.looks for letter in look.letters]


class Letters:
    """Shows dead letters, and lets people act on them."""

    def __init__(
        self,
        *,
        screen: Screen,
        letters: DeadLetters,
        replays: Replays,
        browsing: Browsing,
        actions: Actions,
        make_judge: Callable[[], Judge],
        clock: Callable[[], datetime],
    ) -> None:
        self._screen = screen
        self._letters = letters
        self._replays = replays
        self._browsing = browsing
        self._actions = actions
        self._make_judge = make_judge
        self._clock = clock
        self._looking = asyncio.Lock()
        self._looks: Looks | None = None
        self._looked_at = 0.0

    def routes(self) -> list[BaseRoute]:
        """Make the routes."""
        return [
            Route("/dead", self.groups, methods=["GET"]),
            Route("/dead/group", self.group, methods=["GET"]),
            Route("/dead/letter", self.letter, methods=["GET"]),
            Route("/dead/prospect", self.prospect, methods=["GET"]),
            Route("/dead/replay", self.show_replay, methods=["GET"]),
            Route("/dead/replay", self.start_replay, methods=["POST"]),
            Route("/dead/stop", self.stop_replay, methods=["POST"]),
            Route("/dead/drop", self.drop, methods=["POST"]),
        ]

    async def groups(self, request: Request) -> Response:
        looks = await self._look()
        values = {
            "looks": looks,
            "groups": grouped(looks.letters),
            "running": self._replays.running,
            "actions": await self._record(),
            "dropped": request.query_params.get("dropped", ""),
        }
        return self._screen.show(request, "dead.html", values)

    async def group(self, request: Request) -> Response:
        wanted = request.query_params.get("group", "")
        letters = [letter for letter in (await self._look()).letters if group_id(letter) == wanted]
        if not letters:
            return self._gone(request)
        (group,) = grouped(letters)
        values = {"group": group, "letters": letters[:LISTED], "running": self._replays.running}
        return self._screen.show(request, "group.html", values)

    async def letter(self, request: Request) -> Response:
        letter = await self._named(request)
        if letter is None:
            return self._gone(request)
        values = {
            "letter": letter,
            "body": without_secrets(letter.body[:SHOWN_BYTES]),
            "shown_bytes": min(letter.size, SHOWN_BYTES),
            "group": group_id(letter),
        }
        return self._screen.show(request, "letter.html", values)

    async def prospect(self, request: Request) -> Response:
        """Say what the database and WeChat Pay say of it now: a part of the letter's page that takes its time."""
        letter = await self._named(request)
        if letter is None:
            return self._gone(request)
        return self._screen.show(request, "prospect.html", await self._prospect(letter))

    async def _prospect(self, letter: DeadLetter) -> dict[str, Any]:
        """Judge it, or say why it cannot be judged."""
        if letter.size > MAX_READ_BYTES:
            return _unknown("not_judged", f"{letter.size} bytes: larger than any message of ours")
        try:
            prospect = await self._make_judge().prospect(letter)
        except StorageUnavailable as error:
            return _unknown("database_away", str(error))
        except Exception as error:
            log.exception("letter_not_judged", queue=letter.queue, id=letter.id)
            return _unknown("not_judged", type(error).__name__)
        return {"prospect": prospect, "why_not": "", "unknown": ""}

    async def show_replay(self, request: Request) -> Response:
        replay = self._replays.get(request.query_params.get("id", ""))
        if replay is not None:
            replay = copy(replay)  # it may end while its record is read: the page that says so last must show its end
        values = {"replay": replay, "actions": await self._record(), "Stage": Stage}
        return self._screen.show(request, "replay.html", values)

    async def start_replay(self, request: Request) -> Response:
        fields = await self._screen.form(request)
        queue, id, group = fields.get("queue", ""), fields.get("id", ""), fields.get("group", "")
        if queue not in QUEUES or not (id or group or fields.get("all") == "yes"):
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        choice = Choice(id=id[:MAX_ID] or None, group=group[:MAX_ID] or None)
        try:
            replay = await self._replays.start(who=_who(request), queue=queue, choice=choice)
        except OneAtATime:
            return self._screen.notice(request, "failed", "one_at_a_time", status=HTTPStatus.CONFLICT)
        self._looks = None
        return RedirectResponse(link("dead/replay", id=replay.id), HTTPStatus.SEE_OTHER)

    async def stop_replay(self, request: Request) -> Response:
        fields = await self._screen.form(request)
        running = self._replays.running
        if running is not None and running.id == fields.get("id"):
            log.warning("replay_stopped", by=_who(request), number=running.number)
            await self._replays.stop()
        return RedirectResponse(link("dead/replay", id=fields.get("id", "")), HTTPStatus.SEE_OTHER)

    async def drop(self, request: Request) -> Response:
        """Drop one for good, once it stands in the record who does so and why."""
        fields = await self._screen.form(request)
        queue, id, reason = fields.get("queue", ""), fields.get("id", ""), fields.get("reason", "")[:MAX_REASON]
        if queue not in QUEUES or not id or not reason:
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        who = _who(request)
        action = Action(who=who, action="drop", queue=queue, target=id[:MAX_ID], reason=reason)
        async with self._actions.recorded(action, self._clock) as done:
            done.must_move = True
            self._looks = None
            was_there = await self._letters.drop(queue, id, by=who, reason=reason)
            done.moved = int(was_there)
        return RedirectResponse(link("dead", dropped="yes" if was_there else "no"), HTTPStatus.SEE_OTHER)

    async def _named(self, request: Request) -> DeadLetter | None:
        """Fetch the whole of the letter that a page is about; one at a time, however many pages are asked for."""
        queue, id = request.query_params.get("queue", ""), request.query_params.get("id", "")
        if queue not in QUEUES or not id:
            return None
        async with self._looking, asyncio.timeout(LOOK_SECONDS):
            return await self._letters.find(queue, id)

    def _gone(self, request: Request) -> Response:
        return self._screen.notice(request, "dead", "not_there", status=HTTPStatus.NOT_FOUND)

    async def _record(self) -> Sequence[object]:
        return await self._browsing.actions(RECORDED)

    async def _look(self) -> Looks:
        """Look at every dead-letter queue, once for all who ask at the same time."""
        async with self._looking:
            if self._looks is None or time.monotonic() - self._looked_at > FRESH_SECONDS:
                self._looks = await self._look_anew()
                self._looked_at = time.monotonic()
            return self._looks

    async def _look_anew(self) -> Looks:
        looks, busy = [], []
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                for queue in QUEUES:
                    try:
                        looks.append(await self._letters.look(queue))
                    except Busy:
                        busy.append(queue)
        except (SettlementError, *BROKEN) as error:
            log.info("console_letters_not_seen", reason=repr(error))
            return Looks(looks=looks, busy=busy, away=True)
        return Looks(looks=looks, busy=busy, away=False)


def _unknown(why_not: str, unknown: str) -> dict[str, Any]:
    return {"prospect": None, "why_not": why_not, "unknown": unknown}


def _who(request: Request) -> str:
    session: Session = request.state.session
    return session.name
