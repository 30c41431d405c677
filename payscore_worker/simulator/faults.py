"""Faults by script: which call or callback goes wrong, how, and how often."""

import itertools
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import Final

from payscore_worker.simulator.calls import CallKind

MAX_FAULTS: Final = 10_000
"""Faults that wait for their call; one more is turned away."""
MAX_SPENT: Final = 1_000
"""Faults remembered after their last strike, the oldest forgotten first."""


class FaultKind(StrEnum):
    FAIL_BEFORE = "fail_before"
    UNAVAILABLE = "unavailable"
    THROTTLE = "throttle"
    REFUSE = "refuse"
    DROP_REPLY = "drop_reply"
    FAIL_AFTER = "fail_after"
    SLOW = "slow"
    BAD_SIGNATURE = "bad_signature"
    SIGNTEST = "signtest"
    WRONG_SERIAL = "wrong_serial"
    UNSIGNED = "unsigned"
    CLOCK_SKEW = "clock_skew"
    CALLBACK_LOST = "callback_lost"
    CALLBACK_DUPLICATED = "callback_duplicated"
    CALLBACK_LATE = "callback_late"
    CALLBACK_FORGED_FIRST = "callback_forged_first"

    @property
    def on_callback(self) -> bool:
        return self.startswith("callback_")


ANY_CALL: Final = "*"
HTTP_FAILURES: Final = range(400, 600)
DEFAULT_SECONDS: Final = {FaultKind.SLOW: 1.0, FaultKind.CALLBACK_LATE: 60.0, FaultKind.CLOCK_SKEW: 600.0}


@dataclass(frozen=True, slots=True)
class Fault:
    fault: FaultKind
    _: KW_ONLY
    call: str = ANY_CALL
    out_order_no: str | None = None
    openid: str | None = None
    skip: int = 0
    """So many matching calls pass unharmed first."""
    times: int | None = 1
    """So many are then struck; None: until the fault is cleared."""
    seconds: float | None = None
    """Of slow, callback_late and clock_skew."""
    probability: float = 1.0
    seed: int | None = None
    """Of the probability; None: the simulator's."""
    status: int = 400
    """Of refuse, like code, message and sub_code."""
    code: str = "INVALID_REQUEST"
    message: str = "请求异常,请稍后重试"
    sub_code: int = 0

    def __post_init__(self) -> None:
        if self.call != ANY_CALL and self.call not in set(CallKind):
            raise ValueError(f"call must be one of {', '.join(CallKind)} or {ANY_CALL}")
        if self.fault.on_callback and self.call != ANY_CALL:
            raise ValueError(f"{self.fault} strikes callbacks, not calls: leave `call` out")
        if not 0 < self.probability <= 1:
            raise ValueError("probability must be greater than 0 and at most 1")
        if self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError("skip must not be negative; times must be at least 1, or null")
        if self.status not in HTTP_FAILURES:
            raise ValueError("status must be 400 to 599")

    @property
    def delay_seconds(self) -> float:
        return DEFAULT_SECONDS.get(self.fault, 0.0) if self.seconds is None else self.seconds


@dataclass(slots=True)
class ScriptedFault:
    """A fault and how far its script has come."""

    id: str
    fault: Fault
    random: random.Random
    seen: int = 0
    strikes: int = 0

    @property
    def spent(self) -> bool:
        return self.fault.times is not None and self.strikes >= self.fault.times

    def strikes_now(self) -> bool:
        """Counts one matching call; whether it is struck."""
        self.seen += 1
        if self.seen <= self.fault.skip:
            return False
        if self.fault.probability < 1 and self.random.random() >= self.fault.probability:
            return False
        self.strikes += 1
        return True


class TooManyFaults(ValueError):
    """A simulator keeps a bounded number of faults; clear some."""


class Faults:
    """At most one strikes a call: first come an order's own, then a passenger's, then the rest, each as added."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._serial = itertools.count(1)
        self._waiting: dict[tuple[str, str], list[ScriptedFault]] = {}
        self._count = 0
        self._spent: deque[ScriptedFault] = deque(maxlen=MAX_SPENT)

    def add(self, fault: Fault) -> ScriptedFault:
        if self._count >= MAX_FAULTS:
            raise TooManyFaults(f"{MAX_FAULTS} faults are already waiting")
        serial = next(self._serial)
        seed = self._seed + serial if fault.seed is None else fault.seed
        scripted = ScriptedFault(f"fault-{serial}", fault, random.Random(seed))  # noqa: S311 - to be repeatable
        self._waiting.setdefault(_key_of(fault), []).append(scripted)
        self._count += 1
        return scripted

    def strike_call(self, kind: CallKind, *, out_order_no: str, openid: str) -> Fault | None:
        for scripted in self._about(out_order_no, openid):
            fault = scripted.fault
            if not fault.fault.on_callback and fault.call in {ANY_CALL, kind} and self._strikes(scripted):
                return fault
        return None

    def strike_callback(self, *, out_order_no: str, openid: str) -> Fault | None:
        for scripted in self._about(out_order_no, openid):
            if scripted.fault.fault.on_callback and self._strikes(scripted):
                return scripted.fault
        return None

    def waiting(self) -> list[ScriptedFault]:
        return [scripted for scripts in self._waiting.values() for scripted in scripts]

    def spent(self) -> list[ScriptedFault]:
        return list(self._spent)

    def clear(self) -> None:
        self._waiting.clear()
        self._spent.clear()
        self._count = 0

    def _about(self, out_order_no: str, openid: str) -> Iterator[ScriptedFault]:
        """Those that may concern this order or passenger."""
        if not self._count:
            return
        for key in (("order", out_order_no), ("passenger", openid), _FOR_ALL):
            for scripted in tuple(self._waiting.get(key, ())):
                if scripted.fault.openid in {None, openid}:
                    yield scripted

    def _strikes(self, scripted: ScriptedFault) -> bool:
        strikes = scripted.strikes_now()
        if scripted.spent:
            self._retire(scripted)
        return strikes

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
