"""Refunds on both databases: what is written comes back, together with the trip or not at all."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from sqlalchemy import text

from payscore_worker import metrics
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.refund import Pair, Refund, RefundPhase
from payscore_worker.domain.trip import (
    Debit,
    Trip,
)
from payscore_worker.errors import UnreadableRow, Unstorable
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, Storage
from payscore_worker.storage.cases import Entry
from payscore_worker.storage.engine import engine_for
from tests.builders import (
    MINUTE,
    NOW,
    REFUND_SITUATIONS,
    a_paid_trip,
    a_refund,
    a_refused,
    a_trip,
    a_word,
    requested,
)

SECRET: Final = "oSecretPassenger"
"""What no text may repeat."""


def a_call(generation: int = 3, **changes: Any) -> CallRecord:
    call = CallRecord(
        kind="refund",
        generation=generation,
        method="POST",
        path="/v3/refund/domestic/refunds",
        body=f'{{"out_refund_no":"r{generation}"}}'.encode(),
        outcome=CallOutcome.PREPARED,
        at=NOW,
        begun=1,
    )
    return replace(call, **changes)


def an_event(event_id: str = "e1") -> EventRecord:
    return EventRecord(event_id=event_id, direction=Direction.OUT, type="settlement.refunded", at=NOW, body=b"{}")


async def saved(storage: Storage, refund: Refund, **options: Any) -> Refund:
    assert await storage.save(refund, due_at=options.pop("due_at", None), now=NOW, **options)
    return replace(refund, version=refund.version + 1)


async def saved_pair(storage: Storage, pair: Pair, **options: Any) -> Pair:
    assert await written_together(storage, pair, **options)
    trip, refund = pair
    return replace(trip, version=trip.version + 1), replace(refund, version=refund.version + 1)


async def written_together(storage: Storage, pair: Pair, **options: Any) -> bool:
    return await storage.save_together([Entry(case=case, due_at=None) for case in pair], now=NOW, **options)


async def stored(storage: Storage) -> tuple[Trip | None, Refund | None]:
    return await storage.load("t1"), await storage.load_refund("r1")


async def change(database_url: str, *statements: str) -> None:
    async with engine_for(database_url) as engine, engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


# --- What is written comes back ---


@pytest.mark.parametrize("situation", REFUND_SITUATIONS)
async def test_a_refund_in_any_situation_comes_back_as_it_was_written_and_so_does_its_trip(
    storage: Storage, situation: str
) -> None:
    trip, refund = await saved_pair(storage, REFUND_SITUATIONS[situation]())

    assert await stored(storage) == (trip, refund)
    assert await storage.load_refund_by_out_refund_no(refund.out_refund_no) == refund


async def test_every_member_of_a_refund_is_kept_under_its_own_name(storage: Storage) -> None:
    times = {
        name: NOW + timedelta(seconds=number, microseconds=number)
        for number, name in enumerate(
            ("requested_at", "send_after", "accepted_at", "patient_since", "refunded_at", "ask_after", "asked_at")
        )
    }
    refund = a_refund(
        out_refund_no="n-r1",
        total_fen=3_100,
        generation=7,
        state=refunds.RefundState.ACCEPTED,
        is_prepared=True,
        wechatpay_refund_id="503",
        payer_refund_fen=900,
        refused=a_refused(),
        refusals=1,
        refused_as="not_enough",
        unanswered=2,
        polls=3,
        problem_told="CODE SendRefund",
        given_up=refunds.GivenUp(by="李", reason="账户已注销"),
        **times,
    )

    assert await storage.load_refund("r1") is None
    written = await saved(storage, refund)

    assert await storage.load_refund("r1") == written
    assert await storage.load_refund("n-r1") is None
    assert await storage.load_refund_by_out_refund_no("r1") is None


async def test_a_time_of_another_zone_is_the_same_time(storage: Storage) -> None:
    shanghai = NOW.astimezone(timezone(timedelta(hours=8)))

    await saved(storage, a_refund(requested_at=shanghai))

    refund = await storage.load_refund("r1")
    assert refund is not None
    assert refund.requested_at == NOW
    assert refund.requested_at.utcoffset() == UTC.utcoffset(None)


DEBITS: Final[dict[str, tuple[Debit, ...]]] = {
    "none": (),
    "one": (Debit(transaction_id="4200001"),),
    "one of nothing": (Debit(transaction_id="4200001", amount_fen=None),),
    "several": (
        Debit(
            transaction_id="4200001",
            amount_fen=1_500,
            refunds=2,
            reserved_fen=300,
            refunded_fen=700,
            next_refund_at=NOW + MINUTE,
        ),
        Debit(transaction_id="4200002", amount_fen=1_700),
        Debit(transaction_id="4200003"),
    ),
}


@pytest.mark.parametrize("name", DEBITS)
async def test_the_debits_of_a_trip_come_back_in_their_order_with_what_went_back_of_each(
    storage: Storage, name: str
) -> None:
    trip = a_paid_trip()
    assert trip.payment is not None
    trip = replace(trip, payment=replace(trip.payment, debits=DEBITS[name]))

    assert await storage.save(trip, due_at=None, now=NOW)

    assert await storage.load("t1") == replace(trip, version=1)


async def test_what_refunds_have_reserved_and_sent_back_can_be_asked_for_by_sql(
    storage: Storage, database_url: str
) -> None:
    trip, _ = refunds.see(
        *requested(a_paid_trip(1_500, 1_700), amount_fen=700), a_word(amount_fen=700, total_fen=None), NOW
    )
    trip, _ = requested(trip, refund_id="r2", amount_fen=1_600)
    assert await storage.save(trip, due_at=None, now=NOW)

    async with engine_for(database_url) as engine, engine.connect() as connection:
        row = (await connection.execute(text("SELECT reserved_fen, refunded_fen FROM trip"))).one()

    assert tuple(row) == (1_600, 700)


# --- Rows of the release before ---

OLDER: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "several ids": ("""'["4200001", "4200002"]'""", "'4200002'", ("4200001", "4200002")),
    "one id": ("""'["4200001"]'""", "'4200001'", ("4200001",)),
    "an id alone, from before there were several": ("NULL", "'4200001'", ("4200001",)),
    "no id, nothing was collected": ("'[]'", "''", ()),
}


@pytest.mark.parametrize("name", OLDER)
async def test_a_payment_that_the_release_before_wrote_has_its_debits(
    storage: Storage, database_url: str, name: str
) -> None:
    ids, id_, expected = OLDER[name]
    assert await storage.save(a_paid_trip(), due_at=None, now=NOW)
    await change(
        database_url,
        f"UPDATE trip SET debits = NULL, reserved_fen = NULL, refunded_fen = NULL, transaction_ids = {ids}, "  # noqa: S608
        f"transaction_id = {id_}",
    )

    trip = await storage.load("t1")

    assert trip is not None
    assert trip.payment is not None
    assert trip.payment.debits == tuple(Debit(transaction_id=one) for one in expected)


async def test_a_debit_that_the_release_before_has_added_meanwhile_is_not_lost_nor_what_went_back_of_the_other(
    storage: Storage, database_url: str
) -> None:
    trip, _ = requested()
    assert trip.payment is not None
    assert await storage.save(trip, due_at=None, now=NOW)
    await change(database_url, """UPDATE trip SET transaction_ids = '["4200001", "4200002"]'""")

    again = await storage.load("t1")

    assert again is not None
    assert again.payment is not None
    assert again.payment.debits == (*trip.payment.debits, Debit(transaction_id="4200002"))


# --- Together or not at all ---


async def test_a_trip_and_its_refund_are_written_with_their_calls_and_events(storage: Storage) -> None:
    pair = await saved_pair(storage, requested(), calls=[a_call()], events=[an_event()])

    assert await stored(storage) == pair
    assert await storage.last_call("t1", "refund", 3) == a_call()
    (row,) = await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10)
    assert (row.trip_id, row.event_id) == ("t1", "e1")


@pytest.mark.parametrize("overtaken", ["trip", "refund"])
async def test_where_another_wrote_one_of_them_none_is_written_and_no_call_and_no_event(
    storage: Storage, overtaken: str
) -> None:
    trip, refund = await saved_pair(storage, requested())
    newer = replace(trip, polls=7) if overtaken == "trip" else replace(refund, polls=7)
    assert await storage.save(newer, due_at=None, now=NOW)
    before = await stored(storage)

    after = refunds.see(trip, refund, a_word(), NOW)
    late = await written_together(storage, after, calls=[a_call()], events=[an_event()])

    assert not late
    assert await stored(storage) == before
    assert await storage.last_call("t1", "refund") is None
    assert await storage.claim_outbox(now=NOW, lease=MINUTE, limit=10) == []


async def test_a_refund_that_is_there_already_reserves_nothing_a_second_time(storage: Storage) -> None:
    trip, _ = await saved_pair(storage, requested())

    assert not await written_together(storage, requested(trip))

    assert await storage.load("t1") == trip


async def test_two_refunds_never_have_one_number(storage: Storage) -> None:
    trip, refund = await saved_pair(storage, requested())
    other_trip, other = requested(trip, refund_id="r2")

    assert not await written_together(storage, (other_trip, replace(other, out_refund_no=refund.out_refund_no)))
    assert not await storage.save(replace(other, out_refund_no=refund.out_refund_no), due_at=None, now=NOW)

    assert await storage.load_refund("r2") is None
    assert await stored(storage) == (trip, refund)


async def test_of_requests_at_once_one_is_written_and_the_others_are_told_to_look_again(storage: Storage) -> None:
    trip = a_paid_trip()
    assert await storage.save(trip, due_at=None, now=NOW)
    trip = replace(trip, version=1)
    pairs = [requested(trip, refund_id=f"r{number}", amount_fen=3_200) for number in range(8)]

    results = await asyncio.gather(*(written_together(storage, pair) for pair in pairs))

    assert sorted(results) == [False] * 7 + [True]
    there = [await storage.load_refund(f"r{number}") for number in range(8)]
    assert [one is not None for one in there] == results
    newest = await storage.load("t1")
    assert newest is not None
    assert newest.payment is not None
    assert newest.payment.reserved_fen == 3_200


async def test_of_writers_of_one_refund_one_is_told_that_it_was_first(storage: Storage) -> None:
    refund = await saved(storage, a_refund())

    results = await asyncio.gather(
        *(storage.save(replace(refund, polls=polls), due_at=None, now=NOW) for polls in range(8))
    )

    assert sorted(results) == [False] * 7 + [True]


async def test_what_is_written_beside_a_pair_that_loses_is_written(storage: Storage) -> None:
    """On SQLite jobs share a transaction: one that is taken back takes none with it."""
    trip, refund = await saved_pair(storage, requested())
    await saved(storage, refund)

    results = await asyncio.gather(
        storage.save(a_trip("before"), due_at=None, now=NOW),
        written_together(storage, refunds.see(trip, refund, a_word(), NOW)),
        storage.save(a_trip("after"), due_at=None, now=NOW),
    )

    assert list(results) == [True, False, True]
    assert await storage.load("before") is not None
    assert await storage.load("after") is not None
    assert await storage.load("t1") == trip


# --- The journal: one body for each refund ---


async def test_each_refund_of_a_trip_has_a_body_of_its_own(storage: Storage) -> None:
    trip, _ = await saved_pair(storage, requested(), calls=[a_call(3)])
    await saved_pair(storage, requested(trip, refund_id="r2"), calls=[a_call(4)])

    assert [await storage.last_call("t1", "refund", one) for one in (3, 4)] == [a_call(3), a_call(4)]
    assert await storage.last_call("t1", "refund") == a_call(4)
    assert await storage.last_call("t1", "refund", 5) is None


async def test_a_send_of_one_refund_is_counted_on_its_own_body(storage: Storage) -> None:
    await saved_pair(storage, requested(), calls=[a_call(3), a_call(4)])

    begun = await storage.begin_send("t1", "refund", 3)

    assert begun is not None
    assert (begun.generation, begun.body, begun.begun) == (3, a_call(3).body, 2)
    other = await storage.last_call("t1", "refund", 4)
    assert other is not None
    assert other.begun == 1
    assert await storage.begin_send("t1", "refund", 5) is None


async def test_without_a_generation_the_newest_body_is_sent(storage: Storage) -> None:
    await saved_pair(storage, requested(), calls=[a_call(3), a_call(4)])

    begun = await storage.begin_send("t1", "refund")

    assert begun is not None
    assert begun.generation == 4


async def test_an_answer_is_journaled_under_the_trip_of_a_refund_that_does_not_move(storage: Storage) -> None:
    _, refund = await saved_pair(storage, requested(), calls=[a_call(3)])

    await storage.journal(refund, a_call(3, outcome=CallOutcome.UNKNOWN, attempts=2, uncertain=True))

    call = await storage.last_call("t1", "refund", 3)
    assert call is not None
    assert (call.outcome, call.attempts, call.uncertain) == (CallOutcome.UNKNOWN, 2, True)
    assert await storage.load_refund("r1") == refund


# --- Due ---


async def test_a_due_refund_is_claimed_once_until_the_lease_ends_and_no_trip_with_it(storage: Storage) -> None:
    assert await storage.save(a_paid_trip(), due_at=NOW, now=NOW)
    refund = await saved(storage, a_refund(), due_at=NOW)

    async def claimed(after: timedelta) -> list[Refund]:
        return await storage.claim_due(Refund, now=NOW + after, lease=MINUTE, limit=10)

    assert await claimed(-timedelta(seconds=1)) == []
    assert await claimed(timedelta(0)) == [refund]
    assert await claimed(timedelta(seconds=59)) == []
    assert await claimed(MINUTE) == [refund]
    assert await claimed(2 * MINUTE) == []
    assert await claimed(3 * MINUTE) == [refund]
    assert len(await storage.claim_due(Trip, now=NOW, lease=MINUTE, limit=10)) == 1


async def test_reconcilers_side_by_side_claim_each_due_refund_once(storage: Storage) -> None:
    for number in range(30):
        await saved(storage, a_refund(refund_id=f"r{number}", out_refund_no=f"r{number}"), due_at=NOW)

    batches = await asyncio.gather(*(storage.claim_due(Refund, now=NOW, lease=MINUTE, limit=12) for _ in range(6)))

    claimed = [refund.refund_id for batch in batches for refund in batch]
    assert len(claimed) == len(set(claimed))
    rest = await storage.claim_due(Refund, now=NOW, lease=MINUTE, limit=30)
    assert len(claimed) + len(rest) == 30


async def test_a_refund_is_rescheduled_unless_somebody_wrote_it_meanwhile(storage: Storage) -> None:
    await saved(storage, a_refund(), due_at=NOW)
    (claimed,) = await storage.claim_due(Refund, now=NOW, lease=MINUTE, limit=1)

    await storage.reschedule(claimed, due_at=NOW + MINUTE / 2)
    assert await storage.claim_due(Refund, now=NOW, lease=MINUTE, limit=1) == []
    assert await storage.claim_due(Refund, now=NOW + MINUTE / 2, lease=MINUTE, limit=1) == [claimed]

    await saved(storage, claimed, due_at=NOW)
    await storage.reschedule(claimed, due_at=None)
    assert len(await storage.claim_due(Refund, now=NOW, lease=MINUTE, limit=1)) == 1


# --- What no database keeps, and what this release cannot read ---

UNKEPT: Final[dict[str, tuple[Refund, str]]] = {
    "a NUL in the id": (a_refund(refund_id="r\0"), "refund.refund_id"),
    "half a character in the reason": (a_refund(reason=SECRET + "\ud83d"), "refund.reason"),
    "a NUL in a refusal": (a_refund(refused=a_refused(message=SECRET + "\0")), "refund.refused"),
    "half a character in a refusal": (a_refund(refused=a_refused(message=SECRET + "\ud83d")), "a fact of the refund"),
    "a time before all times": (
        a_refund(send_after=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=8)))),
        "refund.send_after",
    ),
    "more money than there is": (a_refund(amount_fen=2**63), "refund.amount_fen"),
}


@pytest.mark.parametrize("fault", UNKEPT)
async def test_what_no_database_keeps_is_refused_by_its_column_not_repeated_and_its_trip_is_not_written(
    storage: Storage, fault: str
) -> None:
    refund, column = UNKEPT[fault]

    with pytest.raises(Unstorable) as refused:
        await written_together(storage, (a_paid_trip(), refund))

    assert column in str(refused.value)
    assert SECRET not in str(refused.value)
    assert await storage.load("t1") is None


@pytest.mark.parametrize("name", ["no\0thing", "half \ud83d"])
async def test_a_name_that_no_refund_can_have_is_refused(storage: Storage, name: str) -> None:
    for ask in (storage.load_refund, storage.load_refund_by_out_refund_no):
        with pytest.raises(Unstorable, match=r"^refund\."):
            await ask(name)


NEWER: Final = {
    "state": "'HALF_REFUNDED'",
    "refused": """'{"step": "AskRefund", "refusal": "unheard_of"}'""",
    "problem": """'{"code": "NEW"}'""",
}
"""What a newer release may have written, by column."""


@pytest.mark.parametrize("column", NEWER)
async def test_a_refund_of_a_newer_release_fails_alone_by_its_id_and_column(
    storage: Storage, database_url: str, column: str
) -> None:
    for refund_id in ("newer", "ours"):
        await saved(storage, a_refund(refund_id=refund_id, out_refund_no=refund_id))
    await change(database_url, f"UPDATE refund SET {column} = {NEWER[column]} WHERE refund_id = 'newer'")  # noqa: S608

    for ask in (storage.load_refund, storage.load_refund_by_out_refund_no):
        with pytest.raises(UnreadableRow, match=rf"refund\.{column} of refund 'newer'") as unreadable:
            await ask("newer")
        assert NEWER[column].strip("'") not in str(unreadable.value)
    assert await storage.load_refund("ours") is not None


async def test_a_claim_passes_over_a_refund_that_it_cannot_read_and_counts_it(
    storage: Storage, database_url: str
) -> None:
    for refund_id in ("ours", "newer"):
        await saved(storage, a_refund(refund_id=refund_id, out_refund_no=refund_id), due_at=NOW)
    await change(database_url, "UPDATE refund SET state = 'HALF_REFUNDED' WHERE refund_id = 'newer'")
    counter = metrics.of(metrics.UNREADABLE, "refund")
    before = counter._value.get()

    claimed = await storage.claim_due(Refund, now=NOW, lease=MINUTE, limit=10)

    assert [refund.refund_id for refund in claimed] == ["ours"]
    assert counter._value.get() == before + 1


async def test_the_debits_of_a_newer_release_fail_with_their_trip_alone(storage: Storage, database_url: str) -> None:
    assert await storage.save(a_paid_trip(), due_at=None, now=NOW)
    await change(database_url, """UPDATE trip SET debits = '[{"transaction_id": 1}]'""")

    with pytest.raises(UnreadableRow, match=r"trip\.debits of trip 't1'"):
        await storage.load("t1")


async def test_a_word_is_taken_on_what_was_stored_as_on_what_was_made(storage: Storage) -> None:
    await saved_pair(storage, requested())
    trip, refund = await stored(storage)
    assert trip is not None
    assert refund is not None

    pair = await saved_pair(storage, refunds.see(trip, refund, a_word(RefundPhase.CLOSED), NOW))

    assert await stored(storage) == pair
