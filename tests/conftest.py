"""What every test may rely on."""

import logging
import os
import signal
from collections.abc import Iterator
from typing import Any, Final

import hypothesis
import pytest
import structlog

from deploy.local.rabbitmq import DEFAULT_URL
from tests.programs import provide

# Who is started in the background ignores Ctrl-C, and under nohup a hang-up, and hands that down: the commands that
# tests tell to end must not.
for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

# A time limit for each example would fail at random on a machine that is busy with other tests.
hypothesis.settings.register_profile("payscore", deadline=None)
# `pytest --hypothesis-profile=thorough`: as many examples as a night allows.
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("payscore")

# Where nothing is configured, structlog shows what every frame held, in colour: a second of work for each traceback.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback


DEAR: Final = frozenset({"private_rabbitmq", "managed_rabbitmq", "server", "broker", "image", "built"})
"""Fixtures that start a server or build something, once for each process that runs a test with them."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have tests that share something dear run in one process, so that it is made once."""
    for item in items:
        for name in DEAR.intersection(getattr(item, "fixturenames", ())):
            made = item._fixtureinfo.name2fixturedefs[name][-1]  # type: ignore[attr-defined]
            if made.scope != "function":
                item.add_marker(pytest.mark.xdist_group(f"{name} of {made.baseid}"))


@pytest.fixture(autouse=True)
def logs_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command in this process does to the logs, so that the next test can read its own.

    A logger that was kept on its first use would go on writing where that command wanted it.
    """
    configure = structlog.configure

    def configure_for_now(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_for_now)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """The broker that all tests share; each keeps to names of its own."""
    return os.environ.get("PAYSCORE_AMQP_URL", DEFAULT_URL)


@pytest.fixture(scope="session")
def prometheus_installed() -> None:
    """Prometheus, with its promtool."""
    provide("promtool", package="prometheus")
