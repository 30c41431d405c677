"""The laws, read from outside: WeChat Pay's books, the wire, the database and the audience; nobody asks the worker."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from payscore_worker.domain.refund import RefundState
from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
)
from payscore_worker.simulator import CallKind, FaultKind, LedgerEntry
from payscore_worker.simulator.payscore.orders import Stage
from payscore_worker.wechatpay import CallKind as OurCall
from tests.answers.answers import CHANGES, OPENING, QUESTIONS, Cause
from tests.answers.city import FARE_FEN, Heard
from tests.answers.flows import Flow
from tests.answers.ground import Row, members
from tests.answers.strikes import ONCE, Strike
from tests.answers.verbs import is_documented
from tests.answers.wire import Exchange

ALIVE: Final = frozenset({Stage.CREATED, Stage.RUNNING, Stage.OWING})

MAX_CALLS: Final = 200
"""Calls about one trip, quick tries and all, of both workers, in whatever trouble."""

SOME_TIME_SECONDS: Final = 5.0
"""Two questions apart by less show the same moment of WeChat Pay's replicas."""

ABSENT_SECONDS: Final = 110.0
"""A create of which nobody knows came to nothing if there is no order so long afterwards: no call with all its tries is
on its way for longer. Two answers that say so stand for WeChat Pay's word (reference payscore-api F.5 c)."""

CALM: Final = frozenset({Cause.MERCHANT, Cause.WAY, Cause.WEATHER})
"""What is not the trip's fault calls nobody to a trip."""

RUNNING_WORDS: Final = frozenset({"DOING", "DONE", "USER_ACCEPTED", "FINISHED", "USER_PAID"})
"""States of an order that runs, or ran (reference A.4, B.5)."""


class Breach(StrEnum):
    """What was broken, as the certificate counts it."""

    ALIVE = "alive"
    """An order runs, collects or was charged for a trip that is over here without a charge."""
    MONEY = "money"
    """Charged and not announced, announced and not charged, or another amount."""
    STUCK = "stuck"
    """Neither ended nor told of as a problem once, or ended otherwise than it had to."""
    PERSON = "person"
    """Somebody was called to a trip for what was not the trip's fault."""
    BYTES = "bytes"
    """A second body without the certainty that B.10 asks for."""
    JOURNAL = "journal"
    """The journal has lost an acceptance."""
    UNTRUE = "untrue"
    """Announced, and not so, or announced twice."""
    DEAD = "dead"
    """A genuine message lies among the dead letters."""
    BOUND = "bound"
    """More calls than any trip may need."""
    SURPRISE = "surprise"
    """An error that nobody has foreseen."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that does not hold."""

    breach: Breach
    what: str

    def __str__(self) -> str:
        return f"{self.breach}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """How a case may end."""

    flow: Flow
    strike: Strike | None
    family: str

    def ends(self, evidence: "Evidence") -> frozenset[TripState]:
        """Name the states that this trip may end in: a running order wins over a refusal to open it (F.5 c).

        An order that expired before the passenger could confirm it, and be it that he was asked too late, is over. So
        may one be that WeChat Pay has shown, signed, as not confirmed until the time was up.
        """
        strike, order = self.strike, evidence.order
        if self.flow.needs_confirm and strike is not None and strike.answer.fault is FaultKind.STALE:
            return frozenset({self.flow.state, TripState.DECLINED})
        if self.flow.needs_confirm and order is not None and order.stage is Stage.EXPIRED:
            return frozenset({TripState.DECLINED})
        if strike is None or strike.answer.cause is not Cause.PASSENGER:
            return frozenset({self.flow.state})
        if strike.call in OPENING and order is not None and order.creates:
            return frozenset({self.flow.state})
        return frozenset({self.flow.state, TripState.DECLINED})

    def back_fen(self, evidence: "Evidence") -> int:
        """Say what must go back: what was asked for, and what was charged above the fare."""
        charged_fen = evidence.order.charged_fen if evidence.order is not None else 0
        return self.flow.refunded_fen + max(0, charged_fen - self.flow.fare_fen)

    @property
    def may_call_a_person(self) -> bool:
        """Whether a problem may be the right end, or on the way to it."""
        strike = self.strike
        if strike is None or strike.answer.cause in CALM:
            return False
        if strike.call in QUESTIONS:
            return strike.answer.fault is FaultKind.AMOUNT_DIFFERS  # signed: to book it would be wrong (rule 4)
        return strike.extent != ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found when all had come to rest, or the time was up."""

    row: Row | None
    refunds: Sequence[Row]
    journal: Sequence[Row]
    order: LedgerEntry | None
    orders: int
    """How many orders WeChat Pay has accepted."""
    astray: Sequence[str]
    """Orders that stand in the books of another merchant of ours."""
    heard: Sequence[Heard]
    exchanges: Sequence[Exchange]
    """In the order in which they were sent; probes are none of them."""
    dead: Sequence[str]
    surprises: Sequence[str]
    """Errors that were none of ours, of handlers and of the reconciler."""
    called_back: Sequence[str]
    cancelled_at: float | None
    rested: bool

    def told(self, type_: str) -> list[Heard]:
        """List the announcements of a type, each under an id of its own."""
        by_id = {heard.id: heard for heard in self.heard if heard.type == type_}
        return list(by_id.values())

    @property
    def state(self) -> str | None:
        return self.row["state"] if self.row is not None else None

    @property
    def problem(self) -> Mapping[str, Any] | None:
        return members(self.row["problem"]) if self.row is not None else None


def judge(promise: Promise, evidence: Evidence) -> list[Violation]:
    """Compare what may be with what is."""
    return [
        *_alive(promise, evidence),
        *_money(promise, evidence),
        *_end(promise, evidence),
        *_refunds(promise, evidence),
        *_person(promise, evidence),
        *_bytes(evidence),
        *_journal(evidence),
        *_truth(promise, evidence),
        *_dead_letters(evidence),
        *_bound(evidence),
        *(Violation(Breach.SURPRISE, surprise) for surprise in evidence.surprises),
    ]


def _alive(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    order, state = evidence.order, evidence.state
    paid_elsewhere = promise.flow.paid_elsewhere and state == TripState.PAID
    if order is not None and (paid_elsewhere or state in {TripState.DECLINED, TripState.CANCELLED}):
        if order.stage in ALIVE:
            yield Violation(Breach.ALIVE, f"{state} here, and {order.state} at WeChat Pay")
        if order.charged_fen:
            yield Violation(Breach.ALIVE, f"{state} here, and charged {order.charged_fen} fen")
    if evidence.orders > 1:
        yield Violation(Breach.ALIVE, f"{evidence.orders} orders for one trip")
    if evidence.astray:
        yield Violation(Breach.ALIVE, f"in another merchant's books: {', '.join(evidence.astray)}")
    if (first := _opened_for_nothing(evidence)) is not None:
        yield Violation(Breach.ALIVE, f"an order was opened for a trip that had been cancelled: {first}")


def _opened_for_nothing(evidence: Evidence) -> Exchange | None:
    """Find a create that was sent after the cancellation, although none before it can have been accepted."""
    if evidence.cancelled_at is None:
        return None
    creates = [exchange for exchange in evidence.exchanges if exchange.kind is CallKind.CREATE]
    before = [exchange for exchange in creates if exchange.sent_at <= evidence.cancelled_at + SOME_TIME_SECONDS]
    after = [exchange for exchange in creates if exchange.sent_at > evidence.cancelled_at + SOME_TIME_SECONDS]
    return after[0] if after and all(map(_surely_not_done, before)) else None


def _surely_not_done(exchange: Exchange) -> bool:
    return exchange.is_definite_refusal or exchange.is_throttled


def _money(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    charges = evidence.order.charges if evidence.order is not None else []
    charged_fen = sum(charge.amount_fen for charge in charges)
    paid = evidence.told("settlement.paid")
    if len(charges) > 1 or charged_fen > FARE_FEN:
        yield Violation(Breach.MONEY, f"charged {charged_fen} fen in {len(charges)} debits, owed {FARE_FEN}")
    if len(paid) > 1:
        yield Violation(Breach.MONEY, f"announced as paid {len(paid)} times")
    elsewhere_fen = FARE_FEN if promise.flow.paid_elsewhere else 0
    if charged_fen and elsewhere_fen:
        yield Violation(Breach.MONEY, f"charged {charged_fen} fen for what was paid elsewhere")
    for heard in paid:
        if heard.data["paid_fen"] != charged_fen + elsewhere_fen:
            yield Violation(Breach.MONEY, f"announced as paid {heard.data['paid_fen']} fen, charged {charged_fen}")
    unheard = evidence.problem is not None and not evidence.called_back
    if charged_fen and not paid and not unheard:
        yield Violation(Breach.MONEY, f"charged {charged_fen} fen, and nobody was told")
    row = evidence.row
    if row is not None and row["state"] == TripState.PAID and row["paid_fen"] != charged_fen + elsewhere_fen:
        yield Violation(Breach.MONEY, f"stored as paid {row['paid_fen']} fen, charged {charged_fen}")


def _end(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    if evidence.row is None:
        yield Violation(Breach.STUCK, "nothing is stored")
        return
    problem = evidence.problem
    if problem is not None:
        code = problem["code"]
        told = [heard for heard in evidence.told("settlement.problem") if heard.data["code"] == code]
        if len(told) != 1:
            yield Violation(Breach.STUCK, f"has the problem {code}, which was announced {len(told)} times")
        if not is_documented(code):
            yield Violation(Breach.STUCK, f"has the problem {code}, for which no verb is documented")
        return
    if not evidence.rested:
        yield Violation(Breach.STUCK, f"is {evidence.state}, and something still goes on")
    ends = promise.ends(evidence)
    if evidence.state not in ends:
        yield Violation(Breach.STUCK, f"is {evidence.state}, may be {' or '.join(sorted(ends))}")
    elif evidence.state not in TERMINAL:
        yield Violation(Breach.STUCK, f"is {evidence.state}, and at rest")


def _refunds(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """What was asked for goes back once, and is told once; or a person is told, once, why it does not."""
    known = evidence.order.refunds if evidence.order is not None else []
    made = [one for one in known if one.refund_id is not None]
    sent_fen = sum(one.amount_fen or 0 for one in made if one.status == "SUCCESS")
    asked_fen, row = promise.back_fen(evidence), evidence.row
    if len(made) > 1 or sent_fen > asked_fen:
        yield Violation(Breach.MONEY, f"sent back {sent_fen} fen by {len(made)} refunds, asked for {asked_fen}")
    told = evidence.told("settlement.refunded")
    if len(told) > 1 or any(heard.data["amount_fen"] != sent_fen for heard in told):
        yield Violation(Breach.MONEY, f"announced as refunded {[heard.data['amount_fen'] for heard in told]} fen")
    if row is not None and (row["refunded_fen"] or 0) != sum(heard.data["amount_fen"] for heard in told):
        yield Violation(Breach.MONEY, f"stored as refunded {row['refunded_fen']} fen, announced {len(told)} times")
    if not asked_fen:
        return
    if len(evidence.refunds) != 1:
        yield Violation(Breach.STUCK, f"{len(evidence.refunds)} refunds are stored")
    for refund in evidence.refunds:
        yield from _refund_end(evidence, refund)


def _refund_end(evidence: Evidence, refund: Row) -> Iterator[Violation]:
    problem = members(refund["problem"])
    if problem is None:
        if refund["state"] != RefundState.REFUNDED:
            yield Violation(Breach.STUCK, f"the refund is {refund['state']}")
        elif not evidence.told("settlement.refunded"):
            yield Violation(Breach.UNTRUE, "the refund is REFUNDED, and nobody was told")
        return
    code = problem["code"]
    told = [heard for heard in evidence.told("settlement.refund_problem") if heard.data["code"] == code]
    if len(told) != 1:
        yield Violation(Breach.STUCK, f"the refund has the problem {code}, which was announced {len(told)} times")


def _person(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    if promise.may_call_a_person:
        return
    for heard in evidence.told("settlement.problem"):
        yield Violation(Breach.PERSON, f"somebody was called for {heard.data['code']} at {heard.data['step']}")
    for heard in evidence.told("settlement.refund_problem"):
        yield Violation(Breach.PERSON, f"somebody was called for {heard.data['code']} of the refund")


def _bytes(evidence: Evidence) -> Iterator[Violation]:
    """A body takes the place of another only where B.10 allows it."""
    for kind in sorted(CHANGES):
        bodies: dict[str, list[Exchange]] = {}
        for position, exchange in enumerate(evidence.exchanges):
            if exchange.kind is not kind:
                continue
            if exchange.digest not in bodies and bodies:
                yield from _may_be_rebuilt(kind, bodies, exchange, evidence.exchanges[:position])
            bodies.setdefault(exchange.digest, []).append(exchange)
        journaled = {hashlib.sha256(row["body"]).hexdigest() for row in evidence.journal if _call_of(row) == kind}
        if not bodies.keys() <= journaled:
            yield Violation(Breach.BYTES, f"{kind} was sent with a body that the journal does not hold")


def _may_be_rebuilt(
    kind: CallKind, bodies: Mapping[str, Sequence[Exchange]], new: Exchange, before: Sequence[Exchange]
) -> Iterator[Violation]:
    sent = [exchange for exchanges in bodies.values() for exchange in exchanges]
    unsure = [one for one in sent if not _came_to_nothing(one, before, now=new.sent_at)]
    since, last = min(one.sent_at for one in sent), max(one.sent_at for one in sent)
    all_asked = [one for one in before if one.kind is CallKind.QUERY and one.sent_at >= since]
    asked = [one for one in all_asked if one.sent_at >= last]
    if unsure:
        yield Violation(Breach.BYTES, f"{kind} has a second body, while an attempt may have been accepted: {unsure[0]}")
    elif kind is CallKind.CREATE and (not asked or _absent_seconds(all_asked) < SOME_TIME_SECONDS):
        yield Violation(Breach.BYTES, f"{kind} has a second body, and was not found to be absent twice")
    elif kind is not CallKind.CREATE and not any(one.is_signed for one in asked):
        yield Violation(Breach.BYTES, f"{kind} has a second body, and no signed answer showed the order unmoved")


def _came_to_nothing(one: Exchange, before: Sequence[Exchange], *, now: float) -> bool:
    if _surely_not_done(one):
        return one.answered_at is not None and one.answered_at <= now
    first = min(other.sent_at for other in before if other.digest == one.digest)  # another worker may send it again
    missed = [other for other in before if other.is_not_found and other.sent_at > first]
    long_gone = bool(missed) and missed[-1].sent_at - one.sent_at >= ABSENT_SECONDS
    return one.kind is CallKind.CREATE and long_gone and _absent_seconds(missed) >= SOME_TIME_SECONDS


def _absent_seconds(exchanges: Iterable[Exchange]) -> float:
    """Tell for how long there was no such order, as the answers to questions show."""
    missed = [one.sent_at for one in exchanges if one.is_not_found]
    return max(missed, default=0.0) - min(missed, default=0.0)


def _call_of(row: Row) -> str:
    """Name the call that was journaled: to cancel the first of two orders is to cancel."""
    return str(CallKind.CANCEL) if row["kind"] == OurCall.CANCEL_FIRST else str(row["kind"])


def _journal(evidence: Evidence) -> Iterator[Violation]:
    """What was accepted stays accepted, whatever is said afterwards."""
    outcomes = {(_call_of(row), hashlib.sha256(row["body"]).hexdigest()): row["outcome"] for row in evidence.journal}
    accepted = {(one.kind.value, one.digest) for one in evidence.exchanges if one.kind in CHANGES and one.is_true}
    for kind, digest in sorted(accepted):
        outcome = outcomes.get((kind, digest))
        if outcome != "accepted":
            yield Violation(Breach.JOURNAL, f"{kind} was accepted, and is journaled as {outcome}")


def _truth(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """What is announced is so, and is said under one id."""
    for type_, count in Counter(heard.type for heard in {heard.id: heard for heard in evidence.heard}.values()).items():
        again = {"settlement.declined"} if promise.flow.is_taken_up_again else set()
        if count > 1 and type_ not in {"settlement.problem", "settlement.paid", "settlement.refund_problem"} | again:
            yield Violation(Breach.UNTRUE, f"{type_} was announced under {count} ids")
    for heard in evidence.told("settlement.opened"):
        shown = any(_shows_running(one) for one in evidence.exchanges if _before(one, heard))
        if not promise.flow.runs or not (shown or evidence.called_back):
            yield Violation(Breach.UNTRUE, "settlement.opened was announced for an order that nobody has shown to run")
    cancelled = "settlement.written_off" if promise.flow.written_off else "settlement.cancelled"
    for type_, state in (("settlement.declined", TripState.DECLINED), (cancelled, TripState.CANCELLED)):
        goes_on = promise.flow.is_taken_up_again or promise.flow.paid_elsewhere  # told so, it was paid otherwise
        may_go_on = goes_on and state is TripState.DECLINED
        if evidence.told(type_) and evidence.state != state and not may_go_on:
            yield Violation(Breach.UNTRUE, f"{type_} was announced of a trip that is {evidence.state}")
        if evidence.state == state and not evidence.told(type_):
            yield Violation(Breach.UNTRUE, f"is {state}, and nobody was told")


def _shows_running(exchange: Exchange) -> bool:
    """Tell whether WeChat Pay said so; to accept a create of the legacy family is not to say it (section 0, rule 3)."""
    if not exchange.is_signed:
        return False
    return exchange.kind is CallKind.COMPLETE or exchange.data.get("state") in RUNNING_WORDS


def _before(exchange: Exchange, heard: Heard) -> bool:
    return exchange.answered_at is not None and exchange.answered_at <= heard.at


def _dead_letters(evidence: Evidence) -> Iterator[Violation]:
    for letter in evidence.dead:
        yield Violation(Breach.DEAD, letter)


def _bound(evidence: Evidence) -> Iterator[Violation]:
    if len(evidence.exchanges) > MAX_CALLS:
        yield Violation(Breach.BOUND, f"{len(evidence.exchanges)} calls")
