"""What every test may rely on."""

import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

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
