"""Messages in: what is missing or wrong is named, and nothing is guessed. Messages out: CloudEvents."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.errors import MalformedMessage
from payscore_worker.events import (
    CLOUD_EVENT,
    MAX_BODY_BYTES,
    AuthorisationRequested,
    ClientJump,
    CloudEventOut,
    EventIn,
    Notification,
    OrderConfirmed,
    OrderPaid,
    Received,
    ServiceChanged,
    SettlementPaid,
    TripCancelled,
    TripEnded,
    TripStarted,
    read_event,
    write_cloud_event,
)

STARTED: dict[str, Any] = {"trip_id": "t1", "openid": "oPassenger", "started_at": "2026-05-01T12:00:00+08:00"}
ENDED: dict[str, Any] = {
    "trip_id": "t1",
    "ended_at": "2026-05-01T12:30:00+08:00",
    "fees": [{"name": "里程费", "amount_fen": 3500}, {"name": "过路费", "amount_fen": 500}],
    "discounts": [{"name": "优惠券", "amount_fen": 800}],
    "total_fen": 3200,
}
CANCELLED: dict[str, Any] = {"trip_id": "t1", "cancelled_at": "2026-05-01T12:05:00Z", "reason": "乘客取消"}

EVENTS: dict[str, tuple[type[EventIn], dict[str, Any]]] = {
    "trip.started": (TripStarted, STARTED),
    "trip.ended": (TripEnded, ENDED),
    "trip.cancelled": (TripCancelled, CANCELLED),
}


def read(type_: str, data: object, **options: Any) -> Received:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    given_options = {"content_type": "application/json", "message_id": "m1"} | options
    return read_event(body, expected={type_: EVENTS[type_][0]}, **given_options)


def refusal(type_: str, data: object, **options: Any) -> str:
    with pytest.raises(MalformedMessage) as caught:
        read(type_, data, **options)
    return str(caught.value)


def test_a_plain_body_is_the_data_of_the_queues_type() -> None:
    received = read("trip.started", STARTED)

    assert (received.id, received.type) == ("m1", "trip.started")
    assert received.event == TripStarted(
        trip_id="t1",
        openid="oPassenger",
        started_at=datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=8))),
    )


def test_a_cloud_event_brings_its_own_id_and_type() -> None:
    envelope = {"specversion": "1.0", "id": "e1", "source": "ride", "type": "trip.started", "data": STARTED}

    received = read("trip.started", envelope, content_type=f"{CLOUD_EVENT}; charset=utf-8")

    assert (received.id, received.type) == ("e1", "trip.started")
    assert isinstance(received.event, TripStarted)


def test_a_plain_body_without_a_message_id_gets_the_same_id_each_time() -> None:
    one, same = (read("trip.started", STARTED, message_id=None).id for _ in range(2))
    other = read("trip.started", STARTED | {"trip_id": "t2"}, message_id=None).id

    assert one == same != other


def test_members_that_nobody_knows_are_ignored() -> None:
    assert read("trip.ended", ENDED | {"driver": {"name": "王"}}).event == read("trip.ended", ENDED).event


@pytest.mark.parametrize("type_", EVENTS)
def test_a_missing_member_is_named(type_: str) -> None:
    data = EVENTS[type_][1]
    for member in data.keys() - {"discounts"}:
        assert refusal(type_, {name: value for name, value in data.items() if name != member}) == f"{member}: missing"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trip_id": ""}, "trip_id: Expected `str` of length >= 1"),
        ({"trip_id": "x" * 65}, "trip_id: Expected `str` of length <= 64"),
        ({"trip_id": "行程"}, "trip_id: Expected `str` matching regex"),
        ({"trip_id": 1}, "trip_id: Expected `str`, got `int`"),
        ({"ended_at": "2026-05-01T12:30:00"}, "ended_at: Expected `datetime` with a timezone component"),
        ({"ended_at": "2026-05-01T12:30:00 Asia/Shanghai"}, "ended_at: Invalid RFC3339 encoded datetime"),
        ({"ended_at": "2026-05-01T12:30:00+99:00"}, "ended_at: Invalid RFC3339 encoded datetime"),
        ({"ended_at": 1777777777}, "ended_at: Expected `datetime`, got `int`"),
        ({"total_fen": 32.0}, "total_fen: Expected `int`, got `float`"),
        ({"total_fen": "3200"}, "total_fen: Expected `int`, got `str`"),
        ({"total_fen": -1}, "total_fen: Expected `int` >= 0"),
        ({"total_fen": 3201}, "total_fen: 3201 is not fees minus discounts, which is 3200"),
        ({"total_fen": 10**30}, "total_fen: Expected `int` <= 100000000"),
        ({"fees": []}, "fees: Expected `array` of length >= 1"),
        ({"fees": [{"name": "费", "amount_fen": 1}] * 101}, "fees: Expected `array` of length <= 100"),
        ({"fees": [{"name": "费", "amount_fen": 12.5}]}, "fees[0].amount_fen: Expected `int`, got `float`"),
        ({"fees": [{"name": "费", "amount_fen": -5}]}, "fees[0].amount_fen: Expected `int` >= 0"),
        ({"fees": [{"amount_fen": 5}]}, "fees[0].name: missing"),
        ({"fees": [{"name": "费" * 501, "amount_fen": 5}]}, "fees[0].name: Expected `str` of length <= 500"),
        ({"discounts": [{"name": "券"}]}, "discounts[0].amount_fen: missing"),
        ({"end_location": "远" * 501}, "end_location: Expected `str` of length <= 500"),
    ],
)
def test_what_is_wrong_with_a_fare_is_named_with_its_place(changes: dict[str, Any], reason: str) -> None:
    assert refusal("trip.ended", ENDED | changes).startswith(reason)


@pytest.mark.parametrize(
    ("type_", "changes", "reason"),
    [
        ("trip.started", {"trip_id": "t1\n"}, "trip_id: Expected `str` matching regex"),
        ("trip.started", {"openid": "oPassenger\n"}, "openid: Expected `str` matching regex"),
        ("trip.started", {"attach": "a\0b"}, "attach: Expected `str` matching regex"),
        ("trip.ended", {"fees": [{"name": "\0", "amount_fen": 3200}]}, "fees[0].name: Expected `str` matching regex"),
        ("trip.cancelled", {"reason": "\0"}, "reason: Expected `str` matching regex"),
        ("trip.started", {"started_at": "0001-01-01T00:00:00+08:00"}, "started_at: not between 2000 and 2099"),
        ("trip.started", {"started_at": "1999-12-31T23:59:59Z"}, "started_at: not between 2000 and 2099"),
        ("trip.ended", {"ended_at": "9999-12-31T23:59:59-08:00"}, "ended_at: not between 2000 and 2099"),
        ("trip.cancelled", {"cancelled_at": "2100-01-01T00:00:00Z"}, "cancelled_at: not between 2000 and 2099"),
    ],
)
def test_what_could_not_be_stored_or_reckoned_with_is_refused_at_the_door(
    type_: str, changes: dict[str, Any], reason: str
) -> None:
    assert refusal(type_, EVENTS[type_][1] | changes).startswith(reason)


def test_a_line_feed_within_a_text_is_taken() -> None:
    event = read("trip.cancelled", CANCELLED | {"reason": "乘客\n取消\n"}).event

    assert isinstance(event, TripCancelled)
    assert event.reason == "乘客\n取消\n"


def test_an_id_that_could_not_be_stored_is_refused() -> None:
    envelope = {"specversion": "1.0", "id": "e\0", "source": "ride", "type": "trip.ended", "data": ENDED}

    assert refusal("trip.ended", envelope, content_type=CLOUD_EVENT).startswith("id: ")
    assert refusal("trip.ended", ENDED, message_id="m\0").startswith("message_id: ")


def test_an_openid_that_could_not_be_put_into_an_address_is_refused() -> None:
    assert refusal("trip.started", STARTED | {"openid": "o/../admin"}).startswith("openid: ")


def test_the_place_of_a_mistake_in_a_cloud_event_begins_at_data() -> None:
    envelope = {
        "specversion": "1.0",
        "id": "e1",
        "source": "ride",
        "type": "trip.ended",
        "data": ENDED | {"total_fen": 1},
    }

    assert refusal("trip.ended", envelope, content_type=CLOUD_EVENT).startswith("data.total_fen: ")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "trip.started"}, "type: 'trip.started' is none of trip.ended"),
        ({"specversion": "0.3"}, "specversion: "),
        ({"id": ""}, "id: "),
        ({"time": "yesterday"}, "time: "),
    ],
)
def test_a_wrong_envelope_is_named(changes: dict[str, Any], reason: str) -> None:
    envelope = {"specversion": "1.0", "id": "e1", "source": "ride", "type": "trip.ended", "data": ENDED}

    assert refusal("trip.ended", envelope | changes, content_type=CLOUD_EVENT).startswith(reason)


@pytest.mark.parametrize(
    ("longest", "too_long"), [("x" * 255, "x" * 256), ("行" * 85, "行" * 86), ("行" * 85, "行" * 255)]
)
def test_an_id_is_bounded_in_bytes_as_amqp_counts(longest: str, too_long: str) -> None:
    envelope = {"specversion": "1.0", "source": "ride", "type": "trip.ended", "data": ENDED}

    assert read("trip.ended", envelope | {"id": longest}, content_type=CLOUD_EVENT).id == longest
    assert read("trip.ended", ENDED, message_id=longest).id == longest
    assert refusal("trip.ended", envelope | {"id": too_long}, content_type=CLOUD_EVENT).startswith("id: ")
    assert refusal("trip.ended", ENDED, message_id=too_long).startswith("message_id: ")


def test_an_id_with_half_a_character_is_refused_by_its_name() -> None:
    assert refusal("trip.ended", ENDED, message_id="\ud800") == "message_id: is not UTF-8"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"t1"', b"\xff\xfe", b"[" * 50_000, json.dumps(ENDED).encode() + b" x"]
)
def test_a_body_that_is_no_json_object_is_refused_and_nothing_crashes(body: bytes) -> None:
    assert refusal("trip.ended", body).startswith("body: ")


def test_a_body_larger_than_any_trip_is_refused_unread() -> None:
    assert refusal("trip.ended", b" " * (MAX_BODY_BYTES + 1)).startswith("body: 262145 bytes")


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_read_or_refused(body: bytes) -> None:
    for content_type in ("application/json", CLOUD_EVENT):
        try:
            read("trip.ended", body, content_type=content_type)
        except MalformedMessage:
            continue


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(ENDED)), inner, max_size=5),
    max_leaves=10,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(ENDED, json_values)))
def test_whatever_json_comes_a_fare_that_is_read_adds_up(data: dict[str, Any]) -> None:
    try:
        event = read("trip.ended", ENDED | data).event
    except MalformedMessage:
        return
    assert isinstance(event, TripEnded)
    owed = sum(fee.amount_fen for fee in event.fees) - sum(item.amount_fen for item in event.discounts)
    assert event.total_fen == owed >= 0


@pytest.mark.parametrize("kind", [OrderConfirmed, OrderPaid, ServiceChanged])
def test_a_notification_is_kept_as_wechat_said_it(kind: type[Notification]) -> None:
    resource = {"out_order_no": "t1", "collection": {"state": "USER_PAID"}, "novelty": [1, None]}

    assert kind.read(json.dumps(resource).encode()).resource == resource


def test_a_request_to_authorise_by_a_login_code_alone_is_refused_in_words_that_say_so() -> None:
    request = {"request_id": "q1", "openid": "oPassenger"}
    assert AuthorisationRequested.read(msgspec.json.encode(request)).client == "miniprogram"

    for data, said in (
        ({"request_id": "q1", "code": "071a"}, "code: a login code is not exchanged yet; openid is expected"),
        ({"request_id": "q1"}, "openid: missing"),
        (request | {"client": "watch"}, "client: Invalid enum value 'watch'"),
        ({"openid": "oPassenger"}, "request_id: missing"),
    ):
        with pytest.raises(MalformedMessage) as refused:
            AuthorisationRequested.read(msgspec.json.encode(data))
        assert str(refused.value) == said


def test_what_opens_a_page_is_not_shown() -> None:
    jump = ClientJump(business_type="wxpayScoreEnable", extra_data={"sign": "SECRET"}, query_string="sign=SECRET")

    assert "SECRET" not in repr(jump)
    assert set(msgspec.to_builtins(jump)) == {"businessType", "extraData", "queryString"}


def test_an_announcement_is_a_cloud_event_that_says_what_the_contract_promises() -> None:
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    paid = SettlementPaid(
        trip_id="t1",
        out_order_no="t1",
        state="PAID",
        total_fen=3200,
        paid_fen=3200,
        paid_at=moment,
        transaction_id="4200001",
        transaction_ids=("4200001",),
        way="payscore",
    )

    body = write_cloud_event(
        id="e1", source="payscore-worker", type=paid.TYPE, time=moment, subject="t1", sequence=7, data=paid
    )

    envelope = msgspec.json.decode(body, type=CloudEventOut)
    assert (envelope.id, envelope.type, envelope.subject) == ("e1", "settlement.paid", "t1")
    assert envelope.sequence == "0000000007"
    assert json.loads(body)["data"] == {
        "trip_id": "t1",
        "out_order_no": "t1",
        "state": "PAID",
        "total_fen": 3200,
        "paid_fen": 3200,
        "paid_at": "2026-05-01T00:00:00Z",
        "transaction_id": "4200001",
        "transaction_ids": ["4200001"],
        "way": "payscore",
    }


def test_a_sequence_of_somebody_elses_form_is_no_reason_to_refuse_an_event() -> None:
    envelope = {"specversion": "1.0", "id": "e1", "source": "ride", "type": "trip.started", "sequence": 7}

    received = read_event(
        json.dumps(envelope | {"data": STARTED}).encode(),
        content_type="application/cloudevents+json",
        message_id=None,
        expected={"trip.started": TripStarted},
    )

    assert received.id == "e1"
