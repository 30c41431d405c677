"""Signals as the kernel sends them, in processes of their own."""

import signal
import subprocess
import sys
from typing import Final

SECONDS: Final = 60.0

STUBBORN: Final = """
import time
from payscore_worker import stopping

stopping.heed(["worker"])
stopping.on_first(lambda: print("told", flush=True), within_seconds=0.5)
print("up", flush=True)
while True:
    time.sleep(600)
"""

WITH_PARENT: Final = """
import time
from payscore_worker import stopping

stopping.heed([stopping.WITH_PARENT, "worker"])
print("up", flush=True)
time.sleep(600)
"""

IGNORING: Final = """
import signal
from payscore_worker import stopping

signal.signal(signal.SIGHUP, signal.SIG_IGN)
stopping.heed(["worker"])
signal.raise_signal(signal.SIGHUP)
print("goes on", flush=True)
signal.raise_signal(signal.SIGTERM)
"""


def started(words: str) -> subprocess.Popen[str]:
    """Run some words of ours, as far as their first line."""
    process = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() != ""
    return process


def test_what_does_not_end_in_its_time_is_ended_and_says_where_it_stood() -> None:
    process = started(STUBBORN)
    process.send_signal(signal.SIGTERM)

    said, stacks = process.communicate(timeout=SECONDS)

    assert (process.returncode, said) == (1, "told\n")
    assert "Timeout" in stacks
    assert "Thread" in stacks


def test_a_process_that_belongs_to_its_parent_ends_when_the_pipe_to_it_does() -> None:
    process = started(WITH_PARENT)
    assert process.poll() is None

    process.communicate(timeout=SECONDS)  # which closes its standard input

    assert process.returncode == 128 + signal.SIGHUP


def test_what_nohup_has_a_process_ignore_stays_ignored() -> None:
    process = started(IGNORING)

    process.communicate(timeout=SECONDS)

    assert process.returncode == 0
