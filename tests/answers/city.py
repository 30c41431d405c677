"""A city of one trip: workers, broker, audience and WeChat Pay, under one clock that leaps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import UNSET

from consumers import subscriptions
from payscore_worker.bootstrap.settlement import make_authorisations, make_refunds, make_settlement
from payscore_worker.domain.account import DEFAULT, Account
from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.decisions import Decision, Verb
from payscore_worker.domain.refund import Refund
from payscore_worker.domain.trip import Trip, second_order_no_for
from payscore_worker.errors import IllegalTransition, Retryable, SettlementError
from payscore_worker.events import (
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
)
from payscore_worker.settings import OrderSettings
from payscore_worker.settlement.reconciler import Desk, Reconciler
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.settlement.trips import Settlement
from payscore_worker.simulator import Passenger, Service, Simulator, SimulatorConfig, SimulatorKeys, create_app
from payscore_worker.simulator.payscore.happenings import WrongStage
from payscore_worker.simulator.payscore.pages import PageRefused
from payscore_worker.storage.cases import C
from payscore_worker.wechatpay import (
    Breaker,
    Breakers,
    Merchant,
    Notifications,
    VerificationKeys,
    WechatPayClient,
    load_private_key,
)
from payscore_worker.wechatpay.payscore import AccountPayScores, GuardedPayScores, MerchantPayScores
from payscore_worker.wechatpay.transactions import AccountRefunds, GuardedRefunds, MerchantRefunds
from tests.answers.broker import Broker, Consumer
from tests.answers.ground import Ground
from tests.answers.leaping import leaping
from tests.answers.wire import Exchange, Wire

NOTIFY_URL: Final = "http://webhook.test/notify/payscore"

FIRST: Final = "shanghai"
SECOND: Final = "suzhou"
"""The accounts, where there are two; the first is the default."""

OPENID: Final = "oPassenger"
FARE_FEN: Final = 3_200
TRIP_ID: Final = "t1"
NUMBERS: Final = frozenset({TRIP_ID, second_order_no_for(TRIP_ID)})
"""Those that the trip's orders may bear."""
REFUND_ID: Final = "r1"
REFUND_FEN: Final = 2_000
"""More than half: a second one is more than is left."""

LOWERED_FEN: Final = 2_000
"""What the fare is lowered to."""

WORKERS: Final = {"alpha": 0.02, "beta": 0.03}
"""The workers there may be, and how far each is from WeChat Pay, in seconds one way."""

LOOK_SECONDS: Final = 30.0
"""How often it is asked whether all is at rest."""

SHORTEST_SECONDS: Final = 1.0
"""Between two looks of a reconciler (`reconciler.EVERY_SECONDS`)."""

LONGEST_SECONDS: Final = 600.0
"""A reconciler that was told of nothing looks this often."""

WAIVE_LOOKS: Final = 30
WAIVE_LOOK_SECONDS: Final = 600.0
"""How often a person looks whether there is a fare to waive: for five hours, every ten minutes."""

CONFIRM_LOOKS: Final = 600
CONFIRM_LOOK_SECONDS: Final = 30.0
"""How often a passenger looks whether there is an order to confirm: for five hours, every half a minute."""

MOST_CALLS: Final = 2_000
"""An hour of probes by two workers is some hundreds of calls; what makes more than this will not come to rest."""

LEASE: Final = timedelta(seconds=30)
BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Heard:
    """An announcement, as the audience has it."""

    id: str
    type: str
    data: dict[str, Any]
    at: float


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker of ours."""

    name: str
    clients: list[WechatPayClient]
    breaker: Breaker
    """Of the account whose trip it is; another's is never called."""
    breakers: Breakers
    guarded: GuardedPayScores
    settlement: Settlement
    refunds: Refunds
    reconcilers: tuple[Reconciler[Trip], Reconciler[Refund], Reconciler[Authorisation]]

    async def reconcile(self, city: "City") -> None:
        """Take up what is due, while WeChat Pay is there."""
        while True:
            await self.breakers.closed()
            with suppress(Retryable):
                for reconciler in self.reconcilers:
                    await reconciler.run_once()
            await city.until_due()

    async def probe(self) -> None:
        """See whether WeChat Pay is back, whenever it is out."""
        await self.breaker.run(self.guarded.probe)


@dataclass(slots=True, kw_only=True)
class City:
    """Everything a case is played in."""

    ground: Ground
    simulator: Simulator
    other: Simulator | None
    """The WeChat Pay of the default account, where the trip is not that one's."""
    notifications: Notifications
    clock: "Clock"
    broker: Broker = field(default_factory=Broker)
    workers: list[Worker] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    called_back: list[str] = field(default_factory=list)
    """The types of the callbacks that reached us."""
    on_call: Callable[[Exchange], None] = lambda _exchange: None
    cancelled_at: float | None = None
    """When the ride service took the trip back."""
    _written: asyncio.Event = field(default_factory=asyncio.Event)
    _agenda: asyncio.Event = field(default_factory=asyncio.Event)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    # --- What the ride service says ---

    def starts(self, *, risk_amount_fen: int | None = None) -> None:
        """Begin the trip; of several accounts, it is the second one's."""
        event = TripStarted(
            trip_id=TRIP_ID,
            openid=OPENID,
            started_at=self.clock(),
            start_location="静安寺",
            risk_amount_fen=risk_amount_fen,
            account=UNSET if self.other is None else SECOND,
        )
        self.broker.publish(event, to_all=True)

    def ends(self) -> None:
        event = TripEnded(
            trip_id=TRIP_ID,
            ended_at=self.clock(),
            end_location="虹桥火车站",
            fees=(FeeItem(name="里程费", amount_fen=FARE_FEN + 300),),
            discounts=(DiscountItem(name="优惠券", amount_fen=300),),
            total_fen=FARE_FEN,
        )
        self.broker.publish(event, to_all=True)

    def is_cancelled(self) -> None:
        self.cancelled_at = leaping().time()
        event = TripCancelled(trip_id=TRIP_ID, cancelled_at=self.clock(), reason="乘客取消")
        self.broker.publish(event, to_all=True)

    def is_lowered(self) -> None:
        """The ride service lowers the fare."""
        event = TripFareLowered(
            trip_id=TRIP_ID,
            lowered_at=self.clock(),
            fees=(FeeItem(name="里程费", amount_fen=LOWERED_FEN),),
            total_fen=LOWERED_FEN,
            reason="绕路退费",
        )
        self.broker.publish(event, to_all=True)

    def is_paid_elsewhere(self) -> None:
        """The passenger has paid the driver."""
        event = TripPaidElsewhere(trip_id=TRIP_ID, paid_at=self.clock(), amount_fen=FARE_FEN, channel="cash")
        self.broker.publish(event, to_all=True)

    def is_refunded(self) -> None:
        """The ride service sends money back."""
        event = RefundRequested(trip_id=TRIP_ID, refund_id=REFUND_ID, amount_fen=REFUND_FEN, reason="绕路")
        self.broker.publish(event, to_all=True)

    def passenger(self, passenger: Passenger) -> None:
        self.simulator.set_passenger(OPENID, passenger)

    def enables(self) -> None:
        """The passenger enables the service, and WeChat Pay says so."""
        self.passenger(Passenger())
        self.simulator.open_service(OPENID)
        self.wake()

    def completes_by_hand(self) -> None:
        """A person completes the order in WeChat Pay's console, with exactly the fare."""
        if self.simulator.entity(TRIP_ID) is not None:
            with suppress(WrongStage):
                self.simulator.complete_by_hand(TRIP_ID, FARE_FEN)
        self.wake()

    async def is_waived(self) -> None:
        """A person waives the fare, as soon as it is asked for and WeChat Pay can be asked about it."""
        decision = Decision(verb=Verb.WAIVE, by="wang", reason="客诉")
        settlement = self.workers[0].settlement
        for _ in range(WAIVE_LOOKS):
            with suppress(IllegalTransition, SettlementError):
                sight = await settlement.look(TRIP_ID)
                await settlement.decide(TRIP_ID, decision, mark=sight.mark)
                return
            await asyncio.sleep(WAIVE_LOOK_SECONDS)

    async def confirms(self) -> None:
        """The passenger confirms the order, as soon as he is asked to and if WeChat Pay lets him still."""
        for _ in range(CONFIRM_LOOKS):
            for heard in self.heard:
                if heard.type == "settlement.confirmation_requested":
                    with suppress(PageRefused):
                        self.simulator.confirm(heard.data["confirm"]["extraData"]["package"], OPENID)
                    self.wake()
                    return
            await asyncio.sleep(CONFIRM_LOOK_SECONDS)

    # --- Time ---

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def rests(self, horizon: timedelta) -> bool:
        """Let time pass until nothing is left to do; false: the horizon came first."""
        until = self.clock() + horizon
        while self.clock() < until and len(self.exchanges) < MOST_CALLS:
            await asyncio.sleep(LOOK_SECONDS)
            if self._is_quiet and await self.ground.next_due() is None and self._is_quiet:
                return True
        return False

    async def until_due(self) -> None:
        """Wait until a reconciler has something to do, or may have."""
        while True:
            self._written.clear()
            due_at = await self.ground.next_due()
            wait = LONGEST_SECONDS if due_at is None else (due_at - self.clock()).total_seconds()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(wait, SHORTEST_SECONDS), LONGEST_SECONDS)):
                    await self._written.wait()
                await asyncio.sleep(SHORTEST_SECONDS)
                continue
            return

    @property
    def _is_quiet(self) -> bool:
        return (
            not self.broker.in_hand
            and not any(worker.breaker.is_open for worker in self.workers)
            and self._next_on_agenda is None
            and not self._told.is_set()
        )

    @property
    def _next_on_agenda(self) -> float | None:
        entries = self.simulator._world.agenda._entries
        return entries[0][0] if entries else None

    # --- What goes on by itself ---

    async def run_simulator(self) -> None:
        """Have debits and callbacks happen when their time comes."""
        while True:
            self._agenda.clear()
            await self.simulator.run_once()
            at = self._next_on_agenda
            with suppress(TimeoutError):
                async with asyncio.timeout(None if at is None else max(at - self.clock().timestamp(), 0.001)):
                    await self._agenda.wait()

    async def relay(self) -> None:
        """Take what waits in the outbox to the audience."""
        while True:
            await self._told.wait()
            await asyncio.sleep(0)
            rows = await self.ground.storage.claim_outbox(now=self.clock(), lease=LEASE, limit=BATCH)
            for row in rows:
                data = msgspec.json.decode(row.body)["data"]
                self.heard.append(Heard(row.event_id, row.type, data, leaping().time()))
            if rows:
                await self.ground.storage.mark_published([row.id for row in rows], now=self.clock())
            else:
                self._told.clear()

    async def receive(self, request: httpx.Request) -> httpx.Response:
        """Be the webhook: what WeChat Pay proves to have sent comes into our queues."""
        notification = await self.notifications.open(request.headers, await request.aread())
        resource = msgspec.json.decode(notification.resource, type=dict[str, Any])
        self.called_back.append(notification.event_type)
        account = UNSET if self.other is None else SECOND
        if notification.event_type.startswith("REFUND."):
            self.broker.publish(RefundChanged(resource=resource, account=account))
        elif notification.event_type in ("PAYSCORE.USER_CONFIRM", "PAYSCORE.USER_ACCEPTED"):
            self.broker.publish(OrderConfirmed(resource=resource, account=account))
        elif notification.event_type == "PAYSCORE.USER_PAID":
            self.broker.publish(OrderPaid(resource=resource, account=account))
        else:
            self.broker.publish(ServiceChanged(resource=resource, account=account))
        return httpx.Response(200)

    def wake(self) -> None:
        """Have the simulator look at its agenda: something may have come to it."""
        self._agenda.set()

    def called(self, exchange: Exchange) -> None:
        """Tell the case of a call that has just arrived at WeChat Pay."""
        self.on_call(exchange)

    def written(self) -> None:
        self._written.set()

    def told(self) -> None:
        self._told.set()


@dataclass(slots=True)
class Clock:
    """The one clock of a city: the loop's."""

    began: datetime
    _since: float = field(default_factory=lambda: leaping().time())

    def __call__(self) -> datetime:
        return self.began + timedelta(seconds=leaping().time() - self._since)


@cache
def simulator_keys() -> SimulatorKeys:
    """Make them once: RSA keys take a while."""
    return SimulatorKeys.generate()


@cache
def other_keys() -> SimulatorKeys:
    """Make those of another merchant, with the same RSA keys: these take a while, and whose they are is not asked."""
    return replace(simulator_keys(), mchid="1900000101", appid="wxshanghai", service_id="500001")


@cache
def merchant_private_key() -> RSAPrivateKey:
    return load_private_key(simulator_keys().merchant_private_key_pem)


@asynccontextmanager
async def a_city(
    ground: Ground,
    family: str,
    *,
    workers: int,
    needs_confirm: bool = False,
    has_accounts: bool = False,
    second_risk_fen: int | None = None,
    **config: Any,
) -> AsyncIterator[City]:
    """Build a city on wiped ground, and have everything go on that goes on by itself; `config` is the simulator's.

    `needs_confirm`: its passengers confirm each order; `has_accounts`: there are two, and the trip is the second one's;
    `second_risk_fen`: for how much an order is asked for again that was refused for risk.
    """
    await ground.wipe()
    keys = simulator_keys()
    clock = Clock(keys.platform.certificate.not_valid_before_utc + timedelta(days=30))
    city: City

    async def receive(request: httpx.Request) -> httpx.Response:
        return await city.receive(request)

    http = httpx.AsyncClient(transport=httpx.MockTransport(receive))
    if needs_confirm:
        config["services"] = (Service(appid=keys.appid, service_id=keys.service_id, mode="need_confirm"),)
    setup = SimulatorConfig(keys=keys, notify_url=NOTIFY_URL, sign_with="public_key", **config)
    simulator = Simulator(setup, clock=clock, http=http)
    notifications = Notifications(keys=_keys(clock), apiv3_keys=(keys.apiv3_key.encode(),), clock=clock)
    other = Simulator(replace(setup, keys=other_keys()), clock=clock, http=http) if has_accounts else None
    city = City(ground=ground, simulator=simulator, other=other, notifications=notifications, clock=clock)
    orders = OrderSettings(second_risk_amount_fen=second_risk_fen)  # else a newcomer's
    app = httpx.ASGITransport(create_app(simulator, *([other] if other else [])))
    for name in list(WORKERS)[:workers]:
        _employ(city, name, family, app, orders, needs_confirm=needs_confirm)
    ground.on_written = city.written
    going_on = [asyncio.create_task(work) for work in _work_of(city)]
    try:
        yield city
    finally:
        ground.on_written = lambda: None
        await city.broker.aclose()
        for task in going_on:
            task.cancel()
        await asyncio.gather(*going_on, return_exceptions=True)
        for client in [one for worker in city.workers for one in worker.clients]:
            await client.aclose()
        await http.aclose()


def _work_of(city: City) -> list[Coroutine[Any, Any, None]]:
    work = [city.run_simulator(), city.relay()]
    for worker in city.workers:
        work += [worker.reconcile(city), worker.probe()]
    return work


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """What a worker has of one account."""

    name: str
    keys: SimulatorKeys
    client: WechatPayClient
    breaker: Breaker
    payscores: GuardedPayScores
    refunds: GuardedRefunds

    @property
    def account(self) -> Account:
        """What its trips go by: what a newcomer's settings say."""
        offer = OrderSettings()
        return Account(
            name=self.name,
            mchid=self.keys.mchid,
            family=self.payscores.current.family,
            risk_amount_fen=offer.risk_amount_fen,
            introduction=offer.service_introduction,
            out_order_no_prefix=offer.out_order_no_prefix,
        )


def _employ(
    city: City, name: str, family: str, app: httpx.AsyncBaseTransport, orders: OrderSettings, *, needs_confirm: bool
) -> None:
    """Set a worker up, with a host of its own for WeChat Pay to tell it by."""

    def account(named: str, keys: SimulatorKeys) -> _Account:
        client = _client(city, name, app, keys, account=named, needs_confirm=needs_confirm)
        breaker = Breaker(account=named)
        return _Account(
            name=named,
            keys=keys,
            client=client,
            breaker=breaker,
            payscores=GuardedPayScores(MerchantPayScores(family, client), breaker),
            refunds=GuardedRefunds(MerchantRefunds(client), breaker),
        )

    if city.other is None:
        accounts = [account(DEFAULT, simulator_keys())]
    else:
        accounts = [account(FIRST, other_keys()), account(SECOND, simulator_keys())]
    ours = accounts[-1]
    breakers = Breakers({one.name: one.breaker for one in accounts})
    by_name = {one.name: one.payscores for one in accounts}
    payscores = ours.payscores if len(accounts) == 1 else AccountPayScores(by_name)
    common: dict[str, Any] = {
        "storage": city.ground.storage,
        "payscores": payscores,
        "orders": orders,
        "accounts": [one.account for one in accounts] if len(accounts) > 1 else [],
        "on_announced": city.told,
        "clock": city.clock,
    }
    settlement = make_settlement(**common)
    refunding = ours.refunds if len(accounts) == 1 else AccountRefunds([one.refunds for one in accounts])
    refunds = make_refunds(refunds=refunding, **common)
    authorisations = make_authorisations(settlement=settlement, **common)

    def reconciler(desk: Desk[C]) -> Reconciler[C]:
        return Reconciler(storage=city.ground.storage, desk=desk, clock=city.clock, is_out=lambda: breakers.is_open)

    city.workers.append(
        Worker(
            name=name,
            clients=[one.client for one in accounts],
            breaker=ours.breaker,
            breakers=breakers,
            guarded=ours.payscores,
            settlement=settlement,
            refunds=refunds,
            reconcilers=(reconciler(settlement), reconciler(refunds), reconciler(authorisations)),
        )
    )
    city.broker.consumers.append(Consumer(name, breakers, subscriptions(settlement, refunds, authorisations)))


def host_of(worker: str) -> str:
    """Name the host by which this worker reaches WeChat Pay."""
    return f"{worker}.wechatpay.test"


def _client(
    city: City, name: str, app: httpx.AsyncBaseTransport, keys: SimulatorKeys, *, account: str, needs_confirm: bool
) -> WechatPayClient:
    return WechatPayClient(
        merchant=Merchant(
            mchid=keys.mchid,
            appid=keys.appid,
            service_id=keys.service_id,
            serial_no=keys.merchant.serial_no,
            private_key=merchant_private_key(),
            apiv3_keys=(keys.apiv3_key.encode(),),
            apiv2_key=keys.apiv2_key,
            notify_url=NOTIFY_URL,
            need_user_confirm=needs_confirm,
        ),
        keys=_keys(city.clock),
        base_urls=[f"http://{host_of(name)}"],
        transport=Wire(
            app,
            worker=name,
            one_way_seconds=WORKERS[name],
            simulator=city.simulator,
            log=city.exchanges,
            on_call=city.called,
            on_answered=city.wake,
        ),
        clock=city.clock,
        account=account,
    )


def _keys(clock: Clock) -> VerificationKeys:
    keys = simulator_keys()
    return VerificationKeys(
        apiv3_keys=(keys.apiv3_key.encode(),),
        clock=clock,
        public_keys={keys.public_key_id: keys.public_key_pair.public_key()},
    )
