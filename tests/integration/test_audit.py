"""The audit finds what is wrong with the books, names it, and is content with books that are in order."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.domain.decisions import Decision, Verb
from payscore_worker.domain.refund import RefundState
from payscore_worker.domain.trip import TripState
from payscore_worker.messaging.inspect import Depth
from payscore_worker.oversight.audit import (
    Finding,
    audit_books,
    audit_queues,
    audit_refunds_at_wechatpay,
    audit_wechatpay,
)
from payscore_worker.simulator import FaultKind, RefundStatus
from payscore_worker.storage import Storage
from payscore_worker.storage.belonging import NOBODY, Owners
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from payscore_worker.wechatpay import Answer
from payscore_worker.wechatpay.payscore import Order, Phase
from payscore_worker.wechatpay.transactions import MerchantRefunds
from tests.integration.databases import database_url, dialect, storage
from tests.integration.relabelling import has_mchid
from tests.integration.settlement.town import Town, a_town, no_sleep

__all__ = ["database_url", "dialect", "storage"]  # fixtures

TAMPERED: Final = {
    "paid is what was owed": "UPDATE trip SET paid_fen = paid_fen - 1 WHERE trip_id = 'paid'",
    "paid trips were completed by us": "DELETE FROM wechatpay_call WHERE trip_id = 'paid' AND kind = 'complete'",
    "paid trips are announced as paid": "DELETE FROM trip_event WHERE trip_id = 'paid' AND type = 'settlement.paid'",
    "declined trips are announced": "DELETE FROM trip_event WHERE type = 'settlement.declined'",
    "cancelled trips are announced": "DELETE FROM trip_event WHERE type = 'settlement.cancelled'",
    "problems are announced": "UPDATE trip SET problem = '{}' WHERE trip_id = 'paid'",
    "open orders were asked for": "DELETE FROM wechatpay_call WHERE trip_id = 'open'",
    "trips that are over are not due": "UPDATE trip SET due_at = noted_at WHERE trip_id = 'paid'",
    "somebody will look at every unfinished trip": "UPDATE trip SET due_at = NULL WHERE trip_id = 'open'",
    "every trip is in a state that this release knows": "UPDATE trip SET state = 'REFUNDED' WHERE trip_id = 'open'",
    "due trips are taken up": "UPDATE trip SET due_at = noted_at WHERE trip_id = 'open'",
    "what is too much goes back": (
        "UPDATE trip SET paid_elsewhere = '"
        '{"paid_at": "2026-05-01T12:00:00Z", "amount_fen": 3200, "channel": "cash"}'
        "' WHERE trip_id = 'paid'"
    ),
    "announcements are published": (
        "UPDATE trip_event SET pending = true, published_at = NULL WHERE trip_id = 'paid' AND type = 'settlement.paid'"
    ),
    "no order runs for a trip that is over": (
        "UPDATE trip SET order_alive = true, look_at = noted_at WHERE trip_id = 'cancelled'"
    ),
    "conservation": "DELETE FROM trip WHERE trip_id = 'open'",
    "a trip reserves what its refunds promise": "UPDATE trip SET reserved_fen = NULL WHERE trip_id = 'paid'",
    "a trip has sent back what its refunds have": "UPDATE trip SET refunded_fen = 301 WHERE trip_id = 'paid'",
    "no more goes back than was paid": "UPDATE trip SET paid_fen = 799 WHERE trip_id = 'paid'",
    "every refund is of a trip": "UPDATE refund SET trip_id = 'nobodys' WHERE refund_id = 'going'",
    "every refund is in a state that this release knows": "UPDATE refund SET state = 'SENT' WHERE refund_id = 'going'",
    "money that went back is announced": "DELETE FROM trip_event WHERE type = 'settlement.refunded'",
    "refunds that failed or wait for a person are announced": (
        "UPDATE refund SET state = 'FAILED' WHERE refund_id = 'going'"
    ),
    "refunds that are over are not due": "UPDATE refund SET due_at = requested_at WHERE refund_id = 'back'",
    "somebody will look at every refund under way": "UPDATE refund SET due_at = NULL WHERE refund_id = 'going'",
    "due refunds are taken up": "UPDATE refund SET due_at = requested_at WHERE refund_id = 'going'",
}
"""What was done behind our back, by the check that must find it."""


async def a_day(town: Town) -> None:
    """Settle a trip, send some of its fare back, and have one of every other kind."""
    await town.rides("paid")
    await town.passes(3)
    await town.refunds_of("back", trip_id="paid", amount_fen=300)
    await town.passes(80)
    await town.refunds_of("going", trip_id="paid", amount_fen=500)
    await town.cancels("cancelled")
    await town.starts("declined", openid="oWithout")
    await town.starts("open", openid="oRider")
    await town.announced()


@pytest.fixture
async def town(storage: Storage) -> AsyncIterator[Town]:
    async with a_town(storage, "payafter") as town:
        town.simulator.close_service("oWithout")
        await a_day(town)
        yield town


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_for(database_url) as engine:
        yield engine


def wrong(findings: list[Finding]) -> dict[str, tuple[str, ...]]:
    return {finding.check: finding.trips for finding in findings if not finding.ok}


async def test_books_in_order_are_found_to_be_so_and_add_up(town: Town, engine: AsyncEngine) -> None:
    findings = await audit_books(Reports(engine), town.now)

    assert wrong(findings) == {}
    refunds = next(finding for finding in findings if finding.check == "refunds")
    assert refunds.detail == "1 ACCEPTED with 500 fen, 1 REFUNDED with 300 fen"
    conservation = next(finding for finding in findings if finding.check == "conservation")
    assert conservation.detail == ("4 noted = 1 settled + 1 declined + 1 cancelled + 1 waiting + 0 with a problem")


async def test_every_check_is_tampered_with_here(town: Town, engine: AsyncEngine) -> None:
    checks = {finding.check for finding in await audit_books(Reports(engine), town.now)}

    assert checks - {"refunds"} == set(TAMPERED)  # how they stand is told, and nothing is wrong with it


@pytest.mark.parametrize("check", TAMPERED)
async def test_what_was_done_behind_our_back_is_found_and_the_trip_is_named(
    check: str, town: Town, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(TAMPERED[check]))

    found = wrong(await audit_books(Reports(engine), town.now + timedelta(minutes=10)))

    assert check in found
    if check != "conservation":
        assert len(found[check]) == 1


async def test_a_trip_in_a_state_that_this_release_does_not_know_is_said_to_be_so_and_the_others_are_compared(
    town: Town, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE trip SET state = 'REFUNDED' WHERE trip_id = 'paid'"))

    finding = await audit_wechatpay(await Reports(engine).all_trips(), town.payscores)

    assert finding.detail == "paid: REFUNDED, a state that this release does not know"


async def test_a_dead_letter_and_a_missing_queue_are_not_fine_and_what_is_on_its_way_is() -> None:
    depths = [
        Depth(queue="payscore.trip-started", ready=2, unacked=None, consumers=1, dead=0),
        Depth(queue="payscore.trip-ended", ready=0, unacked=None, consumers=1, dead=3),
        Depth(queue="payscore.order-paid", ready=None, unacked=None, consumers=None, dead=None, stands=False),
    ]

    findings = {finding.check: finding for finding in audit_queues(depths, pending=1)}

    assert [check for check, finding in findings.items() if finding.ok] == ["in flight"]
    assert findings["every queue stands"].detail == "payscore.order-paid"
    assert findings["no dead letters"].detail == "3 in payscore.trip-ended.dead"
    assert findings["in flight"].detail == "2 messages in queues, 1 announcements in the outbox"


async def test_a_queue_that_cannot_be_counted_is_not_called_empty() -> None:
    depths = [
        Depth(queue="payscore.trip-started", ready=2, unacked=None, consumers=1, dead=0),
        Depth(queue="payscore.trip-ended", ready=None, unacked=None, consumers=None, dead=None),
    ]

    findings = {finding.check: finding for finding in audit_queues(depths, pending=0)}

    assert [check for check, finding in findings.items() if finding.ok] == ["every queue stands", "in flight"]
    assert findings["no dead letters"].detail == "unknown in payscore.trip-ended: RabbitMQ cannot ask the leader"
    assert findings["in flight"].detail == "at least 2 messages in queues, 0 announcements in the outbox"


async def test_wechat_pay_is_asked_about_every_trip_of_the_sample_and_agrees(town: Town, engine: AsyncEngine) -> None:
    rows = await Reports(engine).sample(10)

    finding = await audit_wechatpay(rows, town.payscores)

    assert (finding.ok, finding.detail) == (True, "4 trips agree")


@pytest.mark.parametrize(
    ("trip_id", "tampered", "said"),
    [
        ("paid", "UPDATE trip SET paid_fen = paid_fen - 1 WHERE trip_id = 'paid'", "paid 3200 of 3200"),
        ("paid", "UPDATE trip SET state = 'CANCELLED' WHERE trip_id = 'paid'", "CANCELLED"),
        (
            "open",
            "UPDATE trip SET state = 'PAID', paid_fen = 1 WHERE trip_id = 'open'",
            "open: PAID, and WeChat Pay: RUNNING",
        ),
        ("open", "UPDATE trip SET out_order_no = 'nobodys' WHERE trip_id = 'open'", "no such order"),
    ],
)
async def test_a_trip_that_wechat_pay_tells_otherwise_is_named_with_its_word(
    town: Town, engine: AsyncEngine, trip_id: str, tampered: str, said: str
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(tampered))
    rows = await Reports(engine).sample(10)

    finding = await audit_wechatpay(rows, town.payscores)

    assert not finding.ok
    assert finding.detail.startswith(f"{trip_id}: ")
    assert said in finding.detail


async def test_a_wechat_pay_that_cannot_be_asked_is_not_taken_for_agreement(town: Town, engine: AsyncEngine) -> None:
    town.fault(FaultKind.UNAVAILABLE, "query", times=None)

    finding = await audit_wechatpay(await Reports(engine).sample(10), town.payscores)

    assert not finding.ok
    assert "could not be asked" in finding.detail


# --- Over here, alive there ---

ALIVE: Final = "no order runs for a trip that is over"


# --- Several accounts ---

SOUTH: Final = "1900000998"


def owners(town: Town) -> Owners:
    return Owners(default="north", names={town.payscore.terms.mchid: "north", SOUTH: "south"})


async def conservation(town: Town, engine: AsyncEngine) -> dict[str, tuple[bool, str]]:
    findings = await audit_books(Reports(engine), town.now, owners(town))
    return {
        finding.check.removeprefix("conservation of "): (finding.ok, finding.detail)
        for finding in findings
        if finding.check.startswith("conservation of ")
    }


async def test_one_account_is_not_told_apart_from_others(town: Town, engine: AsyncEngine) -> None:
    checks = [finding.check for finding in await audit_books(Reports(engine), town.now)]

    assert [check for check in checks if check.startswith("conservation")] == ["conservation"]


async def test_of_several_accounts_each_ones_trips_and_money_add_up(town: Town, engine: AsyncEngine) -> None:
    await town.starts("owing", openid="oOwing")
    await town.passes(600)
    await town.ends("owing")
    await has_mchid(engine, SOUTH, "paid", "open")

    owed, elsewhere = "0 with a problem; 3200 fen owed =", "0 paid elsewhere +"
    none_back, all_back = "0 went back, 0 promised", "800 went back, 0 promised"
    assert await conservation(town, engine) == {
        "north": (
            True,
            f"0 settled, 1 declined, 1 cancelled, 1 waiting, {owed} 0 paid + {elsewhere} 3200 outstanding; {none_back}",
        ),
        "south": (
            True,
            f"1 settled, 0 declined, 0 cancelled, 1 waiting, {owed} 3200 paid + {elsewhere} 0 outstanding; {all_back}",
        ),
    }


async def test_money_that_is_missing_is_missing_in_its_account_alone(town: Town, engine: AsyncEngine) -> None:
    await has_mchid(engine, SOUTH, "paid")
    await tampered(engine, "UPDATE trip SET paid_fen = paid_fen - 1 WHERE trip_id = 'paid'")

    assert {account: ok for account, (ok, _) in (await conservation(town, engine)).items()} == {
        "north": True,
        "south": False,
    }


async def test_money_that_goes_back_from_another_account_than_was_paid_is_found_in_both(
    town: Town, engine: AsyncEngine
) -> None:
    await tampered(engine, "UPDATE refund SET mchid = '1900000998' WHERE refund_id = 'back'")

    found = await conservation(town, engine)

    assert [ok for ok, _ in found.values()] == [False, False]
    assert found["north"][1].endswith("300 went back, 500 promised, and its refunds say: 0 went back, 500 promised")
    assert found["south"][1].endswith("0 went back, 0 promised, and its refunds say: 300 went back, 0 promised")


async def test_what_was_paid_elsewhere_is_told_and_what_came_in_twice_is_no_imbalance(
    town: Town, engine: AsyncEngine
) -> None:
    await tampered(engine, TAMPERED["what is too much goes back"])

    ok, detail = (await conservation(town, engine))["north"]

    assert ok
    assert "3200 fen owed = 0 paid + 3200 paid elsewhere + 0 outstanding" in detail
    assert detail.endswith("; 3200 collected of what was paid elsewhere, too")


async def test_the_books_of_an_account_that_the_settings_have_lost_are_nobodys(town: Town, engine: AsyncEngine) -> None:
    await has_mchid(engine, "1900000997", "paid")

    found = await conservation(town, engine)

    assert list(found) == ["north", "south", NOBODY]
    assert found[NOBODY][1].startswith("1 settled")


async def tampered(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def about_orders(town: Town, engine: AsyncEngine, *, later: timedelta = timedelta()) -> Finding:
    findings = await audit_books(Reports(engine), town.now + later)
    return next(finding for finding in findings if finding.check == ALIVE)


async def test_an_accepted_create_of_a_trip_that_is_over_is_found_without_a_sample(
    town: Town, engine: AsyncEngine
) -> None:
    await tampered(engine, "UPDATE trip SET state = 'DECLINED' WHERE trip_id = 'open'")

    finding = await about_orders(town, engine, later=timedelta(hours=2))

    assert (finding.ok, finding.trips) == (False, ("open",))
    assert finding.detail.startswith("open: its order may run, 2 h 0 min after the trip ended")


@pytest.mark.parametrize(
    ("journaled", "found"),
    [
        ("outcome = 'unknown', begun = 1, definite = 0", True),
        ("outcome = 'refused', begun = 2, definite = 1", True),
        ("outcome = 'refused', begun = 2, definite = 2", False),
        ("outcome = 'prepared', begun = 0, definite = 0", False),
        ("outcome = 'refused', uncertain = false, begun = NULL", False),
        ("outcome = 'refused', uncertain = true, begun = NULL", True),
        ("outcome = 'prepared', begun = NULL", True),
    ],
)
async def test_a_create_counts_as_sent_until_every_send_of_it_has_a_definite_end(
    town: Town, engine: AsyncEngine, journaled: str, *, found: bool
) -> None:
    await tampered(
        engine,
        "UPDATE trip SET state = 'DECLINED' WHERE trip_id = 'open'",
        f"UPDATE wechatpay_call SET {journaled} WHERE trip_id = 'open' AND kind = 'create'",  # noqa: S608 - our own words
    )

    assert (await about_orders(town, engine)).ok is not found


async def test_a_trip_that_will_be_looked_at_is_fine_until_nobody_does(town: Town, engine: AsyncEngine) -> None:
    await tampered(
        engine,
        "UPDATE trip SET state = 'DECLINED', look_at = updated_at WHERE trip_id = 'open'",
        "UPDATE wechatpay_call SET outcome = 'unknown', begun = 1, definite = 0 WHERE trip_id = 'open'",
    )

    soon = await about_orders(town, engine)
    late = await about_orders(town, engine, later=timedelta(minutes=6))

    assert (soon.ok, soon.detail) == (True, "1 to be looked at once more")
    assert (late.ok, late.trips) == (False, ("open",))


async def test_a_trip_whose_order_was_shown_to_be_gone_is_fine(town: Town, engine: AsyncEngine) -> None:
    await town.passes(600)
    town.simulator.revoke("open")
    await town.ends("open")
    assert await town.state("open") is TripState.DECLINED

    assert (await about_orders(town, engine)).detail == "none"


async def test_an_order_that_was_seen_alive_is_named_until_it_is_cancelled(town: Town, engine: AsyncEngine) -> None:
    await tampered(
        engine, "UPDATE trip SET state = 'DECLINED', order_alive = true, look_at = updated_at WHERE trip_id = 'open'"
    )
    before = await about_orders(town, engine)

    await town.settlement.advance("open")

    assert "open: its order runs" in before.detail
    assert (await about_orders(town, engine)).ok
    assert town.order("open").stage == "revoked"


async def test_a_person_who_looks_settles_the_doubt_about_an_order(town: Town, engine: AsyncEngine) -> None:
    await town.passes(600)
    await tampered(engine, "UPDATE trip SET state = 'DECLINED' WHERE trip_id = 'open'")
    assert not (await about_orders(town, engine)).ok
    sight = await town.settlement.look("open")
    decision = Decision(verb=Verb.CANCEL, by="wang", reason="the audit named it")

    await town.settlement.decide("open", decision, mark=sight.mark, pause=no_sleep)

    assert town.order("open").stage == "revoked"
    assert (await about_orders(town, engine)).ok


# --- Trips that wait for a person ---


async def parked(town: Town, engine: AsyncEngine) -> Finding:
    return await audit_wechatpay(await Reports(engine).parked(), town.payscores)


async def test_a_paid_order_of_a_trip_that_waits_for_a_person_is_a_disagreement(
    town: Town, engine: AsyncEngine
) -> None:
    await tampered(
        engine,
        "UPDATE trip SET state = 'COMPLETED', paid_at = NULL, paid_fen = NULL, problem = "
        """'{"code": "PARAM_ERROR", "message": "", "request_id": "", "step": "", "since": "2026-05-01T12:00:00Z"}'"""
        " WHERE trip_id = 'paid'",
    )

    finding = await parked(town, engine)

    assert not finding.ok
    assert finding.detail == (
        "paid: COMPLETED with 3200 fen, waiting for a person, and WeChat Pay: DONE, paid 3200 of 3200"
    )


async def test_a_state_that_no_table_knows_is_unknown_and_no_agreement(
    town: Town, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = town.payscore.query

    async def odd(out_order_no: str) -> tuple[Order, Answer]:
        order, answer = await query(out_order_no)
        return replace(order, phase=Phase.UNKNOWN), answer

    monkeypatch.setattr(town.payscore, "query", odd)
    rows = [row for row in await Reports(engine).sample(10) if row["trip_id"] == "open"]

    finding = await audit_wechatpay(rows, town.payscores)

    assert not finding.ok
    assert finding.detail == "open: OPEN, and WeChat Pay: unknown: it does not say where the order stands"


# --- Refunds ---

A_PROBLEM: Final = (
    """problem = '{"code": "NOT_ENOUGH", "message": "", "request_id": "", "step": "", """
    """"since": "2026-05-01T12:00:00Z"}'"""
)
GIVEN_UP: Final = """given_up = '{"by": "li", "reason": "closed"}'"""


async def refunds_at_wechatpay(town: Town, engine: AsyncEngine, *trip_ids: str) -> Finding:
    rows = await Reports(engine).refunds_of(trip_ids or ["paid", "open"])
    return await audit_refunds_at_wechatpay(rows, MerchantRefunds(town.client))


async def test_refunds_with_a_problem_are_counted_by_code_and_are_no_fault_of_the_books(
    town: Town, engine: AsyncEngine
) -> None:
    await tampered(
        engine,
        f"UPDATE refund SET due_at = NULL, {A_PROBLEM} WHERE refund_id = 'going'",  # noqa: S608 - our own words
        "UPDATE trip_event SET type = 'settlement.refund_problem' WHERE type = 'settlement.completed'",
    )

    findings = await audit_books(Reports(engine), town.now)

    assert wrong(findings) == {}
    refunds = next(finding for finding in findings if finding.check == "refunds")
    assert refunds.detail == ("1 ACCEPTED with 500 fen, 1 REFUNDED with 300 fen; 1 with a problem: 1 NOT_ENOUGH")


async def test_a_refund_that_failed_holds_nothing_back_on_its_trip(town: Town, engine: AsyncEngine) -> None:
    town.simulator.end_refund("going", RefundStatus.CLOSED)
    await town.passes(60)
    assert (await town.refund("going")).state is RefundState.FAILED

    findings = await audit_books(Reports(engine), town.now)

    assert wrong(findings) == {}
    assert (await refunds_at_wechatpay(town, engine)).detail == "2 refunds agree"


async def test_wechat_pay_is_asked_about_every_refund_of_the_trips_and_agrees(town: Town, engine: AsyncEngine) -> None:
    before = town.calls_made("refund_query")

    finding = await refunds_at_wechatpay(town, engine)

    assert (finding.ok, finding.detail) == (True, "2 refunds agree")
    assert town.calls_made("refund_query") == before + 2


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        (
            "UPDATE refund SET state = 'REFUNDED' WHERE refund_id = 'going'",
            "going of paid: REFUNDED with 500 of 3200 fen, and WeChat Pay: PROCESSING, 500 of 3200",
        ),
        (
            "UPDATE refund SET amount_fen = 400 WHERE refund_id = 'going'",
            "going of paid: ACCEPTED with 400 of 3200 fen, and WeChat Pay: PROCESSING, 500 of 3200",
        ),
        (
            "UPDATE refund SET total_fen = 3000 WHERE refund_id = 'going'",
            "going of paid: ACCEPTED with 500 of 3000 fen, and WeChat Pay: PROCESSING, 500 of 3200",
        ),
        (
            "UPDATE refund SET state = 'FAILED' WHERE refund_id = 'back'",
            "back of paid: FAILED with 300 of 3200 fen, and WeChat Pay: SUCCESS, 300 of 3200",
        ),
        (
            f"UPDATE refund SET {A_PROBLEM}, state = 'ACCEPTED' WHERE refund_id = 'back'",  # noqa: S608 - our own words
            "back of paid: ACCEPTED with 300 of 3200 fen, waiting for a person, and WeChat Pay: SUCCESS, 300 of 3200",
        ),
        (
            "UPDATE refund SET state = 'REQUESTED', is_prepared = false WHERE refund_id = 'going'",
            "going of paid: REQUESTED with 500 of 3200 fen, and WeChat Pay: PROCESSING, 500 of 3200",
        ),
        (
            "UPDATE refund SET out_refund_no = 'nobodys' WHERE refund_id = 'back'",
            "back of paid: REFUNDED with 300 of 3200 fen, and WeChat Pay: no such refund",
        ),
        (
            "UPDATE refund SET state = 'FAILED', out_refund_no = 'nobodys' WHERE refund_id = 'back'",
            "back of paid: FAILED with 300 of 3200 fen, and WeChat Pay: no such refund",
        ),
        (
            f"UPDATE refund SET state = 'FAILED', {GIVEN_UP} WHERE refund_id = 'back'",  # noqa: S608 - our own words
            "back of paid: FAILED with 300 of 3200 fen, and WeChat Pay: SUCCESS, 300 of 3200",
        ),
        (
            "UPDATE refund SET transaction_id = 'another' WHERE refund_id = 'back'",
            "WeChat Pay: unknown: it answered with another refund than ours",
        ),
        (
            "UPDATE refund SET mchid = '1' WHERE refund_id = 'back'",
            "WeChat Pay: could not be asked: the refund is of a payment to mchid 1; its keys are not set",
        ),
        (
            "UPDATE refund SET state = 'SENT' WHERE refund_id = 'going'",
            "going of paid: SENT, a state that this release does not know",
        ),
    ],
)
async def test_a_refund_that_wechat_pay_tells_otherwise_is_named_with_its_word(
    town: Town, engine: AsyncEngine, tampering: str, said: str
) -> None:
    await tampered(engine, tampering)

    finding = await refunds_at_wechatpay(town, engine)

    assert (finding.ok, finding.trips) == (False, ("paid",))
    assert finding.detail.endswith(said)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE refund SET state = 'REQUESTED' WHERE refund_id = 'going'",
        "UPDATE refund SET state = 'ACCEPTED' WHERE refund_id = 'back'",
        "UPDATE refund SET state = 'REQUESTED', out_refund_no = 'not_yet_sent' WHERE refund_id = 'going'",
        f"UPDATE refund SET {A_PROBLEM} WHERE refund_id = 'going'",  # noqa: S608 - our own words
        f"UPDATE refund SET state = 'FAILED', out_refund_no = 'nobodys', {GIVEN_UP} WHERE refund_id = 'going'",  # noqa: S608 - our own words
    ],
    ids=[
        "its acceptance is not noted yet",
        "its end is not noted yet",
        "not sent yet",
        "on its way there as here",
        "given up, and not there",
    ],
)
async def test_a_refund_that_moves_on_while_it_is_asked_about_is_no_disagreement(
    town: Town, engine: AsyncEngine, tampering: str
) -> None:
    await tampered(engine, tampering)

    assert (await refunds_at_wechatpay(town, engine)).ok


async def test_a_refund_that_could_not_be_asked_about_is_not_taken_for_agreement(
    town: Town, engine: AsyncEngine
) -> None:
    town.fault(FaultKind.UNAVAILABLE, "refund_query", times=None)

    finding = await refunds_at_wechatpay(town, engine)

    assert not finding.ok
    assert finding.detail.count("could not be asked") == 2


@pytest.mark.usefixtures("town")
async def test_the_refunds_with_a_problem_are_found_whatever_the_sample(engine: AsyncEngine) -> None:
    await tampered(engine, f"UPDATE refund SET {A_PROBLEM} WHERE refund_id = 'back'")  # noqa: S608 - our own words

    assert [row["refund_id"] for row in await Reports(engine).parked_refunds()] == ["back"]


@pytest.mark.usefixtures("town")
async def test_refunds_of_more_trips_than_fit_into_a_statement_are_all_listed(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.storage.reports.BATCH_TRIPS", 1)
    await tampered(engine, "UPDATE refund SET trip_id = 'open' WHERE refund_id = 'going'")

    rows = await Reports(engine).refunds_of(["declined", "open", "paid"])

    assert [row["refund_id"] for row in rows] == ["going", "back"]
