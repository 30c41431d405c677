"""What policies make of our queues, and which of ours go before them."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from payscore_worker.messaging.management import PolicySeen, QueueSeen
from payscore_worker.messaging.policies import above, bounded, kept, losses
from payscore_worker.messaging.topology import QUEUES, Kind, Place, Topology
from payscore_worker.settings import BrokerSettings, durations

TABLE = Topology(retry_delays=[timedelta(seconds=5)], prefix="cn-1.")
PLACES = {place.kind: place for place in [*TABLE.places, *TABLE.staging_places]}
DEFINITIONS = json.loads((Path(__file__).parents[3] / "deploy" / "rabbitmq" / "definitions.json").read_text())


def keys_that_lose(place: Place, effective: dict[str, Any], arguments: dict[str, Any] | None = None) -> list[str]:
    told = dict(place.arguments) if arguments is None else arguments
    seen = QueueSeen(name=place.name, arguments=told, policy="theirs", effective_policy_definition=effective)
    return [loss.key for loss in losses(place, seen)]


@pytest.mark.parametrize(
    ("kind", "effective", "keys"),
    [
        (Kind.DEAD, {"message-ttl": 60_000}, ["message-ttl"]),
        (Kind.DEAD, {"expires": 60_000}, ["expires"]),
        (Kind.DEAD, {"max-length": 10}, []),  # refused, by our argument
        (Kind.DEAD, {"max-length-bytes": 10}, []),
        (Kind.DEAD, {"max-length": 10, "overflow": "drop-head"}, ["max-length"]),
        (Kind.DEAD, {"overflow": "drop-head"}, []),  # where nothing limits its length
        (Kind.DEAD, {"delivery-limit": 20}, ["delivery-limit"]),
        (Kind.DEAD, {"delivery-limit": -1}, []),
        (Kind.DEAD, {"delivery-limit": 1_000_000_000}, []),
        (Kind.EVENTS, {"message-ttl": 60_000}, ["message-ttl"]),
        (Kind.EVENTS, {"expires": 60_000}, ["expires"]),
        (Kind.EVENTS, {"max-length": 10}, []),
        (Kind.EVENTS, {"delivery-limit": 20}, []),  # what it drops, it dead-letters
        (Kind.EVENTS, {"overflow": "drop-head"}, ["overflow"]),
        (Kind.RUNG, {"message-ttl": 60_000}, []),  # the next attempt comes sooner
        (Kind.RUNG, {"expires": 60_000}, ["expires"]),
        (Kind.RUNG, {"max-length": 10, "overflow": "drop-head"}, ["max-length", "overflow"]),
        (Kind.STAGING, {"message-ttl": 60_000}, ["message-ttl"]),
        (Kind.STAGING, {"delivery-limit": 20}, ["delivery-limit"]),
        (Kind.DEAD, {"queue-master-locator": "min-masters"}, []),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "-".join(value) or "none",
)
def test_what_loses_messages_is_named(kind: Kind, effective: dict[str, Any], keys: list[str]) -> None:
    assert keys_that_lose(PLACES[kind], effective) == keys


@pytest.mark.parametrize("key", ["max-length", "max-length-bytes"])
def test_a_limit_makes_a_queue_of_the_release_before_drop_messages(key: str) -> None:
    place = PLACES[Kind.DEAD]
    assert place.former is not None

    assert keys_that_lose(place, {key: 10}, dict(place.former)) == [key]
    assert keys_that_lose(place, {key: 10, "overflow": "reject-publish"}, dict(place.former)) == []


def test_what_is_not_told_yet_is_called_neither_good_nor_bad() -> None:
    seen = QueueSeen(name="q", policy="theirs", effective_policy_definition=None)

    assert losses(PLACES[Kind.DEAD], seen) == []


@pytest.mark.parametrize(
    ("policy", "operator_policy", "text"),
    [
        ("ttl", None, "policy 'ttl' sets expires 60000: it is deleted, with what is in it"),
        (None, "cap", "operator policy 'cap' sets expires 60000: it is deleted"),
        ("ttl", "cap", "policy 'ttl' or operator policy 'cap' sets expires 60000: it"),
    ],
)
def test_a_loss_names_whose_word_it_is(policy: str | None, operator_policy: str | None, text: str) -> None:
    place = PLACES[Kind.DEAD]
    seen = QueueSeen(
        name=place.name,
        policy=policy,
        operator_policy=operator_policy,
        effective_policy_definition={"expires": 60_000},
    )

    (loss,) = losses(place, seen)

    assert loss.text.startswith(text)


# --- Ours ---


def test_each_queue_falls_under_just_one_policy_of_ours() -> None:
    for place in [*TABLE.places, *TABLE.staging_places]:
        mine = [policy for policy in (kept(TABLE), bounded(TABLE)) if policy.is_for(place.name)]

        assert mine == [bounded(TABLE) if place.kind is Kind.EVENTS else kept(TABLE)]
    assert kept(TABLE).is_for(TABLE.moving("cn-1.payscore.trip-ended"))


@pytest.mark.parametrize(
    "name",
    [
        "payscore.trip-ended.dead",
        "cnx1.payscore.trip-ended.dead",
        "cn-1.ride.dead",
        "other.cn-1.payscore.a.dead",
        TABLE.turn("payscore.trip-ended"),
    ],
)
def test_queues_of_others_fall_under_no_policy_of_ours(name: str) -> None:
    assert not kept(TABLE).is_for(name)
    assert not bounded(TABLE).is_for(name)


def test_our_policies_lose_nothing() -> None:
    for place in [*TABLE.places, *TABLE.staging_places]:
        ours = bounded(TABLE) if place.kind is Kind.EVENTS else kept(TABLE)

        assert keys_that_lose(place, ours.definition) == []


def test_ours_goes_before_all_that_are_for_the_same_queues() -> None:
    queue = TABLE.dead("payscore.trip-ended")
    others = [
        PolicySeen(name="all", pattern=".*", priority=17),
        PolicySeen(name="elsewhere", pattern="^ride", priority=99),
        PolicySeen(name="exchanges", pattern=".*", priority=98, apply_to="exchanges"),
        PolicySeen(name=kept(TABLE).name, pattern=".*", priority=97),
    ]

    assert above(kept(TABLE), others, [queue]) == 18
    assert above(kept(TABLE), others[1:], [queue]) == 10
    assert above(kept(TABLE), [PolicySeen(name="odd", pattern="(?>+)(", priority=20)], [queue]) == 21


# --- What we ship ---


def test_the_definitions_that_we_ship_have_our_two_policies_and_no_other() -> None:
    shipped = {policy["name"]: policy for policy in DEFINITIONS["policies"]}
    topology = Topology(retry_delays=durations(BrokerSettings().retry_delays))

    assert set(shipped) == {"payscore-kept", "payscore-bounded"}
    assert "operator_policies" not in DEFINITIONS
    for ours in (kept(topology), bounded(topology)):
        policy = shipped[ours.name]
        assert (policy["definition"], policy["priority"]) == (ours.definition, ours.priority)
        assert policy["apply-to"] == "queues"


def test_the_definitions_that_we_ship_lose_no_message() -> None:
    topology = Topology(retry_delays=durations(BrokerSettings().retry_delays))
    policies = [
        PolicySeen(name=one["name"], pattern=one["pattern"], definition=one["definition"])
        for one in DEFINITIONS["policies"]
    ]
    for place in [*topology.places, *topology.staging_places]:
        mine = [policy for policy in policies if policy.is_for(place.name)]

        assert len(mine) == 1, place.name
        assert keys_that_lose(place, mine[0].definition) == []
    assert len(topology.places) == 2 * len(QUEUES) + len(topology.retry_delays)
