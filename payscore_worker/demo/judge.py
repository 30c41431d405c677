"""Judges a demo from outside: what was announced, what WeChat Pay charged, what is stored, what is left over."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from payscore_worker.demo.plan import PlannedTrip
from payscore_worker.demo.play import LOWERED, REFUNDED, Heard
from payscore_worker.domain.account import DEFAULT
from payscore_worker.domain.trip import TripState
from payscore_worker.oversight.audit import Finding

MAX_PROBLEMS: Final = 20
"""A person reads them; the first ones tell."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found when all had come to rest."""

    heard: Mapping[str, Heard]
    rows: Mapping[str, Row]
    """The stored trips, by trip id."""
    ledger: Mapping[str, Row]
    """WeChat Pay's books of the default account, by out_order_no."""
    left_over: Mapping[str, int]
    """What is not empty: queues and outbox."""
    others: Mapping[str, Mapping[str, Row]] = field(default_factory=dict)
    """The books of the other accounts, by name."""
    audited: Sequence[Finding] = ()
    """What the audit of the books did not like."""

    @property
    def ledgers(self) -> Mapping[str, Mapping[str, Row]]:
        """The books of every account."""
        return {"": self.ledger, **self.others}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the trips ended, and what is wrong with that."""

    by_state: dict[str, int]
    owed_fen: int
    """The fares as they were in the end."""
    paid_fen: int
    """What WeChat Pay charged for them; what went back because a fare was lowered is not in it."""
    refunded_fen: int
    """What the ride service had sent back."""
    returned_fen: int
    """What went back because a fare was lowered once it was asked for."""
    problems: list[str] = field(default_factory=list)
    accounts: dict[str, "Money"] = field(default_factory=dict)
    """The same of each account, where there are several."""

    @property
    def ok(self) -> bool:
        """Whether every trip ended as it should and every fen is accounted for."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What one account was owed and got."""

    trips: int
    owed_fen: int
    paid_fen: int
    refunded_fen: int
    returned_fen: int


def judge(trips: Sequence[PlannedTrip], evidence: Evidence) -> Verdict:
    """Compare what should be with what is."""
    problems = [problem for trip in trips for problem in _problems_of(trip, evidence)]
    accounts = {name: _money(name, trips, evidence) for name in evidence.ledgers}
    problems += [
        f"account {name or DEFAULT}: WeChat Pay charged {money.paid_fen} fen in all, owed {money.owed_fen}"
        for name, money in accounts.items()
        if evidence.others and money.paid_fen != money.owed_fen
    ]
    problems += [f"{count} left in {name}" for name, count in evidence.left_over.items()]
    problems += [f"{finding.check}: {finding.detail} {', '.join(finding.trips)}" for finding in evidence.audited]
    if len(problems) > MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], f"and {len(problems) - MAX_PROBLEMS} more"]
    states = Counter(str(row["state"]) for row in evidence.rows.values())
    return Verdict(
        by_state=dict(sorted(states.items())),
        owed_fen=sum(trip.fare_fen for trip in trips),
        paid_fen=sum(money.paid_fen for money in accounts.values()),
        refunded_fen=sum(money.refunded_fen for money in accounts.values()),
        returned_fen=sum(money.returned_fen for money in accounts.values()),
        problems=problems,
        accounts={name or DEFAULT: money for name, money in accounts.items()} if evidence.others else {},
    )


def _money(account: str, trips: Sequence[PlannedTrip], evidence: Evidence) -> Money:
    own, ledger = [trip for trip in trips if trip.account == account], evidence.ledgers[account]
    returned_fen = sum(_returned_fen(trip, evidence) for trip in own)
    return Money(
        trips=len(own),
        owed_fen=sum(trip.fare_fen for trip in own),
        paid_fen=sum(int(entry["charged_fen"]) for entry in ledger.values()) - returned_fen,
        refunded_fen=sum(int(entry["refunded_fen"]) for entry in ledger.values()) - returned_fen,
        returned_fen=returned_fen,
    )


def _returned_fen(trip: PlannedTrip, evidence: Evidence) -> int:
    """Say what went back of a fare that was lowered once it was asked for: WeChat Pay may have lowered it in time."""
    row = evidence.rows.get(trip.trip_id)
    entry = None if row is None else evidence.ledgers[trip.account].get(str(row["out_order_no"]))
    if trip.lowered_fen is None or entry is None:
        return 0
    return max(0, int(entry["charged_fen"]) - trip.fare_fen)


def _problems_of(trip: PlannedTrip, evidence: Evidence) -> Iterator[str]:
    row = evidence.rows.get(trip.trip_id)
    if row is None:
        yield f"{trip.trip_id}: not stored"
        return
    if row["state"] != trip.must_end:
        yield f"{trip.trip_id}: is {row['state']}, should be {trip.must_end}{_why(row)}"
    yield from _money_problems(trip, row, evidence.ledgers[trip.account].get(str(row["out_order_no"])))
    yield from _announcement_problems(trip, evidence.heard[trip.trip_id])


def _why(row: Row) -> str:
    return f" ({row['problem']})" if row["problem"] else ""


def _money_problems(trip: PlannedTrip, row: Row, entry: Row | None) -> Iterator[str]:
    charged_fen = int(entry["charged_fen"]) if entry is not None else 0
    if (row["paid_fen"] or 0) != charged_fen:
        yield f"{trip.trip_id}: stored as paid {row['paid_fen']} fen, WeChat Pay charged {charged_fen}"
    if charged_fen not in (trip.owed_fen, trip.fare_fen):
        yield f"{trip.trip_id}: WeChat Pay charged {charged_fen} fen, owed {trip.owed_fen}"
    if entry is not None and len(entry["charges"]) > 1:
        yield f"{trip.trip_id}: charged {len(entry['charges'])} times"
    if charged_fen in (trip.owed_fen, trip.fare_fen):
        yield from _refund_problems(trip, row, entry, trip.back_fen(charged_fen))
    for kind, bodies in (entry["bodies"] if entry is not None else {}).items():
        if len(bodies) > 1:
            yield f"{trip.trip_id}: {kind} was sent with {len(bodies)} different bodies"


def _refund_problems(trip: PlannedTrip, row: Row, entry: Row | None, back_fen: int) -> Iterator[str]:
    if (row["refunded_fen"] or 0) != back_fen:
        yield f"{trip.trip_id}: stored as refunded {row['refunded_fen']} fen, asked for {back_fen}"
    refunded_fen = int(entry["refunded_fen"]) if entry is not None else 0
    if refunded_fen != back_fen:
        yield f"{trip.trip_id}: WeChat Pay sent back {refunded_fen} fen, asked for {back_fen}"


def _announcement_problems(trip: PlannedTrip, heard: Heard) -> Iterator[str]:
    last = f"settlement.{trip.must_end.lower()}"
    if last not in heard.ids:
        yield f"{trip.trip_id}: {last} was not announced"
    for type_, ids in heard.ids.items():
        if len(ids) > 1:
            yield f"{trip.trip_id}: {type_} was announced under {len(ids)} ids"
    if trip.must_end is not TripState.PAID:
        return
    paid_fen = heard.data.get(last, {}).get("paid_fen")
    if paid_fen not in (trip.owed_fen, trip.fare_fen):
        yield f"{trip.trip_id}: {last} does not say {trip.owed_fen} fen"
        return
    back_fen = trip.back_fen(paid_fen)
    if back_fen and heard.data.get(REFUNDED, {}).get("amount_fen") != back_fen:
        yield f"{trip.trip_id}: {REFUNDED} does not say {back_fen} fen"
    if trip.lowered_fen is not None and heard.data.get(LOWERED, {}).get("total_fen") != trip.lowered_fen:
        yield f"{trip.trip_id}: {LOWERED} does not say {trip.lowered_fen} fen"
