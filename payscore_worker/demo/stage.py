"""The processes of a demo: simulator, webhook and worker, each real, each started again when it dies."""

import asyncio
import os
import signal
import socket
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from dotenv import dotenv_values

from payscore_worker.bootstrap.worker import WORKER_STOP_SECONDS
from payscore_worker.errors import SettlementError
from payscore_worker.stopping import WITH_PARENT

READY_SECONDS: Final = 60.0
"""A role is up within two seconds; this is for a machine that is busy installing."""

STOP_SECONDS: Final = WORKER_STOP_SECONDS + 4.0
"""By then a worker has ended by itself, whatever is frozen."""

SAMPLE_SECONDS: Final = 0.5
MAX_FAILED_STARTS: Final = 5
"""A role that dies this often before it was ever ready will not be."""

MAX_RESTARTS: Final = 1000
"""A role that dies more often than this has a defect that no supervisor mends."""


class StageFailed(SettlementError):
    """A role of the demo did not come up; the text says where its log is."""


@dataclass(slots=True)
class Usage:
    """What a role has used so far, all its lives together."""

    cpu_seconds: float = 0.0
    rss_mb: float = 0.0
    rss_by_settled: list[tuple[int, float]] = field(default_factory=list)


class Role:
    """One process of ours, supervised."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, port: int, environment: Mapping[str, str], directory: Path
    ) -> None:
        self.name = name
        self.address = f"127.0.0.1:{port}"
        self.restarts = 0
        self.usage = Usage()
        self._arguments = arguments
        self._environment = environment
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._earlier_cpu_seconds = 0.0
        self._life_cpu_seconds = 0.0

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self._directory / f"{self.name}.log"

    async def run(self) -> None:
        """Keep the process alive until cancelled, then let it finish what it has in hand."""
        try:
            while self.restarts <= MAX_RESTARTS:
                await self._live()
                self.restarts += 1
                self._earlier_cpu_seconds += self._life_cpu_seconds
            raise StageFailed(f"{self.name} died {self.restarts} times; see {self.log}")
        finally:
            await self._end()

    async def ready(self) -> None:
        """Wait until it says that it is ready.

        Raises:
            StageFailed: it does not come up.

        """
        try:
            async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient() as http:
                while not await _is_ready(http, f"http://{self.address}/readyz"):
                    if self.restarts > MAX_FAILED_STARTS:
                        break
                    await asyncio.sleep(0.05)
                else:
                    return
        except TimeoutError:
            pass
        raise StageFailed(f"{self.name} did not come up; see {self.log}:\n{_tail(self.log)}")

    async def is_ready(self) -> bool:
        """Ask it."""
        async with httpx.AsyncClient() as http:
            return await _is_ready(http, f"http://{self.address}/readyz")

    def kill(self) -> None:
        """End it as a crash does; it is started again."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _live(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "payscore_worker",
                WITH_PARENT,  # however we end
                *self._arguments,
                cwd=self._directory,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
            )
        while self._process.returncode is None:
            self._measure(self._process.pid)
            try:
                async with asyncio.timeout(SAMPLE_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                continue

    def _measure(self, pid: int) -> None:
        """Read what the process has used, where the system tells (Linux)."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):
            return
        user, system = int(fields[11]), int(fields[12])
        self._life_cpu_seconds = (user + system) / os.sysconf("SC_CLK_TCK")
        self.usage.cpu_seconds = self._earlier_cpu_seconds + self._life_cpu_seconds
        self.usage.rss_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@dataclass(frozen=True, slots=True)
class Stage:
    """A demo's processes, all ready."""

    simulator: Role
    webhook: Role
    worker: Role
    mchids: Mapping[str, str] = field(default_factory=dict)
    """Of the accounts beside the default one, by name."""

    @property
    def simulator_url(self) -> str:
        """Where WeChat Pay is."""
        return f"http://{self.simulator.address}"

    def merchant_url(self, account: str) -> str:
        """Say below which URL the simulator's admin API is, for one account."""
        return f"{self.simulator_url}/merchants/{self.mchids[account]}" if account else self.simulator_url

    @property
    def restarts(self) -> int:
        """How often a role had to be started again."""
        return self.simulator.restarts + self.webhook.restarts + self.worker.restarts


@asynccontextmanager
async def set_stage(
    *, settings: Mapping[str, str], family: str, directory: Path, accounts: Mapping[str, str] | None = None
) -> AsyncIterator[Stage]:
    """Start the roles in a directory of their own, with the settings given and the simulator's.

    `accounts`: the families of further accounts, by name.

    Raises:
        StageFailed: one of them does not come up.

    """
    simulator_port, webhook_port, ops_port = _free_ports(3)
    notify_url = f"http://127.0.0.1:{webhook_port}/notify/payscore"
    simulator_arguments = [
        *("simulator", "--port", str(simulator_port), "--notify-url", notify_url, "--family", family),
        *("--keys", str(directory / "keys"), "--pay-after", "1"),
        *(word for name, own in (accounts or {}).items() for word in ("--account", f"{name}:{own}")),
    ]
    plain = _plain_environment()
    told = await _simulator_settings(simulator_arguments, plain, directory)
    environment = {
        **plain,
        **told,
        "PAYSCORE_WEBHOOK_PORT": str(webhook_port),
        "PAYSCORE_OPS_PORT": str(ops_port),
        "PAYSCORE_LOG_FORMAT": "json",
        **settings,
    }
    roles = {
        name: Role(
            name,
            arguments,
            port=port,
            environment=environment,
            directory=directory,
        )
        for name, arguments, port in (
            ("simulator", simulator_arguments, simulator_port),
            ("webhook", ["webhook"], webhook_port),
            ("worker", ["worker", "--with-console"], ops_port),
        )
    }
    running: list[asyncio.Task[None]] = []
    try:
        for role in roles.values():
            running.append(asyncio.create_task(role.run()))
            await role.ready()
        yield Stage(**roles, mchids=_mchids(told))
    finally:
        for task in reversed(running):
            task.cancel()
            await asyncio.wait([task])


async def _simulator_settings(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path
) -> dict[str, str]:
    """Ask the simulator what a worker must be told; its keys are made on the way."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payscore_worker", *arguments, "--print-env"),
        cwd=directory,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise StageFailed("the simulator could not make its keys")
    file = directory / "simulator.env"
    file.write_bytes(printed)
    return {name: value for name, value in dotenv_values(file).items() if value is not None}


def _mchids(told: Mapping[str, str]) -> dict[str, str]:
    """Read the merchant numbers from the file of accounts, if there is one."""
    file = told.get("PAYSCORE_ACCOUNTS_FILE")
    if file is None:
        return {}
    tables = tomllib.loads(Path(file).read_text(encoding="utf-8"))["accounts"]
    return {name: table["mchid"] for name, table in tables.items()}


def _plain_environment() -> dict[str, str]:
    """Pass on our environment but for the settings: a demo must not meet a real merchant's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PAYSCORE_")}


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx.HTTPError:
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _tail(log: Path, lines: int = 5) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
