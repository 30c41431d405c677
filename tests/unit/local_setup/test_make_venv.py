"""What a newcomer reads when Python is too old or has no ensurepip; `make` itself shows the rest every time."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "local" / "make-venv"
NEW_ENOUGH = (
    'case "$*" in *3,?11*) exit 0;; *version_info*) echo python3.11-venv;; --version) echo Python 3.11.2;; esac'
)
TOO_OLD = "exit 1"
NO_ENSUREPIP = f"""case "$*" in *"import ensurepip"*) [ -e "$(dirname "$0")/installed" ]; exit;; esac
case "$*" in "-m venv "*) echo made >&2; exit 1;; esac
{NEW_ENOUGH}"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of commands that hide those of the real machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        command(folder, name, TOO_OLD)
    return folder


def command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o700)


def make_venv(machine: Path, *arguments: str) -> str:
    """What the script says before it gives up."""
    done = subprocess.run(  # noqa: S603  our own script
        [SCRIPT, machine.parent / ".venv", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": f"{machine}:{os.defpath}"},
        cwd=machine.parent,
        timeout=100,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def test_a_machine_without_a_new_python_is_told_so(machine: Path) -> None:
    assert make_venv(machine) == (
        "Python 3.11 or newer is needed; tried: python3 python3.13 python3.12 python3.11. "
        "Name one that is installed: make PYTHON=/path/to/python3.11\n"
    )


def test_only_the_python_that_is_named_is_tried(machine: Path) -> None:
    command(machine, "python3.12", NEW_ENOUGH)

    assert "tried: python3.11." in make_venv(machine, "python3.11")


def test_the_first_python_that_is_new_enough_is_taken(machine: Path) -> None:
    command(machine, "python3.12", f"echo python3.12 >&2; {NO_ENSUREPIP}")
    command(machine, "id", "echo 1000")

    assert "python3.12" in make_venv(machine)


def test_without_ensurepip_an_ordinary_user_is_told_what_to_type(machine: Path) -> None:
    command(machine, "python3", NO_ENSUREPIP)
    command(machine, "id", "echo 1000")

    assert "\n    sudo apt-get update && sudo apt-get install python3.11-venv\n" in make_venv(machine)


def test_without_ensurepip_root_gets_the_package(machine: Path) -> None:
    command(machine, "python3", NO_ENSUREPIP)
    command(machine, "id", "echo 0")
    command(machine, "apt-get", 'case "$*" in *install*python3.11-venv) : >"$(dirname "$0")/installed";; esac')

    said = make_venv(machine)

    assert "installing python3.11-venv with apt-get\n" in said
    assert said.endswith("made\npython3 -m venv " + str(machine.parent / ".venv") + " failed.\n")


def test_an_apt_that_fails_is_shown(machine: Path) -> None:
    command(machine, "python3", NO_ENSUREPIP)
    command(machine, "id", "echo 0")
    command(machine, "apt-get", "echo 'E: Unable to locate package'; exit 100")

    said = make_venv(machine)

    assert "E: Unable to locate package\napt-get could not install python3.11-venv" in said
