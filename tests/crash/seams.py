"""Puts crash points at every boundary of a role, by wrapping the classes that stand there; these know nothing of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

import aiormq
from aiohttp.client_reqrep import ClientRequest
from starlette.requests import Request
from starlette.responses import Response

from payscore_worker.messaging.handling import Held
from payscore_worker.messaging.publisher import Outgoing, Publisher
from payscore_worker.messaging.relay import Relay
from payscore_worker.messaging.topology import EVENTS, NOTIFICATIONS
from payscore_worker.settlement.reconciler import Reconciler
from payscore_worker.storage.cases import Case, table_of
from payscore_worker.storage.postgres import PostgresStorage
from payscore_worker.storage.sqlite import SqliteStorage
from payscore_worker.storage.tables import moment_to_text, trip_event
from payscore_worker.webhook import Webhook
from payscore_worker.wechatpay import Notifications, WechatPayClient
from tests.crash.points import acting, actor, die, points

Method = Callable[..., Awaitable[Any]]
StorageClass = type[PostgresStorage] | type[SqliteStorage]

STORAGES: Final[tuple[StorageClass, ...]] = (PostgresStorage, SqliteStorage)

COMMITS: Final = (
    "save",
    "save_together",
    "journal",
    "begin_send",
    "note_event",
    "note_service",
    "reschedule",
    "mark_published",
    "postpone_outbox",
)
"""What writes each time it is called."""

CLAIMS: Final = {"claim_due": "due_at <= {now}", "claim_outbox": "pending"}
"""What writes only where something waits, and by which rows that can be told beforehand."""

FLUSH_SECONDS: Final = 0.01
"""For bytes that were handed over to leave: the event loop writes them at the end of its turn."""

_call: Final[ContextVar[str]] = ContextVar("call", default="")
"""The WeChat call that is under way in this task."""

_in_flight: Final[dict[str, tuple[str, str]]] = {}
"""By message id: who publishes what."""


def install() -> None:
    """Wrap everything, once, before any role is forked."""
    for storage in STORAGES:
        for name in COMMITS:
            _wrap(storage, name, committing(name))
        for name, condition in CLAIMS.items():
            _wrap(storage, name, _claiming(name, _waits(storage, condition)))
    _wrap(WechatPayClient, "_try", _calling)
    _wrap(ClientRequest, "send", _sending)
    _wrap(Publisher, "publish", _publishing)
    _wrap(aiormq.Channel, "_on_confirm_frame", _confirming)
    _wrap(Held, "ack", _acking)
    _wrap(Relay, "run_once", as_("relay"))
    _wrap(Reconciler, "_claim", as_("reconciler"))
    _wrap(Reconciler, "_take_up", as_("reconciler"))
    _wrap(Notifications, "open", _opening)
    _wrap(Webhook, "receive", _receiving)


def _wrap(owner: type, name: str, around: Callable[[Method], Method]) -> None:
    setattr(owner, name, around(getattr(owner, name)))


def as_(who: str) -> Callable[[Method], Method]:
    """Name who is at work."""

    def around(method: Method) -> Method:
        async def acted(self: object, *args: Any) -> Any:
            with acting(who):
                return await method(self, *args)

        return acted

    return around


# --- Database ---


def committing(name: str) -> Callable[[Method], Method]:
    """Put a point before a write, and one after its commit."""

    def around(method: Method) -> Method:
        async def committed(self: object, *args: Any, **kwargs: Any) -> Any:
            points.strike(name, "before")
            result = await method(self, *args, **kwargs)
            points.strike(name, "after")
            return result

        return committed

    return around


def _claiming(name: str, waits: Callable[[Any, str, datetime], Awaitable[bool]]) -> Callable[[Method], Method]:
    """Put points around a claim that claims something; the others are many, and change nothing."""

    def around(method: Method) -> Method:
        async def claimed(self: object, *kind: type[Case], now: datetime, **kwargs: Any) -> Any:
            table = table_of(*kind).name if kind else trip_event.name
            if await waits(self, table, now):
                points.strike(name, "before")
            rows = await method(self, *kind, now=now, **kwargs)
            if rows:
                points.strike(name, "after")
            return rows

        return claimed

    return around


def _waits(storage: StorageClass, condition: str) -> Callable[[Any, str, datetime], Awaitable[bool]]:
    """Make the question whether there is something to claim."""
    unclaimed = "(claimed_until IS NULL OR claimed_until <= {now})"

    def question(table: str, now: str) -> str:
        where = f"{condition} AND {unclaimed}".format(now=now)
        return f"SELECT 1 FROM {table} WHERE {where} LIMIT 1"  # noqa: S608 - constants

    async def asks_sqlite(self: SqliteStorage, table: str, now: datetime) -> bool:
        asked, moment = question(table, "?1"), moment_to_text(now)
        return await self._do(lambda db: db.execute(asked, (moment,)).fetchone()) is not None

    async def asks_postgresql(self: PostgresStorage, table: str, now: datetime) -> bool:
        return await self._pool.fetchval(question(table, "$1"), now) is not None

    return asks_sqlite if storage is SqliteStorage else asks_postgresql


# --- WeChat Pay ---


def _calling(method: Method) -> Method:
    """Put a point before a request is made, and one after its reply, or the lack of one, is known."""

    async def called(self: WechatPayClient, sending: Any) -> Any:
        what = f"call {sending.call.kind.value}"
        points.strike(what, "before")
        token = _call.set(what)
        try:
            answer = await method(self, sending)
        except Exception:
            points.strike(what, "received")
            raise
        finally:
            _call.reset(token)
        points.strike(what, "received")
        return answer

    return called


def _sending(method: Method) -> Method:
    """Put a point where the request has left and the reply is not read."""

    async def sent(self: ClientRequest, connection: Any) -> Any:
        response = await method(self, connection)
        if (what := _call.get()) and points.reach(what, "sent"):
            await asyncio.sleep(FLUSH_SECONDS)  # the body is written in a task of its own
            die()
        return response

    return sent


# --- Broker ---


def _publishing(method: Method) -> Method:
    """Put a point before a message is published, and one after its confirm."""

    async def published(self: Publisher, outgoing: Outgoing) -> None:
        what = f"publish {_kind_of(outgoing)}"
        points.strike(what, "before")
        _in_flight[outgoing.message_id] = (actor.get(), what)
        await method(self, outgoing)
        points.strike(what, "confirmed")

    return published


def _kind_of(outgoing: Outgoing) -> str:
    if outgoing.exchange.endswith(EVENTS):
        return "announcement"
    if outgoing.exchange.endswith(NOTIFICATIONS):
        return "notification"
    return "dead letter" if outgoing.routing_key.endswith(".dead") else "retry"


def _confirming(method: Method) -> Method:
    """Put a point where RabbitMQ has the message, and nobody of ours knows."""

    async def confirmed(self: Any, frame: Any) -> None:
        for message_id, tag in list(self.message_id_delivery_tag.items()):
            if tag == frame.delivery_tag or (getattr(frame, "multiple", False) and tag < frame.delivery_tag):
                who, what = _in_flight.pop(message_id, ("", ""))
                if what:
                    with acting(who):
                        points.strike(what, "sent")
        await method(self, frame)

    return confirmed


def _acking(method: Method) -> Method:
    """Put a point before an ack, and one after RabbitMQ has it."""

    async def acked(self: Held, outcome: str) -> Any:
        points.strike("ack", "before")
        answered = await method(self, outcome)
        if points.reach("ack", "after"):
            await self.message.channel.basic_qos(prefetch_count=1)  # answered after the ack, on the same channel
            die()
        return answered

    return acked


# --- Webhook ---


def _opening(method: Method) -> Method:
    async def opened(self: Notifications, *args: Any) -> Any:
        points.strike("verify", "before")
        return await method(self, *args)

    return opened


def _receiving(method: Method) -> Method:
    async def received(self: Webhook, request: Request) -> Response:
        response: Response = await method(self, request)
        points.strike("answer", "before")
        return response

    return received
