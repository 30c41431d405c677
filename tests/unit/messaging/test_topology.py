"""The table of exchanges and queues."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.messaging.topology import (
    DEFAULT_EXCHANGE,
    EVENTS,
    NOTIFICATIONS,
    QUEUES,
    RIDE_EVENTS,
    Topology,
    _dead_arguments,
    _queue_arguments,
    _rung_arguments,
    duration_text,
)
from payscore_worker.settings import BrokerSettings, duration, durations

DELAYS = (timedelta(seconds=5), timedelta(minutes=2))
TABLE = Topology(retry_delays=DELAYS, prefix="cn.")

milliseconds = st.integers(min_value=1, max_value=366 * 86_400_000).map(lambda count: timedelta(milliseconds=count))


# --- Names ---


def test_the_names_of_the_contract() -> None:
    default = Topology(retry_delays=durations(BrokerSettings(amqp_url="amqp://rabbit/").retry_delays))

    assert default.exchanges[:3] == ["ride.events", "payscore.events", "payscore.notifications"]
    assert default.queues == [
        "payscore.trip-started",
        "payscore.trip-ended",
        "payscore.trip-cancelled",
        "payscore.trip-fare-lowered",
        "payscore.trip-paid-elsewhere",
        "payscore.refund-requested",
        "payscore.authorisation-requested",
        "payscore.authorisation-ended",
        "payscore.order-confirmed",
        "payscore.order-paid",
        "payscore.service-changed",
        "payscore.refund-changed",
        "payscore.trip-started.dead",
        "payscore.trip-ended.dead",
        "payscore.trip-cancelled.dead",
        "payscore.trip-fare-lowered.dead",
        "payscore.trip-paid-elsewhere.dead",
        "payscore.refund-requested.dead",
        "payscore.authorisation-requested.dead",
        "payscore.authorisation-ended.dead",
        "payscore.order-confirmed.dead",
        "payscore.order-paid.dead",
        "payscore.service-changed.dead",
        "payscore.refund-changed.dead",
        "payscore.retry.5s",
        "payscore.retry.30s",
        "payscore.retry.2m",
        "payscore.retry.10m",
        "payscore.retry.30m",
        "payscore.retry.2h",
        "payscore.retry.6h",
        "payscore.retry.12h",
    ]


def test_every_name_bears_the_prefix() -> None:
    assert all(name.startswith("cn.") for name in [*TABLE.queues, *TABLE.exchanges])


@pytest.mark.parametrize(
    ("delay", "text"),
    [
        (timedelta(milliseconds=50), "50ms"),
        (timedelta(seconds=5), "5s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(seconds=120), "2m"),
        (timedelta(hours=12), "12h"),
        (timedelta(hours=24), "1d"),
        (timedelta(hours=36), "36h"),
        (timedelta(seconds=1, milliseconds=500), "1500ms"),
    ],
)
def test_a_duration_is_written_as_the_settings_write_it(delay: timedelta, text: str) -> None:
    assert duration_text(delay) == text


@given(milliseconds)
def test_a_duration_is_read_back_as_it_was_written(delay: timedelta) -> None:
    assert duration(duration_text(delay)) == delay


# --- What stands behind them ---

DEAD_LETTERING = [_queue_arguments("dead"), _rung_arguments(timedelta(seconds=5))]


@pytest.mark.parametrize("arguments", DEAD_LETTERING, ids=["queue", "rung"])
def test_whatever_dead_letters_does_so_at_least_once(arguments: dict[str, Any]) -> None:
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-dead-letter-exchange"] == DEFAULT_EXCHANGE
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"  # else RabbitMQ dead-letters at most once, and says nothing


def test_a_rung_holds_a_message_for_its_delay_and_names_no_other_queue() -> None:
    arguments = _rung_arguments(timedelta(seconds=5, milliseconds=1))

    assert arguments["x-message-ttl"] == 5001
    assert "x-dead-letter-routing-key" not in arguments


def test_dead_letters_stay() -> None:
    assert _dead_arguments() == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1_000_000_000,
        "x-overflow": "reject-publish",  # else a limit of length that somebody sets drops the oldest
    }


def test_dead_letters_of_the_release_before_are_left_as_they_are() -> None:
    former = {place.name: place.former for place in TABLE.places if place.former is not None}

    assert former == {
        TABLE.dead(queue): {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000} for queue in QUEUES
    }


def test_the_places_are_the_queues() -> None:
    assert sorted(place.name for place in TABLE.places) == sorted(TABLE.queues)


# --- Who takes what ---


@pytest.mark.parametrize(
    ("exchange", "routing_key", "taken"),
    [
        ("cn." + RIDE_EVENTS, "trip.started", True),
        ("cn." + RIDE_EVENTS, "trip.paused", False),
        (RIDE_EVENTS, "trip.started", False),
        ("cn." + NOTIFICATIONS, "payscore.user_paid", True),
        ("cn." + NOTIFICATIONS, "payscore.user_open_service", True),
        ("cn." + NOTIFICATIONS, "refund.success", True),
        ("cn." + NOTIFICATIONS, "refund.processing", False),
        ("cn." + NOTIFICATIONS, "transaction.success", False),
        ("cn." + EVENTS, "settlement.paid", False),
        ("cn.payscore.retry.5s", "cn.payscore.trip-ended", True),
        ("cn.payscore.retry.5m", "cn.payscore.trip-ended", False),
        (DEFAULT_EXCHANGE, "cn.payscore.trip-ended", True),
        (DEFAULT_EXCHANGE, "cn.payscore.trip-ended.dead", True),
        (DEFAULT_EXCHANGE, "payscore.trip-ended", False),
    ],
)
def test_the_table_knows_what_its_queues_take(exchange: str, routing_key: str, *, taken: bool) -> None:
    assert TABLE.takes(exchange, routing_key) is taken


def test_every_queue_has_dead_letters_and_a_binding() -> None:
    for queue, binding in QUEUES.items():
        assert TABLE.dead(queue) in TABLE.queues
        assert all(TABLE.takes(TABLE.name(binding.exchange), routing_key) for routing_key in binding.routing_keys)
