"""Chooses the tests for a mutant, inside the pytest that mutmut runs: those of its own part, the likeliest first."""

import os
from pathlib import Path
from typing import Final

import pytest

MOVING: Final = tuple(
    f"payscore_worker.settlement.{module}."
    for module in (
        "authorisation_steps",
        "authorisations",
        "fare_steps",
        "trip_calls",
        "trip_steps",
        "trips",
        "refund_sight",
        "refund_steps",
        "refunds",
        "sight",
    )
)
"""What moves a trip or a refund between us and WeChat Pay is held by the settlement's tests. Everything else has unit
tests of its own: they alone must notice, and they take a fraction of the time."""

SLOW: Final = "tests/integration/"

NOTICED: Final = Path("noticed")
"""For each function, the tests that noticed its last mutants: they are likely to notice the next one, and go first."""

UNDER_TEST: Final = "MUTANT_UNDER_TEST"


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the slow ones before they are collected, which is most of what they would cost."""
    mutant = os.environ.get(UNDER_TEST, "")
    if not mutant.startswith("payscore_worker."):
        return
    if not mutant.startswith(MOVING):
        config.args = [argument for argument in config.args if not argument.startswith(SLOW)]
    if (file := _noticed(mutant)).exists():
        first = set(file.read_text(encoding="utf-8").splitlines())
        config.args.sort(key=lambda argument: argument not in first)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember who has noticed it."""
    mutant = os.environ.get(UNDER_TEST, "")
    if report.failed and mutant.startswith("payscore_worker."):
        NOTICED.mkdir(exist_ok=True)
        with _noticed(mutant).open("a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\n")


def _noticed(mutant: str) -> Path:
    return NOTICED / mutant.partition("__mutmut_")[0]
