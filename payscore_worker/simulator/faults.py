"""Faults: what goes wrong with a call or a callback, and with which of them."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import Final, Literal

from payscore_worker.simulator.calls import CallKind


class FaultKind(StrEnum):
    FAIL_BEFORE = "fail_before"
    UNAVAILABLE = "unavailable"
    THROTTLE = "throttle"
    REFUSE = "refuse"
    PROXY = "proxy"
    DROP_REPLY = "drop_reply"
    FAIL_AFTER = "fail_after"
    SLOW = "slow"
    BAD_SIGNATURE = "bad_signature"
    SIGNTEST = "signtest"
    WRONG_SERIAL = "wrong_serial"
    UNSIGNED = "unsigned"
    CLOCK_SKEW = "clock_skew"
    UNREADABLE = "unreadable"
    ANOTHER_ORDER = "another_order"
    STALE = "stale"
    NOT_YET = "not_yet"
    AMOUNT_DIFFERS = "amount_differs"
    DETAILS = "details"
    CALLBACK_LOST = "callback_lost"
    CALLBACK_DUPLICATED = "callback_duplicated"
    CALLBACK_LATE = "callback_late"
    CALLBACK_FORGED_FIRST = "callback_forged_first"
    CALLBACK_AMOUNT_DIFFERS = "callback_amount_differs"
    CALLBACK_DETAILS = "callback_details"

    @property
    def on_callback(self) -> bool:
        return self.startswith("callback_")


ANY_CALL: Final = "*"
QUERIES: Final = frozenset({CallKind.QUERY, CallKind.REFUND_QUERY, CallKind.TRANSACTION_QUERY})
HTTP_FAILURES: Final = range(400, 600)
HTTP_OK: Final = 200
DEFAULT_SECONDS: Final = {FaultKind.SLOW: 1.0, FaultKind.CALLBACK_LATE: 60.0, FaultKind.CLOCK_SKEW: 600.0}
ONLY_QUERIES: Final = frozenset({FaultKind.STALE, FaultKind.NOT_YET, FaultKind.AMOUNT_DIFFERS, FaultKind.DETAILS})
"""They change what a query shows, and strike nothing else."""
ALSO_AFTER: Final = frozenset({FaultKind.PROXY, FaultKind.REFUSE})
"""They may stand in for the answer to a call that was processed."""
DETAILS: Final = ("reversed", "without_seq", "absent")
VARIANTS: Final[Mapping[FaultKind, tuple[str, ...]]] = {
    FaultKind.PROXY: ("html", "empty", "json", "text"),
    FaultKind.UNREADABLE: ("not_json", "not_utf8", "empty", "array", "empty_object", "wrong_types"),
    FaultKind.ANOTHER_ORDER: ("out_order_no", "mchid", "appid", "service_id", "out_refund_no"),
    FaultKind.DETAILS: DETAILS,
    FaultKind.CALLBACK_DETAILS: DETAILS,
}
"""The first is meant where a fault names none."""


@dataclass(frozen=True, slots=True)
class Fault:
    fault: FaultKind
    _: KW_ONLY
    call: str = ANY_CALL
    out_order_no: str | None = None
    openid: str | None = None
    host: str | None = None
    """The name under which the merchant's process reaches the simulator: its Host header, with or without the port."""
    skip: int = 0
    """So many matching calls pass unharmed first."""
    times: int | None = 1
    """So many are then struck; None: until the fault is cleared, or its time is over."""
    for_seconds: float | None = None
    """So long it strikes, by the simulator's clock; None: however long it takes."""
    since: Literal["first_strike", "added"] = "first_strike"
    """Where `for_seconds` begins."""
    seconds: float | None = None
    """How late the answer is; of callback_late how late the callback, of clock_skew how wrong the clock."""
    probability: float = 1.0
    seed: int | None = None
    """Of the probability; None: the simulator's."""
    status: int = 400
    """Of refuse and proxy; code, message and sub_code of refuse."""
    code: str = "INVALID_REQUEST"
    message: str = "请求异常,请稍后重试"
    sub_code: int = 0
    after: bool = False
    """Of refuse and proxy: the call is processed, and then so answered."""
    variant: str | None = None
    """Of the faults in VARIANTS."""
    difference_fen: int = 100
    """Of amount_differs and callback_amount_differs: how much more the total is said to be."""

    def __post_init__(self) -> None:
        self._check_target()
        self._check_extent()
        self._check_answer()

    @property
    def delay_seconds(self) -> float:
        return DEFAULT_SECONDS.get(self.fault, 0.0) if self.seconds is None else self.seconds

    @property
    def played(self) -> str:
        """The variant that is meant; empty where the fault has none."""
        return self.variant or VARIANTS.get(self.fault, ("",))[0]

    def is_about(self, kind: CallKind, host: str) -> bool:
        """Whether a call of that kind, to that Host, is one of those it strikes."""
        if self.fault.on_callback or self.call not in {ANY_CALL, kind}:
            return False
        if self.fault in ONLY_QUERIES and kind not in QUERIES:
            return False
        return self.host is None or self.host.lower() in {host.lower(), host.lower().partition(":")[0]}

    def _check_target(self) -> None:
        if self.call != ANY_CALL and self.call not in set(CallKind):
            raise ValueError(f"call must be one of {', '.join(CallKind)} or {ANY_CALL}")
        if self.fault.on_callback and self.call != ANY_CALL:
            raise ValueError(f"{self.fault} strikes callbacks, not calls: leave `call` out")
        if self.fault.on_callback and self.host is not None:
            raise ValueError(f"{self.fault} strikes callbacks, which are sent, not asked for: leave `host` out")
        if self.fault in ONLY_QUERIES and self.call not in {ANY_CALL, *QUERIES}:
            raise ValueError(f"{self.fault} strikes queries only: leave `call` out")

    def _check_extent(self) -> None:
        if not 0 < self.probability <= 1:
            raise ValueError("probability must be greater than 0 and at most 1")
        if self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError("skip must not be negative; times must be at least 1, or null")
        if self.for_seconds is None:
            return
        if self.for_seconds <= 0:
            raise ValueError("for_seconds must be greater than 0, or null")
        if self.since == "first_strike" and self.times == 1:
            raise ValueError("for_seconds begins with the first strike, and times is 1: give times null, or a number")

    def _check_answer(self) -> None:
        if self.status not in HTTP_FAILURES and (self.fault, self.status) != (FaultKind.PROXY, HTTP_OK):
            raise ValueError("status must be 400 to 599; of proxy also 200")
        if self.after and self.fault not in ALSO_AFTER:
            raise ValueError(f"after belongs to {' and '.join(sorted(ALSO_AFTER))}, not to {self.fault}")
        if self.variant is not None and self.variant not in (known := VARIANTS.get(self.fault, ())):
            raise ValueError(
                f"variant of {self.fault} must be one of: {', '.join(known) or 'none, it has no variants'}"
            )
        if self.difference_fen == 0:
            raise ValueError("difference_fen must not be 0: the amount would not differ")
