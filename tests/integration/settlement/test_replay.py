"""Before a dead letter goes back: what its trip's row and WeChat Pay say to that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers import CONSUMERS, trip_ended, trip_started
from payscore_worker.domain.trip import TripState
from payscore_worker.events import CLOUD_EVENT, TripCancelled, TripEnded
from payscore_worker.messaging.deadletters import DeadLetter
from payscore_worker.oversight.replay import Judge, Prospect
from payscore_worker.settlement.trips import Settlement
from payscore_worker.simulator import FaultKind, Passenger, RefundOutcome
from payscore_worker.storage.database import open_storage
from payscore_worker.wechatpay.payscore import PayScores, Phase
from tests.integration.databases import make_tables
from tests.integration.settlement.town import TERMS, Town

FEES = [{"name": "里程费", "amount_fen": 3_500}]
DISCOUNTS = [{"name": "优惠券", "amount_fen": 300}]
STARTED = "payscore.trip-started"
ENDED = "payscore.trip-ended"
CANCELLED = "payscore.trip-cancelled"
FARE_LOWERED = "payscore.trip-fare-lowered"
PAID_ELSEWHERE = "payscore.trip-paid-elsewhere"
PAID = "payscore.order-paid"
REFUND_REQUESTED = "payscore.refund-requested"
REFUND_CHANGED = "payscore.refund-changed"


def a_letter(queue: str, data: Any, *, names: str = "t1") -> DeadLetter:
    return DeadLetter(
        queue=queue,
        id="m1",
        reason="gave up",
        error="TripBusy",
        attempts=9,
        first_failed_at="",
        last_failed_at="",
        trip_id=names,
        message_id="m1",
        content_type="application/json",
        body=data if isinstance(data, bytes) else msgspec.json.encode(data),
    )


def a_judge(town: Town, payscores: PayScores | str | None = None) -> Judge:
    return Judge(
        storage=town.storage,
        payscores=payscores or town.payscores,
        queues={one.queue: one.events for one in CONSUMERS},
        out_order_no_prefix="",
        clock=town.clock,
    )


async def judged(town: Town, letter: DeadLetter) -> Prospect:
    return await a_judge(town).prospect(letter)


def an_end(town: Town, **changes: Any) -> dict[str, Any]:
    end = {"trip_id": "t1", "ended_at": town.now, "end_location": "虹桥火车站", "fees": FEES, "discounts": DISCOUNTS}
    return end | {"total_fen": 3_200} | changes


@asynccontextmanager
async def another_system(town: Town, directory: Path) -> AsyncIterator[Settlement]:
    """Somebody else with our merchant account, of whom our database knows nothing."""
    url = f"sqlite+aiosqlite:///{directory / 'another.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    yield Settlement(storage=storage, payscores=town.payscores, rules=town.rules, terms=TERMS, clock=town.clock)
    await storage.aclose()


# --- What may go back ---


async def test_an_end_that_was_never_noted_may_go_back(town: Town) -> None:
    await town.starts()

    prospect = await judged(town, a_letter(ENDED, an_end(town)))

    assert prospect.decision.allowed
    assert prospect.decision.why.startswith("is noted; the trip is OPEN; WeChat Pay: RUNNING")
    assert prospect.trip == await town.trip()
    assert prospect.word is not None
    assert prospect.word.order is not None
    assert prospect.word.order.phase is Phase.RUNNING


async def test_a_start_of_a_trip_that_nobody_knows_may_go_back(town: Town) -> None:
    prospect = await judged(town, a_letter(STARTED, town.a_start()))

    assert prospect.decision.allowed
    assert (prospect.trip, prospect.word and prospect.word.text) == (None, "no such order")


async def test_a_fact_that_was_noted_before_its_trip_got_stuck_may_go_back(town: Town) -> None:
    start = town.a_start()
    await town.settlement.note_started(start)

    prospect = await judged(town, a_letter(STARTED, start))

    assert prospect.decision.allowed
    assert prospect.decision.why.startswith("noted already; takes the trip up again")


async def test_a_repeated_fact_of_a_trip_that_is_over_changes_nothing_and_may_go_back(town: Town) -> None:
    start = town.a_start()
    await trip_started.handle(start, town.settlement)
    await town.passes(600)
    await town.ends()
    await town.passes(600)
    assert await town.state() is TripState.PAID

    prospect = await judged(town, a_letter(STARTED, start))

    assert prospect.decision.allowed
    assert prospect.decision.why == "changes nothing: it is noted, and the trip is PAID"


async def test_what_cannot_be_read_may_go_back_and_comes_back(town: Town) -> None:
    prospect = await judged(town, a_letter(ENDED, an_end(town, total_fen=32.0)))

    assert prospect.decision.allowed
    assert prospect.decision.why == "will be dead-lettered again: total_fen: Expected `int`, got `float`"


async def test_an_order_revoked_behind_our_back_is_for_the_settlement_to_decline(town: Town) -> None:
    await town.starts()
    town.simulator.revoke("t1")

    prospect = await judged(town, a_letter(ENDED, an_end(town)))

    assert prospect.decision.allowed
    assert "REVOKED" in prospect.decision.why


# --- What stays ---


async def test_another_fare_than_the_one_noted_stays(town: Town) -> None:
    await town.rides()

    prospect = await judged(town, a_letter(ENDED, an_end(town, total_fen=3_500, discounts=[])))

    assert not prospect.decision.allowed
    assert prospect.decision.why.startswith("trip.ended says otherwise than before in ")


async def test_an_end_after_the_trip_was_cancelled_stays(town: Town) -> None:
    await town.starts()
    await town.cancels()

    prospect = await judged(town, a_letter(ENDED, an_end(town)))

    assert not prospect.decision.allowed
    assert prospect.decision.why == "trip.ended for a trip that was cancelled"


async def test_a_start_that_comes_after_its_trip_was_given_up_stays(town: Town) -> None:
    await town.cancels()

    prospect = await judged(town, a_letter(STARTED, town.a_start()))

    assert not prospect.decision.allowed
    assert prospect.decision.why == "the trip is CANCELLED without it, and stays so"


async def test_a_cancellation_after_the_end_stays(town: Town) -> None:
    await town.rides()
    letter = a_letter(CANCELLED, TripCancelled(trip_id="t1", cancelled_at=town.now, reason="乘客取消"))

    prospect = await judged(town, letter)

    assert not prospect.decision.allowed
    assert "its fare is owed" in prospect.decision.why


async def test_an_end_whose_order_somebody_else_completed_with_another_fare_stays(town: Town, tmp_path: Path) -> None:
    start = town.a_start()
    await trip_started.handle(start, town.settlement)
    async with another_system(town, tmp_path) as another:
        await trip_started.handle(start, another)
        await town.passes(600)
        await trip_ended.handle(msgspec.convert(an_end(town), TripEnded), another)

        ours = await judged(town, a_letter(ENDED, an_end(town)))
        another_fare = await judged(town, a_letter(ENDED, an_end(town, discounts=[], total_fen=3_500)))

    assert ours.decision.allowed
    assert not another_fare.decision.allowed
    assert another_fare.decision.why.startswith("the order was completed, and not by us: total 3200")


async def test_a_start_whose_order_somebody_else_opened_stays(town: Town, tmp_path: Path) -> None:
    start = town.a_start()
    async with another_system(town, tmp_path) as another:
        await trip_started.handle(start, another)

    prospect = await judged(town, a_letter(STARTED, start))

    assert not prospect.decision.allowed
    assert prospect.decision.why.startswith("WeChat Pay shows an order that we did not ask for")


async def test_a_notification_of_another_payment_than_the_one_noted_stays(town: Town) -> None:
    await town.rides()
    await town.passes(600)
    assert await town.state() is TripState.PAID
    _, paid = next(one for one in town.received if one[0] == "PAYSCORE.USER_PAID")
    forged = msgspec.json.decode(msgspec.json.encode(paid).replace(b'transaction_id":"', b'transaction_id":"9'))

    same = await judged(town, a_letter(PAID, paid))
    other = await judged(town, a_letter(PAID, forged))

    assert (same.decision.allowed, same.decision.why) == (True, "changes nothing: the trip is PAID")
    assert (other.decision.allowed, other.decision.why) == (
        False,
        "WeChat Pay shows another payment than the one noted",
    )


# --- Where nobody can be asked ---


# --- Refunds ---


def a_request(**changes: Any) -> dict[str, Any]:
    return {"trip_id": "t1", "refund_id": "r1", "amount_fen": 1_000, "reason": "绕路"} | changes


def a_refund_notification(**changes: Any) -> bytes:
    resource = {"out_refund_no": "r1", "refund_status": "SUCCESS", "amount": {"refund": 1_000, "total": 3_200}}
    event = {"specversion": "1.0", "id": "m1", "source": "wechatpay", "type": "refund.success"}
    return msgspec.json.encode(event | {"data": resource | changes})


async def judged_notification(town: Town, **changes: Any) -> Prospect:
    letter = a_letter(REFUND_CHANGED, a_refund_notification(**changes), names="")
    return await judged(town, replace(letter, content_type=CLOUD_EVENT))


async def test_a_request_stays_until_its_trip_is_paid_and_goes_back_then(town: Town) -> None:
    await town.rides()

    before = await judged(town, a_letter(REFUND_REQUESTED, a_request()))
    await town.passes(600)
    after = await judged(town, a_letter(REFUND_REQUESTED, a_request()))

    assert not before.decision.allowed
    assert before.decision.why == "trip_id: the trip is COMPLETED, and only what is paid can be refunded"
    assert after.decision.allowed
    assert after.decision.why == "is noted; 1000 fen go back"


async def test_a_request_for_more_than_is_left_stays_until_what_was_under_way_came_back(town: Town) -> None:
    town.simulator.set_order("t1", Passenger(refund=RefundOutcome.CLOSED))
    await town.rides()
    await town.passes(600)
    await town.refunds_of("r0", amount_fen=3_000)

    before = await judged(town, a_letter(REFUND_REQUESTED, a_request()))
    await town.passes(60)
    after = await judged(town, a_letter(REFUND_REQUESTED, a_request()))

    assert not before.decision.allowed
    assert before.decision.why == "amount_fen: 1000 is more than the 200 fen left of 3200 fen paid"
    assert after.decision.allowed


async def test_a_request_of_an_unknown_trip_goes_back_and_comes_back(town: Town) -> None:
    prospect = await judged(town, a_letter(REFUND_REQUESTED, a_request()))

    assert prospect.decision.allowed
    assert prospect.decision.why == "will be dead-lettered again: trip_id: trip 't1' is not known"


async def test_a_repeated_request_goes_back_and_one_that_says_otherwise_stays(town: Town) -> None:
    await town.rides()
    await town.passes(600)
    await town.refunds_of("r1", amount_fen=1_000)

    same = await judged(town, a_letter(REFUND_REQUESTED, a_request()))
    other = await judged(town, a_letter(REFUND_REQUESTED, a_request(amount_fen=900)))

    assert same.decision.allowed
    assert same.decision.why == "noted already; the refund is ACCEPTED"
    assert not other.decision.allowed
    assert other.decision.why == "refund.requested says otherwise than before in amount_fen"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "takes the refund from ACCEPTED to REFUNDED"),
        ({"refund_status": "PROCESSING"}, "changes nothing: the refund is ACCEPTED"),
        ({"refund_status": "ABNORMAL"}, "leaves the refund to a person: refund_abnormal"),
        ({"out_refund_no": "r9"}, "will be dead-lettered again: no refund has the out_refund_no 'r9'"),
        ({"transaction_id": "4"}, "will be dead-lettered again: the notification names another transaction_id"),
        (
            {"refund_status": "LOST"},
            "will be dead-lettered again: refund_status: does not say where the refund stands, or how much it is",
        ),
    ],
)
async def test_a_notification_of_a_refund_goes_back_for_what_it_says(
    town: Town, changes: dict[str, Any], why: str
) -> None:
    await town.rides()
    await town.passes(600)
    await town.refunds_of("r1", amount_fen=1_000)

    prospect = await judged_notification(town, **changes)

    assert prospect.decision.allowed
    assert prospect.decision.why == why


async def test_a_notification_that_contradicts_how_a_refund_ended_stays(town: Town) -> None:
    await town.rides()
    await town.passes(600)
    await town.refunds_of("r1", amount_fen=1_000)
    await town.passes(60)

    prospect = await judged_notification(town, refund_status="CLOSED")

    assert not prospect.decision.allowed
    assert prospect.decision.why == "WeChat Pay shows a refund as closed that it had sent"


async def test_judging_refunds_changes_nothing(town: Town) -> None:
    await town.rides()
    await town.passes(600)
    before = await town.trip()

    await judged(town, a_letter(REFUND_REQUESTED, a_request()))

    assert await town.trip() == before
    assert await town.storage.load_refund("r1") is None


# --- A fare after the end of its trip ---


def a_payment_elsewhere(town: Town, **changes: Any) -> dict[str, Any]:
    return {"trip_id": "t1", "paid_at": town.now, "amount_fen": 3_200, "channel": "cash"} | changes


async def test_a_lower_fare_goes_back_and_says_what_it_makes_of_the_trip(town: Town) -> None:
    early = await judged(town, a_letter(FARE_LOWERED, town.a_lower_fare()))
    await town.starts()
    before = await judged(town, a_letter(FARE_LOWERED, town.a_lower_fare()))
    await town.passes(600)
    await town.ends()
    owed = await judged(town, a_letter(FARE_LOWERED, town.a_lower_fare()))
    await town.passes(600)
    paid = await judged(town, a_letter(FARE_LOWERED, town.a_lower_fare()))

    assert all(one.decision.allowed for one in (early, before, owed, paid))
    assert early.decision.why == "will be dead-lettered again: trip_id: trip 't1' is not known"
    assert before.decision.why.startswith("will be dead-lettered again unless the end comes soon: ")
    assert owed.decision.why.startswith("is noted; the trip is COMPLETED; WeChat Pay: COLLECTING")
    assert paid.decision.why == "is noted; 1200 fen go back"


async def test_a_fare_that_is_not_lower_stays(town: Town) -> None:
    await town.rides()

    prospect = await judged(town, a_letter(FARE_LOWERED, town.a_lower_fare(total_fen=3_200)))

    assert not prospect.decision.allowed
    assert prospect.decision.why == "total_fen: 3200 is not below the present fare of 3200"


async def test_a_payment_elsewhere_goes_back_and_says_what_came_in_twice(town: Town) -> None:
    await town.rides()
    await town.passes(600)
    twice = await judged(town, a_letter(PAID_ELSEWHERE, a_payment_elsewhere(town)))
    other = await judged(town, a_letter(PAID_ELSEWHERE, a_payment_elsewhere(town, amount_fen=3_000)))

    assert twice.decision.allowed
    assert twice.decision.why == "is noted; WeChat Pay has collected as well, so 3200 fen came in twice"
    assert not other.decision.allowed
    assert other.decision.why == "amount_fen: 3000 is not the fare, which is 3200"


async def test_a_payment_elsewhere_of_a_declined_trip_takes_it_on_and_changes_nothing_again(town: Town) -> None:
    town.simulator.close_service("oPassenger")
    await town.starts()
    await town.ends()
    first = a_letter(PAID_ELSEWHERE, a_payment_elsewhere(town))
    declined = await judged(town, first)
    await town.is_paid_elsewhere()
    again = await judged(town, first)

    assert declined.decision.why == "takes the trip from DECLINED to PAID"
    assert again.decision.why == "changes nothing: it is noted, and the trip is PAID"


async def test_wechat_pay_is_asked_no_more_once_it_did_not_answer(town: Town) -> None:
    await town.starts()
    town.fault(FaultKind.UNAVAILABLE, "query", times=None)
    judge = a_judge(town)
    letter = a_letter(ENDED, an_end(town))

    first = await judge.prospect(letter)
    asked = town.calls_made("query")
    second = await judge.prospect(letter)

    for prospect in (first, second):
        assert prospect.decision.allowed
        assert "WeChat Pay: could not be asked: " in prospect.decision.why
        assert prospect.trip is not None
    assert town.calls_made("query") == asked


async def test_without_settings_for_wechat_pay_the_row_alone_decides(town: Town) -> None:
    await town.rides()
    judge = a_judge(town, "PAYSCORE_MCHID: missing")

    same = await judge.prospect(a_letter(STARTED, town.a_start("t2"), names="t2"))
    other = await judge.prospect(a_letter(ENDED, an_end(town, total_fen=3_500, discounts=[])))

    assert same.decision.allowed
    assert same.word is not None
    assert same.word.text == "could not be asked: PAYSCORE_MCHID: missing"
    assert not other.decision.allowed


async def test_judging_changes_nothing(town: Town) -> None:
    await town.starts()
    before, calls = await town.trip(), town.calls_made("create")

    await judged(town, a_letter(ENDED, an_end(town)))

    assert await town.trip() == before
    assert town.calls_made("create") == calls


@pytest.mark.parametrize("queue", [one.queue for one in CONSUMERS])
async def test_every_queue_has_a_judgement_on_what_nobody_can_read(town: Town, queue: str) -> None:
    prospect = await judged(town, a_letter(queue, b"<xml/>", names=""))

    assert prospect.decision.why.startswith("will be dead-lettered again: body: not JSON")
    assert (prospect.trip, prospect.word) == (None, None)
