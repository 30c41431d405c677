"""What we ask of an aio-pika connection beyond aio-pika's own: close() ends, and no message can kill it."""

import asyncio
from typing import Any, Final

import aio_pika
from aio_pika.exceptions import ConnectionClosed
from aiormq import TransportFactory
from aiormq.abc import ExceptionType
from pamqp.commands import Basic
from pamqp.commands import Connection as Commands
from pamqp.header import ContentHeader
from yarl import URL

from payscore_worker.messaging.addresses import Address

CLOSE_TIMEOUT_SECONDS: Final = 3.0
"""A good-bye is one round trip; aiormq itself gives the answer two seconds, but the sending no end."""

Open: Final = Commands.Open

UNREADABLE: Final = "x-unreadable"
"""The header of a message whose properties could not be read; it says why."""


class Connection(aio_pika.Connection):
    """A connection to one address whose close() ends, even where the peer has frozen and reads no more."""

    def __init__(self, address: Address, *, heartbeat_seconds: int, name: str) -> None:
        super().__init__(
            address.url.update_query(heartbeat=heartbeat_seconds), client_properties={"connection_name": name}
        )
        self.address = address
        self.heartbeat_seconds = heartbeat_seconds
        self._wire = self.kwargs["transport_factory"] = _Wire(address.host)
        ContentHeader.unmarshal = _unmarshal  # type: ignore[method-assign]  # see there
        # RabbitMQ may refuse a virtual host and say why; aiormq reads the reason only of an answer that pamqp expects.
        Open.valid_responses = ["Connection.OpenOk", "Connection.Close"]

    async def close(self, exc: ExceptionType | None = ConnectionClosed) -> None:
        """Close it; cut it off if that takes longer than a round trip."""
        closing = asyncio.create_task(super().close(exc))
        try:
            await asyncio.wait([closing], timeout=CLOSE_TIMEOUT_SECONDS)
        finally:
            self.cut()
        await closing

    def cut(self) -> None:
        """Drop it without a word: nobody is there to hear one; one that has closed already stays closed."""
        self._wire.cut()

    @property
    def heard(self) -> int:
        """How often something came from the peer, heartbeats included."""
        return self._wire.reader.heard


class _Wire(TransportFactory):
    """Opens the transport to one address, and keeps hold of it."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._writer: asyncio.StreamWriter | None = None
        self.reader = _Reader()

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ANN401
        tls = await kwargs["ssl_context_provider"].get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self.reader)
        transport, _ = await loop.create_connection(
            lambda: protocol, self._host, url.port or 0, ssl=tls, server_hostname=url.host if tls else None
        )
        self._writer = asyncio.StreamWriter(transport, protocol, self.reader, loop)
        return self.reader, self._writer

    def cut(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class _Reader(asyncio.StreamReader):
    """Counts how often something came: before it is read, so that a reader who is held up believes nobody silent."""

    heard = 0

    def feed_data(self, data: Any) -> None:  # noqa: ANN401 - as typeshed words it
        self.heard += 1
        super().feed_data(data)


_strictly: Final = ContentHeader.unmarshal


def _unmarshal(self: ContentHeader, data: bytes) -> None:
    """Read the header of a message; properties that cannot be read are replaced by one header that says so.

    pamqp raises for text that is not UTF-8 and for a timestamp in nanoseconds, and aiormq then drops the connection.
    RabbitMQ would deliver that message again to the next one, and so on: a single message would stop all consuming, and
    take the innocent ones around it to the delivery limit.
    """
    try:
        _strictly(self, data)
    except Exception as error:  # noqa: BLE001 - pamqp does not say what it raises on a stranger's bytes
        self.properties = Basic.Properties(headers={UNREADABLE: str(error)})
