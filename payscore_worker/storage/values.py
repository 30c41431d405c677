"""What both databases keep: looked at before it is written, so that one that is refused is named and costs no other."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from payscore_worker.errors import Unstorable
from payscore_worker.storage.cases import Entry, table_of
from payscore_worker.storage.port import CallRecord, EventRecord

MAX_INT: Final = 2**63 - 1
"""Of a bigint, and of SQLite's integer."""

_NUL_IN_JSON: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""How JSON writes a NUL; after an even number of backslashes, which are themselves."""

_CALL_TEXTS: Final = ("kind", "method", "path", "code", "request_id", "at")
_EVENT_TEXTS: Final = ("event_id", "type", "at")


def kept_row(entry: Entry, now: datetime) -> tuple[Any, ...]:
    """Write a case as the values of its columns, under its next version.

    Raises:
        Unstorable: no database keeps it.

    """
    table = table_of(type(entry.case))
    try:
        row = table.to_row(entry.case, due_at=entry.due_at, now=now)
    except UnicodeEncodeError:
        raise Unstorable(f"a fact of the {table.name} cannot be kept: it holds half a character") from None
    for column, value in zip(table.columns, row, strict=True):
        keep(table.name, column, value)
        if column in table.json_columns and value is not None and _NUL_IN_JSON.search(value):
            raise Unstorable(f"{table.name}.{column} cannot be kept: it holds a NUL")
    return row


def keep_records(calls: Sequence[CallRecord], events: Sequence[EventRecord]) -> None:
    """See that calls and events can be kept.

    Raises:
        Unstorable: one cannot.

    """
    _keep_members("wechatpay_call", calls, _CALL_TEXTS)
    _keep_members("trip_event", events, _EVENT_TEXTS)


def keep(table: str, column: str, value: object) -> None:
    """See that a value can be kept.

    Raises:
        Unstorable: it cannot.

    """
    fault = _fault(value)
    if fault is not None:
        raise Unstorable(f"{table}.{column} cannot be kept: {fault}")


def is_keepable(value: object) -> bool:
    """Tell whether a row could have this value: one that cannot need not be looked for."""
    return _fault(value) is None


def _keep_members(table: str, records: Iterable[object], names: Sequence[str]) -> None:
    for record in records:
        for name in names:
            keep(table, name, getattr(record, name))


def _fault(value: object) -> str | None:
    """Say why no database keeps it; what it holds is not repeated."""
    if isinstance(value, str):
        return _fault_of_text(value)
    if isinstance(value, datetime):
        return _fault_of_moment(value)
    if isinstance(value, int) and not -MAX_INT <= value <= MAX_INT:
        return "it is a number of more than 64 bits"
    return None


def _fault_of_text(text: str) -> str | None:
    if "\0" in text:
        return "it holds a NUL"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it holds half a character"
    return None


def _fault_of_moment(moment: datetime) -> str | None:
    try:
        moment.astimezone(UTC)
    except (OverflowError, ValueError):
        return "it is a time that no clock shows"
    return None
