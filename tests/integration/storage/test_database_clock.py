"""Leases begin and end by the database's clock, whatever that of a worker shows; and a clock that is off is seen."""

import asyncio
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from deploy.local.processes import free_ports
from payscore_worker import metrics
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli import doctor
from payscore_worker.clocks import MAX_SKEW
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import StorageUnavailable
from payscore_worker.messaging.relay import LEASE
from payscore_worker.storage import Direction, EventRecord, Storage
from payscore_worker.storage.clock import DatabaseClock
from tests.acceptance.commands import plain_environment
from tests.builders import NOW, a_trip
from tests.hostile.variables import PLAIN
from tests.integration.messaging.desk import SHORT_LADDER, Desk
from tests.integration.messaging.waiting import eventually
from tests.unit.ops.samples import value

DAY = timedelta(days=1)

MILLISECOND: Final = timedelta(milliseconds=1)

TRIP_STARTED: Final = "payscore.trip-started"

A_MOMENT = timedelta(minutes=2)
"""A busy machine may take so long from one line to the next; what is told apart here is a lease from a day."""


def ahead() -> datetime:
    return now() + DAY


async def a_clock(storage: Storage, *, is_ahead: bool = False) -> DatabaseClock:
    clock = DatabaseClock(storage, own=ahead if is_ahead else now)
    await clock.look()
    return clock


async def announce(storage: Storage) -> None:
    event = EventRecord(event_id="e1", direction=Direction.OUT, type="settlement.opened", at=NOW, body=b"{}")
    assert await storage.save(a_trip(), due_at=now(), now=now(), events=[event])


async def test_what_a_worker_a_day_ahead_has_claimed_is_free_after_a_lease(storage: Storage) -> None:
    await announce(storage)
    wrong, right = await a_clock(storage, is_ahead=True), await a_clock(storage)

    assert await storage.claim_outbox(now=wrong(), lease=LEASE, limit=10)
    assert await storage.claim_due(Trip, now=wrong() + A_MOMENT, lease=LEASE, limit=10)

    assert await storage.claim_outbox(now=right() + LEASE + A_MOMENT, lease=LEASE, limit=10)
    assert await storage.claim_due(Trip, now=right() + LEASE + 2 * A_MOMENT, lease=LEASE, limit=10)


async def test_a_clock_that_is_off_is_said_once_and_again_when_it_is_right(storage: Storage) -> None:
    skew = DAY
    clock = DatabaseClock(storage, own=lambda: now() + skew)

    with capture_logs() as logs:
        for skew in (DAY, DAY, -DAY, timedelta(), timedelta()):
            await clock.look()
            assert clock.is_off is (skew != timedelta())
            assert abs((value(metrics.CLOCK_AHEAD) or 0) - skew.total_seconds()) < MAX_SKEW.total_seconds()

    assert [entry["event"] for entry in logs] == ["clock_off", "clock_right_again"]
    assert abs(logs[0]["ahead_of_database_seconds"] - DAY.total_seconds()) < MAX_SKEW.total_seconds()


async def test_while_the_database_is_away_its_clock_goes_on(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = await a_clock(storage)
    asked = asyncio.Event()

    async def away() -> datetime:
        asked.set()
        raise StorageUnavailable("away")

    monkeypatch.setattr(storage, "now", away)
    monkeypatch.setattr("payscore_worker.storage.clock.LOOK_SECONDS", 0.01)
    running = asyncio.create_task(clock.run())
    async with asyncio.timeout(30):
        await asked.wait()

    earlier = clock()
    assert clock() >= earlier
    assert abs(clock() - now()) < MAX_SKEW
    assert not running.done()
    running.cancel()


async def test_the_doctor_compares_our_clock_with_the_databases(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await doctor._database_clock(database_url)).ok

    monkeypatch.setattr(doctor, "now", ahead)
    check = await doctor._database_clock(database_url)
    assert (check.ok, check.detail.endswith("s ahead of the database's")) == (False, True)
    assert "NTP" in check.repair


A_DAY_AHEAD: Final = """
import asyncio, os, signal
from datetime import timedelta
from payscore_worker.bootstrap import wiring

right = wiring.now
wiring.now = lambda: right() + timedelta(days=1)

from payscore_worker.bootstrap.worker import run_worker
from payscore_worker.messaging.relay import Relay
from payscore_worker.settings import Environment
"""

RUNS: Final = f"{A_DAY_AHEAD}\nasyncio.run(run_worker(Environment()))\n"

DIES: Final = f"""{A_DAY_AHEAD}

async def die(self, batch):
    os.kill(os.getpid(), signal.SIGKILL)

Relay._publish_all = die
asyncio.run(run_worker(Environment()))
"""
"""A worker whose clock is a day ahead, and which dies with announcements in hand."""


def some_settings(*, database_url: str, amqp_url: str, prefix: str, api: str = "http://127.0.0.1:1") -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    theirs = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    left_out = {"PAYSCORE_TRACES", "PAYSCORE_ACCOUNTS_FILE", "PAYSCORE_NEED_USER_CONFIRM"}
    return {name: setting for name, setting in PLAIN.items() if name not in left_out} | {
        "PAYSCORE_MERCHANT_PRIVATE_KEY": key.private_bytes(*pem).decode(),
        "PAYSCORE_WECHATPAY_PUBLIC_KEY": theirs.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode(),
        "PAYSCORE_APIV3_KEY": "0123456789abcdef0123456789abcdef",
        "PAYSCORE_API_BASE_URLS": api,
        "PAYSCORE_AMQP_URL": amqp_url,
        "PAYSCORE_AMQP_PREFIX": prefix,
        "PAYSCORE_RETRY_DELAYS": ",".join(
            f"{delay // MILLISECOND}ms" for delay in SHORT_LADDER
        ),  # the desk's, which go
        "PAYSCORE_DATABASE_URL": database_url,
        "PAYSCORE_OPS_PORT": "0",
    }


async def test_a_worker_a_day_ahead_that_dies_holds_its_announcements_for_a_lease(
    storage: Storage, database_url: str, desk: Desk, amqp_url: str, tmp_path: Path
) -> None:
    await announce(storage)
    settings = some_settings(database_url=database_url, amqp_url=amqp_url, prefix=desk.topology.prefix)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DIES), cwd=tmp_path, env=plain_environment(settings)
    )
    async with asyncio.timeout(100):
        assert await worker.wait() < 0

    right = await a_clock(storage)
    assert await storage.claim_outbox(now=right() - LEASE, lease=LEASE, limit=10) == [], "it had it in hand"
    assert await storage.claim_outbox(now=right() + LEASE + A_MOMENT, lease=LEASE, limit=10)


STARTED: Final = {"trip_id": "t1", "openid": "o1", "started_at": NOW.isoformat(), "start_location": "静安寺"}


async def test_a_worker_a_day_ahead_calls_nobody_and_leaves_its_messages_in_the_queue(
    database_url: str, desk: Desk, amqp_url: str, tmp_path: Path
) -> None:
    called: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.readline())
        writer.close()

    (port,) = free_ports(1)
    async with await asyncio.start_server(note, "127.0.0.1", 0) as wechatpay, httpx.AsyncClient() as http:
        api = f"http://127.0.0.1:{wechatpay.sockets[0].getsockname()[1]}"
        settings = some_settings(database_url=database_url, amqp_url=amqp_url, prefix=desk.topology.prefix, api=api) | {
            "PAYSCORE_OPS_PORT": str(port)
        }
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RUNS), cwd=tmp_path, env=plain_environment(settings)
        )
        try:
            await desk.put(TRIP_STARTED, msgspec.json.encode(STARTED), message_id="m1")

            async def says() -> bool:
                with suppress(httpx.HTTPError):
                    told = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
                    return 'payscore_breaker_open{account="default",reason="clock"} 1.0' in told
                return False

            async def is_left_alone() -> bool:
                return not await desk.consumers(TRIP_STARTED)

            await eventually(says)
            await eventually(is_left_alone)
            assert (await http.get(f"http://127.0.0.1:{port}/readyz")).json()["clock"] is False
        finally:
            worker.kill()
            await worker.wait()

    assert called == []
