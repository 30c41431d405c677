"""What travels with a message that failed."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from payscore_worker.messaging.envelope import (
    BROKERS_OWN,
    HISTORY,
    Failure,
    attempts_before,
    failed_message,
    original_message,
)
from payscore_worker.messaging.publisher import Outgoing
from tests.unit.messaging.incoming import a_message

ORIGIN = "payscore.trip-ended"
AT = datetime(2026, 5, 1, 20, 0, 0, 123_000, tzinfo=UTC)

names = st.text(alphabet="abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=30).filter(
    lambda name: name not in HISTORY | BROKERS_OWN
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.binary(max_size=40).map(bytearray)
    | st.decimals(min_value=-1000, max_value=1000, places=2)
    | st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
        lambda moment: moment.replace(tzinfo=UTC, microsecond=0)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
tables = st.dictionaries(names, values, max_size=6)
anything = tables | st.dictionaries(st.sampled_from(sorted(HISTORY)), values, max_size=6)


def a_failure(**changes: Any) -> Failure:
    return replace(Failure(reason="503", error="WechatPayUnavailable", attempts=1, at=AT), **changes)


def failed(headers: dict[str, Any], failure: Failure | None = None) -> Outgoing:
    message = a_message(headers=headers, message_id="m1")
    return failed_message(message, failure or a_failure(), origin=ORIGIN, exchange="rung", routing_key=ORIGIN)


# --- Attempts ---


@given(st.integers(min_value=1, max_value=100))
def test_attempts_are_counted_through_the_ladder(attempts: int) -> None:
    copy = failed({}, a_failure(attempts=attempts))

    assert attempts_before(a_message(headers=dict(copy.headers)), origin=ORIGIN) == attempts


@given(anything)
def test_whatever_the_headers_say_attempts_are_a_number(headers: dict[str, Any]) -> None:
    assert 0 <= attempts_before(a_message(headers=headers), origin=ORIGIN) < 2**31


@pytest.mark.parametrize("origin", [None, "", "payscore.trip-started", 7])
def test_attempts_at_another_queue_do_not_count(origin: object) -> None:
    message = a_message(headers={"x-attempts": 5, "x-origin-queue": origin})

    assert attempts_before(message, origin=ORIGIN) == 0


# --- The copy ---


def test_a_failure_is_told_in_six_headers() -> None:
    copy = failed({"traceparent": "00-1"}, a_failure(reason="total_fen:\n  missing", attempts=3))

    assert dict(copy.headers) == {
        "traceparent": "00-1",
        "x-attempts": 3,
        "x-reason": "total_fen: missing",
        "x-error": "WechatPayUnavailable",
        "x-first-failed-at": "2026-05-01T20:00:00.123+00:00",
        "x-last-failed-at": "2026-05-01T20:00:00.123+00:00",
        "x-origin-queue": ORIGIN,
    }


def test_the_first_failure_is_remembered_and_the_last_brought_up_to_date() -> None:
    first = failed({})
    second = failed(dict(first.headers), a_failure(at=AT.replace(hour=21), attempts=2))

    assert second.headers["x-first-failed-at"] == first.headers["x-last-failed-at"]
    assert second.headers["x-last-failed-at"] == "2026-05-01T21:00:00.123+00:00"


@given(st.text(max_size=2000))
def test_a_reason_is_one_line_of_bounded_length(reason: str) -> None:
    shown = failed({}, a_failure(reason=reason)).headers["x-reason"]

    assert len(shown) <= 500
    assert len(str(shown).splitlines()) <= 1


@given(headers=tables, body=st.binary(max_size=200), message_id=st.text(alphabet="m0123456789", min_size=1))
def test_the_original_comes_back_unchanged_after_any_failures(
    headers: dict[str, Any], body: bytes, message_id: str
) -> None:
    message = a_message(body, headers=headers, message_id=message_id, content_type="application/json", type="t")
    for attempts in (1, 2):
        failure = a_failure(attempts=attempts)
        copy = failed_message(message, failure, origin=ORIGIN, exchange="rung", routing_key=ORIGIN)
        message = as_delivered(copy)

    original = original_message(message, queue=ORIGIN)

    assert (original.body, original.message_id, original.content_type) == (body, message_id, "application/json")
    assert original.properties["type"] == "t"
    assert original.headers == readable(headers)
    assert (original.exchange, original.routing_key) == ("", ORIGIN)


def as_delivered(copy: Outgoing) -> Any:
    return a_message(
        copy.body,
        headers=dict(copy.headers),
        message_id=copy.message_id,
        content_type=copy.content_type,
        **{name: value for name, value in copy.properties.items() if value is not None},
    )


def readable(value: Any) -> Any:
    """Take bytes, which cannot be written as such, for byte arrays, which can."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, dict):
        return {name: readable(item) for name, item in value.items()}
    return [readable(item) for item in value] if isinstance(value, list) else value


@given(anything)
def test_whatever_the_headers_were_the_copy_can_be_written(headers: dict[str, Any]) -> None:
    copy = failed(headers)

    assert Basic.Properties(headers=dict(copy.headers)).marshal()


@pytest.mark.parametrize(
    "header", ["x-death", "x-delivery-count", "x-first-death-queue", "x-last-death-reason", "CC", "BCC"]
)
def test_what_the_broker_wrote_or_obeyed_is_not_sent_again(header: str) -> None:
    message = a_message(headers={header: ["value"], "kept": Decimal("1.50")})

    for copy in (failed(message.headers), original_message(message, queue=ORIGIN)):
        assert header not in copy.headers
        assert copy.headers["kept"] == Decimal("1.50")


def test_a_copy_does_not_expire_and_names_no_user() -> None:
    copy = failed_message(
        a_message(expiration="30000", user_id="rides"), a_failure(), origin=ORIGIN, exchange="", routing_key=ORIGIN
    )

    assert not {"expiration", "user_id"} & copy.properties.keys()


def test_a_message_without_an_id_gets_one() -> None:
    copies = [
        failed_message(a_message(), a_failure(), origin=ORIGIN, exchange="", routing_key=ORIGIN) for _ in range(2)
    ]

    assert copies[0].message_id != copies[1].message_id
    assert all(copy.message_id for copy in copies)
