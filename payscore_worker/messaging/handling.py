"""What becomes of one message: handled and acked, or retried, or dead-lettered; never forgotten."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractIncomingMessage

from payscore_worker import metrics, tracing
from payscore_worker.errors import BrokerUnavailable, Rejected, Retryable, Unpublishable, Unroutable
from payscore_worker.events import MAX_BODY_BYTES, EventIn, Received, message_in_hand, read_event
from payscore_worker.messaging.connection import UNREADABLE
from payscore_worker.messaging.envelope import Failure, attempts_before, failed_message
from payscore_worker.messaging.link import BROKEN, Session, end_if_told, is_cancelled, translated
from payscore_worker.messaging.publisher import ITS_OWN_FAULT, Outgoing, Publisher, is_large
from payscore_worker.messaging.retry import DeadLetter, RetryAfter, next_attempt
from payscore_worker.messaging.topology import DEFAULT_EXCHANGE, Topology, duration_text

HANDLER_TIMEOUT_SECONDS: Final = 300.0
"""Seven steps of three attempts of thirteen seconds; the broker would take the message back after thirty minutes."""

ANSWER_TIMEOUT_SECONDS: Final = 10.0
"""An ack is a few bytes on a socket; where they cannot be sent, nobody reads."""

HOLD_SECONDS: Final = 5.0
"""A message that can be neither retried nor dead-lettered now stays in hand; this long between two attempts."""

Handle = Callable[[EventIn], Awaitable[None]]
log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A queue, what it carries, and what is done about it."""

    queue: str
    events: Mapping[str, type[EventIn]]
    handle: Handle
    calls_wechatpay: bool = True
    """Whether handling comes to nothing while WeChat Pay is out; the queue is left alone then."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A message that RabbitMQ waits for us to answer, and the session it came in."""

    message: AbstractIncomingMessage
    session: Session

    async def ack(self, outcome: str) -> str:
        """Tell RabbitMQ that it may forget the message; returns the outcome."""
        return await self._answer(self.message.ack, outcome)

    async def reject(self, outcome: str) -> str:
        """Have RabbitMQ itself dead-letter the message, as it is; returns the outcome."""
        return await self._answer(self.message.reject, outcome)

    async def _answer(self, verb: Callable[[], Awaitable[None]], outcome: str) -> str:
        """Answer, or else end the session: a message without an answer is delivered to nobody while that stands."""
        try:
            with translated():
                async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                    await verb()
        except BROKEN as error:
            self.session.break_up(f"an answer could not be sent: {error!r}")
            return f"{outcome}, to be redelivered"  # its effect stands; a redelivery changes nothing
        return outcome


class Handling:
    """Handles the messages of a subscription."""

    def __init__(
        self,
        subscription: Subscription,
        *,
        publisher: Publisher,
        topology: Topology,
        stopping: asyncio.Event,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._subscription = subscription
        self._publisher = publisher
        self._topology = topology
        self._stopping = stopping
        self._hold_seconds = hold_seconds

    async def handle(self, held: Held) -> None:
        """Handle a message, answer for it, and say so in one line."""
        message, began = held.message, time.perf_counter()
        attempt = attempts_before(message, origin=self._origin) + 1
        structlog.contextvars.bind_contextvars(
            queue=self._subscription.queue, message_id=message.message_id, attempt=attempt
        )
        with tracing.span(f"process {self._origin}", tracing.Kind.CONSUMER, {}, parent=message.headers) as span:
            outcome = await self._dispose(held, attempt)
            span.note(self._traced(message, outcome), error=None if outcome == "done" else outcome)
        seconds = time.perf_counter() - began
        metrics.of(metrics.HANDLING, self._origin, outcome).observe(seconds)
        duration_ms = round(seconds * 1000, 1)
        log.info("message_handled", routing_key=message.routing_key, outcome=outcome, duration_ms=duration_ms)

    def _traced(self, message: AbstractIncomingMessage, outcome: str) -> dict[str, tracing.Value]:
        if not tracing.is_on():
            return {}
        return {
            **tracing.RABBITMQ,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": f"{message.exchange}:{message.routing_key}:{self._origin}",
            "messaging.rabbitmq.destination.routing_key": message.routing_key,
            "messaging.message.id": message.message_id,
            "payscore.outcome": outcome,
            "payscore.trip_id": structlog.contextvars.get_contextvars().get("trip_id"),
        }

    async def _dispose(self, held: Held, attempt: int) -> str:
        if UNREADABLE in held.message.headers:
            log.warning("message_unreadable", reason=held.message.headers[UNREADABLE])
            return await self._have_dead_lettered(held, "Unreadable")
        if len(held.message.body) > MAX_BODY_BYTES:
            log.warning("message_too_large", bytes=len(held.message.body), most=MAX_BODY_BYTES)
            return await self._have_dead_lettered(held, "TooLarge")
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_SECONDS):
                await _react(self._subscription, held.message)
        except asyncio.CancelledError as error:
            if is_cancelled():  # the grace of a stop is over: the message goes back to its queue
                raise
            return await self._after_failure(held, attempt, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the message must end somewhere
            return await self._after_failure(held, attempt, error)
        return await held.ack("done")

    async def _have_dead_lettered(self, held: Held, reason: str) -> str:
        """Reject it: RabbitMQ can move what we cannot copy."""
        metrics.of(metrics.DEAD_LETTERS, self._origin, reason).inc()
        return await held.reject("dead-lettered")

    async def _after_failure(self, held: Held, attempt: int, error: BaseException) -> str:
        if not isinstance(error, (Retryable, Rejected)):
            log.error("message_surprised_us", exc_info=error)
        decision = next_attempt(error, attempt, self._topology.retry_delays)
        reason = decision.reason if isinstance(decision, DeadLetter) else str(error) or repr(error)
        structlog.contextvars.bind_contextvars(error=type(error).__name__, reason=reason)
        counted = attempt if isinstance(decision, DeadLetter) or decision.counts else attempt - 1
        failure = Failure(reason=reason, error=type(error).__name__, attempts=counted, at=datetime.now(UTC))
        try:
            passed_on = await self._pass_on(held, self._copy(held.message, failure, decision))
        except Unpublishable as refused:
            log.warning("message_not_copied", refused=str(refused))
            return await self._have_dead_lettered(held, "Unpublishable")
        except Exception:
            log.exception("message_not_copied")
            return await self._have_dead_lettered(held, "Uncopyable")
        if not passed_on:
            return "to be redelivered"
        self._count(decision, error)
        return await held.ack("dead-lettered" if isinstance(decision, DeadLetter) else "retried")

    def _count(self, decision: RetryAfter | DeadLetter, error: BaseException) -> None:
        if isinstance(decision, DeadLetter):
            metrics.of(metrics.DEAD_LETTERS, self._origin, type(error).__name__).inc()
        else:
            metrics.of(metrics.RETRIES, self._origin, duration_text(decision.delay)).inc()

    async def _pass_on(self, held: Held, copy: Outgoing) -> bool:
        """Publish the copy, however long it takes, while the message is ours; tells whether it was confirmed.

        A message that is held keeps its place: with RabbitMQ in trouble, consuming comes to rest by itself. To give it
        back instead would be to get it again at once, fifty times, until it was dead-lettered for that.

        What may be too large goes on a connection of its own, and so does what was in flight when the shared one broke:
        there RabbitMQ's word is about this message and no other.

        Raises:
            Unpublishable: RabbitMQ will never take it.

        """
        apart = is_large(copy)
        while held.session.is_whole and not self._stopping.is_set():
            try:
                await (self._publisher.publish_apart(copy) if apart else self._publisher.publish(copy))
            except (BrokerUnavailable, Unroutable) as trouble:
                end_if_told()
                log.warning("message_held", trouble=str(trouble))
                apart = apart or isinstance(trouble.__cause__, ITS_OWN_FAULT)
                await self._pause()
            else:
                return True
        return False

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._hold_seconds):
                await self._stopping.wait()

    def _copy(self, message: AbstractIncomingMessage, failure: Failure, decision: RetryAfter | DeadLetter) -> Outgoing:
        if isinstance(decision, RetryAfter):
            exchange, routing_key = self._topology.rung(decision.delay), self._origin
        else:
            exchange, routing_key = DEFAULT_EXCHANGE, self._topology.dead(self._subscription.queue)
        return failed_message(message, failure, origin=self._origin, exchange=exchange, routing_key=routing_key)

    @property
    def _origin(self) -> str:
        return self._topology.name(self._subscription.queue)


async def _react(subscription: Subscription, message: AbstractIncomingMessage) -> None:
    received = read_event(
        message.body,
        content_type=message.content_type,
        message_id=message.message_id,
        expected=subscription.events,
    )
    message_in_hand.set(received.id)
    structlog.contextvars.bind_contextvars(message_id=received.id, **_subject(received))
    await subscription.handle(received.event)


def _subject(received: Received) -> dict[str, Any]:
    trip_id = getattr(received.event, "trip_id", None)
    return {} if trip_id is None else {"trip_id": trip_id}
