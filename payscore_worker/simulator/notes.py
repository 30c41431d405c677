"""What was asked about one thing, and how often it was refused: bounded, for the judge to read."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from payscore_worker.simulator.calls import CallKind
from payscore_worker.simulator.refusals import Refusal

MAX_BODIES: Final = 20
"""Different bodies remembered for one thing and kind of call."""
MAX_REFUSALS: Final = 20
"""Refused calls remembered for one thing; all of them are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    at: datetime
    call: CallKind
    refusal: Refusal


@dataclass(slots=True, kw_only=True)
class Notes:
    accepted: Counter[CallKind] = field(default_factory=Counter)
    bodies: dict[CallKind, list[str]] = field(default_factory=dict)
    refused: list[RefusedCall] = field(default_factory=list)
    refused_count: int = 0

    def note_body(self, kind: CallKind, digest: str) -> None:
        seen = self.bodies.setdefault(kind, [])
        if digest not in seen and len(seen) < MAX_BODIES:
            seen.append(digest)

    def note_accepted(self, kind: CallKind) -> None:
        self.accepted[kind] += 1

    def note_refusal(self, kind: CallKind, refusal: Refusal, at: datetime) -> None:
        self.refused_count += 1
        if len(self.refused) < MAX_REFUSALS:
            self.refused.append(RefusedCall(at=at, call=kind, refusal=refusal))
