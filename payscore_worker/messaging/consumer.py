"""Consuming: each message in a task of our own, acked last; through two nodes at once, where there are several."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from payscore_worker.messaging.addresses import broker_urls
from payscore_worker.messaging.consuming import PATIENT, UNBROKEN, Breaker, Consuming, Patience
from payscore_worker.messaging.handling import Handling, Held, Subscription
from payscore_worker.messaging.hearing import Hearing
from payscore_worker.messaging.link import Session, Taken, keep_linked, race
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.messaging.topology import Topology

MOST_LINKS: Final = 2
"""When a node freezes that led the queues, RabbitMQ has whoever comes anew wait for it, for half a minute and more, and
serves those who are there already after a few seconds: so we are there already (ADR 18)."""

log = structlog.stdlib.get_logger(__name__)


class Consumers:
    """Consumes every subscription; run() until stop()."""

    def __init__(
        self,
        *,
        url: str,
        name: str,
        topology: Topology,
        subscriptions: Sequence[Subscription],
        publisher: Publisher,
        prefetch: int,
        breaker: Breaker = UNBROKEN,
        patience: Patience = PATIENT,
    ) -> None:
        self._url = url
        self._name = name
        self._breaker = breaker
        self._patience = patience
        self._stopping, self._stopped = asyncio.Event(), asyncio.Event()
        self._pausing = frozenset(one.queue for one in subscriptions if one.calls_wechatpay)
        self._handlings = {
            one.queue: Handling(
                one,
                publisher=publisher,
                topology=topology,
                stopping=self._stopping,
                hold_seconds=patience.hold_seconds,
            )
            for one in subscriptions
        }
        self._places = {queue: asyncio.Semaphore(prefetch) for queue in self._handlings}
        self._in_hand: set[asyncio.Task[None]] = set()
        self._not_begun: dict[Held, asyncio.Task[None]] = {}
        links = min(MOST_LINKS, len(set(broker_urls(url))))
        self.hearing = Hearing(links, deaf_after_seconds=patience.deaf_after_seconds)
        self._links = [
            Consuming(
                topology=topology,
                subscriptions=subscriptions,
                take=self._take_in_hand,
                prefetch=-(-prefetch // links),
                breaker=breaker,
                patience=patience,
                ear=ear,
                stopping=self._stopping,
            )
            for ear in self.hearing.ears
        ]

    async def run(self) -> None:
        """Consume until stop().

        Raises:
            Deaf: the broker answers, and yet we do not consume.
            TopologyRefused: RabbitMQ will not have our exchanges and queues.

        """
        taken: Taken = set()
        linked = [self._linked(consuming, taken) for consuming in self._links]
        try:
            await race(*linked, self._watch(), self._stopped.wait())
        finally:
            for task in self._in_hand:
                task.cancel()

    async def _linked(self, consuming: Consuming, taken: Taken) -> None:
        async def work(session: Session) -> None:
            consuming.ear.present()
            if not self._stopping.is_set():
                try:
                    await consuming.until_stopping(session)
                finally:
                    self._leave_what_has_not_begun(session)
            await self._stopped.wait()  # what is in hand is acked on these channels

        await keep_linked(self._url, self._name, work, on_absent=consuming.ear.absent, taken=taken)

    async def stop(self, *, grace_seconds: float) -> None:
        """Take no more messages, finish those in hand within the grace, leave the rest to the broker."""
        self._stopping.set()
        try:
            unfinished: set[asyncio.Task[None]] = set()
            if self._in_hand:
                _, unfinished = await asyncio.wait(self._in_hand, timeout=grace_seconds)
            for task in unfinished:
                task.cancel()
            log.info("consumers_stopped", unfinished=len(unfinished))
        finally:
            self._stopped.set()

    @property
    def in_hand(self) -> int:
        """How many messages we have taken and not yet answered."""
        return len(self._in_hand)

    @property
    def paused(self) -> frozenset[str]:
        """The queues that are left alone while WeChat Pay is out."""
        return self._pausing if self._breaker.is_open else frozenset()

    # --- What is in hand ---

    def _take_in_hand(self, queue: str, held: Held) -> None:
        task = asyncio.create_task(self._take(queue, held))  # ours: it outlives the channel
        self._in_hand.add(task)
        self._not_begun[held] = task
        task.add_done_callback(lambda _: self._let_fall(held, task))

    async def _take(self, queue: str, held: Held) -> None:
        """Handle a message once there is a place for it, if it is still ours by then.

        After a reconnection there can be twice as many as RabbitMQ was asked for: those whose channel is gone are in
        hand still, and come again.
        """
        async with self._places[queue]:
            self._not_begun.pop(held, None)
            if self._stopping.is_set() or not held.session.is_whole:
                return
            try:
                await self._handlings[queue].handle(held)
            except Exception:
                log.exception("message_left")
                held.session.break_up("a message was left without an answer")

    def _let_fall(self, held: Held, task: asyncio.Task[None]) -> None:
        self._in_hand.discard(task)
        self._not_begun.pop(held, None)

    def _leave_what_has_not_begun(self, session: Session) -> None:
        """Let go of what waits for a place; RabbitMQ delivers it again."""
        for held, task in self._not_begun.items():
            if held.session is session:
                task.cancel()

    # --- Self-check ---

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._patience.check_every_seconds)
            if not self._stopping.is_set():
                self.hearing.check()
