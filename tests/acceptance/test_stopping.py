"""A process that is told to stop does so: while it starts, while all it speaks to is frozen, and when told again."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import aio_pika
import httpx
import pytest

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.bootstrap.worker import WORKER_STOP_SECONDS
from payscore_worker.messaging.topology import RIDE_EVENTS
from payscore_worker.settings import BrokerSettings
from payscore_worker.stopping import AGAIN_SECONDS
from tests.acceptance.commands import Done, finish, plain_environment, start_anew
from tests.acceptance.test_commands import STARTED, free_port, until
from tests.integration.databases import make_tables, postgresql_schema
from tests.integration.messaging.waiting import eventually
from tests.proxy import Proxy

GRACE_SECONDS: Final = 45.0
"""What Kubernetes, systemd and Compose leave a worker (deploy/)."""

UP_SECONDS: Final = 180.0
"""For a demo, whose four processes start one after the other; each may take a minute."""

IN_NAMESPACE: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

# --- While it starts ---


def heeds(pid: int) -> bool:
    """Tell whether a process has a handler for SIGTERM by now, as the kernel knows it."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


@pytest.mark.parametrize("role", ["worker", "webhook", "console", "simulator", "load"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_role_that_is_stopped_while_it_loads_has_nothing_left_undone(
    role: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = await start_anew(role, directory=tmp_path)
    await eventually(lambda: heeds(process.pid))

    process.send_signal(number)

    assert await finish(process) == Done(0, "", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_command_that_is_stopped_while_it_loads_has_not_done_what_it_should(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    process = await start_anew("migrate", directory=tmp_path)
    await eventually(lambda: heeds(process.pid))

    process.send_signal(number)

    assert await finish(process) == Done(code, "", "")
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - an empty directory


@pytest.mark.parametrize(("role", "code"), [("worker", 0), ("migrate", 143)])
async def test_the_first_process_of_a_container_is_stopped_while_it_loads(role: str, code: int, tmp_path: Path) -> None:
    """PID 1 has no default action: what it does not handle is discarded."""
    await skip_without_namespaces()
    process = await asyncio.create_subprocess_exec(
        *(*IN_NAMESPACE, sys.executable, "-m", "payscore_worker", role),
        cwd=tmp_path,
        env=plain_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await eventually(lambda: any(heeds(pid) for pid in children_of(process.pid)))

    [first] = children_of(process.pid)
    os.kill(first, signal.SIGTERM)

    assert await finish(process) == Done(code, "", "")


async def skip_without_namespaces() -> None:
    if shutil.which(IN_NAMESPACE[0]) is None:
        pytest.skip("unshare is not on the PATH; it is in Debian's package util-linux")
    trial = await asyncio.create_subprocess_exec(
        *IN_NAMESPACE, "true", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await trial.communicate()
    if trial.returncode:
        pytest.skip(f"no process may be the first of a namespace here: {said.decode().strip()}")


# --- At work ---


@dataclass(frozen=True, slots=True)
class Site:
    """A worker between things that can freeze, and what is needed to ask about it."""

    process: asyncio.subprocess.Process
    proxies: list[Proxy]
    log: Path
    topology_name: str

    def freeze(self) -> None:
        for proxy in self.proxies:
            proxy.freeze()

    def says(self, event: str) -> bool:
        return f'"{event}"' in self.log.read_text(encoding="utf-8")

    async def ends_with(self, code: int) -> None:
        """Wait for its end; one that ends otherwise is shown with its last words."""
        ended = await self.process.wait()
        assert ended == code, self.log.read_text(encoding="utf-8")[-5000:]


@asynccontextmanager
async def a_site(role: str, amqp_url: str, directory: Path) -> AsyncIterator[Site]:
    """Run a role whose database, broker and WeChat Pay are behind proxies, and which is ready."""
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(postgresql_schema())
        await make_tables(database_url)
        simulator = free_port()
        proxies = [
            await stack.enter_async_context(Proxy(url).running())
            for url in (database_url, amqp_url, f"http://127.0.0.1:{simulator}")
        ]
        database, broker, wechatpay = proxies
        printed = await finish(
            await start_anew("simulator", "--port", str(simulator), "--print-env", directory=directory)
        )
        (directory / ".env").write_text(printed.out)
        await stack.enter_async_context(running(["simulator", "--port", str(simulator)], directory, {}, simulator))
        prefix, port = f"test-{uuid4().hex[:8]}.", free_port()
        settings = {
            "PAYSCORE_DATABASE_URL": database.url,
            "PAYSCORE_AMQP_URL": broker.url,
            "PAYSCORE_API_BASE_URLS": wechatpay.url,
            "PAYSCORE_AMQP_PREFIX": prefix,
            "PAYSCORE_OPS_PORT": str(port),
            "PAYSCORE_WEBHOOK_PORT": str(port),
            "PAYSCORE_LOG_FORMAT": "json",
        }
        stack.push_async_callback(forget, BrokerSettings(amqp_url=amqp_url, amqp_prefix=prefix))
        process = await stack.enter_async_context(running([role], directory, settings, port))
        yield Site(process, proxies, directory / f"{role}.log", prefix)


@asynccontextmanager
async def running(
    words: list[str], directory: Path, settings: dict[str, str], port: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a role that writes into a file, from when it is ready; what is left of it in the end is killed."""
    with (directory / f"{words[0]}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "payscore_worker", *words),
            cwd=directory,
            env=plain_environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient() as http:

            async def is_ready() -> bool:
                try:
                    return (await http.get(f"http://127.0.0.1:{port}/readyz")).is_success
                except httpx.HTTPError:
                    return False

            await until(is_ready)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def forget(broker: BrokerSettings) -> None:
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker).delete(channel)


async def publish_a_start(amqp_url: str, prefix: str, trip_id: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        exchange = await channel.get_exchange(f"{prefix}{RIDE_EVENTS}", ensure=False)
        body = str({**STARTED, "trip_id": trip_id}).replace("'", '"').encode()
        await exchange.publish(aio_pika.Message(body, message_id=uuid4().hex), "trip.started", mandatory=True)


async def ready_messages(amqp_url: str, prefix: str) -> int:
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue(f"{prefix}payscore.trip-started", passive=True)
        return queue.declaration_result.message_count or 0


@pytest.mark.parametrize("role", ["worker", "webhook", "console"])
async def test_a_role_ends_within_its_grace_though_all_it_speaks_to_is_frozen(
    role: str, amqp_url: str, tmp_path: Path
) -> None:
    async with a_site(role, amqp_url, tmp_path) as site:
        site.freeze()
        if role == "worker":
            await eventually(lambda: site.says("relay_paused") or site.says("reconciler_paused"))
        site.process.send_signal(signal.SIGTERM)

        async with asyncio.timeout(GRACE_SECONDS):
            await site.ends_with(0)


async def test_a_worker_that_is_told_twice_ends_at_once_and_what_was_in_hand_comes_again(
    amqp_url: str, tmp_path: Path
) -> None:
    async with a_site("worker", amqp_url, tmp_path) as site:
        site.proxies[2].freeze()  # WeChat Pay: the trip stays in hand
        await publish_a_start(amqp_url, site.topology_name, "t1")

        async def is_in_hand() -> bool:
            return await ready_messages(amqp_url, site.topology_name) == 0

        await until(is_in_hand)
        site.process.send_signal(signal.SIGTERM)
        await eventually(lambda: site.says("worker_stopping"))
        await asyncio.sleep(2 * AGAIN_SECONDS)  # what comes sooner is taken for the same word
        site.process.send_signal(signal.SIGTERM)

        await site.ends_with(128 + signal.SIGTERM)

        async def is_back() -> bool:
            return await ready_messages(amqp_url, site.topology_name) == 1

        await until(is_back)


async def test_a_worker_that_is_told_twice_in_one_moment_finishes_what_it_has_in_hand(
    amqp_url: str, tmp_path: Path
) -> None:
    async with a_site("worker", amqp_url, tmp_path) as site:
        site.process.send_signal(signal.SIGTERM)
        site.process.send_signal(signal.SIGINT)

        await site.ends_with(0)
        assert site.says("worker_stopped")


async def test_a_migration_on_its_way_is_stopped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    async with postgresql_schema() as url, Proxy(url).running() as proxy:
        proxy.freeze()
        settings = {"PAYSCORE_DATABASE_URL": proxy.url}
        process = await start_anew("migrate", directory=tmp_path, settings=settings)
        await eventually(lambda: bool(proxy._connections))
        process.send_signal(signal.SIGTERM)

        done = await finish(process)

        assert (done.code, done.out) == (143, "")
        assert done.err == "stopped by SIGTERM before it was done\n"
        proxy.cut()
        proxy.thaw()
        again = await finish(await start_anew("migrate", directory=tmp_path, settings=settings))
        assert again.code == 0, again.err


# --- A demo ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_no_process_of_a_demo_outlives_it(number: signal.Signals, amqp_url: str, tmp_path: Path) -> None:
    process = await start_anew("demo", "--trips", "5000", "--keep", "kept", directory=tmp_path)
    log = tmp_path / "kept" / "payafter" / "worker.log"
    await eventually(lambda: log.exists() and "worker_started" in log.read_text("utf-8"), within_seconds=UP_SECONDS)
    roles = children_of(process.pid)
    assert len(roles) == 3
    prefix = setting_of(roles[0], "PAYSCORE_AMQP_PREFIX")

    process.send_signal(number)
    done = await finish(process)

    assert done.code == (-signal.SIGKILL if number is signal.SIGKILL else 128 + number)
    await eventually(lambda: not any(Path(f"/proc/{role}").exists() for role in roles))
    if number is signal.SIGKILL:
        await forget(BrokerSettings(amqp_url=amqp_url, amqp_prefix=prefix))
    else:
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await ready_messages(amqp_url, prefix)


def setting_of(pid: int, name: str) -> str:
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return next(one.partition("=")[2] for one in variables if one.startswith(f"{name}="))


def test_the_grace_that_is_staged_is_longer_than_a_worker_takes() -> None:
    assert WORKER_STOP_SECONDS < GRACE_SECONDS
