"""Mutants that may live: each with one line that says why."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.verdicts import Survivor, module_of

ARGUED: Final = Path(__file__).parent / "argued.toml"


@dataclass(frozen=True, slots=True)
class Argument:
    """Why a change of a function may go unnoticed; it is known by what it changes, for mutmut's numbers move."""

    function: str
    change: str
    because: str

    def speaks_of(self, survivor: Survivor) -> bool:
        return (survivor.mutant.function, survivor.change) == (self.function, self.change)


def read_arguments(file: Path) -> list[Argument]:
    """Read the list.

    Raises:
        ValueError: an entry lacks a member, or argues nothing; the text names it.

    """
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("argued", [])
    for entry in entries:
        if set(entry) != {"function", "change", "because"} or not all(entry.values()):
            raise ValueError(f"{file.name}: an entry has function, change and because, and this one has not: {entry}")
    return [Argument(**entry) for entry in entries]


def unused(listed: Sequence[Argument], found: Sequence[Survivor], modules: Sequence[str]) -> list[Argument]:
    """Find arguments about these modules that defend nothing any more: the code has moved on, or a test has come."""
    names = [f"{module_of(path)}." for path in modules]
    return [
        argument
        for argument in listed
        if any(argument.function.startswith(name) for name in names)
        and not any(argument.speaks_of(survivor) for survivor in found)
    ]
