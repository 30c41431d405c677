"""What roles and commands are built from as far as it takes neither database nor WeChat Pay: quick to load."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any, Final

from payscore_worker import stopping, tracing
from payscore_worker.messaging.management import Management
from payscore_worker.messaging.topology import Topology
from payscore_worker.settings import BrokerSettings, Environment, TraceSettings, durations
from payscore_worker.tracing import TracingNotInstalled

STOP_SECONDS: Final = 8.0
"""What has nothing in hand is gone so long after SIGTERM; Docker kills after ten."""


def now() -> datetime:
    """The clock of everything that runs."""
    return datetime.now(UTC)


def make_topology(broker: BrokerSettings) -> Topology:
    """Make the table of exchanges and queues."""
    return Topology(retry_delays=durations(broker.retry_delays), prefix=broker.amqp_prefix)


def make_management(broker: BrokerSettings) -> Management | None:
    """Make what asks RabbitMQ's management API, where the settings say where it is."""
    return None if broker.management_url is None else Management(broker.management_url, broker.amqp_url)


def traces(environment: Environment, service: str) -> AbstractContextManager[None]:
    """Keep traces while the block runs, where the settings want them.

    Raises:
        TracingNotInstalled: they do, and OpenTelemetry is not installed.

    """
    if environment.read(TraceSettings).traces is None:
        return nullcontext()
    try:
        from payscore_worker.telemetry import OpenTelemetry  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise TracingNotInstalled(
            "PAYSCORE_TRACES is set, but OpenTelemetry is not installed: pip install 'payscore-worker[otel]'"
        ) from error
    return tracing.traced(OpenTelemetry(service))


async def until_stopped(work: Coroutine[Any, Any, None], *, within_seconds: float | None = STOP_SECONDS) -> None:
    """Do work that has no end of its own, until SIGTERM or SIGINT; what it raises is raised.

    It has `within_seconds` to clear up; None: as long as it takes.
    """
    told = stop_on_signals(within_seconds=within_seconds)
    working, stopped = asyncio.create_task(work), asyncio.create_task(told.wait())
    await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopped):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await working


def stop_on_signals(*, within_seconds: float | None = STOP_SECONDS) -> asyncio.Event:
    """Make an event that the first signal sets; the process ends `within_seconds` of it, or at once at the second."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        if not loop.is_closed():  # else the role has ended already
            loop.call_soon_threadsafe(told.set)

    stopping.on_first(tell, within_seconds=within_seconds)
    return told
