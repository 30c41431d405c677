"""Writes what a run has found into the two pages that explain it."""

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tests import pages
from tests.crash.certificate import machine
from tests.hostile.campaign import GENUINE, KINDS, Tally
from tests.pages import Words, put, section, surroundings, table

ENGLISH: Final[Words] = {
    **pages.ENGLISH,
    "held": "**{inputs} hostile inputs: 0 published, 0 unhandled exceptions.** {genuine} genuine notifications sent in"
    " between were all published.",
    "broken": "**{broken} of {inputs} inputs broke a law**: {how}.",
    "minutes": "{minutes} min on {processes} processes",
    "webhook": "Webhook",
    "events": "Event parsers",
    "settings": "Settings",
    "kind": "kind",
    "inputs": "inputs",
    "200": "200, published",
    "401": "401, not WeChat Pay's",
    "400": "400, not to be read",
    "read": "read, and true",
    "malformed": "refused, with the reason",
    "refused": "refused, in one line",
    "unhandled": "unhandled",
}

CHINESE: Final[Words] = {
    **pages.CHINESE,
    "held": "**{inputs} 个恶意输入：发布 0 个，未处理的异常 0 个。** 穿插其间的 {genuine} 个真实通知全部发布。",
    "broken": "**{inputs} 个输入中有 {broken} 个违反规则**：{how}。",
    "minutes": "{minutes} 分钟，{processes} 个进程",
    "webhook": "Webhook",
    "events": "事件解析",
    "settings": "配置",
    "kind": "种类",
    "inputs": "输入数",
    "200": "200，已发布",
    "401": "401，并非微信支付所发",
    "400": "400，无法读取",
    "read": "读入，且属实",
    "malformed": "拒绝，并说明原因",
    "refused": "拒绝，一行说清",
    "unhandled": "未处理",
}

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "webhook": ("200", "401", "400", "unhandled"),
    "events": ("read", "malformed", "unhandled"),
    "settings": ("read", "refused", "unhandled"),
}

PAGES: Final = {"docs/hostile-input.md": ENGLISH, "docs/zh-CN/hostile-input.md": CHINESE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A run, and what it found."""

    tally: Tally
    seed: int
    processes: int
    seconds: float


def write_pages(findings: Findings) -> None:
    """Put the findings into every page."""
    for name, words in PAGES.items():
        put(name, told(findings, words))


def told(findings: Findings, words: Words) -> str:
    """Write everything that was found, in one language."""
    parts = [_verdict(findings.tally, words), _surroundings(findings, words)]
    parts += [_by_kind(findings.tally, target, words) for target in COLUMNS]
    return "\n".join(parts)


def _verdict(tally: Tally, words: Words) -> str:
    said = words["broken" if tally.broken else "held"]
    how = ", ".join(f"{count} {breach}" for breach, count in tally.broken.items())
    genuine, broken = tally.of(GENUINE).total(), tally.broken.total()
    return said.format(inputs=f"{tally.hostile:,}", genuine=f"{genuine:,}", broken=broken, how=how) + "\n"


def _surroundings(findings: Findings, words: Words) -> str:
    return surroundings(
        words,
        (words["seed"], findings.seed),
        ("Python", platform.python_version()),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        seconds=findings.seconds,
        machine=machine(),
        processes=findings.processes,
    )


def _by_kind(tally: Tally, target: str, words: Words) -> str:
    columns = COLUMNS[target]
    rows = []
    for kind in (kind for kind in KINDS if kind.target == target):
        counted = _counted(tally.of(kind.name), columns)
        rows.append([kind.name, f"{counted.total():,}", *(f"{counted[column]:,}" for column in columns)])
    head = [words["kind"], words["inputs"], *(words[column] for column in columns)]
    return section(words[target], table(head, rows))


def _counted(outcomes: Counter[str], columns: tuple[str, ...]) -> Counter[str]:
    """Count outcomes by column; one that has none of its own is unhandled, such as a 500."""
    counted: Counter[str] = Counter()
    for outcome, count in outcomes.items():
        counted[outcome if outcome in columns else "unhandled"] += count
    return counted
