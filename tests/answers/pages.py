"""Writes what a run has found into the two pages that explain it; everything outside the marks is written by hand."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tests import pages
from tests.answers.answers import GROUPS
from tests.answers.bugs import BUGS
from tests.answers.cases import CREWS, Result
from tests.answers.certificate import Certificate, Tally, tally
from tests.answers.flows import FLOWS
from tests.answers.laws import Breach
from tests.answers.strikes import EXTENTS, Strike
from tests.pages import Words, put, section, surroundings, table

ENGLISH: Final[Words] = {
    **pages.ENGLISH,
    "held": "**Every law held.** {cases} cases: {breaches}. All {bugs} seeded bugs were caught.",
    "broken": "**A law was broken** in {broken} of {cases} cases: {breaches}. Seeded bugs not caught: {uncaught}.",
    "summary": "What was played",
    "clean": "right answers",
    "whole": "every answer, on {database}",
    "drawn": "a sample, on the other database",
    "cases": "cases",
    "alive": "alive",
    "money": "money",
    "person": "person",
    "bytes": "bytes",
    "journal": "journal",
    "dead": "dead",
    "bound": "bound",
    "surprise": "surprise",
    "unreached": "not asked",
    "by flow": "By flow",
    "flow": "flow",
    "by call": "By call and how long",
    "call": "call",
    "by crew": "By workers and how long",
    "crew": "workers",
    "by answer": "By answer",
    "by answer note": "A cell counts the cases of all flows, families and databases.",
    "group": "group",
    "answer": "answer",
    "bugs": "Seeded bugs",
    "bug": "seeded bug",
    "caught": "caught",
    "shown by": "for example by",
}

CHINESE: Final[Words] = {
    **pages.CHINESE,
    "held": "**每一条规则都成立。** 共 {cases} 例：{breaches}。{bugs} 个人为植入的缺陷全部被发现。",
    "broken": "**有规则被违反**：{cases} 例中的 {broken} 例；{breaches}。未被发现的植入缺陷：{uncaught}。",
    "summary": "演练了什么",
    "clean": "应答正确",
    "whole": "每一种应答，{database}",
    "drawn": "抽样，另一种数据库",
    "cases": "例数",
    "alive": "未了",
    "money": "钱款",
    "person": "惊动人",
    "bytes": "字节",
    "journal": "日志",
    "dead": "死信",
    "bound": "超限",
    "surprise": "意外",
    "unreached": "未发生",
    "by flow": "按流程",
    "flow": "流程",
    "by call": "按调用和持续时间",
    "call": "调用",
    "by crew": "按 worker 和持续时间",
    "crew": "worker",
    "by answer": "按应答",
    "by answer note": "每格是所有流程、接口族和数据库的例数之和。",
    "group": "组",
    "answer": "应答",
    "bugs": "人为植入的缺陷",
    "bug": "植入的缺陷",
    "caught": "被发现",
    "shown by": "例如",
}

PAGES: Final = {"docs/answer-certificate.md": ENGLISH, "docs/zh-CN/answer-certificate.md": CHINESE}


def write_pages(certificate: Certificate) -> None:
    """Put the findings into every page."""
    for name, words in PAGES.items():
        put(name, findings(certificate, words))


def findings(certificate: Certificate, words: Words) -> str:
    """Write everything that was found, in one language."""
    struck = certificate.struck
    parts = [
        _verdict(certificate, words),
        _surroundings(certificate, words),
        _summary(certificate, words),
        _by_flow(certificate.sound, words),
        _across(struck, words, "by call", "call", lambda one: _strike(one).call.value),
        _across(struck, words, "by crew", "crew", lambda one: one.case.crew, CREWS),
        _by_answer(struck, words),
        _bugs(certificate, words),
        _broken(certificate, words),
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
        ("PostgreSQL", around.postgresql),
        ("SQLite", around.sqlite),
        ("Python", around.python),
        date=around.date,
        seconds=certificate.seconds,
        machine=around.machine,
    )


def _summary(certificate: Certificate, words: Words) -> str:
    names = {"clean": words["clean"], "whole": words["whole"].format(database=certificate.size.whole)}
    names["drawn"] = words["drawn"]
    rows = [
        [name, *_counts(tally(getattr(certificate, part))), tally(getattr(certificate, part)).unreached]
        for part, name in names.items()
    ]
    head = ["", words["cases"], *(words[breach] for breach in Breach), words["unreached"]]
    return section(words["summary"], table(head, rows))


def _by_flow(results: Sequence[Result], words: Words) -> str:
    settings = sorted({(one.case.database, one.case.family) for one in results})
    rows = []
    for flow in FLOWS:
        of_flow = [one for one in results if one.case.flow == flow]
        cells = [_cases(one for one in of_flow if (one.case.database, one.case.family) == each) for each in settings]
        rows.append([flow, *cells, *_counts(tally(of_flow))])
    head = [words["flow"], *map(" ".join, settings), words["cases"], *(words[breach] for breach in Breach)]
    return section(words["by flow"], table(head, rows))


def _across(
    results: Sequence[Result],
    words: Words,
    title: str,
    first: str,
    kind_of: Callable[[Result], str],
    kinds: Iterable[str] = (),
) -> str:
    """Count by something, and by how long it lasted."""
    rows = []
    for kind in kinds or sorted({kind_of(one) for one in results}):
        of_kind = [one for one in results if kind_of(one) == kind]
        cells = [_cases(one for one in of_kind if _strike(one).extent == extent) or "" for extent in EXTENTS]
        rows.append([kind, *cells, *_counts(tally(of_kind))])
    head = [words[first], *EXTENTS, words["cases"], *(words[breach] for breach in Breach)]
    return section(words[title], table(head, rows))


def _by_answer(results: Sequence[Result], words: Words) -> str:
    calls = sorted({_strike(one).call.value for one in results})
    by_answer: dict[str, list[Result]] = {}
    for one in results:
        by_answer.setdefault(_strike(one).answer.name, []).append(one)
    rows = []
    for group, answers in GROUPS.items():
        for answer in answers:
            of_answer = by_answer.get(answer.name, [])
            cells = [_cases(one for one in of_answer if _strike(one).call == call) or "" for call in calls]
            rows.append([group, f"`{answer.name}`", *cells, *_counts(tally(of_answer))])
    head = [words["group"], words["answer"], *calls, words["cases"], *(words[breach] for breach in Breach)]
    return section(words["by answer"], words["by answer note"], table(head, rows))


def _bugs(certificate: Certificate, words: Words) -> str:
    rows = []
    for bug in BUGS:
        results = [one for one in certificate.bugs if one.case.bug == bug]
        caught = sorted((one.case.name for one in results if one.violations), key=len)
        breaches = [tally(results).of(breach) for breach in Breach]
        rows.append([bug, len(results), len(caught), *breaches, f"`{caught[0]}`" if caught else ""])
    head = [words["bug"], words["cases"], words["caught"], *(words[breach] for breach in Breach), words["shown by"]]
    return section(words["bugs"], table(head, rows, left_too=True))


def _broken(certificate: Certificate, words: Words) -> str:
    lines = [f"* `{one.case.name}`: {'; '.join(map(str, one.violations))}" for one in certificate.broken]
    return section(words["breaches"], "\n".join(lines)) if lines else ""


def _strike(result: Result) -> Strike:
    if result.case.strike is None:
        raise ValueError(f"{result.case.name} is answered rightly")
    return result.case.strike


def _cases(results: Iterable[Result]) -> int:
    return tally(results).cases


def _counts(counted: Tally) -> list[int]:
    return [counted.cases, *(counted.of(breach) for breach in Breach)]
