"""Publishing: persistent, confirmed, and mandatory unless said otherwise; on a connection of its own."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aio_pika import DeliveryMode, Exchange, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError, PublishError
from aiormq.exceptions import ConnectionFrameError, ConnectionSyntaxError
from pamqp.header import ContentHeader

from payscore_worker import tracing
from payscore_worker.errors import BrokerUnavailable, Unpublishable, Unroutable
from payscore_worker.messaging.connection import Connection
from payscore_worker.messaging.declaring import keep_declared
from payscore_worker.messaging.link import (
    BROKEN,
    SET_UP_TIMEOUT_SECONDS,
    Session,
    connect,
    keep_linked,
    race,
    reason_of,
    translated,
)
from payscore_worker.messaging.topology import Topology

PUBLISH_TIMEOUT_SECONDS: Final = 10.0
"""A confirm takes a millisecond; a broker that needs seconds has an alarm or is gone."""

DOUBT_AFTER_SECONDS: Final = 10.0
"""A link on which nothing was confirmed for this long may lead nowhere, although its heartbeats come."""


APART_SECONDS: Final = 30.0
"""A connection, some hundred kilobytes, and a confirm."""

LAST_WORD_SECONDS: Final = 1.0
"""The reason for a broken link is told within the same turn of the loop, or not at all."""

LARGE_BYTES: Final = 16 * 1024
"""Messages of ours are a tenth of it; a larger copy may be more than RabbitMQ takes, header or body."""

ITS_OWN_FAULT: Final = (ChannelPreconditionFailed, ConnectionFrameError, ConnectionSyntaxError)
"""How RabbitMQ refuses one message for what it is: longer than max_message_size, a header longer than a frame, values
that it cannot read. Anything else (an alarm, a limit, a missing exchange, a restart) is not the message's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    message_id: str
    content_type: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    mandatory: bool = True


@dataclass(slots=True)
class _Link:
    """What there is while the link stands."""

    session: Session
    channel: AbstractChannel
    heard_at: float
    """When RabbitMQ last answered on it, by the clock of the event loop."""


class Publisher:
    """Publishes on one channel; run() keeps it open, and the exchanges and queues of a topology, if any, declared."""

    def __init__(
        self, url: str, *, name: str, topology: Topology | None, timeout_seconds: float = PUBLISH_TIMEOUT_SECONDS
    ) -> None:
        self._url = url
        self._name = name
        self._topology = topology
        self._timeout_seconds = timeout_seconds
        self._open: asyncio.Event = asyncio.Event()
        self._link: _Link | None = None
        self._in_flight: dict[str, asyncio.Event] = {}
        self._apart = asyncio.Semaphore(1)

    @property
    def is_ready(self) -> bool:
        """Whether the channel is open."""
        return self._open.is_set()

    async def ready(self) -> None:
        """Wait until the channel is open."""
        await self._open.wait()

    async def run(self) -> None:
        """Keep the channel open until cancelled.

        Raises:
            TopologyRefused: RabbitMQ will not have our exchanges and queues.

        """
        await keep_linked(self._url, self._name, self._work)

    async def publish(self, outgoing: Outgoing) -> None:
        """Publish and wait for the confirm.

        Raises:
            Unroutable: no queue takes it, and it is mandatory.
            BrokerUnavailable: not confirmed in time; it may arrive all the same.

        """
        name = f"send {outgoing.exchange}:{outgoing.routing_key}"
        with tracing.span(name, tracing.Kind.PRODUCER, _traced(outgoing), parent=outgoing.headers):
            await self._publish_in_time(outgoing)

    async def _publish_in_time(self, outgoing: Outgoing) -> None:
        try:
            with translated():
                async with asyncio.timeout(self._timeout_seconds):
                    await self._open.wait()
                    await self._publish_alone(outgoing)
        except PublishError as error:
            self._mend(outgoing)
            raise Unroutable(f"no queue takes {outgoing.routing_key!r} of {outgoing.exchange!r}") from error
        except (DeliveryError, *BROKEN) as error:
            if isinstance(error, TimeoutError):
                await self._doubt()
            raise BrokerUnavailable(f"not confirmed: {error!r}") from error

    async def publish_apart(self, outgoing: Outgoing) -> None:
        """Publish alone, on a connection that the message may cost: whatever breaks it, breaks nobody else's.

        Raises:
            Unpublishable: RabbitMQ refuses this message for what it is, now and always.
            Unroutable: no queue takes it, and it is mandatory.
            BrokerUnavailable: not confirmed in time; it may arrive all the same.

        """
        try:
            with translated():
                async with (
                    self._apart,
                    asyncio.timeout(APART_SECONDS),
                    await connect(self._url, f"{self._name} apart") as connection,
                ):
                    await _publish_alone_on(connection, outgoing)
        except PublishError as error:
            raise Unroutable(f"no queue takes {outgoing.routing_key!r} of {outgoing.exchange!r}") from error
        except ITS_OWN_FAULT as error:
            raise Unpublishable(f"RabbitMQ will not take it: {reason_of(error)}") from error
        except (DeliveryError, *BROKEN) as error:
            raise BrokerUnavailable(f"not confirmed: {error!r}") from error

    async def _publish_alone(self, outgoing: Outgoing) -> None:
        """Publish with no other message of this id in flight: a return names its message by the id alone."""
        while (other := self._in_flight.get(outgoing.message_id)) is not None:
            await other.wait()
        done = self._in_flight[outgoing.message_id] = asyncio.Event()
        try:
            await self._send(outgoing)
        finally:
            del self._in_flight[outgoing.message_id]
            done.set()

    async def _send(self, outgoing: Outgoing) -> None:
        link = self._link
        if link is None:
            raise ConnectionError("the channel has closed")
        await link.session.unblocked()
        exchange = Exchange(link.channel, outgoing.exchange)
        await exchange.publish(_message(outgoing), outgoing.routing_key, mandatory=outgoing.mandatory)
        link.heard_at = asyncio.get_running_loop().time()

    async def _doubt(self) -> None:
        """Make the link anew if it has been silent for too long, unless an alarm explains that."""
        link = self._link
        if link is None or await link.session.is_blocked():
            return
        if asyncio.get_running_loop().time() - link.heard_at >= DOUBT_AFTER_SECONDS:
            link.session.break_up("a confirm did not come")

    def _mend(self, outgoing: Outgoing) -> None:
        """Declare the table anew if one of our queues should have taken this: somebody has deleted or unbound it."""
        if self._link is None or self._topology is None:
            return
        if self._topology.takes(outgoing.exchange, outgoing.routing_key):
            self._link.session.break_up(f"no queue takes {outgoing.routing_key!r}, and one of ours should")

    async def _work(self, session: Session) -> None:
        may_begin = asyncio.Event()
        works = [self._keep_open(session, may_begin)]
        if self._topology is None:
            may_begin.set()
        else:
            works.append(keep_declared(self._topology, session.connection, may_begin))
        await race(*works)

    async def _keep_open(self, session: Session, may_begin: asyncio.Event) -> None:
        await may_begin.wait()
        async with asyncio.timeout(SET_UP_TIMEOUT_SECONDS):
            channel = await session.channel(publisher_confirms=True, on_return_raises=True)
        self._link = _Link(session, channel, heard_at=asyncio.get_running_loop().time())
        self._open.set()
        try:
            await session.broken()
        finally:
            self._open.clear()
            self._link = None


def is_large(outgoing: Outgoing) -> bool:
    """Tell whether RabbitMQ might refuse the message for its size, and with it the connection it comes on."""
    header = ContentHeader(body_size=len(outgoing.body), properties=_message(outgoing).properties)
    return len(outgoing.body) > LARGE_BYTES or len(header.marshal()) > LARGE_BYTES


async def _publish_alone_on(connection: Connection, outgoing: Outgoing) -> None:
    """Publish one message; raises what RabbitMQ said of it, if it said anything."""
    said: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def hear(_sender: object, error: BaseException | None) -> None:
        if not said.done():
            said.set_result(error)

    connection.close_callbacks.add(hear)
    if connection.transport is not None:
        await connection.transport.ready()
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    channel.close_callbacks.add(hear)
    try:
        with translated():
            exchange = Exchange(channel, outgoing.exchange)
            await exchange.publish(_message(outgoing), outgoing.routing_key, mandatory=outgoing.mandatory)
    except DeliveryError:
        raise
    except BROKEN as error:
        await asyncio.wait([said], timeout=LAST_WORD_SECONDS)  # the reason may come a moment after the end
        if said.done() and isinstance(reason := said.result(), Exception):
            raise reason from error
        raise


def _traced(outgoing: Outgoing) -> dict[str, tracing.Value]:
    if not tracing.is_on():
        return {}
    return {
        **tracing.RABBITMQ,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": f"{outgoing.exchange}:{outgoing.routing_key}",
        "messaging.rabbitmq.destination.routing_key": outgoing.routing_key,
        "messaging.message.id": outgoing.message_id,
    }


def _message(outgoing: Outgoing) -> Message:
    return Message(
        outgoing.body,
        headers={**outgoing.headers, **tracing.carried()},
        content_type=outgoing.content_type,
        message_id=outgoing.message_id,
        delivery_mode=DeliveryMode.PERSISTENT,
        **outgoing.properties,
    )
