"""What policies make of our queues, looked at now and then for those who watch."""

import asyncio
from dataclasses import dataclass
from typing import Final

from payscore_worker.messaging.drift import NOT_ASKED, Drift, Told, ask, policy_drifts, unseen_policies
from payscore_worker.messaging.management import Management
from payscore_worker.messaging.topology import Topology

EVERY_SECONDS: Final = 60.0
"""Policies are changed by people, seldom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStanding:
    """Which policies lose messages; `unseen` says why that is not known, or not of all queues."""

    losing: tuple[Drift, ...] = ()
    unseen: str = "not looked at yet"


class PolicyLook:
    """Reads the policies, where the management API is known."""

    def __init__(self, management: Management | None, topology: Topology) -> None:
        self._management = management
        self._topology = topology
        self.newest = PolicyStanding(unseen=NOT_ASKED) if management is None else PolicyStanding()

    async def run(self) -> None:
        """Look until cancelled; without a management API there is nothing to see, and that is said."""
        while True:
            await self.run_once()
            await asyncio.sleep(EVERY_SECONDS)

    async def run_once(self) -> None:
        """Look once; where the management API does not tell, why is what is known."""
        self.newest = standing_of(self._topology, await ask(self._management))


def standing_of(topology: Topology, told: Told) -> PolicyStanding:
    """Sum up what the management API tells of policies."""
    losing = tuple(drift for drift in policy_drifts(topology, told) if drift.loses)
    return PolicyStanding(losing=losing, unseen=unseen_policies(topology, told))
