"""The console as one ASGI application, and what it is made of."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from payscore_worker.console.access import Access
from payscore_worker.console.authorising import AuthorisationPages
from payscore_worker.console.deciding import DecidingPages
from payscore_worker.console.doors import Doors
from payscore_worker.console.guard import Guard
from payscore_worker.console.letters import Letters
from payscore_worker.console.looking import Looking
from payscore_worker.console.opening import Plan
from payscore_worker.console.refunding import RefundPages
from payscore_worker.console.replays import Replays
from payscore_worker.console.screen import Screen
from payscore_worker.console.watching import Watch
from payscore_worker.domain.account import passenger_of
from payscore_worker.domain.authorisation import number_of_passenger
from payscore_worker.errors import SettlementError, StorageUnavailable
from payscore_worker.messaging.deadletters import DeadLetters
from payscore_worker.messaging.moving import Busy
from payscore_worker.oversight.replay import Judge
from payscore_worker.settlement.deciding import Deciding
from payscore_worker.settlement.refunding import Refunding
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.browsing import Browsing
from payscore_worker.storage.engine import engine_for

TURN_SECONDS: Final = 3.0
"""A person waits for the page, and can ask again."""

log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def console(plan: Plan) -> AsyncIterator[ASGIApp]:
    """Make the console; a replay that is under way at the end is ended between two messages."""
    access = Access(plan.token, clock=plan.clock)
    screen = Screen(access)
    letters = DeadLetters(plan.amqp_url, plan.topology, wait_seconds=TURN_SECONDS)

    def make_judge() -> Judge:
        return Judge(
            storage=plan.storage,
            payscores=plan.payscores,
            queues=plan.queues,
            out_order_no_prefix=plan.out_order_no_prefix,
            clock=plan.clock,
        )

    async with engine_for(plan.database_url) as engine:
        browsing, actions = Browsing(engine), Actions(engine)
        watch = Watch(
            browsing=browsing,
            ring=plan.ring,
            breakers=plan.breakers,
            is_linked=plan.is_linked,
            beside_worker=plan.beside_worker,
            policies=plan.policies,
            clock=plan.clock,
        )
        replays = Replays(letters=letters, make_judge=make_judge, actions=actions, clock=plan.clock)
        looking = Looking(screen=screen, watch=watch, browsing=browsing, ring=plan.ring, clock=plan.clock)
        dead = Letters(
            screen=screen,
            letters=letters,
            replays=replays,
            browsing=browsing,
            actions=actions,
            make_judge=make_judge,
            clock=plan.clock,
        )
        deciding = Deciding(settlement=plan.settlement, actions=actions, clock=plan.clock, pause=plan.pause)
        decisions = DecidingPages(screen=screen, deciding=deciding, clock=plan.clock)
        refunding = Refunding(refunds=plan.refunds, actions=actions, clock=plan.clock, pause=plan.pause)
        authorisations = AuthorisationPages(
            screen=screen,
            browsing=browsing,
            own_number=partial(_own_number, plan),
            names=plan.names,
            clock=plan.clock,
        )
        refunds = RefundPages(screen=screen, refunding=refunding, clock=plan.clock)
        application = Starlette(
            routes=[
                *Doors(screen, access).routes(),
                *looking.routes(),
                *decisions.routes(),
                *refunds.routes(),
                *authorisations.routes(),
                *dead.routes(),
            ],
            middleware=[Middleware(Guard, access=access)],
            exception_handlers=_Mishaps(screen).handlers(),
        )
        try:
            yield application
        finally:
            await replays.stop()


def _own_number(plan: Plan, openid: str, mchid: str) -> str:
    """Make the number under which the record has what people did about a passenger's authorisations."""
    default = plan.payscores.current.terms.mchid
    return number_of_passenger(passenger_of(openid, mchid, default=default), plan.out_order_no_prefix)


class _Mishaps:
    """Says what went wrong, in a page like the others."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def handlers(self) -> Mapping[Any, Any]:
        return {
            HTTPException: self.refused,
            StorageUnavailable: self.database_away,
            Busy: self.busy,
            SettlementError: self.failed,
            OSError: self.failed,
            Exception: self.surprised,
        }

    async def refused(self, request: Request, error: HTTPException) -> Response:
        text = {HTTPStatus.NOT_FOUND: "not_found", HTTPStatus.FORBIDDEN: "refused_form"}
        words = text.get(HTTPStatus(error.status_code), "refused")
        return self._screen.notice(request, "refused", words, status=error.status_code)

    async def database_away(self, request: Request, error: StorageUnavailable) -> Response:
        log.info("console_database_away", reason=str(error))
        return self._screen.notice(request, "failed", "database_away", status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def busy(self, request: Request, _error: Busy) -> Response:
        return self._screen.notice(request, "failed", "letter_busy", status=HTTPStatus.CONFLICT)

    async def failed(self, request: Request, error: Exception) -> Response:
        log.info("console_failed", reason=repr(error))
        return self._screen.notice(request, "failed", "broker_away", status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def surprised(self, request: Request, _error: Exception) -> Response:
        return self._screen.notice(request, "failed", "went_wrong", status=HTTPStatus.INTERNAL_SERVER_ERROR)
