"""What `topology apply` does: it brings about what the table says, one drift after the other (ADR 20)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aio_pika.abc import AbstractConnection

from payscore_worker.errors import Rejected
from payscore_worker.messaging.drift import Drift, Plan, Remedy, Told, ask, look, policy_drifts, unseen_policies
from payscore_worker.messaging.link import connect, scratch_channel
from payscore_worker.messaging.management import Management, PolicySeen
from payscore_worker.messaging.moving import taking_turns
from payscore_worker.messaging.policies import above, bounded, kept
from payscore_worker.messaging.replacing import Replacement
from payscore_worker.messaging.topology import Kind, Place, Topology

TOLD_SECONDS: Final = 30.0
"""What RabbitMQ counts, and the policies that it applies, are told by its management API within ten seconds."""

POLL_SECONDS: Final = 1.0


async def apply(
    url: str, topology: Topology, management: Management | None, say: Callable[[str], None] = lambda _: None
) -> Plan:
    """Bring about what the table says; tells what is left. Run again after it was broken off, it goes on.

    Raises:
        TopologyRefused: something stands otherwise that is not ours to change.
        Rejected: a queue cannot be made anew; the text says why.
        ManagementUnavailable: the management API is needed, and does not do its part.

    """
    async with await connect(url, "payscore-worker topology") as connection:
        plan = await look(connection, topology, await _ask_until(topology, management, _is_counted))
        if management is not None:
            await _set_policies(topology, management, plan, say)
        await topology.declare_exchanges(connection)
        for place in _places(plan, Remedy.REPLACE):
            await _replace(url, connection, topology, management, place, say)
        await topology.declare_on(connection)
        await _unbind(connection, plan, say)
        return await look(connection, topology, await _ask_until(topology, management, _is_counted))


def _places(plan: Plan, remedy: Remedy) -> list[Place]:
    return [drift.place for drift in plan.drifts if drift.remedy is remedy and drift.place is not None]


# --- Policies ---


def wanted_policies(topology: Topology, drifts: Sequence[Drift]) -> list[tuple[PolicySeen, list[str]]]:
    """Say which of our policies the drifts ask for, each with the queues that ask."""
    asking = [drift for drift in drifts if drift.remedy is Remedy.POLICY]
    for_events = [drift.subject for drift in asking if _is_for_events(drift)]
    others = [drift.subject for drift in asking if not _is_for_events(drift)]
    wanted = [(kept(topology), others), (bounded(topology), for_events)]
    return [(policy, queues) for policy, queues in wanted if queues]


def _is_for_events(drift: Drift) -> bool:
    return drift.place is not None and drift.place.kind is Kind.EVENTS


async def _set_policies(topology: Topology, management: Management, plan: Plan, say: Callable[[str], None]) -> None:
    wanted = wanted_policies(topology, plan.drifts)
    if not wanted:
        return
    standing = await management.policies()
    for policy, queues in wanted:
        priority = above(policy, standing, queues)
        await management.set_policy(msgspec.structs.replace(policy, priority=priority))
        say(f"policy {policy.name} set with priority {priority}, before those that {', '.join(queues)} had")
    await _ask_until(topology, management, _is_set)


async def _ask_until(
    topology: Topology, management: Management | None, is_told: Callable[[Topology, Told], bool]
) -> Told:
    """Ask until it is told: RabbitMQ counts, and tells of policies, a little later than things happen."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOLD_SECONDS
    while True:
        told = await ask(management)
        if told.why_not or is_told(topology, told) or loop.time() > deadline:
            return told
        await asyncio.sleep(POLL_SECONDS)


def _is_counted(topology: Topology, told: Told) -> bool:
    return not unseen_policies(topology, told)


def _is_set(topology: Topology, told: Told) -> bool:
    drifts = policy_drifts(topology, told)
    return _is_counted(topology, told) and not any(drift.remedy is Remedy.POLICY for drift in drifts)


# --- Queues ---


async def _replace(
    url: str,
    connection: AbstractConnection,
    topology: Topology,
    management: Management | None,
    place: Place,
    say: Callable[[str], None],
) -> None:
    if management is None:
        raise Rejected(
            f"{place.name} can only be made anew with PAYSCORE_MANAGEMENT_URL, of a user with the tag policymaker: "
            "a policy must keep others out of it meanwhile"
        )
    await management.policies()  # whether we may is known before anything is done
    async with _in_hand(url, topology, place):
        await Replacement(connection, topology, management, place, say).run()


@asynccontextmanager
async def _in_hand(url: str, topology: Topology, place: Place) -> AsyncIterator[None]:
    """Have dead letters in hand alone, as everybody does who handles them."""
    if place.queue is None or place.kind is Kind.EVENTS:
        yield
        return
    async with taking_turns(url, topology, place.queue):
        yield


async def _unbind(connection: AbstractConnection, plan: Plan, say: Callable[[str], None]) -> None:
    for drift in plan.drifts:
        if drift.remedy is Remedy.UNBIND and drift.binding is not None:
            exchange, routing_key = drift.binding
            async with scratch_channel(connection) as channel:
                queue = await channel.get_queue(drift.subject, ensure=False)
                await queue.unbind(exchange, routing_key)
            say(f"{drift.subject}: unbound from {exchange}, {routing_key!r}")
