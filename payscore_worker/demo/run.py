"""Runs a demo: sets the stage, plays the trips, waits for rest, judges, clears up."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec
from sqlalchemy import text

from payscore_worker.audit import audit_books
from payscore_worker.bootstrap import make_topology, now
from payscore_worker.demo.judge import Evidence, Verdict, judge
from payscore_worker.demo.plan import PlannedTrip
from payscore_worker.demo.play import Audience, RideService
from payscore_worker.demo.stage import Role, Stage, set_stage
from payscore_worker.messaging.inspect import depths
from payscore_worker.messaging.link import connect
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import Topology
from payscore_worker.migrations import migrate
from payscore_worker.settings import BrokerSettings
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports

ADMIN_SECONDS: Final = 30.0
"""For the ledger of thousands of orders, from a simulator that is busy."""

REST_SECONDS: Final = 60.0
"""How long the last messages may take to be handled once every trip is over."""

WARMED_UP: Final = 500
"""Memory is compared with what it was when this many trips were over."""

SAMPLE_SECONDS: Final = 0.2

Disturbance = Callable[[Stage], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What a demo is to play, and on what."""

    family: str
    trips: Sequence[PlannedTrip]
    amqp_url: str
    database_url: str | None = None
    """None: an SQLite file that goes with the demo; PostgreSQL: a schema that goes with it."""
    keep: Path | None = None
    """Where logs and database stay."""
    retry_delays: str | None = None
    """As PAYSCORE_RETRY_DELAYS writes them; None: as they are by default."""
    disturbance: Disturbance | None = None
    """What else happens while the trips are played."""


@dataclass(slots=True)
class Progress:
    """How far it has come, for whoever watches."""

    trips: int
    begun: int = 0
    over: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    stage: str = "starting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it."""

    verdict: Verdict
    trips: int
    seconds: float
    events_in: int
    events_out: int
    wechatpay_calls: int
    restarts: int
    worker_cpu_seconds: float
    worker_rss_mb: float
    worker_rss_mb_warmed_up: float | None

    def document(self) -> dict[str, Any]:
        """Give the members of contract 7, and some more."""
        cpu_ms = round(self.worker_cpu_seconds * 1000 / self.trips, 2) if self.trips else 0.0
        return {
            "trips": self.trips,
            **asdict(self.verdict),
            "seconds": round(self.seconds, 1),
            "trips_per_second": round(self.trips / self.seconds, 1),
            "events_in": self.events_in,
            "events_out": self.events_out,
            "wechatpay_calls": self.wechatpay_calls,
            "restarts": self.restarts,
            "worker": {
                "cpu_ms_per_trip": cpu_ms,
                "rss_mb": round(self.worker_rss_mb, 1),
                "rss_mb_warmed_up": self.worker_rss_mb_warmed_up and round(self.worker_rss_mb_warmed_up, 1),
            },
        }


async def run(show: Show, progress: Progress) -> Result:
    """Run one demo.

    Raises:
        StageFailed: a process did not come up.
        Retryable: RabbitMQ or the database cannot be reached.

    """
    broker = BrokerSettings(amqp_url=show.amqp_url, amqp_prefix=f"demo-{uuid4().hex[:8]}.")
    if show.retry_delays is not None:
        broker = msgspec.structs.replace(broker, retry_delays=show.retry_delays)
    topology = make_topology(broker)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(_directory(show.keep))
        database_url = await stack.enter_async_context(_database(show.database_url, directory))
        await stack.enter_async_context(_names_at(broker, topology))
        settings = {
            "PAYSCORE_AMQP_URL": broker.amqp_url,
            "PAYSCORE_AMQP_PREFIX": broker.amqp_prefix,
            "PAYSCORE_RETRY_DELAYS": broker.retry_delays,
            "PAYSCORE_DATABASE_URL": database_url,
        }
        stage = await stack.enter_async_context(set_stage(settings=settings, family=show.family, directory=directory))
        async with engine_for(database_url) as engine:
            return await _play(show, stage, broker, topology, Reports(engine), progress)


async def _play(
    show: Show,
    stage: Stage,
    broker: BrokerSettings,
    topology: Topology,
    reports: Reports,
    progress: Progress,
) -> Result:
    trips = show.trips
    publisher = Publisher(broker.amqp_url, name="payscore-worker demo", topology=topology)
    audience = Audience(broker.amqp_url, topology, trips)
    service = RideService(publisher, topology, audience)
    async with _in_background(publisher.run(), audience.run()):
        await audience.ready()
        await _brief_simulator(stage, trips)
        watching = _Watching(stage.worker, audience, progress)
        began = time.monotonic()
        disturbances = [] if show.disturbance is None else [show.disturbance(stage)]
        async with _in_background(watching.run(), *disturbances):
            progress.stage = "playing"
            await service.play(trips, on_begin=watching.begun)
            seconds = time.monotonic() - began
            progress.stage = "coming to rest"
            left_over = await _rest(broker, topology, reports)
        progress.stage = "judging"
        ledger = await _ask_simulator(stage, "/admin/ledger")
        evidence = Evidence(
            heard=audience.heard,
            rows={row["trip_id"]: row for row in await reports.all_trips()},
            ledger=ledger["orders"],
            left_over=left_over,
            audited=[finding for finding in await audit_books(reports, now()) if not finding.ok],
        )
        return Result(
            verdict=judge(trips, evidence),
            trips=len(trips),
            seconds=seconds,
            events_in=service.published,
            events_out=audience.announcements,
            wechatpay_calls=await reports.wechatpay_attempts(),
            restarts=stage.restarts,
            worker_cpu_seconds=stage.worker.usage.cpu_seconds,
            worker_rss_mb=stage.worker.usage.rss_mb,
            worker_rss_mb_warmed_up=watching.rss_mb_warmed_up,
        )


class _Watching:
    """Keeps the progress up to date, and remembers the worker's memory once it is warm."""

    def __init__(self, worker: Role, audience: Audience, progress: Progress) -> None:
        self._worker = worker
        self._audience = audience
        self._progress = progress
        self.rss_mb_warmed_up: float | None = None

    def begun(self, _trip: PlannedTrip) -> None:
        self._progress.begun += 1

    async def run(self) -> None:
        while True:
            self._progress.over = self._audience.over
            self._progress.by_type = dict(self._audience.by_type)
            if self.rss_mb_warmed_up is None and self._progress.over >= WARMED_UP:
                self.rss_mb_warmed_up = self._worker.usage.rss_mb
            await asyncio.sleep(SAMPLE_SECONDS)


async def _rest(broker: BrokerSettings, topology: Topology, reports: Reports) -> dict[str, int]:
    """Wait until queues and outbox are empty; returns what is not, if they do not become so in time."""
    deadline = time.monotonic() + REST_SECONDS
    async with await connect(broker.amqp_url, "payscore-worker demo judge") as connection:
        while True:
            found = await depths(connection, topology)
            left = {depth.queue: depth.ready for depth in found if depth.ready}
            left |= {f"{depth.queue}.dead": depth.dead for depth in found if depth.dead}
            if pending := await reports.pending_announcements():
                left["the outbox"] = pending
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(SAMPLE_SECONDS)


async def _brief_simulator(stage: Stage, trips: Sequence[PlannedTrip]) -> None:
    """Tell the simulator who does not simply pay, and which callback gets lost."""
    passengers = {trip.openid: trip.behaviour for trip in trips if trip.behaviour}
    async with httpx.AsyncClient(base_url=stage.simulator_url, timeout=ADMIN_SECONDS) as http:
        (await http.put("/admin/passengers", json=passengers)).raise_for_status()
        for trip in trips:
            if trip.callback_lost:
                fault = {"fault": "callback_lost", "openid": trip.openid}
                (await http.post("/admin/faults", json=fault)).raise_for_status()


async def _ask_simulator(stage: Stage, path: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=stage.simulator_url, timeout=ADMIN_SECONDS) as http:
        response = await http.get(path)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """Make the directory of logs, keys and database."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="payscore-demo-") as name:
        yield Path(name)


@asynccontextmanager
async def _database(url: str | None, directory: Path) -> AsyncIterator[str]:
    """Make a database for the demo alone: a file, or a schema in the PostgreSQL that the URL names."""
    if url is None or url.startswith("sqlite"):
        yield f"sqlite+aiosqlite:///{directory / 'demo.db'}"
        return
    schema = f"payscore_demo_{uuid4().hex[:8]}"
    async with engine_for(url) as engine:
        async with engine.begin() as connection:
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
        try:
            separator = "&" if "?" in url else "?"
            own = f"{url}{separator}search_path={schema}"
            await migrate(own)
            yield own
        finally:
            async with engine.begin() as connection:
                await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@asynccontextmanager
async def _names_at(broker: BrokerSettings, topology: Topology) -> AsyncIterator[None]:
    """Take our names at the broker, and give them back."""
    async with await connect(broker.amqp_url, "payscore-worker demo") as connection:
        await topology.declare_on(connection)
    try:
        yield
    finally:
        async with (
            await connect(broker.amqp_url, "payscore-worker demo") as connection,
            connection.channel() as channel,
        ):
            await topology.delete(channel)


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work beside the block, and end it with the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()
