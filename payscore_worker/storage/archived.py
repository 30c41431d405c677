"""What is remembered of a trip that was archived: enough that nothing heard of it later can charge anybody again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Protocol, Self

from payscore_worker.domain.trip import (
    Cancelled,
    Debit,
    Discount,
    Ended,
    Fee,
    Payment,
    Started,
    Trip,
    TripState,
)

DIGEST_BYTES: Final = 16
"""Enough that no two facts of one trip are taken for each other by chance."""

FACTS: Final = 3
"""Start, end, cancellation."""

VERSION: Final = 1
"""Of how facts are digested, and the first byte of their digests."""

FACTS_BYTES: Final = 1 + FACTS * DIGEST_BYTES

Fact = Started | Ended | Cancelled | Fee | Discount
Members = Callable[[Any], dict[str, Any]]


class Row(Protocol):
    """A row of either driver; instants are datetimes already."""

    def __getitem__(self, name: str, /) -> Any: ...  # noqa: ANN401 - a column has the type that its table gives it


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedTrip:
    """A trip that is over, and whose row is in an archive file."""

    trip_id: str
    out_order_no: str
    state: TripState
    noted_at: datetime
    payment: Payment | None
    facts: bytes
    """The digests of start, end and cancellation, as `digests` writes them."""
    archive: str
    """The file that it is in."""
    archived_at: datetime

    @classmethod
    def of(cls, trip: Trip, *, archive: str, archived_at: datetime) -> Self:
        """Keep what is to be remembered of a trip."""
        return cls(
            trip_id=trip.trip_id,
            out_order_no=trip.out_order_no,
            state=trip.state,
            noted_at=trip.noted_at,
            payment=trip.payment,
            facts=digests(trip),
            archive=archive,
            archived_at=archived_at,
        )

    @classmethod
    def read(cls, row: Row) -> Self:
        """Read it from its row."""
        paid = row["paid_at"] is not None
        return cls(
            trip_id=row["trip_id"],
            out_order_no=row["out_order_no"],
            state=TripState(row["state"]),
            noted_at=row["noted_at"],
            payment=Payment(
                paid_fen=row["paid_fen"],
                paid_at=row["paid_at"],
                debits=(Debit(transaction_id=row["transaction_id"]),) if row["transaction_id"] else (),
            )
            if paid
            else None,
            facts=_readable(bytes(row["facts"])),
            archive=row["archive"],
            archived_at=row["archived_at"],
        )

    def row(self) -> dict[str, Any]:
        """Write it as the columns of its table."""
        return {
            "trip_id": self.trip_id,
            "out_order_no": self.out_order_no,
            "state": self.state.value,
            "noted_at": self.noted_at,
            "paid_fen": self.payment.paid_fen if self.payment else None,
            "paid_at": self.payment.paid_at if self.payment else None,
            "transaction_id": self.payment.transaction_id if self.payment else None,
            "facts": self.facts,
            "archive": self.archive,
            "archived_at": self.archived_at,
        }

    def knows(self, told: Trip) -> bool:
        """Tell whether every fact of `told` was noted, and said the same, before this trip was archived."""
        members = _said if len(self.facts) == FACTS_BYTES else _said_before_versions
        known = _split(self.facts[-FACTS * DIGEST_BYTES :])
        said = [_digest(fact, members) for fact in _facts(told)]
        return all(fact in (_NOTHING, known[place]) for place, fact in enumerate(said))

    @property
    def trip(self) -> Trip:
        """As much of the trip as WeChat Pay's word can be compared with: where it ended, and what was paid."""
        return Trip(
            trip_id=self.trip_id,
            out_order_no=self.out_order_no,
            state=self.state,
            noted_at=self.noted_at,
            payment=self.payment,
        )


def _readable(facts: bytes) -> bytes:
    """Take digests of this version, and those from before there was one.

    Raises:
        ValueError: they are a newer release's.

    """
    if len(facts) == FACTS * DIGEST_BYTES or (len(facts) == FACTS_BYTES and facts[0] == VERSION):
        return facts
    raise ValueError("digests of a version that is not known here")


def digests(trip: Trip) -> bytes:
    """Digest a trip's three facts, each by itself, behind the version; zeros stand for one that was never noted."""
    return bytes([VERSION]) + b"".join(_digest(fact, _said) for fact in _facts(trip))


def _facts(trip: Trip) -> tuple[Fact | None, ...]:
    return trip.started, trip.ended, trip.cancelled


def _digest(fact: Fact | None, members: Members) -> bytes:
    if fact is None:
        return _NOTHING
    text = json.dumps(members(fact), sort_keys=True, ensure_ascii=True, default=_instant)
    return sha256(text.encode()).digest()[:DIGEST_BYTES]


def _said(fact: Fact) -> dict[str, Any]:
    """Write what a fact says beyond the defaults: a member that a later release adds leaves it as it is."""
    return {
        member.name: _written(getattr(fact, member.name), _said)
        for member in fields(fact)
        if getattr(fact, member.name) != _default(member)
    }


def _said_before_versions(fact: Fact) -> dict[str, Any]:
    """Write every member that such a fact had then; one added since makes it another fact if it says something."""
    names = BEFORE_VERSIONS[type(fact).__name__] | _said(fact).keys()
    return {name: _written(getattr(fact, name), _said_before_versions) for name in names}


def _written(value: object, members: Members) -> object:
    if isinstance(value, tuple):
        return [_written(one, members) for one in value]
    return members(value) if isinstance(value, Fee | Discount) else value


def _default(member: Field[Any]) -> object:
    return member.default if member.default_factory is MISSING else member.default_factory()


def _instant(moment: datetime) -> str:
    """Write the instant alone: the same one in another zone is the same fact."""
    return moment.astimezone(UTC).isoformat()


def _split(digests: bytes) -> list[bytes]:
    return [digests[first : first + DIGEST_BYTES] for first in range(0, len(digests), DIGEST_BYTES)]


BEFORE_VERSIONS: Final[Mapping[str, frozenset[str]]] = {
    "Started": frozenset(
        {
            "openid",
            "started_at",
            "start_location",
            "end_location",
            "estimated_fare_fen",
            "risk_amount_fen",
            "introduction",
            "attach",
        }
    ),
    "Ended": frozenset({"ended_at", "fees", "discounts", "total_fen", "start_location", "end_location"}),
    "Cancelled": frozenset({"cancelled_at", "reason"}),
    "Fee": frozenset({"name", "amount_fen", "description", "count"}),
    "Discount": frozenset({"name", "amount_fen", "description"}),
}
"""What facts consisted of when their digests had no version and covered all of it; not to be changed."""

_NOTHING: Final = bytes(DIGEST_BYTES)
