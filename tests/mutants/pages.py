"""Writes the table of docs/mutants.md, in English and Chinese."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from tests.mutants.verdicts import Mutant, Survivor, Verdict
from tests.pages import Words, put, table

WORDS: Final[dict[str, Words]] = {
    "docs/mutants.md": {
        "head": "module|mutants|killed|timed out|argued|survived|noticed",
        "all": "**all**",
        "date": "Run of {date}.",
    },
    "docs/zh-CN/mutants.md": {
        "head": "模块|变异体|被杀死|超时|有理由保留|存活|被发现",
        "all": "**合计**",
        "date": "{date} 的运行结果。",
    },
}


def write_pages(mutants: Sequence[Mutant], found: Sequence[Survivor], left: Sequence[Survivor]) -> None:
    for page, words in WORDS.items():
        date = datetime.now(UTC).date().isoformat()
        put(page, words["date"].format(date=date) + "\n\n" + scores(mutants, found, left, words) + "\n")


def scores(mutants: Sequence[Mutant], found: Sequence[Survivor], left: Sequence[Survivor], words: Words) -> str:
    """Make the table: a row for each module that has a function, and one for all."""
    paths = list(dict.fromkeys(mutant.path for mutant in mutants))
    rows = [_row(f"`{path.removeprefix('payscore_worker/')}`", mutants, found, left, {path}) for path in paths]
    return table(words["head"].split("|"), [*rows, _row(words["all"], mutants, found, left, set(paths))])


def _row(
    name: str, mutants: Sequence[Mutant], found: Sequence[Survivor], left: Sequence[Survivor], paths: set[str]
) -> list[object]:
    of_them = [mutant for mutant in mutants if mutant.path in paths]
    killed, timed_out = (
        sum(mutant.verdict is verdict for mutant in of_them) for verdict in (Verdict.KILLED, Verdict.TIMED_OUT)
    )
    survived = sum(survivor.mutant.path in paths for survivor in left)
    argued = sum(survivor.mutant.path in paths for survivor in found) - survived
    share = f"{100 * (killed + timed_out) / len(of_them):.1f} %" if of_them else ""
    return [name, len(of_them), killed, timed_out, argued, survived, share]
