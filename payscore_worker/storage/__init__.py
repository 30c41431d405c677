"""Trips, their calls and events, kept in PostgreSQL or SQLite."""

from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.cases import Case, Entry
from payscore_worker.storage.port import (
    CallOutcome,
    CallRecord,
    Direction,
    EventRecord,
    OutboxRow,
    ServiceNote,
    Storage,
)
from payscore_worker.storage.schema import SCHEMA_REVISION, Schema, see_that_it_fits

__all__ = [
    "SCHEMA_REVISION",
    "ArchivedTrip",
    "CallOutcome",
    "CallRecord",
    "Case",
    "Direction",
    "Entry",
    "EventRecord",
    "OutboxRow",
    "Schema",
    "ServiceNote",
    "Storage",
    "see_that_it_fits",
]
