"""The wire between a worker and WeChat Pay: it takes its time, and the judge listens."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

from payscore_worker.simulator import CallKind, FaultKind, Simulator

PERMISSIONS: Final = "/v3/payscore/permissions"
REFUNDS: Final = "/v3/refund/domestic/refunds"

RECENT: Final = 64
"""Calls of the simulator among which the one just answered is looked for: of two workers, a handful is under way."""

NEVER_DEFINITE: Final = frozenset({401, 407, 408, 413, 429})
"""Refusals that may come from somebody on the way, or say that nothing was looked at (reference payscore-api F.5 b)."""

SIGN_ERROR: Final = "SIGN_ERROR"
"""The one 401 that is known of WeChat Pay: it looked at the signature, and no further (F.1, F.5 b and g)."""

DOUBTFUL: Final = frozenset(
    {
        FaultKind.UNSIGNED,
        FaultKind.BAD_SIGNATURE,
        FaultKind.SIGNTEST,
        FaultKind.WRONG_SERIAL,
        FaultKind.CLOCK_SKEW,
        FaultKind.UNREADABLE,
        FaultKind.ANOTHER_ORDER,
        FaultKind.PROXY,
    }
)
"""Successes that nobody may believe, or that say nothing of our order."""

UNTRUE: Final = frozenset({FaultKind.STALE, FaultKind.AMOUNT_DIFFERS})
"""Signed, about our order, and not so, or not any more."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request, and what came back."""

    worker: str
    kind: CallKind
    out_order_no: str
    body: bytes = field(repr=False)
    sent_at: float
    answered_at: float | None = None
    """None: no answer has come, or none ever will."""
    status: int | None = None
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    fault: FaultKind | None = None
    """What the simulator played; the workers are told nothing of it."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def is_definite_refusal(self) -> bool:
        """Whether the call was surely not processed, if what came back is true (reference payscore-api B.10)."""
        return (
            self.status is not None
            and HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
            and (self.status not in NEVER_DEFINITE or self.data.get("code") == SIGN_ERROR)
            and bool(self.data.get("code"))
        )

    @property
    def is_throttled(self) -> bool:
        """Whether the call was turned away unlooked at, by WeChat Pay itself."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS and bool(self.data.get("code"))

    @property
    def is_signed(self) -> bool:
        """Whether a worker could not but believe that WeChat Pay said this of our order."""
        return self.status == HTTPStatus.OK and self.fault not in DOUBTFUL

    @property
    def is_true(self) -> bool:
        """Whether it is signed, and was so at that moment."""
        return self.is_signed and self.fault not in UNTRUE

    @property
    def is_not_found(self) -> bool:
        """Whether the answer to a query was that there is no such order."""
        return self.kind is CallKind.QUERY and self.status == HTTPStatus.NOT_FOUND and bool(self.data.get("code"))

    def __str__(self) -> str:
        said = str(self.data.get("code") or self.data.get("state") or self.data.get("status") or "")
        played = f" [{self.fault}]" if self.fault else ""
        body = f" {self.digest[:6]}" if self.body else ""
        return f"{self.worker} {self.kind}{body} -> {self.status or 'no answer'} {said}{played}"


class Wire(httpx.AsyncBaseTransport):
    """A transport to the simulator in this process."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        worker: str,
        one_way_seconds: float,
        simulator: Simulator,
        log: list[Exchange],
        on_call: Callable[[Exchange], None],
        on_answered: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._worker = worker
        self._one_way_seconds = one_way_seconds
        self._simulator = simulator
        self._log = log
        self._on_call = on_call
        self._on_answered = on_answered

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        loop = asyncio.get_running_loop()
        kind, out_order_no = _what(request)
        exchange = Exchange(
            worker=self._worker, kind=kind, out_order_no=out_order_no, body=request.content, sent_at=loop.time()
        )
        self._log.append(exchange)
        await asyncio.sleep(self._one_way_seconds)
        self._on_call(exchange)
        try:
            response = await self._transport.handle_async_request(request)
            content = await response.aread()
        except httpx.TransportError:
            exchange.fault = FaultKind.DROP_REPLY
            raise
        finally:
            self._on_answered()
        exchange.fault = self._played(response.headers.get("Request-ID", ""))
        await asyncio.sleep(self._one_way_seconds)
        exchange.status, exchange.data, exchange.answered_at = response.status_code, _members(content), loop.time()
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    def _played(self, request_id: str) -> FaultKind | None:
        if not request_id:
            return FaultKind.PROXY
        recent = self._simulator.calls(RECENT)
        played = next((call.fault for call in recent if call.request_id == request_id), None)
        return None if played is None else FaultKind(played)


def _what(request: httpx.Request) -> tuple[CallKind, str]:
    """Tell what a request is about, by its path as the reference has it (A, B.1, G)."""
    if request.url.path.endswith("/certificates"):
        return CallKind.CERTIFICATES, ""
    if request.url.path.endswith("/user-service-state"):
        return CallKind.USER_SERVICE_STATE, ""
    if request.url.path.startswith(PERMISSIONS):
        return (CallKind.QUERY_PERMISSION if request.method == "GET" else CallKind.PRE_AUTHORISE), ""
    if request.url.path.startswith(REFUNDS):
        return (CallKind.REFUND_QUERY, "") if request.method == "GET" else (CallKind.REFUND, "")
    *_, order, last = request.url.path.split("/")
    if last in {CallKind.COMPLETE, CallKind.CANCEL, CallKind.MODIFY, CallKind.SYNC, CallKind.PAY}:
        return CallKind(last), order
    if request.method == "POST":
        return CallKind.CREATE, str(_members(request.content).get("out_order_no", ""))
    return CallKind.QUERY, request.url.params.get("out_order_no", "")


def _members(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
