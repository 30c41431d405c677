"""How uvicorn runs the simulator."""

from typing import Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from payscore_worker.simulator.dropping import EXTENSION

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than clients keep an idle connection, so that none is closed under a call."""


class ClosableConnection(HttpToolsProtocol):
    """Lets the app close the connection instead of answering (fault drop_reply)."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"close": self.transport.abort}}


def uvicorn_config(app: Starlette, *, host: str = "127.0.0.1", port: int = 8090) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ClosableConnection,
        lifespan="off",
        access_log=False,
        log_level="warning",
        date_header=False,  # the simulator sends its own, by its own clock
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
