"""What is remembered of a trip that was archived: enough that nothing heard of it later can charge anybody again."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Protocol, Self

from payscore_worker.trip import Payment, Trip, TripState

DIGEST_BYTES: Final = 16
"""Enough that no two facts of one trip are taken for each other by chance."""


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
                transaction_ids=tuple(filter(None, (row["transaction_id"],))),
            )
            if paid
            else None,
            facts=bytes(row["facts"]),
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
        known, said = _split(self.facts), _split(digests(told))
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


def digests(trip: Trip) -> bytes:
    """Digest a trip's three facts, each by itself; zeros stand for one that was never noted."""
    return b"".join(_digest(fact) for fact in (trip.started, trip.ended, trip.cancelled))


def _digest(fact: object | None) -> bytes:
    if fact is None:
        return _NOTHING
    text = json.dumps(asdict(fact), sort_keys=True, ensure_ascii=True, default=_instant)  # type: ignore[call-overload]
    return sha256(text.encode()).digest()[:DIGEST_BYTES]


def _instant(moment: datetime) -> str:
    """Write the instant alone: the same one in another zone is the same fact."""
    return moment.astimezone(UTC).isoformat()


def _split(facts: bytes) -> list[bytes]:
    return [facts[first : first + DIGEST_BYTES] for first in range(0, len(facts), DIGEST_BYTES)]


_NOTHING: Final = bytes(DIGEST_BYTES)
