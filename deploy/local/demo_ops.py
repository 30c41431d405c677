"""`make demo-ops`: the whole house, live, to watch and to disturb; ends with Ctrl-C and leaves nothing behind."""

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import httpx
from rich.console import Console

from deploy.local.errors import SetupFailed
from deploy.local.prometheus import PrivatePrometheus, configuration, find_program, start_prometheus
from deploy.local.services import apt_install, prometheus_service, say
from payscore_worker import logs, stopping
from payscore_worker.bootstrap.wiring import until_stopped
from payscore_worker.demo.briefing import brief
from payscore_worker.demo.load import Load
from payscore_worker.demo.plan import PlannedTrip
from payscore_worker.demo.scene import Scene, a_scene
from payscore_worker.demo.stage import Stage
from payscore_worker.errors import SettlementError
from payscore_worker.messaging.link import BROKEN
from payscore_worker.messaging.topology import RIDE_EVENTS
from payscore_worker.settings import BrokerSettings, Environment
from payscore_worker.wechatpay.client import TRIES

RETRY_DELAYS = "1s,2s,4s"
"""A ladder that is soon at its end: nobody waits hours for a dead letter."""

UNANSWERED = "59"
"""Of each hundred trips one, an ordinary one, is left without an answer until its message is a dead letter."""

STRIKES = 2 * (len(RETRY_DELAYS.split(",")) + 1) * TRIES
"""Calls until then: of its start and of its end, for each delivery, so many tries."""

GRAPHS = (
    "sum by (queue) (payscore_queue_ready_messages)",
    "payscore_breaker_open",
    "payscore_queue_paused",
    "sum by (queue) (payscore_queue_dead_messages)",
    "sum by (by) (rate(payscore_trips_paid_total[1m]))",
    'sum by (call) (rate(payscore_wechatpay_call_duration_seconds_count{outcome!="accepted"}[1m]))',
)

WELCOME = """\
[bold]Trips are under way, {trips_a_second:g} a second.[/] Ctrl-C ends it all and clears up.

  console      {console}
  graphs       {graphs}
  alerts       {alerts}

[bold]Take WeChat Pay away[/]: trips wait in their queues, and the breaker opens

  curl -X POST {simulator}/admin/faults -d '{{"fault": "unavailable", "times": null}}'

[bold]Bring it back[/]: within a minute everything is settled

  curl -X DELETE {simulator}/admin/faults

[bold]Dead letters[/]: of each hundred trips WeChat Pay leaves one without an answer until its messages
are dead letters. After a minute they are under "Dead letters"; put them back with two clicks: the trip goes on to paid.
"""


def main() -> int:
    stopping.heed()
    arguments = _parser().parse_args()
    logs.set_up(as_json=False, level=logging.ERROR)
    try:
        asyncio.run(until_stopped(play(arguments.trips_a_second), within_seconds=None))  # its stage has its limits
    except (SettlementError, SetupFailed, *BROKEN) as error:
        say(f"error: {error}")
        return 1
    return 0


async def play(trips_a_second: float) -> None:
    """Play until cancelled."""
    amqp_url = Environment().read(BrokerSettings).amqp_url
    async with (
        a_scene(family="payafter", amqp_url=amqp_url, retry_delays=RETRY_DELAYS) as scene,
        _prometheus(scene) as (graphs, alerts),
    ):
        stage = scene.stage
        Console().print(
            WELCOME.format(
                trips_a_second=trips_a_second,
                console=f"http://{stage.worker.address}/console/",
                simulator=stage.simulator_url,
                graphs=graphs,
                alerts=alerts,
            ),
            soft_wrap=True,
            highlight=False,
        )
        load = Load(
            amqp_url=amqp_url,
            exchange=scene.topology.name(RIDE_EVENTS),
            trips_a_second=trips_a_second,
            before_block=lambda trips: _tell_simulator(stage, trips),
        )
        await load.run()


async def _tell_simulator(stage: Stage, trips: Sequence[PlannedTrip]) -> None:
    await brief(stage.simulator_url, trips)
    async with httpx.AsyncClient(base_url=stage.simulator_url) as http:
        for trip in trips:
            if trip.trip_id.endswith(UNANSWERED):
                fault = {"fault": "unavailable", "call": "create", "openid": trip.openid, "times": STRIKES}
                (await http.post("/admin/faults", json=fault)).raise_for_status()


@asynccontextmanager
async def _prometheus(scene: Scene) -> AsyncIterator[tuple[str, str]]:
    """Start one that watches the scene; gives the addresses of graphs and alerts, or why there are none."""
    try:
        server = await asyncio.to_thread(_start, scene)
    except SetupFailed as error:
        why = f"none: {str(error).partition(chr(10))[0]}"
        yield why, why
        return
    try:
        server.show_page("graphs", f"/graph?{_graphs()}")
        yield f"{server.url}/consoles/graphs.html", f"{server.url}/alerts"
    finally:
        await asyncio.to_thread(server.remove)


def _start(scene: Scene) -> PrivatePrometheus:
    directory = scene.directory / "prometheus"
    if find_program() is None:
        apt_install(prometheus_service(directory))
    stage = scene.stage
    configured = configuration(worker=stage.worker.address, webhook=stage.webhook.address, rabbitmq=None, interval="2s")
    return start_prometheus(directory, configured)


def _graphs() -> str:
    """Write the query of the page that shows them all."""
    panels = enumerate(GRAPHS)
    return urlencode(
        {
            f"g{number}.{name}": value
            for number, expr in panels
            for name, value in (("expr", expr), ("tab", "0"), ("range_input", "15m"))
        }
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make demo-ops", description=__doc__)
    parser.add_argument("--trips-a-second", type=float, default=2.0, help="how many begin (default: 2)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
