"""The worker as a role: consumers, relay and reconciler, and what keeps them honest."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

import structlog
from starlette.applications import Starlette

from consumers import subscriptions
from payscore_worker import metrics, tracing
from payscore_worker.bootstrap import parts
from payscore_worker.bootstrap.database import CLOSE_SECONDS, close, database, database_url
from payscore_worker.bootstrap.settlement import make_authorisations, make_refunds, make_settlement
from payscore_worker.bootstrap.wechatpay import Guarded, WechatPays, make_wechatpays
from payscore_worker.bootstrap.wiring import make_topology, now, stop_on_signals
from payscore_worker.console.depths import DepthRing
from payscore_worker.errors import FailureClass
from payscore_worker.messaging.consumer import Consumers
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.relay import SETTLE_SECONDS, Relay
from payscore_worker.messaging.topology import EVENTS
from payscore_worker.ops import showing
from payscore_worker.ops.health import Check, health_routes
from payscore_worker.ops.watching import watch
from payscore_worker.serving import STOP_SECONDS, make_server
from payscore_worker.settings import BrokerSettings, Environment, OpsSettings, OrderSettings
from payscore_worker.settlement.reconciler import Desk, Reconciler
from payscore_worker.storage import Storage
from payscore_worker.storage.cases import C
from payscore_worker.storage.clock import DatabaseClock

DRAIN_SECONDS: Final = 25.0
"""Finishing what is in hand: under the 30 seconds that supervisors allow before they kill."""

FLUSH_SECONDS: Final = 3.0
"""A batch takes milliseconds."""

WORKER_STOP_SECONDS: Final = (
    DRAIN_SECONDS
    + max(FLUSH_SECONDS + 2 * SETTLE_SECONDS, STOP_SECONDS)
    + parts.PARTS_SECONDS
    + CLOSE_SECONDS
    + tracing.END_SECONDS
    + parts.MARGIN_SECONDS
)
"""A worker is gone so long after SIGTERM, whatever is frozen. Whoever stops it must leave it longer: deploy/ does."""

log = structlog.stdlib.get_logger(__name__)


async def run_worker(environment: Environment, *, with_console: bool = False) -> None:
    """Consume, relay and reconcile until SIGTERM or SIGINT; `with_console` is for the demo, which is one process less.

    Raises:
        SettingsError: a setting is missing or malformed.
        ExceptionGroup: a part has failed that cannot go on; a supervisor should start us again.

    """
    broker, ops = environment.read(BrokerSettings), environment.read(OpsSettings)
    orders = environment.read(OrderSettings)
    wechatpay = make_wechatpays(environment)
    async with database(environment) as storage, aclosing(wechatpay):
        worker = Worker(broker=broker, orders=orders, storage=storage, wechatpay=wechatpay)
        await worker.clock.look()
        await wechatpay.warm_up()
        metrics.show_build("worker")
        worker.show()
        application = Starlette(routes=health_routes(worker.checks(), metrics.registry(metrics.WORKER)))
        server, ring = make_server(application, host=ops.ops_host, port=ops.ops_port), DepthRing()
        told = stop_on_signals(within_seconds=WORKER_STOP_SECONDS)
        async with asyncio.TaskGroup() as group:
            serving = parts.start(group, server.serve())
            worker.start(group)
            watching = watch(
                amqp_url=broker.amqp_url,
                topology=worker.topology,
                database_url=database_url(environment),
                clock=worker.clock,
                owners=wechatpay.owners,
                on_depths=lambda found: ring.note(now(), found),
            )
            looking = [parts.start(group, watching)]
            if with_console:
                looking.append(parts.start(group, _console(environment, application, worker, ring)))
            log.info(
                "worker_started",
                ops_port=ops.ops_port,
                accounts=[*wechatpay.by_name],
                family=wechatpay.payscores.current.family,
            )
            await told.wait()
            log.info("worker_stopping")
            await worker.drain()
            server.stop()
            for part in looking:
                part.cancel()
            await asyncio.gather(worker.flush(), serving)
            await parts.end(*looking, *worker.running)
            await close(storage)
        log.info("worker_stopped")


class Worker:
    """What settles trips: made, then started, then drained, flushed and ended."""

    def __init__(
        self, *, broker: BrokerSettings, orders: OrderSettings, storage: Storage, wechatpay: WechatPays
    ) -> None:
        self.topology = make_topology(broker)
        self.storage = storage
        self.wechatpay = wechatpay
        self.clock = DatabaseClock(storage, own=now)
        self.publisher = Publisher(broker.amqp_url, name="payscore-worker publish", topology=self.topology)
        self.relay = Relay(
            outbox=storage, publisher=self.publisher, exchange=self.topology.name(EVENTS), clock=self.clock
        )
        self.guarded = Guarded(wechatpay, clock_trouble=lambda: self.clock.trouble)
        self.breakers = self.guarded.breakers
        self.settlement = make_settlement(
            storage=storage,
            payscores=self.guarded.payscores,
            orders=orders,
            accounts=wechatpay.accounts,
            on_announced=self.relay.wake,
        )
        self.refunds = make_refunds(
            storage=storage,
            payscores=self.guarded.payscores,
            refunds=self.guarded.refunds,
            orders=orders,
            accounts=wechatpay.accounts,
            on_announced=self.relay.wake,
        )
        self.authorisations = make_authorisations(
            storage=storage,
            payscores=self.guarded.payscores,
            settlement=self.settlement,
            orders=orders,
            accounts=wechatpay.accounts,
            on_announced=self.relay.wake,
        )
        self.reconcilers = (
            self._reconciler(self.settlement),
            self._reconciler(self.refunds),
            self._reconciler(self.authorisations),
        )
        self.consumers = Consumers(
            url=broker.amqp_url,
            name="payscore-worker consume",
            topology=self.topology,
            subscriptions=subscriptions(self.settlement, self.refunds, self.authorisations),
            publisher=self.publisher,
            prefetch=broker.prefetch,
            breaker=self.breakers,
        )

    def _reconciler(self, desk: Desk[C]) -> Reconciler[C]:
        return Reconciler(storage=self.storage, desk=desk, clock=self.clock, is_out=lambda: self.breakers.is_open)

    def checks(self) -> Mapping[str, Check]:
        """Make the checks of readiness; one account's trouble is its own."""
        skews = [one.client.skew for one in self.wechatpay.by_name.values()]
        return {
            "database": parts.answers(self.storage.ping),
            "publishing": parts.holds(lambda: self.publisher.is_ready),
            "consuming": parts.holds(lambda: self.consumers.hearing.is_consuming),
            "keys": parts.holds(lambda: self.wechatpay.ready),
            "merchant": parts.holds(lambda: not self._is_refused_everywhere()),
            "clock": parts.holds(lambda: not self.clock.is_off and not all(skew.is_off for skew in skews)),
        }

    def _is_refused_everywhere(self) -> bool:
        reasons = self.breakers.reasons
        return all(reasons.get(name) is FailureClass.MISCONFIGURED for name in self.wechatpay.by_name)

    def show(self) -> None:
        """Begin to be measured."""
        showing.show_calls([one.client for one in self.wechatpay.by_name.values()])
        showing.show_breakers(self.breakers)
        showing.show_consumers(self.consumers, self.topology)
        showing.show_trips(self.wechatpay.by_name)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to settle."""
        self._publishing = parts.start(group, self.publisher.run())
        self._relaying = parts.start(group, self.relay.run())
        self._reconciling = [parts.start(group, reconciler.run()) for reconciler in self.reconcilers]
        self._consuming = parts.start(group, self.consumers.run())
        watched = (
            self.storage.until_lost(),
            self.clock.run(),
            *(one.keys.run() for one in self.wechatpay.by_name.values()),
            *self.guarded.probing(),
        )
        self._watching = [parts.start(group, work) for work in watched]

    async def drain(self) -> None:
        """Finish what is in hand, and take nothing more."""
        for reconciler in self.reconcilers:
            reconciler.stop()
        await asyncio.gather(
            self.consumers.stop(grace_seconds=DRAIN_SECONDS),
            asyncio.wait(self._reconciling, timeout=DRAIN_SECONDS),
        )

    async def flush(self) -> None:
        """Publish what the last messages announced; nothing is decided any more."""
        for part in (*self._reconciling, *self._watching):
            part.cancel()
        await flush(self.relay, self._relaying)

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """The parts, to be ended."""
        return [*self._reconciling, *self._watching, self._relaying, self._publishing, self._consuming]


async def flush(relay: Relay, relaying: asyncio.Task[None]) -> None:
    """Publish what waits; whatever cannot be published is given back for the next worker."""
    relay.stop()
    await asyncio.wait([relaying], timeout=FLUSH_SECONDS)
    relaying.cancel()
    await asyncio.wait([relaying], timeout=2 * SETTLE_SECONDS)


async def _console(environment: Environment, application: Starlette, worker: Worker, ring: DepthRing) -> None:
    from payscore_worker.bootstrap.console import make_plan  # noqa: PLC0415 - the demo's alone
    from payscore_worker.console.opening import open_beside_worker  # noqa: PLC0415

    plan = make_plan(
        environment,
        storage=worker.storage,
        desks=(worker.settlement, worker.refunds),
        payscores=worker.guarded.payscores,
        breakers=worker.breakers,
        is_linked=lambda: worker.publisher.is_ready,
        beside_worker=True,
        ring=ring,
    )
    await open_beside_worker(application, plan)
