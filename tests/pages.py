"""What the pages that a run writes have in common: marks between which it writes, sections, tables."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]

BEGIN: Final = "<!-- written by the run, from here -->"
END: Final = "<!-- to here -->"

Words = Mapping[str, str]
"""What a page says, in its language."""

Row = Sequence[object]

ENGLISH: Final[Words] = {
    "surroundings": "Run",
    "date": "Date",
    "seed": "Seed",
    "duration": "Duration",
    "minutes": "{minutes} min",
    "family": "API family",
    "machine": "Machine",
    "none": "none",
    "lost": "lost",
    "double": "double",
    "stuck": "stuck",
    "untrue": "untrue",
    "breaches": "Broken",
}
"""What the pages of all runs say."""

CHINESE: Final[Words] = {
    "surroundings": "运行环境",
    "date": "日期",
    "seed": "种子",
    "duration": "用时",
    "minutes": "{minutes} 分钟",
    "family": "接口族",
    "machine": "机器",
    "none": "无",
    "lost": "丢失",
    "double": "重复",
    "stuck": "卡住",
    "untrue": "失实",
    "breaches": "违反",
}


def put(page: str, found: str) -> None:
    """Put what was found between the marks of a page; everything outside them is written by hand."""
    file = ROOT / page
    file.write_text(with_findings(file.read_text(encoding="utf-8"), found), encoding="utf-8")


def with_findings(page: str, found: str) -> str:
    """Replace what stands between the marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{found}\n{END}{after}"


def section(title: str, *blocks: str) -> str:
    """Write a section of paragraphs and tables."""
    return "\n\n".join([f"### {title}", *(block for block in blocks if block)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Row], *, right: bool = True, left_too: bool = False) -> str:
    """Write a table; the first column stands left, and the last one too where it holds text."""
    aligned = ["---", *("--:" if right else "---" for _ in head[1:])]
    if left_too:
        aligned[-1] = "---"
    lines = [head, aligned, *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def surroundings(words: Words, *rows: Row, date: str, seconds: float, machine: str, **more: object) -> str:
    """Write when the run was, how long it took, and on what; between these, what else there is to say of it."""
    minutes = words["minutes"].format(minutes=f"{seconds / 60:.0f}", **more)
    around = [(words["date"], date), (words["duration"], minutes), *rows, (words["machine"], machine)]
    return section(words["surroundings"], table(["", ""], around, right=False))
