import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.errors import SetupFailed
from deploy.local.processes import PORTS, Process, free_ports, run, wait_until

ROOT = Path(__file__).resolve().parents[3]
SLEEPS = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
IGNORES_SIGTERM = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]
STARTS_A_CHILD_AND_ENDS = ["/bin/sh", "-c", "sleep 60 & echo up"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def spawn(words: list[str], log: Path) -> Process:
    process = Process.spawn(words, env=dict(os.environ), log=log)
    assert wait_until(lambda: "up" in log.read_text(), seconds=10)
    return process


def test_free_ports_are_different_and_below_those_of_outgoing_connections() -> None:
    ports = free_ports(50)

    assert len(set(ports)) == 50
    assert set(ports) <= set(PORTS)


def test_a_process_is_found_again_by_its_file(log: Path, tmp_path: Path) -> None:
    process = spawn(SLEEPS, log)
    process.save(tmp_path / "pid")

    found = Process.load(tmp_path / "pid")

    assert found == process
    assert process.is_alive()
    process.terminate(seconds=10)
    assert not process.is_alive()


def test_no_file_is_no_process(tmp_path: Path) -> None:
    assert Process.load(tmp_path / "pid") is None


@pytest.mark.parametrize("words", [IGNORES_SIGTERM, STARTS_A_CHILD_AND_ENDS])
def test_who_does_not_end_is_ended(words: list[str], log: Path) -> None:
    process = spawn(words, log)
    assert process.is_alive()

    process.terminate(seconds=0.1)

    assert not process.is_alive()


def test_a_stranger_with_the_same_id_is_left_alone(log: Path) -> None:
    process = spawn(SLEEPS, log)
    earlier = replace(process, started="1")

    assert not earlier.is_alive()
    earlier.terminate(seconds=0.1)

    assert process.is_alive()
    process.kill()


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(SetupFailed, match=r"failed:\n    the disk is full"):
        run(["/bin/sh", "-c", "echo the disk is full >&2; exit 1"], seconds=60, env={})


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(SetupFailed, match="did not end within 0 s"):
        run(["/bin/sleep", "60"], seconds=0.1, env={})


def test_a_daemon_left_behind_does_not_hold_us() -> None:
    """The daemon outlives the command's time; the command itself has all of it."""
    assert run(["/bin/sh", "-c", "sleep 90 & echo done"], seconds=60, env={"PATH": os.defpath}) == "done\n"


def test_a_port_that_was_given_is_given_to_nobody_else_while_this_process_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (port,) = free_ports(1)
    asks = (
        "from deploy.local import processes\n"
        f"processes.PORTS = range({port}, {port + 1})\n"
        "print(processes.free_ports(1))"
    )
    monkeypatch.setattr("deploy.local.processes.PORTS", range(port, port + 1))

    other = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", asks], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert "SetupFailed" in other.stderr
    with pytest.raises(SetupFailed):
        free_ports(1)
