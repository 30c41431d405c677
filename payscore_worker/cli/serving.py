"""Runs a role: logs and traces as the settings want them, and an exit code for its end."""

import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import uvloop

from payscore_worker import logs
from payscore_worker.bootstrap.wiring import traces
from payscore_worker.cli.output import NOT_FINE
from payscore_worker.settings import Environment, LogSettings

log = structlog.stdlib.get_logger(__name__)


def serve(role: Callable[[Environment], Coroutine[Any, Any, None]], service: str) -> None:
    """Run a role until it ends."""
    variables = Environment()
    settings = variables.read(LogSettings)
    logs.set_up(as_json=settings.as_json, level=settings.level)
    try:
        with traces(variables, service):
            uvloop.run(role(variables))  # which says itself from when on it has something in hand
    except ExceptionGroup as group:
        for error in group.exceptions:
            log.error("role_failed", exc_info=error)  # noqa: TRY400 - each of the group has its own traceback
        sys.exit(NOT_FINE)
