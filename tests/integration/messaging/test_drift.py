"""What stands otherwise than it should is named, by a look that changes nothing."""

from collections.abc import AsyncIterator

import pytest

from payscore_worker.messaging.drift import NOT_ASKED, Remedy, Told, ask, look
from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.management import Management
from payscore_worker.messaging.topology import QUEUES, RIDE_EVENTS, Kind
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk
from tests.integration.messaging.managed import Site, a_site, declare_as_the_release_before

pytestmark = pytest.mark.timeout(300)  # the broker itself takes half a minute to start on a busy machine

DEAD = f"{TRIP_ENDED}.dead"
FIRST_RUNG = "payscore.retry.50ms"


@pytest.fixture
async def site(managed_rabbitmq: tuple[str, str]) -> AsyncIterator[Site]:
    async with a_site(managed_rabbitmq) as site:
        yield site


# --- Without the management API ---


async def test_what_was_just_declared_has_no_drift_and_what_cannot_be_seen_is_said(desk: Desk) -> None:
    plan = await look(desk.connection, desk.topology, await ask(None))

    assert plan.drifts == []
    assert plan.unseen == [f"bindings and policies could not be looked at: {NOT_ASKED}"]


async def test_a_management_api_that_does_not_tell_is_said_with_the_cause(desk: Desk) -> None:
    told = await ask(Management("http://guest:hunter2@127.0.0.1:1", "amqp://rabbit/"))

    plan = await look(desk.connection, desk.topology, told)

    cause = "PAYSCORE_MANAGEMENT_URL: it cannot be asked (ConnectError)"
    assert plan.unseen == [f"bindings and policies could not be looked at: {cause}"]


async def test_the_queues_of_the_release_before_are_no_drift_but_need_a_policy_that_is_not_seen(desk: Desk) -> None:
    await desk.do(desk.topology.delete)
    await declare_as_the_release_before(desk.connection, desk.topology)

    plan = await look(desk.connection, desk.topology, Told(why_not=NOT_ASKED))

    assert plan.drifts == []
    assert all(desk.topology.dead(queue) in plan.unseen[1] for queue in QUEUES)
    assert f"{desk.topology.prefix}payscore-kept" in plan.unseen[1]


async def test_what_does_not_stand_and_what_stands_otherwise_is_named(desk: Desk) -> None:
    name = desk.topology.name
    await desk.delete_queue(TRIP_CANCELLED)
    await desk.do(lambda channel: channel.exchange_delete(name(FIRST_RUNG)))
    await desk.delete_queue(TRIP_ENDED)
    await desk.do(lambda channel: channel.declare_queue(name(TRIP_ENDED), durable=True))

    plan = await look(desk.connection, desk.topology, await ask(None))

    assert [(drift.subject, drift.remedy) for drift in plan.drifts] == [
        (name(FIRST_RUNG), Remedy.DECLARE),
        (name(TRIP_ENDED), Remedy.REPLACE),
        (name(TRIP_CANCELLED), Remedy.DECLARE),
    ]
    assert "inequivalent" not in plan.drifts[1].detail
    assert "x-queue-type" in plan.drifts[1].detail or "x-d" in plan.drifts[1].detail


async def test_an_exchange_of_another_type_is_for_people(desk: Desk) -> None:
    name = desk.topology.name(RIDE_EVENTS)
    await desk.do(lambda channel: channel.exchange_delete(name))
    await desk.do(lambda channel: channel.declare_exchange(name, "direct", durable=True))

    (drift,) = (await look(desk.connection, desk.topology, await ask(None))).drifts

    assert (drift.subject, drift.remedy) == (name, Remedy.BY_HAND)
    await desk.do(lambda channel: channel.exchange_delete(name))


async def test_looking_changes_nothing(desk: Desk) -> None:
    await desk.delete_queue(TRIP_ENDED)

    for _ in range(2):
        (drift,) = (await look(desk.connection, desk.topology, await ask(None))).drifts
        assert drift.remedy is Remedy.DECLARE


# --- With it ---


async def test_a_topology_that_stands_as_it_should_has_nothing_to_say(site: Site) -> None:
    plan = await site.look_until()

    assert (plan.drifts, plan.unseen) == ([], [])


async def test_bindings_that_are_missing_or_too_many_are_named(site: Site) -> None:
    name = site.topology.name
    async with scratch_channel(site.connection) as channel:
        queue = await channel.get_queue(name(TRIP_ENDED), ensure=False)
        await queue.unbind(name(RIDE_EVENTS), "trip.ended")
        await queue.bind(name(RIDE_EVENTS), "trip.#")

    plan = await site.look_until(TRIP_ENDED)

    assert [(drift.remedy, drift.binding) for drift in plan.drifts] == [
        (Remedy.BIND, (name(RIDE_EVENTS), "trip.ended")),
        (Remedy.UNBIND, (name(RIDE_EVENTS), "trip.#")),
    ]


async def test_a_policy_that_loses_messages_is_named_with_what_it_does(site: Site) -> None:
    await site.set_policy("ttl", rf"^{site.topology.prefix}.*\.dead$", {"message-ttl": 86_400_000})

    plan = await site.look_until(*(f"{queue}.dead" for queue in QUEUES))

    assert {drift.remedy for drift in plan.drifts} == {Remedy.POLICY}
    assert all(drift.loses for drift in plan.drifts)
    assert f"policy '{site.topology.prefix}ttl' sets message-ttl 86400000: it drops" in plan.drifts[0].detail


async def test_the_word_of_an_operator_policy_is_for_people(site: Site) -> None:
    pattern = f"^{site.topology.prefix}{TRIP_ENDED}.dead$"
    await site.set_policy("cap", pattern, {"expires": 86_400_000}, kind="operator-policies")

    (drift,) = (await site.look_until(DEAD)).drifts

    assert drift.remedy is Remedy.BY_HAND
    assert f"operator policy '{site.topology.prefix}cap' sets expires" in drift.detail


async def test_a_limit_of_length_that_our_argument_turns_into_a_refusal_is_no_loss(site: Site) -> None:
    await site.set_policy("cap", f"^{site.topology.prefix}", {"max-length": 10})
    await site.set_policy("marker", f"^{site.topology.prefix}{TRIP_ENDED}.dead$", {"expires": 86_400_000}, priority=1)

    plan = await site.look_until(DEAD)  # once this is told, so is the other

    assert [drift.place.kind for drift in plan.drifts if drift.place is not None] == [Kind.DEAD]
    assert "expires" in plan.drifts[0].detail


async def test_the_release_before_needs_our_policy_and_has_none(managed_rabbitmq: tuple[str, str]) -> None:
    async with a_site(managed_rabbitmq, as_before=True) as site:
        plan = await site.look_until(*(f"{queue}.dead" for queue in QUEUES))

        assert {drift.remedy for drift in plan.drifts} == {Remedy.POLICY}
        assert not any(drift.loses for drift in plan.drifts)
