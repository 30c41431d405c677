"""An outage of WeChat Pay, many times longer than the whole retry ladder, costs time and nothing else."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from payscore_worker.demo.judge import Verdict
from payscore_worker.demo.plan import generated_trips
from payscore_worker.demo.run import Progress, Show, run
from payscore_worker.demo.stage import Stage
from tests.acceptance.commands import HTTP_SECONDS
from tests.integration.messaging.waiting import eventually

LADDER = "200ms,200ms,200ms"
OUTAGE = timedelta(seconds=12)
TRIPS = 40


def events_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


def has_paused(log: Path) -> bool:
    """Tell whether the outage has come to be noticed: on a busy machine there are few calls in its seconds."""
    return any(event["event"] == "consuming_paused" for event in events_of(log))


async def settle_through(fault: str, amqp_url: str, directory: Path) -> Verdict:
    """Play a demo in which every call meets the fault at first."""

    async def outage(stage: Stage) -> None:
        async with httpx.AsyncClient(base_url=stage.simulator_url, timeout=HTTP_SECONDS) as http:
            (await http.post("/admin/faults", json={"fault": fault, "times": None})).raise_for_status()
            await asyncio.sleep(OUTAGE.total_seconds())  # the outage itself, not a wait for something
            if fault == "unavailable":  # throttling slows down first, and need not open the breaker
                await eventually(lambda: has_paused(directory / "worker.log"), every_seconds=0.5)
            (await http.delete("/admin/faults")).raise_for_status()

    show = Show(
        family="payafter",
        trips=generated_trips(TRIPS, seed=1),
        amqp_url=amqp_url,
        keep=directory,
        retry_delays=LADDER,
        disturbance=outage,
    )
    return (await run(show, Progress(trips=TRIPS))).verdict


async def test_every_trip_settles_without_a_dead_letter_after_wechat_pay_was_out(amqp_url: str, tmp_path: Path) -> None:
    verdict = await settle_through("unavailable", amqp_url, tmp_path)

    assert verdict.problems == []
    told = [event["event"] for event in events_of(tmp_path / "worker.log")]
    assert told.index("breaker_opened") < told.index("consuming_paused") < told.index("breaker_closed")


async def test_every_trip_settles_without_a_dead_letter_after_wechat_pay_throttled_every_call(
    amqp_url: str, tmp_path: Path
) -> None:
    verdict = await settle_through("throttle", amqp_url, tmp_path)

    assert verdict.problems == []
