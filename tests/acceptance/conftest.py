from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser

from tests.acceptance.chromium import a_browser
from tests.programs import provide

HERE: Final = Path(__file__).parent


TEST_SECONDS: Final = 400.0
"""Each test starts a dozen processes, or installs a browser first; each wait in it has a shorter deadline."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def chromium() -> str:
    return provide("chromium", package="chromium")


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with a_browser(chromium) as browser:
        yield browser
