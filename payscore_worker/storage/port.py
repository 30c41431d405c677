"""What the settlement asks of a database; PostgreSQL and SQLite each answer it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.refund import Refund
from payscore_worker.domain.trip import Trip
from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.cases import C, Case, Entry
from payscore_worker.storage.schema import Schema

LONGEST_LEASE: Final = timedelta(minutes=4)
"""A case that keeps failing is taken up at least this often: what stood in its way may be gone."""


class CallOutcome(StrEnum):
    """How a journaled call stands."""

    PREPARED = "prepared"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One WeChat Pay call of a trip, as the journal keeps it.

    Writing it again under the same kind and generation adds its attempts and sends, and takes its answer; the bytes
    stay, and so does an acceptance: no later refusal overwrites it.
    """

    kind: str
    generation: int
    method: str
    path: str
    body: bytes = field(repr=False)
    outcome: CallOutcome
    at: datetime
    attempts: int = 0
    status: int | None = None
    code: str = ""
    request_id: str = ""
    uncertain: bool = False
    """Some attempt has an unknown outcome."""
    begun: int = 0
    """Sends that were counted before they were made, by whichever worker; -1 on the row of a release without it."""
    definite: int = 0
    """Sends of these that were surely not accepted: refused, or never made."""

    @property
    def is_surely_without_effect(self) -> bool:
        """Whether no send of these bytes can have been accepted."""
        if self.outcome is CallOutcome.ACCEPTED:
            return False
        if self.begun < 0:
            return self.outcome is CallOutcome.REFUSED and not self.uncertain
        return self.definite >= self.begun


class Direction(StrEnum):
    """Which way an event went."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One event of a trip: noted (in), or to be announced by the relay (out)."""

    event_id: str
    direction: Direction
    type: str
    at: datetime
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """An announcement that waits to be published."""

    id: int
    event_id: str
    trip_id: str
    type: str
    body: bytes = field(repr=False)
    attempts: int
    """How often the broker had nobody to give it to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNote:
    """What WeChat last said of a passenger's PayScore service."""

    enabled: bool
    as_of: datetime


class Storage(Protocol):
    """Short transactions, each one round trip where the database allows it.

    Every method raises StorageUnavailable where the database cannot be reached, Unstorable where it is given what no
    database keeps, and UnreadableRow where a row says what this release does not know.
    """

    async def load(self, trip_id: str) -> Trip | None:
        """Load a trip by its id."""

    async def load_by_out_order_no(self, out_order_no: str) -> Trip | None:
        """Load a trip by the number WeChat knows it under."""

    async def load_refund(self, refund_id: str) -> Refund | None:
        """Load a refund by its id."""

    async def load_refund_by_out_refund_no(self, out_refund_no: str) -> Refund | None:
        """Load a refund by the number WeChat knows it under."""

    async def load_authorisation(self, authorization_code: str) -> Authorisation | None:
        """Load an authorisation by its number."""

    async def authorisations_of(self, openid: str, *, limit: int) -> list[Authorisation]:
        """Load the authorisations of a passenger, the newest first."""

    async def not_enabled(self, openid: str, *, limit: int) -> list[Trip]:
        """Load a passenger's trips that were declined because the service was off, and may be ridden still."""

    async def archived(self, trip_id: str) -> ArchivedTrip | None:
        """Load what is remembered of an archived trip."""

    async def archived_by_out_order_no(self, out_order_no: str) -> ArchivedTrip | None:
        """Load what is remembered of an archived trip by the number WeChat knows it under."""

    async def save(
        self,
        case: Case,
        *,
        due_at: datetime | None,
        now: datetime,
        calls: Sequence[CallRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> bool:
        """Write a case with calls and events of its trip in one transaction, if nobody wrote it since it was loaded.

        A new trip is not written where one of its id or number is archived. Returns whether it was written; the stored
        version is then `case.version + 1`.
        """

    async def save_together(
        self,
        entries: Sequence[Entry],
        *,
        now: datetime,
        calls: Sequence[CallRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> bool:
        """Write cases of one trip, all or none (design rule 10); as `save` otherwise.

        Writers take them in one order, the trip first: else two of them might wait for each other.
        """

    async def journal(self, case: Case, call: CallRecord) -> None:
        """Write a call of a case that does not move."""

    async def begin_send(self, trip_id: str, kind: str, generation: int | None = None) -> CallRecord | None:
        """Count one more send of a journaled call, before it is made; returns the call.

        Without a generation: of the newest one.
        """

    async def note_event(self, trip_id: str, event: EventRecord) -> None:
        """Note an event that moves nothing; the same one again is noted once."""

    async def last_call(self, trip_id: str, kind: str, generation: int | None = None) -> CallRecord | None:
        """Load a generation of a journaled call; without one, the newest."""

    async def service_of(self, openid: str) -> ServiceNote | None:
        """Load what is known of a passenger's PayScore service."""

    async def note_service(self, openid: str, note: ServiceNote) -> None:
        """Note a passenger's PayScore service, unless something newer is known."""

    async def claim_due(self, kind: type[C], *, now: datetime, lease: timedelta, limit: int) -> list[C]:
        """Take cases of a kind that are due for this caller alone.

        Each repeated claim of one case doubles the lease, to LONGEST_LEASE at most. A row that cannot be read is named,
        counted, and left to its lease.
        """

    async def reschedule(self, case: Case, *, due_at: datetime | None) -> None:
        """Set when a case is due, if nobody wrote it since it was loaded."""

    async def claim_outbox(self, *, now: datetime, lease: timedelta, limit: int) -> list[OutboxRow]:
        """Take announcements for this caller alone, the oldest first.

        None is taken while somebody else has an older one of its trip in hand, except for one that nobody took before
        (`attempts`): that has lost its place.
        """

    async def mark_published(self, ids: Sequence[int], *, now: datetime) -> None:
        """Note that the broker has confirmed these announcements."""

    async def mark_unrouted(self, ids: Sequence[int], *, now: datetime) -> None:
        """Keep these announcements as such that nobody listens to; they are tried again when a person says so."""

    async def postpone_outbox(self, ids: Sequence[int], *, until: datetime) -> None:
        """Try these announcements again later: the broker had nobody to give them to."""

    async def release_outbox(self, ids: Sequence[int], *, claimed_until: datetime) -> None:
        """Give back what was claimed until then, and not published, so that anybody may take it at once."""

    async def schema(self) -> Schema:
        """Read what the schema says of itself."""

    async def now(self) -> datetime:
        """Read the database's clock; that of an embedded one is this machine's."""

    async def ping(self) -> None:
        """Ask the database for a sign of life."""

    async def until_lost(self) -> None:
        """Wait until nothing can be asked any more in this process, and raise StorageUnavailable then."""

    async def aclose(self) -> None:
        """Close every connection."""
