"""Opens the console beside a worker that runs already: it is imported late, and the worker goes on without it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module

import structlog
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route

from payscore_worker.console.access import is_loopback
from payscore_worker.console.depths import DepthRing
from payscore_worker.console.guard import ROOT
from payscore_worker.events import EventIn
from payscore_worker.messaging.topology import Topology
from payscore_worker.settlement import Settlement
from payscore_worker.storage import Storage
from payscore_worker.wechatpay import Breaker, PayScores

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the console works with."""

    host: str
    token: str | None = field(repr=False)
    amqp_url: str = field(repr=False)
    database_url: str = field(repr=False)
    topology: Topology
    queues: Mapping[str, Mapping[str, type[EventIn]]]
    """The event types that each queue carries."""
    out_order_no_prefix: str
    storage: Storage
    settlement: Settlement
    """For what people decide."""
    payscores: PayScores
    breaker: Breaker
    is_linked: Callable[[], bool]
    """Whether the worker can publish."""
    is_consuming: Callable[[], bool]
    ring: DepthRing
    clock: Callable[[], datetime]


async def open_console(application: Starlette, plan: Plan) -> None:
    """Add the console to an application that is served already, and keep it open until cancelled."""
    if plan.token is None and not is_loopback(plan.host):
        log.warning(
            "console_off", reason="the ops port can be reached from elsewhere and PAYSCORE_OPS_TOKEN is not set"
        )
        return
    try:
        # SQLAlchemy and Jinja take their time to import: in a thread, once all runs.
        console = (await asyncio.to_thread(import_module, "payscore_worker.console.app")).console
        async with console(plan) as pages:
            application.router.routes += [
                Route("/", _to_the_console, methods=["GET"]),
                Route(ROOT, _to_the_console, methods=["GET"]),
                Mount(ROOT, pages),
            ]
            log.info("console_open", path=f"{ROOT}/", sign_in=plan.token is not None)
            await asyncio.Event().wait()
    except Exception:  # to go on settling is more than to be looked at
        log.exception("console_ended")


async def _to_the_console(_request: object) -> RedirectResponse:
    return RedirectResponse(f"{ROOT}/")
