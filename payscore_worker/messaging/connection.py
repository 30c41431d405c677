"""What we ask of an aio-pika connection beyond aio-pika's own: close() ends, and no message can kill it."""

import asyncio
from typing import Any, Final

import aio_pika
from aio_pika.exceptions import ConnectionClosed
from aiormq import TransportFactory
from aiormq.abc import ExceptionType
from aiormq.connection import TCPTransportFactory, TLSTransportFactory
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from yarl import URL

CLOSE_TIMEOUT_SECONDS: Final = 3.0
"""A good-bye is one round trip; aiormq itself gives the answer two seconds, but the sending no end."""

UNREADABLE: Final = "x-unreadable"
"""The header of a message whose properties could not be read; it says why."""


class Connection(aio_pika.Connection):
    """A connection whose close() ends, even where the peer has frozen and reads no more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on to aio-pika
        super().__init__(*args, **kwargs)
        self._wire = self.kwargs["transport_factory"] = _Wire()
        ContentHeader.unmarshal = _unmarshal  # type: ignore[method-assign]  # see there

    async def close(self, exc: ExceptionType | None = ConnectionClosed) -> None:
        """Close it; cut it off if that takes longer than a round trip."""
        closing = asyncio.create_task(super().close(exc))
        try:
            await asyncio.wait([closing], timeout=CLOSE_TIMEOUT_SECONDS)
        finally:
            self._wire.cut()
        await closing


class _Wire(TransportFactory):
    """Opens the transport as aiormq would, and keeps hold of it."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ANN401
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        return reader, self._writer

    def cut(self) -> None:
        """Drop the connection without a word; one that has closed already stays closed."""
        if self._writer is not None:
            self._writer.transport.abort()


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
