"""What an answer may decide: only WeChat Pay's signed word ends a trip, and a wrong answer passes without a person."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from payscore_worker.domain.next_step import SayStale
from payscore_worker.domain.outcomes import MAX_REBUILDS, PAUSES
from payscore_worker.domain.trip import (
    Problem,
    Trip,
    TripState,
)
from payscore_worker.errors import HeldBack, MalformedMessage, Rejected, Retryable
from payscore_worker.events import OrderPaid, message_in_hand
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.calls import CallKind
from payscore_worker.storage import CallOutcome, ServiceNote, Storage
from payscore_worker.wechatpay import Answer, Call
from payscore_worker.wechatpay.payscore import Order
from payscore_worker.wechatpay.payscore.orders import read_order
from tests.builders import NOW
from tests.integration.settlement.town import TERMS, Town, a_town

PROXY_STATUSES = [400, 401, 403, 404, 407, 408, 413, 502]

MERCHANT_WIDE: list[dict[str, Any]] = [
    {"status": 401, "code": "SIGN_ERROR", "message": "签名错误"},
    {"status": 400, "code": "MCH_NOT_EXISTS", "message": "商户号不存在"},
    {"status": 400, "code": "APPID_MCHID_NOT_MATCH", "message": "appid和mchid不匹配"},
    {"status": 403, "code": "NO_AUTH", "message": "请检查服务授权状态"},
    {"status": 400, "code": "PARAM_ERROR", "message": "x", "sub_code": 268503786},
    {"status": 400, "code": "PARAM_ERROR", "message": "x", "sub_code": 271302149},
]


async def tries(act: Callable[[], Awaitable[None]]) -> None:
    """Do something that may have to wait; the reconciler takes it up."""
    with suppress(Retryable):
        await act()


async def goes_on(town: Town, minutes: int = 40) -> None:
    for _ in range(minutes * 2):
        await town.passes(30)


async def ends_well(town: Town) -> None:
    """See the trip to its end, and nothing asked of a person on the way."""
    await goes_on(town)
    if (await town.trip()).ended is None:
        await tries(town.ends)
    await goes_on(town)
    trip = await town.trip()
    assert (trip.state, trip.problem) == (TripState.PAID, None)
    assert town.charged_fen() == 3_200
    types = [type_ for type_ in await town.announced_types() if type_.startswith("settlement.")]
    assert types == ["settlement.opened", "settlement.completed", "settlement.paid"]


# --- Another worker, another answer ---


async def test_an_acceptance_that_another_worker_got_is_not_dropped(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first send is refused, the same bytes of a second worker are accepted before the first has written."""
    other, send, both = town.another_settlement(), town.payscore.send, asyncio.Event()
    town.refuse("create", "INVALID_REQUEST", "综合评估未通过", sub_code=271300099)

    async def meeting(call: Call) -> Answer:
        if call.kind != "create":
            return await send(call)
        try:
            return await send(call)
        finally:
            if both.is_set():
                await asyncio.sleep(0)
            else:
                both.set()
                await tries(lambda: other.advance("t1"))

    await town.settlement.note_started(town.a_start())
    monkeypatch.setattr(town.payscore, "send", meeting)
    await tries(lambda: town.settlement.advance("t1"))
    monkeypatch.setattr(town.payscore, "send", send)

    await ends_well(town)


async def test_an_acceptance_whose_worker_died_before_it_wrote_it_is_found(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = town.payscore.send

    async def dying(call: Call) -> Answer:
        answer = await send(call)
        if call.kind == "create":
            raise asyncio.CancelledError
        return answer

    monkeypatch.setattr(town.payscore, "send", dying)
    with pytest.raises(asyncio.CancelledError):
        await town.starts()
    monkeypatch.setattr(town.payscore, "send", send)
    town.refuse("create", "INVALID_REQUEST", "综合评估未通过", sub_code=271300099, times=None)

    await ends_well(town)


async def test_lost_replies_and_an_authorisation_that_ended_do_not_hide_an_order_that_runs(town: Town) -> None:
    town.fault(FaultKind.DROP_REPLY, "create", times=3)
    await tries(town.starts)
    town.simulator.close_service("oPassenger")
    town.refuse("create", "NO_AUTH", "商户暂无权限使用此服务", status=403, times=None)

    await ends_well(town)


@pytest.mark.parametrize("late", [False, True])
async def test_an_unsigned_refusal_ends_nothing_before_wechat_was_asked(town: Town, late: bool) -> None:  # noqa: FBT001
    """Refused by whoever: where the order runs all the same it is found; where it does not, two questions say so."""
    town.fault(
        FaultKind.REFUSE, "create", code="INVALID_REQUEST", message="综合评估未通过", sub_code=271300099, after=late
    )

    await town.starts()
    assert await town.state() is (TripState.OPEN if late else TripState.NOTED)
    await town.passes(10)

    assert await town.state() is (TripState.OPEN if late else TripState.DECLINED)
    assert town.calls_made("query") == (1 if late else 2)


async def test_an_order_that_turns_up_after_the_trip_was_declined_is_cancelled(town: Town) -> None:
    """WeChat Pay's replicas lag for longer than anybody knows: the late look finds what two questions did not."""
    town.fault(FaultKind.REFUSE, "create", code="INVALID_REQUEST", message="综合评估未通过", after=True)
    town.fault(FaultKind.NOT_YET, "query", times=2)
    await town.starts()
    await town.passes(10)
    assert await town.state() is TripState.DECLINED

    await goes_on(town)

    assert town.order().cancels == 1
    assert await town.state() is TripState.DECLINED
    assert await town.announced_types() == ["settlement.declined"]


async def test_the_journal_does_not_let_a_later_refusal_overwrite_an_acceptance(town: Town) -> None:
    await town.starts()
    accepted = await town.call("create")
    refused = town.another_settlement()
    town.refuse("create", "INVALID_REQUEST", "综合评估未通过", times=None)
    record = await town.storage.begin_send("t1", "create")
    assert record is not None

    await town.storage.journal(await town.trip(), _refusal_of(record))
    await tries(lambda: refused.advance("t1"))

    after = await town.call("create")
    assert (after.outcome, after.status, after.request_id) == (CallOutcome.ACCEPTED, 200, accepted.request_id)
    assert (after.begun, after.definite) == (2, 1)
    assert not after.is_surely_without_effect


def _refusal_of(record: Any) -> Any:

    return replace(record, outcome=CallOutcome.REFUSED, status=400, request_id="late", begun=0, definite=1, attempts=1)


# --- Trips that stand still hear ---


async def test_a_signed_notification_is_noted_as_an_event_of_its_trip_once_whatever_comes_of_it(town: Town) -> None:
    await town.rides()
    await town.passes(3)
    resource = dict(town.received[-1][1])
    noted = []
    note = town.storage.note_event

    async def noting(trip_id: str, event: Any) -> None:
        noted.append(event.event_id)
        await note(trip_id, event)

    town.storage.note_event = noting  # type: ignore[method-assign]
    message_in_hand.set("again")
    for _ in range(2):
        await town.settlement.note_paid(OrderPaid(resource=resource))

    assert noted == ["again", "again"]


async def test_a_notification_that_another_worker_overtook_is_noted_all_the_same(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.rides()
    before = await town.trip()
    await town.passes(3)
    noted = []

    async def note(_trip_id: str, event: Any) -> None:
        noted.append(event.event_id)

    async def as_it_was(_out_order_no: str) -> Any:
        return before

    monkeypatch.setattr(town.storage, "note_event", note)
    monkeypatch.setattr(town.storage, "load_by_out_order_no", as_it_was)
    message_in_hand.set("late")
    await town.settlement.note_paid(OrderPaid(resource=dict(town.received[-1][1])))

    assert noted == ["late"]


# --- Answers that are not WeChat Pay's ---


@pytest.mark.parametrize("status", PROXY_STATUSES)
@pytest.mark.parametrize("call", ["user_service_state", "create", "query", "complete"])
async def test_a_proxys_answers_for_a_minute_park_nothing(town: Town, call: str, status: int) -> None:
    town.fault(FaultKind.PROXY, call, status=status, for_seconds=60, times=None)

    await tries(town.starts)

    await ends_well(town)


@pytest.mark.parametrize(
    "refusal", MERCHANT_WIDE, ids=lambda refusal: f"{refusal['code']}-{refusal.get('sub_code', '')}"
)
@pytest.mark.parametrize("call", ["user_service_state", "create", "query", "complete"])
async def test_what_is_wrong_with_the_merchant_for_an_hour_parks_no_trip(
    town: Town, call: str, refusal: dict[str, Any]
) -> None:
    town.fault(FaultKind.REFUSE, call, for_seconds=3_600, since="added", times=None, **refusal)

    await tries(town.starts)
    for _ in range(5):
        await town.passes(900)

    await ends_well(town)


@pytest.mark.parametrize("status", [400, 403, 404, 407, 408])
async def test_a_completed_trip_whose_poll_is_answered_by_a_proxy_is_found_paid(town: Town, status: int) -> None:
    town.listening = False
    await town.rides()
    town.fault(FaultKind.PROXY, "query", status=status, times=1)

    await town.passes(5)
    assert (await town.trip()).problem is None
    await goes_on(town)

    assert await town.state() is TripState.PAID


async def test_a_stale_answer_after_the_completion_parks_nothing(town: Town) -> None:
    town.listening = False
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.fault(FaultKind.STALE, "query", times=2)

    await town.passes(5)
    trip = await town.trip()
    assert (trip.problem, trip.unanswered is None) == (None, False)
    town.simulator.pay("t1")
    await goes_on(town, minutes=2)

    assert await town.state() is TripState.PAID


async def test_no_order_right_after_an_accepted_create_is_lag(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.fault(FaultKind.NOT_YET, "query", times=1)

    await tries(town.ends)
    assert (await town.trip()).problem is None

    await goes_on(town)
    assert await town.state() is TripState.PAID


async def test_not_permitted_right_after_the_passenger_enabled_the_service_parks_nothing(town: Town) -> None:
    town.refuse("create", "NO_AUTH", "商户暂无权限使用此服务", status=403, times=2)

    await tries(town.starts)

    await ends_well(town)


@pytest.mark.parametrize("variant", ["not_json", "array", "empty_object", "wrong_types"])
@pytest.mark.parametrize("call", ["user_service_state", "create", "query", "complete"])
async def test_a_signed_answer_that_cannot_be_read_parks_nothing(town: Town, call: str, variant: str) -> None:
    town.fault(FaultKind.UNREADABLE, call, variant=variant, times=1)

    await tries(town.starts)

    await ends_well(town)


async def test_an_answer_about_another_order_is_asked_about_again_at_growing_pauses_and_journaled_as_unknown(
    town: Town,
) -> None:
    town.fault(FaultKind.ANOTHER_ORDER, "create", variant="mchid", times=None)
    town.fault(FaultKind.NOT_YET, "query", times=None)

    await tries(town.starts)
    create = await town.call("create")
    await town.passes(59)
    trip = await town.trip()

    assert (create.outcome, create.status, create.uncertain) == (CallOutcome.UNKNOWN, 200, True)
    assert trip.doubt is not None
    assert (trip.doubt.code, trip.doubt.message) == ("not_ours", "WeChat Pay answered with another mchid than ours")


@pytest.mark.parametrize("variant", ["out_order_no", "mchid", "appid", "service_id"])
@pytest.mark.parametrize("call", ["create", "query", "complete"])
async def test_a_signed_answer_about_another_order_is_not_taken_for_ours(town: Town, call: str, variant: str) -> None:
    town.fault(FaultKind.ANOTHER_ORDER, call, variant=variant, times=1)

    await tries(town.starts)

    await ends_well(town)


# --- Bytes that were surely refused ---


async def test_a_ticket_that_was_refused_is_fetched_anew(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.refuse("complete", "PARAM_ERROR", "校验完结凭证错误")

    await town.ends()

    assert await town.state() is TripState.COMPLETED
    assert (await town.call("complete")).generation == 3


async def test_a_text_that_wechat_dislikes_is_left_out_in_the_end(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.refuse("complete", "PARAM_ERROR", "参数错误", times=2)

    await town.ends()
    await goes_on(town)

    assert await town.state() is TripState.PAID
    assert town.charged_fen() == 3_200
    assert b"\xe9\x87\x8c\xe7\xa8\x8b\xe8\xb4\xb9" not in (await town.call("complete")).body  # 里程费


async def test_a_start_that_lies_in_the_past_after_an_outage_is_chosen_anew(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:

    steps = town.settlement._steps
    monkeypatch.setattr(steps, "_terms", replace(steps._terms, start_at_event=True))
    town.fault(FaultKind.UNAVAILABLE, "create", for_seconds=300, since="added", times=None)
    await tries(town.starts)
    await town.passes(301)

    await ends_well(town)
    assert len(town.order().bodies[CallKind.CREATE]) == 2


async def test_a_risk_amount_above_the_services_cap_becomes_the_settings(town: Town) -> None:
    await tries(lambda: town.starts(risk_amount_fen=99_000_000))

    await ends_well(town)


async def test_a_trip_cancelled_during_an_outage_opens_no_order(town: Town) -> None:
    town.fault(FaultKind.UNAVAILABLE, "create", for_seconds=300, since="added", times=None)
    await tries(town.starts)
    await tries(town.cancels)

    await town.passes(301)
    await goes_on(town)

    assert await town.state() is TripState.CANCELLED
    assert town.simulator.orders_created == []
    assert await town.announced_types() == ["settlement.cancelled"]


# --- Other settings while trips are under way ---


async def test_a_platform_that_changes_its_family_settles_what_it_opened_in_the_one_before(town: Town) -> None:
    before = town.payscore.family
    town.fault(FaultKind.DROP_REPLY, "create", times=3, openid="oLost")
    town.fault(FaultKind.DROP_REPLY, "complete", times=3, openid="oUnsure")
    await town.starts("riding")
    await tries(lambda: town.starts("lost", openid="oLost"))
    await town.starts("unsure", openid="oUnsure")
    await town.passes(600)
    await tries(lambda: town.ends("unsure"))

    town.restart(family="serviceorder" if before == "payafter" else "payafter")
    await town.starts("new", openid="oNew")
    await town.passes(600)
    for trip_id in ("riding", "lost", "new"):
        await tries(lambda trip_id=trip_id: town.ends(trip_id))  # type: ignore[misc]
    await goes_on(town)

    families = {}
    for trip_id in ("riding", "lost", "unsure", "new"):
        trip = await town.trip(trip_id)
        assert (trip.state, trip.problem) == (TripState.PAID, None)
        assert trip.opening is not None
        assert trip.opening.terms is not None
        families[trip_id] = trip.opening.terms.family
    assert families == {"riding": before, "lost": before, "unsure": before, "new": town.payscore.family}


async def test_a_trip_opened_by_a_release_that_did_not_keep_the_terms_is_spoken_of_under_those_of_its_create(
    town: Town,
) -> None:
    await town.starts()
    trip = await town.trip()
    assert trip.opening is not None
    forgotten = replace(trip, opening=replace(trip.opening, terms=None))
    assert await town.storage.save(forgotten, due_at=None, now=town.now)
    town.restart(family="serviceorder" if town.payscore.family == "payafter" else "payafter")

    await town.passes(600)
    await town.ends()
    await goes_on(town)

    assert await town.state() is TripState.PAID


@pytest.mark.parametrize("wrong", [{"service_id": "999999"}, {"appid": "wx9999999999999999"}, {"mchid": "1999999999"}])
async def test_settings_that_were_wrong_for_a_while_leave_nothing_behind(town: Town, wrong: dict[str, str]) -> None:
    town.restart(**wrong)
    await tries(town.starts)
    for _ in range(10):
        await town.passes(60)
    assert await town.state() is TripState.NOTED

    town.restart()

    await ends_well(town)


async def test_an_order_that_was_refused_under_settings_that_have_changed_since_is_built_anew(town: Town) -> None:
    town.refuse("create", "NO_AUTH", "商户暂无权限使用此服务", status=403, times=None)
    await tries(town.starts)
    refused = town.calls_made("create")
    assert refused
    town.simulator.clear_faults()

    asked = town.calls_made("query")
    town.restart(family="serviceorder" if town.payscore.family == "payafter" else "payafter")
    await ends_well(town)

    assert town.calls_made("create") == refused + 1  # under the old settings it is not sent again
    questions = [call for call in reversed(town.simulator.calls(10_000)) if call.kind == "query"][asked:]
    assert {question.family for question in questions} == {town.payscore.family}  # nor may it be possible to ask
    opening = (await town.trip()).opening
    assert opening is not None
    assert opening.terms == town.payscore.terms


async def test_an_order_whose_create_may_have_been_accepted_stays_under_the_settings_it_was_sent_with(
    town: Town,
) -> None:
    terms = town.payscore.terms
    town.fault(FaultKind.FAIL_BEFORE, "create", times=3)
    await tries(town.starts)

    town.restart(family="serviceorder" if terms.family == "payafter" else "payafter")
    await ends_well(town)

    opening = (await town.trip()).opening
    assert opening is not None
    assert opening.terms == terms


async def test_that_there_is_no_order_is_believed_later_where_a_send_may_be_on_its_way(town: Town) -> None:
    town.fault(FaultKind.FAIL_BEFORE, "create", times=3)
    await tries(town.starts)
    await tries(town.cancels)

    await town.passes(60)
    assert await town.state() is TripState.NOTED
    await town.passes(60)
    assert await town.state() is TripState.CANCELLED


async def test_a_trip_opened_under_another_merchant_waits_for_its_keys(town: Town) -> None:
    await town.starts()
    mchid = town.payscore.terms.mchid
    town.restart(mchid="1999999999")
    await town.passes(600)
    await tries(town.ends)
    await goes_on(town)
    trip = await town.trip()
    assert (trip.state, trip.problem) == (TripState.OPEN, None)

    town.restart(mchid=mchid)
    await goes_on(town)

    assert await town.state() is TripState.PAID


async def test_a_cancellation_is_noted_while_calls_are_held_back(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no order is opened only to be cancelled when they are not any more; the reconciler goes on with it."""
    await town.starts()

    async def held_back(_call: Call) -> Answer:
        raise HeldBack("WeChat Pay is out")

    with monkeypatch.context() as out:
        out.setattr(town.payscore, "send", held_back)
        await town.cancels()
    assert (await town.trip()).cancelled is not None
    await goes_on(town)

    assert await town.state() is TripState.CANCELLED


async def test_after_an_order_without_a_word_too_many_its_fare_is_accepted_the_first_time(town: Town) -> None:
    await tries(lambda: town.starts(risk_amount_fen=99_000_000))
    await goes_on(town)
    await town.ends()
    await goes_on(town)

    assert await town.state() is TripState.PAID
    assert town.calls_made("complete") == 1


# --- How sure a refusal is, and of whom it speaks ---

NOT_PERMITTED: dict[str, Any] = {"status": 403, "code": "NO_AUTH", "message": "商户暂无权限使用此服务"}


@pytest.mark.parametrize(
    ("seconds", "code"), [(None, ""), (3_599, "NO_AUTH"), (3_600, "")], ids=["never", "within the hour", "before"]
)
async def test_an_order_that_is_not_permitted_is_left_to_a_person_only_where_another_was_accepted_within_the_hour(
    town: Town, seconds: float | None, code: str
) -> None:
    await town.settlement.note_started(town.a_start())
    trip = await town.trip()
    tired = replace(trip, refusals=len(PAUSES), refused_as="not_permitted")
    assert await town.storage.save(tired, due_at=None, now=town.now)
    if seconds is not None:
        await town.starts("other", openid="oOther")
        town.clock.now += timedelta(seconds=seconds)
    town.refuse("create", out_order_no="t1", **NOT_PERMITTED)

    await tries(lambda: town.settlement.advance("t1"))

    problem = (await town.trip()).problem
    assert ("" if problem is None else problem.code) == code


async def test_bytes_that_were_refused_as_often_as_they_were_sent_are_surely_refused(town: Town) -> None:
    town.refuse("create", "SOMETHING_NEW", "也许以后", times=2)

    await town.starts()

    trip = await town.trip()
    assert town.calls_made("create") == 2
    assert trip.doubt is not None
    assert not trip.doubt.uncertain


async def test_a_question_that_failed_stands_in_the_journal_and_one_that_was_not_asked_does_not(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def held_back(_openid: str) -> None:
        raise HeldBack("WeChat Pay is out")

    with monkeypatch.context() as out:
        out.setattr(town.payscore, "service_enabled", held_back)
        await tries(town.starts)
    assert await town.storage.last_call("t1", town.service_question) is None

    town.fault(FaultKind.UNAVAILABLE, town.service_question, times=3)
    await tries(lambda: town.settlement.advance("t1"))
    question = await town.call(town.service_question)
    assert (question.attempts, question.status, question.method) == (3, 503, "GET")


async def test_a_send_that_was_held_back_stands_in_the_journal_as_one_without_effect(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = town.payscore.send

    async def held_back(call: Call) -> Answer:
        if call.kind == "create":
            raise HeldBack("WeChat Pay is out")
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", held_back)
    await tries(town.starts)

    create = await town.call("create")
    assert (create.begun, create.definite, create.attempts) == (1, 1, 0)
    assert create.is_surely_without_effect


async def test_an_order_that_wechat_does_not_find_after_its_acceptance_is_asked_about_again(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.fault(FaultKind.NOT_YET, "query")

    await town.passes(60)

    trip = await town.trip()
    assert trip.unanswered is not None
    assert (trip.unanswered.step, trip.unanswered.count) == ("AskOrder", 1)
    assert trip.unanswered.code == (await town.call("query")).code == "ORDER_NOT_EXIST"


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"state": TripState.CANCELLED},
        {"problem": Problem(code="mine", message="", request_id="", step="OpenOrder", since=NOW)},
    ],
    ids=["moved", "left to a person"],
)
async def test_a_refusal_does_not_move_a_trip_that_another_worker_has_taken_elsewhere(
    town: Town, monkeypatch: pytest.MonkeyPatch, elsewhere: dict[str, Any]
) -> None:
    send = town.payscore.send

    async def overtaken(call: Call) -> Answer:
        if call.kind == "create":
            assert await town.storage.save(replace(await town.trip(), **elsewhere), due_at=None, now=town.now)
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", overtaken)
    town.refuse("create", "SOMETHING_NEW", "也许以后")
    await tries(town.starts)

    trip = await town.trip()
    assert trip == replace(trip, **elsewhere, doubt=None, refusals=0)
    assert (await town.call("create")).code == "SOMETHING_NEW"


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"state": TripState.COMPLETED, "end_time": NOW, "completed_at": NOW},
        {
            "opened_at": NOW,
            "problem": Problem(code="mine", message="", request_id="", step="OpenOrder", since=NOW),
        },
    ],
    ids=["moved", "left to a person"],
)
async def test_an_answer_about_where_an_order_stood_does_not_move_a_trip_that_another_worker_has_taken_elsewhere(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, elsewhere: dict[str, Any]
) -> None:
    async with a_town(storage, "payafter") as town:
        query = town.payscore.query
        taken: list[Trip] = []

        async def overtaken(out_order_no: str) -> tuple[Order, Answer]:
            answered = await query(out_order_no)
            assert await town.storage.save(replace(await town.trip(), **elsewhere), due_at=None, now=town.now)
            taken.append(await town.trip())
            return answered

        monkeypatch.setattr(town.payscore, "query", overtaken)
        await town.starts()

        assert taken == [replace(await town.trip(), version=taken[0].version)]


# --- The cancellation of an order ---


async def test_a_cancel_whose_answers_were_lost_is_sent_again_with_the_same_bytes(town: Town) -> None:
    await town.starts()
    town.fault(FaultKind.DROP_REPLY, "cancel", times=3)

    await tries(town.cancels)
    await goes_on(town)

    assert await town.state() is TripState.CANCELLED
    cancel = await town.call("cancel")
    assert (cancel.generation, cancel.outcome) == (2, CallOutcome.ACCEPTED)


async def test_a_cancel_whose_reason_wechat_dislikes_is_sent_with_another(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.starts()
    bodies, send = [], town.payscore.send

    async def sending(call: Call) -> Answer:
        if call.kind == "cancel":
            bodies.append(call.body)
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", sending)
    town.refuse("cancel", "PARAM_ERROR", "参数错误")
    await town.cancels(reason="乘客取消")

    assert await town.state() is TripState.CANCELLED
    assert ["乘客取消".encode() in body for body in bodies] == [True, False]
    assert ((await town.call("cancel")).generation, (await town.call("cancel")).body) == (3, bodies[1])


async def test_a_cancel_that_was_accepted_after_another_worker_had_completed_the_order_is_left_to_a_person(
    storage: Storage, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_town(storage, family, rules={"capped": frozenset({family})}) as town:
        await town.starts()
        await town.passes(600)
        send = town.payscore.send

        async def overtaken(call: Call) -> Answer:
            if call.kind == "cancel":
                trip = replace(await town.trip(), state=TripState.COMPLETED, end_time=town.now, completed_at=town.now)
                assert await town.storage.save(trip, due_at=None, now=town.now)
            return await send(call)

        monkeypatch.setattr(town.payscore, "send", overtaken)
        await town.ends(total_fen=20_001)

        problem = (await town.trip()).problem
        assert problem is not None
        assert (problem.code, problem.since) == ("revoked_after_completion", town.now)


async def test_a_fare_that_is_accepted_after_a_person_took_another_amount_is_left_to_a_person(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.starts()
    await town.passes(600)
    send = town.payscore.send

    async def overtaken(call: Call) -> Answer:
        if call.kind == "complete":
            taken = replace(await town.trip(), state=TripState.COMPLETED, accepted_fen=3_000, completed_at=town.now)
            assert await town.storage.save(taken, due_at=None, now=town.now)
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", overtaken)
    await town.ends()

    problem = (await town.trip()).problem
    assert problem is not None
    assert problem.code == "amount_differs"


# --- What is noted of an answer that cannot be, and of one that can ---

UNREADABLE = "total_amount: expected an amount in whole fen, not str"


def unreadable(*_: object, **__: object) -> Any:
    raise MalformedMessage(UNREADABLE)


async def test_a_question_that_is_answered_about_another_order_is_noted_with_what_is_wrong(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    town.fault(FaultKind.ANOTHER_ORDER, "query", variant="mchid")

    await town.passes(60)

    unanswered = (await town.trip()).unanswered
    assert unanswered is not None
    assert (unanswered.step, unanswered.code) == ("AskOrder", "not_ours")
    assert unanswered.message == "WeChat Pay answered with another order than ours"
    assert unanswered.request_id == (await town.call("query")).request_id != ""


async def test_a_question_whose_answer_cannot_be_read_is_noted_with_what_is_wrong(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as odd:
        odd.setattr(town.payscore, "service_enabled", unreadable)
        await town.starts()
    first = (await town.trip()).unanswered
    await town.passes(60)
    await town.passes(600)
    await town.ends()
    monkeypatch.setattr(town.payscore, "query", unreadable)
    town.listening = False
    await town.passes(60)
    then = (await town.trip()).unanswered

    for unanswered, step in ((first, "AskServiceState"), (then, "AskOrder")):
        assert unanswered is not None
        assert (unanswered.step, unanswered.code, unanswered.message) == (step, "malformed_answer", UNREADABLE)


@pytest.mark.parametrize(
    ("odd", "code", "message"),
    [
        (unreadable, "malformed_answer", UNREADABLE),
        (
            lambda data: read_order(data | {"state": "SOMETHING_NEW"}),
            "unknown_state",
            "WeChat Pay shows a state that no table knows",
        ),
    ],
    ids=["unreadable", "unknown"],
)
async def test_a_create_whose_answer_cannot_be_is_noted_with_what_is_wrong(
    town: Town, monkeypatch: pytest.MonkeyPatch, odd: Callable[..., Any], code: str, message: str
) -> None:
    town.fault(FaultKind.NOT_YET, "query", times=None)
    monkeypatch.setattr(town.payscore, "read_created", odd)

    await tries(town.starts)

    doubt = (await town.trip()).doubt
    assert doubt is not None
    assert (doubt.step, doubt.code, doubt.message) == ("OpenOrder", code, message)
    assert (await town.call("create")).outcome is CallOutcome.UNKNOWN


@pytest.mark.parametrize(("asked_for", "taken"), [(50_000, 20_000), (5_000, 5_000)])
async def test_an_order_without_a_word_too_many_asks_for_no_more_than_the_settings_allow(
    town: Town, asked_for: int, taken: int
) -> None:
    await town.settlement.note_started(town.a_start(risk_amount_fen=asked_for))
    last = replace(await town.trip(), rebuilds=MAX_REBUILDS)
    assert await town.storage.save(last, due_at=None, now=town.now)

    await town.settlement.advance("t1")

    opening = (await town.trip()).opening
    assert opening is not None
    assert (opening.is_plain, opening.risk_amount_fen, opening.start_time) == (True, taken, None)
    assert opening.terms == town.payscore.terms


async def test_an_order_says_all_that_was_told_until_its_words_have_been_refused_twice(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies, send = [], town.payscore.send

    async def sending(call: Call) -> Answer:
        if call.kind == "create":
            bodies.append(call.body)
        return await send(call)

    monkeypatch.setattr(town.payscore, "send", sending)
    town.refuse("create", "PARAM_ERROR", "参数错误", times=MAX_REBUILDS)
    await tries(lambda: town.starts(risk_amount_fen=50_000))
    await goes_on(town, minutes=10)

    assert await town.state() is TripState.OPEN
    assert ["静安寺".encode() in body for body in bodies] == [True, True, False]
    assert [b"50000" in body for body in bodies] == [True, True, False]


@pytest.mark.parametrize(("began", "sent"), [(-600, 10), (5, 10), (600, 600)], ids=["before", "just now", "later"])
async def test_a_start_that_is_sent_to_the_second_lies_ahead_of_wechats_clock(
    storage: Storage, family: str, began: int, sent: int
) -> None:
    async with a_town(storage, family, terms=replace(TERMS, start_at_event=True)) as town:
        await town.starts(started_at=town.now + timedelta(seconds=began))

        opening = (await town.trip()).opening
        assert opening is not None
        assert not opening.is_plain
        assert opening.start_time == town.now + timedelta(seconds=sent)


async def test_what_wechat_said_of_the_service_is_kept_with_its_time_where_it_is_used(
    storage: Storage, family: str
) -> None:
    async with a_town(storage, family, terms=replace(TERMS, service_state_ttl=timedelta(hours=1))) as town:
        await town.starts()

        assert await storage.service_of("oPassenger") == ServiceNote(enabled=True, as_of=town.now)


async def test_it_is_counted_that_we_may_open_orders_and_that_we_may_not_though_the_service_is_on(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(town.payscore, "not_permitted", counted.append)
    monkeypatch.setattr(town.payscore, "permitted", lambda: counted.append("permitted"))
    town.refuse("create", **NOT_PERMITTED)

    await town.starts()
    await goes_on(town, minutes=1)

    assert counted == ["NO_AUTH", "permitted"]


async def test_of_two_workers_that_open_an_order_at_once_the_later_goes_on_from_where_the_first_has_come(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, enabled = town.another_settlement(), town.payscore.service_enabled

    async def overtaken(openid: str) -> tuple[bool, Answer]:
        answered = await enabled(openid)
        monkeypatch.setattr(town.payscore, "service_enabled", enabled)
        await other.advance("t1")
        return answered

    monkeypatch.setattr(town.payscore, "service_enabled", overtaken)
    await town.starts()

    assert (await town.state(), town.calls_made("create")) == (TripState.OPEN, 1)
    assert (await town.call("create")).generation == 1


async def test_what_a_release_before_did_not_keep_of_an_order_is_taken_from_its_create(town: Town) -> None:
    await town.starts()
    trip = await town.trip()
    assert trip.opening is not None
    assert await town.storage.save(replace(trip, opening=None), due_at=None, now=town.now)

    assert (await town.settlement.look("t1")).trip.opening == trip.opening


async def test_of_a_body_that_was_dropped_nothing_is_taken(town: Town) -> None:
    town.refuse("create", "SOMETHING_NEW", "也许以后", times=None)
    await town.starts()
    dropped = replace(await town.trip(), opening=None)
    assert dropped.state is TripState.NOTED
    assert await town.storage.save(dropped, due_at=None, now=town.now)

    assert (await town.settlement.look("t1")).trip.opening is None


# --- The ticket of the legacy family ---


async def without_its_ticket(town: Town) -> None:
    """Have a trip whose order runs, and whose ticket nobody has kept."""
    await town.starts()
    await town.passes(600)
    assert await town.storage.save(replace(await town.trip(), finish_ticket=""), due_at=None, now=town.now)


@contextmanager
def shown_without_a_ticket(town: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have WeChat Pay show orders without their ticket meanwhile."""
    query = town.payscore.query

    async def without(out_order_no: str) -> tuple[Order, Answer]:
        order, answer = await query(out_order_no)
        return replace(order, finish_ticket=None), answer

    with monkeypatch.context() as bare:
        bare.setattr(town.payscore, "query", without)
        yield


async def test_a_running_order_that_is_shown_without_its_ticket_is_asked_about_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_town(storage, "payafter") as town:
        await without_its_ticket(town)
        with shown_without_a_ticket(town, monkeypatch):
            await town.ends()

        unanswered = (await town.trip()).unanswered
        assert unanswered is not None
        assert (unanswered.code, unanswered.step) == ("no_finish_ticket", "AskOrder")
        assert unanswered.message == "WeChat Pay shows a running order without finish_ticket"
        assert unanswered.request_id == (await town.call("query")).request_id != ""

        await town.passes(60)
        assert await town.state() in {TripState.COMPLETED, TripState.PAID}


async def test_an_order_runs_even_when_it_is_shown_without_its_ticket_before_the_end(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_town(storage, "payafter") as town:
        with shown_without_a_ticket(town, monkeypatch):
            await town.starts()

        trip = await town.trip()
        assert (trip.state, trip.unanswered) == (TripState.OPEN, None)

        await town.passes(600)
        await town.ends()
        await town.passes(60)
        assert await town.state() is TripState.PAID


@pytest.mark.parametrize("family", ["payafter", "serviceorder"])
async def test_an_order_whose_acceptance_was_lost_and_then_denied_runs_when_the_trip_has_ended_meanwhile(
    storage: Storage, family: str
) -> None:
    async with a_town(storage, family) as town:
        town.fault(FaultKind.DROP_REPLY, "create", times=3)
        await tries(town.starts)
        town.refuse("create", "SOMETHING_NEW", "也许以后")
        await tries(town.ends)
        await town.passes(20)

        trip = await town.trip()
        assert (trip.state in {TripState.OPEN, TripState.COMPLETED}, trip.unanswered) == (True, None)

        await goes_on(town)
        assert await town.state() is TripState.PAID


async def test_an_order_that_runs_no_more_needs_no_ticket(storage: Storage) -> None:
    async with a_town(storage, "payafter") as town:
        await without_its_ticket(town)
        town.simulator.complete_by_hand("t1", 3_200)

        await town.ends()

        trip = await town.trip()
        assert trip.state in {TripState.COMPLETED, TripState.PAID}
        assert trip.unanswered is None


# --- Adopted, or shown to a person ---


async def test_an_order_completed_by_hand_with_our_fare_is_adopted(town: Town) -> None:
    await town.starts()
    await town.passes(600)
    town.simulator.complete_by_hand("t1", 3_200)

    await town.ends()
    await goes_on(town)

    assert await town.state() is TripState.PAID
    assert await town.announced_types() == ["settlement.opened", "settlement.completed", "settlement.paid"]


async def test_a_failed_create_is_cancelled_and_never_announced_as_opened(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.MUST_CONFIRM))

    await town.starts()
    await goes_on(town)

    assert await town.state() is TripState.DECLINED
    assert await town.announced_types() == ["settlement.declined"]


async def test_a_start_far_in_the_future_is_refused(town: Town) -> None:
    for hours in (8.0, 1.001):
        with pytest.raises(Rejected, match="started_at"):
            await town.starts(started_at=town.now + timedelta(hours=hours))

    await town.starts(started_at=town.now + timedelta(hours=1))
    assert await town.state() is TripState.OPEN


async def test_a_trip_that_goes_round_and_round_is_told_of_by_its_name(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.settlement.trips.next_step", lambda *_: SayStale())

    with pytest.raises(RuntimeError, match=r"^trip t1 took more than 16 steps$"):
        await town.starts()


async def test_every_debits_transaction_is_kept(town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.PAYS_IN_TWO))
    await town.rides()
    await goes_on(town)

    payment = (await town.trip()).payment
    assert payment is not None
    kept = set(payment.transaction_ids)
    assert kept <= {charge.transaction_id for charge in town.order().charges}
    assert len(kept) == (2 if town.payscore.family == "serviceorder" else 1)
