"""A strike: which call of a trip is answered otherwise, how, and for how long."""

from dataclasses import dataclass
from typing import Any, Final

from payscore_worker.simulator import CallKind, Fault
from payscore_worker.simulator.faults import ANY_CALL
from tests.answers.answers import Answer
from tests.answers.city import OPENID, TRIP_ID

ONCE: Final = "once"
MINUTE: Final = "for a minute"
HOUR: Final = "for an hour"
FOR_ALL: Final = "whatever is asked"

EXTENTS: Final = {
    ONCE: None,
    MINUTE: 60.0,
    HOUR: 3_600.0,
    f"{FOR_ALL} {MINUTE}": 60.0,
    f"{FOR_ALL} {HOUR}": 3_600.0,
}
"""How long it lasts, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """Which call is answered otherwise, how, and for how long."""

    call: CallKind
    number: int
    """The first of its kind is 1."""
    answer: Answer
    extent: str

    def faults(self, *, host: str | None) -> list[Fault]:
        """Write it as the simulator plays it."""
        seconds = EXTENTS[self.extent]
        extent: dict[str, Any] = {"times": 1} if seconds is None else {"times": None, "for_seconds": seconds}
        if self.extent.startswith(FOR_ALL):
            return self.answer.faults(ANY_CALL, host=host, **extent)
        if self.call in {CallKind.USER_SERVICE_STATE, CallKind.QUERY_PERMISSION}:
            return self.answer.faults(self.call, host=host, openid=OPENID, **extent)
        return self.answer.faults(self.call, host=host, out_order_no=TRIP_ID, **extent)
