"""Notification in, event out, 200 (design 6): verified on its raw bytes, decrypted, published, confirmed. No state."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from http import HTTPStatus
from threading import Semaphore
from typing import Final

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from payscore_worker import metrics, tracing
from payscore_worker.errors import BrokerUnavailable, Unroutable
from payscore_worker.events import CLOUD_EVENT, write_cloud_event
from payscore_worker.messaging.publisher import Outgoing, Publisher
from payscore_worker.messaging.topology import NOTIFICATIONS, QUEUES, Topology
from payscore_worker.wechatpay import (
    BadSignature,
    Notification,
    NotificationError,
    Notifications,
    StaleTimestamp,
    UnknownSerial,
)

PATH: Final = "/notify/payscore"
"""The default account's."""

ACCOUNT_PATH: Final = "/notify/{account}"
"""Each account's, the default one included."""

MAX_BODY_BYTES: Final = 256 * 1024
"""Three times the largest notification that the documents bound (contract 5; reference payscore-api B.2, B.3, D.3).

A hundred fees and thirty discounts, each with a name of 20 characters, a description of 30 and 60 bytes around them;
the other texts as long as they may be; thirty debits. A Chinese character is six bytes where JSON escapes it: 56 KB.
Sealed and in base64 that is 75 KB, with the envelope 76 KB. No page bounds the coupons of a debit; there is room for
two hundred. An everyday notification has two kilobytes.
"""

COMMON_BYTES: Final = 64 * 1024
"""As much may every connection send at once: with all of them that is 64 MB, and an everyday body never waits."""

MAX_LARGE_BODIES: Final = 64
"""Bodies above that held at one time: 16 MB more. What finds no room is told to come again."""

ANSWER_SECONDS: Final = 4.5
"""WeChat Pay gives up after five seconds (reference payscore-api D.4): all of receiving, verifying and publishing."""

PUBLISH_SECONDS: Final = 4.0
"""How long a confirm may take, so that our answer still reaches WeChat Pay within its five seconds."""

SOURCE: Final = "wechatpay"

NO_ACCOUNT: Final = ""
"""On the label of what names none of ours: a stranger's word is no label."""

log = structlog.stdlib.get_logger(__name__)


class Webhook:
    """Receives WeChat Pay's callbacks and republishes them."""

    def __init__(
        self,
        *,
        notifications: Mapping[str, Notifications],
        publisher: Publisher,
        topology: Topology,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._notifications = notifications
        """By account, the default one first: a key of one opens nothing of another's."""
        self._publisher = publisher
        self._topology = topology
        self._answer_seconds = answer_seconds
        self._large = Semaphore(MAX_LARGE_BODIES)  # asyncio's own knows no trying without waiting

    def routes(self) -> list[Route]:
        """Name the routes: the default account's, and each account's own."""
        return [Route(path, self.receive, methods=["POST"]) for path in (PATH, ACCOUNT_PATH)]

    async def receive(self, request: Request) -> Response:
        """Take one callback; anything but 200 makes WeChat Pay send it again."""
        account = request.path_params.get("account", next(iter(self._notifications)))
        if account not in self._notifications:
            return _refuse(NoSuchAccount("there is no such account"), HTTPStatus.NOT_FOUND, "there is no such account")
        path = request.url.path
        with (
            metrics.NOTIFICATION_SECONDS.time(),
            tracing.span(
                f"POST {path}", tracing.Kind.SERVER, {"http.request.method": "POST", "url.path": path}
            ) as span,
        ):
            response = await self._answer(request, account)
            refused = response.status_code != HTTPStatus.OK
            span.note(
                {"http.response.status_code": response.status_code},
                error=str(response.status_code) if refused else None,
            )
            return response

    async def _answer(self, request: Request, account: str) -> Response:
        try:
            notification = await self._take(request, account)
        except (NotificationError, BodyRefused) as error:
            return _refuse(error, _status_of(error), str(error), account)
        except NoRoom as error:
            return _refuse(error, HTTPStatus.SERVICE_UNAVAILABLE, str(error), account)
        except (BrokerUnavailable, Unroutable, TimeoutError) as error:
            return _refuse(error, HTTPStatus.SERVICE_UNAVAILABLE, "cannot be published now; send it again", account)
        except Exception as error:
            log.exception("notification_surprised_us", account=account)
            return _refuse(error, HTTPStatus.INTERNAL_SERVER_ERROR, "an error of ours; send it again", account)
        metrics.of(metrics.NOTIFICATIONS, account, _type_label(notification.event_type), "published").inc()
        log.info(
            "notification_published",
            account=account,
            notification_id=notification.id,
            event_type=notification.event_type,
        )
        return JSONResponse({"code": "SUCCESS", "message": "成功"})

    async def _take(self, request: Request, account: str) -> Notification:
        """Read, verify, decrypt and publish, all within the time that WeChat Pay waits."""
        deadline = asyncio.get_running_loop().time() + self._answer_seconds
        with ExitStack() as room:
            body = await self._read_body(request, deadline, room)
            async with asyncio.timeout_at(deadline):
                notification = await self._notifications[account].open(request.headers, body)
                await self._publish(notification, account)
        return notification

    async def _read_body(self, request: Request, deadline: float, room: ExitStack) -> bytes:
        """Read the raw bytes as they came, whatever Content-Encoding says: these are what is signed.

        Never more than the cap, never for longer than WeChat Pay would take, and only so many large ones at a time.
        """
        body = bytearray()
        try:
            async with asyncio.timeout_at(deadline):
                async for chunk in request.stream():
                    if len(body) <= COMMON_BYTES < len(body) + len(chunk):
                        room.callback(self._make_room().release)
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise BodyRefused(f"more than {MAX_BODY_BYTES} bytes")
        except (TimeoutError, ClientDisconnect) as error:
            raise BodyRefused("the body did not come") from error
        return bytes(body)

    def _make_room(self) -> Semaphore:
        if not self._large.acquire(blocking=False):
            raise NoRoom("too many large bodies at once; send it again")
        return self._large

    async def _publish(self, notification: Notification, account: str) -> None:
        """Publish it; one that no queue of ours takes is for whoever listens, if anybody does."""
        exchange, routing_key = self._topology.name(NOTIFICATIONS), notification.event_type.lower()
        event = write_cloud_event(
            id=notification.id,
            source=SOURCE,
            type=routing_key,
            time=notification.create_time,
            data=msgspec.Raw(notification.resource),
            account=account,
            trace=tracing.carried(),
        )
        await self._publisher.publish(
            Outgoing(
                exchange=exchange,
                routing_key=routing_key,
                body=event,
                message_id=notification.id,
                content_type=CLOUD_EVENT,
                mandatory=self._topology.takes(exchange, routing_key),
            )
        )


class NoSuchAccount(Exception):
    """The path names an account that we do not have."""


class BodyRefused(Exception):
    """The body is too large, or does not come."""


class NoRoom(Exception):
    """Enough large bodies are in hand."""


def _type_label(event_type: str) -> str:
    """Name the type as metrics may: as we subscribe to it, or `other`."""
    known = {key for binding in QUEUES.values() if binding.exchange == NOTIFICATIONS for key in binding.routing_keys}
    return event_type.lower() if event_type.lower() in known else "other"


def _status_of(error: Exception) -> HTTPStatus:
    if isinstance(error, BadSignature | StaleTimestamp | UnknownSerial):
        return HTTPStatus.UNAUTHORIZED
    return HTTPStatus.BAD_REQUEST


def _refuse(error: Exception, status: HTTPStatus, message: str, account: str = NO_ACCOUNT) -> Response:
    kind = type(error).__name__
    metrics.of(metrics.NOTIFICATIONS, account, "none", kind).inc()
    log.warning("notification_refused", account=account, status=status.value, reason=str(error), error=kind)
    return JSONResponse({"code": "FAIL", "message": message}, status_code=status)
