"""Runs a demo: sets the stage, plays the trips, waits for rest, judges, clears up."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from payscore_worker.bootstrap.wiring import now
from payscore_worker.demo.briefing import ADMIN_SECONDS, brief
from payscore_worker.demo.judge import Evidence, Verdict, judge
from payscore_worker.demo.plan import PlannedTrip
from payscore_worker.demo.play import Audience, RideService
from payscore_worker.demo.scene import Scene, a_scene
from payscore_worker.demo.stage import Role, Stage
from payscore_worker.messaging.inspect import depths
from payscore_worker.messaging.link import connect
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import Topology
from payscore_worker.oversight.audit import audit_books
from payscore_worker.settings import BrokerSettings
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports

REST_SECONDS: Final = 60.0
"""How long the last messages may take to be handled once every trip is over."""

WARMED_UP: Final = 500
"""Memory is compared with what it was when this many trips were over."""

SAMPLE_SECONDS: Final = 0.2

OTHER_FAMILY: Final = {"payafter": "serviceorder", "serviceorder": "payafter"}
"""In which the accounts beside the default one open their orders."""

Act = Callable[[Stage], Coroutine[Any, Any, None]]
"""Something that is done to the stage."""


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
    disturbance: Act | None = None
    """What else happens while the trips are played."""
    afterwards: Act | None = None
    """What happens once all has come to rest, while every role still runs."""


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
    async with (
        a_scene(
            family=show.family,
            amqp_url=show.amqp_url,
            database_url=show.database_url,
            keep=show.keep,
            retry_delays=show.retry_delays,
            accounts={account: OTHER_FAMILY[show.family] for account in sorted(_accounts(show.trips)) if account},
        ) as scene,
        engine_for(scene.database_url) as engine,
    ):
        return await _play(show, scene, Reports(engine), progress)


async def _play(show: Show, scene: Scene, reports: Reports, progress: Progress) -> Result:
    trips, stage, broker, topology = show.trips, scene.stage, scene.broker, scene.topology
    publisher = Publisher(broker.amqp_url, name="payscore-worker demo", topology=topology)
    audience = Audience(broker.amqp_url, topology, trips)
    service = RideService(publisher, topology, audience)
    async with _in_background(publisher.run(), audience.run()):
        await audience.ready()
        for account in _accounts(trips):
            await brief(stage.merchant_url(account), [trip for trip in trips if trip.account == account])
        watching = _Watching(stage.worker, audience, progress)
        began = time.monotonic()
        disturbances = [] if show.disturbance is None else [show.disturbance(stage)]
        async with _in_background(watching.run()):
            progress.stage = "playing"
            async with _in_background(*disturbances):
                await service.play(trips, on_begin=watching.begun)
            seconds = time.monotonic() - began
            progress.stage = "coming to rest"
            left_over = await _rest(broker, topology, reports)
        if show.afterwards is not None:
            await show.afterwards(stage)
        progress.stage = "judging"
        ledgers = {account: await _ledger(stage.merchant_url(account)) for account in _accounts(trips)}
        evidence = Evidence(
            heard=audience.heard,
            rows={row["trip_id"]: row for row in await reports.all_trips()},
            ledger=ledgers.pop("", {}),
            others=ledgers,
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
            left |= dict.fromkeys([depth.queue for depth in found if depth.is_uncounted], 1)  # and may hold more
            left |= {f"{depth.queue}.dead": depth.dead for depth in found if depth.dead}
            if pending := await reports.pending_announcements():
                left["the outbox"] = pending
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(SAMPLE_SECONDS)


def _accounts(trips: Sequence[PlannedTrip]) -> set[str]:
    return {"", *(trip.account for trip in trips)}


async def _ledger(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=ADMIN_SECONDS) as http:
        response = await http.get(f"{url}/admin/ledger")
        response.raise_for_status()
        orders: dict[str, Any] = response.json()["orders"]
        return orders


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run work beside the block, and end it with the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()
