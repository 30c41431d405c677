"""The console as a role: in a process of its own, so that looking cannot hurt settling."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import structlog
from starlette.applications import Starlette

from consumers import CONSUMERS
from payscore_worker import metrics
from payscore_worker.accounts import read_accounts
from payscore_worker.bootstrap import parts
from payscore_worker.bootstrap.database import CLOSE_SECONDS, close, database, database_url
from payscore_worker.bootstrap.settlement import make_refunds, make_settlement
from payscore_worker.bootstrap.webhook import WEBHOOK_STOP_SECONDS
from payscore_worker.bootstrap.wechatpay import Guarded, make_wechatpays
from payscore_worker.bootstrap.wiring import make_management, make_topology, now, stop_on_signals
from payscore_worker.console.depths import DepthRing
from payscore_worker.console.opening import REPLAY_END_SECONDS, Plan, is_shut, open_console
from payscore_worker.ops import showing
from payscore_worker.ops.health import health_routes
from payscore_worker.ops.lag import measure_lag
from payscore_worker.ops.policies import PolicyLook
from payscore_worker.ops.queues import QueueLook
from payscore_worker.serving import make_server
from payscore_worker.settings import (
    BrokerSettings,
    Environment,
    OpsSettings,
    OrderSettings,
    SettingsError,
    description,
)
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.settlement.trips import Settlement
from payscore_worker.storage import Storage
from payscore_worker.wechatpay import Breakers
from payscore_worker.wechatpay.payscore import PayScores

CONSOLE_STOP_SECONDS: Final = WEBHOOK_STOP_SECONDS + REPLAY_END_SECONDS + CLOSE_SECONDS
"""What stops a webhook, and ending a replay between two messages, which is written down."""

MAX_CONNECTIONS: Final = 200
"""A browser opens six; that is thirty people at once."""

log = structlog.stdlib.get_logger(__name__)


async def run_console(environment: Environment) -> None:
    """Show the console until SIGTERM or SIGINT.

    Raises:
        SettingsError: a setting is missing or malformed.
        ExceptionGroup: a part has failed that cannot go on; a supervisor should start us again.

    """
    broker, ops = environment.read(BrokerSettings), environment.read(OpsSettings)
    if is_shut(host=ops.ops_host, token=ops.ops_token):
        what = description(OpsSettings, "PAYSCORE_OPS_TOKEN")
        raise SettingsError(f"PAYSCORE_OPS_TOKEN: missing, and others can reach PAYSCORE_OPS_HOST; it should be {what}")
    topology, wechatpay = make_topology(broker), make_wechatpays(environment)
    orders = environment.read(OrderSettings)
    async with database(environment) as storage, aclosing(wechatpay):
        guarded, ring = Guarded(wechatpay), DepthRing()
        look = QueueLook(broker.amqp_url, topology, on_look=lambda found: ring.note(now(), found))
        payscores, accounts = guarded.payscores, wechatpay.accounts
        settlement = make_settlement(storage=storage, payscores=payscores, orders=orders, accounts=accounts)
        refunds = make_refunds(
            storage=storage, payscores=payscores, refunds=guarded.refunds, orders=orders, accounts=accounts
        )
        plan = make_plan(
            environment,
            storage=storage,
            desks=(settlement, refunds),
            payscores=payscores,
            breakers=guarded.breakers,
            is_linked=lambda: look.is_linked,
            beside_worker=False,
            ring=ring,
        )
        checks = {"database": parts.answers(storage.ping), "queues": parts.holds(lambda: look.is_linked)}
        metrics.show_build("console")
        showing.show_calls([one.client for one in wechatpay.by_name.values()])
        application = Starlette(routes=health_routes(checks, metrics.registry(metrics.CONSOLE)))
        server = make_server(application, host=ops.ops_host, port=ops.ops_port, max_connections=MAX_CONNECTIONS)
        told = stop_on_signals(within_seconds=CONSOLE_STOP_SECONDS)
        async with asyncio.TaskGroup() as group:
            serving = parts.start(group, server.serve())
            others = [
                parts.start(group, work)
                for work in (look.run(), *guarded.probing(), measure_lag(), open_console(application, plan))
            ]
            log.info("console_started", ops_port=ops.ops_port, family=wechatpay.payscores.current.family)
            await told.wait()
            log.info("console_stopping")
            server.stop()
            await serving
            await parts.end(*others, seconds=parts.PARTS_SECONDS + REPLAY_END_SECONDS)
            await close(storage)
        log.info("console_stopped")


def make_plan(
    environment: Environment,
    *,
    storage: Storage,
    desks: tuple[Settlement, Refunds],
    payscores: PayScores,
    breakers: Breakers,
    is_linked: Callable[[], bool],
    beside_worker: bool,
    ring: DepthRing,
) -> Plan:
    """Make what the console works with, in a role of its own or beside the demo's worker."""
    broker, ops = environment.read(BrokerSettings), environment.read(OpsSettings)
    settlement, refunds = desks
    accounts = read_accounts(environment)
    return Plan(
        host=ops.ops_host,
        token=ops.ops_token,
        amqp_url=broker.amqp_url,
        database_url=database_url(environment),
        topology=make_topology(broker),
        queues={one.queue: one.events for one in CONSUMERS},
        out_order_no_prefix=accounts[0].offer.out_order_no_prefix,
        storage=storage,
        settlement=settlement,
        refunds=refunds,
        payscores=payscores,
        breakers=breakers,
        is_linked=is_linked,
        beside_worker=beside_worker,
        ring=ring,
        policies=PolicyLook(make_management(broker), make_topology(broker)),
        clock=now,
        names={one.merchant.mchid: one.name for one in accounts},
    )
