"""Every alert says what it means in two languages, and where it is written what to do; every command there exists."""

import os
import re
import shlex
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from deploy.local.processes import run
from deploy.local.rabbitmq import CTL_SECONDS, find_scripts
from payscore_worker.cli import cli
from payscore_worker.domain.decisions import AFTER_REFUSALS, VERBS
from tests.unit.test_docs import ROOT

RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yml"
RUNBOOK: Final = ROOT / "deploy" / "runbook.md"
CHINESE_RUNBOOK: Final = ROOT / "docs" / "zh-CN" / "runbook.md"
EDITIONS: Final = [RUNBOOK, CHINESE_RUNBOOK]
LABELS: Final = {
    "Meaning.": "含义。",
    "Likely causes.": "可能的原因。",
    "Look at.": "看什么。",
    "Safe actions.": "安全的处置。",
}
BROKER_TOOLS: Final = ("rabbitmqctl", "rabbitmq-diagnostics")
STANDARD_TOOLS: Final = ("curl",)


def alerts() -> list[dict[str, Any]]:
    document: dict[str, Any] = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def sections(edition: Path) -> dict[str, str]:
    parts = re.split(r"^#{2,3} (.+)\n", edition.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def problems(edition: Path) -> dict[str, str]:
    """What the section of trips with a problem says of each code."""
    parts = re.split(r"^#### (.+)\n", sections(edition)["PayscoreTripsWithProblem"], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def verbs(text: str) -> list[str]:
    return list(dict.fromkeys(shlex.split(line)[2] for line in typed(text)))


def outline(edition: Path) -> list[str]:
    return re.findall(r"^(?:### .+|##(?= ))", edition.read_text(encoding="utf-8"), re.MULTILINE)


def typed(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.+?)```", text, re.DOTALL)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]


def code_spans(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.+?```", "", text, flags=re.DOTALL)))


def links_within(text: str) -> list[str]:
    return re.findall(r"\]\(#([^)]+)\)", text)


def labels(text: str) -> list[str]:
    return re.findall(r"^- \*\*(.+?)\*\* ", text, re.MULTILINE)


def commands() -> list[list[str]]:
    return [shlex.split(line) for line in sorted({*typed(RUNBOOK.read_text(encoding="utf-8"))} - {""})]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    name, notes = alert["alert"], alert["annotations"]

    assert alert["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"[ -~]+[.?]", notes["summary"]), "one sentence, in English"
    assert re.search(r"[\u4e00-\u9fff]", notes["summary_zh"])
    assert notes["summary_zh"].endswith("。")
    assert notes["runbook_url"] == f"deploy/runbook.md#{name.lower()}"
    section = sections(RUNBOOK)[name]
    assert "**Meaning.**" in section
    assert "```sh" in section, "something to type"


def test_the_runbook_has_no_heading_that_no_alert_leads_to() -> None:
    headings = set(re.findall(r"^### (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE))

    assert headings == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("edition", EDITIONS, ids=["english", "chinese"])
def test_the_runbook_names_for_each_problem_what_ends_it_as_the_code_does(edition: Path) -> None:
    named = {code: verbs(text) for code, text in problems(edition).items()}

    after_refusals = named.pop("Codes of WeChat Pay")
    assert named == {code: [verb.value for verb in its] for code, its in VERBS.items()}
    assert after_refusals == [verb.value for verb in AFTER_REFUSALS]


def test_every_problem_that_we_find_ourselves_has_something_that_ends_it() -> None:
    assert all(VERBS.values())


@pytest.mark.parametrize("edition", EDITIONS, ids=["english", "chinese"])
def test_every_link_within_the_runbook_leads_to_a_heading(edition: Path) -> None:
    anchors = {heading.lower() for heading in sections(edition)}

    assert {*links_within(edition.read_text(encoding="utf-8"))} <= anchors


def test_the_chinese_runbook_has_the_same_alerts_in_the_same_groups_and_order() -> None:
    assert outline(CHINESE_RUNBOOK) == outline(RUNBOOK)


def test_the_chinese_runbook_has_the_same_commands_in_the_same_order() -> None:
    assert typed(CHINESE_RUNBOOK.read_text(encoding="utf-8")) == typed(RUNBOOK.read_text(encoding="utf-8"))


@pytest.mark.parametrize("alert", [alert["alert"] for alert in alerts()])
def test_a_section_of_the_chinese_runbook_says_what_the_english_one_says(alert: str) -> None:
    english, chinese = (sections(edition)[alert] for edition in EDITIONS)

    assert labels(chinese) == [LABELS[label] for label in labels(english)]
    assert typed(chinese) == typed(english)
    assert code_spans(chinese) == code_spans(english)
    assert links_within(chinese) == links_within(english)


def test_the_runbook_uses_tools_that_are_at_hand() -> None:
    assert {words[0] for words in commands()} <= {"payscore-worker", *BROKER_TOOLS, *STANDARD_TOOLS}


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "payscore-worker"], ids=shlex.join)
def test_a_command_of_ours_in_the_runbook_exists(words: list[str]) -> None:
    parse(cli, words[0], words[1:])


def test_the_commands_of_rabbitmq_in_the_runbook_exist(broker_commands: str) -> None:
    named = {words[1] for words in commands() if words[0] in BROKER_TOOLS}

    assert {name for name in named if not re.search(rf"\b{name}\b", broker_commands)} == set()


def parse(command: click.Command, name: str, words: list[str]) -> None:
    """Parse the words as the command line would, down to the last option, and run nothing."""
    with command.make_context(name, list(words)) as context:
        given = [*context._protected_args, *context.args]
        if isinstance(command, click.Group) and (given or not command.invoke_without_command):
            inner_name, inner, rest = command.resolve_command(context, given)
            assert inner is not None, f"no command {inner_name}"
            parse(inner, str(inner_name), rest)


@pytest.fixture(scope="session")
def broker_commands() -> str:
    """What RabbitMQ's own tools say that they can do."""
    scripts = find_scripts()
    if scripts is None:
        pytest.skip("RabbitMQ is not installed here")
    tools = [scripts / tool for tool in BROKER_TOOLS]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp")}  # noqa: S108 - nothing is written
    return "".join(run([tool, "help"], seconds=CTL_SECONDS, env=environment) for tool in tools)
