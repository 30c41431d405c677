"""Opens the console on an application that is served already; it is imported late, since that takes its time."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route

from payscore_worker.console.access import is_loopback
from payscore_worker.console.depths import DepthRing
from payscore_worker.console.guard import ROOT
from payscore_worker.events import EventIn
from payscore_worker.messaging.topology import Topology
from payscore_worker.ops.policies import PolicyLook
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.settlement.sight import Pause
from payscore_worker.settlement.trips import Settlement
from payscore_worker.storage import Storage
from payscore_worker.storage.url import Told
from payscore_worker.wechatpay import Breakers
from payscore_worker.wechatpay.payscore import PayScores

REPLAY_END_SECONDS: Final = 5.0
"""For the last word in the record about a replay that is ended, where the database does not answer."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the console works with."""

    host: str
    token: str | None = field(repr=False)
    amqp_url: str = field(repr=False)
    database_url: str | Told = field(repr=False)
    topology: Topology
    queues: Mapping[str, Mapping[str, type[EventIn]]]
    """The event types that each queue carries."""
    out_order_no_prefix: str
    storage: Storage
    settlement: Settlement
    """For what people decide."""
    refunds: Refunds
    """For what they send back."""
    payscores: PayScores
    breakers: Breakers
    is_linked: Callable[[], bool]
    """Whether there is a link to RabbitMQ."""
    beside_worker: bool
    """Whether breaker and link are those of a worker in the same process (the demo's)."""
    ring: DepthRing
    policies: PolicyLook
    clock: Callable[[], datetime]
    pause: Pause = asyncio.sleep
    """Between two questions about what WeChat Pay is said not to have."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Of the accounts, by mchid."""


def is_shut(*, host: str, token: str | None) -> bool:
    """Tell whether nobody may come in: others can reach the address, and there is no token to know them by."""
    return token is None and not is_loopback(host)


async def open_console(application: Starlette, plan: Plan) -> None:
    """Add the console to an application that is served already, and keep it open until cancelled."""
    # SQLAlchemy and Jinja take their time to import: in a thread, once all runs.
    console = (await asyncio.to_thread(import_module, "payscore_worker.console.app")).console
    async with console(plan) as pages:
        application.router.routes += [
            Route("/", _to_the_console, methods=["GET"]),
            Route(ROOT, _to_the_console, methods=["GET"]),
            Mount(ROOT, pages),
        ]
        log.info("console_open", path=f"{ROOT}/", sign_in=plan.token is not None)
        await plan.policies.run()


async def open_beside_worker(application: Starlette, plan: Plan) -> None:
    """Open it in the demo's worker, which goes on without it."""
    if is_shut(host=plan.host, token=plan.token):
        log.warning("console_off", reason="others can reach the ops port, and PAYSCORE_OPS_TOKEN is not set")
        return
    try:
        await open_console(application, plan)
    except Exception:  # to go on settling is more than to be looked at
        log.exception("console_ended")


async def _to_the_console(_request: object) -> RedirectResponse:
    return RedirectResponse(f"{ROOT}/")
