"""Every metric there is, as one table; docs/metrics.md is made from it.

Each role shows those it knows something of: a webhook that said `payscore_consuming 0` would wake somebody up. What
many processes see alike (rows of one database, messages of one broker) is a gauge to be taken with max(), never summed.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Final, TypeVar

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

from payscore_worker import version

UNKNOWN: Final = float("nan")
"""What a gauge says until something is known; no comparison with it holds, so it alarms nobody."""

ALIKE: Final = " Read from the database now and then, and the same in every worker: take max(), do not sum."
FIRST: Final = (
    f" The first of the index is looked at, whosever it is: to find each account's, all that are due would be.{ALIKE}"
)
APART: Final = " Read from the database now and then, and the same in every worker: take max() by account, then sum."
SEEN: Final = " Read from RabbitMQ now and then, and the same in every worker: take max(), do not sum."

CALL_BUCKETS: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 30)
HANDLING_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
NOTIFICATION_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 4.5)
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

M = TypeVar("M", bound=MetricWrapperBase)


def _counter(name: str, help_: str, *labels: str) -> Counter:
    return Counter(name, help_, labels, registry=None)


def _gauge(name: str, help_: str, *labels: str) -> Gauge:
    gauge = Gauge(name, help_, labels, registry=None)
    if not labels:
        gauge.set(UNKNOWN)
    return gauge


def _histogram(name: str, help_: str, *labels: str, buckets: Iterable[float]) -> Histogram:
    return Histogram(name, help_, labels, registry=None, buckets=tuple(buckets))


# --- Every process of ours ---

BUILD = _gauge("payscore_build_info", "Always 1; which version runs, in which role.", "version", "role")
LOOP_LAG = _histogram(
    "payscore_event_loop_lag_seconds",
    "How late the event loop wakes a task up that asked for a moment; all that runs in the process waits as long.",
    buckets=LAG_BUCKETS,
)

# --- Calls to WeChat Pay ---

CALLS = _histogram(
    "payscore_wechatpay_call_duration_seconds",
    "Calls to WeChat Pay with their quick tries: of which account, which call, its outcome (accepted, why it was "
    "refused, unavailable: not processed, unknown: perhaps processed), and WeChat Pay's code (empty without one, "
    "other if it is new).",
    *("account", "call", "outcome", "code"),
    buckets=CALL_BUCKETS,
)
SENDS = _counter(
    "payscore_wechatpay_sends_total", "Requests sent to WeChat Pay, each quick try one.", "account", "call"
)
PACE_GAP = _gauge(
    "payscore_wechatpay_pace_gap_seconds",
    "The gap that this process keeps between two calls because WeChat Pay throttles it; 0 while it does not.",
    "account",
)
CERTIFICATE_EXPIRY = _gauge(
    "payscore_platform_certificate_expiry_timestamp_seconds",
    "When the first of the platform certificates in use expires; NaN where WeChat Pay's public key is used instead.",
    "account",
)

CERTIFICATES_UNREAD = _counter(
    "payscore_platform_certificates_unread_total",
    "Entries of WeChat Pay's list of certificates that were passed over: of a kind that we cannot use, or damaged.",
)

# --- The worker: messages ---

HANDLING = _histogram(
    "payscore_message_handling_duration_seconds",
    "Messages handled, to the ack: how long that took, and what became of them.",
    *("queue", "outcome"),
    buckets=HANDLING_BUCKETS,
)
RETRIES = _counter("payscore_message_retries_total", "Messages put on a rung of the retry ladder.", "queue", "rung")
DEAD_LETTERS = _counter(
    "payscore_message_dead_letters_total",
    "Messages that this worker put into a dead-letter queue, by the class of the error.",
    *("queue", "reason"),
)
IN_HAND = _gauge("payscore_messages_in_hand", "Messages that this worker has taken and not yet answered.")
CONSUMING = _gauge("payscore_consuming", "1 while this worker consumes, or would but for an open breaker; 0 if not.")
LINKS = _gauge(
    "payscore_consuming_links",
    "Through how many connections this worker consumes each queue if all is well: 2 where several addresses are "
    "written.",
)
SILENT = _gauge(
    "payscore_consuming_unconfirmed_seconds",
    "For how long this worker has not been able to confirm that it consumes although RabbitMQ answers; at 60 it ends.",
)
PAUSED = _gauge(
    "payscore_queue_paused", "1 while this worker leaves the queue alone because WeChat Pay is out.", "queue"
)

# --- The worker: queues, as RabbitMQ shows them ---

QUEUE_READY = _gauge("payscore_queue_ready_messages", f"Messages that wait in the queue.{SEEN}", "queue")
QUEUE_DEAD = _gauge(
    "payscore_queue_dead_messages",
    f"Messages in the queue's dead-letter queue, for a person to look at.{SEEN}",
    "queue",
)
QUEUE_CONSUMERS = _gauge("payscore_queue_consumers", f"Consumers of the queue, of all workers.{SEEN}", "queue")
QUEUE_NOT_EMPTY = _gauge(
    "payscore_queue_not_empty_seconds",
    "For how long messages have waited in the queue at every look; none has waited longer since this worker watches."
    f"{SEEN}",
    "queue",
)

# --- The worker: trips and refunds ---

EVENTS_NOTED = _counter("payscore_events_noted_total", "Facts noted on trips that said something new.", "type")
STATES_REACHED = _counter("payscore_trips_reached_total", "Trips that came to this state.", "account", "state")
COMPLETED_FEN = _counter(
    "payscore_completed_fen_total", "Money that WeChat Pay accepted to collect, in fen.", "account"
)
LOWERED_FEN = _counter(
    "payscore_lowered_fen_total", "By how much fares were lowered after their trips had ended, in fen.", "account"
)
PAID_FEN = _counter(
    "payscore_paid_fen_total",
    "Money that WeChat Pay says it has collected, in fen; what was paid elsewhere is not in it.",
    "account",
)
PAID_BY = _counter(
    "payscore_trips_paid_total",
    "Trips that became PAID by how we learnt of it: a callback, a question of our own because none had come, or "
    "elsewhere: not through WeChat Pay.",
    "by",
)
NOT_OURS = _counter(
    "payscore_notifications_not_ours_total",
    "Notifications about another app or service of our merchant: taken, and nothing noted.",
    "type",
)
PROBLEMS = _counter("payscore_trips_stopped_total", "Trips that stopped for a person to look, by code.", "code")
REFUNDS_REACHED = _counter("payscore_refunds_reached_total", "Refunds that came to this state.", "state")
REFUNDED_FEN = _counter(
    "payscore_refunded_fen_total", "Money that WeChat Pay says it has sent back, in fen.", "account"
)
REFUND_PROBLEMS = _counter(
    "payscore_refunds_stopped_total", "Refunds that stopped for a person to look, by code.", "code"
)
TAKEN_UP = _counter(
    "payscore_trips_taken_up_total",
    "Due trips that the reconciler took up: done, waits (something is out of reach), stuck (refused), error (a bug).",
    "outcome",
)
REFUNDS_TAKEN_UP = _counter(
    "payscore_refunds_taken_up_total", "Due refunds that the reconciler took up, by the same outcomes.", "outcome"
)
AUTHORISATIONS_REACHED = _counter(
    "payscore_authorisations_reached_total", "Authorisations that came to this state.", "state"
)
AUTHORISATION_PROBLEMS = _counter(
    "payscore_authorisations_stopped_total", "Authorisations that stopped for a person to look, by code.", "code"
)
AUTHORISATIONS_TAKEN_UP = _counter(
    "payscore_authorisations_taken_up_total",
    "Due authorisations that the reconciler took up, by the same outcomes.",
    "outcome",
)
UNREADABLE = _counter(
    "payscore_rows_unreadable_total",
    "Rows of this table that were passed over because a newer release wrote what this one cannot read.",
    "table",
)
ANNOUNCEMENTS = _counter("payscore_announcements_total", "Announcements written to the outbox.", "type")
PUBLISHED = _counter("payscore_announcements_published_total", "Announcements that RabbitMQ has confirmed.", "type")
UNROUTED = _counter(
    "payscore_announcements_unrouted_total", "Announcements kept because no queue took them for an hour.", "type"
)

# --- The worker: the breaker ---

BREAKER_OPEN = _gauge(
    "payscore_breaker_open",
    "1 while this worker holds calls to WeChat Pay back for this account, for this reason.",
    *("account", "reason"),
)
BREAKER_OPENED = _counter(
    "payscore_breaker_opened_total", "How often the breaker of the account opened, by reason.", "account", "reason"
)

# --- The worker: what the database holds ---

TRIPS = _gauge(
    "payscore_trips",
    "Trips in each state; those that are over are counted less often, and under an empty account, lest the terms of "
    f"all of them be read.{APART}",
    *("account", "state"),
)
TRIPS_AGE = _gauge(
    "payscore_trips_oldest_age_seconds",
    f"How long the oldest trip is in this state; 0 without one.{ALIKE}",
    *("account", "state"),
)
PROBLEM_TRIPS = _gauge(
    "payscore_trips_with_problem", f"Trips that stand still until a person has looked.{APART}", "account"
)
PROBLEM_AGE = _gauge(
    "payscore_trips_with_problem_oldest_age_seconds",
    f"How long the one that stands still longest has not moved; 0 without one.{ALIKE}",
    "account",
)
TRIPS_LATE = _gauge(
    "payscore_trips_late",
    f"Trips whose other half is missing for too long (stale), or whose money is (overdue).{APART}",
    *("account", "what"),
)
TRIPS_DUE_LAG = _gauge(
    "payscore_trips_due_lag_seconds",
    f"For how long the first due trip of all accounts has not been taken up; 0 without one.{FIRST}",
)
UNANSWERED = _gauge(
    "payscore_calls_unanswered",
    f"Trips with a create or complete that may be on its way: prepared, and no answer noted.{APART}",
    *("account", "call"),
)
UNANSWERED_AGE = _gauge(
    "payscore_calls_unanswered_oldest_age_seconds",
    f"How long the oldest of them has been so; 0 without one.{ALIKE}",
    *("account", "call"),
)
OUTSTANDING_FEN = _gauge(
    "payscore_outstanding_fen",
    f"Money of COMPLETED trips, accepted and not yet in, nor paid elsewhere, in fen.{APART}",
    "account",
)
REFUNDS = _gauge("payscore_refunds", f"Refunds that are under way, in each state.{APART}", *("account", "state"))
REFUNDS_AGE = _gauge(
    "payscore_refunds_oldest_age_seconds",
    f"How long the oldest refund is in this state; 0 without one.{ALIKE}",
    *("account", "state"),
)
PROBLEM_REFUNDS = _gauge(
    "payscore_refunds_with_problem", f"Refunds that stand still until a person has looked.{APART}", "account"
)
PROBLEM_REFUNDS_AGE = _gauge(
    "payscore_refunds_with_problem_oldest_age_seconds",
    f"How long the one that stands still longest has not moved; 0 without one.{ALIKE}",
    "account",
)
REFUNDS_DUE_LAG = _gauge(
    "payscore_refunds_due_lag_seconds",
    f"For how long the first due refund of all accounts has not been taken up; 0 without one.{FIRST}",
)
PROBLEM_AUTHORISATIONS = _gauge(
    "payscore_authorisations_with_problem",
    f"Authorisations that stand still until a person has looked.{APART}",
    "account",
)
AUTHORISATIONS_DUE_LAG = _gauge(
    "payscore_authorisations_due_lag_seconds",
    f"For how long the first due authorisation of all accounts has not been taken up; 0 without one.{FIRST}",
)
RESERVED_FEN = _gauge(
    "payscore_reserved_fen",
    f"Money of refunds that are under way, promised and not yet sent back, in fen.{APART}",
    "account",
)
OUTBOX_ROWS = _gauge(
    "payscore_outbox_rows", f"Announcements that wait for a relay or the broker to be published.{ALIKE}"
)
OUTBOX_AGE = _gauge(
    "payscore_outbox_oldest_age_seconds",
    f"How long the oldest of them that was never told waits; 0 without one.{ALIKE}",
)
OUTBOX_UNROUTED = _gauge(
    "payscore_outbox_unrouted_rows",
    "Announcements that nobody listens to: tried again within the hour, then kept for `outbox replay`; "
    f"of very many the newest are counted.{ALIKE}",
    "type",
)
BOOKS = _gauge(
    "payscore_books_trips",
    f"The books: every noted trip is settled, declined, cancelled, waiting or with_problem.{ALIKE}",
    "entry",
)
IMBALANCE = _gauge(
    "payscore_books_imbalance_trips", f"Noted trips less those of the other entries; anything but 0 is a loss.{ALIKE}"
)
CLOCK_AHEAD = _gauge(
    "payscore_clock_ahead_of_database_seconds",
    "By how much this worker's clock is ahead of the database's; below 0 it is behind. Beyond 5 one of them is wrong.",
)
CLOCK_AHEAD_OF_WECHATPAY = _gauge(
    "payscore_clock_ahead_of_wechatpay_seconds",
    "By how much, at the least, this process's clock is ahead of WeChat Pay's, as its last signed answer told; below 0 "
    "it is behind.",
)
LOOK_AGE = _gauge(
    "payscore_look_age_seconds",
    "How old what this worker last read is: of unfinished trips and refunds (trips), of all trips (books), of RabbitMQ "
    "(queues).",
    "look",
)

# --- The webhook ---

NOTIFICATIONS = _counter(
    "payscore_notifications_total",
    "Notifications by account, by event type (none where it was refused, other if no queue of ours takes it) and "
    "verdict: published, or the class of the error for which it was refused.",
    *("account", "type", "verdict"),
)
NOTIFICATION_SECONDS = _histogram(
    "payscore_notification_duration_seconds",
    "How long a notification took from its first byte to our answer; WeChat Pay gives up after 5 s.",
    buckets=NOTIFICATION_BUCKETS,
)

EVERY_ROLE: Final = (BUILD, LOOP_LAG)
CALLING: Final = (CALLS, SENDS, PACE_GAP, CERTIFICATE_EXPIRY, CERTIFICATES_UNREAD, CLOCK_AHEAD_OF_WECHATPAY)
MESSAGES: Final = (HANDLING, RETRIES, DEAD_LETTERS, IN_HAND, CONSUMING, LINKS, SILENT, PAUSED)
QUEUES: Final = (QUEUE_READY, QUEUE_DEAD, QUEUE_CONSUMERS, QUEUE_NOT_EMPTY)
TRIPS_MOVED: Final = (
    *(EVENTS_NOTED, STATES_REACHED, COMPLETED_FEN, LOWERED_FEN, PAID_FEN, PAID_BY, NOT_OURS, PROBLEMS, TAKEN_UP),
    *(REFUNDS_REACHED, REFUNDED_FEN, REFUND_PROBLEMS, REFUNDS_TAKEN_UP),
    *(AUTHORISATIONS_REACHED, AUTHORISATION_PROBLEMS, AUTHORISATIONS_TAKEN_UP),
    *(UNREADABLE, ANNOUNCEMENTS, PUBLISHED, UNROUTED),
)
BREAKER: Final = (BREAKER_OPEN, BREAKER_OPENED)
DATABASE: Final = (
    *(TRIPS, TRIPS_AGE, PROBLEM_TRIPS, PROBLEM_AGE, TRIPS_LATE, TRIPS_DUE_LAG, UNANSWERED, UNANSWERED_AGE),
    *(PROBLEM_AUTHORISATIONS, AUTHORISATIONS_DUE_LAG),
    *(REFUNDS, REFUNDS_AGE, PROBLEM_REFUNDS, PROBLEM_REFUNDS_AGE, REFUNDS_DUE_LAG, RESERVED_FEN),
    *(OUTSTANDING_FEN, OUTBOX_ROWS, OUTBOX_AGE, OUTBOX_UNROUTED, BOOKS, IMBALANCE, LOOK_AGE),
    CLOCK_AHEAD,
)
CALLBACKS: Final = (NOTIFICATIONS, NOTIFICATION_SECONDS)

Group = tuple[MetricWrapperBase, ...]

WORKER: Final[Group] = (*EVERY_ROLE, *CALLING, *MESSAGES, *QUEUES, *TRIPS_MOVED, *BREAKER, *DATABASE)
WEBHOOK: Final[Group] = (*EVERY_ROLE, *CALLING, *CALLBACKS)
CONSOLE: Final[Group] = (*EVERY_ROLE, *CALLING)
"""No more: a breaker or a look of its own would be taken for a worker's."""
SIMULATOR: Final[Group] = (BUILD,)

TABLE: Final[Mapping[str, Group]] = {
    "Every role": EVERY_ROLE,
    "Calls to WeChat Pay (worker, webhook and console)": CALLING,
    "Messages (worker)": MESSAGES,
    "Queues (worker)": QUEUES,
    "Trips and refunds on the move (worker)": TRIPS_MOVED,
    "Circuit breaker (worker)": BREAKER,
    "What the database holds (worker)": DATABASE,
    "Notifications (webhook)": CALLBACKS,
}


def registry(group: Group) -> CollectorRegistry:
    """Make the registry of a role: its own metrics, and what Python and the system tell of the process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    made = CollectorRegistry()
    for collector in (*group, PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        made.register(collector)
    return made


@cache
def of(metric: M, *labels: str) -> M:
    """Find the child of a metric, once: the hot path must not pay for the look-up. Labels are bounded, so this is."""
    return metric.labels(*labels)


def show(gauge: Gauge, value: float | None, *labels: str) -> None:
    """Set a gauge; what is not known has no sample at all, lest a sum or a screen take it for a number."""
    if value is not None:
        gauge.labels(*labels).set(value)
        return
    with suppress(KeyError):
        gauge.remove(*labels)


def read(gauge: Gauge, value: Callable[[], float], *labels: str) -> None:
    """Have a gauge read whenever it is asked for, which costs nothing until then."""
    (gauge.labels(*labels) if labels else gauge).set_function(value)


def show_build(role: str) -> None:
    """Say what runs here."""
    of(BUILD, version(), role).set(1)
