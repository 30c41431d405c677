"""The commands of the Dockerfile build an environment in which every role starts; without a container engine.

Paths of the image become paths of a temporary directory, and the two RUNs that need an empty machine are left out (the
account, and the directories it owns). It takes half a minute on an idle machine.
"""

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from deploy.local.processes import free_ports
from tests.deployment.tools import ROOT

pytestmark = pytest.mark.timeout(900)

BUILD_SECONDS: Final = 400.0
READY_SECONDS: Final = 180.0
STOP_SECONDS: Final = 40.0


@dataclass(frozen=True)
class Image:
    """What would be in the image."""

    root: Path
    settings: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.root}/opt/payscore/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", **self.settings}

    async def run(self, *words: str) -> tuple[int, str]:
        async with self.start(*words) as process:
            said, _ = await asyncio.wait_for(process.communicate(), READY_SECONDS)
        return process.returncode or 0, said.decode()

    @asynccontextmanager
    async def start(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=self.root / "var/lib/payscore",
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


@pytest.fixture(scope="module")
def dockerfile() -> str:
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    return re.sub(r"\\\n\s*", "", text)


@pytest.fixture(scope="module")
def image(dockerfile: str, amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    root = tmp_path_factory.mktemp("image")
    source = root / "src"
    for directory in (source, root / "opt", root / "tmp", root / "var/lib/payscore"):
        directory.mkdir(parents=True)
    build_stage = dockerfile[: dockerfile.rindex("\nFROM ")]
    for line in build_stage.splitlines():
        if line.startswith("COPY "):
            _copy(line.split()[1:-1], source)
        elif line.startswith("RUN "):
            _run(line.removeprefix("RUN "), root, source)
    shutil.copy(ROOT / "deploy" / "healthcheck.py", root / "opt/payscore/healthcheck.py")
    ops, webhook = free_ports(2)
    settings = {
        "PAYSCORE_AMQP_URL": amqp_url,
        "PAYSCORE_AMQP_PREFIX": f"image-{ops}.",
        "PAYSCORE_DATABASE_URL": f"sqlite+aiosqlite:///{root}/image.db",
        "PAYSCORE_OPS_PORT": str(ops),
        "PAYSCORE_WEBHOOK_PORT": str(webhook),
        "PAYSCORE_LOG_FORMAT": "json",
    }
    yield Image(root, settings)
    shutil.rmtree(root, ignore_errors=True)


def _copy(paths: list[str], source: Path) -> None:
    for path in paths:
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, source / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, source)


def _run(command: str, root: Path, source: Path) -> None:
    here = re.sub(r"(?<![\w/])/(opt|tmp)/", rf"{root}/\1/", command)
    here = re.sub(r"(?<![\w/-])python (?=-m (venv|pip))", f"{shlex.quote(sys.executable)} ", here)
    done = subprocess.run(  # noqa: S602  the Dockerfile's own words, for a shell
        here, shell=True, cwd=source, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, f"{here}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"


@pytest.fixture
async def merchant(image: Image) -> AsyncIterator[Path]:
    """Settings of a merchant of the simulator, where the roles look for them; the queues go afterwards."""
    file = image.root / "var/lib/payscore/.env"
    code, said = await image.run("payscore-worker", "simulator", "--print-env", "--keys", str(image.root / "keys"))
    assert code == 0, said
    file.write_text(said)
    yield file
    await image.run("python", "-c", DELETE)


DELETE: Final = """
import asyncio
from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.messaging.link import connect
from payscore_worker.settings import BrokerSettings, Environment

async def delete():
    broker = Environment().read(BrokerSettings)
    async with await connect(broker.amqp_url, "image") as connection:
        await make_topology(broker).delete(await connection.channel())

asyncio.run(delete())
"""


async def test_nothing_of_the_builder_is_left_in_it(image: Image) -> None:
    packages = {path.name.lower() for path in (image.root / "opt/payscore").glob("lib/python*/site-packages/*")}

    assert "payscore_worker" in packages
    assert {"pip", "pytest", "hatchling", "mypy", "ruff"}.isdisjoint(packages)


async def test_its_entry_point_says_what_it_can(image: Image, dockerfile: str) -> None:
    entry_point = re.search(r'^ENTRYPOINT \["(.+)"\]$', dockerfile, re.MULTILINE)
    command = re.search(r'^CMD \["(.+)"\]$', dockerfile, re.MULTILINE)
    assert entry_point is not None
    assert command is not None

    code, said = await image.run(entry_point[1], command[1])

    assert code == 0
    assert "worker" in said


async def test_every_role_does_its_work_and_stops_when_told(image: Image, merchant: Path) -> None:
    assert merchant.name == ".env"
    for once in (["migrate"], ["topology"], ["archive", "--before", "2020-01-01", "--to", str(image.root / "files")]):
        code, said = await image.run("payscore-worker", *once)
        assert code == 0, said
    [port] = free_ports(1)
    async with (
        image.start("payscore-worker", "simulator", "--port", str(port), "--keys", str(image.root / "keys")) as wechat,
        image.start(*_role("worker", port)) as worker,
        image.start(*_role("webhook", port)) as webhook,
    ):
        for role, setting in ((worker, "PAYSCORE_OPS_PORT"), (webhook, "PAYSCORE_WEBHOOK_PORT")):
            url = f"http://127.0.0.1:{image.settings[setting]}"
            await _ready(f"{url}/readyz", role)
            assert await _healthy(image, f"{url}/healthz")
        for role in (webhook, worker, wechat):
            role.terminate()
            printed, _ = await asyncio.wait_for(role.communicate(), STOP_SECONDS)
            assert role.returncode == 0, printed.decode()[-2000:]
        assert not await _healthy(image, f"http://127.0.0.1:{image.settings['PAYSCORE_OPS_PORT']}/healthz")


def _role(name: str, port: int) -> list[str]:
    return ["env", f"PAYSCORE_API_BASE_URLS=http://127.0.0.1:{port}", "payscore-worker", name]


async def _healthy(image: Image, url: str) -> bool:
    """Run the image's own health check."""
    code, _ = await image.run(
        "env", f"PAYSCORE_HEALTH_URL={url}", "python", f"{image.root}/opt/payscore/healthcheck.py"
    )
    return code == 0


async def _ready(url: str, role: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient() as client:
        while True:
            assert role.returncode is None
            try:
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
