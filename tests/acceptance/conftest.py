from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.acceptance.chromium import a_browser
from tests.programs import provide


@pytest.fixture(scope="session")
def chromium() -> str:
    return provide("chromium", package="chromium")


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with a_browser(chromium) as browser:
        yield browser
