"""What policies make of our queues: which of somebody else's lose messages, and the two of ours that go before them.

Measured on RabbitMQ 3.10.8 (ADR 20): of what loses messages, an argument of a quorum queue protects from a limit of
length alone, and a policy's `overflow` goes before that of the argument. Of TTLs and delivery limits the smaller one
holds, and of `expires` the policy's. But of all policies of users only the one with the highest priority applies.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from payscore_worker.messaging.management import PolicySeen, QueueSeen
from payscore_worker.messaging.topology import NO_DELIVERY_LIMIT, QUEUES, Kind, Place, Topology

MAX_EVENTS: Final = 10_000_000
"""Events that wait in one queue: days of a large platform. Beyond it publishers are refused, and nothing is dropped."""

PRIORITY: Final = 10
"""Ours go before policies for everything, which people leave at 0."""

LENGTHS: Final = ("max-length", "max-length-bytes")
REFUSING: Final = "reject-publish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One word of a policy by which a queue loses messages."""

    queue: str
    key: str
    value: int | str
    consequence: str
    policy: str | None
    operator_policy: str | None

    @property
    def names(self) -> str:
        """The names of the policies that may have said it."""
        return ", ".join(name for name in (self.policy, self.operator_policy) if name)

    @property
    def by(self) -> str:
        """Name the policies that may have said it."""
        named = {"policy": self.policy, "operator policy": self.operator_policy}
        return " or ".join(f"{kind} {name!r}" for kind, name in named.items() if name)

    @property
    def text(self) -> str:
        """Say it, of a queue that was named."""
        return f"{self.by or 'a policy'} sets {self.key} {self.value}: it {self.consequence}"


def losses(place: Place, seen: QueueSeen) -> list[Loss]:
    """Say by which words of policies this queue loses messages, or loses our word about them; unknown is none."""
    effective = seen.effective or {}
    return [
        Loss(
            queue=place.name,
            key=key,
            value=effective[key],
            consequence=consequence,
            policy=seen.policy,
            operator_policy=seen.operator_policy,
        )
        for key, consequence in _consequences(place.kind, seen.arguments, effective)
    ]


def _consequences(kind: Kind, arguments: Mapping[str, Any], effective: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "expires" in effective:
        yield "expires", "is deleted, with what is in it, once nobody has used it for so many milliseconds"
    if "message-ttl" in effective and kind in _EXPIRED:
        yield "message-ttl", _EXPIRED[kind]
    if is_dropping(arguments, effective):
        for key in LENGTHS:
            if key in effective:
                yield key, "drops its oldest messages beyond that"
        if "overflow" in effective and kind is not Kind.DEAD:
            yield "overflow", "dead-letters at most once, so a crash of RabbitMQ may lose what is on its way"
    if kind in {Kind.DEAD, Kind.STAGING} and 0 <= effective.get("delivery-limit", -1) < NO_DELIVERY_LIMIT:  # -1: none
        yield "delivery-limit", "drops a message that was looked at so often"


_EXPIRED: Final[Mapping[Kind, str]] = {
    Kind.DEAD: "drops what came later than that policy, so many milliseconds after it came",
    Kind.EVENTS: "makes a dead letter of what nobody has handled within so many milliseconds",
    Kind.STAGING: "puts back what a replay that was broken off has left, although its dead letter stands",
}
"""What a TTL does; on a rung, it only makes the next attempt come sooner."""


def is_dropping(arguments: Mapping[str, Any], effective: Mapping[str, Any]) -> bool:
    """Whether the queue would drop messages, where its length were limited, instead of refusing them."""
    overflow: object = effective.get("overflow", arguments.get("x-overflow"))
    return overflow != REFUSING


# --- Ours ---


def kept(topology: Topology, priority: int = PRIORITY) -> PolicySeen:
    """Make our policy for the queues that nobody consumes: no word that loses, so none of a lower priority holds."""
    pattern = rf"^{re.escape(topology.name('payscore.'))}(.+\.(dead|replay|moving)|retry\..+)$"
    name = topology.name("payscore-kept")
    return PolicySeen(name=name, pattern=pattern, definition={"overflow": REFUSING}, priority=priority)


def bounded(topology: Topology, priority: int = PRIORITY) -> PolicySeen:
    """Make our policy for the queues that we consume."""
    pattern = f"^({'|'.join(re.escape(topology.name(queue)) for queue in QUEUES)})$"
    name = topology.name("payscore-bounded")
    return PolicySeen(name=name, pattern=pattern, definition={"max-length": MAX_EVENTS}, priority=priority)


def above(policy: PolicySeen, others: Sequence[PolicySeen], queues: Sequence[str]) -> int:
    """Give the priority by which a policy goes before all others that are for one of these queues."""
    rivals = [one.priority for one in others if one.name != policy.name and any(map(one.is_for, queues))]
    return max([PRIORITY, *(priority + 1 for priority in rivals)])
