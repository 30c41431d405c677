"""How far what stands at the broker is from the table: arguments, bindings, policies; looking changes nothing."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq.exceptions import ChannelLockedResource

from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.management import BindingSeen, Management, ManagementUnavailable, PolicySeen, QueueSeen
from payscore_worker.messaging.policies import Loss, bounded, is_dropping, kept, losses
from payscore_worker.messaging.topology import DEFAULT_EXCHANGE, Kind, Place, Topology

NOT_ASKED: Final = "PAYSCORE_MANAGEMENT_URL is not set"


class Remedy(Enum):
    """What `topology apply` does about a drift."""

    DECLARE = "declare"
    BIND = "bind"
    UNBIND = "unbind"
    POLICY = "policy"
    """Set one of our two policies."""
    REPLACE = "replace"
    """Make the queue anew under its name, and bring its messages over."""
    BY_HAND = "by hand"
    """Nothing: it is not ours to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One thing that is not as the table has it; `subject` is the queue or the exchange."""

    subject: str
    remedy: Remedy
    detail: str
    place: Place | None = None
    """The queue as it should be, where it is one."""
    binding: tuple[str, str] | None = None
    """Exchange and routing key, where it is about one binding."""
    loses: bool = False
    """Whether messages are lost by it."""
    is_of_policies: bool = False
    loss: Loss | None = None
    """The word of a policy by which messages are lost, where it is that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is not as it should be, and one line on each thing that could not be seen."""

    drifts: Sequence[Drift] = ()
    unseen: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the management API tells."""

    queues: Mapping[str, QueueSeen] = field(default_factory=dict)
    bindings: Sequence[BindingSeen] = ()
    policies: Sequence[PolicySeen] | None = None
    """Those of users; None: whoever asks may not see them."""
    why_not: str = ""
    """Why it tells nothing; empty: it does."""


async def ask(management: Management | None) -> Told:
    """Ask the management API for all that is compared; that it does not tell is no error here."""
    if management is None:
        return Told(why_not=NOT_ASKED)
    try:
        queues, bindings = await management.queues(), await management.bindings()
    except ManagementUnavailable as error:
        return Told(why_not=f"PAYSCORE_MANAGEMENT_URL: {error}")
    try:
        policies = await management.policies()
    except ManagementUnavailable:  # that takes more rights than to look, and tells only whose word it is
        return Told(queues=queues, bindings=bindings)
    return Told(queues=queues, bindings=bindings, policies=policies)


async def look(connection: AbstractConnection, topology: Topology, told: Told) -> Plan:
    """Compare what stands with the table."""
    drifts = [drift async for drift in _of_exchanges(connection, topology)]
    unseen = list(_unseen(topology, told))
    staged = [place for place in topology.staging_places if await stands(connection, place.name)]
    for place in [*topology.places, *staged]:
        drifts += await _of_queue(connection, topology, place, told)
    if told.why_not:
        unseen += [line async for line in _unprotected(connection, topology)]
    return Plan(drifts=drifts, unseen=unseen)


def policy_drifts(topology: Topology, told: Told) -> list[Drift]:
    """Compare the policies alone: what a look at the management API tells, without asking the broker."""
    places = [*topology.places, *topology.staging_places]
    return [drift for place in places for drift in _of_policies(topology, place, told)]


def unseen_policies(topology: Topology, told: Told) -> str:
    """Say why policies of our queues could not be looked at; empty: they were."""
    return next(_unseen(topology, told), "")


def _unseen(topology: Topology, told: Told) -> Iterator[str]:
    if told.why_not:
        yield f"bindings and policies could not be looked at: {told.why_not}"
        return
    queues = [told.queues[place.name] for place in topology.places if place.name in told.queues]
    if silent := [queue.name for queue in queues if queue.effective is None]:
        names = ", ".join(silent)
        yield f"the policies of {names} could not be looked at: RabbitMQ has no statistics yet; try again in 10 seconds"


# --- Exchanges ---


async def _of_exchanges(connection: AbstractConnection, topology: Topology) -> AsyncIterator[Drift]:
    for name, type_ in topology.exchange_types.items():
        try:
            async with scratch_channel(connection) as channel:
                await channel.declare_exchange(name, passive=True)
                await channel.declare_exchange(name, type_, durable=True)
        except ChannelNotFoundEntity:
            yield Drift(subject=name, remedy=Remedy.DECLARE, detail="the exchange does not stand")
        except ChannelPreconditionFailed as error:
            yield Drift(
                subject=name, remedy=Remedy.BY_HAND, detail=f"the exchange stands otherwise: {_difference(error)}"
            )


# --- Queues ---


async def _of_queue(connection: AbstractConnection, topology: Topology, place: Place, told: Told) -> list[Drift]:
    if await stands(connection, topology.moving(place.name)):
        detail = "a replacement of it was broken off: run `payscore-worker topology apply` again"
        return [Drift(subject=place.name, remedy=Remedy.REPLACE, detail=detail, place=place)]
    if not await stands(connection, place.name):
        return [Drift(subject=place.name, remedy=Remedy.DECLARE, detail="the queue does not stand", place=place)]
    difference = await difference_from(connection, place)
    drifts = []
    if difference and not await stands_as_before(connection, place):
        detail = f"the queue stands otherwise: {difference}"
        drifts.append(Drift(subject=place.name, remedy=Remedy.REPLACE, detail=detail, place=place))
    return [*drifts, *_of_bindings(place, told), *_of_policies(topology, place, told)]


async def stands(connection: AbstractConnection, queue: str) -> bool:
    """Tell whether there is a queue of this name."""
    try:
        async with scratch_channel(connection) as channel:
            await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    except ChannelLockedResource:  # somebody's exclusive queue
        return True
    return True


async def difference_from(
    connection: AbstractConnection, place: Place, arguments: Mapping[str, Any] | None = None
) -> str:
    """Say how the arguments of a queue that stands differ from those of the table, or from these; empty: they do not.

    The first difference is told: it is RabbitMQ's word, who alone knows what is the same to it.
    """
    try:
        async with scratch_channel(connection) as channel:
            await channel.declare_queue(
                place.name, durable=True, arguments=dict(place.arguments if arguments is None else arguments)
            )
    except (ChannelPreconditionFailed, ChannelLockedResource) as error:
        return _difference(error)
    return ""


async def stands_as_before(connection: AbstractConnection, place: Place) -> bool:
    """Tell whether a queue stands as the release before declared it, where that was otherwise."""
    return place.former is not None and not await difference_from(connection, place, place.former)


def _difference(error: Exception) -> str:
    """Take the difference out of RabbitMQ's sentence, which goes on about names that we name ourselves."""
    text = str(error)
    found = re.search(r"inequivalent arg '([^']+)'.*?: (.+)", text)
    return f"{found[1]}: {found[2].rstrip(')')}" if found else text


def _of_bindings(place: Place, told: Told) -> Iterator[Drift]:
    if told.why_not:
        return
    found = {
        (one.source, one.routing_key)
        for one in told.bindings
        if one.destination == place.name and one.destination_type == "queue" and one.source != DEFAULT_EXCHANGE
    }
    for exchange, routing_key in [one for one in place.bindings if one not in found]:
        detail = f"is not bound to {exchange} by {routing_key!r}"
        yield Drift(
            subject=place.name,
            remedy=Remedy.BIND,
            detail=detail,
            place=place,
            binding=(exchange, routing_key),
            loses=True,
        )
    for exchange, routing_key in sorted(found.difference(place.bindings)):
        detail = f"is bound to {exchange} by {routing_key!r}, which is none of its events"
        yield Drift(
            subject=place.name, remedy=Remedy.UNBIND, detail=detail, place=place, binding=(exchange, routing_key)
        )


# --- Policies ---


def _of_policies(topology: Topology, place: Place, told: Told) -> Iterator[Drift]:
    seen = told.queues.get(place.name)
    if seen is None or seen.effective is None:
        return
    found = losses(place, seen)
    for loss in found:
        remedy = Remedy.POLICY if _ours_helps(topology, loss, told) else Remedy.BY_HAND
        yield Drift(
            subject=place.name,
            remedy=remedy,
            detail=loss.text,
            place=place,
            loses=True,
            is_of_policies=True,
            loss=loss,
        )
    if not found and place.kind is Kind.DEAD and is_dropping(seen.arguments, seen.effective):
        detail = "stands as the release before declared it: a limit of length would make it drop messages"
        yield Drift(subject=place.name, remedy=Remedy.POLICY, detail=detail, place=place, is_of_policies=True)


def _ours_helps(topology: Topology, loss: Loss, told: Told) -> bool:
    """Whether it is the word of a policy of users, which one of ours can go before; an operator policy joins any."""
    ours = {policy.name: policy for policy in (kept(topology), bounded(topology))}
    if loss.policy is None or (loss.policy in ours and loss.key not in _definition(loss.policy, told)):
        return False
    if told.policies is None:
        return True
    return loss.key in _definition(loss.policy, told)


def _definition(policy: str, told: Told) -> Mapping[str, object]:
    return next((one.definition for one in told.policies or () if one.name == policy), {})


# --- Without the management API ---


async def _unprotected(connection: AbstractConnection, topology: Topology) -> AsyncIterator[str]:
    """Name the queues that only a policy can protect, where policies are not told."""
    names = [
        place.name
        for place in topology.places
        if place.former is not None
        and await stands(connection, place.name)
        and await difference_from(connection, place)
        and await stands_as_before(connection, place)
    ]
    if names:
        makes_up = f"the policy {kept(topology).name} has to make up for it"
        yield f"{', '.join(names)}: declared by the release before, and {makes_up}"
