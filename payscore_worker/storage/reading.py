"""Rows of a newer release: one that this release cannot read fails alone, by its name."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog

from payscore_worker import metrics
from payscore_worker.errors import UnreadableRow
from payscore_worker.storage.archived import ArchivedTrip

UNREADABLE: Final = (ValueError, TypeError, LookupError, ArithmeticError, msgspec.MsgspecError)
"""What reading raises: an enum without this value, JSON of another shape, a column missing or of another kind."""

_T = TypeVar("_T")


class Row(Protocol):
    """A row of either driver; instants are datetimes already."""

    def __getitem__(self, name: str, /) -> Any: ...  # noqa: ANN401 - a column has the type that its table gives it
    def keys(self) -> Iterable[str]: ...


log = structlog.stdlib.get_logger(__name__)


class _Asked:
    """A row that remembers which of its columns was asked for last."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self.column = ""

    def __getitem__(self, name: str, /) -> Any:  # noqa: ANN401 - a column has the type that its table gives it
        self.column = name
        return self._row[name]

    def keys(self) -> Iterable[str]:
        return self._row.keys()


def read(table: str, key: str, reader: Callable[[Row], _T], row: Row) -> _T:
    """Read a row.

    Raises:
        UnreadableRow: this release cannot.

    """
    try:
        return reader(row)
    except UNREADABLE:
        pass
    asked = _Asked(row)  # only now, since nearly every row can be read
    try:
        return reader(asked)
    except UNREADABLE:
        raise UnreadableRow(table, key, asked.column) from None


def read_archived(row: Row) -> ArchivedTrip:
    """Read what is remembered of an archived trip.

    Raises:
        UnreadableRow: this release cannot.

    """
    return read("archived_trip", f"trip {row['trip_id']!r}", ArchivedTrip.read, row)


def note_unreadable(error: UnreadableRow) -> None:
    """Name a row that was passed over, and count it."""
    metrics.of(metrics.UNREADABLE, error.table).inc()
    log.error("row_unreadable", table=error.table, row=error.key, column=error.column, reason=str(error))
