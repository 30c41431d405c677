"""systemd takes the units as they are, and they leave time to finish."""

import re
import shutil
from pathlib import Path

import pytest

from payscore_worker.bootstrap.console import CONSOLE_STOP_SECONDS
from payscore_worker.bootstrap.webhook import WEBHOOK_STOP_SECONDS
from payscore_worker.bootstrap.worker import WORKER_STOP_SECONDS
from payscore_worker.cli import COMMANDS
from tests.deployment.tools import run

INSTALLED = "/opt/payscore/bin/payscore-worker"
MOST_EXPOSED = 2.0  # systemd's own mark, from 0 (hardly) to 10


@pytest.fixture(scope="module")
def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not on the PATH; it is in Debian's package systemd")
    return found


@pytest.fixture
def units(deploy: Path, tmp_path: Path) -> Path:
    """Copies in which the program is one that this machine has."""
    for unit in (deploy / "systemd").iterdir():
        (tmp_path / unit.name).write_text(unit.read_text(encoding="utf-8").replace(INSTALLED, "/bin/true"))
    return tmp_path


@pytest.mark.parametrize(
    "unit",
    [
        *("payscore-worker@1.service", "payscore-webhook.service", "payscore-console.service"),
        *("payscore-archive.service", "payscore-archive.timer"),
    ],
)
def test_systemd_finds_nothing_wrong(systemd_analyze: str, units: Path, unit: str) -> None:
    found = run(systemd_analyze, "verify", "--man=no", f"./{unit}", cwd=units)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", ["payscore-worker@.service", "payscore-webhook.service", "payscore-console.service"])
def test_the_roles_are_hardly_exposed(systemd_analyze: str, units: Path, unit: str) -> None:
    found = run(systemd_analyze, "security", "--offline=true", "--no-pager", f"./{unit}", cwd=units)
    mark = re.search(r"Overall exposure level for .*: ([0-9.]+)", found.stdout)

    assert mark is not None, found.stderr
    assert float(mark[1]) <= MOST_EXPOSED


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [
        ("payscore-worker@.service", WORKER_STOP_SECONDS),
        ("payscore-webhook.service", WEBHOOK_STOP_SECONDS),
        ("payscore-console.service", CONSOLE_STOP_SECONDS),
    ],
)
def test_nobody_is_killed_before_the_last_step_of_a_stop_has_had_its_time(
    deploy: Path, unit: str, seconds: float
) -> None:
    text = (deploy / "systemd" / unit).read_text(encoding="utf-8")
    stop = re.search(r"^TimeoutStopSec=([0-9]+)s$", text, re.MULTILINE)

    assert stop is not None
    assert float(stop[1]) > seconds


@pytest.mark.parametrize("unit", ["payscore-worker@.service", "payscore-webhook.service", "payscore-console.service"])
def test_no_outage_makes_systemd_give_a_role_up(deploy: Path, unit: str) -> None:
    """A role whose database is away ends, once in RestartSec at most; systemd counts no starts."""
    text = (deploy / "systemd" / unit).read_text(encoding="utf-8")

    assert "\nStartLimitIntervalSec=0\n" in text
    assert "StartLimitBurst" not in text
    assert "\nRestart=always\n" in text
    assert "\nRestartSec=5s\n" in text


def test_every_unit_runs_a_command_that_exists(deploy: Path) -> None:
    for unit in (deploy / "systemd").glob("*.service"):
        words = re.search(rf"^ExecStart={INSTALLED} (\w+)", unit.read_text(encoding="utf-8"), re.MULTILINE)
        assert words is not None, unit.name
        assert words[1] in COMMANDS
