"""Writes what a run has found into the two pages that explain it; everything outside the marks is written by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests import pages
from tests.clusters.cases import Result
from tests.clusters.failures import Where
from tests.crash.certificate import Surroundings
from tests.crash.laws import Breach
from tests.pages import Row, Words, put, section, surroundings, table

ENGLISH: Final[Words] = {
    **pages.ENGLISH,
    "held": "**Every law held, and every pause was within its goal; the longest took {longest:.1f} s.**\n"
    "{failures} failures, {settled} of {trips} trips settled: {breaches}.",
    "not held": "**Not everything held**: a law was broken in {broken} of {failures} failures, a pause was too long in "
    "{late}.\n{settled} of {trips} trips settled: {breaches}.",
    "nodes": "3 nodes, {settings}",
    "pair": "primary and synchronous standby",
    str(Where.LEADER_CONSUMED): "The node that leads the queues, and through which we consume",
    str(Where.CONSUMED): "A node through which we consume; another leads",
    str(Where.LEADER): "The node that leads the queues; we consume through the other two",
    str(Where.OTHER): "A node that leads nothing, and through which we do not consume",
    str(Where.DATABASE): "PostgreSQL",
    str(Where.BOTH): "A node that leads and through which we consume, and PostgreSQL while it is down",
    "failure": "failure",
    "trips": "trips",
    "settled": "settled",
    "pause": "longest pause, s",
    "goal": "goal, s",
    "silence": "longest silence, s",
    "rest": "all settled, s",
}

CHINESE: Final[Words] = {
    **pages.CHINESE,
    "held": "**每一条规则都成立，每一次停顿都在目标之内，最长的一次 {longest:.1f} 秒。**"
    "共 {failures} 种故障，{trips} 个行程中结清 {settled} 个：{breaches}。",
    "not held": "**并非全部成立**：{failures} 种故障中，{broken} 种有规则被违反，{late} 种停顿超过目标。"
    "{trips} 个行程中结清 {settled} 个：{breaches}。",
    "nodes": "3 个节点，{settings}",
    "pair": "主库与同步备库",
    str(Where.LEADER_CONSUMED): "队列 leader 所在、我们也在其上消费的节点",
    str(Where.CONSUMED): "我们在其上消费的节点，leader 在别的节点",
    str(Where.LEADER): "队列 leader 所在的节点，我们在另外两个节点上消费",
    str(Where.OTHER): "没有 leader、我们也不在其上消费的节点",
    str(Where.DATABASE): "PostgreSQL",
    str(Where.BOTH): "leader 所在、我们也在其上消费的节点；它未恢复时 PostgreSQL 又出故障",
    "failure": "故障",
    "trips": "行程",
    "settled": "结清",
    "pause": "最长停顿（秒）",
    "goal": "目标（秒）",
    "silence": "最长无通告（秒）",
    "rest": "全部结清（秒）",
}

PAGES: Final = {"docs/cluster.md": ENGLISH, "docs/zh-CN/cluster.md": CHINESE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that was found."""

    results: Sequence[Result]
    surroundings: Surroundings
    pgbouncer: str
    settings: Sequence[str]
    """Of RabbitMQ."""
    family: str
    seconds: float

    @property
    def broken(self) -> list[Result]:
        """List the failures under which a law was broken."""
        return [result for result in self.results if result.violations]

    @property
    def late(self) -> list[Result]:
        """List the failures after which work went on too late."""
        return [result for result in self.results if not result.is_in_time]

    @property
    def ok(self) -> bool:
        """Whether nothing broke, and every goal was met."""
        return not self.broken and not self.late


def write_pages(findings: Findings) -> None:
    """Put the findings into every page."""
    for page, words in PAGES.items():
        put(page, _findings(findings, words))


def _findings(findings: Findings, words: Words) -> str:
    parts = [_verdict(findings, words), _surroundings(findings, words)]
    for where in Where:
        there = [result for result in findings.results if result.failure.where is where]
        parts.append(_table(words[str(where)], there, words))
    if findings.broken:
        lines = [f"* `{one.failure.name}`: {'; '.join(map(str, one.violations))}" for one in findings.broken]
        parts.append(section(words["breaches"], "\n".join(lines)))
    return "\n".join(part for part in parts if part)


def _verdict(findings: Findings, words: Words) -> str:
    results = findings.results
    breaches = (f"{sum(_count(result, breach) for result in results)} {words[breach]}" for breach in Breach)
    return (
        words["held" if findings.ok else "not held"].format(
            longest=max(result.pause_seconds for result in results),
            failures=len(results),
            broken=len(findings.broken),
            late=len(findings.late),
            trips=sum(result.trips for result in results),
            settled=sum(result.settled for result in results),
            breaches=", ".join(breaches),
        )
        + "\n"
    )


def _surroundings(findings: Findings, words: Words) -> str:
    around = findings.surroundings
    settings = ", ".join(f"`{setting}`" for setting in findings.settings)
    return surroundings(
        words,
        (words["family"], findings.family),
        ("RabbitMQ", f"{around.rabbitmq}; {words['nodes'].format(settings=settings)}"),
        ("PostgreSQL", f"{around.postgresql}; {words['pair']}"),
        ("PgBouncer", findings.pgbouncer),
        ("Python", around.python),
        date=around.date,
        seconds=findings.seconds,
        machine=around.machine,
    )


def _table(title: str, results: Sequence[Result], words: Words) -> str:
    head = [words[name] for name in ("failure", "trips", "settled", "pause", "goal", "silence", "rest", *Breach)]
    return section(title, table(head, map(_row, results))) if results else ""


def _row(result: Result) -> Row:
    return [
        result.failure.what,
        result.trips,
        result.settled,
        f"{result.pause_seconds:.1f}",
        f"{result.failure.goal_seconds:.0f}",
        f"{result.silence_seconds:.1f}",
        f"{result.rest_seconds:.0f}",
        *(_count(result, breach) for breach in Breach),
    ]


def _count(result: Result, breach: Breach) -> int:
    return sum(violation.breach is breach for violation in result.violations)
