"""Builds worker, webhook and console from the settings."""

import asyncio
import faulthandler
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from starlette.applications import Starlette

from consumers import CONSUMERS, subscriptions
from payscore_worker import metrics, stopping, tracing
from payscore_worker.console.depths import DepthRing
from payscore_worker.console.opening import REPLAY_END_SECONDS, Plan, is_shut, open_beside_worker, open_console
from payscore_worker.errors import FailureClass, WechatPayError
from payscore_worker.messaging.connection import CLOSE_TIMEOUT_SECONDS
from payscore_worker.messaging.consumer import Consumers
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.relay import SETTLE_SECONDS, Relay
from payscore_worker.messaging.topology import EVENTS
from payscore_worker.ops import watching
from payscore_worker.ops.health import Check, health_routes
from payscore_worker.ops.lag import measure_lag
from payscore_worker.ops.policies import PolicyLook
from payscore_worker.ops.queues import QueueLook
from payscore_worker.reconciler import Reconciler
from payscore_worker.serving import STOP_SECONDS as HTTP_STOP_SECONDS
from payscore_worker.serving import make_server
from payscore_worker.settings import (
    BrokerSettings,
    DatabaseSettings,
    Environment,
    MerchantSettings,
    OpsSettings,
    OrderSettings,
    SettingsError,
    WebhookSettings,
    description,
    duration,
    durations,
)
from payscore_worker.settlement import Settlement
from payscore_worker.steps import Terms
from payscore_worker.storage import Schema, Storage, see_that_it_fits
from payscore_worker.storage.clock import DatabaseClock
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.url import Told
from payscore_worker.trip import Rules
from payscore_worker.webhook import PUBLISH_SECONDS, Webhook
from payscore_worker.wechatpay import (
    CAPPED,
    TICKETED,
    Breaker,
    GuardedPayScores,
    Merchant,
    MerchantPayScores,
    Notifications,
    PayScores,
    UnusableCertificates,
    VerificationKeys,
    WechatPayClient,
    load_private_key,
    load_public_key,
    make_transport,
)
from payscore_worker.wiring import make_management, make_topology, now, stop_on_signals

DRAIN_SECONDS: Final = 25.0
"""Finishing what is in hand: under the 30 seconds that supervisors allow before they kill."""

FLUSH_SECONDS: Final = 3.0
"""A batch takes milliseconds."""

PARTS_SECONDS: Final = CLOSE_TIMEOUT_SECONDS + 0.5
"""The slowest part to end is one whose broker has frozen: it waits so long for the answer to its good-bye."""

CLOSE_SECONDS: Final = 3.0
"""A good-bye to the database is a few bytes; where nobody takes them, its connections are cut."""

MARGIN_SECONDS: Final = 1.0
"""For what happens between these steps, on a machine that is busy stopping."""

WORKER_STOP_SECONDS: Final = (
    DRAIN_SECONDS
    + max(FLUSH_SECONDS + 2 * SETTLE_SECONDS, HTTP_STOP_SECONDS)
    + PARTS_SECONDS
    + CLOSE_SECONDS
    + tracing.END_SECONDS
    + MARGIN_SECONDS
)
"""A worker is gone so long after SIGTERM, whatever is frozen. Whoever stops it must leave it longer: deploy/ does."""

WEBHOOK_STOP_SECONDS: Final = HTTP_STOP_SECONDS + PARTS_SECONDS + tracing.END_SECONDS + MARGIN_SECONDS
"""The same of a webhook."""

CONSOLE_STOP_SECONDS: Final = WEBHOOK_STOP_SECONDS + REPLAY_END_SECONDS + CLOSE_SECONDS
"""The same of a console, which ends a replay between two messages and writes that down."""

LAST_RESORT_SECONDS: Final = 60.0
"""One part has failed, and another does not end as it is told: we would sit here deaf, and no supervisor would know."""

WEBHOOK_CONNECTIONS: Final = 1000
"""More at once is not WeChat Pay; the rest is told 503 and comes back."""

CONSOLE_CONNECTIONS: Final = 200
"""A browser opens six; that is thirty people at once."""

MAX_CONNECTIONS_TO_WECHAT: Final = 200
"""Enough for every message in hand of the busiest queues."""

IDLE_SECONDS_TO_WECHAT: Final = 20.0
"""A connection that has been idle for longer may be gone at their side."""

_T = TypeVar("_T")

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WechatPay:
    """Everything we have of WeChat Pay."""

    client: WechatPayClient
    keys: VerificationKeys
    payscores: MerchantPayScores
    notifications: Notifications

    async def warm_up(self) -> None:
        """Fetch the keys that prove what WeChat Pay says, so that the first call does not wait for them.

        Raises:
            SettingsError: our APIv3 key opens nothing of what WeChat Pay sends.

        """
        try:
            await self.keys.refresh()
        except UnusableCertificates as error:
            raise SettingsError(f"PAYSCORE_APIV3_KEY: the platform certificates {error}") from error
        except WechatPayError as error:
            log.warning("keys_not_fetched", reason=str(error))  # asked for again when they are needed


def make_wechatpay(settings: MerchantSettings, transport: httpx.AsyncBaseTransport | None = None) -> WechatPay:
    """Load the keys, and open nothing yet; calls go through our own transport, or another.

    Raises:
        SettingsError: a key cannot be loaded, or is the wrong one.

    """
    private_key = _load("PAYSCORE_MERCHANT_PRIVATE_KEY", load_private_key, settings.merchant_private_key)
    public_keys = _public_keys(settings)
    apiv3_keys = tuple(key.encode() for key in (settings.apiv3_key, settings.apiv3_key_previous) if key is not None)
    try:
        keys = VerificationKeys(apiv3_keys=apiv3_keys, clock=now, public_keys=public_keys)
        client = WechatPayClient(
            merchant=Merchant(
                mchid=settings.mchid,
                appid=settings.appid,
                service_id=settings.service_id,
                serial_no=settings.merchant_serial_no.upper(),
                private_key=private_key,
                apiv3_keys=apiv3_keys,
                apiv2_key=settings.apiv2_key,
                notify_url=settings.notify_url,
            ),
            keys=keys,
            base_urls=settings.api_base_urls.split(","),
            transport=transport or make_transport_to_wechat(),
            clock=now,
        )
    except ValueError as error:
        raise SettingsError(f"the settings of WeChat Pay do not fit together: {error}") from error
    notifications = Notifications(keys=keys, apiv3_keys=apiv3_keys, clock=now)
    return WechatPay(client, keys, MerchantPayScores(settings.api_family, client), notifications)


def make_transport_to_wechat() -> httpx.AsyncBaseTransport:
    """Make the transport that every role has, with its bounds."""
    return make_transport(max_connections=MAX_CONNECTIONS_TO_WECHAT, idle_seconds=IDLE_SECONDS_TO_WECHAT)


def _public_keys(settings: MerchantSettings) -> dict[str, RSAPublicKey]:
    if settings.wechatpay_public_key_id is None and settings.wechatpay_public_key is None:
        return {}
    if settings.wechatpay_public_key_id is None or settings.wechatpay_public_key is None:
        raise SettingsError("PAYSCORE_WECHATPAY_PUBLIC_KEY and PAYSCORE_WECHATPAY_PUBLIC_KEY_ID: set both, or neither")
    key = _load("PAYSCORE_WECHATPAY_PUBLIC_KEY", load_public_key, settings.wechatpay_public_key)
    return {settings.wechatpay_public_key_id: key}


def _load(name: str, load: Callable[[str], _T], pem: str) -> _T:
    try:
        return load(pem)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error


def make_settlement(
    *, storage: Storage, payscores: PayScores, orders: OrderSettings, on_announced: Callable[[], None] = lambda: None
) -> Settlement:
    """Make the settlement under the terms of the settings."""
    rules = Rules(
        family=payscores.current.family,
        ticketed=TICKETED,
        capped=CAPPED,
        risk_amount_fen=orders.risk_amount_fen,
        poll_delays=durations(orders.poll_delays),
        stale_after=duration(orders.stale_after),
        overdue_after=duration(orders.overdue_after),
    )
    terms = Terms(
        introduction=orders.service_introduction,
        start_at_event=orders.start_time == "event",
        service_state_ttl=duration(orders.service_state_ttl),
        out_order_no_prefix=orders.out_order_no_prefix,
    )
    return Settlement(
        storage=storage, payscores=payscores, rules=rules, terms=terms, clock=now, on_announced=on_announced
    )


def database_url(environment: Environment) -> Told:
    """Tell the database's URL as its file says it now, or as it said last: a password may be changed while we run."""
    last = environment.read(DatabaseSettings).database_url

    def told() -> str:
        nonlocal last
        try:
            last = environment.read(DatabaseSettings).database_url
        except SettingsError as error:
            log.warning("database_url_not_read", reason=str(error))
        return last

    return told


@asynccontextmanager
async def database(environment: Environment) -> AsyncIterator[Storage]:
    """Open the database; an embedded one is brought to the current schema first.

    Raises:
        SchemaOutdated: this release cannot run on its schema; says what to do.

    """
    url = database_url(environment)
    storage = await open_storage(url)
    try:
        schema = await storage.schema()
        if schema.is_behind and url().startswith("sqlite"):
            await run_migrate(environment)
        else:
            see_that_it_fits(schema)
        yield storage
    finally:
        await _close(storage)


async def run_worker(environment: Environment, *, with_console: bool = False) -> None:
    """Consume, relay and reconcile until SIGTERM or SIGINT; `with_console` is for the demo, which is one process less.

    Raises:
        SettingsError: a setting is missing or malformed.
        ExceptionGroup: a part has failed that cannot go on; a supervisor should start us again.

    """
    broker, ops = environment.read(BrokerSettings), environment.read(OpsSettings)
    orders = environment.read(OrderSettings)
    topology, wechatpay = make_topology(broker), make_wechatpay(environment.read(MerchantSettings))
    async with database(environment) as storage, aclosing(wechatpay.client):
        clock = DatabaseClock(storage, own=now)
        await clock.look()
        await wechatpay.warm_up()
        publisher = Publisher(broker.amqp_url, name="payscore-worker publish", topology=topology)
        relay = Relay(outbox=storage, publisher=publisher, exchange=topology.name(EVENTS), clock=clock)
        breaker = Breaker(clock_trouble=lambda: clock.trouble or wechatpay.client.skew.trouble)
        guarded = GuardedPayScores(wechatpay.payscores, breaker)
        settlement = make_settlement(storage=storage, payscores=guarded, orders=orders, on_announced=relay.wake)
        reconciler = Reconciler(storage=storage, settlement=settlement, clock=clock, is_out=lambda: breaker.is_open)
        consumers = Consumers(
            url=broker.amqp_url,
            name="payscore-worker consume",
            topology=topology,
            subscriptions=subscriptions(settlement),
            publisher=publisher,
            prefetch=broker.prefetch,
            breaker=breaker,
        )
        checks = {
            "database": _answers(storage.ping),
            "publishing": _holds(lambda: publisher.is_ready),
            "consuming": _holds(lambda: consumers.hearing.is_consuming),
            "keys": _holds(lambda: wechatpay.keys.ready),
            "merchant": _holds(lambda: breaker.reason is not FailureClass.MISCONFIGURED),
            "clock": _holds(lambda: not clock.is_off and not wechatpay.client.skew.is_off),
        }
        metrics.show_build("worker")
        watching.show_calls(wechatpay.client, wechatpay.keys)
        watching.show_breaker(breaker)
        watching.show_consumers(consumers, topology)
        watching.show_trips()
        routes = health_routes(checks, metrics.registry(metrics.WORKER))
        application = Starlette(routes=routes)
        server = make_server(application, host=ops.ops_host, port=ops.ops_port)
        told = stop_on_signals(within_seconds=WORKER_STOP_SECONDS)
        async with asyncio.TaskGroup() as group:
            serving = _part(group, server.serve())
            publishing = _part(group, publisher.run())
            relaying = _part(group, relay.run())
            reconciling = _part(group, reconciler.run())
            keeping = _part(group, storage.until_lost())
            timing = _part(group, clock.run())
            probing = _part(group, breaker.run(guarded.probe))
            ring = DepthRing()
            watch = _part(
                group,
                watching.watch(
                    amqp_url=broker.amqp_url,
                    topology=topology,
                    database_url=database_url(environment),
                    clock=clock,
                    on_depths=lambda found: ring.note(now(), found),
                ),
            )
            plan = _console_plan(
                environment,
                storage=storage,
                settlement=settlement,
                payscores=guarded,
                breaker=breaker,
                is_linked=lambda: publisher.is_ready,
                beside_worker=True,
                ring=ring,
            )
            console = _part(group, open_beside_worker(application, plan)) if with_console else None
            consuming = _part(group, consumers.run())
            log.info("worker_started", ops_port=ops.ops_port, family=wechatpay.payscores.current.family)
            await told.wait()
            log.info("worker_stopping")
            reconciler.stop()
            await asyncio.gather(
                consumers.stop(grace_seconds=DRAIN_SECONDS), asyncio.wait([reconciling], timeout=DRAIN_SECONDS)
            )
            server.stop()
            looking = (reconciling, probing, watch, keeping, timing, *([] if console is None else [console]))
            for part in looking:
                part.cancel()
            await asyncio.gather(_flush(relay, relaying), serving)
            await _end(*looking, relaying, publishing, consuming)
            await _close(storage)
        log.info("worker_stopped")


def _console_plan(
    environment: Environment,
    *,
    storage: Storage,
    settlement: Settlement,
    payscores: PayScores,
    breaker: Breaker,
    is_linked: Callable[[], bool],
    beside_worker: bool,
    ring: DepthRing,
) -> Plan:
    broker, ops = environment.read(BrokerSettings), environment.read(OpsSettings)
    return Plan(
        host=ops.ops_host,
        token=ops.ops_token,
        amqp_url=broker.amqp_url,
        database_url=database_url(environment),
        topology=make_topology(broker),
        queues={one.queue: one.events for one in CONSUMERS},
        out_order_no_prefix=environment.read(OrderSettings).out_order_no_prefix,
        storage=storage,
        settlement=settlement,
        payscores=payscores,
        breaker=breaker,
        is_linked=is_linked,
        beside_worker=beside_worker,
        ring=ring,
        policies=PolicyLook(make_management(broker), make_topology(broker)),
        clock=now,
    )


async def run_console(environment: Environment) -> None:
    """Show the console until SIGTERM or SIGINT: in a process of its own, so that looking cannot hurt settling.

    Raises:
        SettingsError: a setting is missing or malformed.
        ExceptionGroup: a part has failed that cannot go on; a supervisor should start us again.

    """
    broker, ops = environment.read(BrokerSettings), environment.read(OpsSettings)
    if is_shut(host=ops.ops_host, token=ops.ops_token):
        what = description(OpsSettings, "PAYSCORE_OPS_TOKEN")
        raise SettingsError(f"PAYSCORE_OPS_TOKEN: missing, and others can reach PAYSCORE_OPS_HOST; it should be {what}")
    topology, wechatpay = make_topology(broker), make_wechatpay(environment.read(MerchantSettings))
    async with database(environment) as storage, aclosing(wechatpay.client):
        breaker, ring = Breaker(clock_trouble=lambda: wechatpay.client.skew.trouble), DepthRing()
        guarded = GuardedPayScores(wechatpay.payscores, breaker)
        look = QueueLook(broker.amqp_url, topology, on_look=lambda found: ring.note(now(), found))
        plan = _console_plan(
            environment,
            storage=storage,
            settlement=make_settlement(storage=storage, payscores=guarded, orders=environment.read(OrderSettings)),
            payscores=guarded,
            breaker=breaker,
            is_linked=lambda: look.is_linked,
            beside_worker=False,
            ring=ring,
        )
        checks = {"database": _answers(storage.ping), "queues": _holds(lambda: look.is_linked)}
        metrics.show_build("console")
        watching.show_calls(wechatpay.client, wechatpay.keys)
        application = Starlette(routes=health_routes(checks, metrics.registry(metrics.CONSOLE)))
        server = make_server(application, host=ops.ops_host, port=ops.ops_port, max_connections=CONSOLE_CONNECTIONS)
        told = stop_on_signals(within_seconds=CONSOLE_STOP_SECONDS)
        async with asyncio.TaskGroup() as group:
            serving = _part(group, server.serve())
            others = [
                _part(group, work)
                for work in (look.run(), breaker.run(guarded.probe), measure_lag(), open_console(application, plan))
            ]
            log.info("console_started", ops_port=ops.ops_port, family=wechatpay.payscores.current.family)
            await told.wait()
            log.info("console_stopping")
            server.stop()
            await serving
            await _end(*others, seconds=PARTS_SECONDS + REPLAY_END_SECONDS)
            await _close(storage)
        log.info("console_stopped")


async def run_webhook(environment: Environment) -> None:
    """Receive WeChat Pay's callbacks until SIGTERM or SIGINT.

    Raises:
        SettingsError: a setting is missing or malformed.
        ExceptionGroup: a part has failed that cannot go on; a supervisor should start us again.

    """
    broker, address = environment.read(BrokerSettings), environment.read(WebhookSettings)
    topology, wechatpay = make_topology(broker), make_wechatpay(environment.read(MerchantSettings))
    async with aclosing(wechatpay.client):
        await wechatpay.warm_up()
        publisher = Publisher(
            broker.amqp_url,
            name="payscore-worker webhook",
            topology=topology,
            timeout_seconds=PUBLISH_SECONDS,
        )
        webhook = Webhook(notifications=wechatpay.notifications, publisher=publisher, topology=topology)
        checks = {
            "publishing": _holds(lambda: publisher.is_ready),
            "keys": _holds(lambda: wechatpay.keys.ready),
        }
        metrics.show_build("webhook")
        watching.show_calls(wechatpay.client, wechatpay.keys)
        watching.show_notifications()
        server = make_server(
            Starlette(routes=[*webhook.routes(), *health_routes(checks, metrics.registry(metrics.WEBHOOK))]),
            host=address.webhook_host,
            port=address.webhook_port,
            max_connections=WEBHOOK_CONNECTIONS,
        )
        told = stop_on_signals(within_seconds=WEBHOOK_STOP_SECONDS)
        async with asyncio.TaskGroup() as group:
            serving = _part(group, server.serve())
            publishing = _part(group, publisher.run())
            lag = _part(group, measure_lag())
            log.info("webhook_started", port=address.webhook_port)
            await told.wait()
            server.stop()
            await serving
            await _end(publishing, lag)
        log.info("webhook_stopped")


async def run_migrate(environment: Environment) -> Schema:
    """Bring the database to the current schema; one that a newer release has migrated is left as it is."""
    from payscore_worker.migrations import migrate  # noqa: PLC0415 - alembic doubles the time that a worker takes to start

    return await migrate(environment.read(DatabaseSettings).database_url)


def _part(group: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a part of a role: when it fails, the others end with it, or else the process does."""
    task = group.create_task(work)
    task.add_done_callback(_end_soon_if_failed)
    return task


def _end_soon_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("part_failed", reason=str(error), error=type(error).__name__)
        if stopping.told() is None:  # else there is a limit already
            faulthandler.dump_traceback_later(LAST_RESORT_SECONDS, exit=True)


async def _end(*parts: asyncio.Task[None], seconds: float = PARTS_SECONDS) -> None:
    """Have parts end, and wait until they have; who waits for the database longer is told when that is closed."""
    for part in parts:
        part.cancel()
    await asyncio.wait(parts, timeout=seconds)


async def _close(storage: Storage) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await storage.aclose()


async def _flush(relay: Relay, relaying: asyncio.Task[None]) -> None:
    """Publish what the last messages announced; whatever cannot be published is given back for the next worker."""
    relay.stop()
    await asyncio.wait([relaying], timeout=FLUSH_SECONDS)
    relaying.cancel()
    await asyncio.wait([relaying], timeout=2 * SETTLE_SECONDS)


def _holds(check: Callable[[], bool]) -> Check:
    async def holds() -> bool:
        return check()

    return holds


def _answers(ask: Callable[[], Awaitable[None]]) -> Check:
    async def answers() -> bool:
        await ask()
        return True

    return answers
