"""What became of each mutant, as mutmut has written it down, and what the survivors are."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

DIRECTORY: Final = "mutants"
"""Where mutmut keeps the changed code and its verdicts."""


class Verdict(StrEnum):
    """What came of the tests."""

    KILLED = "killed"
    TIMED_OUT = "timeout"
    """It never came to its end: noticed as well."""
    SURVIVED = "survived"
    UNTESTED = "no tests"
    """No test comes by at all: it survives."""
    CRASHED = "segfault"
    """The process was ended from outside: no verdict on the tests."""
    SUSPICIOUS = "suspicious"


DEAD: Final = (Verdict.KILLED, Verdict.TIMED_OUT)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function; its name is mutmut's."""

    path: str
    name: str
    verdict: Verdict | None

    @property
    def function(self) -> str:
        """Name the function as Python does: `payscore_worker.wechatpay.hosts.Hosts._prefer`."""
        module, _, mangled = self.name.rpartition(".")
        plain = mangled.rpartition("__mutmut_")[0]
        if plain.startswith("xǁ"):
            return f"{module}.{'.'.join(plain[2:].split('ǁ'))}"
        return f"{module}.{plain.removeprefix('x_')}"


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that no test has noticed, and what it changes."""

    mutant: Mutant
    diff: str

    @property
    def change(self) -> str:
        """Tell the change in one line, without its place: lines out, an arrow, lines in."""
        lines = self.diff.splitlines()[2:]  # the names of the files come first
        gone, come = (
            " ".join(line[1:].strip() for line in lines if line.startswith(sign) and line[1:].strip())
            for sign in ("-", "+")
        )
        return f"{gone} -> {come}"


def module_of(path: str) -> str:
    """Name the module of a file."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def read_verdicts(root: Path, path: str) -> list[Mutant]:
    """Read what is known about the mutants of a file; a file without functions has none."""
    file = root / DIRECTORY / f"{path}.meta"
    if not file.exists():
        return []
    found: dict[str, int | None] = json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return [Mutant(path, name, _verdict(code)) for name, code in found.items()]


def _verdict(code: int | None) -> Verdict | None:
    """Read how pytest ended; an interruption is no verdict."""
    told = status_by_exit_code[code]
    return Verdict(told) if told in set(Verdict) else None


def survivors(mutants: Iterable[Mutant]) -> list[Survivor]:
    """Find those that no test has noticed; mutmut looks for its files below the present directory."""
    return [
        Survivor(mutant, get_diff_for_mutant(mutant.name, path=mutant.path))
        for mutant in mutants
        if mutant.verdict is not None and mutant.verdict not in DEAD
    ]
