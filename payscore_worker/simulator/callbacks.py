"""Callbacks: encrypted once, signed afresh at each send, sent again until the receiver takes them."""

import asyncio
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Final

import httpx
import msgspec

from payscore_worker.simulator.agenda import Agenda
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.lies import with_another_total, with_other_details
from payscore_worker.simulator.members import Entity
from payscore_worker.simulator.platform import Platform, request_id, signature_headers
from payscore_worker.simulator.script import Faults
from payscore_worker.simulator.service_time import SHANGHAI
from payscore_worker.simulator.shelf import Shelf

RESEND_DELAYS_SECONDS: Final = (
    *(15, 15, 30, 180, 600, 1200),
    *(1800, 1800, 1800, 3600),
    *(10800, 10800, 10800, 21600, 21600),
)
"""After the first failed send, and so on: 24 h 4 min in all (reference payscore-api D.5, newer row)."""
TIMEOUT_SECONDS: Final = 5
"""No answer by then is a failure (reference payscore-api D.4)."""
MAX_NOTIFICATIONS: Final = 50_000
"""Notifications kept, some 2 KB each: the delivered are forgotten first, then the oldest, which is not sent again."""
MAX_ATTEMPTS_KEPT: Final = 40
"""Of one notification; more than the schedule has, so only re-sends by hand can push one out."""


class NotificationState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    GAVE_UP = "gave_up"
    """The schedule ended without an answer of success."""
    LOST = "lost"
    """By a fault; nothing was sent."""


class Copy(StrEnum):
    GENUINE = "genuine"
    FORGED = "forged"


COPIES: Final[Mapping[FaultKind | None, tuple[Copy, ...]]] = {
    FaultKind.CALLBACK_DUPLICATED: (Copy.GENUINE, Copy.GENUINE),
    FaultKind.CALLBACK_FORGED_FIRST: (Copy.FORGED, Copy.GENUINE),
}
"""What is sent at first under a fault; without one, and at every re-send, one genuine copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    at: datetime
    copy: Copy
    status: int | None = None
    error: str | None = None
    """None: it was answered."""

    @property
    def succeeded(self) -> bool:
        return self.copy is Copy.GENUINE and self.status is not None and httpx.codes.is_success(self.status)


@dataclass(slots=True, kw_only=True)
class Notification:
    id: str
    serial: int
    event_type: str
    out_order_no: str
    openid: str
    url: str
    created_at: datetime
    body: bytes = field(default=b"", repr=False)
    state: NotificationState = NotificationState.WAITING
    fault: FaultKind | None = None
    failures: int = 0
    attempts: list[Attempt] = field(default_factory=list)

    def note(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        del self.attempts[:-MAX_ATTEMPTS_KEPT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Copies of one notification that are sent one after the other."""

    notification: Notification
    copies: tuple[Copy, ...] = (Copy.GENUINE,)
    by_schedule: bool = True
    """Whether a failure leads to the next re-send; one sent by hand does not."""


class UnknownNotification(LookupError):
    """No notification of that id is kept."""


class Callbacks:
    def __init__(self, *, platform: Platform, faults: Faults, agenda: Agenda, clock: Callable[[], datetime]) -> None:
        self._platform = platform
        self._faults = faults
        self._agenda = agenda
        self._clock = clock
        self._kept: Shelf[Notification] = Shelf(capacity=MAX_NOTIFICATIONS)
        self._outbox: deque[Delivery] = deque()
        self._serial = itertools.count(1)

    def announce(
        self,
        event_type: str,
        resource: Entity,
        *,
        original_type: str = "payscore",
        summary: str,
        url: str,
        openid: str,
        out_order_no: str = "",
    ) -> None:
        """Sends it now, or as a fault would have it."""
        fault = self._faults.strike_callback(
            out_order_no=out_order_no, openid=openid, can_play=partial(_can_play, resource)
        )
        resource = _falsified(resource, fault) if fault else resource
        notification = Notification(
            id=str(uuid.uuid4()),
            serial=next(self._serial),
            event_type=event_type,
            out_order_no=out_order_no,
            openid=openid,
            url=url,
            created_at=self._clock(),
        )
        notification.body = self._written(notification, resource, summary=summary, original_type=original_type)
        self._kept.put(notification.id, notification)
        notification.fault = fault.fault if fault else None
        if fault and fault.fault is FaultKind.CALLBACK_LATE:
            self._send_after(fault.delay_seconds, notification)
        elif notification.fault is FaultKind.CALLBACK_LOST:
            self._end(notification, NotificationState.LOST)
        else:
            copies = COPIES.get(notification.fault, (Copy.GENUINE,))
            self._outbox.append(Delivery(notification=notification, copies=copies))

    def resend(self, notification_id: str) -> Notification:
        """One more copy, now: same id, same body, fresh signature."""
        notification = self._kept.get(notification_id)
        if notification is None:
            raise UnknownNotification(notification_id)
        self._outbox.append(Delivery(notification=notification, by_schedule=False))
        return notification

    def recent(self, limit: int) -> list[Notification]:
        """The newest first."""
        return sorted(self._kept.values(), key=lambda notification: notification.serial, reverse=True)[:limit]

    def take_waiting(self, limit: int = MAX_NOTIFICATIONS) -> list[Delivery]:
        """What is to be sent now, in its order."""
        return [self._outbox.popleft() for _ in range(min(limit, len(self._outbox)))]

    async def deliver(self, delivery: Delivery, http: httpx.AsyncClient) -> None:
        notification = delivery.notification
        attempts = [await self._send(notification, copy, http) for copy in delivery.copies]
        if any(attempt.succeeded for attempt in attempts):
            self._end(notification, NotificationState.DELIVERED)
        elif delivery.by_schedule:
            self._try_again(notification)

    async def _send(self, notification: Notification, copy: Copy, http: httpx.AsyncClient) -> Attempt:
        key = self._platform.key_for_callback()
        if copy is Copy.FORGED:
            key = self._platform.forgery_of(key)
        at = self._clock()
        headers = signature_headers(key, notification.body, at=at)
        headers |= {"Content-Type": "application/json", "Request-ID": request_id()}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                response = await http.post(notification.url, content=notification.body, headers=headers)
        except Exception as error:  # noqa: BLE001 - in process, a receiver that crashes raises whatever it likes
            attempt = Attempt(at=at, copy=copy, error=repr(error))
        else:
            attempt = Attempt(at=at, copy=copy, status=response.status_code)
        notification.note(attempt)
        return attempt

    def _try_again(self, notification: Notification) -> None:
        if notification.failures == len(RESEND_DELAYS_SECONDS):
            self._end(notification, NotificationState.GAVE_UP)
            return
        self._send_after(RESEND_DELAYS_SECONDS[notification.failures], notification)
        notification.failures += 1

    def _send_after(self, delay_seconds: float, notification: Notification) -> None:
        self._agenda.schedule(delay_seconds, partial(self._send_if_waiting, notification.id))

    def _send_if_waiting(self, notification_id: str) -> None:
        notification = self._kept.get(notification_id)
        if notification is not None and notification.state is NotificationState.WAITING:
            self._outbox.append(Delivery(notification=notification))

    def _end(self, notification: Notification, state: NotificationState) -> None:
        notification.state = state
        self._kept.finish(notification.id)

    def _written(self, notification: Notification, resource: Entity, *, summary: str, original_type: str) -> bytes:
        """Reference payscore-api D.1."""
        encrypted = self._platform.encrypted(msgspec.json.encode(resource), associated_data=original_type)
        envelope: Entity = {
            "id": notification.id,
            "create_time": notification.created_at.astimezone(SHANGHAI).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": notification.event_type,
            "summary": summary,
            "resource": {"original_type": original_type, **encrypted},
        }
        return msgspec.json.encode(envelope)


def _can_play(resource: Entity, fault: Fault) -> bool:
    """Whether there is anything in it to be false about."""
    match fault.fault:
        case FaultKind.CALLBACK_AMOUNT_DIFFERS:
            return "total_amount" in resource or "refund_status" in resource
        case FaultKind.CALLBACK_DETAILS:
            return "details" in resource.get("collection", {})
        case _:
            return True


def _falsified(resource: Entity, fault: Fault) -> Entity:
    match fault.fault:
        case FaultKind.CALLBACK_AMOUNT_DIFFERS:
            return with_another_total(resource, fault.difference_fen)
        case FaultKind.CALLBACK_DETAILS:
            return with_other_details(resource, fault.played)
        case _:
            return resource
