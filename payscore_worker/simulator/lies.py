"""Answers that are not what WeChat Pay would say: a proxy's, and true ones made false before they are signed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from payscore_worker.simulator.members import Entity

ITEMS: Final = (("post_payments", "amount"), ("fees", "fee_amount"))
"""Where each family lists what is paid for, and the member with the price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAnswer:
    """What somebody on the way answers: no `code` of WeChat Pay's, no Request-ID, no signature."""

    status: int
    content_type: str
    body: bytes


GATEWAY_UNAVAILABLE: Final = ForeignAnswer(status=503, content_type="text/plain", body=b"Service Unavailable")


def answer_of_a_proxy(status: int, variant: str) -> ForeignAnswer:
    """Reference payscore-api F.5 b, and the reports below it."""
    phrase = _phrase(status)
    content_type, body = {
        "html": ("text/html", _PAGE.format(title=f"{status} {phrase}")),
        "empty": ("text/plain", ""),
        "json": ("application/json", f'{{"status":{status},"error":"{phrase}"}}'),
        "text": ("text/plain", phrase),
    }[variant]
    return ForeignAnswer(status=status, content_type=content_type, body=body.encode())


_PAGE: Final = "<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"


def unreadable(entity: Entity, variant: str) -> bytes:
    """The body of an answer that is signed and cannot be read."""
    return _UNREADABLE[variant](entity)


def about_another_order(entity: Entity, member: str) -> Entity:
    """The same answer, about another order, or to another merchant, app or service."""
    changed = {member: _another(entity[member])}
    if (companion := _GIVEN_WITH.get(member, "")) in entity:
        changed[companion] = _another(entity[companion])
    return entity | changed


_GIVEN_WITH: Final = {"out_order_no": "order_id", "out_refund_no": "refund_id"}
"""WeChat Pay's number beside the merchant's."""


def with_another_total(entity: Entity, difference_fen: int) -> Entity:
    """The same order, or refund, of another amount: what is owed, collected and listed adds up to it; never below 0."""
    if "total_amount" not in entity:
        return _with_another_refund(entity, difference_fen)
    total_fen = max(entity["total_amount"] + difference_fen, 0)
    difference_fen = total_fen - entity["total_amount"]
    changed = entity | {"total_amount": total_fen}
    for items, price in ITEMS:
        if changed.get(items):
            changed[items] = _raised(changed[items], price, difference_fen)
    if "collection" in changed:
        changed["collection"] = _collected(changed["collection"], difference_fen)
    return changed


def _with_another_refund(entity: Entity, difference_fen: int) -> Entity:
    amount = entity["amount"]
    changed = {name: max(amount[name] + difference_fen, 0) for name in _REFUNDED if name in amount}
    return entity | {"amount": amount | changed}


_REFUNDED: Final = ("refund", "payer_refund", "settlement_refund")


def with_other_details(entity: Entity, variant: str) -> Entity:
    """The same debits, told otherwise: none of it is a contradiction (reference payscore-api F.5 i)."""
    collection = dict(entity["collection"])
    details = collection.pop("details")
    match variant:
        case "reversed":
            collection["details"] = details[::-1]
        case "without_seq":
            collection["details"] = [{name: row[name] for name in row if name != "seq"} for row in details]
    return entity | {"collection": collection}


def _collected(collection: Entity, difference_fen: int) -> Entity:
    moved = "paid_amount" if collection["state"] == "USER_PAID" else "paying_amount"
    changed = collection | {name: collection[name] + difference_fen for name in ("total_amount", moved)}
    if moved == "paid_amount" and "details" in changed:
        changed["details"] = _raised(changed["details"], "amount", difference_fen)
    return changed


def _raised(rows: list[Entity], price: str, difference_fen: int) -> list[Entity]:
    """The first row is raised."""
    first, *rest = rows
    return [first | {price: first.get(price, 0) + difference_fen}, *rest]


def _wrong_types(entity: Entity) -> bytes:
    return msgspec.json.encode({name: 0 if isinstance(value, str) else "?" for name, value in entity.items()})


_UNREADABLE: Final[Mapping[str, Callable[[Entity], bytes]]] = {
    "not_json": lambda _entity: "系统繁忙".encode(),
    "not_utf8": lambda _entity: b'{"state":"\xff\xfe"}',
    "empty": lambda _entity: b"",
    "array": lambda entity: msgspec.json.encode([entity]),
    "empty_object": lambda _entity: b"{}",
    "wrong_types": _wrong_types,
}


def _another(number: str) -> str:
    """A number of the same form that differs in its last character."""
    return number[:-1] + ("1" if number[-1] == "0" else "0")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # 499, for one, is nginx's own
        return "Error"
