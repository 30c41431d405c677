"""Writes what became of a case, and what is announced of it, together or not at all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import uuid4

from payscore_worker import tracing
from payscore_worker.domain import authorisation as authorisations
from payscore_worker.domain import next_step
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.next_step import Rules
from payscore_worker.domain.refund import Pair
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import TripArchived, TripBusy
from payscore_worker.events import CaseAnnouncement, write_cloud_event
from payscore_worker.settlement import tally
from payscore_worker.settlement.announcements import (
    Enabling,
    Jump,
    announcements,
    authorisation_announcements,
    refund_announcements,
)
from payscore_worker.storage import CallRecord, Direction, Entry, EventRecord, Storage

MAX_CONFLICTS: Final = 8
"""Writers that may overtake us on one trip in a row; facts are few, so more is a bug."""

SOURCE: Final = "payscore-worker"

S = TypeVar("S")
"""What is written together: a trip, or a trip and a refund of it."""

Change = Callable[[Trip], Trip]
PairChange = Callable[[Pair], Pair]


class Books(ABC, Generic[S]):
    """The one way in which a kind of case is changed."""

    def __init__(self, *, storage: Storage, clock: Callable[[], datetime], on_announced: Callable[[], None]) -> None:
        self._storage = storage
        self._clock = clock
        self._on_announced = on_announced

    async def change(
        self,
        before: S,
        change: Callable[[S], S],
        *,
        calls: Sequence[CallRecord] = (),
        events: Sequence[EventRecord] = (),
    ) -> S:
        """Change a case on its newest row; the change is asked again when another writer was faster.

        Raises:
            TripBusy: others were faster, again and again.
            TripArchived: the row is no longer there.

        """
        for _ in range(MAX_CONFLICTS):
            after = change(before)
            moved = not self._is_same(before, after)
            if not moved and not calls:
                return before
            written = await self.write(before, after, calls=calls, events=events if moved else ())
            if written is not None:
                return written
            before = await self.reload(before)
        raise TripBusy(f"{self._name(before)} was moved by others {MAX_CONFLICTS} times in a row")

    async def write(
        self, before: S, after: S, *, calls: Sequence[CallRecord], events: Sequence[EventRecord] = ()
    ) -> S | None:
        """Write a case over the row it was made from; returns it as it stands now, or None if that had moved."""
        now = self._clock()
        said = list(self._said(before, after))
        told = [self._announcement(what, now, version=self._version(after) + 1) for what in said]
        entries = self._entries(before, after, now, is_told=bool(told))
        if not await self._save(entries, now, calls, [*events, *told]):
            return None
        self._count(before, after, [*events, *told])
        if told:
            self._on_announced()
        return self._as_written(after, entries)

    async def _save(
        self, entries: Sequence[Entry], now: datetime, calls: Sequence[CallRecord], events: Sequence[EventRecord]
    ) -> bool:
        if len(entries) > 1:
            return await self._storage.save_together(entries, now=now, calls=calls, events=events)
        (entry,) = entries
        return await self._storage.save(entry.case, due_at=entry.due_at, now=now, calls=calls, events=events)

    @abstractmethod
    async def reload(self, before: S) -> S:
        """Load the newest row, and keep what only the one in hand knows."""

    @abstractmethod
    def _name(self, case: S) -> str:
        """Name the case to a person."""

    @abstractmethod
    def _version(self, case: S) -> int:
        """Tell the version of the row that announcements bear the sequence of."""

    @abstractmethod
    def _is_same(self, before: S, after: S) -> bool:
        """Tell whether nothing has changed."""

    @abstractmethod
    def _entries(self, before: S, after: S, now: datetime, *, is_told: bool) -> list[Entry]:
        """List the rows to be written, the trip's first."""

    @abstractmethod
    def _as_written(self, after: S, entries: Sequence[Entry]) -> S:
        """Say how a case stands once these rows were written."""

    @abstractmethod
    def _said(self, before: S, after: S) -> Iterator[CaseAnnouncement]:
        """Tell the world what has changed."""

    @abstractmethod
    def _count(self, before: S, after: S, events: Sequence[EventRecord]) -> None:
        """Count for the operators what has changed."""

    def _announcement(self, what: CaseAnnouncement, now: datetime, *, version: int) -> EventRecord:
        event_id = uuid4().hex
        body = write_cloud_event(
            id=event_id,
            source=SOURCE,
            type=what.TYPE,
            time=now,
            subject=what.subject,
            sequence=version,
            data=what,
            trace=tracing.carried(),
        )
        return EventRecord(event_id=event_id, direction=Direction.OUT, type=what.TYPE, at=now, body=body)


class TripBooks(Books[Trip]):
    """The books of trips."""

    def __init__(
        self,
        *,
        storage: Storage,
        rules: Rules,
        clock: Callable[[], datetime],
        on_announced: Callable[[], None],
        jump: Jump,
    ) -> None:
        super().__init__(storage=storage, clock=clock, on_announced=on_announced)
        self._rules = rules
        self._jump = jump

    async def reload(self, before: Trip) -> Trip:
        newest = await self._storage.load(before.trip_id)
        if newest is None:
            raise TripArchived(f"trip {before.trip_id!r} is no longer there")
        ticket = newest.finish_ticket or before.finish_ticket
        return replace(newest, service_enabled=before.service_enabled, finish_ticket=ticket)

    def _name(self, case: Trip) -> str:
        return f"trip {case.trip_id}"

    def _version(self, case: Trip) -> int:
        return case.version

    def _is_same(self, before: Trip, after: Trip) -> bool:
        return after is before

    def _entries(self, before: Trip, after: Trip, now: datetime, *, is_told: bool) -> list[Entry]:
        del before, is_told
        return [Entry(case=after, due_at=next_step.due_at(after, now, self._rules))]

    def _as_written(self, after: Trip, entries: Sequence[Entry]) -> Trip:
        del entries
        return replace(after, version=after.version + 1)

    def _said(self, before: Trip, after: Trip) -> Iterator[CaseAnnouncement]:
        return announcements(before, after, self._jump)

    def _count(self, before: Trip, after: Trip, events: Sequence[EventRecord]) -> None:
        tally.count(before, after, events, account=self._rules.account_of(after))


class RefundBooks(Books[Pair]):
    """The books of refunds: what one reserves, or sends back, stands on its trip as well (design rule 10)."""

    def __init__(
        self, *, storage: Storage, rules: Rules, clock: Callable[[], datetime], on_announced: Callable[[], None]
    ) -> None:
        super().__init__(storage=storage, clock=clock, on_announced=on_announced)
        self._rules = rules

    async def reload(self, before: Pair) -> Pair:
        trip, refund = before
        newest = await self._storage.load(trip.trip_id)
        if newest is None:
            raise TripArchived(f"trip {trip.trip_id!r} is no longer there")
        return newest, await self._storage.load_refund(refund.refund_id) or refund

    def _name(self, case: Pair) -> str:
        return f"trip {case[0].trip_id}"

    def _version(self, case: Pair) -> int:
        return case[0].version

    def _is_same(self, before: Pair, after: Pair) -> bool:
        return all(one is other for one, other in zip(before, after, strict=True))

    def _entries(self, before: Pair, after: Pair, now: datetime, *, is_told: bool) -> list[Entry]:
        """Write the trip where it has changed, and where something is told: its version is the sequence of that."""
        trip, refund = after
        entries = [Entry(case=refund, due_at=refunds.due_at(refund, now))]
        if is_told or trip is not before[0]:
            entries.insert(0, Entry(case=trip, due_at=next_step.due_at(trip, now, self._rules)))
        return entries

    def _as_written(self, after: Pair, entries: Sequence[Entry]) -> Pair:
        trip, refund = after
        bumped = replace(trip, version=trip.version + 1) if len(entries) > 1 else trip
        return bumped, replace(refund, version=refund.version + 1)

    def _said(self, before: Pair, after: Pair) -> Iterator[CaseAnnouncement]:
        return refund_announcements(before, after)

    def _count(self, before: Pair, after: Pair, events: Sequence[EventRecord]) -> None:
        tally.count_refund(before[1], after[1], events, account=self._rules.account_of(after[0]))


class AuthorisationBooks(Books[Authorisation]):
    """The books of authorisations: each stands for itself."""

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Callable[[], datetime],
        on_announced: Callable[[], None],
        enabling: Enabling,
    ) -> None:
        super().__init__(storage=storage, clock=clock, on_announced=on_announced)
        self._enabling = enabling

    async def reload(self, before: Authorisation) -> Authorisation:
        return await self._storage.load_authorisation(before.authorization_code) or before

    def _name(self, case: Authorisation) -> str:
        return f"authorisation {case.authorization_code}"

    def _version(self, case: Authorisation) -> int:
        return case.version

    def _is_same(self, before: Authorisation, after: Authorisation) -> bool:
        return after is before and bool(before.version)  # one that is new is written as it began

    def _entries(self, before: Authorisation, after: Authorisation, now: datetime, *, is_told: bool) -> list[Entry]:
        del before, is_told
        return [Entry(case=after, due_at=authorisations.due_at(after, now))]

    def _as_written(self, after: Authorisation, entries: Sequence[Entry]) -> Authorisation:
        del entries
        return replace(after, version=after.version + 1, token="")

    def _said(self, before: Authorisation, after: Authorisation) -> Iterator[CaseAnnouncement]:
        return authorisation_announcements(before, after, self._enabling)

    def _count(self, before: Authorisation, after: Authorisation, events: Sequence[EventRecord]) -> None:
        tally.count_authorisation(before, after, events)


class ReturnBooks(RefundBooks):
    """The books of refunds that a trip has asked for itself: nobody has them in hand, so they are due at once."""

    def _entries(self, before: Pair, after: Pair, now: datetime, *, is_told: bool) -> list[Entry]:
        entries = super()._entries(before, after, now, is_told=is_told)
        return [replace(entry, due_at=now) if entry.case is after[1] else entry for entry in entries]
