"""The cases that a database keeps: each a row with a version and a time when it is due, and all in one shape of SQL.

A case is what has a life of its own at WeChat Pay (design 10): a trip, a refund, an authorisation.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import Table

from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.refund import Refund
from payscore_worker.domain.trip import Trip
from payscore_worker.errors import UnreadableRow
from payscore_worker.storage import tables
from payscore_worker.storage.reading import Row, note_unreadable, read
from payscore_worker.storage.rows import (
    AUTHORISATION_COLUMNS,
    REFUND_COLUMNS,
    TRIP_COLUMNS,
    authorisation_from_row,
    authorisation_row,
    refund_from_row,
    refund_row,
    trip_from_row,
    trip_row,
)

Case = Trip | Refund | Authorisation
C = TypeVar("C", bound=Case)

Write = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class CaseTable(Generic[C]):
    """How one kind of case is kept; statements have PostgreSQL's places."""

    table: Table
    columns: tuple[str, ...]
    to_row: Write
    from_row: Callable[[Row], C]
    subject: str = "trip_id"
    """The column of what it is about: under this name calls and events are kept, and told in order."""
    only_if: str = "true"
    """What must hold for a new row to be written, beside that no other one has its key."""

    @property
    def name(self) -> str:
        """Name the table."""
        return self.table.name

    @cached_property
    def key(self) -> str:
        """Name the column of the key."""
        (column,) = self.table.primary_key.columns
        return column.name

    @cached_property
    def json_columns(self) -> frozenset[str]:
        """Name the columns that hold JSON."""
        return frozenset(column.name for column in self.table.columns if column.type is tables.Json)

    def place(self, column: str) -> str:
        """Tell the place of a column's value."""
        return f"${self.columns.index(column) + 1}"

    def select_by(self, column: str) -> str:
        """Ask for the case with this value."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name} WHERE {column} = $1"

    @cached_property
    def insert(self) -> str:
        """Write a new case."""
        places = ", ".join(map(self.place, self.columns))
        return f"""
            INSERT INTO {self.name} ({", ".join(self.columns)}, claims) SELECT {places}, 0
            WHERE {self.only_if} ON CONFLICT DO NOTHING
        """

    @cached_property
    def update(self) -> str:
        """Write a case over the version that it was made from."""
        values = ", ".join(f"{name} = {self.place(name)}" for name in self.columns if name != self.key)
        return f"""
            UPDATE {self.name} SET {values}, claimed_until = NULL, claims = 0
            WHERE {self.key} = {self.place(self.key)} AND version = {self.place("version")} - 1
        """

    @cached_property
    def reschedule(self) -> str:
        """Set when a case is due."""
        return f"""
            UPDATE {self.name} SET due_at = $1, claimed_until = NULL, claims = 0 WHERE {self.key} = $2 AND version = $3
        """

    def subject_of(self, case: C) -> str:
        """Tell what a case is about."""
        return cast(str, getattr(case, self.subject))

    def key_of(self, case: C) -> str:
        """Tell the key of a case."""
        return cast(str, getattr(case, self.key))

    def read(self, row: Row) -> C:
        """Read a case.

        Raises:
            UnreadableRow: this release cannot.

        """
        return read(self.name, f"{self.name} {row[self.key]!r}", self.from_row, row)

    def readable(self, rows: Iterable[Row]) -> list[C]:
        """Read the cases that this release can read; the others are named and counted."""
        cases: list[C] = []
        for row in rows:
            try:
                cases.append(self.read(row))
            except UnreadableRow as error:
                note_unreadable(error)
        return cases


TRIPS: Final = CaseTable(
    table=tables.trip,
    columns=TRIP_COLUMNS,
    to_row=trip_row,
    from_row=trip_from_row,
    only_if="""NOT EXISTS (SELECT 1 FROM archived_trip WHERE trip_id = $1)
                AND NOT EXISTS (SELECT 1 FROM archived_trip WHERE out_order_no = $2)""",
)
"""Nothing is written, and nobody is asked beforehand, where a trip is archived: it must not begin anew."""

REFUNDS: Final = CaseTable(table=tables.refund, columns=REFUND_COLUMNS, to_row=refund_row, from_row=refund_from_row)

AUTHORISATIONS: Final = CaseTable(
    table=tables.authorisation,
    columns=AUTHORISATION_COLUMNS,
    to_row=authorisation_row,
    from_row=authorisation_from_row,
    subject="authorization_code",
)
"""About itself: it belongs to no trip, and serves many."""

_TABLES: Final[dict[type, CaseTable[Any]]] = {Trip: TRIPS, Refund: REFUNDS, Authorisation: AUTHORISATIONS}


def table_of(kind: type[C]) -> CaseTable[C]:
    """Find how a kind of case is kept."""
    return _TABLES[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A case as it is to be written, and when it is due then."""

    case: Case
    due_at: datetime | None
