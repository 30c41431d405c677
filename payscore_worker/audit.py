"""Checks the books: what was noted, what became of it, what was announced, and what WeChat Pay says of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from payscore_worker.errors import Refusal, SettlementError, WechatPayRejected
from payscore_worker.messaging.inspect import Depth
from payscore_worker.storage.reports import MAX_NAMED, Books, Reports
from payscore_worker.storage.rows import terms_from_json
from payscore_worker.trip import TripState
from payscore_worker.wechatpay import Order, PayScores, Phase

AT_ONCE: Final = 8
"""Questions to WeChat Pay at the same time: an audit must not slow the settlement down."""

GIVEN_UP: Final = frozenset({Phase.REVOKED, Phase.EXPIRED})

STATES: Final = frozenset(state.value for state in TripState)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked."""

    check: str
    ok: bool
    detail: str
    trips: tuple[str, ...] = ()
    """The first ones it is about."""


async def audit_books(reports: Reports, now: datetime) -> list[Finding]:
    """Check the database against itself."""
    books = await reports.books()
    findings = [_conservation(books)]
    for check, trip_ids in (await reports.contradictions(now)).items():
        findings.append(_about(check, trip_ids))
    return findings


def audit_queues(depths: Sequence[Depth], pending: int) -> list[Finding]:
    """Check that nothing waits for a person, and say what waits for a machine."""
    dead = {depth.queue: depth.dead for depth in depths if depth.dead}
    missing = [depth.queue for depth in depths if depth.ready is None]
    waiting = sum(depth.ready or 0 for depth in depths)
    return [
        Finding(check="every queue stands", ok=not missing, detail=", ".join(missing) or "all do"),
        Finding(
            check="no dead letters",
            ok=not dead,
            detail=", ".join(f"{count} in {queue}.dead" for queue, count in dead.items()) or "none",
        ),
        Finding(
            check="in flight", ok=True, detail=f"{waiting} messages in queues, {pending} announcements in the outbox"
        ),
    ]


async def audit_wechatpay(rows: Sequence[Row], payscores: PayScores) -> Finding:
    """Ask WeChat Pay about each of these trips, and compare."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(row: Row) -> str | None:
        async with places:
            return _contradiction(row, await _order(row, payscores))

    answers = await asyncio.gather(*(ask(row) for row in rows))
    contradictions = [f"{row['trip_id']}: {said}" for row, said in zip(rows, answers, strict=True) if said is not None]
    detail = "; ".join(contradictions[:MAX_NAMED]) or f"{len(rows)} trips agree"
    return Finding(check="WeChat Pay says the same", ok=not contradictions, detail=detail)


async def _order(row: Row, payscores: PayScores) -> Order | str:
    """Find the order, or say why there is none to show."""
    try:
        order, _ = await payscores.of(terms_from_json(row["terms"])).query(row["out_order_no"])
    except WechatPayRejected as error:
        return "no such order" if error.refusal is Refusal.ORDER_NOT_FOUND else str(error)
    except SettlementError as error:
        return f"could not be asked: {error}"
    return order


def _contradiction(row: Row, order: Order | str) -> str | None:
    """Say how WeChat Pay's word differs from ours; None where it does not."""
    if row["state"] not in STATES:
        return f"{row['state']}, a state that this release does not know"
    state = TripState(row["state"])
    if isinstance(order, str):
        never_there = order == "no such order" and (
            state in (TripState.DECLINED, TripState.CANCELLED) or not row["order_id"]
        )
        return None if never_there else f"{state}, and WeChat Pay: {order}"
    if _agrees(state, row, order):
        return None
    ours = state if row["total_fen"] is None else f"{state} with {row['total_fen']} fen"
    theirs = (
        order.phase if order.total_fen is None else f"{order.phase}, paid {order.paid_fen or 0} of {order.total_fen}"
    )
    return f"{ours}, and WeChat Pay: {theirs}"


def _agrees(state: TripState, row: Row, order: Order) -> bool:
    match state:
        case TripState.NOTED | TripState.OPEN:
            return order.phase not in (Phase.DONE, Phase.COLLECTING) or row["end_time"] is not None
        case TripState.COMPLETED:
            return order.phase in (Phase.COLLECTING, Phase.DONE) and order.total_fen in (None, row["total_fen"])
        case TripState.PAID:
            return order.phase is Phase.DONE and (order.paid_fen or 0) == row["paid_fen"]
        case TripState.DECLINED | TripState.CANCELLED:
            return order.phase in GIVEN_UP


def _conservation(books: Books) -> Finding:
    kept = books.settled + books.declined + books.cancelled + books.waiting + books.with_problem
    detail = (
        f"{books.noted} noted = {books.settled} settled + {books.declined} declined + {books.cancelled} cancelled"
        f" + {books.waiting} waiting + {books.with_problem} with a problem"
    )
    return Finding(check="conservation", ok=books.noted == kept, detail=detail)


def _about(check: str, trip_ids: Sequence[str]) -> Finding:
    detail = (
        "none" if not trip_ids else f"{'at least ' if len(trip_ids) > MAX_NAMED else ''}{min(len(trip_ids), MAX_NAMED)}"
    )
    return Finding(check=check, ok=not trip_ids, detail=detail, trips=tuple(trip_ids[:MAX_NAMED]))
