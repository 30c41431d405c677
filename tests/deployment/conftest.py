"""What the tests of the deployment files may ask for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployment import tools


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Find a program, or skip and say what to do."""

    def find(name: str) -> str:
        try:
            return tools.find(name)
        except tools.Missing as missing:
            pytest.skip(str(missing))

    return find


@pytest.fixture(scope="session")
def deploy() -> Path:
    return tools.ROOT / "deploy"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test that needs a program the time to install it."""
    for item in items:
        if "tool" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(500))
