"""Chooses the tests for a mutant, inside the pytest that mutmut runs: those of its own part alone, the fast ones."""

import os
from typing import Final

import pytest

MOVING: Final = tuple(f"payscore_worker.{module}." for module in ("steps", "settlement", "sight"))
"""What moves a trip between us and WeChat Pay is held by the settlement's tests. Everything else has unit tests of its
own: they alone must notice, and they take a fraction of the time."""

SLOW: Final = "tests/integration/"


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the slow ones before they are collected, which is most of what they would cost."""
    under_test = os.environ.get("MUTANT_UNDER_TEST", "")
    if under_test.startswith("payscore_worker.") and not under_test.startswith(MOVING):
        config.args = [argument for argument in config.args if not argument.startswith(SLOW)]
