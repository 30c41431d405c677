"""Reads an order out of what WeChat Pay sends: both families, answers and notifications, one meaning."""

from collections.abc import Mapping
from typing import Final

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.payscore.port import Debited, Order, Phase
from payscore_worker.wechatpay.reading import Json, fen, member_of, members_of, text
from payscore_worker.wechatpay.times import read_time

CANCELLED_BY_FINISH: Final = 1
"""`finish_type`: the passenger did not use the service (reference payscore-api A.5)."""

PHASES: Final[Mapping[str, Phase]] = {
    "CREATED": Phase.CREATED,
    "USER_ACCEPTED": Phase.RUNNING,
    "FINISHED": Phase.COLLECTING,
    "USER_PAID": Phase.DONE,
    "REVOKED": Phase.REVOKED,
    "EXPIRED": Phase.EXPIRED,
}
"""By `state`, where it says enough."""

DOING_PHASES: Final[Mapping[str, Phase]] = {
    "USER_CONFIRM": Phase.RUNNING,
    "MCH_COMPLETE": Phase.COLLECTING,
}
"""By `state_description`. Whatever `collection.state` says by then, the money is in only when the order is DONE."""

DONE_PHASES: Final[Mapping[str, Phase]] = {
    "USER_PAID": Phase.DONE,
    "": Phase.DONE,  # an order of zero fen has no collection; without one, nothing counts as paid
    "USER_PAYING": Phase.COLLECTING,
}
"""By `collection.state`."""


def read_order(data: Json) -> Order:
    """Read an order (reference payscore-api A.3, B.4, D.3).

    Raises:
        MalformedMessage: a member is of another type than documented; the text names it.

    """
    total_fen = fen(data, "total_amount")
    phase = _phase(data, total_fen)
    collection = member_of(data, "collection")
    debits = members_of(collection, "details")
    debit = _last_debit(debits)
    return Order(
        mchid=text(data, "mchid"),
        appid=text(data, "appid"),
        service_id=text(data, "service_id"),
        out_order_no=_out_order_no(data),
        order_id=text(data, "order_id"),
        phase=phase,
        total_fen=total_fen,
        paid_fen=_paid_fen(data, total_fen) if phase is Phase.DONE else None,
        debits=_debits(data, debits),
        paid_at=read_time(text(debit, "paid_time") or text(data, "pay_succ_time")),
        started_at=read_time(_start_time(data)),
        finish_ticket=text(data, "finish_ticket") or None,
        package=text(data, "package"),
        paid_through=text(debit, "paid_type") or text(data, "pay_type"),
    )


def _phase(data: Json, total_fen: int | None) -> Phase:
    """Judge the triple `state`, `state_description`, `collection.state` (reference payscore-api A.4, A.9, B.5)."""
    match text(data, "state"):
        case "DOING":
            return DOING_PHASES.get(text(data, "state_description"), Phase.UNKNOWN)
        case "DONE":
            return DONE_PHASES.get(text(member_of(data, "collection"), "state"), Phase.UNKNOWN)
        case "FINISHED" if data.get("finish_type") == CANCELLED_BY_FINISH:
            return Phase.REVOKED
        case "FINISHED" if total_fen == 0:
            return Phase.DONE
        case state:
            return PHASES.get(state, Phase.UNKNOWN)


def _paid_fen(data: Json, total_fen: int | None) -> int | None:
    """Say what was paid on an order that is done (reference payscore-api section 0, rule 4)."""
    collection = member_of(data, "collection")
    paid_in_one = text(data, "state") == "USER_PAID"
    paid_fen = fen(collection, "paid_amount") if paid_in_one or text(collection, "state") == "USER_PAID" else None
    if paid_fen is None and (paid_in_one or total_fen == 0):
        return total_fen
    return paid_fen


def _debits(data: Json, debits: list[Json]) -> tuple[Debited, ...]:
    """List the transactions, the earliest debit first where the debits tell their times."""
    told: dict[str, int | None] = {}
    for debit in sorted(debits, key=lambda debit: text(debit, "paid_time")):
        told.setdefault(text(debit, "transaction_id"), fen(debit, "amount"))
    if not debits:
        told[text(data, "finish_transaction_id")] = None
    return tuple(Debited(transaction_id=id, amount_fen=amount_fen) for id, amount_fen in told.items() if id)


def _last_debit(debits: list[Json]) -> Json:
    """Pick the debit to tell of: the latest one that became a transaction, or the latest one."""
    transactions = [debit for debit in debits if text(debit, "transaction_id")]
    return max(transactions or debits, key=lambda debit: text(debit, "paid_time"), default={})


def _start_time(data: Json) -> str:
    return (
        text(member_of(data, "time_range"), "start_time")
        or text(data, "real_service_start_time")
        or text(data, "service_start_time")
    )


def _out_order_no(data: Json) -> str:
    """Read our number; some legacy notifications call it `out_request_no` (reference payscore-api D.3)."""
    ours, other_name = text(data, "out_order_no"), text(data, "out_request_no")
    if ours and other_name and ours != other_name:
        raise MalformedMessage("out_order_no: differs from out_request_no")
    if not (ours or other_name):
        raise MalformedMessage("out_order_no: missing")
    return ours or other_name
