"""Chooses the tests for a mutant, inside the pytest that mutmut runs: the fast ones first, its own part's alone."""

import os
from typing import Final

import pytest

EDGE: Final = "payscore_worker.wechatpay."
"""What speaks with WeChat Pay has tests of its own: they alone must notice, and they take a fraction of the time."""

SLOW: Final = "tests/integration/"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [item for item in items if item.nodeid.startswith(SLOW)]
    fast = [item for item in items if not item.nodeid.startswith(SLOW)]
    if os.environ.get("MUTANT_UNDER_TEST", "").startswith(EDGE):
        config.hook.pytest_deselected(items=slow)
        slow = []
    items[:] = [*fast, *slow]
