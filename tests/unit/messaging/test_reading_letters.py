"""What strangers wrote into a dead letter is cut, cleaned and grouped in a time that does not grow with its square."""

import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from payscore_worker.events import MAX_BODY_BYTES
from payscore_worker.messaging.deadletters import MAX_NAME, MAX_READ_BYTES, DeadLetter, Summary, _summary, group_of
from payscore_worker.messaging.envelope import ERROR, FIRST_FAILED_AT, LAST_FAILED_AT, MAX_REASON, REASON

QUEUE = "payscore.trip-ended"


def a_summary(body: bytes = b"{}", *, message_id: str = "m1", headers: Mapping[str, object] | None = None) -> Summary:
    message: Any = SimpleNamespace(body=body, message_id=message_id, headers=headers or {})
    return _summary(message, QUEUE)


@pytest.mark.parametrize("name", ["reason", "error", "first_failed_at", "last_failed_at"])
def test_every_text_of_a_header_is_cut_when_it_is_read(name: str) -> None:
    header = {"reason": REASON, "error": ERROR, "first_failed_at": FIRST_FAILED_AT, "last_failed_at": LAST_FAILED_AT}
    long = "x" * 110_000

    assert getattr(a_summary(headers={header[name]: long}), name) == "x" * MAX_REASON
    assert getattr(a_summary(headers={header[name]: long.encode()}), name) == "x" * MAX_REASON
    assert len(getattr(a_summary(headers={header[name]: {"a": [long]}}), name)) == MAX_REASON


def test_a_long_reason_is_grouped_at_once() -> None:
    began = time.thread_time()
    group_of("a" * 200_000)
    group_of("a-" * 100_000)
    group_of("'\"" * 100_000)

    assert time.thread_time() - began < 5.0, "of processor time; in the square it would be minutes"


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        ("trip t-1 of 2026-05-01: 3.5", "trip # of #: #"),
        ("行程123 已完结", "行程# 已完结"),
        ("order_12-x and x12y", "# and #"),
        ("no numbers at-all", "no numbers at-all"),
    ],
)
def test_groups_are_what_they_were(reason: str, group: str) -> None:
    assert group_of(reason) == group


def test_what_moves_a_terminal_or_turns_a_line_is_written_out() -> None:
    summary = a_summary(headers={REASON: "a\x00b\x1b[2Jc\u202ed\u2028e\x9b", ERROR: b"\xed\xa0\x80"})

    assert summary.reason == r"a\x00b\x1b[2Jc\u202ed\u2028e\x9b"
    assert summary.error == "\ufffd" * 3


@pytest.mark.parametrize("message_id", ["m\x00", "m\x1b[2J", " m1", "m\u202e", "m\n"])
def test_a_letter_whose_id_nobody_can_type_is_named_by_a_digest(message_id: str) -> None:
    name = a_summary(message_id=message_id).id

    assert len(name) == 64
    assert name.isalnum()
    assert a_summary(message_id="m1").id == "m1"
    assert a_summary(message_id="行程-1").id == "行程-1"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"trip_id": "t1"}, "t1"),
        ({"data": {"trip_id": "t1"}, "trip_id": "other"}, "t1"),
        ({"data": {"out_order_no": "o1"}}, "o1"),
        ({"data": [], "trip_id": "t1"}, "t1"),
        ({"data": {}, "trip_id": "t1"}, ""),
        ({"trip_id": None, "out_order_no": "o1"}, "o1"),
        ({"trip_id": 7}, "7"),
        ({"trip_id": "t\x00"}, r"t\x00"),
        ({"trip_id": "x" * 4_000_000}, ""),
        ({"trip_id": "x" * 1000}, "x" * MAX_NAME),
        ([], ""),
    ],
)
def test_what_a_letter_is_about_is_read_and_nothing_else(body: object, named: str) -> None:
    assert a_summary(msgspec.json.encode(body)).trip_id == named


@pytest.mark.parametrize(
    ("death", "size", "reason"),
    [
        ("delivery_limit", 2, "RabbitMQ: delivery_limit; suspect it, it may be innocent"),
        ("delivery_limit", MAX_BODY_BYTES + 1, "RabbitMQ: delivery_limit; suspect it, it may be innocent"),
        ("rejected", MAX_BODY_BYTES + 1, f"body: {MAX_BODY_BYTES + 1} bytes, more than the {MAX_BODY_BYTES} allowed"),
        (
            "rejected",
            MAX_BODY_BYTES,
            "RabbitMQ: rejected; it could not be copied, and the worker's log says why: message_not_copied",
        ),
        ("maxlen", 2, "RabbitMQ: maxlen"),
    ],
)
def test_what_rabbitmq_itself_put_there_has_a_reason_too(death: str, size: int, reason: str) -> None:
    assert a_summary(b" " * size, headers={"x-death": [{"reason": death}]}).reason == reason


def test_half_a_character_names_nothing() -> None:
    assert a_summary(b'{"trip_id": "\\ud800"}').trip_id == ""
    assert a_summary(b'{"trip_id": "\xed\xa0\x80"}').trip_id == ""


def test_a_body_larger_than_any_of_ours_is_not_read() -> None:
    padding = b" " * MAX_READ_BYTES

    assert a_summary(b'{"trip_id": "t1"}').trip_id == "t1"
    assert a_summary(b'{"trip_id": "t1"}' + padding).trip_id == ""


def test_a_summary_holds_no_body() -> None:
    assert "body" not in dir(a_summary())
    assert issubclass(DeadLetter, type(a_summary()))
