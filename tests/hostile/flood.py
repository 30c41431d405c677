"""`python -m tests.hostile.flood`: a demo plays while a stranger posts a thousand forgeries a second to its webhook."""

import argparse
import asyncio
import os
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.rabbitmq import DEFAULT_URL
from payscore_worker.demo.plan import generated_trips
from payscore_worker.demo.run import Progress, Show
from payscore_worker.demo.run import run as run_demo
from payscore_worker.demo.stage import Stage
from payscore_worker.simulator import SimulatorConfig, SimulatorKeys
from payscore_worker.simulator.platform import Platform, SigningKey, signature_headers
from tests.hostile import forgeries
from tests.hostile.test_socket import SOCKET_MAKERS, a_request

STRANGER_SECONDS: Final = 25.0
"""The trips of a demo take about as long."""

CONNECTIONS: Final = 50
BURSTS_A_SECOND: Final = 20
VARIETY: Final = 2_000
"""Requests are made beforehand, or making them would be what is measured."""


class Stranger:
    """Posts what is not WeChat Pay's, at a steady rate, and counts what comes back."""

    def __init__(self, address: str, requests: Sequence[bytes]) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)
        self._requests = requests
        self.answers: Counter[int] = Counter()
        self.seconds = 0.0

    async def flood(self, rate: int, seconds: float) -> None:
        """Post so many a second for so long; more than CONNECTIONS at once wait for each other."""
        loop, places = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTIONS)
        began, chance = loop.time(), Random(1)  # noqa: S311 - no secret
        async with asyncio.TaskGroup() as group:
            for burst in range(int(seconds * BURSTS_A_SECOND)):
                await asyncio.sleep(began + burst / BURSTS_A_SECOND - loop.time())
                for _ in range(rate // BURSTS_A_SECOND):
                    await places.acquire()
                    task = group.create_task(self._post(chance.choice(self._requests)))
                    task.add_done_callback(lambda _task: places.release())
        self.seconds = loop.time() - began

    async def _post(self, request: bytes) -> None:
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(self._host, self._port)
            writer.write(request)
            line = await reader.readline()
            writer.transport.abort()
            self.answers[int(line.split()[1]) if line else 0] += 1


def forged(keys: SimulatorKeys) -> list[bytes]:
    """Half of them bear WeChat Pay's own serial, this minute and a signature by another key: the dearest to refuse."""
    platform = Platform(SimulatorConfig(keys=keys, notify_url="http://127.0.0.1/"))
    chance = Random(1)  # noqa: S311 - no secret
    thief = platform.forgery_of(platform.key_for_callback())
    makers = [make for make in SOCKET_MAKERS if make is not forgeries.MAKERS["oversized"][0]]
    return [_signed_by(thief) if number % 2 else a_request(chance.choice(makers)(chance)) for number in range(VARIETY)]


def _signed_by(thief: SigningKey) -> bytes:
    body = msgspec.json.encode({"id": secrets.token_hex(16), "event_type": "PAYSCORE.USER_PAID", "resource": {}})
    head = [f"{name}: {value}" for name, value in signature_headers(thief, body, at=datetime.now(UTC)).items()]
    lines = ["POST /notify/payscore HTTP/1.1", "Host: webhook", "Connection: close", *head]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def flood(trips: int, rate: int) -> int:
    """Play, flood, judge."""
    strangers: list[Stranger] = []
    told: dict[str, float] = {}

    async def disturb(stage: Stage) -> None:
        keys = SimulatorKeys.load_or_create(Path(stage.webhook.log.parent) / "keys")
        stranger = Stranger(stage.webhook.address, await asyncio.to_thread(forged, keys))
        strangers.append(stranger)
        await stranger.flood(rate, STRANGER_SECONDS)

    async def ask(stage: Stage) -> None:
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"http://{stage.webhook.address}/metrics")).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "payscore_notifications_total":
                    told[sample.labels["verdict"]] = told.get(sample.labels["verdict"], 0) + sample.value

    show = Show(
        family="payafter",
        trips=generated_trips(trips, seed=1),
        amqp_url=os.environ.get("PAYSCORE_AMQP_URL", DEFAULT_URL),
        disturbance=disturb,
        afterwards=ask,
    )
    result = await run_demo(show, Progress(trips=trips))
    (stranger,) = strangers
    sent, refused = stranger.answers.total(), stranger.answers[400] + stranger.answers[401]
    sys.stdout.write(
        f"bad calls: {sent:,} in {stranger.seconds:.0f} s, {sent / stranger.seconds:,.0f} a second; "
        f"answers: {dict(stranger.answers)}\n"
        f"the webhook's own count: { ({verdict: int(count) for verdict, count in told.items() if count}) }\n"
        f"trips: {result.verdict.by_state}, owed {result.verdict.owed_fen} fen, paid {result.verdict.paid_fen} fen; "
        f"{'; '.join(result.verdict.problems) or 'every fen accounted for'}\n"
    )
    return 0 if result.verdict.ok and sent == refused else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.flood", description=__doc__)
    parser.add_argument("--trips", type=int, default=200, help="how many are played meanwhile (default: 200)")
    parser.add_argument("--rate", type=int, default=1_000, help="bad calls a second (default: 1000)")
    arguments = parser.parse_args()
    return asyncio.run(flood(arguments.trips, arguments.rate))


if __name__ == "__main__":
    sys.exit(main())
