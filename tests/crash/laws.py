"""The laws, read from outside: what WeChat Pay's books, the broker, the database and the audience must agree on."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from payscore_worker.domain.authorisation import AuthorisationState
from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
)
from tests.crash.desk import Heard

Row = Mapping[str, Any]

PARAMETERS: Final = "authorisation.parameters"


class Breach(StrEnum):
    """What was broken, as the certificate counts it."""

    LOST = "lost"
    """Money not charged, a fact not noted, an announcement not made, a message gone."""
    DOUBLE = "double"
    """Charged twice or too much, a second order, other bytes on a retry, one announcement under two ids."""
    STUCK = "stuck"
    """Something waits that nobody will move, or a role ended that was not told to."""
    UNTRUE = "untrue"
    """Believed, and not so: paid without a payment, a forgery taken."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that does not hold."""

    breach: Breach
    what: str

    def __str__(self) -> str:
        return f"{self.breach}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """How a case must end, whatever crashed on the way."""

    trip_id: str
    state: TripState | None
    """None: there is no trip."""
    owed_fen: int
    refunded_fen: int
    paid_elsewhere_fen: int
    has_order: bool
    """WeChat Pay accepted an order."""
    asked_for: int
    """How many orders may be asked for; never is more than one accepted."""
    authorisation: AuthorisationState | None
    """In which the passenger's authorisation ends; None: the flow is about none."""
    announced: frozenset[str]
    accepted: frozenset[str]
    """The types of the events that RabbitMQ confirmed to us."""
    refused: Mapping[str, frozenset[str]]
    """Message ids that must lie among the dead letters, by the queue they came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found when all had come to rest, or the time was up."""

    row: Row | None
    calls: Sequence[Row]
    events: Sequence[Row]
    orders: Sequence[Row]
    """WeChat Pay's books: every order of this passenger, who has no other trip."""
    astray: Sequence[Row] = ()
    """Orders of this passenger in the books of another merchant of ours."""
    authorisations: Sequence[Row] = ()
    """All that are stored of this passenger."""
    pre_authorised: Sequence[str] = ()
    """The SHA-256 of every different body by which WeChat Pay was asked for an authorisation of this passenger."""
    heard: Sequence[Heard]
    dead: Mapping[str, set[str]]
    left_over: Mapping[str, int]
    """What is not empty: queues, outbox, callbacks that wait to be sent again."""
    deaths: Sequence[str] = ()
    """Roles that ended without being told to."""
    believed: Sequence[str] = ()
    """Lies that were taken."""
    notes: Sequence[str] = field(default=())
    """What the script waited for in vain."""


def judge(promise: Promise, evidence: Evidence) -> list[Violation]:
    """Compare what was promised with what is."""
    return [
        *_money(promise, evidence),
        *_refunds(promise, evidence),
        *_accounts(evidence),
        *_authorisations(promise, evidence),
        *_bytes(evidence),
        *_state(promise, evidence),
        *_facts(promise, evidence),
        *_announcements(promise, evidence),
        *_dead_letters(promise, evidence),
        *_rest(evidence),
    ]


def _money(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """Each trip is charged exactly what is owed, at most once."""
    charges = [charge for order in evidence.orders for charge in order["charges"]]
    charged_fen = sum(charge["amount_fen"] for charge in charges)
    if len(charges) > 1 or charged_fen > promise.owed_fen:
        yield Violation(Breach.DOUBLE, f"charged {charged_fen} fen in {len(charges)} debits, owed {promise.owed_fen}")
    if charged_fen < promise.owed_fen:
        yield Violation(Breach.LOST, f"charged {charged_fen} fen, owed {promise.owed_fen}")
    accepted = [order for order in evidence.orders if order["creates"]]
    if len(evidence.orders) > promise.asked_for or len(accepted) > 1:
        yield Violation(Breach.DOUBLE, f"{len(evidence.orders)} orders were asked for, {len(accepted)} accepted")
    if promise.has_order and not accepted:
        yield Violation(Breach.LOST, "no order at WeChat Pay")
    known = {charge["transaction_id"] for charge in charges}
    yield from _truth(evidence, known, charged_fen + promise.paid_elsewhere_fen)


def _refunds(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """What was asked for goes back once, under one number, and the books say so."""
    refunds = [refund for order in evidence.orders for refund in order["refunds"] if refund["refund_id"] is not None]
    sent_fen = sum(refund["amount_fen"] for refund in refunds if refund["status"] == "SUCCESS")
    if len(refunds) > 1 or sent_fen > promise.refunded_fen:
        yield Violation(
            Breach.DOUBLE, f"sent back {sent_fen} fen by {len(refunds)} refunds, asked for {promise.refunded_fen}"
        )
    if sent_fen < promise.refunded_fen:
        yield Violation(Breach.LOST, f"sent back {sent_fen} fen, asked for {promise.refunded_fen}")
    row = evidence.row
    if row is not None and (row["refunded_fen"] or 0) != sent_fen:
        yield Violation(Breach.UNTRUE, f"stored as refunded {row['refunded_fen']} fen, sent back {sent_fen}")
    if row is not None and row["reserved_fen"]:
        yield Violation(Breach.STUCK, f"{row['reserved_fen']} fen are still reserved")


def _accounts(evidence: Evidence) -> Iterator[Violation]:
    """Each order stands in the books of its own merchant only."""
    for order in evidence.astray:
        yield Violation(Breach.UNTRUE, f"order {order['out_order_no']} stands in another merchant's books")


def _authorisations(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """A passenger's authorisation is one, asked for and told of under one code, and ends where it must."""
    if promise.authorisation is None:
        return
    rows = evidence.authorisations
    codes = {heard.data["authorization_code"] for heard in evidence.heard if "authorization_code" in heard.data}
    codes |= {row["authorization_code"] for row in rows}
    if not rows:
        yield Violation(Breach.LOST, "no authorisation is stored")
    if len(codes) > 1:
        yield Violation(Breach.DOUBLE, f"one authorisation has {len(codes)} codes")
    for row in rows:
        if row["problem"]:
            yield Violation(Breach.STUCK, f"the authorisation has a problem: {row['problem']}")
        if row["state"] != promise.authorisation:
            yield Violation(Breach.STUCK, f"the authorisation is {row['state']}, should be {promise.authorisation}")


def _truth(evidence: Evidence, transactions: set[str], paid_fen: int) -> Iterator[Violation]:
    """Paid is only what WeChat Pay has debited, or was paid elsewhere."""
    row = evidence.row
    if row is not None and row["state"] == TripState.PAID and row["paid_fen"] != paid_fen:
        yield Violation(Breach.UNTRUE, f"stored as paid {row['paid_fen']} fen, paid {paid_fen}")
    told = {heard.data["transaction_id"] for heard in evidence.heard if heard.type == "settlement.paid"} - {""}
    if row is not None and row["transaction_id"]:
        told.add(row["transaction_id"])
    for transaction in sorted(told - transactions):
        yield Violation(Breach.UNTRUE, f"paid by {transaction!r}, which WeChat Pay does not know")
    for lie in evidence.believed:
        yield Violation(Breach.UNTRUE, lie)


def _bytes(evidence: Evidence) -> Iterator[Violation]:
    """Every re-send is byte-identical, and what was sent is what the journal holds."""
    journaled: dict[str, list[str]] = {}
    for call in evidence.calls:
        if call["body"]:
            journaled.setdefault(call["kind"], []).append(hashlib.sha256(call["body"]).hexdigest())
    sent = [one for order in evidence.orders for one in order["bodies"].items()]
    sent += [("refund", refund["bodies"]) for order in evidence.orders for refund in order["refunds"]]
    sent.append(("pre_authorise", list(evidence.pre_authorised)))
    for kind, digests in sent:
        known = journaled.get(kind, [])
        if len(digests) > max(len(known), 1):
            yield Violation(Breach.DOUBLE, f"{kind} was sent with {len(digests)} bodies, journaled {len(known)}")
        elif not set(digests) <= set(known):
            yield Violation(Breach.DOUBLE, f"{kind} was sent with a body that the journal does not hold")


def _state(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    row = evidence.row
    if row is None:
        if promise.state is not None:
            yield Violation(Breach.LOST, "nothing is stored")
        return
    if row["problem"]:
        yield Violation(Breach.STUCK, f"has a problem: {row['problem']}")
    if row["state"] in TERMINAL and row["due_at"] is not None and row["look_at"] is None:
        yield Violation(Breach.STUCK, f"is {row['state']}, and still due")
    if row["state"] == promise.state:
        return
    breach = Breach.LOST if row["state"] in TERMINAL else Breach.STUCK
    yield Violation(breach, f"is {row['state']}, should be {promise.state}")


def _facts(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """Every accepted event is noted, refused, or still waits."""
    noted = {row["type"] for row in evidence.events if row["direction"] == "in"}
    for type_ in sorted(promise.accepted - noted):
        yield Violation(Breach.LOST, f"{type_} was accepted and is nowhere noted")


def _announcements(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """Every announcement is delivered at least once, under one id."""
    ids: dict[str, set[str]] = {}
    for heard in evidence.heard:
        ids.setdefault(heard.type, set()).add(heard.id)
    for type_ in sorted(promise.announced - ids.keys()):
        yield Violation(Breach.LOST, f"{type_} was not announced")
    for type_ in sorted(ids.keys() - promise.announced):
        yield Violation(Breach.UNTRUE, f"{type_} was announced, and should not be")
    written = Counter(row["type"] for row in evidence.events if row["direction"] == "out")
    for type_ in sorted((ids.keys() | written.keys()) - _told_anew(evidence)):
        if len(ids.get(type_, ())) > 1 or written[type_] > 1:
            yield Violation(Breach.DOUBLE, f"{type_} was announced under {len(ids.get(type_, ()))} ids")


def _told_anew(evidence: Evidence) -> set[str]:
    """Name what may be told again: of two workers that ask WeChat Pay for a token, each tells the one it was given."""
    given = {heard.id: heard.data["enable"]["extraData"] for heard in evidence.heard if heard.type == PARAMETERS}
    return {PARAMETERS} if len({str(sorted(jump.items())) for jump in given.values()}) == len(given) else set()


def _dead_letters(promise: Promise, evidence: Evidence) -> Iterator[Violation]:
    """What must be refused is, and nothing else."""
    for queue, expected in promise.refused.items():
        for missing in sorted(expected - evidence.dead.get(queue, set())):
            yield Violation(Breach.LOST, f"{missing} should lie in {queue}.dead")
    for queue, found in evidence.dead.items():
        for extra in sorted(found - promise.refused.get(queue, frozenset())):
            yield Violation(Breach.STUCK, f"{extra} lies in {queue}.dead")


def _rest(evidence: Evidence) -> Iterator[Violation]:
    for place, count in evidence.left_over.items():
        yield Violation(Breach.STUCK, f"{count} left in {place}")
    for death in evidence.deaths:
        yield Violation(Breach.STUCK, death)
