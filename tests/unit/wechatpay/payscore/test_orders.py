from contextlib import suppress
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.payscore import Debited, Order, Phase
from payscore_worker.wechatpay.payscore.orders import read_order
from tests.unit.wechatpay import vectors

IDS = {"mchid": "1230000109", "appid": "wx1", "service_id": "500001", "out_order_no": "trip-1"}
PAID_AT = datetime(2021, 6, 24, 8, 37, 20, tzinfo=UTC)


def order(**members: object) -> Order:
    return read_order(IDS | members)


def test_v6_a_paid_order_of_the_current_family() -> None:
    assert read_order(msgspec.json.decode(vectors.USER_PAID_RESOURCE)) == Order(
        mchid="1230000109",
        appid="wxd678efh567hg6787",
        service_id="2002000000000558128851361561536",
        out_order_no="1234323JKHDFE1243252",
        order_id="1000000000202106241234567890123",
        phase=Phase.DONE,
        total_fen=4000,
        paid_fen=4000,
        debits=(Debited(transaction_id="4200000000202106241234567890", amount_fen=4000),),
        paid_at=PAID_AT,
        started_at=None,
        finish_ticket=None,
        package="",
        paid_through="NEWTON",
    )


def test_v7_a_paid_order_of_the_legacy_family() -> None:
    paid = read_order(msgspec.json.decode(vectors.LEGACY_PAID_RESOURCE))

    assert (paid.phase, paid.total_fen, paid.paid_fen) == (Phase.DONE, 4000, 4000)
    assert (paid.transaction_ids, paid.paid_at) == (("4200000000202106241234567890",), PAID_AT)


@pytest.mark.parametrize(
    ("members", "phase", "paid_fen"),
    [
        # legacy (A.4)
        ({"state": "CREATED"}, Phase.CREATED, None),
        ({"state": "USER_ACCEPTED"}, Phase.RUNNING, None),
        ({"state": "FINISHED", "finish_type": 2, "total_amount": 4000}, Phase.COLLECTING, None),
        ({"state": "FINISHED", "finish_type": 2}, Phase.COLLECTING, None),
        ({"state": "FINISHED", "finish_type": 2, "total_amount": 0}, Phase.DONE, 0),
        ({"state": "FINISHED", "finish_type": 1, "total_amount": 0}, Phase.REVOKED, None),
        ({"state": "USER_PAID", "total_amount": 4000}, Phase.DONE, 4000),
        ({"state": "USER_PAID", "total_amount": 4000, "collection": {"paid_amount": 3000}}, Phase.DONE, 3000),
        ({"state": "USER_PAID"}, Phase.DONE, None),
        ({"state": "REVOKED"}, Phase.REVOKED, None),
        ({"state": "EXPIRED"}, Phase.EXPIRED, None),
        # current (B.5)
        ({"state": "DOING", "state_description": "USER_CONFIRM"}, Phase.RUNNING, None),
        ({"state": "DOING", "state_description": "MCH_COMPLETE"}, Phase.COLLECTING, None),
        (
            {
                "state": "DOING",
                "state_description": "MCH_COMPLETE",
                "total_amount": 4000,
                "collection": {"state": "USER_PAYING", "paid_amount": 0},
            },
            Phase.COLLECTING,
            None,
        ),
        (
            {"state": "DOING", "state_description": "MCH_COMPLETE", "collection": {"state": "USER_PAID"}},
            Phase.COLLECTING,
            None,
        ),
        ({"state": "DONE", "collection": {"state": "USER_PAID", "paid_amount": 4000}}, Phase.DONE, 4000),
        ({"state": "DONE", "total_amount": 4000, "collection": {"state": "USER_PAID"}}, Phase.DONE, None),
        ({"state": "DONE", "total_amount": 0}, Phase.DONE, 0),
        ({"state": "DONE", "total_amount": 0, "need_collection": True}, Phase.DONE, 0),
        ({"state": "DONE", "total_amount": 4000}, Phase.DONE, None),
        ({"state": "DONE", "total_amount": 4000, "collection": {"paid_amount": 4000}}, Phase.DONE, None),
        ({"state": "DONE", "collection": {"state": "USER_PAYING", "paid_amount": 0}}, Phase.COLLECTING, None),
        # what no table knows (rule 13)
        ({}, Phase.UNKNOWN, None),
        ({"state": "DOING"}, Phase.UNKNOWN, None),
        ({"state": "DOING", "state_description": "SOMETHING_NEW"}, Phase.UNKNOWN, None),
        ({"state": "SOMETHING_NEW"}, Phase.UNKNOWN, None),
        ({"state": "DONE", "collection": {"state": "SOMETHING_NEW", "paid_amount": 4000}}, Phase.UNKNOWN, None),
    ],
)
def test_where_an_order_stands_and_what_was_paid(members: dict[str, Any], phase: Phase, paid_fen: int | None) -> None:
    seen = order(**members)

    assert (seen.phase, seen.paid_fen) == (phase, paid_fen)


def test_unknown_values_and_members_are_kept_or_passed_over() -> None:
    seen = order(
        state="DONE",
        brand_new={"x": [None]},
        collection={"state": "USER_PAID", "paid_amount": 1, "details": [{"paid_type": "TELEPATHY", "amount": 1}]},
    )

    assert (seen.paid_through, seen.paid_fen, seen.transaction_ids) == ("TELEPATHY", 1, ())


FIRST = {"seq": 1, "transaction_id": "42-1", "paid_time": "2021-06-24T16:37:19+08:00", "paid_type": "NEWTON"}
SECOND = {"seq": 2, "transaction_id": "42-2", "paid_time": "2021-06-24T16:37:20+08:00", "paid_type": "NEWTON"}
ELSEWHERE = {"seq": 3, "paid_time": "2021-06-24T16:37:30+08:00", "paid_type": "MCH"}


def debited(details: object, **members: object) -> Order:
    return order(state="DONE", collection={"state": "USER_PAID", "paid_amount": 1, "details": details}, **members)


@pytest.mark.parametrize("details", [list(details) for details in permutations([FIRST, SECOND, ELSEWHERE])])
def test_one_transaction_is_told_for_each_debit_in_whatever_order_they_come(details: list[dict[str, Any]]) -> None:
    seen = debited(details)

    assert set(seen.transaction_ids) == {"42-1", "42-2"}
    assert (seen.paid_at, seen.paid_through) == (PAID_AT, "NEWTON")


@pytest.mark.parametrize("missing", ["seq", "paid_type", "paid_time"])
def test_debits_without_a_member_are_debits(missing: str) -> None:
    details = [{name: value for name, value in one.items() if name != missing} for one in (SECOND, FIRST)]

    assert set(debited(details).transaction_ids) == {"42-1", "42-2"}


@pytest.mark.parametrize("details", [None, [], [ELSEWHERE]])
def test_no_debit_is_no_transaction_and_no_fault(details: object) -> None:
    seen = debited(details)

    assert (seen.phase, seen.paid_fen, seen.transaction_ids) == (Phase.DONE, 1, ())


def test_a_transaction_that_is_told_twice_is_one() -> None:
    assert debited([FIRST, FIRST]).transaction_ids == ("42-1",)


def test_one_object_where_a_list_is_documented_is_read() -> None:
    assert debited({"transaction_id": "42"}).transaction_ids == ("42",)


@pytest.mark.parametrize(
    "members",
    [
        {"time_range": {"start_time": "20210624163720"}},
        {"real_service_start_time": "20210624163720", "service_start_time": "20210624000000"},
        {"service_start_time": "20210624163720"},
    ],
)
def test_the_start_is_known_once_it_is_shown_to_the_second(members: dict[str, Any]) -> None:
    assert order(**members).started_at == PAID_AT


@pytest.mark.parametrize("start", ["OnAccept", "20210624", None])
def test_a_start_without_its_second_is_not_known(start: str | None) -> None:
    assert order(time_range={"start_time": start}).started_at is None


def test_the_ticket_is_read_and_not_shown() -> None:
    seen = order(state="USER_ACCEPTED", finish_ticket="AAQVf5Z6")

    assert seen.finish_ticket == "AAQVf5Z6"
    assert "AAQVf5Z6" not in repr(seen)


def test_our_number_is_found_under_its_other_name() -> None:
    assert read_order({"out_request_no": "trip-1", "state": "USER_PAID"}).out_order_no == "trip-1"
    assert read_order({"out_request_no": "trip-1", "out_order_no": "trip-1"}).out_order_no == "trip-1"


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ({}, "missing"),
        ({"out_order_no": ""}, "missing"),
        ({"out_order_no": "a", "out_request_no": "b"}, "differs from out_request_no"),
    ],
)
def test_no_number_and_two_numbers_are_refused(names: dict[str, Any], what: str) -> None:
    with pytest.raises(MalformedMessage, match=f"^out_order_no: {what}$"):
        read_order(names)


@pytest.mark.parametrize("amount", ["4000.0", 4000.0, -1, True, [4000], {}])
@pytest.mark.parametrize("member", ["total_amount", "paid_amount"])
def test_an_amount_of_another_type_is_not_guessed(member: str, amount: object) -> None:
    members = (
        {"total_amount": amount} if member == "total_amount" else {"collection": {"state": "USER_PAID", member: amount}}
    )

    with pytest.raises(MalformedMessage, match=member):
        order(state="DONE", **members)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(
    ["state", "state_description", "total_amount", "collection", "time_range", "out_order_no", "finish_ticket", "mchid"]
)


@given(data=st.dictionaries(members, json_values))
def test_no_entity_breaks_the_reader(data: dict[str, Any]) -> None:
    with suppress(MalformedMessage):
        assert isinstance(read_order(data), Order)


@pytest.mark.parametrize("details", [[FIRST, SECOND], [SECOND, FIRST]])
def test_transactions_are_told_with_the_earliest_debit_first(details: list[dict[str, Any]]) -> None:
    assert debited(details).transaction_ids == ("42-1", "42-2")


def test_a_legacy_order_tells_its_one_transaction_when_it_was_paid_and_through_what() -> None:
    seen = order(
        state="USER_PAID",
        total_amount=4000,
        order_id="1000",
        finish_transaction_id="42-9",
        pay_succ_time="20210624163720",
        pay_type="NEWTON",
    )

    assert (seen.order_id, seen.transaction_ids) == ("1000", ("42-9",))
    assert (seen.paid_at, seen.paid_through) == (PAID_AT, "NEWTON")


def test_the_transactions_of_debits_come_before_the_one_that_a_legacy_order_names() -> None:
    assert debited([FIRST], finish_transaction_id="42-9").transaction_ids == ("42-1",)
    assert debited([], finish_transaction_id="42-9").transaction_ids == ("42-9",)


def test_of_debits_of_which_none_is_a_transaction_the_latest_one_is_told_of() -> None:
    later = ELSEWHERE | {"paid_time": "2021-06-24T16:37:20+08:00", "paid_type": "OTHER"}
    earlier = ELSEWHERE | {"paid_time": "2021-06-24T16:37:19+08:00"}

    for details in ([later, earlier], [earlier, later]):
        assert (debited(details).paid_at, debited(details).paid_through) == (PAID_AT, "OTHER")


def test_the_time_range_of_an_order_comes_before_what_legacy_orders_say_of_their_start() -> None:
    legacy = {"real_service_start_time": "20200101000000", "service_start_time": "20200101000000"}

    assert order(time_range={"start_time": "20210624163720"}, **legacy).started_at == PAID_AT


def test_a_legacy_order_that_was_cancelled_by_its_completion_is_revoked_and_no_other_number_means_that() -> None:
    assert order(state="FINISHED", finish_type=1).phase is Phase.REVOKED
    assert order(state="FINISHED", finish_type=2).phase is Phase.COLLECTING
    assert order(state="FINISHED", total_amount=1).phase is Phase.COLLECTING
