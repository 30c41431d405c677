"""The story of a trip: everything that happened, in order; nothing that is not for the eyes of an operator."""

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.errors import OutcomeUnknown
from payscore_worker.oversight.explain import (
    Announced,
    Called,
    Decided,
    Heard,
    Moved,
    Notified,
    RefundMoved,
    Story,
    Troubled,
    explain,
)
from payscore_worker.simulator import Behaviour, FaultKind, Passenger
from payscore_worker.simulator.refunds.book import RefundStatus
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.archive import Archive, Plan
from payscore_worker.storage.reports import Reports
from tests.integration.settlement.town import Town


@pytest.fixture
def reports(engine: AsyncEngine) -> Reports:
    return Reports(engine)


async def story_of(reports: Reports, trip_id: str = "t1") -> Story:
    story = await explain(reports, trip_id)
    assert story is not None
    return story


def told(story: Story) -> list[str]:
    lines = []
    for one in story.happenings:
        match one:
            case Heard() | Notified() | Announced():
                lines.append(f"{one.KIND} {one.type}")
            case Called():
                lines.append(f"called {one.call} {one.outcome}")
            case Moved():
                lines.append(f"moved {one.state}")
            case Troubled():
                lines.append(f"troubled {one.what}")
    return lines


async def test_a_trip_that_was_paid_is_told_from_its_start_to_its_money(reports: Reports, town: Town) -> None:
    await town.rides()
    await town.passes(10)

    story = await story_of(reports)

    assert told(story) == [
        "heard trip.started",
        "called query accepted",  # several, as one entry
        "called user_service_state accepted",
        "called create accepted",
        "moved NOTED",
        "moved OPEN",
        "announced settlement.opened",
        "heard trip.ended",
        "called complete accepted",
        "moved COMPLETED",
        "announced settlement.completed",
        "notified payscore.user_paid",
        "moved PAID",
        "announced settlement.paid",
    ]
    assert (story.state, story.total_fen, story.paid_fen) == ("PAID", 3_200, 3_200)
    assert [(item.name, item.amount_fen) for item in story.fare] == [("里程费", 3_500), ("优惠券", -300)]
    assert story.transaction_id
    assert story.due_at is None


async def test_a_trip_with_a_problem_says_which_and_since_when(reports: Reports, town: Town) -> None:
    town.listening = False
    await town.rides()
    town.simulator.revoke("t1")
    await town.passes(5)

    story = await story_of(reports)

    (trouble,) = (one for one in story.happenings if isinstance(one, Troubled))
    assert (trouble.what, trouble.code, trouble.at) == ("problem", "revoked_after_completion", town.now)
    assert trouble.why == "the order is gone, and the money with it"
    assert "called complete accepted" in told(story)


async def test_a_question_that_is_asked_again_and_a_late_look_are_told(reports: Reports, town: Town) -> None:
    await town.rides()
    town.refuse("query", "PARAM_ERROR", "参数错误", times=None)
    town.listening = False
    await town.passes(5)
    await town.cancels("t2")
    async with reports._engine.begin() as connection:
        await connection.execute(text("UPDATE trip SET look_at = noted_at WHERE trip_id = 't2'"))

    asked, looked = await story_of(reports), await explain(reports, "t2")

    assert asked.unanswered is not None
    assert asked.unanswered.startswith(
        "AskOrder: PARAM_ERROR 参数错误; 1 times since 2026-05-01T12:10:05+00:00, again at"
    )
    assert looked is not None
    assert looked.look == "once more at 2026-05-01T12:10:05+00:00"


async def test_how_sure_the_journal_is_of_a_call_is_told(reports: Reports, town: Town) -> None:
    town.fault(FaultKind.DROP_REPLY, "create", times=3)
    with pytest.raises(OutcomeUnknown):
        await town.starts()

    (create,) = (
        one for one in (await story_of(reports)).happenings if isinstance(one, Called) and one.call == "create"
    )

    assert (create.begun, create.definite, create.uncertain) == (1, 0, True)


async def test_attempts_whose_outcome_is_unknown_are_told(reports: Reports, town: Town) -> None:
    town.fault(FaultKind.DROP_REPLY, "create", times=100)
    with pytest.raises(OutcomeUnknown):
        await town.starts()

    (call,) = (one for one in (await story_of(reports)).happenings if isinstance(one, Called) and one.call == "create")

    assert (call.outcome, call.uncertain, call.status) == ("unknown", True, None)
    assert call.attempts > 1


async def test_the_relay_s_work_is_told_once_it_is_done(reports: Reports, town: Town) -> None:
    await town.starts()
    (before,) = (one for one in (await story_of(reports)).happenings if isinstance(one, Announced))
    await town.announced()
    (after,) = (one for one in (await story_of(reports)).happenings if isinstance(one, Announced))

    assert (before.published_at, after.published_at) == (None, town.now)


async def test_neither_passenger_nor_ticket_nor_body_is_told(reports: Reports, town: Town) -> None:
    await town.rides()
    await town.passes(10)

    document = json.dumps((await story_of(reports)).document(), ensure_ascii=False)

    assert '"openid": "oPasse…"' in document
    for secret in ("oPassenger", "ticket", "静安寺", "虹桥火车站", "<Item"):
        assert secret not in document
    assert json.loads(document)["happenings"][0]["kind"] == "heard"


async def test_a_trip_goes_by_its_order_number_too(reports: Reports, town: Town) -> None:
    await town.starts("a trip")
    (row,) = await reports.all_trips()

    assert (await story_of(reports, row["out_order_no"])).trip_id == "a trip"
    assert await explain(reports, "another trip") is None


async def test_of_an_archived_trip_the_file_is_told(
    reports: Reports, town: Town, database_url: str, tmp_path: Path
) -> None:
    await town.rides()
    await town.passes(10)
    await town.announced()
    plan = Plan(before=town.now + timedelta(days=1), directory=tmp_path / "archive")
    async with Archive.of(database_url) as archive:
        moved = [batch async for batch in archive.run(plan, town.now)]

    story = await story_of(reports)

    assert (story.archive, story.state, story.paid_fen) == (moved[0].files[0], "PAID", 3_200)
    assert told(story) == ["moved NOTED", "moved PAID"]


async def test_what_a_newer_release_wrote_is_told_as_far_as_it_can_be_read(
    reports: Reports, town: Town, engine: AsyncEngine
) -> None:
    await town.rides()
    await town.passes(10)
    async with engine.begin() as connection:
        await connection.execute(text("""UPDATE trip SET state = 'REFUNDED', ended = '{}', problem = '{"new": 1}'"""))
        await connection.execute(text("UPDATE wechatpay_call SET outcome = 'half_accepted' WHERE kind = 'create'"))

    story = await story_of(reports)

    assert (story.state, story.fare) == ("REFUNDED", ())
    assert {"moved REFUNDED", "called create unreadable", "troubled unreadable"} < set(told(story))
    assert "ended, problem: written by a newer release; this one cannot read it" in str(story.document())


async def test_a_name_that_no_trip_can_have_is_nobodys(reports: Reports) -> None:
    for name in ("no\0thing", "half \ud83d"):
        assert await explain(reports, name) is None


# --- Refunds ---


async def paid(town: Town) -> None:
    await town.rides()
    await town.passes(60)
    assert (await town.trip()).payment is not None


def of_refund(story: Story, refund_id: str) -> list[str]:
    """Tell what happened to one refund."""
    lines = []
    for one in story.happenings:
        if isinstance(one, Moved) or one.refund_id != refund_id:
            continue
        match one:
            case RefundMoved():
                lines.append(f"{one.KIND} {one.state}")
            case Heard() | Notified() | Announced():
                lines.append(f"{one.KIND} {one.type}")
            case Called():
                lines.append(f"called {one.call} {one.outcome}")
            case Troubled():
                lines.append(f"troubled {one.what} {one.code}")
            case Decided():
                lines.append(f"decided {one.verb}")
    return lines


async def test_a_refund_is_told_from_its_request_to_the_money_s_return(reports: Reports, town: Town) -> None:
    await paid(town)
    await town.refunds_of("r1", amount_fen=1_000)
    await town.passes(60)

    story = await story_of(reports)

    assert of_refund(story, "r1") == [
        "heard refund.requested",
        "called refund accepted",
        "refund REQUESTED",
        "refund ACCEPTED",
        "notified refund.success",
        "refund REFUNDED",
        "announced settlement.refunded",
    ]
    assert (story.paid_fen, story.reserved_fen, story.refunded_fen) == (3_200, 0, 1_000)
    (refund,) = story.refunds
    assert (refund.refund_id, refund.amount_fen, refund.state, refund.problem) == ("r1", 1_000, "REFUNDED", "")
    assert json.loads(json.dumps(story.document()))["refunds"][0]["reason"] == "绕路"


async def test_two_refunds_of_one_trip_are_told_apart(reports: Reports, town: Town) -> None:
    await paid(town)
    await town.refunds_of("r1", amount_fen=1_000)
    town.refuse("refund", "NOT_ENOUGH", "基本账户余额不足", status=403)
    await town.refunds_of("r2", amount_fen=200)
    await town.passes(80)

    story = await story_of(reports)

    assert "called refund accepted" in of_refund(story, "r1")
    assert "called refund refused" in of_refund(story, "r2")
    assert "refund REFUNDED" in of_refund(story, "r1")
    assert of_refund(story, "r2")[-1] != "refund REFUNDED"
    assert (story.reserved_fen, story.refunded_fen) == (200, 1_000)
    assert [(one.refund_id, one.state) for one in story.refunds] == [("r1", "REFUNDED"), ("r2", "REQUESTED")]
    assert story.refunds[1].why == "SendRefund: NOT_ENOUGH 基本账户余额不足"


async def test_a_refund_that_was_closed_and_one_that_stands_still_say_so(
    reports: Reports, town: Town, engine: AsyncEngine
) -> None:
    await paid(town)
    await town.refunds_of("r1", amount_fen=1_000)
    town.clock.now += timedelta(seconds=5)
    town.simulator.end_refund("r1", RefundStatus.CLOSED)
    await town.passes(0)
    closed_at = town.now
    await town.passes(80)
    async with engine.begin() as connection:  # as where it was written again, for whatever reason
        await connection.execute(text("UPDATE refund SET updated_at = requested_at"))
    await town.refunds_of("r2", amount_fen=1_000)
    town.simulator.end_refund("r2", RefundStatus.ABNORMAL)
    await town.passes(0)

    story = await story_of(reports)

    assert of_refund(story, "r1")[-2:] == ["refund FAILED", "announced settlement.refund_problem"]
    assert "troubled problem refund_abnormal" in of_refund(story, "r2")
    (trouble,) = (one for one in story.happenings if isinstance(one, Troubled))
    assert (trouble.refund_id, trouble.at) == ("r2", town.now)
    (ended,) = (one for one in story.happenings if isinstance(one, RefundMoved) and one.state == "FAILED")
    assert ended.at == closed_at
    assert [(one.state, one.problem) for one in story.refunds] == [("FAILED", ""), ("ACCEPTED", "refund_abnormal")]


async def test_a_refund_of_a_newer_release_is_told_as_far_as_it_can_be_read(
    reports: Reports, town: Town, engine: AsyncEngine
) -> None:
    await paid(town)
    await town.refunds_of("r1", amount_fen=1_000)
    async with engine.begin() as connection:
        await connection.execute(text("""UPDATE refund SET state = 'LOST', problem = '{"new": 1}'"""))
        await connection.execute(text("UPDATE trip_event SET body = 'no json' WHERE type = 'refund.requested'"))

    story = await story_of(reports)

    assert {"refund LOST", "troubled unreadable "} < set(of_refund(story, "r1"))
    assert (story.refunds[0].state, story.refunds[0].problem) == ("LOST", "unreadable")
    assert "heard refund.requested" in told(story)


async def test_what_people_did_about_another_trip_or_its_refunds_is_not_told_here(
    reports: Reports, town: Town, engine: AsyncEngine
) -> None:
    await paid(town)
    await town.refunds_of("t2", amount_fen=1_000)
    for action, target in (
        ("refund request", "t1"),
        ("refund request", "t2"),
        ("refund clear-problem", "t1"),
        ("refund clear-problem", "t2"),
        ("trip cancel", "t2"),
    ):
        await Actions(engine).begin(Action(who="li", action=action, queue="", target=target), town.now)

    decided = [one for one in (await story_of(reports)).happenings if isinstance(one, Decided)]

    assert [(one.verb, one.refund_id) for one in decided] == [("refund request", ""), ("refund clear-problem", "t2")]


# --- A fare after the end of its trip ---


def said_of(story: Story, type_: str) -> list[str]:
    return [one.why for one in story.happenings if isinstance(one, Heard) and one.type == type_]


async def test_a_fare_that_was_lowered_tells_from_what_to_what_and_why_and_by_which_refund_it_went_back(
    reports: Reports, town: Town
) -> None:
    await town.rides()
    await town.passes(60)
    await town.lowers(total_fen=2_000)
    await town.lowers(total_fen=1_500, reason="司机道歉")
    for _ in range(6):
        await town.passes(600)

    story = await story_of(reports)

    assert said_of(story, "trip.fare_lowered") == ["3200 → 2000 fen: 绕路退费", "2000 → 1500 fen: 司机道歉"]
    assert [(one.was_fen, one.total_fen, one.reason) for one in story.lowered] == [
        (3_200, 2_000, "绕路退费"),
        (2_000, 1_500, "司机道歉"),
    ]
    assert (story.total_fen, story.fare_fen, story.refunded_fen) == (3_200, 1_500, 1_700)
    assert [(item.name, item.amount_fen) for item in story.fare] == [("里程费", 1_500)]
    assert [(one.refund_id, one.amount_fen) for one in story.refunds] == [("back-t1-0", 1_200), ("back-t1-1200", 500)]
    assert story.lowering == "3200 fen were paid; 1700 of 1700 fen were asked back"


async def test_an_older_word_that_came_late_is_told_and_lowers_nothing(reports: Reports, town: Town) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    at = town.now
    await town.passes(60)
    await town.lowers(total_fen=1_500)
    await town.lowers(total_fen=2_000, lowered_at=at)

    story = await story_of(reports)

    assert said_of(story, "trip.fare_lowered") == ["3200 → 1500 fen: 绕路退费", "1500 → 1500 fen: 绕路退费"]
    assert [one.total_fen for one in story.lowered] == [1_500]
    assert story.lowering == "WeChat Pay collects 3200 fen"


async def test_a_trip_that_was_paid_elsewhere_tells_in_which_way_and_what_wechat_pay_was_told(
    reports: Reports, town: Town
) -> None:
    town.simulator.set_passenger("oPassenger", Passenger(Behaviour.NEVER_PAYS))
    await town.rides()
    await town.passes(60)
    await town.is_paid_elsewhere()
    for _ in range(3):
        await town.passes(600)

    story = await story_of(reports)

    assert said_of(story, "trip.paid_elsewhere") == ["3200 fen by cash"]
    assert story.paid_elsewhere is not None
    assert story.paid_elsewhere.startswith("3200 fen by cash at ")
    assert "; WeChat Pay has taken it, as paid at " in story.paid_elsewhere
    assert "called sync accepted" in told(story)
    last = [one for one in story.happenings if isinstance(one, Moved)][-1]
    assert (last.state, last.why) == ("PAID", "paid elsewhere, by cash")


async def test_what_was_paid_twice_is_told(reports: Reports, town: Town) -> None:
    await town.rides()
    await town.passes(60)
    await town.is_paid_elsewhere()

    story = await story_of(reports)

    assert story.paid_elsewhere is not None
    assert story.paid_elsewhere.endswith("; WeChat Pay has collected as well")
    assert [one.code for one in story.happenings if isinstance(one, Troubled)] == ["paid_twice"]


async def test_a_trip_that_was_declined_and_then_paid_elsewhere_tells_both(reports: Reports, town: Town) -> None:
    town.simulator.close_service("oPassenger")
    await town.starts()
    await town.ends()
    await town.is_paid_elsewhere()

    story = await story_of(reports)

    moved = [(one.state, one.why) for one in story.happenings if isinstance(one, Moved)]
    assert [state for state, _ in moved] == ["NOTED", "DECLINED", "PAID"]
    assert moved[1][1].startswith("service_not_enabled")
    assert moved[2][1] == "paid elsewhere, by cash"


async def test_of_a_fare_that_a_newer_release_lowered_what_can_be_read_is_told(
    reports: Reports, town: Town, engine: AsyncEngine
) -> None:
    await town.rides()
    async with engine.begin() as connection:
        await connection.execute(text("""UPDATE trip SET lowered = '{"by": "half"}', asking = '[]'"""))

    story = await story_of(reports)

    assert [one.why for one in story.happenings if isinstance(one, Troubled)] == [
        "lowered, asking: written by a newer release; this one cannot read it"
    ]
    assert story.fare_fen == 3_200


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("opened_at = NULL", "asked to confirm until {}"),
        ("opened_at = noted_at", "confirmed"),
        ("opened_at = NULL, state = 'DECLINED'", "not confirmed; he was asked to until {}"),
        ("opened_at = NULL, declined_reason = 'not_confirmed'", "not confirmed; he was asked to until {}"),
    ],
)
async def test_what_came_of_an_order_that_the_passenger_confirms_is_told(
    reports: Reports, town: Town, engine: AsyncEngine, row: str, said: str
) -> None:
    await town.starts()
    assert (await story_of(reports)).confirming is None

    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE trip SET confirm_by = noted_at, {row}"))  # noqa: S608 - our own words

    story = await story_of(reports)
    assert story.confirming == said.format(story.noted_at.isoformat(timespec="seconds"))


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("{}", "is seen to"),
        ('{"look_at": "2026-05-01T12:15:00Z", "alive": true}', "runs, and is being cancelled"),
        ('{"look_at": "2026-05-01T12:15:00Z"}', "is looked at once more at 2026-05-01T12:15:00+00:00"),
    ],
)
async def test_what_became_of_the_first_of_two_orders_is_told(
    reports: Reports, town: Town, engine: AsyncEngine, first: str, said: str
) -> None:
    await town.starts()
    assert (await story_of(reports)).second is None
    second = {"first_order_no": "t1", "risk_amount_fen": 2_000} | msgspec.json.decode(first)

    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE trip SET second_try = :second"), {"second": msgspec.json.encode(second).decode()}
        )

    story = await story_of(reports)
    assert story.second == f"for 2000 fen; the first, t1, was refused for risk and {said}"
