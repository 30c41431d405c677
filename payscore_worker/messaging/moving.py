"""One hand at a time on the dead letters of a queue, and the move of one of them back to where it came from.

A move must neither lose nor double the message, wherever the process that makes it dies:

1. A copy, as the message first came, is published to the staging queue `<queue>.replay`, and confirmed.
2. One AMQP transaction settles both: it acks the dead letter, and it rejects the copy, which the staging queue
   dead-letters into the origin queue. RabbitMQ does both when it has read `tx.commit`, and neither if it never does.

So a copy that is found in the staging queue was not moved, and its dead letter still stands: the copy is dropped. Only
a crash of RabbitMQ itself within a commit can leave a copy whose dead letter is gone; it becomes a dead letter again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog
from aio_pika import DeliveryMode, Exchange, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity, PublishError
from aiormq.exceptions import ChannelLockedResource
from pamqp.header import ContentHeader

from payscore_worker.errors import BrokerUnavailable, Rejected
from payscore_worker.messaging.connection import UNREADABLE
from payscore_worker.messaging.envelope import Failure, failed_message, original_message
from payscore_worker.messaging.inspect import count
from payscore_worker.messaging.link import BROKEN, connect, reason_of, scratch_channel, translated
from payscore_worker.messaging.publisher import Outgoing
from payscore_worker.messaging.topology import DEFAULT_EXCHANGE, QUEUES, Topology

TURN_SECONDS: Final = 10.0
"""A look takes a second; a replay of many takes longer, and says so itself."""

POLL_SECONDS: Final = 0.1
"""Between two tries for the turn."""

MOVE_SECONDS: Final = 10.0
"""A confirm and a commit take milliseconds; a broker that needs seconds has an alarm or is gone."""

RETURN_SECONDS: Final = 10.0
"""What a process had in hand when it died is back in its queue as soon as RabbitMQ has missed its connection."""

MAX_STAGED: Final = 1000
"""There is one copy at a time; more were put there by somebody else."""

MAX_STAGED_BYTES: Final = 64 * 1024 * 1024
"""Held at once of what somebody else put there; the rest comes after it."""

MAX_SCANNED: Final = 1_000_000
"""More dead letters than this are no longer handled by people."""

LEFT_BEHIND: Final = "RabbitMQ broke a replay off: this may have gone back to its queue already; look before you replay"

log = structlog.stdlib.get_logger(__name__)


class Busy(Rejected):
    """Somebody else has these dead letters in hand."""


def identity(message: AbstractIncomingMessage, queue: str) -> str:
    """Name a message: its id, or what its event is known by where it came without one (contract 1)."""
    type_ = QUEUES[queue].routing_keys[0]
    return message.message_id or hashlib.sha256(type_.encode() + b"\n" + message.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Turn:
    """The dead letters of one queue, in our hand alone while the connection stands."""

    queue: str
    topology: Topology
    connection: AbstractConnection
    channel: AbstractChannel
    """For what is looked at: what is taken here and not settled goes back to its place at the end."""

    async def count(self) -> int:
        """Count the dead letters that are in nobody's hand, as far as RabbitMQ can tell: there may be more.

        What was returned a moment ago may be missing, and all of them where the queue's leader does not answer.
        """
        return (await self._dead()).declaration_result.message_count or 0

    async def messages(self, most: int) -> AsyncIterator[AbstractIncomingMessage]:
        """Take what there is, the oldest first, up to the limit.

        Until nothing is left, and not by RabbitMQ's count: what was returned a moment ago may not be counted yet.
        """
        dead = await self._dead()
        for _ in range(most):
            message = await dead.get(fail=False)
            if message is None:
                return
            yield message

    async def _dead(self) -> AbstractQueue:
        return await self.channel.declare_queue(self.topology.dead(self.queue), passive=True)

    async def drop(self, message: AbstractIncomingMessage) -> None:
        """Drop a dead letter for good, and know that RabbitMQ has."""
        await message.ack()
        await _round_trip(self.channel)


class Mover:
    """Moves dead letters of one turn back to their queue."""

    def __init__(self, turn: Turn, staging: AbstractQueue, confirming: AbstractChannel) -> None:
        self._turn = turn
        self._staging = staging
        self._confirming = confirming
        self._moved: set[str] = set()
        self._strays: list[AbstractIncomingMessage] = []

    async def move(self, message: AbstractIncomingMessage) -> None:
        """Put one back into the queue it came to, unchanged; returns when RabbitMQ has done so.

        Raises:
            BrokerUnavailable: it has not been put back, or was at the last moment; nothing is in two places.
            Rejected: it cannot be put back unchanged.

        """
        if UNREADABLE in message.headers:
            raise Rejected("its properties cannot be read, so it could only be put back changed")
        key, copy = key_of(message, self._turn.queue), self._copy(message)
        async with asyncio.timeout(MOVE_SECONDS):
            await publish(self._turn.connection, self._confirming, copy)
            staged = await self._staged(key)
            await message.ack()
            await staged.reject(requeue=False)
            await _commit(self._turn.channel)
        self._moved.add(key)

    def _copy(self, message: AbstractIncomingMessage) -> Outgoing:
        outgoing = original_message(message, queue=self._turn.topology.staging(self._turn.queue))
        copy = replace(outgoing, message_id=identity(message, self._turn.queue))
        see_that_it_can_be_written(copy)
        return copy

    async def _staged(self, key: str) -> AbstractIncomingMessage:
        """Take the copy out again; another one is what a dead process had in hand a moment ago."""
        async for staged in _all_of(self._staging):
            if key_of(staged, self._turn.queue) == key:
                return staged
            self._strays.append(staged)
        raise BrokerUnavailable("the copy is not in the staging queue, although RabbitMQ confirmed it")

    async def tidy_up(self) -> None:
        """Drop copies of what we moved ourselves, which a process that died before us left late; return the rest."""
        self._strays += [staged async for staged in _all_of(self._staging)]
        for stray in self._strays:
            if key_of(stray, self._turn.queue) in self._moved:
                await stray.ack()
        await _return_all(self._turn.channel)
        await _commit(self._turn.channel)


def see_that_it_can_be_written(outgoing: Outgoing) -> None:
    """Raise Rejected where a message has properties that were read and cannot be written."""
    try:
        ContentHeader(body_size=len(outgoing.body), properties=_message(outgoing).properties).marshal()
    except Exception as error:  # pamqp does not say what it raises on a value that it can read and not write
        raise Rejected(f"its properties cannot be written unchanged: {type(error).__name__}") from error


@asynccontextmanager
async def taking_turns(
    url: str, topology: Topology, queue: str, *, wait_seconds: float = TURN_SECONDS
) -> AsyncIterator[Turn]:
    """Take the dead letters of a queue in hand, alone; whatever was not settled goes back when the hand opens.

    The turn is an exclusive queue. It and the messages belong to one connection: who loses the turn loses its hold on
    the messages in the same moment, however long it may believe to have both.

    Raises:
        Busy: somebody else had them in hand all the time.
        Rejected: there is no such queue, or it does not stand.
        BrokerUnavailable: RabbitMQ cannot be reached, or was lost.

    """
    if queue not in QUEUES:
        raise Rejected(f"no queue {queue!r}; there are {', '.join(QUEUES)}")
    with _explained(topology, queue):
        async with await connect(url, "payscore-worker dead letters") as connection:
            await _take_turn(connection, topology, queue, wait_seconds)
            try:
                async with scratch_channel(connection) as channel:
                    yield Turn(queue, topology, connection, channel)
                    await _give_back(channel)
            finally:
                await _end_turn(connection, topology, queue)


@asynccontextmanager
async def moving(turn: Turn) -> AsyncIterator[Mover]:
    """Set up to move dead letters of this turn, and first put right what a broken-off replay left behind."""
    await put_right(turn)
    await (await turn.channel.get_underlay_channel()).tx_select()
    staging = await turn.topology.declare_staging(turn.channel, turn.queue)
    async with confirming(turn.connection) as channel:
        mover = Mover(turn, staging, channel)
        yield mover
        await mover.tidy_up()


async def staged_count(connection: AbstractConnection, topology: Topology, queue: str) -> int | None:
    """Count what a broken-off replay left; none where there is no such queue yet, None if RabbitMQ cannot tell."""
    staging = await count(connection, topology.staging(queue))
    return staging.ready if staging.stands else 0


# --- After a replay that was broken off ---


async def put_right(turn: Turn) -> None:
    """Undo what a broken-off replay left half done, before anything else is done to these dead letters."""
    if await staged_count(turn.connection, turn.topology, turn.queue) == 0:
        return
    async with scratch_channel(turn.connection) as channel:
        staging = await turn.topology.declare_staging(channel, turn.queue)
        for _ in range(MAX_STAGED):
            copies = [copy async for copy in _all_of(staging)]
            if not copies:
                break
            await _undo(turn, copies)
        await _round_trip(channel)


async def _undo(turn: Turn, copies: Sequence[AbstractIncomingMessage]) -> None:
    keys = await _standing(turn, {key_of(copy, turn.queue) for copy in copies})
    for copy in copies:
        if key_of(copy, turn.queue) not in keys:
            await _bury_again(turn, copy)
        await copy.ack()
        log.warning("replay_undone", queue=turn.queue, id=copy.message_id)


async def _standing(turn: Turn, wanted: set[str]) -> set[str]:
    """Find which of these still are dead letters; those that seem not to be may be on their way back: wait for them."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RETURN_SECONDS
    while True:
        found = await _look_for(turn, wanted)
        if found == wanted or loop.time() > deadline:
            return found
        await asyncio.sleep(POLL_SECONDS)


async def _look_for(turn: Turn, wanted: set[str]) -> set[str]:
    found: set[str] = set()
    async with scratch_channel(turn.connection) as channel:
        look = replace(turn, channel=channel)
        async for message in look.messages(MAX_SCANNED):
            if (key := key_of(message, turn.queue)) in wanted:
                found.add(key)
            if found == wanted:
                break
        await _give_back(channel)
    return found


async def _bury_again(turn: Turn, copy: AbstractIncomingMessage) -> None:
    """Make the copy a dead letter: it may be the only one there is."""
    failure = Failure(reason=LEFT_BEHIND, error="ReplayBrokenOff", attempts=0, at=datetime.now(UTC))
    letter = failed_message(
        copy,
        failure,
        origin=turn.topology.name(turn.queue),
        exchange=DEFAULT_EXCHANGE,
        routing_key=turn.topology.dead(turn.queue),
    )
    async with confirming(turn.connection) as channel:
        await publish(turn.connection, channel, letter)


# --- Pieces ---


def key_of(message: AbstractIncomingMessage, queue: str) -> str:
    """Tell a dead letter and its copy from all others, whatever history the headers of either tell."""
    return hashlib.sha256(identity(message, queue).encode() + b"\n" + message.body).hexdigest()


async def _all_of(queue: AbstractQueue) -> AsyncIterator[AbstractIncomingMessage]:
    """Take what is staged, within both limits."""
    size = 0
    for _ in range(MAX_STAGED):
        message = await queue.get(fail=False)
        if message is None:
            return
        yield message
        size += len(message.body)
        if size > MAX_STAGED_BYTES:
            return


@asynccontextmanager
async def confirming(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    """Open a channel on which a publish returns once RabbitMQ has the message, and raises where no queue takes it."""
    async with connection.channel(publisher_confirms=True, on_return_raises=True) as channel:
        yield channel


async def publish(connection: AbstractConnection, channel: AbstractChannel, outgoing: Outgoing) -> None:
    """Publish, confirmed; while RabbitMQ has an alarm, send nothing that would arrive late."""
    if connection.transport is not None:
        await connection.transport.ready()
    await Exchange(channel, outgoing.exchange).publish(_message(outgoing), outgoing.routing_key, mandatory=True)


def _message(outgoing: Outgoing) -> Message:
    return Message(
        outgoing.body,
        headers=dict(outgoing.headers),
        content_type=outgoing.content_type,
        message_id=outgoing.message_id,
        delivery_mode=DeliveryMode.PERSISTENT,
        **outgoing.properties,
    )


async def _commit(channel: AbstractChannel) -> None:
    await (await channel.get_underlay_channel()).tx_commit()


async def _give_back(channel: AbstractChannel) -> None:
    """Return everything taken on this channel, to its place, and know that RabbitMQ has it."""
    await _return_all(channel)
    await _round_trip(channel)


async def _return_all(channel: AbstractChannel) -> None:
    await (await channel.get_underlay_channel()).basic_nack(0, multiple=True, requeue=True)


async def _round_trip(channel: AbstractChannel) -> None:
    """Wait for an answer on this channel: whatever was sent on it before has been read."""
    await channel.set_qos(prefetch_count=0)


async def _take_turn(connection: AbstractConnection, topology: Topology, queue: str, wait_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    while True:
        try:
            async with scratch_channel(connection) as channel:
                await channel.declare_queue(topology.turn(queue), exclusive=True)
        except ChannelLockedResource as error:
            if loop.time() > deadline:
                raise Busy(
                    f"the dead letters of {queue} are in somebody else's hand; try again when they are done"
                ) from error
            await asyncio.sleep(POLL_SECONDS)
        else:
            return


async def _end_turn(connection: AbstractConnection, topology: Topology, queue: str) -> None:
    """Let the next one in at once; the end of the connection would as well."""
    if not connection.is_closed:
        async with scratch_channel(connection) as channel:
            await channel.queue_delete(topology.turn(queue))


@contextmanager
def _explained(topology: Topology, queue: str) -> Iterator[None]:
    try:
        with translated():
            yield
    except ChannelNotFoundEntity as error:
        raise Rejected(f"{topology.dead(queue)} does not stand: run `payscore-worker topology`") from error
    except PublishError as error:
        raise BrokerUnavailable(f"{topology.staging(queue)} was deleted meanwhile; try again") from error
    except BROKEN as error:
        raise BrokerUnavailable(f"RabbitMQ was lost: {reason_of(error)}") from error
