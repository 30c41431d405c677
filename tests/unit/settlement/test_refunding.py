"""What a person is told of a trip's money, and of what would come of a request."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from payscore_worker.domain.refund import RefundRequested, mark_of, request
from payscore_worker.domain.trip import (
    Debit,
    Payment,
    Trip,
    TripState,
)
from payscore_worker.settlement.refunding import Money, RefundOutlook, money_of, outlook, sent
from payscore_worker.settlement.refunds import Foreseen
from tests.builders import NOW, a_trip


def a_paid_trip(*debits: Debit) -> Trip:
    payment = Payment(paid_fen=3_200, paid_at=NOW, debits=debits or (Debit(transaction_id="4200001"),))
    return replace(a_trip(), state=TripState.PAID, payment=payment)


def asked(**changes: Any) -> RefundRequested:
    return replace(RefundRequested(trip_id="t1", refund_id="r1", amount_fen=1_000, reason="绕路"), **changes)


def test_of_a_trip_that_has_not_paid_nothing_is_left() -> None:
    assert money_of(a_trip()) == Money(paid_fen=0, reserved_fen=0, refunded_fen=0, left_fen=0, largest_fen=0, refunds=0)


def test_what_is_left_is_counted_over_all_debits_and_one_refund_is_of_one() -> None:
    first = Debit(transaction_id="1", amount_fen=2_000, reserved_fen=300, refunded_fen=500, refunds=2)
    second = Debit(transaction_id="2", amount_fen=1_200, refunds=1)

    assert money_of(a_paid_trip(first, second)) == Money(
        paid_fen=3_200, reserved_fen=300, refunded_fen=500, left_fen=2_400, largest_fen=1_200, refunds=3
    )


def test_the_mark_is_another_one_once_money_has_moved() -> None:
    trip = a_paid_trip()
    marks = {
        mark_of(a_trip()),
        mark_of(trip),
        mark_of(a_paid_trip(Debit(transaction_id="4200001", reserved_fen=1))),
        mark_of(a_paid_trip(Debit(transaction_id="4200001", refunded_fen=1))),
    }

    assert len(marks) == 4
    assert mark_of(replace(trip, version=9)) == mark_of(trip)


def test_each_outlook_says_what_will_come_of_it() -> None:
    trip = a_paid_trip()
    reserved, refund = request(trip, asked(), NOW, mchid="1900000001")
    later, waiting = request(reserved, asked(refund_id="r2"), NOW, mchid="1900000001")
    told = {
        "asked": outlook(Foreseen(trip=trip, refund=refund), asked(), NOW),
        "later": outlook(Foreseen(trip=reserved, refund=waiting), asked(refund_id="r2"), NOW),
        "stands": outlook(Foreseen(trip=later, refund=refund, stands=True), asked(), NOW),
        "refused": outlook(Foreseen(trip=trip, refund=None, why_not="no"), asked(), NOW),
    }

    assert {name: one.text for name, one in told.items()} == {
        "asked": "1000 fen go back; WeChat Pay is asked for it at once",
        "later": "1000 fen go back; WeChat Pay is asked for it after 12:01:10 UTC: it wants a minute between refunds",
        "stands": "it was asked for before, and is REQUESTED: nothing more is asked for",
        "refused": "refused: no",
    }
    assert {name: one.allowed for name, one in told.items()} == {
        "asked": True,
        "later": True,
        "stands": False,
        "refused": False,
    }
    assert told["later"] == RefundOutlook(key="asked_later", fen=1_000, at=NOW + timedelta(seconds=70))


def test_what_would_be_sent_is_read_from_the_bytes_that_would_be() -> None:
    trip = a_paid_trip()

    assert sent(Foreseen(trip=trip, refund=None, body=b'{"amount": {"refund": 1}}')) == {"amount": {"refund": 1}}
    assert sent(Foreseen(trip=trip, refund=None)) == {}
