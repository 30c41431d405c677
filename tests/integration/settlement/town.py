"""A town for one test: our settlement, a database, and WeChat Pay as the simulator plays it, under one clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from consumers import (
    authorisation_ended,
    authorisation_requested,
    order_confirmed,
    order_paid,
    refund_changed,
    refund_requested,
    service_changed,
    trip_cancelled,
    trip_ended,
    trip_fare_lowered,
    trip_paid_elsewhere,
    trip_started,
)
from payscore_worker.domain.authorisation import Authorisation, authorization_code_for
from payscore_worker.domain.next_step import Rules
from payscore_worker.domain.refund import Refund
from payscore_worker.domain.trip import (
    Trip,
    TripState,
)
from payscore_worker.errors import Rejected
from payscore_worker.events import (
    AuthorisationEnded,
    AuthorisationRequested,
    DiscountItem,
    FeeItem,
    OrderConfirmed,
    OrderPaid,
    RefundChanged,
    RefundRequested,
    ServiceChanged,
    TripCancelled,
    TripEnded,
    TripFareLowered,
    TripPaidElsewhere,
    TripStarted,
    message_in_hand,
)
from payscore_worker.settlement.authorisations import Authorisations
from payscore_worker.settlement.reconciler import Reconciler
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.settlement.trip_steps import Terms
from payscore_worker.settlement.trips import Settlement
from payscore_worker.simulator import Fault, FaultKind, Simulator, SimulatorConfig, SimulatorKeys, create_app
from payscore_worker.simulator.payscore.ledger import LedgerEntry
from payscore_worker.storage import CallRecord, Storage
from payscore_worker.wechatpay import Merchant, Notifications, VerificationKeys, WechatPayClient, load_private_key
from payscore_worker.wechatpay.payscore import MerchantPayScores, PayScore
from payscore_worker.wechatpay.transactions import MerchantRefunds
from tests.builders import NOW, PAYAFTER

NOTIFY_URL: Final = "http://webhook.test/notify/payscore"
MINUTE: Final = timedelta(minutes=1)

TERMS: Final = Terms(introduction="网约车出行", start_at_event=False, service_state_ttl=timedelta(0))


@cache
def simulator_keys() -> SimulatorKeys:
    """Make them once: three RSA keys take a while."""
    return SimulatorKeys.generate()


@cache
def merchant_private_key() -> RSAPrivateKey:
    return load_private_key(simulator_keys().merchant_private_key_pem)


async def reached(event: asyncio.Event, *, by: asyncio.Task[Any]) -> None:
    """Wait until a task comes by; what fails in it fails here, and keeps nobody waiting."""
    coming = asyncio.create_task(event.wait())
    await asyncio.wait({coming, by}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    coming.cancel()
    if not event.is_set():
        by.cancel()
        await by
        raise AssertionError("it has come to its end another way")


async def no_sleep(_seconds: float) -> None:
    """Stand in for the pauses between quick tries."""


@dataclass
class Clock:
    """The one clock of a town; it moves when a test says so."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Town:
    """Everything a test speaks to."""

    settlement: Settlement
    reconciler: Reconciler[Trip]
    refunds: Refunds
    refund_reconciler: Reconciler[Refund]
    authorisations: Authorisations
    authorisation_reconciler: Reconciler[Authorisation]
    storage: Storage
    simulator: Simulator
    client: WechatPayClient
    payscores: MerchantPayScores
    notifications: Notifications
    clock: Clock
    rules: Rules
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    listening: bool = True

    @property
    def now(self) -> datetime:
        return self.clock()

    @property
    def payscore(self) -> PayScore:
        return self.payscores.current

    @property
    def service_question(self) -> str:
        """By which call the family asks for a passenger's service."""
        return self.payscore.service_question.value

    # --- What the ride service says ---

    def a_start(self, trip_id: str = "t1", **changes: Any) -> TripStarted:
        event = TripStarted(trip_id=trip_id, openid="oPassenger", started_at=self.now, start_location="静安寺")
        return msgspec.structs.replace(event, **changes)

    async def starts(self, trip_id: str = "t1", **changes: Any) -> None:
        await trip_started.handle(self.a_start(trip_id, **changes), self.settlement)

    async def ends(self, trip_id: str = "t1", *, total_fen: int = 3_200, **changes: Any) -> None:
        event = TripEnded(
            trip_id=trip_id,
            ended_at=self.now,
            end_location="虹桥火车站",
            fees=(FeeItem(name="里程费", amount_fen=total_fen + 300),),
            discounts=(DiscountItem(name="优惠券", amount_fen=300),),
            total_fen=total_fen,
        )
        await trip_ended.handle(msgspec.structs.replace(event, **changes), self.settlement)

    def a_lower_fare(self, trip_id: str = "t1", *, total_fen: int = 2_000, **changes: Any) -> TripFareLowered:
        event = TripFareLowered(
            trip_id=trip_id,
            lowered_at=self.now,
            fees=(FeeItem(name="里程费", amount_fen=total_fen),),
            total_fen=total_fen,
            reason="绕路退费",
        )
        return msgspec.structs.replace(event, **changes)

    async def lowers(self, trip_id: str = "t1", **changes: Any) -> None:
        await trip_fare_lowered.handle(self.a_lower_fare(trip_id, **changes), self.settlement)

    async def is_paid_elsewhere(self, trip_id: str = "t1", *, amount_fen: int = 3_200, **changes: Any) -> None:
        event = TripPaidElsewhere(trip_id=trip_id, paid_at=self.now, amount_fen=amount_fen, channel="cash")
        await trip_paid_elsewhere.handle(msgspec.structs.replace(event, **changes), self.settlement)

    async def cancels(self, trip_id: str = "t1", reason: str = "乘客取消") -> None:
        event = TripCancelled(trip_id=trip_id, cancelled_at=self.now, reason=reason)
        await trip_cancelled.handle(event, self.settlement)

    async def refunds_of(self, refund_id: str = "r1", *, amount_fen: int = 1_000, **changes: Any) -> None:
        """Have the ride service ask for money to go back."""
        event = RefundRequested(trip_id="t1", refund_id=refund_id, amount_fen=amount_fen, reason="绕路")
        await refund_requested.handle(msgspec.structs.replace(event, **changes), self.refunds)

    async def wants(self, request_id: str = "q1", **changes: Any) -> None:
        """Have the ride service request an authorisation."""
        event = AuthorisationRequested(request_id=request_id, openid="oPassenger", client="miniprogram")
        await authorisation_requested.handle(msgspec.structs.replace(event, **changes), self.authorisations)

    async def leaves(self, openid: str = "oPassenger", *, message: str = "m1", reason: str = "注销账户") -> None:
        """Have the ride service end what a passenger has authorised."""
        message_in_hand.set(message)
        await authorisation_ended.handle(AuthorisationEnded(openid=openid, reason=reason), self.authorisations)

    # --- What the passenger does ---

    def signs(self, enable: dict[str, Any], openid: str = "oPassenger") -> None:
        """Open the page that enables the service with what the client was given, and sign."""
        assert enable["businessType"] == "wxpayScoreEnable"
        assert dict(parse_qsl(enable["queryString"])) == enable["extraData"]
        token = enable["extraData"].get("apply_permissions_token")
        if token is None:
            self.simulator.enable_signed(enable["extraData"], openid)
        else:
            self.simulator.enable(token, openid)

    # --- Time ---

    async def passes(self, seconds: float) -> None:
        """Let time pass: WeChat debits and calls back, the reconciler takes up what is due."""
        self.clock.now += timedelta(seconds=seconds)
        await self.simulator.run_once()
        await self.reconciler.run_once()
        await self.refund_reconciler.run_once()
        await self.authorisation_reconciler.run_once()
        await self.simulator.run_once()

    async def rides(self, trip_id: str = "t1", seconds: float = 600) -> None:
        """Start a trip, ride, and end it."""
        await self.starts(trip_id)
        await self.passes(seconds)
        await self.ends(trip_id)

    # --- What can be seen ---

    async def trip(self, trip_id: str = "t1") -> Trip:
        trip = await self.storage.load(trip_id)
        assert trip is not None
        return trip

    async def refund(self, refund_id: str = "r1") -> Refund:
        refund = await self.storage.load_refund(refund_id)
        assert refund is not None
        return refund

    async def authorisation(self, request_id: str = "q1") -> Authorisation:
        authorisation = await self.storage.load_authorisation(authorization_code_for(request_id))
        assert authorisation is not None
        return authorisation

    async def state(self, trip_id: str = "t1") -> TripState:
        return (await self.trip(trip_id)).state

    def order(self, trip_id: str = "t1") -> LedgerEntry:
        return self.simulator.ledger_entry(trip_id)

    def charged_fen(self, trip_id: str = "t1") -> int:
        return self.order(trip_id).charged_fen

    async def call(self, kind: str, trip_id: str = "t1") -> CallRecord:
        call = await self.storage.last_call(trip_id, kind)
        assert call is not None
        return call

    async def announced(self) -> list[tuple[str, dict[str, Any]]]:
        """Take what waits in the outbox: type and data."""
        rows = await self.storage.claim_outbox(now=self.now, lease=MINUTE, limit=100)
        await self.storage.mark_published([row.id for row in rows], now=self.now)
        return [(row.type, msgspec.json.decode(row.body)["data"]) for row in rows]

    async def announced_types(self) -> list[str]:
        return [type_ for type_, _ in await self.announced()]

    def calls_made(self, kind: str) -> int:
        return sum(call.kind == kind for call in self.simulator.calls(10_000))

    # --- What goes wrong ---

    def another_settlement(self) -> Settlement:
        """Be a second worker on the same database."""
        return Settlement(
            storage=self.storage, payscores=self.payscores, rules=self.rules, terms=TERMS, clock=self.clock
        )

    def other_refunds(self) -> Refunds:
        """Be the refunds of a second worker on the same database."""
        return Refunds(
            storage=self.storage, refunds=MerchantRefunds(self.client), rules=self.rules, prefix="", clock=self.clock
        )

    def restart(self, *, family: str | None = None, **merchant: str) -> None:
        """Start the worker anew, under other settings."""
        client = a_client(self.simulator, self.client.keys, self.clock, **merchant)
        self.payscores = MerchantPayScores(family or self.payscores.current.family, client)
        self.rules = replace(self.rules, family=self.payscores.current.family)
        self.settlement = self.another_settlement()
        self.reconciler = Reconciler(storage=self.storage, desk=self.settlement, clock=self.clock)

    def fault(self, fault: FaultKind, call: str, **options: Any) -> None:
        self.simulator.add_fault(Fault(fault, call=call, **options))

    def refuse(
        self, call: str, code: str, message: str, *, sub_code: int = 0, status: int = 400, **options: Any
    ) -> None:
        fault = Fault(
            FaultKind.REFUSE, call=call, status=status, code=code, message=message, sub_code=sub_code, **options
        )
        self.simulator.add_fault(fault)

    # --- WeChat's callbacks ---

    async def receive(self, request: httpx.Request) -> httpx.Response:
        """Be webhook, broker and consumer in one."""
        if not self.listening:
            return httpx.Response(503)
        notification = await self.notifications.open(request.headers, await request.aread())
        resource = msgspec.json.decode(notification.resource, type=dict[str, Any])
        self.received.append((notification.event_type, resource))
        try:
            if notification.event_type.startswith("REFUND."):
                await refund_changed.handle(RefundChanged(resource=resource), self.refunds)
            elif notification.event_type in ("PAYSCORE.USER_CONFIRM", "PAYSCORE.USER_ACCEPTED"):
                await order_confirmed.handle(OrderConfirmed(resource=resource), self.settlement)
            elif notification.event_type == "PAYSCORE.USER_PAID":
                await order_paid.handle(OrderPaid(resource=resource), self.settlement)
            else:
                await service_changed.handle(ServiceChanged(resource=resource), self.authorisations)
        except Rejected:
            return httpx.Response(200)  # it would lie in the dead-letter queue
        return httpx.Response(200)


def a_client(simulator: Simulator, keys: VerificationKeys, clock: Clock, **changes: Any) -> WechatPayClient:
    """Make a client of the simulator; `changes` are to the merchant's ids."""
    ours = simulator.config.keys
    merchant = Merchant(
        mchid=ours.mchid,
        appid=ours.appid,
        service_id=ours.service_id,
        serial_no=ours.merchant.serial_no,
        private_key=merchant_private_key(),
        apiv3_keys=(ours.apiv3_key.encode(),),
        apiv2_key=ours.apiv2_key,
        notify_url=NOTIFY_URL,
    )
    return WechatPayClient(
        merchant=replace(merchant, **changes),
        keys=keys,
        base_urls=["http://wechatpay.test"],
        transport=httpx.ASGITransport(create_app(simulator)),
        clock=clock,
        sleep=no_sleep,
    )


@asynccontextmanager
async def a_town(
    storage: Storage,
    family: str,
    *,
    terms: Terms = TERMS,
    rules: dict[str, Any] | None = None,
    merchant: dict[str, Any] | None = None,
    **config: Any,
) -> AsyncIterator[Town]:
    """Build a town; `rules`, `merchant` and `config` change the defaults of our rules, our ids and the simulator."""
    keys = simulator_keys()
    clock = Clock()
    town: Town

    async def receive(request: httpx.Request) -> httpx.Response:
        return await town.receive(request)

    simulator = Simulator(
        SimulatorConfig(keys=keys, notify_url=NOTIFY_URL, **config),
        clock=clock,
        http=httpx.AsyncClient(transport=httpx.MockTransport(receive)),
    )
    apiv3_keys = (keys.apiv3_key.encode(),)
    verification = VerificationKeys(apiv3_keys=apiv3_keys, clock=clock)
    client = a_client(simulator, verification, clock, **(merchant or {}))
    payscores = MerchantPayScores(family, client)
    own_rules = replace(PAYAFTER, family=family, **(rules or {}))
    settlement = Settlement(storage=storage, payscores=payscores, rules=own_rules, terms=terms, clock=clock)
    refunds = Refunds(
        storage=storage, refunds=MerchantRefunds(client), rules=own_rules, prefix=terms.out_order_no_prefix, clock=clock
    )
    authorisations = Authorisations(
        storage=storage,
        payscores=payscores,
        settlement=settlement,
        prefix=terms.out_order_no_prefix,
        clock=clock,
    )
    town = Town(
        settlement=settlement,
        reconciler=Reconciler(storage=storage, desk=settlement, clock=clock),
        refunds=refunds,
        refund_reconciler=Reconciler(storage=storage, desk=refunds, clock=clock),
        authorisations=authorisations,
        authorisation_reconciler=Reconciler(storage=storage, desk=authorisations, clock=clock),
        storage=storage,
        simulator=simulator,
        client=client,
        payscores=payscores,
        notifications=Notifications(keys=verification, apiv3_keys=apiv3_keys, clock=clock),
        clock=clock,
        rules=own_rules,
    )
    yield town
    await client.aclose()
