"""Serves an ASGI application in the event loop we have, until told to stop; strangers cannot keep others out."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

GRACE_SECONDS: Final = 5
"""Requests in hand get this long; WeChat Pay itself waits no longer for an answer."""

STOP_SECONDS: Final = GRACE_SECONDS + 0.5
"""stop() is noticed within a tenth of a second, and as much is given to those who hang up."""

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the idle time of the usual proxies, so that they close first."""


REQUEST_SECONDS: Final = 10.0
"""A request is here by then, or its connection is cut; twice what WeChat Pay takes for the whole exchange."""

MAX_HEAD_BYTES: Final = 32 * 1024
"""Request line and headers; WeChat Pay's are one kilobyte."""

MAX_REQUEST_BYTES: Final = 1024 * 1024
"""Head, body and whatever else a sender makes up; who is refused may go on to send, but not for ever."""


class CannotListen(RuntimeError):
    """The address is taken, or is not ours."""


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to us."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen.

        Raises:
            CannotListen: with the address.

        """
        try:
            await super().startup(sockets)
        except SystemExit as error:  # it would end the event loop under everything else that runs in it
            raise CannotListen(f"cannot listen on {self.config.host}:{self.config.port}") from error

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Finish the requests in hand, then end serve()."""
        self.should_exit = True

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return int(self.servers[0].sockets[0].getsockname()[1])


class Connection(HttpToolsProtocol):
    """A connection that has to hurry: uvicorn itself would wait for a request for ever, and read heads of any size.

    Where there is no room for another connection, the one goes that has kept us waiting longest. Whoever sends a
    request at once is served, however many others do not.
    """

    _deadline: asyncio.TimerHandle | None = None
    _in_head = True
    _received = 0
    waiting_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._wait()
        self._received += len(data)
        super().data_received(data)
        allowed = MAX_HEAD_BYTES if self._in_head else MAX_REQUEST_BYTES
        if self._received > allowed and not self.transport.is_closing():
            self.send_400_response("Request too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stop_waiting()
        self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes after the body would only pile up
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._received = True, 0
        self._stop_waiting()
        if self.cycle.response_complete:  # refused before it was read: now there is nothing in hand
            self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.waiting_since is None:
            self.waiting_since = self.loop.time()  # for another request, or for none: keep-alive bounds it

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self.cut)
        self.waiting_since = self.loop.time()

    def _stop_waiting(self) -> None:
        self.waiting_since = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def cut(self) -> None:
        self._stop_waiting()
        self.transport.abort()

    def _make_room(self) -> None:
        waiting = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        longest = min(waiting, key=lambda one: one.waiting_since or float("inf"), default=None)
        if longest is not None and longest.waiting_since is not None:
            longest.cut()


class Entrance:
    """Answers itself what nothing behind it could read: nobody there has to think of such requests."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wrong := unreadable(scope)):
            answer = PlainTextResponse(f"{wrong}\n", HTTPStatus.BAD_REQUEST)
            await answer(scope, receive, send)
        else:
            await self._application(scope, receive, send)


def unreadable(scope: Scope) -> str:
    """Say what is wrong with the address of a request; empty: nothing."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or any(host and not _HOST.fullmatch(host) for host in hosts):
        return "the Host header names no host"
    query: bytes = scope["query_string"]
    if not query.isascii() or b"\0" in unquote_to_bytes(query):
        return "the query has a character that none can have"
    return ""


_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
"""A name or an address, and a port; HTTP/1.0 may come without."""


def make_server(application: ASGIApp, *, host: str, port: int, max_connections: int | None = None) -> Server:
    """Make a server; it starts with serve()."""
    return Server(
        uvicorn.Config(
            Entrance(application),
            http=Connection,
            ws="none",
            host=host,
            port=port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=max_connections,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
