from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.acceptance.chromium import a_browser


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with a_browser() as browser:
        yield browser
