"""`make mutants`: change our code in every small way, and see that a test notices; ARGS=FILE takes one module."""

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from tests.mutants.argued import ARGUED, Argument, read_arguments, unused
from tests.mutants.pages import write_pages
from tests.mutants.verdicts import Mutant, Survivor, module_of, read_verdicts, survivors
from tests.pages import ROOT

DATABASE: Final = "PAYSCORE_TEST_DATABASE_URL"
"""Not handed on: without it the tests of PostgreSQL are skipped, and each mutant costs half as much."""


def main() -> int:
    arguments = _parser().parse_args()
    modules = configured_modules(ROOT)
    unknown = [path for path in arguments.modules if path not in modules]
    if unknown:
        sys.stderr.write(f"{unknown[0]!r} is not among the modules that are mutated:\n  " + "\n  ".join(modules) + "\n")
        return 2
    chosen = arguments.modules or modules
    failed = 0 if arguments.look else _mutate(chosen, jobs=arguments.jobs)
    if failed:
        sys.stderr.write("mutmut did not come to its end; its last lines say why\n")
        return 2
    mutants = [mutant for path in chosen for mutant in read_verdicts(ROOT, path)]
    listed = read_arguments(ARGUED)
    found = survivors(mutants)
    left = [survivor for survivor in found if not _is_argued(survivor, listed)]
    if arguments.page or not arguments.modules:
        write_pages(mutants, found, left)
    return _tell(mutants, left, unused(listed, found, chosen))


def configured_modules(root: Path) -> list[str]:
    """List the files that pyproject.toml names, by path or by pattern, as they now are."""
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = document["tool"]["mutmut"]["only_mutate"]
    files = sorted(str(file.relative_to(root)) for file in (root / "payscore_worker").rglob("*.py"))
    return [file for file in files if any(fnmatch(file, pattern) for pattern in wanted)]


def _mutate(modules: Sequence[str], *, jobs: int) -> int:
    """Run mutmut; mutants that were decided before are tried again, for tests may have come or gone."""
    names = [f"{module_of(path)}.*" for path in modules]
    environment = {name: value for name, value in os.environ.items() if name != DATABASE}
    command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(jobs), *names]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603  our own words


def _is_argued(survivor: Survivor, listed: Sequence[Argument]) -> bool:
    return any(argument.speaks_of(survivor) for argument in listed)


def _tell(mutants: Sequence[Mutant], left: Sequence[Survivor], idle: Sequence[Argument]) -> int:
    for survivor in left:
        sys.stdout.write(f"\nSURVIVED {survivor.mutant.name}\n{survivor.diff}\n")
    for argument in idle:
        sys.stdout.write(f"\nARGUED FOR NOTHING in {argument.function}: {argument.change}\n")
    undecided = sum(mutant.verdict is None for mutant in mutants)
    sys.stdout.write(
        f"\n{len(mutants)} mutants, {len(left)} survived without an argument, {len(idle)} arguments without a survivor"
        f"{f', {undecided} not tried' if undecided else ''}\n"
    )
    return 1 if left or idle or undecided else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="mutate these files alone; writes no page")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at once")
    parser.add_argument("--look", action="store_true", help="tell once more what the last run found")
    parser.add_argument(
        "--page", action="store_true", help="write the table of docs/mutants.md for these modules alone"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
