"""Writes what a run has found into the two pages that explain it; everything outside the marks is written by hand."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests import pages
from tests.crash.bugs import BUGS
from tests.crash.cases import Result
from tests.crash.certificate import Certificate, Tally, tally
from tests.crash.flows import FLOWS
from tests.crash.laws import Breach
from tests.pages import Words, put, section, surroundings, table

SIDES: Final = ("before", "sent", "received", "confirmed", "after")
"""The order in which they are passed."""

ENGLISH: Final[Words] = {
    **pages.ENGLISH,
    "held": "**Every law held.** {cases} cases: {breaches}. All {bugs} seeded bugs were caught.",
    "broken": "**A law was broken** in {broken} of {cases} cases: {breaches}. Seeded bugs not caught: {uncaught}.",
    "summary": "What was played",
    "clean": "no crash",
    "singles": "one crash",
    "pairs": "two crashes",
    "recoveries": "a crash, and one in the recovery",
    "cases": "cases",
    "unreached": "not reached",
    "by flow": "One crash, by flow and database",
    "flow": "flow",
    "by point": "One crash, by point and flow",
    "by point note": "A cell counts the cases of all databases and families.",
    "point": "point",
    "bugs": "Seeded bugs",
    "bug": "seeded bug",
    "caught": "caught",
    "shown by": "for example by",
    "missed": "Not reached",
    "missed note": "Where tasks take turns by chance, a point may not come up in three tries; these did not:",
}

CHINESE: Final[Words] = {
    **pages.CHINESE,
    "held": "**每一条规则都成立。** 共 {cases} 例：{breaches}。{bugs} 个人为植入的缺陷全部被发现。",
    "broken": "**有规则被违反**：{cases} 例中的 {broken} 例；{breaches}。未被发现的植入缺陷：{uncaught}。",
    "summary": "演练了什么",
    "clean": "不崩溃",
    "singles": "崩溃一次",
    "pairs": "崩溃两次",
    "recoveries": "崩溃一次，恢复途中再崩溃一次",
    "cases": "例数",
    "unreached": "未到达",
    "by flow": "崩溃一次：按流程和数据库",
    "flow": "流程",
    "by point": "崩溃一次：按崩溃点和流程",
    "by point note": "每格是所有数据库和接口族的例数之和。",
    "point": "崩溃点",
    "bugs": "人为植入的缺陷",
    "bug": "植入的缺陷",
    "caught": "被发现",
    "shown by": "例如",
    "missed": "未到达",
    "missed note": "多个任务谁先谁后有偶然性，有的崩溃点三次都没有出现。对它们不作任何断言：",
}

PAGES: Final = {"docs/crash-certificate.md": ENGLISH, "docs/zh-CN/crash-certificate.md": CHINESE}


def write_pages(certificate: Certificate) -> None:
    """Put the findings into every page."""
    for name, words in PAGES.items():
        put(name, findings(certificate, words))


def findings(certificate: Certificate, words: Words) -> str:
    """Write everything that was found, in one language."""
    parts = [
        _verdict(certificate, words),
        _surroundings(certificate, words),
        _summary(certificate, words),
        _by_flow(certificate.singles, words),
        _by_point(certificate.singles, words),
        _bugs(certificate, words),
        _listed(words["breaches"], "", [_broken(result) for result in certificate.broken]),
        _listed(words["missed"], words["missed note"], _unreached(certificate)),
    ]
    return "\n".join(part for part in parts if part)


def _verdict(certificate: Certificate, words: Words) -> str:
    counted = tally(certificate.sound)
    return (
        words["held" if certificate.ok else "broken"].format(
            cases=counted.cases,
            breaches=", ".join(f"{counted.of(breach)} {words[breach]}" for breach in Breach),
            bugs=len(BUGS),
            broken=len(certificate.broken),
            uncaught=", ".join(certificate.uncaught) or words["none"],
        )
        + "\n"
    )


def _surroundings(certificate: Certificate, words: Words) -> str:
    around = certificate.surroundings
    return surroundings(
        words,
        (words["seed"], certificate.size.seed),
        ("RabbitMQ", around.rabbitmq),
        ("PostgreSQL", around.postgresql),
        ("SQLite", around.sqlite),
        ("Python", around.python),
        date=around.date,
        seconds=certificate.seconds,
        machine=around.machine,
    )


def _summary(certificate: Certificate, words: Words) -> str:
    parts = ("clean", "singles", "pairs", "recoveries")
    rows = [[words[part], *_counts(tally(getattr(certificate, part)), unreached=True)] for part in parts]
    head = ["", words["cases"], *(words[breach] for breach in Breach), words["unreached"]]
    return section(words["summary"], table(head, rows))


def _by_flow(results: Sequence[Result], words: Words) -> str:
    settings = sorted({(one.case.setting.database, one.case.setting.family) for one in results})
    rows = []
    for flow in FLOWS:
        of_flow = [one for one in results if one.case.flow == flow]
        cells = [
            tally(one for one in of_flow if (one.case.setting.database, one.case.setting.family) == setting).cases
            for setting in settings
        ]
        rows.append([flow, *cells, *_counts(tally(of_flow))])
    head = [words["flow"], *map(" ".join, settings), words["cases"], *(words[breach] for breach in Breach)]
    return section(words["by flow"], table(head, rows))


def _by_point(results: Sequence[Result], words: Words) -> str:
    kinds = sorted({_kind(one) for one in results}, key=_order)
    rows = []
    for kind in kinds:
        of_kind = [one for one in results if _kind(one) == kind]
        played = Counter(one.case.flow for one in of_kind if one.reached)
        rows.append([f"`{kind}`", *(played[flow] or "" for flow in FLOWS), *_counts(tally(of_kind))])
    head = [words["point"], *FLOWS, words["cases"], *(words[breach] for breach in Breach)]
    return section(words["by point"], words["by point note"], table(head, rows))


def _kind(result: Result) -> str:
    return result.case.crashes[0].rpartition(" #")[0]


def _order(kind: str) -> tuple[str, int]:
    """Sort by role and operation, then as time goes."""
    operation, _, side = kind.rpartition(" ")
    return operation, SIDES.index(side)


def _bugs(certificate: Certificate, words: Words) -> str:
    rows = []
    for bug in BUGS:
        results = [one for one in certificate.bugs if one.case.setting.bug == bug]
        caught = sorted((one.case.name for one in results if one.violations), key=len)
        breaches = [tally(results).of(breach) for breach in Breach]
        rows.append([bug, len(results), len(caught), *breaches, f"`{caught[0]}`" if caught else ""])
    head = [words["bug"], words["cases"], words["caught"], *(words[breach] for breach in Breach), words["shown by"]]
    return section(words["bugs"], table(head, rows, left_too=True))


def _broken(result: Result) -> str:
    return f"`{result.case.name}`: {'; '.join(map(str, result.violations))}"


def _unreached(certificate: Certificate) -> list[str]:
    return sorted(f"`{one.case.name}`" for one in certificate.sound if not one.reached and not one.violations)


def _listed(title: str, note: str, lines: Sequence[str]) -> str:
    return section(title, note, "\n".join(f"* {line}" for line in lines)) if lines else ""


def _counts(counted: Tally, *, unreached: bool = False) -> list[int]:
    counts = [counted.cases, *(counted.of(breach) for breach in Breach)]
    return [*counts, counted.unreached] if unreached else counts
