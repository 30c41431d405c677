"""A connection to RabbitMQ that is made anew, whole, whenever anything of it breaks.

aio-pika's robust connections restore themselves piece by piece and can end up open and deaf (ADR 4); we start over.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ConnectionClosed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from payscore_worker.messaging.addresses import Address, resolve
from payscore_worker.messaging.connection import CLOSE_TIMEOUT_SECONDS, Connection

CEASE_TIMEOUT_SECONDS: Final = 10.0
"""Cancelling a consumer is one round trip."""

HEARTBEAT_SECONDS: Final = 6
"""RabbitMQ says something at least every six seconds, and gives us up after twelve to eighteen without a word; below
five, its documentation says, healthy links are taken for dead."""

SLACK_SECONDS: Final = 2.0
"""A heartbeat may be this late before the link is given up: a frozen node is left within eight seconds and a tick."""

TICKS: Final = 8
"""Silence is counted in so many steps: where this process itself was held up, that counts as one."""

CONNECT_TIMEOUT_SECONDS: Final = 10.0
"""A broker on the same network answers in milliseconds."""

NEXT_ADDRESS_SECONDS: Final = 1.0
"""After so long without a word the next address is tried beside the first: a frozen node accepts, and never greets."""

SET_UP_TIMEOUT_SECONDS: Final = 30.0
"""Declaring two dozen queues on a busy quorum cluster."""

END_AGAIN_SECONDS: Final = CLOSE_TIMEOUT_SECONDS + 1.0
"""What is told to end has said its good-bye by then, or has not heard."""

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
"""A restarted broker is found within these seconds, and not hammered before."""

SOUND_AFTER_SECONDS: Final = 30.0
"""A link that held this long was sound: its loss is news, and the first new attempt is made soon."""

BROKEN: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, asyncio.InvalidStateError)
"""What aio-pika raises when the connection, the channel or the broker is gone."""

REFUSED: Final = (ConnectionClosed, AuthenticationError, ProbableAuthenticationError, InvalidFrameError)
"""What aiormq raises where RabbitMQ is there, and will not have us; the last, where it does not know the vhost."""

log = structlog.stdlib.get_logger(__name__)


def reason_of(error: BaseException) -> str:
    """Say in one line why RabbitMQ was not reached, or would not have us: in its own words where it gave any."""
    said = " ".join(str(argument) for argument in error.args if isinstance(argument, str))
    text = said if isinstance(error, AMQPError) and said else str(error) or type(error).__name__
    return " ".join(text.split())


class LinkBroken(ConnectionError):
    """The connection, or a part of it that we need, is gone."""


Work = Callable[["Session"], Coroutine[Any, Any, None]]

Taken = set[URL]
"""Where links of ours stand that share no address."""


async def keep_linked(
    url: str,
    name: str,
    work: Work,
    *,
    on_absent: Callable[[], None] = lambda: None,
    taken: Taken | None = None,
) -> None:
    """Connect and do the work; do both again whenever the link breaks. Returns when the work returns.

    Links that are given the same `taken` never stand at the same address.
    """
    taken = set() if taken is None else taken
    pauses, lost = _pauses(), None
    while True:
        began = time.monotonic()
        try:
            async with await _connect_or_tell(url, name, on_absent, taken, lost) as connection:
                lost = connection.address
                with _claimed(lost.url, taken):
                    return await Session(connection).hold(work)
        except BROKEN as error:
            end_if_told()
            log.warning("broker_link_lost", link=name, error=type(error).__name__, reason=reason_of(error))
        if time.monotonic() - began > SOUND_AFTER_SECONDS:
            pauses = _pauses()
        await asyncio.sleep(next(pauses))


async def _connect_or_tell(
    url: str, name: str, on_absent: Callable[[], None], taken: Taken, lost: Address | None
) -> Connection:
    try:
        return await connect(url, name, taken=taken, lost=lost)
    except BROKEN as error:
        if not isinstance(error, REFUSED):
            on_absent()
        raise


@contextmanager
def _claimed(url: URL, taken: Taken) -> Iterator[None]:
    if url in taken:
        raise LinkBroken("another link of ours came to the same address first")
    taken.add(url)
    try:
        yield
    finally:
        taken.discard(url)


def _pauses() -> Iterator[float]:
    """Wait longer each time, up to a limit, and a little differently in each worker, lest they all come at once."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class Session:
    """One connection for as long as it is whole."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tags: set[str] = set()
        connection.close_callbacks.add(self._on_close)

    async def hold(self, work: Work) -> None:
        """Do the work for as long as the session is whole.

        Raises:
            LinkBroken: it broke first, and the work was ended.

        """
        with translated():
            await race(work(self), self.broken(), self._listen())

    async def _listen(self) -> None:
        """Leave a peer that has said nothing for too long, no heartbeat either: it froze, or the way to it is cut.

        A busy link is not silent, and one that an alarm blocks still has its heartbeats.
        """
        tick = (self.connection.heartbeat_seconds + SLACK_SECONDS) / TICKS
        silent, heard = 0, self.connection.heard
        while silent < TICKS:
            await asyncio.sleep(tick)
            silent = silent + 1 if self.connection.heard == heard else 0
            heard = self.connection.heard
        self.connection.cut()
        raise LinkBroken("RabbitMQ has fallen silent")

    async def channel(self, **options: Any) -> AbstractChannel:  # noqa: ANN401 - passed on to aio-pika
        """Open a channel whose end ends the session."""
        channel = await _open_channel(self.connection, self._on_close, **options)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_consumer_cancel)
        return channel

    async def consume(self, queue: AbstractQueue, take: Callable[[AbstractIncomingMessage], Awaitable[None]]) -> str:
        """Consume a queue of this session; returns the consumer's tag."""
        tag = await queue.consume(take)
        self._tags.add(tag)
        return tag

    async def cease(self, queue: AbstractQueue, tag: str) -> None:
        """Ask RabbitMQ for no more of a queue; what it has sent is still ours to answer."""
        self._tags.discard(tag)
        await queue.cancel(tag, timeout=CEASE_TIMEOUT_SECONDS)

    async def unblocked(self) -> None:
        """Wait while RabbitMQ has an alarm: it reads nothing then, and what is sent all the same arrives too late."""
        if self.connection.transport is not None:
            await self.connection.transport.ready()

    async def is_blocked(self) -> bool:
        """Tell whether RabbitMQ has an alarm."""
        try:
            async with asyncio.timeout(0):
                await self.unblocked()
        except TimeoutError:
            return True
        return False

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it has broken yet."""
        return not self._broken.done()

    def is_consuming(self, tag: str) -> bool:
        """Whether the session is whole and has this consumer."""
        return self.is_whole and tag in self._tags

    def break_up(self, reason: str) -> None:
        """End the session: something is wrong that RabbitMQ does not tell of."""
        if not self._broken.done():
            self._broken.set_result(reason)

    async def broken(self) -> None:
        """Wait for the end of the session.

        Raises:
            LinkBroken: always, with the reason.

        """
        raise LinkBroken(await asyncio.shield(self._broken))

    def _on_close(self, _sender: object, error: BaseException | None) -> None:
        self.break_up(reason_of(error) if error is not None else "closed")

    def _on_consumer_cancel(self, _frame: object) -> None:
        self.break_up("RabbitMQ cancelled a consumer: its queue was deleted or has moved")


@asynccontextmanager
async def scratch_channel(connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
    """Open a channel for questions that may cost it: some of RabbitMQ's answers close the channel they come on."""
    channel = await _open_channel(connection, publisher_confirms=False)
    with translated():
        try:
            yield channel
        finally:
            await _close_whole(channel)


async def _close_whole(channel: AbstractChannel) -> None:
    """Close a channel to the end, also where whoever closes it is told to end meanwhile.

    Half a close costs the connection: aiormq says Channel.Close a second time, and RabbitMQ answers CHANNEL_ERROR.
    """
    closing = asyncio.create_task(_close_in_time(channel))
    closing.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever was told to end does not ask
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait([closing])
        raise


async def _close_in_time(channel: AbstractChannel) -> None:
    async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
        await channel.close()


async def _open_channel(
    connection: AbstractConnection,
    *on_close: Callable[[AbstractChannel | None, BaseException | None], None],
    **options: Any,  # noqa: ANN401 - passed on to aio-pika
) -> AbstractChannel:
    try:
        with translated():
            channel = connection.channel(**options)
            for callback in on_close:  # before it opens: it may close at once
                channel.close_callbacks.add(callback)
            await channel
    except RuntimeError as error:  # all that aiormq says of a connection that has just closed
        raise LinkBroken(str(error)) from error
    return channel


@contextmanager
def translated() -> Iterator[None]:
    """Raise LinkBroken where aiormq raises a CancelledError that nobody asked for, and CancelledError where one was.

    A connection that its heartbeat finds frozen rejects in that way whatever waits on it; a task that let it pass would
    end as if it had been told to, and nobody would miss it. And who is told to end, and meets an error while closing
    what is open, would go on as if nobody had said anything; so would who is told while what aiormq waits for comes:
    before Python 3.12 asyncio.wait_for then gives the result, and the word is lost (bpo-37658).
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise LinkBroken("the connection froze") from error
    except Exception:
        end_if_told()
        raise
    else:
        end_if_told()


def is_cancelled() -> bool:
    """Whether somebody asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def end_if_told() -> None:
    """Raise CancelledError if somebody asked the current task to end: an error on the way out may have hidden it."""
    if is_cancelled():
        raise asyncio.CancelledError


async def race(*works: Coroutine[Any, Any, object]) -> None:
    """Do all of these until the first ends, then end the others; raises what the first raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(tasks)
    for task in tasks:
        if task in first:
            task.result()


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Have tasks end, and wait until they have; one that has lost the word is told again."""
    again: asyncio.TimerHandle

    def tell() -> None:
        nonlocal again
        for task in tasks:
            task.cancel()
        again = asyncio.get_running_loop().call_later(END_AGAIN_SECONDS, tell)

    tell()
    try:
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        again.cancel()


async def connect(url: str, name: str, *, taken: Collection[URL] = (), lost: Address | None = None) -> Connection:
    """Connect to the first address that lets us in, under a name that operators see in the broker's list.

    Each address has its own time; one that is slow to answer does not hold up the next. The one that was just lost
    comes last; those that are taken are not tried.

    Raises:
        BROKEN: none lets us in; told is the refusal of one that answers, else what came last.

    """
    places = [address for address in await resolve(url) if address.url not in taken]
    if not places:
        raise ConnectionError("no address is left for another link")
    waiting = sorted(places, key=lambda address: address == lost)
    trying: set[asyncio.Task[Connection]] = set()
    errors: list[Exception] = []
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.create_task(_connect_to(waiting.pop(0), name)))
            done, trying = await asyncio.wait(
                trying, timeout=NEXT_ADDRESS_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if not isinstance(error := task.exception(), Exception):
                    trying |= done - {task}
                    return task.result()
                errors.append(error)
    finally:
        await _give_up(trying)
    raise next((error for error in errors if isinstance(error, REFUSED)), errors[-1])


async def _give_up(attempts: Iterable[asyncio.Task[Connection]]) -> None:
    """End attempts that are no longer needed, and the connections of those that came too late."""
    for attempt in attempts:
        attempt.cancel()
    for made in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(made, Connection):
            await made.close()


async def _connect_to(address: Address, name: str) -> Connection:
    heartbeat = int(address.url.query.get("heartbeat", HEARTBEAT_SECONDS))
    connection = Connection(address, heartbeat_seconds=heartbeat, name=name)
    try:
        with translated():
            await connection.connect(timeout=CONNECT_TIMEOUT_SECONDS)
    except StopAsyncIteration as error:  # how aiormq says that the broker hung up in the middle of its greeting
        await connection.close()
        raise ConnectionError("the broker hung up before the connection was made") from error
    except BaseException:
        await connection.close()
        raise
    return connection
