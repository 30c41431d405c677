"""What every command shares: running, printing, failing."""

from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import click
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

FINE: Final = 0
NOT_FINE: Final = 1
WRONG_USE: Final = 2

_T = TypeVar("_T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run work to its end."""
    return uvloop.run(work)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document for scripts."""
    click.echo(msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print rows for a person: numbers stand right, times are local, and nothing is a dash."""
    table = Table(*columns, title=title, title_justify="left", header_style="bold")
    for column, index in zip(table.columns, range(len(columns)), strict=True):
        if rows and all(isinstance(row[index], int | None) for row in rows):
            column.justify = "right"
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    Console().print(table)


def _shown(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, datetime):
        return f"{value.astimezone():%m-%d %H:%M:%S}"
    return str(value)
