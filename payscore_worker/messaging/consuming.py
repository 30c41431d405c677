"""Consuming through one link: a channel a queue, paused while WeChat Pay is out, and checked all the while."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from payscore_worker.messaging.declaring import keep_declared
from payscore_worker.messaging.handling import HOLD_SECONDS, Held, Subscription
from payscore_worker.messaging.hearing import DEAF_AFTER_SECONDS, Ear
from payscore_worker.messaging.link import (
    BROKEN,
    SET_UP_TIMEOUT_SECONDS,
    Session,
    end_if_told,
    race,
    scratch_channel,
)
from payscore_worker.messaging.topology import Topology

CHECK_TIMEOUT_SECONDS: Final = 10.0
"""A passive declaration is one round trip."""

CONSUME_TIMEOUT_SECONDS: Final = 45.0
"""Beginning to consume is one round trip; but RabbitMQ asks a frozen leader for thirty seconds before the next node."""

Take = Callable[[str, Held], None]
"""Takes a message of a queue in hand."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long we wait for what; tests have less of it."""

    check_every_seconds: float = 10.0
    """How often we see whether we still consume."""
    deaf_after_seconds: float = DEAF_AFTER_SECONDS
    hold_seconds: float = HOLD_SECONDS


PATIENT: Final = Patience()


class Breaker(Protocol):
    """A circuit breaker, as far as consuming goes: open while WeChat Pay is out."""

    @property
    def is_open(self) -> bool:
        """Whether WeChat Pay is out."""

    async def opened(self) -> None:
        """Wait until WeChat Pay is out."""

    async def closed(self) -> None:
        """Wait until it is back."""


class Unbroken:
    """The breaker of a worker that nothing is out for."""

    is_open = False

    async def opened(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    async def closed(self) -> None:
        """Wait for nothing."""


UNBROKEN: Final = Unbroken()


class Tap:
    """A queue of a session, from which we take while it is open."""

    def __init__(
        self,
        session: Session,
        queue: AbstractQueue,
        take: Callable[[AbstractIncomingMessage], Awaitable[None]],
        *,
        pauses: bool,
    ) -> None:
        self._session = session
        self._queue = queue
        self._take = take
        self._tag: str | None = None
        self._came = 0
        self.pauses = pauses

    @property
    def is_open(self) -> bool:
        return self._tag is not None

    async def open(self) -> None:
        if self._tag is None:
            self._tag = await self._session.consume(self._queue, self._note_and_take)

    async def close(self) -> None:
        if self._tag is not None:
            tag, self._tag = self._tag, None
            await self._session.cease(self._queue, tag)

    @property
    def hears(self) -> bool:
        """Whether something came since the last check."""
        return self._came > 0

    async def check(self, channel: AbstractChannel) -> None:
        """Ask the broker whether the queue stands, and whether it has forgotten us.

        It has where messages wait, nobody consumes them, and none came. A count of no consumers alone says nothing: it
        is also what RabbitMQ answers where it cannot ask the queue's leader.
        """
        came, self._came = self._came, 0
        declared = (await channel.declare_queue(self._queue.name, passive=True)).declaration_result
        if self._tag is None:
            return
        is_forgotten = declared.message_count and not declared.consumer_count and not came + self._came
        if is_forgotten or not self._session.is_consuming(self._tag):
            raise ConnectionError(f"{self._queue.name} has no consumer of ours")

    async def _note_and_take(self, message: AbstractIncomingMessage) -> None:
        self._came += 1
        await self._take(message)


class Consuming:
    """Consumes every queue through one link after the other, as the sessions come."""

    def __init__(
        self,
        *,
        topology: Topology,
        subscriptions: Sequence[Subscription],
        take: Take,
        prefetch: int,
        breaker: Breaker,
        patience: Patience,
        ear: Ear,
        stopping: asyncio.Event,
    ) -> None:
        self._topology = topology
        self._subscriptions = subscriptions
        self._take = take
        self._prefetch = prefetch
        self._breaker = breaker
        self._patience = patience
        self._stopping = stopping
        self._turning = asyncio.Lock()
        self.ear = ear

    async def until_stopping(self, session: Session) -> None:
        """Consume, seeing to it all the while that everything stands."""
        may_begin = asyncio.Event()
        await race(self._consume(session, may_begin), keep_declared(self._topology, session.connection, may_begin))

    async def _consume(self, session: Session, may_begin: asyncio.Event) -> None:
        """Consume, checking all the while that we do."""
        await may_begin.wait()
        taps = await self._set_up(session)
        self.ear.is_consuming = True
        try:
            await race(self._stopping.wait(), self._keep_checking(session, taps), self._keep_turning(taps))
        finally:
            self.ear.is_consuming = False
        with suppress(*BROKEN):  # the end of the connection says it as well
            await self._turn(taps, to_open=False)

    async def _set_up(self, session: Session) -> list[Tap]:
        async with asyncio.timeout(SET_UP_TIMEOUT_SECONDS):
            taps = [await self._tap(session, subscription) for subscription in self._subscriptions]
        await self._turn([tap for tap in taps if not self._is_paused(tap)], to_open=True)
        return taps

    async def _tap(self, session: Session, subscription: Subscription) -> Tap:
        channel = await session.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._prefetch)
        ours = await channel.get_queue(self._topology.name(subscription.queue), ensure=False)

        async def take(message: AbstractIncomingMessage) -> None:
            self._take(subscription.queue, Held(message, session))

        return Tap(session, ours, take, pauses=subscription.calls_wechatpay)

    # --- Pauses ---

    async def _keep_turning(self, taps: Sequence[Tap]) -> None:
        """Leave the queues that call for WeChat Pay alone while it is out: their messages wait where operators look."""
        pausing = [tap for tap in taps if tap.pauses]
        while True:
            is_open = self._breaker.is_open  # it may have turned while we set up, or while we turned
            await self._turn(pausing, to_open=not is_open)
            if is_open:
                log.warning("consuming_paused", queues=len(pausing))
                await self._breaker.closed()
            else:
                await self._breaker.opened()

    def _is_paused(self, tap: Tap) -> bool:
        return tap.pauses and self._breaker.is_open

    async def _turn(self, taps: Sequence[Tap], *, to_open: bool) -> None:
        """Open or close all of these; one that has to wait for a frozen leader keeps no other waiting."""
        async with asyncio.timeout(CONSUME_TIMEOUT_SECONDS), self._turning:
            await asyncio.gather(*(tap.open() if to_open else tap.close() for tap in taps))

    # --- Self-check ---

    async def _keep_checking(self, session: Session, taps: Sequence[Tap]) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_TIMEOUT_SECONDS), self._turning:
                    await _check(session, taps)
                    if all(tap.is_open or self._is_paused(tap) for tap in taps):
                        self.ear.heard()
            except TimeoutError:
                end_if_told()
                if not any(tap.hears for tap in taps):
                    raise
                log.warning("check_unanswered")  # and yet messages come: RabbitMQ is only too busy to be asked
            await asyncio.sleep(self._patience.check_every_seconds)


async def _check(session: Session, taps: Sequence[Tap]) -> None:
    async with scratch_channel(session.connection) as channel:
        for tap in taps:
            await tap.check(channel)
