"""One trip in a lane, as a flow plays it: what the ride service says, what WeChat Pay does, who lies, and the rest."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec

from payscore_worker.domain.decisions import Decision, Known, Verb, decide
from payscore_worker.domain.next_step import SHORTEST_SERVICE
from payscore_worker.domain.trip import (
    OrderPhase,
    OrderSeen,
)
from payscore_worker.simulator import SimulatorConfig
from payscore_worker.simulator.platform import Platform, SigningKey, signature_headers
from payscore_worker.storage.authorisations import AuthorisationReports
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.reports import Row
from tests.crash.desk import Heard
from tests.crash.lane import LONG_QUIET_SECONDS, POLL_SECONDS, QUIET_SECONDS, Lane

FARE_FEN: Final = 3_200
DISCOUNT_FEN: Final = 300
REFUND_FEN: Final = 2_000
"""More than half: a second one is more than is left."""

LOWERED_FEN: Final = 2_000
"""What the fare is lowered to."""

RIDE_SECONDS: Final = SHORTEST_SERVICE.total_seconds() + 0.02
"""Then the consumer of `trip.ended` itself completes the order, and not the reconciler."""

CALLBACKS: Final = "WeChat Pay's callbacks"
LOOKS: Final = "the looks at an authorisation"

LAST_CALLS: Final = 200
"""Far more than a case makes."""

STRANGER: Final = "1999999999"
"""The mchid of somebody else."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what should come."""

    seconds: float
    """For the case as a whole."""
    still_seconds: float
    """For any point to be passed: who has not moved by then will not move."""


class InVain(Exception):
    """What the script waited for did not come; the judge will say what that means."""


class Scene:
    """The verbs of a flow."""

    def __init__(self, lane: Lane, patience: Patience) -> None:
        self.lane = lane
        name = uuid4().hex[:16]
        self.trip_id = f"trip-{name}"
        self.openid = f"o{name}"
        self.accepted: set[str] = set()
        self.refused: dict[str, set[str]] = {}
        self.believed: list[str] = []
        self.notes: list[str] = []
        self.authorises = False
        """The passenger authorises PayScore in this flow."""
        self._began = _now()
        self._ended = ""
        self._lowered = ""
        self._paid = ""
        self._patience = patience
        self._began_at = self._moved_at = time.monotonic()
        self._pace = lane.pace()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began_at

    # --- The ride service ---

    async def starts(self, *, again: str | None = None) -> str:
        """Say that the trip began; `again`: under the message id that it was said with before."""
        data = {"openid": self.openid, "started_at": self._began, "start_location": "静安寺"}
        if account := self.lane.named_account:
            data["account"] = account
        return await self._says("trip.started", data, again)

    async def ends(self, *, fare_fen: int = FARE_FEN, again: str | None = None) -> str:
        """Say that the trip ended, and its fare; the first time is the time of its end."""
        self._ended = self._ended or _now()
        data = {
            "ended_at": self._ended,
            "end_location": "虹桥火车站",
            "fees": [{"name": "里程费", "amount_fen": fare_fen + DISCOUNT_FEN}],
            "discounts": [{"name": "优惠券", "amount_fen": DISCOUNT_FEN}],
            "total_fen": fare_fen,
        }
        return await self._says("trip.ended", data, again)

    async def is_cancelled(self) -> str:
        """Say that the trip will not be charged."""
        return await self._says("trip.cancelled", {"cancelled_at": _now(), "reason": "乘客取消"}, None)

    async def is_lowered(self, *, fare_fen: int = LOWERED_FEN, again: str | None = None) -> str:
        """Say that the fare is less than was said."""
        fees = [{"name": "里程费", "amount_fen": fare_fen}]
        self._lowered = self._lowered or _now()
        data = {"lowered_at": self._lowered, "fees": fees, "total_fen": fare_fen, "reason": "绕路退费"}
        return await self._says("trip.fare_lowered", data, again)

    async def is_paid_elsewhere(self, *, again: str | None = None) -> str:
        """Say that the fare was paid in cash."""
        self._paid = self._paid or _now()
        data = {"paid_at": self._paid, "amount_fen": FARE_FEN, "channel": "cash"}
        return await self._says("trip.paid_elsewhere", data, again)

    async def is_refunded(self, refund_id: str = "", *, amount_fen: int = REFUND_FEN, again: str | None = None) -> str:
        """Say that money is to go back."""
        data = {"refund_id": refund_id or f"refund-{self.trip_id}", "amount_fen": amount_fen, "reason": "绕路"}
        return await self._says("refund.requested", data, again)

    async def wants_authorisation(self, *, again: str | None = None) -> str:
        """Say that the passenger is to authorise PayScore."""
        self.authorises = True
        data = {"request_id": f"request-{self.trip_id}", "openid": self.openid}
        return await self._says_of_passenger("authorisation.requested", data, again)

    async def leaves(self, *, again: str | None = None) -> str:
        """Say that what the passenger has authorised is to end."""
        data = {"openid": self.openid, "reason": "注销账号"}
        return await self._says_of_passenger("authorisation.ended", data, again)

    async def is_waived(self) -> None:
        """Have a person decide that the fare is not collected, and do no more about it."""
        await self.until(self._has_waived, "for the waiver to be written")

    async def _has_waived(self) -> bool:
        storage = await open_storage(self.lane.database_url)
        try:
            trip = await storage.load(self.trip_id)
            if trip is None or trip.ended is None:
                return False
            collecting = OrderSeen(phase=OrderPhase.COLLECTING, total_fen=trip.ended.total_fen)
            decision = Decision(verb=Verb.WAIVE, by="wang", reason="客诉")
            now = datetime.now(UTC)
            waived = decide(trip, decision, Known(order=collecting), now)
            return await storage.save(waived, due_at=now, now=now)
        finally:
            await storage.aclose()

    async def _says(self, type_: str, data: dict[str, Any], again: str | None) -> str:
        return await self._says_of_passenger(type_, {"trip_id": self.trip_id, **data}, again)

    async def _says_of_passenger(self, type_: str, data: dict[str, Any], again: str | None) -> str:
        message_id = again or uuid4().hex
        await self.lane.desk.publish(type_, data, message_id)
        self.accepted.add(type_)
        return message_id

    async def rides(self) -> None:
        """Wait for as long as WeChat Pay wants a service to take at least."""
        await asyncio.sleep(RIDE_SECONDS)

    # --- Waiting ---

    async def until_announced(self, type_: str) -> None:
        """Wait until the audience has heard it."""
        while type_ not in self._types():
            self._hurry(f"for {type_}")
            await self.lane.desk.news(POLL_SECONDS)

    async def until_noted(self, type_: str) -> None:
        """Wait until an event is stored."""
        await self.until(lambda: self._is_noted(type_), f"for {type_} to be noted")

    async def until_refused(self) -> None:
        """Wait until as many dead letters lie where some must lie."""
        await self.until(self._is_refused, "for the dead letters")

    async def until_accepted(self) -> None:
        """Wait until WeChat Pay has the order."""
        await self.until(self._has_order, "for the order")

    async def until(self, ask: Callable[[], Awaitable[bool]], what: str) -> None:
        """Ask again and again."""
        while not await ask():
            self._hurry(what)
            await asyncio.sleep(POLL_SECONDS)

    def _hurry(self, what: str) -> None:
        """Go on waiting, unless the time is up, or nothing moves any more.

        Raises:
            InVain: with what was waited for.

        """
        if self.seconds > self._patience.seconds or self._still_seconds > self._patience.still_seconds:
            self.notes.append(f"waited in vain {what}")
            raise InVain(what)

    @property
    def _still_seconds(self) -> float:
        """How long no point has been passed."""
        if (pace := self.lane.pace()) != self._pace:
            self._pace, self._moved_at = pace, time.monotonic()
        return time.monotonic() - self._moved_at

    def heard(self) -> list[Heard]:
        """List what was announced of the trip and of its passenger."""
        return self.lane.desk.heard(self.trip_id, self.openid)

    def _types(self) -> set[str]:
        return {heard.type for heard in self.heard()}

    async def _is_noted(self, type_: str) -> bool:
        return any(row["type"] == type_ for row in await self.events())

    # --- What is stored ---

    async def authorisations(self) -> list[Row]:
        """List the passenger's authorisations, where the flow is about one."""
        return await AuthorisationReports(self.lane.reports).of(self.openid) if self.authorises else []

    async def events(self) -> list[Row]:
        """List what was noted and announced of the trip, and of the passenger's authorisations."""
        return [row for name in await self._names() for row in await self.lane.reports.events(name)]

    async def calls(self) -> list[Row]:
        """List the journal of the trip, and of the passenger's authorisations."""
        return [row for name in await self._names() for row in await self.lane.reports.calls(name)]

    async def _names(self) -> list[str]:
        """Name the cases; a trip that was declined gives its own number to the authorisation that follows."""
        return list(dict.fromkeys([self.trip_id, *(row["authorization_code"] for row in await self.authorisations())]))

    async def _is_refused(self) -> bool:
        dead = await self.lane.desk.dead()
        return all(dead.get(queue, 0) >= len(ids) for queue, ids in self.refused.items())

    async def _has_order(self) -> bool:
        return any(order["creates"] for order in await self.orders())

    # --- WeChat Pay ---

    async def passenger(self, behaviour: str) -> None:
        """Say how the passenger behaves."""
        await self.lane.tell_wechatpay("PUT", "/admin/passengers", {self.openid: {"behaviour": behaviour}})

    async def refuses_first_order(self) -> None:
        """WeChat Pay will refuse the order that bears the trip's own id."""
        await self.lane.tell_wechatpay("PUT", f"/admin/orders/{self.trip_id}", {"behaviour": "risk_refused"})

    async def until_first_order_is_seen_to(self) -> None:
        """Wait until it was looked at once more."""
        await self.until(self._first_is_seen_to, "for the first order to be seen to")

    async def _first_is_seen_to(self) -> bool:
        row = await self.lane.reports.trip(self.trip_id)
        return row is not None and '"look_at":null' in str(row["second_try"]).replace(" ", "")

    async def closes_service(self) -> None:
        """The passenger closes the service; a callback tells of it."""
        await self.lane.tell_wechatpay("POST", f"/admin/passengers/{self.openid}/close-service")
        await self.until(self._nothing_to_call_back, "for the callback to be taken")

    async def fault(self, fault: str, **options: Any) -> None:
        """Have a call or a callback of this passenger go wrong."""
        await self.lane.tell_wechatpay("POST", "/admin/faults", {"fault": fault, "openid": self.openid, **options})

    async def confirms(self) -> None:
        """The passenger opens the page with what his client was given, and confirms."""
        asked = next(heard for heard in self.heard() if "confirm" in heard.data)
        package = {"package": asked.data["confirm"]["extraData"]["package"]}
        await self.lane.tell_wechatpay("POST", f"/admin/passengers/{self.openid}/confirm", package)

    async def enables(self) -> None:
        """The passenger opens the page with what his client was given, and authorises PayScore."""
        self.authorises = True
        given = next(heard for heard in self.heard() if "enable" in heard.data)
        jump = given.data["enable"]["extraData"]
        how = "enable" if "apply_permissions_token" in jump else "enable-signed"
        await self.lane.tell_wechatpay("POST", f"/admin/passengers/{self.openid}/{how}", jump)

    async def pays_now(self) -> None:
        """The debit succeeds at last."""
        await self.lane.tell_wechatpay("POST", f"/admin/orders/{self.trip_id}/pay")

    async def calls_back_again(self) -> None:
        """WeChat Pay sends once more what it has sent already."""
        for notification in await self._notifications():
            await self.lane.tell_wechatpay("POST", f"/admin/notifications/{notification['id']}/resend")

    async def orders(self) -> list[dict[str, Any]]:
        """List the orders of this passenger in WeChat Pay's books, asked for or accepted."""
        ledger = await self.lane.tell_wechatpay("GET", "/admin/ledger")
        return orders_of(ledger, openid=self.openid, trip_id=self.trip_id)

    async def astray(self) -> list[dict[str, Any]]:
        """List the orders of this passenger that stand in the books of an account that the trip is not of."""
        books = [await self.lane.tell_wechatpay("GET", "/admin/ledger", account=one) for one in self.lane.others]
        return [order for ledger in books for order in orders_of(ledger, openid=self.openid, trip_id=self.trip_id)]

    async def pre_authorised(self) -> list[str]:
        """List the bodies by which WeChat Pay was asked for an authorisation, where the flow is about one."""
        if not self.authorises:
            return []
        calls = (await self.lane.tell_wechatpay("GET", f"/admin/calls?limit={LAST_CALLS}"))["calls"]
        ours = [one for one in calls if one["at"] >= self._began and one["kind"] == "pre_authorise"]
        return list({one["body_sha256"] for one in ours})

    async def _notifications(self) -> list[dict[str, Any]]:
        found = await self.lane.tell_wechatpay("GET", "/admin/notifications?limit=100")
        return [one for one in found["notifications"] if one["openid"] == self.openid]

    async def _nothing_to_call_back(self) -> bool:
        return not any(one["state"] == "waiting" for one in await self._notifications())

    # --- Liars ---

    async def is_lied_to(self, *, forged: bool) -> None:
        """Post a payment that was none: forged (signed by a stranger), or foreign (about somebody else's order)."""
        lie = await self._payment_that_was_none()
        if not forged:
            lie["mchid"] = STRANGER
        notification_id = str(uuid4())
        status = await self._post(notification_id, lie, self.lane.config, forged=forged)
        if forged and status != httpx.codes.UNAUTHORIZED:
            self.believed.append(f"a forged notification was answered with {status}")
        if not forged:
            self.refused.setdefault("payscore.order-paid", set()).add(notification_id)

    async def is_lied_to_by_another_account(self) -> None:
        """Post a payment of our order that was none at another account's door, under that account's own keys."""
        (other,) = self.lane.others
        notification_id = str(uuid4())
        lie = await self._payment_that_was_none()
        await self._post(notification_id, lie, self.lane.configs[other], forged=False)
        self.refused.setdefault("payscore.order-paid", set()).add(notification_id)

    async def _payment_that_was_none(self) -> dict[str, Any]:
        await self.until_accepted()
        order = (await self.lane.tell_wechatpay("GET", f"/admin/orders/{self.trip_id}"))["entity"]
        return _as_paid(order, transaction_id=f"lie-{uuid4().hex[:12]}")

    async def _post(
        self, notification_id: str, resource: dict[str, Any], config: SimulatorConfig, *, forged: bool
    ) -> int:
        """Post at an account's door until it is answered, as WeChat Pay does."""
        platform = Platform(config)
        key = platform.key_for_callback()
        body = _envelope(notification_id, platform, resource)
        while True:
            signer: SigningKey = platform.forgery_of(key) if forged else key
            headers = signature_headers(signer, body, at=datetime.now(UTC)) | {"Content-Type": "application/json"}
            try:
                response = await self.lane.http.post(config.notify_url, content=body, headers=headers)
            except httpx.HTTPError:
                self._hurry("for an answer of the webhook")
            else:
                if not response.is_server_error:
                    return response.status_code
            await asyncio.sleep(POLL_SECONDS)

    # --- The audience ---

    async def nobody_listens(self) -> None:
        """From now on no queue takes an announcement."""
        await self.lane.desk.leave()

    async def somebody_listens(self) -> None:
        """The audience is back."""
        await self.lane.desk.attend()

    # --- Rest ---

    async def rest(self, announced: frozenset[str]) -> dict[str, int]:
        """Wait until all has come to rest; returns what is not empty, if that does not happen."""
        left: dict[str, int] = {}
        while True:
            if self._still_seconds > self._quiet_seconds and await self.lane.is_ready():
                left = await self._left_over()
                told = announced <= self._types() and await self._all_noted()
                if not left and told and self._still_seconds > self._quiet_seconds:
                    return {}
                if CALLBACKS in left:
                    self._moved_at = time.monotonic()  # WeChat Pay will come back, though it may take its time
            try:
                self._hurry("for rest")
            except InVain:
                return left or await self._left_over()
            await asyncio.sleep(POLL_SECONDS)

    @property
    def _quiet_seconds(self) -> float:
        """A message on its way back from a rung of the ladder is for a moment in no queue that can be looked into."""
        climbs = any(" publish retry " in passed.point for passed in self.lane.passed())
        return LONG_QUIET_SECONDS if climbs else QUIET_SECONDS

    async def _all_noted(self) -> bool:
        """Tell whether every event is noted: RabbitMQ's count may miss one that has just come back to its queue."""
        return self.accepted <= {row["type"] for row in await self.events() if row["direction"] == "in"}

    async def _left_over(self) -> dict[str, int]:
        left = await self.lane.desk.ready()
        if pending := await self.lane.reports.pending_announcements():
            left["the outbox"] = pending
        if not await self._nothing_to_call_back():
            left[CALLBACKS] = 1
        if looks := sum(row["due_at"] is not None for row in await self.authorisations()):
            left[LOOKS] = looks
        return left


def orders_of(ledger: Mapping[str, Any], *, openid: str, trip_id: str) -> list[dict[str, Any]]:
    """Pick the orders of a passenger, and what was asked for under the trip's number and not accepted."""
    orders: list[dict[str, Any]] = list(ledger["orders"].values())
    return [one for one in orders if one["openid"] == openid or (not one["openid"] and one["out_order_no"] == trip_id)]


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _as_paid(order: dict[str, Any], *, transaction_id: str) -> dict[str, Any]:
    """Write an order as if it had been paid in full, in the words of its family."""
    now = datetime.now(UTC)
    if "collection" not in order:
        return order | {
            "state": "USER_PAID",
            "finish_transaction_id": transaction_id,
            "pay_succ_time": _wall_clock(now),
        }
    total_fen = order["total_amount"]
    debit = {"seq": 1, "amount": total_fen, "paid_type": "NEWTON", "paid_time": _wall_clock(now)}
    collection = {
        "state": "USER_PAID",
        "total_amount": total_fen,
        "paying_amount": 0,
        "paid_amount": total_fen,
        "details": [debit | {"transaction_id": transaction_id}],
    }
    without_description = {name: value for name, value in order.items() if name != "state_description"}
    return without_description | {"state": "DONE", "collection": collection}


def _wall_clock(moment: datetime) -> str:
    return f"{moment.astimezone():%Y%m%d%H%M%S}"


def _envelope(notification_id: str, platform: Platform, resource: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "id": notification_id,
            "create_time": datetime.now(UTC).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": "PAYSCORE.USER_PAID",
            "summary": "支付成功",
            "resource": {
                "original_type": "payscore",
                **platform.encrypted(msgspec.json.encode(resource), associated_data="payscore"),
            },
        }
    )
