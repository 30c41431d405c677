"""Checks the books: what was noted, what became of it, what was announced, and what WeChat Pay says of it."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from payscore_worker.domain.refund import RefundState
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import Refusal, SettlementError, WechatPayRejected
from payscore_worker.messaging.inspect import Depth
from payscore_worker.storage.belonging import Owners
from payscore_worker.storage.reports import (
    MAX_DOUBTFUL,
    MAX_NAMED,
    STUCK_AFTER,
    AccountBooks,
    Books,
    Doubtful,
    RefundBooks,
    Reports,
)
from payscore_worker.storage.rows import lowering_from_json, terms_from_json
from payscore_worker.wechatpay.payscore import Order, PayScores, Phase
from payscore_worker.wechatpay.transactions import Refunds, RefundStatus, RefundTold

AT_ONCE: Final = 8
"""Questions to WeChat Pay at the same time: an audit must not slow the settlement down."""

SAME_WRITE: Final = timedelta(seconds=10)
"""The answer that ends a trip is noted so long before its end at most: they are written together."""

GIVEN_UP: Final = frozenset({Phase.REVOKED, Phase.EXPIRED})

STATES: Final = frozenset(state.value for state in TripState)
REFUND_STATES: Final = frozenset(state.value for state in RefundState)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked."""

    check: str
    ok: bool
    detail: str
    trips: tuple[str, ...] = ()
    """The first ones it is about."""


async def audit_books(reports: Reports, now: datetime, owners: Owners | None = None) -> list[Finding]:
    """Check the database against itself; `owners`: to tell several accounts apart."""
    books = await reports.books()
    findings = [_conservation(books)]
    if owners is not None:
        of_accounts = await reports.account_books(owners)
        findings += [_conservation_of(account, books) for account, books in of_accounts.items()]
    for check, trip_ids in (await reports.contradictions(now)).items():
        findings.append(_about(check, trip_ids))
    findings.append(_over_here_alive_there(await reports.doubtful(), now))
    for check, trip_ids in (await reports.refund_contradictions(now)).items():
        findings.append(_about(check, trip_ids))
    findings.append(_refunds(await reports.refund_books()))
    return findings


def audit_queues(depths: Sequence[Depth], pending: int) -> list[Finding]:
    """Check that nothing waits for a person, and say what waits for a machine."""
    dead = {depth.queue: depth.dead for depth in depths if depth.dead}
    missing = [depth.queue for depth in depths if not depth.stands]
    waiting = sum(depth.ready or 0 for depth in depths)
    uncounted = [depth.queue for depth in depths if depth.is_uncounted]
    unknown = f"unknown in {', '.join(uncounted)}: RabbitMQ cannot ask the leader" if uncounted else ""
    return [
        Finding(check="every queue stands", ok=not missing, detail=", ".join(missing) or "all do"),
        Finding(
            check="no dead letters",
            ok=not dead and not uncounted,
            detail=", ".join([*(f"{count} in {queue}.dead" for queue, count in dead.items()), *filter(None, [unknown])])
            or "none",
        ),
        Finding(
            check="in flight",
            ok=True,
            detail=f"{'at least ' if uncounted else ''}{waiting} messages in queues, "
            f"{pending} announcements in the outbox",
        ),
    ]


async def audit_wechatpay(rows: Sequence[Row], payscores: PayScores, names: Mapping[str, str] | None = None) -> Finding:
    """Ask WeChat Pay about each of these trips, and compare; `names`: of several accounts, by mchid."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(row: Row) -> str | None:
        async with places:
            return _contradiction(row, await _order(row, payscores))

    answers = await asyncio.gather(*(ask(row) for row in rows))
    said = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer is not None]
    contradictions = [f"{row['trip_id']}{_of_account(row, names)}: {answer}" for row, answer in said]
    detail = "; ".join(contradictions[:MAX_NAMED]) or f"{len(rows)} trips agree{_by_account(rows, names)}"
    return Finding(check="WeChat Pay says the same", ok=not contradictions, detail=detail)


def _of_account(row: Row, names: Mapping[str, str] | None) -> str:
    """Name the account of a trip whose order was opened; nothing where there is one account."""
    terms = terms_from_json(row["terms"])
    return f" of {names.get(terms.mchid, terms.mchid)}" if names and terms is not None else ""


def _by_account(rows: Sequence[Row], names: Mapping[str, str] | None) -> str:
    counts = Counter(account for row in rows if (account := _of_account(row, names)))
    return f" ({', '.join(f'{count}{account}' for account, count in sorted(counts.items()))})" if counts else ""


async def _order(row: Row, payscores: PayScores) -> Order | str:
    """Find the order, or say why there is none to show."""
    try:
        payscore = payscores.of(terms_from_json(row["terms"]))
        order, _ = await payscore.query(row["out_order_no"])
    except WechatPayRejected as error:
        return "no such order" if error.refusal is Refusal.ORDER_NOT_FOUND else str(error)
    except SettlementError as error:
        return f"could not be asked: {error}"
    if not payscore.is_ours(order) or order.out_order_no != row["out_order_no"]:
        return "unknown: it answered with another order than ours"
    return "unknown: it does not say where the order stands" if order.phase is Phase.UNKNOWN else order


def _contradiction(row: Row, order: Order | str) -> str | None:
    """Say how WeChat Pay's word differs from ours; None where it does not."""
    if row["state"] not in STATES:
        return f"{row['state']}, a state that this release does not know"
    state = TripState(row["state"])
    if isinstance(order, str):
        never_there = order == "no such order" and (
            state in (TripState.DECLINED, TripState.CANCELLED) or _is_paid_elsewhere(row) or not row["order_id"]
        )
        return None if never_there else f"{state}, and WeChat Pay: {order}"
    if _agrees(state, row, order):
        return None
    owed_fen = _owed_fen(row)
    ours = state.value if owed_fen is None else f"{state} with {owed_fen} fen"
    if row["paid_elsewhere"] is not None:
        ours += ", paid elsewhere"
    if row["problem"] is not None:
        ours += ", waiting for a person"
    theirs = (
        order.phase if order.total_fen is None else f"{order.phase}, paid {order.paid_fen or 0} of {order.total_fen}"
    )
    return f"{ours}, and WeChat Pay: {theirs}"


def _owed_fen(row: Row) -> int | None:
    owed_fen: int | None = row["total_fen"] if row["accepted_fen"] is None else row["accepted_fen"]
    return owed_fen


def _sent_fen(row: Row) -> int | None:
    """Read the lower fare that WeChat Pay may have been told, and has not been heard to take."""
    lowering = lowering_from_json(row["lowering"])
    return None if lowering is None else lowering.sent_fen


def _is_paid_elsewhere(row: Row) -> bool:
    """Tell whether WeChat Pay has collected nothing for a trip that is paid."""
    return row["state"] == TripState.PAID and row["paid_elsewhere"] is not None and not row["transaction_id"]


def _agrees(state: TripState, row: Row, order: Order) -> bool:
    """Compare. A trip that waits for a person goes nowhere by itself, so it must stand where its order stands."""
    parked = row["problem"] is not None
    match state:
        case TripState.NOTED | TripState.OPEN:
            is_running = order.phase not in (Phase.DONE, Phase.COLLECTING)
            return is_running or (row["end_time"] is not None and not parked)
        case TripState.COMPLETED:
            moving = (Phase.COLLECTING,) if parked else (Phase.COLLECTING, Phase.DONE)
            return order.phase in moving and order.total_fen in (None, _owed_fen(row), _sent_fen(row))
        case TripState.PAID if _is_paid_elsewhere(row):
            return order.phase in GIVEN_UP or (order.phase is Phase.DONE and not order.debits)
        case TripState.PAID:
            return order.phase is Phase.DONE and (order.paid_fen or 0) == row["paid_fen"]
        case TripState.DECLINED | TripState.CANCELLED:
            return order.phase in GIVEN_UP


# --- Refunds ---


async def audit_refunds_at_wechatpay(rows: Sequence[Row], refunds: Refunds) -> Finding:
    """Ask WeChat Pay about each of these refunds, and compare."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(row: Row) -> str | None:
        async with places:
            return _refund_contradiction(row, await _refund_told(row, refunds))

    answers = await asyncio.gather(*(ask(row) for row in rows))
    wrong = [(row, said) for row, said in zip(rows, answers, strict=True) if said is not None]
    said = [f"{row['refund_id']} of {row['trip_id']}: {text}" for row, text in wrong[:MAX_NAMED]]
    return Finding(
        check="WeChat Pay says the same of refunds",
        ok=not wrong,
        detail="; ".join(said) or f"{len(rows)} refunds agree",
        trips=tuple(dict.fromkeys(row["trip_id"] for row, _ in wrong[:MAX_NAMED])),
    )


NO_REFUND: Final = "no such refund"


async def _refund_told(row: Row, refunds: Refunds) -> RefundTold | str:
    """Find the refund, or say why there is none to show."""
    try:
        told, _ = await refunds.of(row["mchid"]).query(row["out_refund_no"])
    except WechatPayRejected as error:
        return NO_REFUND if error.refusal is Refusal.RESOURCE_NOT_FOUND else str(error)
    except SettlementError as error:
        return f"could not be asked: {error}"
    if told.out_refund_no != row["out_refund_no"] or told.transaction_id not in ("", row["transaction_id"]):
        return "unknown: it answered with another refund than ours"
    return "unknown: it does not say where the refund stands" if told.status is RefundStatus.UNKNOWN else told


def _refund_contradiction(row: Row, told: RefundTold | str) -> str | None:
    """Say how WeChat Pay's word on a refund differs from ours; None where it does not."""
    if row["state"] not in REFUND_STATES:
        return f"{row['state']}, a state that this release does not know"
    state = RefundState(row["state"])
    ours = f"{state} with {row['amount_fen']} of {row['total_fen']} fen"
    if row["problem"] is not None:
        ours += ", waiting for a person"
    if isinstance(told, str):
        need_not_be_there = state is RefundState.REQUESTED or row["given_up"] is not None
        return None if told == NO_REFUND and need_not_be_there else f"{ours}, and WeChat Pay: {told}"
    if _refund_agrees(state, row, told):
        return None
    return f"{ours}, and WeChat Pay: {told.status}, {told.amount_fen} of {told.total_fen}"


def _refund_agrees(state: RefundState, row: Row, told: RefundTold) -> bool:
    """Compare. A refund that waits for a person goes nowhere by itself, so it must stand where WeChat Pay has it."""
    if told.amount_fen not in (None, row["amount_fen"]) or told.total_fen not in (None, row["total_fen"]):
        return False
    parked = row["problem"] is not None
    match state:
        case RefundState.REQUESTED:
            return bool(row["is_prepared"]) and not parked
        case RefundState.ACCEPTED:
            return not parked or told.status in (RefundStatus.PROCESSING, RefundStatus.ABNORMAL)
        case RefundState.REFUNDED:
            return told.status is RefundStatus.SUCCESS
        case RefundState.FAILED:
            return told.status is RefundStatus.CLOSED


def _refunds(books: RefundBooks) -> Finding:
    """Say how the refunds stand; those that wait for a person are no fault of the books."""
    states = [f"{books.count[state]} {state} with {books.amount_fen[state]} fen" for state in books.count]
    problems = ", ".join(f"{count} {code}" for code, count in books.problems.items())
    said = [", ".join(states) or "none"]
    if problems:
        said.append(f"{sum(books.problems.values())} with a problem: {problems}")
    return Finding(check="refunds", ok=True, detail="; ".join(said))


def _over_here_alive_there(doubtful: Sequence[Doubtful], now: datetime) -> Finding:
    """Name the trips that are over while their order runs, or may run with nobody to look."""
    waiting, wrong = [], []
    for one in doubtful:
        if not one.alive and one.look_at is None and _was_looked_at(one):
            continue
        late = one.look_at is None or one.look_at < now - STUCK_AFTER
        age = _age(now - one.over_since)
        if one.alive:
            wrong.append((one.trip_id, f"{one.trip_id}: its order runs, {age} after the trip ended"))
        elif late:
            wrong.append((one.trip_id, f"{one.trip_id}: its order may run, {age} after the trip ended; nobody looked"))
        else:
            waiting.append(one.trip_id)
    said = [text for _, text in wrong[:MAX_NAMED]]
    if waiting:
        said.append(f"{len(waiting)} to be looked at once more")
    if len(doubtful) >= MAX_DOUBTFUL:
        said.append(f"only the newest {MAX_DOUBTFUL} were compared")
    return Finding(
        check="no order runs for a trip that is over",
        ok=not wrong,
        detail="; ".join(said) or "none",
        trips=tuple(trip_id for trip_id, _ in wrong[:MAX_NAMED]),
    )


def _was_looked_at(one: Doubtful) -> bool:
    """Tell whether WeChat Pay's word on the order stands behind the end of its trip: not the one that it runs."""
    if one.looked_at is None or one.looked_at < one.over_since - SAME_WRITE:
        return False
    return one.opened_at is None or one.looked_at > one.opened_at


def _age(age: timedelta) -> str:
    minutes = max(age, timedelta()) // timedelta(minutes=1)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _conservation(books: Books) -> Finding:
    kept = books.settled + books.declined + books.cancelled + books.waiting + books.with_problem
    detail = (
        f"{books.noted} noted = {books.settled} settled + {books.declined} declined + {books.cancelled} cancelled"
        f" + {books.waiting} waiting + {books.with_problem} with a problem"
    )
    return Finding(check="conservation", ok=books.noted == kept, detail=detail)


def _conservation_of(account: str, books: AccountBooks) -> Finding:
    """Say where the trips of an account stand, and that none of its money is lost, or another's."""
    settled_fen = books.paid_fen + books.elsewhere_fen + books.outstanding_fen
    ours = (books.refunded_fen, books.reserved_fen)
    theirs = (books.refunds_done_fen, books.refunds_under_way_fen)
    detail = (
        f"{books.settled} settled, {books.declined} declined, {books.cancelled} cancelled, {books.waiting} waiting,"
        f" {books.with_problem} with a problem; {books.owed_fen} fen owed = {books.paid_fen} paid"
        f" + {books.elsewhere_fen} paid elsewhere + {books.outstanding_fen} outstanding;"
        f" {books.refunded_fen} went back, {books.reserved_fen} promised"
    )
    if books.twice_fen:
        detail += f"; {books.twice_fen} collected of what was paid elsewhere, too"
    if ours != theirs:
        detail += f", and its refunds say: {books.refunds_done_fen} went back, {books.refunds_under_way_fen} promised"
    return Finding(
        check=f"conservation of {account}", ok=books.owed_fen == settled_fen and ours == theirs, detail=detail
    )


def _about(check: str, trip_ids: Sequence[str]) -> Finding:
    detail = (
        "none" if not trip_ids else f"{'at least ' if len(trip_ids) > MAX_NAMED else ''}{min(len(trip_ids), MAX_NAMED)}"
    )
    return Finding(check=check, ok=not trip_ids, detail=detail, trips=tuple(trip_ids[:MAX_NAMED]))
