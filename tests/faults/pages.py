"""Writes what a run has found into the two pages that explain it; everything outside the marks is written by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests import pages
from tests.crash.certificate import Surroundings
from tests.crash.laws import Breach
from tests.faults.cases import WORKS_WITHIN_SECONDS, Result
from tests.faults.faults import NO_FAULT
from tests.faults.site import Place
from tests.pages import Row, Words, put, section, surroundings, table

ENGLISH: Final[Words] = {
    **pages.ENGLISH,
    "held": "**Every law held, and the worker was back within {within:.0f} seconds of every fault's end; the slowest "
    "took {slowest:.1f}.**\n{faults} faults, {trips} trips: {breaches}.",
    "broken": "**A law was broken** by {broken} of {faults} faults, {trips} trips: {breaches}.",
    "control": "Without a fault",
    str(Place.DATABASE): "Between worker and PostgreSQL",
    str(Place.BROKER): "Between worker, webhook and RabbitMQ",
    str(Place.WECHATPAY): "Between worker, webhook and WeChat Pay",
    "fault": "fault",
    "stood": "stood, s",
    "trips": "trips",
    "cuts": "connections lost",
    "restarts": "restarts",
    "opens": "works again, s",
    "rest": "all settled, s",
}

CHINESE: Final[Words] = {
    **pages.CHINESE,
    "held": "**每一条规则都成立；任何故障结束后 {within:.0f} 秒之内，worker 都已恢复工作，"
    "最慢的一次用了 {slowest:.1f} 秒。** 共 {faults} 种故障，{trips} 个行程：{breaches}。",
    "broken": "**有规则被违反**：{faults} 种故障中的 {broken} 种，共 {trips} 个行程；{breaches}。",
    "control": "没有故障时",
    str(Place.DATABASE): "worker 与 PostgreSQL 之间",
    str(Place.BROKER): "worker、webhook 与 RabbitMQ 之间",
    str(Place.WECHATPAY): "worker、webhook 与微信支付之间",
    "fault": "故障",
    "stood": "持续（秒）",
    "trips": "行程",
    "cuts": "断开的连接",
    "restarts": "重启",
    "opens": "恢复工作（秒）",
    "rest": "全部结清（秒）",
}

PAGES: Final = {"docs/faults.md": ENGLISH, "docs/zh-CN/faults.md": CHINESE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that was found."""

    results: Sequence[Result]
    surroundings: Surroundings
    family: str
    seconds: float

    @property
    def broken(self) -> list[Result]:
        """List the faults under which a law was broken."""
        return [result for result in self.results if result.violations]

    @property
    def ok(self) -> bool:
        """Whether nothing broke."""
        return not self.broken


def write_pages(findings: Findings) -> None:
    """Put the findings into every page."""
    for page, words in PAGES.items():
        put(page, _findings(findings, words))


def _findings(findings: Findings, words: Words) -> str:
    control = [result for result in findings.results if result.fault is NO_FAULT]
    parts = [_verdict(findings, words), _surroundings(findings, words), _table(words["control"], control, words)]
    for place in Place:
        of_place = [result for result in findings.results if result.fault.place is place]
        parts.append(_table(words[str(place)], of_place, words))
    if findings.broken:
        lines = [f"* `{one.fault.name}`: {'; '.join(map(str, one.violations))}" for one in findings.broken]
        parts.append(section(words["breaches"], "\n".join(lines)))
    return "\n".join(part for part in parts if part)


def _verdict(findings: Findings, words: Words) -> str:
    results = findings.results
    return (
        words["held" if findings.ok else "broken"].format(
            within=WORKS_WITHIN_SECONDS,
            slowest=max(result.opens_seconds or WORKS_WITHIN_SECONDS for result in results),
            faults=len([result for result in results if result.fault is not NO_FAULT]),
            trips=sum(result.trips for result in results),
            broken=len(findings.broken),
            breaches=", ".join(
                f"{sum(_count(result, breach) for result in results)} {words[breach]}" for breach in Breach
            ),
        )
        + "\n"
    )


def _surroundings(findings: Findings, words: Words) -> str:
    around = findings.surroundings
    return surroundings(
        words,
        (words["family"], findings.family),
        ("RabbitMQ", around.rabbitmq),
        ("PostgreSQL", around.postgresql),
        ("Python", around.python),
        date=around.date,
        seconds=findings.seconds,
        machine=around.machine,
    )


def _table(title: str, results: Sequence[Result], words: Words) -> str:
    head = [words[name] for name in ("fault", "stood", "trips", "cuts", "restarts", "opens", "rest", *Breach)]
    return section(title, table(head, map(_row, results))) if results else ""


def _row(result: Result) -> Row:
    return [
        result.fault.what,
        f"{result.stood_seconds:.0f}",
        result.trips,
        result.cuts or "",
        result.restarts or "",
        "—" if result.opens_seconds is None else f"{result.opens_seconds:.1f}",
        f"{result.rest_seconds:.0f}",
        *(_count(result, breach) for breach in Breach),
    ]


def _count(result: Result, breach: Breach) -> int:
    return sum(violation.breach is breach for violation in result.violations)
