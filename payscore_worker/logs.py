"""Logs: one line per message and per WeChat Pay call, as JSON or for a person; never a secret."""

import logging
import re
import sys
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

OPENID_SHOWN: Final = 6
"""Enough to recognise a passenger in two lines, too little to address them."""

SECRET: Final = ("private_key", "apiv2_key", "apiv3_key", "ticket", "password", "body", "authorization")
"""What a name must not end in if its value is to be seen."""


def set_up(*, as_json: bool, level: int) -> None:
    """Send our logs, and the warnings of libraries, to standard error."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        keep_secrets,
    ]
    if as_json:
        rendering: list[Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
        factory: Callable[..., WrappedLogger] = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        # By default, where rich is installed, it shows the locals of every frame: keys, bodies, passengers.
        plain = structlog.dev.plain_traceback
        rendering = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_for_libraries(shared, rendering, as_json=as_json))
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def keep_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shorten openids; drop what is named like a secret."""
    for name in list(event):
        if name == "openid":
            event[name] = short_openid(str(event[name]))
        elif name.endswith(SECRET):
            event[name] = "…"
    return event


def short_openid(openid: str) -> str:
    """Shorten an openid to what may be shown."""
    return f"{openid[:OPENID_SHOWN]}…"


def without_secrets(body: bytes) -> str:
    """Show a message; who the passenger is, and what lets one finish the order, is shortened."""
    return _PRIVATE.sub(lambda found: f"{found[1]}{short_openid(found[2])}", body.decode(errors="replace"))


_PRIVATE: Final = re.compile(r'("(?:\w*openid|finish_ticket)"\s*:\s*")([^"]*)')


def _to_json(event: EventDict, **_options: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def _for_libraries(shared: list[Processor], rendering: list[Processor], *, as_json: bool) -> logging.Formatter:
    last = rendering[-1]

    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        text = last(logger, name, event)
        return text.decode() if as_json and isinstance(text, bytes) else str(text)

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering[:-1], render],
    )
