"""A TCP proxy before a server, which does to the bytes that pass what it is told: cut, freeze, reset, delay."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

READ_BYTES: Final = 64 * 1024

DEFAULT_PORTS: Final = {"amqp": 5672, "postgresql+asyncpg": 5432, "http": 80}

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, no time; closing then sends RST, and what was not yet delivered is gone."""


class Cut(ConnectionError):
    """The connection ends here; `last` is delivered before it does."""

    def __init__(self, last: bytes = b"", *, reset: bool = False) -> None:
        super().__init__()
        self.last = last
        self.reset = reset


class Connection:
    """One connection through the proxy: its two ends, and how much of what was asked."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter | None = None) -> None:
        self.client = client
        self.server = server
        self.asked = 0
        """How often something came from the client."""
        self.is_stranded = False

    def end(self, *, reset: bool = False) -> None:
        """Drop both ends."""
        for end in (self.client, self.server):
            if end is None:
                continue
            if reset and not end.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()


class Conduct:
    """How the proxy conducts itself; this one does nothing to anybody."""

    async def met(self, _connection: Connection) -> None:
        """Meet a new client; raises Cut."""

    async def asked(self, _connection: Connection, data: bytes) -> bytes:
        """Take what a client says; returns what the server hears. Raises Cut."""
        return data

    async def answered(self, _connection: Connection, data: bytes) -> bytes:
        """Take what the server says; returns what the client hears. Raises Cut."""
        return data


UNTROUBLED: Final = Conduct()


class Proxy:
    """Forwards to a server what it is sent, and back, in the way of its conduct."""

    def __init__(self, url: str) -> None:
        self._there = urlsplit(url)
        self._there_port = self._there.port or DEFAULT_PORTS[self._there.scheme]
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.conduct = UNTROUBLED
        self.cuts = 0
        """How many connections were ended by conduct or command."""

    @property
    def url(self) -> str:
        """The server's URL, through here."""
        there = self._there
        user = f"{there.netloc.rpartition('@')[0]}@" if "@" in there.netloc else ""
        return urlunsplit(there._replace(netloc=f"{user}127.0.0.1:{self.port}"))

    @property
    def connected(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    # --- By command ---

    def freeze(self) -> None:
        """Forward nothing more, of connections to come either; nobody hangs up."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Forward again, first of all what was held back."""
        self._flowing.set()

    def cut(self, *, reset: bool = False) -> None:
        """End every connection."""
        for connection in self._connections:
            self.cuts += 1
            connection.end(reset=reset)

    def strand(self) -> None:
        """Leave every connection of now without a word, for ever: as a firewall that has forgotten them."""
        for connection in self._connections:
            self.cuts += 1
            connection.is_stranded = True

    async def refuse(self) -> None:
        """Listen no more, and end every connection: what a server that is gone looks like."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.sleep(0)  # for who is being accepted

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[Self]:
        self.port = port
        await self.accept()
        try:
            yield self
        finally:
            await self.refuse()
            for forwarding in self._forwarding:
                forwarding.cancel()
            await asyncio.gather(*self._forwarding, return_exceptions=True)

    # --- What passes ---

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(writer)
        if self._server is None:  # it came while we closed
            connection.end()
            return
        self._connections.add(connection)  # now: a task that is cancelled before it began would close nothing
        forwarding = asyncio.create_task(self._forward(connection, reader))
        self._forwarding.add(forwarding)
        forwarding.add_done_callback(self._forwarding.discard)

    async def _forward(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        reset = False
        try:
            await self.conduct.met(connection)
            server_reader, connection.server = await asyncio.open_connection(self._there.hostname, self._there_port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(connection, reader, connection.server))
                group.create_task(self._answer(connection, server_reader))
        except* Cut as cuts:
            self.cuts += 1
            reset = any(isinstance(cut, Cut) and cut.reset for cut in cuts.exceptions)
        except* OSError:
            pass  # an end has gone
        finally:
            self._connections.discard(connection)
            connection.end(reset=reset)

    async def _ask(self, connection: Connection, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await self._read(connection, reader):
            connection.asked += 1
            await _write(server, await self.conduct.asked(connection, data))
        raise ConnectionResetError  # one end has gone: so does the other

    async def _answer(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        while data := await self._read(connection, reader):
            try:
                await _write(connection.client, await self.conduct.answered(connection, data))
            except Cut as cut:
                with suppress(OSError):
                    await _write(connection.client, cut.last)
                raise
        raise ConnectionResetError

    async def _read(self, connection: Connection, reader: asyncio.StreamReader) -> bytes:
        """Read what may pass: even that an end has gone is news that a frozen proxy keeps."""
        data = await reader.read(READ_BYTES)
        await self._flowing.wait()
        if connection.is_stranded:
            await asyncio.Event().wait()
        return data


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(data)
        await writer.drain()
