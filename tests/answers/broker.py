"""The broker, as far as the settlement feels it: redelivery on the ladder, dead letters, queues left alone."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from payscore_worker.errors import Rejected, Retryable
from payscore_worker.events import EventIn, message_in_hand
from payscore_worker.messaging.handling import HANDLER_TIMEOUT_SECONDS, Subscription
from payscore_worker.messaging.retry import DeadLetter, next_attempt
from payscore_worker.settings import BrokerSettings, durations
from payscore_worker.wechatpay import Breakers

RETRY_DELAYS: Final = durations(BrokerSettings().retry_delays)
"""As the settings have it."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A worker, as the broker knows it."""

    name: str
    breaker: Breakers
    subscriptions: Sequence[Subscription]

    def of(self, event: EventIn) -> Subscription:
        """Find the queue that carries such an event."""
        return next(one for one in self.subscriptions if type(event) in one.events.values())


@dataclass(slots=True)
class Broker:
    """Delivers every message until it is done or dead."""

    consumers: list[Consumer] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    """What lies among the dead letters, and why."""
    surprises: list[str] = field(default_factory=list)
    """Errors of handlers that are none of ours."""
    in_hand: int = 0
    """Messages that are delivered, or wait to be."""
    _serial: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def publish(self, event: EventIn, *, to_all: bool = False) -> None:
        """Take a message; `to_all`: it comes to every consumer, as it does where a connection was lost after it."""
        message_id = f"message-{next(self._serial)}"
        if to_all:
            for consumer in self.consumers:
                self._start(event, message_id, [consumer])
        else:
            self._start(event, message_id, self.consumers)

    async def aclose(self) -> None:
        """Let go of what is not done."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, event: EventIn, message_id: str, consumers: Sequence[Consumer]) -> None:
        self.in_hand += 1
        task = asyncio.create_task(self._deliver(event, message_id, consumers))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.in_hand -= 1

    async def _deliver(self, event: EventIn, message_id: str, consumers: Sequence[Consumer]) -> None:
        attempt = 1
        while True:
            consumer = await self._free(event, consumers)
            error = await _handled(consumer.of(event), event, message_id)
            if error is None:
                return
            if not isinstance(error, Retryable | Rejected):
                self.surprises.append(repr(error))
            decision = next_attempt(error, attempt, RETRY_DELAYS)
            if isinstance(decision, DeadLetter):
                self.dead.append(f"{type(event).__name__}: {decision.reason}")
                return
            attempt += decision.counts
            await asyncio.sleep(decision.delay.total_seconds())

    async def _free(self, event: EventIn, consumers: Sequence[Consumer]) -> Consumer:
        """Take the next consumer in turn that does not leave this queue alone; wait, where all do."""
        while True:
            free = [one for one in consumers if not (one.of(event).calls_wechatpay and one.breaker.is_open)]
            if free:
                return free[next(self._turns) % len(free)]
            closed = [asyncio.create_task(one.breaker.closed()) for one in consumers]
            try:
                await asyncio.wait(closed, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in closed:
                    task.cancel()


async def _handled(subscription: Subscription, event: EventIn, message_id: str) -> Exception | None:
    message_in_hand.set(message_id)
    try:
        async with asyncio.timeout(HANDLER_TIMEOUT_SECONDS):
            await subscription.handle(event)
    except Exception as error:  # noqa: BLE001 - whatever it is, the policy decides
        return error
    return None
