import pytest

from tests.unit.wechatpay.wechat import Clock, Pauses, Wechat


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wechat() -> Wechat:
    return Wechat()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()
