"""Writes what became of a trip, and what is announced of it, together or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import uuid4

from payscore_worker import tracing
from payscore_worker.domain.trip import Rules, Trip, due_at
from payscore_worker.errors import TripArchived, TripBusy
from payscore_worker.events import Announcement, write_cloud_event
from payscore_worker.settlement import tally
from payscore_worker.settlement.announcements import EnableJump, announcements
from payscore_worker.storage import CallRecord, Direction, EventRecord, Storage

MAX_CONFLICTS: Final = 8
"""Writers that may overtake us on one trip in a row; facts are few, so more is a bug."""

SOURCE: Final = "payscore-worker"

Change = Callable[[Trip], Trip]


class Books:
    """The one way in which a trip's row is changed."""

    def __init__(
        self,
        *,
        storage: Storage,
        rules: Rules,
        clock: Callable[[], datetime],
        enable_jump: EnableJump,
        on_announced: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._rules = rules
        self._clock = clock
        self._enable_jump = enable_jump
        self._on_announced = on_announced

    async def change(
        self, trip: Trip, change: Change, *, calls: Sequence[CallRecord] = (), events: Sequence[EventRecord] = ()
    ) -> Trip:
        """Change a trip on its newest row; the change is asked again when another writer was faster.

        Raises:
            TripBusy: others were faster, again and again.
            TripArchived: the row is no longer there.

        """
        for _ in range(MAX_CONFLICTS):
            changed = change(trip)
            if changed is trip and not calls:
                return trip
            if await self.write(trip, changed, calls=calls, events=events if changed is not trip else ()):
                return replace(changed, version=changed.version + 1)
            trip = await self.reload(trip)
        raise TripBusy(f"trip {trip.trip_id} was moved by others {MAX_CONFLICTS} times in a row")

    async def write(
        self, before: Trip, after: Trip, *, calls: Sequence[CallRecord], events: Sequence[EventRecord] = ()
    ) -> bool:
        """Write a trip over the row it was made from; tells whether that still stood."""
        now = self._clock()
        said = announcements(before, after, self._enable_jump)
        told = [self._announcement(what, now, version=after.version + 1) for what in said]
        written = await self._storage.save(
            after, due_at=due_at(after, now, self._rules), now=now, calls=calls, events=[*events, *told]
        )
        if written:
            tally.count(before, after, [*events, *told])
        if written and told:
            self._on_announced()
        return written

    async def reload(self, trip: Trip) -> Trip:
        """Load the newest row, and keep what only the one in hand knows."""
        newest = await self._storage.load(trip.trip_id)
        if newest is None:
            raise TripArchived(f"trip {trip.trip_id!r} is no longer there")
        ticket = newest.finish_ticket or trip.finish_ticket
        return replace(newest, service_enabled=trip.service_enabled, finish_ticket=ticket)

    def _announcement(self, what: Announcement, now: datetime, *, version: int) -> EventRecord:
        event_id = uuid4().hex
        body = write_cloud_event(
            id=event_id,
            source=SOURCE,
            type=what.TYPE,
            time=now,
            subject=what.trip_id,
            sequence=version,
            data=what,
            trace=tracing.carried(),
        )
        return EventRecord(event_id=event_id, direction=Direction.OUT, type=what.TYPE, at=now, body=body)
