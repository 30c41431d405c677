"""Every panel shows something of a real run: our roles and RabbitMQ, scraped by a real Prometheus while they suffer."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from aio_pika import Message
from aio_pika.abc import AbstractChannel

from deploy.grafana.__main__ import DASHBOARDS
from deploy.local.prometheus import PrivatePrometheus, start_prometheus
from deploy.local.rabbitmq import PrivateRabbitMQ
from payscore_worker.demo.plan import PlannedTrip, generated_trips
from payscore_worker.demo.run import Progress, Show, run
from payscore_worker.demo.stage import Stage
from payscore_worker.domain.trip import TripState
from payscore_worker.messaging.link import connect
from tests.integration.messaging.waiting import eventually
from tests.unit.test_docs import ROOT

SECONDS: Final = 14.0
"""The trips that are over by then are played."""

OUTAGE_SECONDS: Final = 6.0
DEADLINE_SECONDS: Final = 30.0
RATE_INTERVAL: Final = "10s"
"""What Grafana would make of $__rate_interval for a scrape every second or two."""

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("prometheus_installed")]


def configuration(stage: Stage, broker: PrivateRabbitMQ) -> str:
    """The configuration that is deployed, with the addresses of this run."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    places = {
        "payscore-worker": stage.worker.address,
        "payscore-webhook": stage.webhook.address,
        "rabbitmq": f"127.0.0.1:{broker.metrics_port}",
        "rabbitmq-queues": f"127.0.0.1:{broker.metrics_port}",
    }
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(ROOT / "deploy/prometheus/rules.yml")]
    jobs = document["scrape_configs"] = [
        job
        for job in document["scrape_configs"]
        if job["job_name"] != "payscore-console"  # the demo's is in its worker
    ]
    for job in jobs:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [places.pop(job["job_name"])]}]
    assert places == {}
    return json.dumps(document)


def short_trips() -> list[PlannedTrip]:
    """Some of everything, soon over; of the first to be paid, the callback gets lost."""

    def ends(trip: PlannedTrip) -> float:
        return trip.begins_after_seconds + trip.messages[-1].after_seconds

    short = sorted((trip for trip in generated_trips(60, seed=1) if ends(trip) < SECONDS), key=ends)
    first = next(trip.trip_id for trip in short if trip.must_end is TripState.PAID)
    return [replace(trip, callback_lost=trip.trip_id == first) for trip in short]


def paid_trips() -> list[str]:
    return [trip.trip_id for trip in short_trips() if trip.must_end is TripState.PAID and trip.owed_fen]


class Scene:
    """A demo that is watched, and what is done to it."""

    def __init__(self, broker: PrivateRabbitMQ, directory: Path) -> None:
        self._broker = broker
        self._directory = directory
        self.began = 0.0
        self.ended = 0.0
        self.prometheus: PrivatePrometheus | None = None

    async def play(self) -> list[str]:
        """Play it to its end; returns what its judge finds wrong."""
        trips = short_trips()
        show = Show(
            family="payafter",
            trips=trips,
            amqp_url=self._broker.url,
            keep=self._directory / "demo",
            disturbance=self._disturb,
            afterwards=self._is_scraped,
        )
        result = await run(show, Progress(trips=len(trips)))
        not_in_the_plan = tuple(
            f"{trip_id}: " for trip_id in paid_trips()[:2]
        )  # money goes back on them, behind its back
        return [problem for problem in result.verdict.problems if not problem.startswith(not_in_the_plan)]

    async def _disturb(self, stage: Stage) -> None:
        """Watch; then a message nobody can read, a forged callback, and an outage of WeChat Pay."""
        self.began = time.time()
        watch = (self._directory / "prometheus", configuration(stage, self._broker))
        self.prometheus = await asyncio.to_thread(start_prometheus, *watch)
        async with httpx.AsyncClient(timeout=DEADLINE_SECONDS) as http:
            forged = await http.post(f"http://{stage.webhook.address}/notify/payscore", content=b"{}")
            assert forged.status_code == 401
            await self._leave_a_dead_letter(stage.worker._environment["PAYSCORE_AMQP_PREFIX"])
            faults = f"{stage.simulator_url}/admin/faults"
            (await http.post(faults, json={"fault": "unavailable", "times": None})).raise_for_status()
            await asyncio.sleep(OUTAGE_SECONDS)  # the outage itself, not a wait for something
            async with asking(self) as seen:
                await eventually(lambda: self._shows(seen, 'payscore_queue_paused{queue=~".*payscore.trip-started"}'))
                await eventually(lambda: self._shows(seen, 'payscore_breaker_open{reason="trouble"}'))
            (await http.delete(faults)).raise_for_status()

    async def _is_scraped(self, stage: Stage) -> None:
        """Let Prometheus see how it ended, the trip whose callback got lost is the last; then send money back."""
        async with asking(self) as http:
            await eventually(lambda: self._shows(http, 'payscore_trips_paid_total{by="query"}'))
            await self._refund_two(stage, http)
            await self._authorise(stage, http)

    async def _refund_two(self, stage: Stage, seen: httpx.AsyncClient) -> None:
        """Have money go back twice; of the first refund WeChat Pay tells another amount than ours."""
        fault = {"fault": "callback_amount_differs", "times": 1}
        async with httpx.AsyncClient(timeout=DEADLINE_SECONDS) as http:
            (await http.post(f"{stage.simulator_url}/admin/faults", json=fault)).raise_for_status()
        one, another, *_ = paid_trips()
        await self._request_refund(stage, one)
        await eventually(lambda: self._shows(seen, "payscore_refunds_stopped_total"))
        await self._request_refund(stage, another)
        await eventually(lambda: self._shows(seen, 'payscore_refunds_reached_total{state="REFUNDED"}'))

    async def _request_refund(self, stage: Stage, trip_id: str) -> None:
        asked = {"trip_id": trip_id, "refund_id": f"refund-{trip_id}", "amount_fen": 1, "reason": "绕路"}
        await self._tell(stage, "refund.requested", asked, message_id=trip_id)

    async def _tell(self, stage: Stage, type_: str, said: Mapping[str, object], *, message_id: str) -> None:
        prefix = stage.worker._environment["PAYSCORE_AMQP_PREFIX"]
        async with await connect(self._broker.url, "a ride service") as connection, connection.channel() as channel:
            exchange = await channel.get_exchange(f"{prefix}ride.events")
            message = Message(json.dumps(said).encode(), message_id=message_id, content_type="application/json")
            await exchange.publish(message, type_)

    async def _authorise(self, stage: Stage, seen: httpx.AsyncClient) -> None:
        """Have a passenger authorise who has the service already."""
        asked = {"request_id": "q1", "openid": "oWatched"}
        await self._tell(stage, "authorisation.requested", asked, message_id="q1")
        await eventually(lambda: self._shows(seen, 'payscore_authorisations_reached_total{state="OPEN"}'))

    async def _shows(self, http: httpx.AsyncClient, expr: str) -> bool:
        self.ended = time.time()
        return max(await values(http, self, expr), default=0) > 0

    async def _leave_a_dead_letter(self, prefix: str) -> None:
        """Publish what no consumer can read; once it lies where it should, a person throws it away."""
        dead = f"{prefix}payscore.trip-started.dead"
        async with await connect(self._broker.url, "a ride service") as connection, connection.channel() as channel:
            exchange = await channel.get_exchange(f"{prefix}ride.events")
            await exchange.publish(Message(b"no json", message_id="nonsense"), "trip.started")
            await eventually(lambda: _messages(channel, dead))
            await (await channel.get_queue(dead)).purge()


async def _messages(channel: AbstractChannel, queue: str) -> int | None:
    return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count


def queries() -> Iterator[tuple[str, str]]:
    """Each panel's title with each of its queries."""
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield f"{file.stem}: {panel['title']}", target["expr"].replace("$__rate_interval", RATE_INTERVAL)


async def values(http: httpx.AsyncClient, scene: Scene, expr: str) -> list[float]:
    """Every value that the expression had in the course of the run."""
    asked: dict[str, str | float] = {"query": expr, "start": scene.began, "end": scene.ended, "step": 1}
    response = await http.get("/api/v1/query_range", params=asked)
    assert response.is_success, f"{expr}: {response.text}"
    series = response.json()["data"]["result"]
    found = [float(value) for one in series for _, value in one["values"]]
    return [value for value in found if not math.isnan(value)]


@asynccontextmanager
async def asking(scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    assert scene.prometheus is not None
    async with httpx.AsyncClient(base_url=scene.prometheus.url, timeout=DEADLINE_SECONDS) as http:
        yield http


@contextmanager
def a_scene(broker: PrivateRabbitMQ, directory: Path) -> Iterator[Scene]:
    scene = Scene(broker, directory)
    try:
        yield scene
    finally:
        if scene.prometheus is not None:
            scene.prometheus.remove()


async def test_every_panel_of_every_dashboard_shows_a_run_with_faults(
    measured_rabbitmq: PrivateRabbitMQ, tmp_path: Path
) -> None:
    with a_scene(measured_rabbitmq, tmp_path) as scene:
        assert await scene.play() == []

        async with asking(scene) as http:
            empty = [(title, expr) for title, expr in queries() if not await values(http, scene, expr)]
            assert empty == []

            for expr in (
                'payscore_breaker_open{reason="trouble"}',
                'payscore_queue_paused{queue=~".*payscore.trip-started"}',
                'payscore_message_dead_letters_total{reason="MalformedMessage"}',
                'payscore_notifications_total{verdict="BadSignature"}',
                'payscore_trips_paid_total{by="query"}',
                "sum(payscore_message_retries_total)",
                "max(payscore_trips)",
                "payscore_refunded_fen_total",
                'payscore_refunds_stopped_total{code="refund_amount_differs"}',
                "sum(rabbitmq_detailed_queue_consumers)",
                "sum(rabbitmq_detailed_queue_messages_ready)",
            ):
                assert max(await values(http, scene, expr), default=0) > 0, expr
            assert max(await values(http, scene, 'payscore_queue_paused{queue=~".*service-changed"}')) == 0

            groups = (await http.get("/api/v1/rules")).json()["data"]["groups"]
            broken = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
            assert broken == []
