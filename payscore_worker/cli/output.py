"""What every command shares: running, printing, failing."""

import asyncio
import sys
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import click
import msgspec
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from payscore_worker import stopping

FINE: Final = 0
NOT_FINE: Final = 1
WRONG_USE: Final = 2

END_SECONDS: Final = 8.0
"""What a command may take to clear up once it is told to stop; Docker kills after ten."""

_T = TypeVar("_T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def run(work: Coroutine[Any, Any, _T], *, within_seconds: float | None = END_SECONDS) -> _T:
    """Run work to its end; told to stop, it is cancelled, and the process ends as a shell tells of the signal.

    So its transactions are rolled back, and what it has in hand is given back; `within_seconds` bounds that.
    """
    try:
        return uvloop.run(_until_told(work, within_seconds))
    except asyncio.CancelledError:
        if (number := stopping.told()) is None:
            raise
        click.echo(f"stopped by {number.name} before it was done", err=True)
        sys.exit(stopping.code_of(number))


async def _until_told(work: Coroutine[Any, Any, _T], within_seconds: float | None) -> _T:
    loop = asyncio.get_running_loop()
    working = loop.create_task(work)

    def cancel() -> None:
        loop.call_soon_threadsafe(working.cancel)  # which wakes the loop, too

    with stopping.reacting(cancel, within_seconds=within_seconds):
        return await working


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
