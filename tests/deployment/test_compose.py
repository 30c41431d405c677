"""The Compose file is valid, fits the code, and keeps no secret."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from payscore_worker.bootstrap.console import CONSOLE_STOP_SECONDS
from payscore_worker.bootstrap.webhook import WEBHOOK_STOP_SECONDS
from payscore_worker.bootstrap.wiring import STOP_SECONDS
from payscore_worker.bootstrap.worker import WORKER_STOP_SECONDS
from payscore_worker.cli import COMMANDS
from payscore_worker.cli.output import END_SECONDS
from payscore_worker.settings import Environment, OpsSettings
from tests.deployment.tools import ROOT, run

ROLES: Final = ("worker", "webhook", "console", "simulator")
DOCKERS_GRACE: Final = "10s"
"""Where a service does not say."""

ONCE: Final = ("prepare", "migrate", "topology", "demo-settings")


@pytest.fixture(scope="module")
def compose(tool: Callable[[str], str]) -> dict[str, Any]:
    """What Docker Compose makes of the file, the demo included."""
    shown = run(tool("docker-compose"), "--profile", "demo", "config")
    assert shown.returncode == 0, shown.stderr
    document: dict[str, Any] = yaml.safe_load(shown.stdout)
    return document


def seconds(duration: str) -> float:
    parts = re.findall(r"([0-9.]+)(h|m|s)", duration)
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)


def test_it_is_valid_without_the_demo_too(tool: Callable[[str], str]) -> None:
    shown = run(tool("docker-compose"), "config", "--services")

    assert shown.returncode == 0, shown.stderr
    assert {"simulator", "load", "demo-settings"}.isdisjoint(shown.stdout.split())
    assert {"rabbitmq", "postgresql", "worker", "webhook", "console", "prometheus", "grafana"} <= set(
        shown.stdout.split()
    )


def test_every_role_runs_a_command_that_exists(compose: dict[str, Any]) -> None:
    for role in (*ROLES, "load", "migrate", "topology"):
        assert compose["services"][role]["command"][0] in COMMANDS


def test_every_role_has_as_few_rights_as_it_needs(compose: dict[str, Any]) -> None:
    for role in ROLES:
        service = compose["services"][role]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service  # the image's own, which is not root


STOPS: Final = {
    "worker": WORKER_STOP_SECONDS,
    "webhook": WEBHOOK_STOP_SECONDS,
    "console": CONSOLE_STOP_SECONDS,
    "simulator": STOP_SECONDS,
    "load": STOP_SECONDS,
    "migrate": END_SECONDS,
    "topology": END_SECONDS,
}


def test_nobody_is_killed_before_the_last_step_of_a_stop_has_had_its_time(compose: dict[str, Any]) -> None:
    for name, stop in STOPS.items():
        assert seconds(compose["services"][name].get("stop_grace_period", DOCKERS_GRACE)) > stop, name


def test_everything_has_limits_and_comes_back(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name


def test_the_roles_wait_for_schema_and_queues(compose: dict[str, Any]) -> None:
    for role in ("worker", "console"):
        waits = compose["services"][role]["depends_on"]

        assert {name: wait["condition"] for name, wait in waits.items()} == {
            "migrate": "service_completed_successfully",
            "topology": "service_completed_successfully",
            "demo-settings": "service_completed_successfully",
        }
        assert waits["demo-settings"]["required"] is False


def test_the_console_is_a_service_of_its_own_with_a_token_from_a_file(compose: dict[str, Any], tmp_path: Path) -> None:
    console, worker = compose["services"]["console"], compose["services"]["worker"]
    prepare = ROOT / "deploy" / "compose" / "prepare.py"
    made = run(sys.executable, prepare, tmp_path, tmp_path / "settings", ROOT / "deploy/rabbitmq/with_passwords.py")
    assert made.returncode == 0, made.stderr

    file = console["environment"]["PAYSCORE_OPS_TOKEN_FILE"]
    assert file == "/var/lib/payscore/settings/ops-token"
    variables = {"PAYSCORE_OPS_TOKEN_FILE": str(tmp_path / "settings" / "ops-token")}
    assert Environment(variables, env_file=tmp_path / "none").read(OpsSettings).ops_token is not None
    assert not any("OPS_TOKEN" in name for name in worker["environment"])
    assert "console" not in worker["command"]


def test_every_file_that_is_mounted_is_there(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    sources = {mount["source"] for mount in mounts if mount["type"] == "bind"} - {str(ROOT / "secrets")}

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source


def test_every_port_is_on_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_no_image_is_whatever_is_newest(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        if "build" not in service:
            assert re.search(r":v?[0-9]", service["image"]), service["image"]


def test_no_password_is_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")

    assert re.findall(r"(?i)://[^/@\s]+:[^/@\s]+@", text) == []
    assert re.findall(r"(?im)^\s*\w*password\w*: (?!/run/)", text) == []
