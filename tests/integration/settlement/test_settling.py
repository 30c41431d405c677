"""Trips are settled: in order, out of order, told twice, cancelled, declined."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumers import service_changed
from payscore_worker import metrics
from payscore_worker.domain.trip import (
    Trip,
    TripState,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Rejected
from payscore_worker.events import OrderPaid, ServiceChanged
from payscore_worker.simulator import Behaviour, Passenger
from payscore_worker.storage import CallOutcome, Direction, EventRecord, Storage
from payscore_worker.wechatpay import Answer, Call
from tests.integration.settlement.town import TERMS, Town, a_town, reached


async def test_a_trip_is_settled_from_its_start_to_the_money(town: Town) -> None:
    await town.starts()
    assert await town.state() is TripState.OPEN

    await town.passes(600)
    await town.ends()
    assert await town.state() is TripState.COMPLETED
    assert town.charged_fen() == 0

    await town.passes(3)
    assert await town.state() is TripState.PAID
    assert town.charged_fen() == 3_200


async def test_every_step_is_announced_once_with_what_the_contract_promises(town: Town) -> None:
    await town.rides()
    await town.passes(3)

    opened, completed, paid = await town.announced()

    trip = await town.trip()
    about = {"trip_id": "t1", "out_order_no": "t1"}
    assert opened == (
        "settlement.opened",
        about | {"state": "OPEN", "order_id": trip.order_id, "risk_amount_fen": 20_000},
    )
    assert completed[0] == "settlement.completed"
    assert completed[1].items() >= (about | {"state": "COMPLETED", "total_fen": 3_200}).items()
    assert paid[0] == "settlement.paid"
    assert paid[1].items() >= (about | {"state": "PAID", "total_fen": 3_200, "paid_fen": 3_200}).items()
    assert paid[1]["transaction_id"] == town.order().charges[0].transaction_id


async def test_a_trip_takes_no_more_calls_than_it_needs(town: Town) -> None:
    await town.rides()
    await town.passes(3)

    queries = 1 if town.payscore.needs_finish_ticket else 0
    made = {kind: town.calls_made(kind) for kind in (town.service_question, "create", "query", "complete")}
    assert made == {town.service_question: 1, "create": 1, "query": queries, "complete": 1}


async def test_the_fare_comes_before_the_start_and_both_are_settled_in_one_go(town: Town) -> None:
    await town.ends()
    assert await town.state() is TripState.NOTED

    await town.starts()
    await town.passes(11)
    await town.passes(3)

    assert await town.state() is TripState.PAID
    assert await town.announced_types() == ["settlement.opened", "settlement.completed", "settlement.paid"]


async def test_a_very_short_trip_waits_until_its_end_fits_behind_its_start(town: Town) -> None:
    await town.starts()
    await town.passes(2)
    await town.ends()
    await town.passes(8)
    assert await town.state() is TripState.OPEN
    assert town.calls_made("complete") == 0

    await town.passes(1)

    assert await town.state() is TripState.COMPLETED


async def test_each_announcement_says_at_which_version_of_the_trip_it_came_about(town: Town) -> None:
    await town.starts()
    opened = await town.trip()
    await town.ends()
    await town.passes(11)
    await town.passes(3)

    rows = await town.storage.claim_outbox(now=town.now, lease=timedelta(minutes=1), limit=10)

    sequences = [json.loads(row.body)["sequence"] for row in rows]
    assert sequences[0] == f"{opened.version:010}"
    assert sequences[-1] == f"{(await town.trip()).version:010}"
    assert sequences == sorted(set(sequences))


async def test_a_trip_that_nobody_else_touches_is_written_seven_times_and_never_in_vain(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told twice, two sends counted before they are made, two answers, paid; once more where a ticket is asked for.

    That the service is on is written with the create.
    """
    written: list[bool] = []
    save = town.storage.save

    async def saving(trip: Trip, **options: Any) -> bool:
        written.append(await save(trip, **options))
        return written[-1]

    looked_up: list[str] = []

    async def last_call(trip_id: str, _kind: str) -> None:
        looked_up.append(trip_id)

    monkeypatch.setattr(town.storage, "save", saving)
    monkeypatch.setattr(town.storage, "last_call", last_call)
    await town.rides(seconds=11)
    await town.passes(3)

    assert await town.state() is TripState.PAID
    assert not looked_up  # the journal is for what is in doubt
    assert written == [True] * (8 if town.payscore.needs_finish_ticket else 7)


async def test_facts_told_twice_change_nothing(town: Town) -> None:
    started_at = town.now
    await town.starts(started_at=started_at)
    await town.passes(600)
    ended_at = town.now
    await town.ends(ended_at=ended_at)
    await town.passes(3)
    before = await town.trip()

    await town.starts(started_at=started_at)
    await town.ends(ended_at=ended_at)

    assert await town.trip() == before
    assert town.order().creates == town.order().completes == 1


@pytest.fixture
def noted(town: Town, monkeypatch: pytest.MonkeyPatch) -> list[EventRecord]:
    """What is noted as heard, while it is written."""
    heard: list[EventRecord] = []
    save = town.storage.save

    async def saving(trip: Trip, *, events: Sequence[EventRecord] = (), **options: Any) -> bool:
        heard.extend(event for event in events if event.direction is Direction.IN)
        return await save(trip, events=events, **options)

    monkeypatch.setattr(town.storage, "save", saving)
    return heard


async def test_each_fact_is_noted_as_an_event_once_however_often_it_is_told(
    town: Town, noted: list[EventRecord]
) -> None:
    started_at = town.now
    for _ in range(3):
        await town.starts(started_at=started_at)
    await town.passes(600)
    ended_at = town.now
    for _ in range(3):
        await town.ends(ended_at=ended_at)

    assert [event.type for event in noted] == ["trip.started", "trip.ended"]
    assert [(event.at, json.loads(event.body)["trip_id"]) for event in noted] == [(started_at, "t1"), (ended_at, "t1")]


async def test_a_cancellation_is_noted_as_an_event_with_what_it_said(town: Town, noted: list[EventRecord]) -> None:
    await town.cancels(reason="乘客取消")

    (cancellation,) = noted
    assert cancellation.type == "trip.cancelled"
    assert json.loads(cancellation.body)["reason"] == "乘客取消"


async def test_what_wechat_said_of_a_payment_is_noted_as_an_event_with_what_it_moved(
    town: Town, noted: list[EventRecord]
) -> None:
    await town.rides()
    await town.passes(3)

    assert [event.type for event in noted] == ["trip.started", "trip.ended", "payscore.user_paid"]
    ((_, told),) = town.received
    assert json.loads(noted[-1].body)["resource"] == told


async def test_a_payment_is_believed_about_the_order_that_was_opened_and_not_about_one_under_the_present_terms(
    town: Town,
) -> None:
    town.listening = False
    await town.rides()
    await town.passes(3)
    town.restart(service_id="999999")
    town.listening = True
    town.simulator.resend(town.simulator.notifications()[0].id)
    await town.simulator.run_once()
    ((_, told),) = town.received
    assert await town.state() is TripState.PAID

    with pytest.raises(Rejected, match=r"^the notification names another mchid, appid or service_id$"):
        await town.settlement.note_paid(OrderPaid(resource=told | {"service_id": "999999"}))


async def test_an_order_of_a_trip_that_was_not_opened_yet_is_ours_under_the_present_terms(town: Town) -> None:
    await town.ends()  # its start has not come
    told = {"mchid": town.payscore.terms.mchid, "out_order_no": "t1", "state": "DOING"}

    for service_id in ("999999", None):
        with pytest.raises(Rejected, match="names another"):
            await town.settlement.note_paid(
                OrderPaid(resource=told | {"appid": town.payscore.terms.appid, "service_id": service_id})
            )

    ids = {"appid": town.payscore.terms.appid, "service_id": town.payscore.terms.service_id}
    assert await town.settlement.note_paid(OrderPaid(resource=told | ids)) == "t1"


@pytest.mark.parametrize("by", ["a message", "the reconciler"])
async def test_trips_do_not_wait_for_each_other(town: Town, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    for trip_id in ("t1", "t2"):
        await town.settlement.note_started(town.a_start(trip_id))
    underway, go_on = asyncio.Event(), asyncio.Event()
    send = town.payscore.send

    async def sending(call: Call) -> Answer:
        if b'"t1"' in call.body:
            underway.set()
            await go_on.wait()
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", sending)

    async def advances(trip_id: str) -> None:
        if by == "a message":
            await town.settlement.advance(trip_id)
        else:
            await town.settlement.take_up(await town.trip(trip_id))

    waits = asyncio.create_task(advances("t1"))
    await reached(underway, by=waits)
    async with asyncio.timeout(60):
        await advances("t2")

    assert await town.state("t2") is TripState.OPEN
    assert await town.state("t1") is TripState.NOTED
    go_on.set()
    await waits


async def test_an_order_is_opened_with_the_trips_own_risk_amount(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[dict[str, Any]] = []
    send = town.payscore.send

    async def sending(call: Call) -> Answer:
        if call.kind == "create":
            bodies.append(json.loads(call.body))
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", sending)
    await town.starts("own", risk_amount_fen=12_300)
    await town.starts("the setting's")

    amounts = [body.get("risk_fund", {}).get("amount", body.get("risk_amount")) for body in bodies]
    assert amounts == [12_300, 20_000]
    opened = [data["risk_amount_fen"] for type_, data in await town.announced() if type_ == "settlement.opened"]
    assert opened == [12_300, 20_000]


async def test_a_fare_of_exactly_what_the_order_may_take_is_settled(town: Town) -> None:
    await town.starts(risk_amount_fen=3_200)
    await town.passes(600)
    await town.ends(total_fen=3_200)
    await town.passes(3)

    assert await town.state() is TripState.PAID


async def test_another_fare_for_a_trip_that_has_ended_is_refused_and_the_first_one_stands(town: Town) -> None:
    await town.rides()

    with pytest.raises(ConflictingFact, match="total_fen"):
        await town.ends(total_fen=9_900)

    await town.passes(3)
    assert town.charged_fen() == 3_200


async def test_a_trip_cancelled_before_its_end_cancels_the_order(town: Town) -> None:
    await town.starts()
    await town.passes(60)

    await town.cancels()

    assert await town.state() is TripState.CANCELLED
    assert town.order().cancels == 1
    assert await town.announced_types() == ["settlement.opened", "settlement.cancelled"]


async def test_a_trip_cancelled_before_it_was_started_never_opens_an_order(town: Town) -> None:
    await town.cancels()
    await town.starts()

    assert await town.state() is TripState.CANCELLED
    assert town.simulator.orders_created == []


async def test_a_trip_cannot_be_cancelled_once_its_fare_is_owed(town: Town) -> None:
    await town.rides()

    with pytest.raises(IllegalTransition):
        await town.cancels()

    await town.passes(3)
    assert await town.state() is TripState.PAID


async def test_a_free_trip_is_completed_with_zero_and_nothing_is_collected(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    await town.ends(total_fen=0)
    await town.passes(5)

    assert await town.state() is TripState.PAID
    assert town.order().charges == []
    assert (await town.announced())[-1][1]["paid_fen"] == 0


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour.NOT_ENABLED, "service_not_enabled"),
        (Behaviour.RISK_REFUSED, "risk_refused"),
        (Behaviour.ARREARS, "arrears"),
        (Behaviour.TOO_MANY_ORDERS, "too_many_orders"),
        (Behaviour.MINOR_PROTECTED, "minor_protected"),
    ],
)
async def test_a_passenger_whom_payscore_will_not_serve_is_declined_with_the_reason(
    town: Town, behaviour: Behaviour, reason: str
) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(behaviour))

    await town.starts()
    await town.passes(10)  # the second answer that there is no order

    assert await town.state() is TripState.DECLINED
    (declined,) = await town.announced()
    assert declined[0] == "settlement.declined"
    assert declined[1]["reason"] == reason


async def test_a_passenger_without_the_service_is_told_how_to_enable_it(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NOT_ENABLED))

    await town.starts()
    await town.passes(10)  # that nobody knows him is asked twice

    ((_, declined),) = await town.announced()
    town.signs(declined["enable"])
    assert town.simulator.passenger("oPassenger").behaviour is Behaviour.PAYS


async def test_only_a_passenger_without_the_service_is_told_how_to_enable_it(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.RISK_REFUSED))

    await town.starts()
    await town.passes(10)

    ((_, declined),) = await town.announced()
    assert "enable" not in declined


async def test_the_fare_of_a_declined_trip_is_noted_and_nothing_is_asked_of_wechat(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.RISK_REFUSED))
    await town.starts()
    await town.passes(10)
    calls = len(town.simulator.calls(100))

    await town.ends()

    trip = await town.trip()
    assert trip.state is TripState.DECLINED
    assert trip.ended is not None
    assert len(town.simulator.calls(100)) == calls


async def test_a_fare_above_what_payscore_takes_cancels_the_order_and_declines(town: Town) -> None:
    await town.starts()
    await town.passes(600)

    await town.ends(total_fen=60_000)
    await town.passes(60)  # where only WeChat Pay knows the limit, it refuses twice

    assert await town.state() is TripState.DECLINED
    assert town.order().cancels == 1
    assert town.charged_fen() == 0
    assert [(type_, data.get("reason")) for type_, data in await town.announced()] == [
        ("settlement.opened", None),
        ("settlement.declined", "amount_over_limit"),
    ]


async def test_a_cancelled_trip_and_a_fare_contradict_each_other(town: Town) -> None:
    await town.starts()
    await town.cancels()

    with pytest.raises(ConflictingFact, match="cancelled"):
        await town.ends()


async def test_a_lost_callback_is_found_by_asking(town: Town) -> None:
    town.listening = False
    await town.rides()
    await town.passes(3)
    assert await town.state() is TripState.COMPLETED

    await town.passes(2)

    assert await town.state() is TripState.PAID
    assert town.received == []


async def test_a_passenger_who_pays_after_days_is_found_paid(storage: Storage, family: str) -> None:
    async with a_town(storage, family) as town:
        two_days = timedelta(days=2).total_seconds()
        town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS_LATE, seconds=two_days))
        town.listening = False
        await town.rides()
        for _ in range(4):
            await town.passes(86_400)

        assert await town.state() is TripState.PAID
        assert "settlement.overdue" not in await town.announced_types()


async def test_a_passenger_who_never_pays_is_said_to_be_overdue_once_at_each_age(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()

    told = []
    for day in range(1, 11):
        await town.passes(86_400)
        told += [(day, data["step"]) for type_, data in await town.announced() if type_ == "settlement.overdue"]

    assert await town.state() is TripState.COMPLETED
    assert told == [(3, 1), (7, 2)]


async def test_a_trip_that_never_ends_is_said_to_be_stale_once(town: Town) -> None:
    await town.starts()

    for _ in range(3):
        await town.passes(86_400)

    types = await town.announced_types()
    assert types == ["settlement.opened", "settlement.stale"]


async def test_a_coupon_is_not_rounded_away_but_shown_to_a_person(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=100))
    await town.rides()
    await town.passes(3)

    trip = await town.trip()
    assert trip.state is TripState.COMPLETED
    assert trip.problem is not None
    assert trip.problem.code == "amount_differs"
    assert (await town.announced_types())[-1] == "settlement.problem"


async def test_a_notification_about_nobodys_order_is_refused(town: Town) -> None:
    await town.rides()
    await town.passes(3)
    resource = dict(town.received[-1][1])

    with pytest.raises(Rejected, match="no trip"):
        await town.settlement.note_paid(OrderPaid(resource=resource | {"out_order_no": "nobody"}))
    with pytest.raises(Rejected, match="mchid"):
        await town.settlement.note_paid(OrderPaid(resource=resource | {"mchid": "1"}))


async def test_a_notification_repeated_changes_nothing(town: Town) -> None:
    await town.rides()
    await town.passes(3)
    before = await town.trip()

    for _ in range(3):
        await town.settlement.note_paid(OrderPaid(resource=town.received[-1][1]))

    assert await town.trip() == before


async def test_a_notification_in_a_state_that_no_table_knows_is_noted_and_moves_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, str]] = []
    note = town.storage.note_event

    async def noting(trip_id: str, event: EventRecord) -> None:
        noted.append((trip_id, event.type))
        await note(trip_id, event)

    monkeypatch.setattr(town.storage, "note_event", noting)
    await town.rides()
    await town.passes(3)
    resource = dict(town.received[-1][1])
    await town.starts("t2")
    before = [await town.trip("t1"), await town.trip("t2")]

    for out_order_no in ("t1", "t2"):
        strange = resource | {"out_order_no": out_order_no, "state": "REGRETTED"}
        await town.settlement.note_paid(OrderPaid(resource=strange))

    assert [await town.trip("t1"), await town.trip("t2")] == before
    assert noted == [("t1", "payscore.user_paid"), ("t2", "payscore.user_paid")]


async def test_a_second_payment_for_a_paid_trip_is_refused(town: Town) -> None:
    await town.rides()
    await town.passes(3)
    resource = dict(town.received[-1][1])
    if "finish_transaction_id" in resource:
        resource["finish_transaction_id"] = "4200009"
    else:
        collection = dict(resource["collection"])
        collection["details"] = [dict(collection["details"][0]) | {"transaction_id": "4200009"}]
        resource["collection"] = collection

    with pytest.raises(ConflictingFact, match="another payment"):
        await town.settlement.note_paid(OrderPaid(resource=resource))


async def test_the_service_state_that_a_callback_told_spares_the_question_while_it_is_fresh(
    storage: Storage, family: str
) -> None:
    terms = replace(TERMS, service_state_ttl=timedelta(hours=1))
    async with a_town(storage, family, terms=terms) as town:
        town.simulator.open_service("oPassenger")
        await town.passes(1)
        note = await storage.service_of("oPassenger")
        assert note is not None
        await town.starts("t1")
        town.clock.now = note.as_of + timedelta(hours=1)
        await town.starts("t2")
        assert town.calls_made(town.service_question) == 0

        town.clock.now += timedelta(seconds=1)
        await town.starts("t3")
        await town.starts("t4")

        assert town.calls_made(town.service_question) == 1


async def test_what_a_callback_told_of_a_service_is_not_kept_where_it_would_never_be_used(town: Town) -> None:
    town.simulator.open_service("oPassenger")
    await town.passes(1)

    assert town.received
    assert await town.storage.service_of("oPassenger") is None


@pytest.mark.parametrize("member", ["appid", "service_id"])
async def test_a_callback_about_another_app_or_service_of_ours_is_taken_and_counted_and_nothing_is_noted(
    storage: Storage, family: str, member: str
) -> None:
    async with a_town(storage, family, terms=replace(TERMS, service_state_ttl=timedelta(hours=1))) as town:
        town.simulator.open_service("oPassenger")
        await town.passes(1)
        ((_, told),) = town.received
        before, counted = await storage.service_of("oPassenger"), metrics.of(metrics.NOT_OURS, "service")._value.get()

        other = told | {member: "another", "openid": "oOther", "user_service_status": "USER_CLOSE_SERVICE"}
        with capture_logs() as logs:
            await service_changed.handle(ServiceChanged(resource=other), town.authorisations)

        assert [(line["event"], line["reason"]) for line in logs] == [
            ("notification_not_ours", "the notification names another appid or service_id of our merchant")
        ]
        assert metrics.of(metrics.NOT_OURS, "service")._value.get() == counted + 1
        assert await storage.service_of("oOther") is None
        assert await storage.service_of("oPassenger") == before is not None


@pytest.mark.parametrize("is_dated", [True, False])
async def test_what_is_known_of_a_service_is_as_old_as_the_callback_says_and_else_as_its_arrival(
    storage: Storage, family: str, *, is_dated: bool
) -> None:
    async with a_town(storage, family, terms=replace(TERMS, service_state_ttl=timedelta(hours=1))) as town:
        opened_at = town.now
        town.simulator.open_service("oPassenger")
        await town.passes(900)
        ((_, told),) = town.received

        changed = told | {"openid": "oOther"} | ({} if is_dated else {"openorclose_time": None})
        await service_changed.handle(ServiceChanged(resource=changed), town.authorisations)

        note = await storage.service_of("oOther")
        assert note is not None
        assert note.as_of == (opened_at if is_dated else town.now)


async def test_a_callback_of_another_merchant_is_rejected(town: Town) -> None:
    town.simulator.open_service("oPassenger")
    await town.passes(1)
    ((_, told),) = town.received

    for other in ({"mchid": "1"}, {"mchid": "1", "appid": "another"}, {"mchid": None}):
        with pytest.raises(Rejected, match="another mchid"):
            await service_changed.handle(ServiceChanged(resource=told | other), town.authorisations)


async def test_that_a_passenger_closed_the_service_is_asked_before_it_declines(storage: Storage, family: str) -> None:
    terms = replace(TERMS, service_state_ttl=timedelta(hours=1))
    async with a_town(storage, family, terms=terms) as town:
        town.simulator.close_service("oPassenger")
        await town.passes(1)

        await town.starts()

        assert await town.state() is TripState.DECLINED
        assert town.simulator.orders_created == []
        assert town.calls_made(town.service_question) == 1


async def test_a_service_closed_behind_our_back_is_found_when_the_order_is_refused(
    storage: Storage, family: str
) -> None:
    terms = replace(TERMS, service_state_ttl=timedelta(hours=1))
    async with a_town(storage, family, terms=terms) as town:
        town.simulator.open_service("oPassenger")
        await town.passes(1)
        town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NOT_ENABLED))

        await town.starts()
        await town.passes(10)  # that its create was refused nobody has signed

        assert await town.state() is TripState.DECLINED
        announced = await town.announced()
        assert [type_ for type_, _ in announced] == ["authorisation.opened", "settlement.declined"]
        assert announced[1][1]["reason"] == "service_not_enabled"


async def test_the_start_can_be_the_events_own_time(storage: Storage, family: str) -> None:
    terms = replace(TERMS, start_at_event=True)
    async with a_town(storage, family, terms=terms) as town:
        await town.rides()
        await town.passes(3)

        assert await town.state() is TripState.PAID
        assert b"OnAccept" not in (await town.call("create")).body


async def test_the_journal_tells_every_call_with_its_answer(town: Town) -> None:
    await town.rides()

    create, complete = await town.call("create"), await town.call("complete")

    for call in (create, complete):
        assert (call.outcome, call.attempts, call.status, call.uncertain) == (CallOutcome.ACCEPTED, 1, 200, False)
        assert call.request_id
    assert (create.generation, complete.generation) == (1, 2)
    assert (await town.call(town.service_question)).attempts == 1
