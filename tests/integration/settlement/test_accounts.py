"""Two companies on one platform: each trip is its company's, and one company's trouble is no other's."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import select

from consumers import (
    order_paid,
    refund_changed,
    refund_requested,
    service_changed,
    trip_ended,
    trip_fare_lowered,
    trip_started,
)
from payscore_worker.domain.account import Account
from payscore_worker.domain.authorisation import AuthorisationState
from payscore_worker.domain.outcomes import PAUSES
from payscore_worker.domain.refund import Refund, RefundState
from payscore_worker.domain.trip import (
    Trip,
    TripState,
)
from payscore_worker.errors import ConflictingFact, FailureClass, MerchantRefused, OutcomeUnknown, Rejected, Retryable
from payscore_worker.events import (
    FeeItem,
    OrderPaid,
    RefundChanged,
    RefundRequested,
    ServiceChanged,
    TripEnded,
    TripFareLowered,
    TripStarted,
)
from payscore_worker.oversight.audit import audit_refunds_at_wechatpay, audit_wechatpay
from payscore_worker.oversight.explain import explain
from payscore_worker.settlement.authorisations import Authorisations
from payscore_worker.settlement.authorising import Authorising
from payscore_worker.settlement.reconciler import Reconciler
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.settlement.trip_steps import Terms
from payscore_worker.settlement.trips import Settlement
from payscore_worker.simulator import (
    Behaviour,
    Fault,
    FaultKind,
    Passenger,
    Service,
    Simulator,
    SimulatorConfig,
    SimulatorKeys,
    create_app,
)
from payscore_worker.storage import Storage
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.refunds import RefundReports
from payscore_worker.storage.reports import Reports, TripFilter
from payscore_worker.storage.tables import operator_action
from payscore_worker.wechatpay import (
    Breaker,
    Breakers,
    Merchant,
    Notifications,
    VerificationKeys,
    WechatPayClient,
    load_private_key,
)
from payscore_worker.wechatpay.breaker import OPENS_AFTER
from payscore_worker.wechatpay.payscore import AccountPayScores, GuardedPayScores, MerchantPayScores
from payscore_worker.wechatpay.transactions import AccountRefunds, GuardedRefunds, MerchantRefunds
from tests.builders import NOW, PAYAFTER
from tests.integration.settlement.town import TERMS, Clock, no_sleep, simulator_keys

SHANGHAI, SUZHOU = "shanghai", "suzhou"
OTHER_APP = "wxanotherapp"
FAMILIES = {SHANGHAI: "payafter", SUZHOU: "serviceorder"}
PREFIXES = {SHANGHAI: "", SUZHOU: "SZ-"}


@cache
def keys_of(account: str) -> SimulatorKeys:
    return simulator_keys() if account == SHANGHAI else SimulatorKeys.generate()


def notify_url(account: str) -> str:
    return f"http://webhook.test/notify/{account}"


@dataclass
class Company:
    """One account, and WeChat Pay as it is to it."""

    simulator: Simulator
    payscores: MerchantPayScores
    guarded: GuardedPayScores
    client: WechatPayClient
    breaker: Breaker
    notifications: Notifications
    account: Account


@dataclass
class Platform:
    """Two companies on one database."""

    storage: Storage
    clock: Clock
    terms: Terms = TERMS
    companies: dict[str, Company] = field(default_factory=dict)
    listening: bool = True

    def build(self) -> None:
        """Start the worker, over the companies that there are."""
        first, *others = (company.account for company in self.companies.values())
        rules = replace(PAYAFTER, account=first.name, family=first.family, others=tuple(others))
        self.payscores = AccountPayScores({name: one.guarded for name, one in self.companies.items()})
        self.wechat_refunds = AccountRefunds(
            [GuardedRefunds(MerchantRefunds(one.client), one.breaker) for one in self.companies.values()]
        )
        self.breakers = Breakers({name: one.breaker for name, one in self.companies.items()})
        self.settlement = Settlement(
            storage=self.storage, payscores=self.payscores, rules=rules, terms=self.terms, clock=self.clock
        )
        self.refunds = Refunds(
            storage=self.storage, refunds=self.wechat_refunds, rules=rules, prefix="", clock=self.clock
        )
        self.authorisations = Authorisations(
            storage=self.storage, payscores=self.payscores, settlement=self.settlement, prefix="", clock=self.clock
        )

    async def passes(self, seconds: float) -> None:
        self.clock.now += timedelta(seconds=seconds)
        for one in self.companies.values():
            await one.simulator.run_once()
        for desk in (self.settlement, self.refunds):
            await Reconciler[Any](
                storage=self.storage, desk=desk, clock=self.clock, is_out=lambda: self.breakers.is_open
            ).run_once()
        for one in self.companies.values():
            await one.simulator.run_once()

    # --- What the ride service says ---

    async def starts(self, trip_id: str = "t1", **said: Any) -> None:
        event = TripStarted(trip_id=trip_id, openid="oPassenger", started_at=self.clock(), **said)
        await trip_started.handle(event, self.settlement)

    async def ends(self, trip_id: str = "t1") -> None:
        fees = (FeeItem(name="里程费", amount_fen=3_200),)
        event = TripEnded(trip_id=trip_id, ended_at=self.clock(), fees=fees, total_fen=3_200)
        await trip_ended.handle(event, self.settlement)

    async def rides(self, trip_id: str = "t1", **said: Any) -> None:
        await self.starts(trip_id, **said)
        await self.passes(600)
        await self.ends(trip_id)
        for _ in range(2):
            await self.passes(10)

    async def is_charged(self, trip_id: str = "t1", **said: Any) -> None:
        """Ride, and be charged; nobody has told us of it, and we have not asked."""
        self.listening = False
        await self.starts(trip_id, **said)
        await self.passes(600)
        await self.ends(trip_id)
        self.clock.now += timedelta(seconds=3)
        for one in self.companies.values():
            await one.simulator.run_once()

    async def refunds_of(self, trip_id: str = "t1") -> None:
        event = RefundRequested(trip_id=trip_id, refund_id="r1", amount_fen=1_000, reason="绕路")
        await refund_requested.handle(event, self.refunds)

    # --- What WeChat Pay says ---

    async def receive(self, request: httpx.Request) -> httpx.Response:
        """Be webhook, broker and consumer in one."""
        if not self.listening:
            return httpx.Response(503)
        account = request.url.path.rpartition("/")[2]
        opened = await self.companies[account].notifications.open(request.headers, await request.aread())
        resource = msgspec.json.decode(opened.resource, type=dict[str, Any])
        await self.hear(opened.event_type, resource, account)
        return httpx.Response(200)

    async def hear(self, event_type: str, resource: dict[str, Any], account: str) -> None:
        if event_type.startswith("REFUND."):
            await refund_changed.handle(RefundChanged(resource=resource, account=account), self.refunds)
        elif event_type == "PAYSCORE.USER_PAID":
            await order_paid.handle(OrderPaid(resource=resource, account=account), self.settlement)
        else:
            await service_changed.handle(ServiceChanged(resource=resource, account=account), self.authorisations)

    # --- What can be seen ---

    async def trip(self, trip_id: str = "t1") -> Trip:
        trip = await self.storage.load(trip_id)
        assert trip is not None
        return trip

    def orders(self, account: str) -> list[str]:
        return self.companies[account].simulator.orders_created

    def calls(self, account: str, kind: str) -> int:
        return sum(call.kind == kind for call in self.companies[account].simulator.calls(10_000))

    def questions(self, account: str) -> int:
        """Count how often WeChat Pay was asked about a passenger; each family has its own way."""
        return sum(self.calls(account, kind) for kind in ("user_service_state", "query_permission"))

    # --- What goes wrong ---

    def breaks(self, account: str) -> None:
        for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
            self.companies[account].breaker.failed(OutcomeUnknown("out", status=503, failure=FailureClass.TROUBLE))


@pytest.fixture
async def platform(storage: Storage) -> AsyncIterator[Platform]:
    platform = Platform(storage, Clock())
    http = httpx.AsyncClient(transport=httpx.MockTransport(platform.receive))
    simulators = {
        name: Simulator(
            SimulatorConfig(
                keys=keys_of(name),
                notify_url=notify_url(name),
                services=tuple(
                    Service(appid=appid, service_id=keys_of(name).service_id)
                    for appid in (keys_of(name).appid, OTHER_APP)
                ),
            ),
            clock=platform.clock,
            http=http,
        )
        for name in FAMILIES
    }
    transport = httpx.ASGITransport(create_app(*simulators.values()))
    for name, simulator in simulators.items():
        platform.companies[name] = a_company(name, simulator, transport, platform.clock)
    platform.build()
    yield platform
    for one in platform.companies.values():
        await one.client.aclose()


def a_company(name: str, simulator: Simulator, transport: httpx.AsyncBaseTransport, clock: Clock) -> Company:
    ours = keys_of(name)
    apiv3_keys = (ours.apiv3_key.encode(),)
    verification = VerificationKeys(apiv3_keys=apiv3_keys, clock=clock)
    client = WechatPayClient(
        merchant=Merchant(
            mchid=ours.mchid,
            appid=ours.appid,
            service_id=ours.service_id,
            serial_no=ours.merchant.serial_no,
            private_key=load_private_key(ours.merchant_private_key_pem),
            apiv3_keys=apiv3_keys,
            apiv2_key=ours.apiv2_key,
            notify_url=notify_url(name),
        ),
        keys=verification,
        base_urls=["http://wechatpay.test"],
        transport=transport,
        clock=clock,
        sleep=no_sleep,
        account=name,
    )
    payscores = MerchantPayScores(FAMILIES[name], client, appids=(ours.appid, OTHER_APP))
    breaker = Breaker(account=name)
    return Company(
        simulator=simulator,
        payscores=payscores,
        guarded=GuardedPayScores(payscores, breaker),
        client=client,
        breaker=breaker,
        notifications=Notifications(keys=verification, apiv3_keys=apiv3_keys, clock=clock),
        account=Account(
            name=name,
            mchid=ours.mchid,
            family=FAMILIES[name],
            risk_amount_fen={SHANGHAI: 20_000, SUZHOU: 9_900}[name],
            introduction=f"{name}出行",
            out_order_no_prefix=PREFIXES[name],
        ),
    )


# --- Whose trip it is ---


async def test_a_trip_is_settled_by_the_company_that_it_names_in_that_companys_family(platform: Platform) -> None:
    await platform.rides(account=SUZHOU)

    trip = await platform.trip()
    assert trip.state is TripState.PAID
    assert trip.opening is not None
    assert trip.opening.terms == platform.companies[SUZHOU].payscores.current.terms
    assert trip.opening.risk_amount_fen == 9_900
    assert platform.orders(SUZHOU) == ["SZ-t1"]
    assert platform.companies[SUZHOU].simulator.ledger_entry("SZ-t1").charged_fen == 3_200
    assert platform.orders(SHANGHAI) == []


async def test_a_trip_that_names_no_company_is_the_default_ones(platform: Platform) -> None:
    await platform.rides()

    assert (await platform.trip()).state is TripState.PAID
    assert platform.orders(SHANGHAI) == ["t1"]
    assert platform.orders(SUZHOU) == []


async def test_a_trip_is_its_companys_whichever_half_comes_first(platform: Platform) -> None:
    await platform.ends()
    assert (await platform.trip()).out_order_no == "t1"

    await platform.starts(account=SUZHOU)
    for _ in range(3):
        await platform.passes(60)

    assert (await platform.trip()).state is TripState.PAID
    assert platform.orders(SUZHOU) == ["SZ-t1"]


async def test_an_order_is_opened_for_the_app_that_the_start_names(platform: Platform) -> None:
    await platform.rides(account=SUZHOU, appid=OTHER_APP)

    trip = await platform.trip()
    assert trip.state is TripState.PAID
    assert trip.opening is not None
    assert trip.opening.terms is not None
    assert trip.opening.terms.appid == OTHER_APP


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"account": "hangzhou"}, r"^account: there is no account 'hangzhou'; there are shanghai, suzhou$"),
        ({"account": SUZHOU, "appid": "wxnobodys"}, r"^appid: 'wxnobodys' is none of account 'suzhou': wx"),
        ({"appid": "wxnobodys"}, r"^appid: 'wxnobodys' is none of account 'shanghai': wx"),
    ],
)
async def test_a_company_or_an_app_that_there_is_not_is_named_and_nothing_is_noted(
    platform: Platform, said: dict[str, str], complaint: str
) -> None:
    with pytest.raises(Rejected, match=complaint):
        await platform.starts(**said)

    assert await platform.storage.load("t1") is None


async def test_a_start_that_is_told_again_of_another_company_contradicts_the_first(platform: Platform) -> None:
    event = TripStarted(trip_id="t1", openid="oPassenger", started_at=NOW, account=SUZHOU)
    await trip_started.handle(event, platform.settlement)
    await trip_started.handle(event, platform.settlement)

    with pytest.raises(ConflictingFact, match="otherwise than before in account"):
        await trip_started.handle(msgspec.structs.replace(event, account=SHANGHAI), platform.settlement)


async def test_a_company_that_the_settings_have_no_longer_keeps_its_trip_waiting(platform: Platform) -> None:
    platform.breaks(SUZHOU)
    await platform.starts(account=SUZHOU)
    del platform.companies[SUZHOU]
    platform.build()

    with pytest.raises(MerchantRefused, match="there is no account 'suzhou'") as refused:
        await platform.settlement.advance("t1")

    assert (await platform.trip()).state is TripState.NOTED
    assert (refused.value.failure, refused.value.attempts) == (FailureClass.MISCONFIGURED, 0)


async def test_an_order_says_what_its_company_says(platform: Platform) -> None:
    await platform.starts(account=SUZHOU)

    create = await platform.storage.last_call("t1", "create")
    assert create is not None
    assert "suzhou出行" in create.body.decode()


async def test_that_an_app_of_a_company_was_enabled_is_known_to_that_company(platform: Platform) -> None:
    platform.terms = replace(TERMS, service_state_ttl=timedelta(days=1))
    platform.build()
    opened = {
        "mchid": keys_of(SUZHOU).mchid,
        "appid": OTHER_APP,
        "service_id": keys_of(SUZHOU).service_id,
        "openid": "oPassenger",
        "user_service_status": "USER_OPEN_SERVICE",
        "openorclose_time": "20260501200000",
    }

    await platform.hear("PAYSCORE.USER_OPEN_SERVICE", opened, SUZHOU)
    await platform.starts(account=SUZHOU, appid=OTHER_APP)

    assert platform.questions(SUZHOU) == 0
    assert platform.orders(SUZHOU) == ["SZ-t1"]


async def test_companies_that_share_an_app_know_of_a_passenger_each_for_itself(platform: Platform) -> None:
    platform.terms = replace(TERMS, service_state_ttl=timedelta(days=1))
    platform.build()

    await platform.starts("t1", account=SHANGHAI, appid=OTHER_APP)
    await platform.starts("t2", account=SUZHOU, appid=OTHER_APP)
    await platform.starts("t3", account=SUZHOU, appid=OTHER_APP)

    assert platform.questions(SHANGHAI) == 1
    assert platform.questions(SUZHOU) == 1


# --- One company's word is not another's ---


async def test_a_payment_is_believed_only_of_the_company_whose_keys_opened_it(platform: Platform) -> None:
    await platform.is_charged(account=SUZHOU)
    paid = platform.companies[SUZHOU].simulator.entity("SZ-t1")
    assert paid is not None

    with pytest.raises(Rejected, match="the notification names another mchid"):
        await platform.hear("PAYSCORE.USER_PAID", dict(paid), SHANGHAI)
    assert (await platform.trip()).state is TripState.COMPLETED

    await platform.hear("PAYSCORE.USER_PAID", dict(paid), SUZHOU)
    assert (await platform.trip()).state is TripState.PAID


async def test_a_notification_without_a_name_is_the_default_companys(platform: Platform) -> None:
    await platform.is_charged("t1")
    await platform.is_charged("t2", account=SUZHOU)

    for number, account in (("t1", SHANGHAI), ("SZ-t2", SUZHOU)):
        entity = platform.companies[account].simulator.entity(number)
        assert entity is not None
        event = OrderPaid(resource=dict(entity))
        if account == SHANGHAI:
            await order_paid.handle(event, platform.settlement)
        else:
            with pytest.raises(Rejected, match="names another mchid"):
                await order_paid.handle(event, platform.settlement)

    assert (await platform.trip("t1")).state is TripState.PAID
    assert (await platform.trip("t2")).state is TripState.COMPLETED


def service(account: str, status: str) -> dict[str, Any]:
    """Say what WeChat Pay says when a passenger opens or closes a company's service in the app that two share."""
    return {
        "mchid": keys_of(account).mchid,
        "appid": OTHER_APP,
        "service_id": keys_of(account).service_id,
        "openid": "oPassenger",
        "user_service_status": status,
        "openorclose_time": "20260501200000",
    }


async def test_what_a_passenger_closes_with_one_company_stays_open_with_another(platform: Platform) -> None:
    for account in (SHANGHAI, SUZHOU):
        await platform.hear("PAYSCORE.USER_OPEN_SERVICE", service(account, "USER_OPEN_SERVICE"), account)

    await platform.hear("PAYSCORE.USER_CLOSE_SERVICE", service(SUZHOU, "USER_CLOSE_SERVICE"), SUZHOU)

    states = {one.terms.mchid: one.state for one in await platform.authorisations.of("oPassenger")}
    assert states == {
        keys_of(SHANGHAI).mchid: AuthorisationState.OPEN,
        keys_of(SUZHOU).mchid: AuthorisationState.CLOSED,
    }


async def test_a_word_on_one_companys_service_is_not_believed_of_another(platform: Platform) -> None:
    with pytest.raises(Rejected, match="names another mchid"):
        await platform.hear("PAYSCORE.USER_OPEN_SERVICE", service(SUZHOU, "USER_OPEN_SERVICE"), SHANGHAI)

    assert await platform.authorisations.of("oPassenger") == []


@pytest.mark.parametrize("setting", ["payafter on sqlite"])
async def test_a_person_ends_the_service_of_the_company_that_he_names_and_is_recorded_under_it(
    platform: Platform, tmp_path: Path
) -> None:
    platform.listening = False
    async with engine_for(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}") as engine:
        authorising = Authorising(authorisations=platform.authorisations, actions=Actions(engine), clock=platform.clock)
        ended = await authorising.end("oPassenger", by="li", reason="乘客来电", account=SUZHOU)
        with pytest.raises(Rejected, match="there is no account 'nanjing'; there are shanghai, suzhou"):
            await authorising.end("oPassenger", by="li", reason="乘客来电", account="nanjing")
        actions = await Reports(engine).rows(select(operator_action))

    assert [one.terms.mchid for one in ended] == [keys_of(SUZHOU).mchid]
    behaviours = {name: one.simulator.passenger("oPassenger").behaviour for name, one in platform.companies.items()}
    assert behaviours == {SHANGHAI: Behaviour.PAYS, SUZHOU: Behaviour.NOT_ENABLED}
    own_number = platform.authorisations.own_number("oPassenger", account=SUZHOU)
    assert [(action["who"], action["target"]) for action in actions] == [("li", own_number)]
    assert own_number != platform.authorisations.own_number("oPassenger")


async def test_who_enables_one_companys_service_rides_on_with_that_company(platform: Platform) -> None:
    for one in platform.companies.values():
        one.simulator.set_passenger("oPassenger", Passenger(Behaviour.NOT_ENABLED))
    for trip_id, account in (("t1", SHANGHAI), ("t2", SUZHOU)):
        await platform.starts(trip_id, account=account, appid=OTHER_APP)
    for _ in range(3):
        await platform.passes(30)
    assert {(await platform.trip(trip_id)).state for trip_id in ("t1", "t2")} == {TripState.DECLINED}

    for one in platform.companies.values():
        one.simulator.set_passenger("oPassenger", Passenger())
    await platform.hear("PAYSCORE.USER_OPEN_SERVICE", service(SUZHOU, "USER_OPEN_SERVICE"), SUZHOU)

    assert (await platform.trip("t1")).state is TripState.DECLINED
    assert (await platform.trip("t2")).state is TripState.OPEN


# --- One company's trouble is its own ---


async def test_while_one_company_is_out_its_trips_are_noted_and_the_others_go_on(platform: Platform) -> None:
    platform.breaks(SUZHOU)

    await platform.starts("held", account=SUZHOU)
    await platform.rides("moving")

    assert (await platform.trip("held")).state is TripState.NOTED
    assert platform.calls(SUZHOU, "create") == 0
    assert (await platform.trip("moving")).state is TripState.PAID
    assert not platform.breakers.is_open


async def test_a_trip_that_was_held_back_is_taken_up_once_its_company_is_back(platform: Platform) -> None:
    platform.breaks(SUZHOU)
    await platform.starts(account=SUZHOU)
    await platform.ends()
    await platform.passes(120)
    assert (await platform.trip()).state is TripState.NOTED

    platform.companies[SUZHOU].breaker.close()
    for _ in range(4):
        await platform.passes(300)

    assert (await platform.trip()).state is TripState.PAID
    assert platform.orders(SUZHOU) == ["SZ-t1"]


async def test_what_is_wrong_with_one_merchant_opens_its_own_breaker_alone(platform: Platform) -> None:
    for _ in range(OPENS_AFTER[FailureClass.MISCONFIGURED]):
        platform.companies[SUZHOU].guarded.current.not_permitted("NO_AUTH")

    assert platform.breakers.reasons == {SUZHOU: FailureClass.MISCONFIGURED}


async def test_an_order_that_another_company_opened_says_nothing_of_whether_this_one_may(platform: Platform) -> None:
    """Else its trips would be left to a person, one by one, for what is wrong with its settings."""
    platform.breaks(SUZHOU)
    await platform.starts(account=SUZHOU)
    platform.companies[SUZHOU].breaker.close()
    tired = replace(await platform.trip(), refusals=len(PAUSES), refused_as="not_permitted")
    assert await platform.storage.save(tired, due_at=None, now=platform.clock())
    await platform.starts("other")
    refuse = Fault(FaultKind.REFUSE, call="create", status=403, code="NO_AUTH", message="商户暂无权限使用此服务")
    platform.companies[SUZHOU].simulator.add_fault(refuse)

    with suppress(Retryable):
        await platform.settlement.advance("t1")

    assert platform.calls(SUZHOU, "create") == 1
    assert (await platform.trip()).problem is None


# --- Refunds, and looking back ---


async def test_what_a_fare_was_lowered_by_goes_back_under_the_companys_own_number(platform: Platform) -> None:
    await platform.rides(account=SUZHOU)
    less = TripFareLowered(
        trip_id="t1",
        lowered_at=platform.clock(),
        fees=(FeeItem(name="里程费", amount_fen=3_000),),
        total_fen=3_000,
        reason="绕路",
    )

    await trip_fare_lowered.handle(less, platform.settlement)
    (refund,) = await platform.storage.claim_due(Refund, now=platform.clock(), lease=timedelta(seconds=1), limit=9)

    assert refund.mchid == keys_of(SUZHOU).mchid
    assert refund.out_refund_no.startswith("SZ-")


async def test_a_refund_goes_through_the_company_that_was_paid(platform: Platform) -> None:
    await platform.rides(account=SUZHOU)

    await platform.refunds_of()
    await platform.passes(120)

    refund = await platform.storage.load_refund("r1")
    assert refund is not None
    assert refund.state is RefundState.REFUNDED
    assert refund.mchid == keys_of(SUZHOU).mchid
    assert refund.out_refund_no == "SZ-r1"
    assert platform.calls(SUZHOU, "refund") == 1
    assert platform.calls(SHANGHAI, "refund") == 0


async def test_a_refunds_end_is_believed_only_of_the_company_whose_keys_opened_it(platform: Platform) -> None:
    await platform.rides(account=SUZHOU)
    platform.listening = False
    await platform.refunds_of()
    told = platform.companies[SUZHOU].simulator.refund_entity("SZ-r1")
    assert told is not None
    success = {name: value for name, value in told.items() if name != "status"} | {"refund_status": "SUCCESS"}

    with pytest.raises(Rejected, match="names another mchid"):
        await platform.hear("REFUND.SUCCESS", success, SHANGHAI)
    await platform.hear("REFUND.SUCCESS", success, SUZHOU)

    refund = await platform.storage.load_refund("r1")
    assert refund is not None
    assert refund.state is RefundState.REFUNDED


@pytest.mark.parametrize("setting", ["payafter on sqlite"])
async def test_the_audit_asks_each_company_and_tells_them_apart(platform: Platform, tmp_path: Path) -> None:
    await platform.rides("t1")
    await platform.rides("t2", account=SUZHOU)
    await platform.refunds_of("t2")
    await platform.passes(120)

    async with engine_for(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}") as engine:
        reports = Reports(engine)
        rows = await reports.trips(TripFilter(limit=10), platform.clock())
        names = {one.account.mchid: name for name, one in platform.companies.items()}
        finding = await audit_wechatpay(rows, platform.payscores, names)
        refunds = await audit_refunds_at_wechatpay(await RefundReports(reports).of_trip("t2"), platform.wechat_refunds)
        story = await explain(reports, "t2")

    assert (finding.ok, finding.detail) == (True, "2 trips agree (1 of shanghai, 1 of suzhou)")
    assert (refunds.ok, refunds.detail) == (True, "1 refunds agree")
    assert story is not None
    assert (story.account, story.mchid, story.family) == (SUZHOU, keys_of(SUZHOU).mchid, "serviceorder")
