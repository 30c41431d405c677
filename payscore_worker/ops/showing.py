"""What a role tells of itself: gauges that are read when they are asked for, and counters that begin at zero.

A counter that first appears as 1 has, for Prometheus, not grown; so those that matter are there from the start.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from payscore_worker import metrics
from payscore_worker.domain.authorisation import AuthorisationState
from payscore_worker.domain.decisions import VERBS
from payscore_worker.domain.refund import RefundState
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import FailureClass
from payscore_worker.messaging.consumer import Consumers
from payscore_worker.messaging.topology import QUEUES, Topology, duration_text
from payscore_worker.wechatpay import Breaker, Breakers, CallKind, VerificationKeys, WechatPayClient

FORGERIES: Final = ("BadSignature", "StaleTimestamp", "UnknownSerial")


def show_calls(clients: Sequence[WechatPayClient]) -> None:
    """Show the pace of each account, and until when what WeChat Pay says can be verified."""
    for client in clients:
        metrics.read(metrics.PACE_GAP, partial(_gap_seconds, client), client.account)
        metrics.read(metrics.CERTIFICATE_EXPIRY, partial(_expiry, client.keys), client.account)
        for kind in CallKind:
            metrics.of(metrics.SENDS, client.account, kind.value)
    metrics.read(metrics.CLOCK_AHEAD_OF_WECHATPAY, lambda: max((one.skew.ahead_seconds for one in clients), key=abs))


def _gap_seconds(client: WechatPayClient) -> float:
    return client.gap_seconds


def _expiry(keys: VerificationKeys) -> float:
    return min((expires.timestamp() for expires in keys.certificate_expiry.values()), default=metrics.UNKNOWN)


def show_breakers(breakers: Breakers) -> None:
    """Show for each account whether calls are held back, and why."""
    for account, breaker in breakers.by_account.items():
        for reason in FailureClass:
            metrics.read(metrics.BREAKER_OPEN, partial(_is_out_by, breaker, reason), account, reason.value)
            metrics.of(metrics.BREAKER_OPENED, account, reason.value)


def show_consumers(consumers: Consumers, topology: Topology) -> None:
    """Show whether we consume, what is in hand, and what is left alone."""
    metrics.read(metrics.IN_HAND, lambda: consumers.in_hand)
    metrics.read(metrics.CONSUMING, lambda: float(consumers.hearing.is_consuming))
    metrics.read(metrics.LINKS, lambda: len(consumers.hearing.ears))
    metrics.read(metrics.SILENT, lambda: consumers.hearing.silent_seconds)
    for queue in QUEUES:
        name = topology.name(queue)
        metrics.read(metrics.PAUSED, partial(_is_paused, consumers, queue), name)
        metrics.of(metrics.HANDLING, name, "done")
        for delay in topology.retry_delays:
            metrics.of(metrics.RETRIES, name, duration_text(delay))


def _is_out_by(breaker: Breaker, reason: FailureClass) -> float:
    return float(breaker.reason is reason)


def _is_paused(consumers: Consumers, queue: str) -> float:
    return float(queue in consumers.paused)


def show_trips(accounts: Iterable[str]) -> None:
    """Begin to count what becomes of the trips of these accounts, their refunds, and the passengers who authorise."""
    for account in accounts:
        for state in TripState:
            metrics.of(metrics.STATES_REACHED, account, state.value)
        for counter in (metrics.COMPLETED_FEN, metrics.LOWERED_FEN, metrics.PAID_FEN, metrics.REFUNDED_FEN):
            metrics.of(counter, account)
    for way in ("callback", "query", "elsewhere"):
        metrics.of(metrics.PAID_BY, way)
    for refund in RefundState:
        metrics.of(metrics.REFUNDS_REACHED, refund.value)
    for authorisation in AuthorisationState:
        metrics.of(metrics.AUTHORISATIONS_REACHED, authorisation.value)
    for code in VERBS:  # the problems that we find ourselves; others bear a code of WeChat Pay's
        metrics.of(metrics.PROBLEMS, code)
    metrics.of(metrics.UNREADABLE, "trip")
    metrics.of(metrics.NOT_OURS, "service")


def show_notifications(accounts: Iterable[str]) -> None:
    """Begin to count the notifications of these accounts, the forged ones before all."""
    for account in accounts:
        for verdict in FORGERIES:
            metrics.of(metrics.NOTIFICATIONS, account, "none", verdict)
