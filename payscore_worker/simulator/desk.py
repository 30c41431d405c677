"""Who answers a call: each product has its desk, and so have refunds, which every product shares."""

from dataclasses import dataclass, field
from typing import Protocol

from payscore_worker.simulator.calls import Call, CallKind
from payscore_worker.simulator.faults import Fault
from payscore_worker.simulator.members import Entity
from payscore_worker.simulator.notes import Notes
from payscore_worker.simulator.refusals import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a call is about, as far as one can tell before it is processed."""

    out_order_no: str = ""
    openid: str = ""
    notes: Notes = field(default_factory=Notes)
    """Where the judge reads of this call; a call on nothing known is noted where nobody reads."""


class Desk(Protocol):
    @property
    def kinds(self) -> frozenset[CallKind]:
        """The calls that it answers, and nobody else does."""

    @property
    def unknown(self) -> Refusal:
        """What a query answers about what it does not know."""

    def subject_of(self, call: Call) -> Subject: ...

    def can_play(self, call: Call, fault: Fault) -> bool:
        """Whether there is anything to be false about: a fault that cannot show on this call waits for one it can."""

    def answer(self, call: Call) -> Entity | None:
        """The JSON object of a 200; None: a 204, which has no body. Raises Refused."""

    def earlier(self, call: Call) -> Entity | None:
        """What it would have answered before the last change; None where nothing has changed yet."""
