"""What a role tells of itself: gauges that are read when they are asked for, and counters that begin at zero.

A counter that first appears as 1 has, for Prometheus, not grown; so those that matter are there from the start.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import Final

import structlog

from payscore_worker import metrics
from payscore_worker.errors import FailureClass
from payscore_worker.messaging.consumer import Consumers
from payscore_worker.messaging.inspect import Depth
from payscore_worker.messaging.topology import QUEUES, Topology, duration_text
from payscore_worker.ops.lag import measure_lag
from payscore_worker.ops.queues import QueueLook
from payscore_worker.storage.url import Told
from payscore_worker.tally import OWN_CODES
from payscore_worker.trip import TripState
from payscore_worker.wechatpay import Breaker, CallKind, VerificationKeys, WechatPayClient

log = structlog.stdlib.get_logger(__name__)

FORGERIES: Final = ("BadSignature", "StaleTimestamp", "UnknownSerial")


def show_calls(client: WechatPayClient, keys: VerificationKeys) -> None:
    """Show the pace, and until when what WeChat Pay says can be verified."""

    def expiry() -> float:
        return min((expires.timestamp() for expires in keys.certificate_expiry.values()), default=metrics.UNKNOWN)

    metrics.read(metrics.PACE_GAP, lambda: client.gap_seconds)
    metrics.read(metrics.CLOCK_AHEAD_OF_WECHATPAY, lambda: client.skew.ahead_seconds)
    metrics.read(metrics.CERTIFICATE_EXPIRY, expiry)
    for kind in CallKind:
        metrics.of(metrics.SENDS, kind.value)


def show_breaker(breaker: Breaker) -> None:
    """Show whether calls are held back, and why."""
    for reason in FailureClass:
        metrics.read(metrics.BREAKER_OPEN, partial(_is_out_by, breaker, reason), reason.value)
        metrics.of(metrics.BREAKER_OPENED, reason.value)


def show_consumers(consumers: Consumers, topology: Topology) -> None:
    """Show whether we consume, what is in hand, and what is left alone."""
    metrics.read(metrics.IN_HAND, lambda: consumers.in_hand)
    metrics.read(metrics.CONSUMING, lambda: float(consumers.hearing.is_consuming))
    metrics.read(metrics.LINKS, lambda: len(consumers.hearing.ears))
    metrics.read(metrics.SILENT, lambda: consumers.hearing.silent_seconds)
    for queue in QUEUES:
        name = topology.name(queue)
        metrics.read(metrics.PAUSED, partial(_is_paused, consumers, queue), name)
        metrics.of(metrics.HANDLING, name, "done")
        for delay in topology.retry_delays:
            metrics.of(metrics.RETRIES, name, duration_text(delay))


def _is_out_by(breaker: Breaker, reason: FailureClass) -> float:
    return float(breaker.reason is reason)


def _is_paused(consumers: Consumers, queue: str) -> float:
    return float(queue in consumers.paused)


def show_trips() -> None:
    """Begin to count what becomes of trips."""
    for state in TripState:
        metrics.of(metrics.STATES_REACHED, state.value)
    for way in ("callback", "query"):
        metrics.of(metrics.PAID_BY, way)
    for code in OWN_CODES:
        metrics.of(metrics.PROBLEMS, code)
    metrics.of(metrics.UNREADABLE, "trip")
    metrics.of(metrics.NOT_OURS, "service")


def show_notifications() -> None:
    """Begin to count notifications, the forged ones before all."""
    for verdict in FORGERIES:
        metrics.of(metrics.NOTIFICATIONS, "none", verdict)


async def watch(
    *,
    amqp_url: str,
    topology: Topology,
    database_url: str | Told,
    clock: Callable[[], datetime],
    on_depths: Callable[[list[Depth]], None] = lambda _: None,
) -> None:
    """Look at queues and database now and then, until cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(measure_lag())
            group.create_task(QueueLook(amqp_url, topology, on_look=on_depths).run())
            group.create_task(_look_at_database(database_url, clock))
    except Exception:  # to go on settling is more than to be watched; the ages of the looks tell
        log.exception("watching_ended")


async def _look_at_database(database_url: str | Told, clock: Callable[[], datetime]) -> None:
    """Look at the database, by way of SQLAlchemy, which takes its time to import: in a thread, once all runs."""
    engine_for = (await asyncio.to_thread(import_module, "payscore_worker.storage.engine")).engine_for
    database = await asyncio.to_thread(import_module, "payscore_worker.ops.database")
    async with engine_for(database_url) as engine, asyncio.TaskGroup() as group:
        for looking in database.DatabaseLook(engine, clock).lookings():
            group.create_task(looking.run())
