"""Reads the tables of docs/state-table.md, cell by cell."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark.structures import ParameterSet

from payscore_worker.domain.trip import Trip
from payscore_worker.errors import ConflictingFact, IllegalTransition, TooEarly

PAGE: Final = Path(__file__).parents[3] / "docs" / "state-table.md"

CANNOT_BE: Final = "–"


@dataclass(frozen=True)
class Cell:
    """One cell of the page, and how it reads."""

    table: str
    row: str
    column: str
    text: str

    @property
    def state(self) -> str:
        """The state afterwards; empty where nothing changes, a fact is refused, or a person must look."""
        return self._part(r"([A-Z]+)\b.* →")

    @property
    def step(self) -> str:
        return self._part(r".* → (\w+)")

    @property
    def problem(self) -> str:
        return self._part(r"problem (\w+)")

    def says(self, mark: str) -> bool:
        """Tell whether a mark of the page (`look`, `runs`, `anew`) stands in the cell."""
        return f", {mark}" in self.text

    def _part(self, pattern: str) -> str:
        found = re.fullmatch(pattern + ".*", self.text)
        return found[1] if found else ""


@cache
def table(heading: str) -> tuple[tuple[Cell, ...], dict[str, str]]:
    """Read one table of the page: its cells, and the rules that each row cites."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    assert header[-1] == "rules"
    cells = tuple(
        Cell(heading, row, column, text)
        for row, *values, _ in rows
        for column, text in zip(header[1:-1], values, strict=True)
    )
    return cells, {row[0]: row[-1] for row in rows}


def section(heading: str) -> str:
    """Read what stands under a heading, up to the next one of any rank."""
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no heading {heading!r}"
    return found[1]


def rules() -> set[str]:
    """Read the names of the rules that the page states."""
    return set(re.findall(r"^\| `([^`]+)` \|", section("Rules"), re.MULTILINE))


def broken(cells: Iterable[Cell], law: Callable[[Cell], bool]) -> list[Cell]:
    """Collect the cells that a law does not hold for; some must be read, or the law holds nothing."""
    read = [cell for cell in cells if cell.text != CANNOT_BE]
    assert read
    return [cell for cell in read if not law(cell)]


def by_row(cells: Iterable[Cell]) -> list[ParameterSet]:
    """Group cells by table and row: a test for each cell costs more than all it runs."""
    rows = groupby(cells, key=lambda cell: (cell.table, cell.row))
    return [pytest.param(tuple(row), id=f"{heading}: {name}") for (heading, name), row in rows]


def differing(cells: Iterable[Cell], outcome: Callable[[Cell], str]) -> list[str]:
    """Run every cell against the code, and name each that comes out otherwise than the page says."""
    made = [(cell, _made(cell, outcome)) for cell in cells]
    assert made
    return [f"{cell.column}: {text}; the page says: {cell.text}" for cell, text in made if text != cell.text]


def _made(cell: Cell, outcome: Callable[[Cell], str]) -> str:
    try:
        return outcome(cell)
    except Exception as error:  # noqa: BLE001 - it is told with its cell, and the other cells are run all the same
        return f"raises {error!r}"


def described(
    before: Trip, change: Callable[[Trip], Trip], *, marks: Callable[[Trip, Trip], str], needed: Callable[[Trip], str]
) -> str:
    """Say in the page's words what an event makes of a trip; `marks` and `needed` are those of the table."""
    try:
        after = change(before)
    except (ConflictingFact, IllegalTransition, TooEarly) as error:
        return f"✘ {type(error).__name__}"
    if after == before:
        return "="
    if after.problem is not None and after.problem != before.problem:
        return f"problem {after.problem.code}"
    reason = "" if after.declined is None else f" {after.declined.reason}"
    return f"{after.state.value}{reason}{marks(before, after)} → {needed(after)}"
