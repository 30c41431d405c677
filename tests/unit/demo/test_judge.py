"""The judge of a demo finds whatever is wrong: a demo that cannot fail proves nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from payscore_worker.demo.judge import MAX_PROBLEMS, Evidence, Verdict, judge
from payscore_worker.demo.plan import Message, PlannedTrip
from payscore_worker.demo.play import Heard
from payscore_worker.domain.trip import TripState

PAID = PlannedTrip(
    trip_id="t1", openid="o1", begins_after_seconds=0, messages=(), must_end=TripState.PAID, owed_fen=3200
)
REFUNDED = replace(
    PAID,
    trip_id="t3",
    afterwards=Message(after_seconds=0, type="refund.requested", data={"refund_id": "r3", "amount_fen": 1000}),
)
LOWERED = replace(
    PAID, trip_id="t4", afterwards=Message(after_seconds=0, type="trip.fare_lowered", data={"total_fen": 2000})
)
DECLINED = replace(PAID, trip_id="t2", must_end=TripState.DECLINED, owed_fen=0)

Case = dict[str, Any]


def a_row(trip_id: str, **changes: Any) -> Case:
    row = {"out_order_no": trip_id, "state": "PAID", "paid_fen": 3200, "refunded_fen": None, "problem": None}
    return row | changes


def an_entry(**changes: Any) -> Case:
    bodies = {"create": ["a"], "complete": ["b"]}
    return {"charged_fen": 3200, "refunded_fen": 0, "charges": [1], "bodies": bodies} | changes


def a_case() -> Case:
    """Everything as it should be."""
    return {
        "heard": {
            "t1": {"settlement.opened": {"e1"}, "settlement.paid": {"e2"}},
            "t2": {"settlement.declined": {"e3"}},
            "t3": {"settlement.paid": {"e4"}, "settlement.refunded": {"e5"}},
            "t4": {"settlement.paid": {"e6"}, "settlement.lowered": {"e7"}, "settlement.refunded": {"e8"}},
        },
        "said_fen": 3200,
        "said_refunded_fen": {"t3": 1000, "t4": 1200},
        "said_lowered_fen": 2000,
        "rows": {
            "t1": a_row("t1"),
            "t2": a_row("t2", state="DECLINED", paid_fen=None),
            "t3": a_row("t3", refunded_fen=1000),
            "t4": a_row("t4", refunded_fen=1200),
        },
        "ledger": {
            "t1": an_entry(),
            "t3": an_entry(refunded_fen=1000),
            "t4": an_entry(refunded_fen=1200),
        },
        "left_over": {},
    }


def problems(case: Case) -> list[str]:
    return verdict(case).problems


def verdict(case: Case) -> Verdict:
    heard = {
        trip_id: Heard(
            ids=ids,
            data={
                "settlement.paid": {"paid_fen": case["said_fen"]},
                "settlement.refunded": {"amount_fen": case["said_refunded_fen"].get(trip_id)},
                "settlement.lowered": {"total_fen": case["said_lowered_fen"]},
            },
        )
        for trip_id, ids in case["heard"].items()
    }
    evidence = Evidence(heard=heard, rows=case["rows"], ledger=case["ledger"], left_over=case["left_over"])
    return judge([PAID, DECLINED, REFUNDED, LOWERED], evidence)


async def test_a_demo_in_which_all_is_well_has_no_problems() -> None:
    assert problems(a_case()) == []


async def test_the_money_of_a_demo_adds_up() -> None:
    money = verdict(a_case())

    assert (money.owed_fen, money.paid_fen, money.refunded_fen, money.returned_fen) == (8_400, 8_400, 1_000, 1_200)


async def test_a_fare_that_wechat_pay_lowered_in_time_needs_nothing_back() -> None:
    case = a_case()
    case["ledger"]["t4"] = an_entry(charged_fen=2000)
    case["rows"]["t4"] = a_row("t4", paid_fen=2000)

    assert not [problem for problem in problems(case) if "does not say" not in problem]
    assert verdict(case).returned_fen == 0


def lose_the_row(case: Case) -> None:
    del case["rows"]["t1"]


def end_elsewhere(case: Case) -> None:
    case["rows"]["t1"]["state"] = "COMPLETED"


def store_less(case: Case) -> None:
    case["rows"]["t1"]["paid_fen"] = 3199


def charge_nothing(case: Case) -> None:
    case["ledger"] = {}


def charge_more(case: Case) -> None:
    case["ledger"]["t1"]["charged_fen"] = 6400


def charge_twice(case: Case) -> None:
    case["ledger"]["t1"]["charges"] = [1, 2]


def charge_the_declined(case: Case) -> None:
    case["ledger"]["t2"] = an_entry(charged_fen=100, bodies={})


def send_another_body(case: Case) -> None:
    case["ledger"]["t1"]["bodies"]["complete"] = ["b", "c"]


def announce_nothing(case: Case) -> None:
    del case["heard"]["t1"]["settlement.paid"]


def announce_under_two_ids(case: Case) -> None:
    case["heard"]["t1"]["settlement.paid"] = {"e2", "e9"}


def announce_another_amount(case: Case) -> None:
    case["said_fen"] = 1


def send_nothing_back(case: Case) -> None:
    case["ledger"]["t3"]["refunded_fen"] = 0


def send_back_what_nobody_asked_for(case: Case) -> None:
    case["ledger"]["t1"]["refunded_fen"] = 1000


def store_another_refund(case: Case) -> None:
    case["rows"]["t3"]["refunded_fen"] = 999


def announce_another_refund(case: Case) -> None:
    case["said_refunded_fen"]["t3"] = 999


def keep_what_is_above_the_fare(case: Case) -> None:
    case["ledger"]["t4"]["refunded_fen"] = 0


def announce_another_fare(case: Case) -> None:
    case["said_lowered_fen"] = 2100


def leave_a_message(case: Case) -> None:
    case["left_over"] = {"payscore.trip-ended.dead": 1}


@pytest.mark.parametrize(
    "spoil",
    [
        lose_the_row,
        end_elsewhere,
        store_less,
        charge_nothing,
        charge_more,
        charge_twice,
        charge_the_declined,
        send_another_body,
        announce_nothing,
        announce_under_two_ids,
        announce_another_amount,
        send_nothing_back,
        send_back_what_nobody_asked_for,
        store_another_refund,
        announce_another_refund,
        keep_what_is_above_the_fare,
        announce_another_fare,
        leave_a_message,
    ],
)
async def test_whatever_is_wrong_is_found(spoil: Callable[[Case], None]) -> None:
    case = a_case()
    spoil(case)

    assert problems(case)


async def test_a_thousand_problems_are_told_as_a_few_and_a_number() -> None:
    trips = [replace(PAID, trip_id=f"t{number}") for number in range(1000)]
    evidence = Evidence(heard={}, rows={}, ledger={}, left_over={})

    verdict = judge(trips, evidence)

    assert len(verdict.problems) == MAX_PROBLEMS + 1
    assert verdict.problems[-1] == f"and {1000 - MAX_PROBLEMS} more"
    assert not verdict.ok


# --- Two accounts ---

SUZHOU = replace(PAID, account="suzhou")


def judged(ledger: Case, others: Case) -> Verdict:
    heard = Heard(
        ids={"settlement.opened": {"e1"}, "settlement.paid": {"e2"}}, data={"settlement.paid": {"paid_fen": 3200}}
    )
    evidence = Evidence(heard={"t1": heard}, rows={"t1": a_row("t1")}, ledger=ledger, others=others, left_over={})
    return judge([SUZHOU], evidence)


def test_every_fen_is_accounted_for_with_the_company_that_it_is_owed_to() -> None:
    verdict = judged({}, {"suzhou": {"t1": an_entry()}})

    assert verdict.ok
    assert (verdict.accounts["suzhou"].paid_fen, verdict.accounts["default"].paid_fen) == (3200, 0)


def test_a_trip_that_another_company_has_charged_is_found() -> None:
    assert judged({"t1": an_entry()}, {"suzhou": {}}).problems == [
        "t1: stored as paid 3200 fen, WeChat Pay charged 0",
        "t1: WeChat Pay charged 0 fen, owed 3200",
        "account default: WeChat Pay charged 3200 fen in all, owed 0",
        "account suzhou: WeChat Pay charged 0 fen in all, owed 3200",
    ]
