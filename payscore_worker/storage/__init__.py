"""Trips, their calls and events, kept in PostgreSQL or SQLite."""

from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.port import (
    SCHEMA_REVISION,
    CallOutcome,
    CallRecord,
    Direction,
    EventRecord,
    OutboxRow,
    ServiceNote,
    Storage,
)

__all__ = [
    "SCHEMA_REVISION",
    "ArchivedTrip",
    "CallOutcome",
    "CallRecord",
    "Direction",
    "EventRecord",
    "OutboxRow",
    "ServiceNote",
    "Storage",
]
