"""The script of faults: which of them strikes next, and how far each has come."""

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from payscore_worker.simulator.calls import CallKind
from payscore_worker.simulator.faults import Fault

MAX_FAULTS: Final = 10_000
"""Faults that wait for their call; one more is turned away."""
MAX_SPENT: Final = 1_000
"""Faults remembered after their last strike, the oldest forgotten first."""


@dataclass(slots=True)
class ScriptedFault:
    """A fault and how far its script has come."""

    id: str
    fault: Fault
    random: random.Random
    began_at: float | None
    """Seconds on the simulator's clock, from which `for_seconds` counts; None until the first strike."""
    seen: int = 0
    strikes: int = 0
    spent: bool = False
    """It strikes no more: often enough, or long enough."""

    def strikes_now(self, now: float) -> bool:
        """Counts one matching call; whether it is struck."""
        self.seen += 1
        if self.seen <= self.fault.skip:
            return False
        if self.fault.probability < 1 and self.random.random() >= self.fault.probability:
            return False
        self.strikes += 1
        self.began_at = now if self.began_at is None else self.began_at
        self.spent = self.fault.times is not None and self.strikes >= self.fault.times
        return True

    def is_over(self, now: float) -> bool:
        if self.fault.for_seconds is None or self.began_at is None:
            return False
        return now >= self.began_at + self.fault.for_seconds


class TooManyFaults(ValueError):
    """A simulator keeps a bounded number of faults; clear some."""


class Faults:
    """At most one strikes a call: first come an order's own, then a passenger's, then the rest, each as added."""

    def __init__(self, *, seed: int, now: Callable[[], float]) -> None:
        self._seed = seed
        self._now = now
        self._serial = itertools.count(1)
        self._waiting: dict[tuple[str, str], list[ScriptedFault]] = {}
        self._count = 0
        self._spent: deque[ScriptedFault] = deque(maxlen=MAX_SPENT)

    def add(self, fault: Fault) -> ScriptedFault:
        if self._count >= MAX_FAULTS:
            self._end_those_over()
        if self._count >= MAX_FAULTS:
            raise TooManyFaults(f"{MAX_FAULTS} faults are already waiting")
        serial = next(self._serial)
        seed = self._seed + serial if fault.seed is None else fault.seed
        scripted = ScriptedFault(
            f"fault-{serial}",
            fault,
            random.Random(seed),  # noqa: S311 - to be repeatable
            began_at=self._now() if fault.since == "added" else None,
        )
        self._waiting.setdefault(_key_of(fault), []).append(scripted)
        self._count += 1
        return scripted

    def strike_call(
        self,
        kind: CallKind,
        *,
        out_order_no: str,
        openid: str,
        host: str = "",
        can_play: Callable[[Fault], bool] = lambda _fault: True,
    ) -> Fault | None:
        """The fault that this call meets. One that cannot be played on it (`can_play`) waits for another call."""
        for scripted in self._about(out_order_no, openid):
            fault = scripted.fault
            if fault.is_about(kind, host) and can_play(fault) and self._strikes(scripted):
                return fault
        return None

    def strike_callback(
        self, *, out_order_no: str, openid: str, can_play: Callable[[Fault], bool] = lambda _fault: True
    ) -> Fault | None:
        for scripted in self._about(out_order_no, openid):
            if scripted.fault.fault.on_callback and can_play(scripted.fault) and self._strikes(scripted):
                return scripted.fault
        return None

    def waiting(self) -> list[ScriptedFault]:
        self._end_those_over()
        return [scripted for scripts in self._waiting.values() for scripted in scripts]

    def spent(self) -> list[ScriptedFault]:
        return list(self._spent)

    def clear(self) -> None:
        self._waiting.clear()
        self._spent.clear()
        self._count = 0

    def _about(self, out_order_no: str, openid: str) -> Iterator[ScriptedFault]:
        """Those that may concern this order or passenger, and whose time is not over."""
        if not self._count:
            return
        for key in (("order", out_order_no), ("passenger", openid), _FOR_ALL):
            for scripted in tuple(self._waiting.get(key, ())):
                if not self._has_ended(scripted) and scripted.fault.openid in {None, openid}:
                    yield scripted

    def _strikes(self, scripted: ScriptedFault) -> bool:
        strikes = scripted.strikes_now(self._now())
        if scripted.spent:
            self._retire(scripted)
        return strikes

    def _has_ended(self, scripted: ScriptedFault) -> bool:
        """Whether its time is over; retires it if so."""
        if not scripted.is_over(self._now()):
            return False
        scripted.spent = True
        self._retire(scripted)
        return True

    def _end_those_over(self) -> None:
        for scripts in tuple(self._waiting.values()):
            for scripted in tuple(scripts):
                self._has_ended(scripted)

    def _retire(self, scripted: ScriptedFault) -> None:
        key = _key_of(scripted.fault)
        self._waiting[key].remove(scripted)
        if not self._waiting[key]:
            del self._waiting[key]
        self._count -= 1
        self._spent.append(scripted)


_FOR_ALL: Final = ("all", "")


def _key_of(fault: Fault) -> tuple[str, str]:
    if fault.out_order_no is not None:
        return "order", fault.out_order_no
    if fault.openid is not None:
        return "passenger", fault.openid
    return _FOR_ALL
