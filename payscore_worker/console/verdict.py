"""Is money stuck: one answer, and what speaks for it, the worst first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

from payscore_worker.console.depths import Look
from payscore_worker.messaging.inspect import Depth
from payscore_worker.ops.policies import PolicyStanding
from payscore_worker.storage.standing import Some, Standing

UNSEEN_AFTER: Final = timedelta(seconds=60)
"""The queues are looked at every ten seconds, and more seldom while that takes long; then they may be otherwise now."""

LATE_AFTER: Final = timedelta(minutes=5)
"""A due trip, or an announcement, waits longer only where nobody gets it anywhere."""

UNANSWERED_AFTER: Final = timedelta(minutes=10)
"""The quick tries and the first rungs of the ladder are over by then."""


class Severity(IntEnum):
    """How bad it is."""

    FINE = 0
    LOOK = 1
    """Some trips need a person; the rest goes on."""
    BLIND = 2
    """Whether money moves cannot be seen from here."""
    STUCK = 3
    """Money stands still for everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be; `key` names its words."""

    severity: Severity
    key: str
    page: str
    """Where to look, below the console's root."""
    values: Mapping[str, int | str | timedelta] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known now."""

    now: datetime
    standing: Standing | None
    """None: the database does not answer."""
    look: Look | None
    """None: the queues were not looked at yet."""
    breaker: str
    """Why our own calls to WeChat Pay are held back; empty: they are not."""
    watching_since: datetime
    is_linked: bool
    """Whether we have a link to RabbitMQ."""
    beside_worker: bool
    """Whether breaker and link are those of a worker; alone we know of workers only what RabbitMQ counts."""
    policies: PolicyStanding = field(default_factory=PolicyStanding)
    accounts_out: Mapping[str, str] = field(default_factory=dict)
    """Why calls are held back, for those accounts for which they are, where others are served."""
    refunds_with_problem: Some = field(default=Some(count=0, oldest=timedelta()))


def findings(situation: Situation) -> list[Finding]:
    """Say all that is wrong, the worst first."""
    found = [
        *_of_wechatpay(situation),
        *_of_queues(situation),
        *_of_policies(situation.policies),
        *_of_trips(situation),
    ]
    return sorted(found, key=lambda finding: -finding.severity)


def worst(found: Sequence[Finding]) -> Severity:
    """Sum it up."""
    return max((finding.severity for finding in found), default=Severity.FINE)


def _of_wechatpay(situation: Situation) -> Iterator[Finding]:
    if situation.breaker:
        values = {"reason": situation.breaker}
        if situation.beside_worker:
            yield Finding(severity=Severity.STUCK, key="finding_breaker", page="", values=values)
        else:
            yield Finding(severity=Severity.BLIND, key="finding_no_answer", page="", values=values)
    if situation.beside_worker:
        for account, reason in situation.accounts_out.items():
            out = {"account": account, "reason": reason}
            yield Finding(severity=Severity.STUCK, key="finding_account_out", page="", values=out)


def _of_queues(situation: Situation) -> Iterator[Finding]:
    if not situation.is_linked:
        yield Finding(severity=Severity.BLIND, key="finding_broker", page="")
    seen_at = situation.watching_since if situation.look is None else situation.look.at
    is_old = situation.now - seen_at > UNSEEN_AFTER
    if is_old:
        values = {"age": situation.now - seen_at}
        yield Finding(severity=Severity.BLIND, key="finding_unseen", page="", values=values)
    depths = situation.look.depths if situation.look is not None else ()
    if not is_old and _nobody_consumes(depths):
        yield Finding(severity=Severity.STUCK, key="finding_deaf", page="")
    holds_back = situation.breaker and situation.beside_worker  # then queues without consumers are no news
    dead = 0
    for depth in depths:
        queue = {"queue": depth.queue}
        if not depth.stands:
            yield Finding(severity=Severity.STUCK, key="finding_queue_missing", page="", values=queue)
        elif depth.is_consumed and depth.ready and not depth.consumers and not holds_back and not is_old:
            yield Finding(severity=Severity.STUCK, key="finding_no_consumer", page="", values=queue)
        elif depth.queue.endswith(".replay") and depth.ready:
            yield Finding(severity=Severity.LOOK, key="finding_staged", page="dead", values=queue)
        dead += depth.dead or 0
    if uncounted := sum(depth.is_uncounted for depth in depths):
        yield Finding(severity=Severity.BLIND, key="finding_uncounted", page="", values={"count": uncounted})
    if dead:
        yield Finding(severity=Severity.LOOK, key="finding_dead", page="dead", values={"count": dead})


def _of_policies(policies: PolicyStanding) -> Iterator[Finding]:
    """Name each policy once, with all queues that lose by the same word of it."""
    queues: dict[tuple[str, str], list[str]] = {}
    for loss in [drift.loss for drift in policies.losing if drift.loss is not None]:
        queues.setdefault((loss.names, f"{loss.key} {loss.value}"), []).append(loss.queue)
    for (names, word), losing in queues.items():
        values: dict[str, int | str | timedelta] = {"queues": ", ".join(losing), "policy": names, "word": word}
        yield Finding(severity=Severity.LOOK, key="finding_policy", page="", values=values)


def _nobody_consumes(depths: Sequence[Depth]) -> bool:
    """Tell whether no worker is there at all: one that holds calls back still consumes what needs none."""
    consumed = [depth for depth in depths if depth.is_consumed and depth.stands]
    return bool(consumed) and all(depth.consumers == 0 for depth in consumed)


def _of_trips(situation: Situation) -> Iterator[Finding]:
    standing = situation.standing
    if standing is None:
        yield Finding(severity=Severity.STUCK, key="finding_database", page="")
        return
    if standing.due_lag > LATE_AFTER:
        values: dict[str, int | str | timedelta] = {"age": standing.due_lag}
        yield Finding(severity=Severity.STUCK, key="finding_due", page="trips?show=stuck", values=values)
    if standing.outbox.oldest > LATE_AFTER:
        values = {"count": standing.outbox.count, "age": standing.outbox.oldest}
        yield Finding(severity=Severity.LOOK, key="finding_outbox", page="outbox", values=values)
    if standing.with_problem.count:
        values = {"count": standing.with_problem.count, "age": standing.with_problem.oldest}
        yield Finding(severity=Severity.LOOK, key="finding_problems", page="trips?show=problem", values=values)
    if situation.refunds_with_problem.count:
        values = {"count": situation.refunds_with_problem.count, "age": situation.refunds_with_problem.oldest}
        yield Finding(severity=Severity.LOOK, key="finding_refunds", page="trips?show=problem", values=values)
    for call, out in standing.calls_out.items():
        if out.count and out.oldest > UNANSWERED_AFTER:
            values = {"count": out.count, "age": out.oldest, "call": call}
            yield Finding(severity=Severity.LOOK, key="finding_unanswered", page="trips?show=stuck", values=values)
    if standing.overdue:
        values = {"count": standing.overdue}
        yield Finding(severity=Severity.LOOK, key="finding_overdue", page="trips?state=COMPLETED&age=3d", values=values)
    if standing.stale:
        values = {"count": standing.stale}
        yield Finding(severity=Severity.LOOK, key="finding_stale", page="trips?show=unfinished&age=1d", values=values)
