"""The documents agree with the code, with each other, and with the files they point to."""

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final

import jsonschema
import msgspec
import pytest
import yaml
from prometheus_client import Gauge

from docs.translated import Untranslated
from payscore_worker import metrics
from payscore_worker.cli import COMMANDS
from payscore_worker.domain import refund
from payscore_worker.domain.refund import RefundRequested
from payscore_worker.domain.trip import (
    Debit,
    Payment,
    Trip,
    TripState,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition
from payscore_worker.events import (
    Announcement,
    SettlementRefunded,
    SettlementRefundProblem,
    TripEnded,
    TripStarted,
)
from payscore_worker.events import RefundRequested as RefundRequestedEvent
from payscore_worker.messaging.topology import QUEUES
from payscore_worker.settings import PARTS, Part, WebhookSettings
from payscore_worker.wechatpay.transactions import RefundStatus
from payscore_worker.wechatpay.transactions.refunds import read_refund
from tests.builders import NOW, a_trip

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
READMES: Final = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
DEAD_LETTER_PAGES: Final = [ROOT / "docs" / "dead-letters.md", ROOT / "docs" / "zh-CN" / "dead-letters.md"]
CHINESE_INDEX: Final = ROOT / "docs" / "zh-CN" / "README.md"
CHINESE_PAGES: Final = [*sorted({*ROOT.glob("docs/zh-CN/*.md")} - {CHINESE_INDEX}), ROOT / "README.zh-CN.md"]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_a_request(payload: dict[str, Any]) -> None:
    RefundRequestedEvent.read(json.dumps(payload).encode())


def says(status: RefundStatus) -> Callable[[dict[str, Any]], None]:
    def check(payload: dict[str, Any]) -> None:
        assert read_refund(payload["data"]).status is status

    return check


def is_told_by(kind: type[Announcement]) -> Callable[[dict[str, Any]], None]:
    def check(payload: dict[str, Any]) -> None:
        told = msgspec.convert(payload["data"], kind)
        assert told.state == TripState.PAID
        assert set(payload["data"]) == {field.encode_name for field in msgspec.structs.fields(kind)}

    return check


REFUND_MESSAGES: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "refund.requested": is_a_request,
    "refund.success": says(RefundStatus.SUCCESS),
    "refund.abnormal": says(RefundStatus.ABNORMAL),
    "refund.closed": says(RefundStatus.CLOSED),
    "settlement.refunded": is_told_by(SettlementRefunded),
    "settlement.refund_problem": is_told_by(SettlementRefundProblem),
}


def a_paid_trip(*debits: Debit, paid_at: datetime = NOW) -> Trip:
    payment = Payment(paid_fen=3_200, paid_at=paid_at, debits=debits or (Debit(transaction_id="4200000001"),))
    return replace(a_trip(), state=TripState.PAID, payment=payment)


UNREFUNDABLE: Final[dict[str, Callable[[], Trip]]] = {
    "not paid": a_trip,
    "nothing collected": lambda: replace(a_paid_trip(), payment=Payment(paid_fen=0, paid_at=NOW)),
    "paid too long ago": lambda: a_paid_trip(paid_at=NOW - refund.REFUNDABLE_FOR - timedelta(seconds=1)),
    "refunded too often": lambda: a_paid_trip(
        Debit(transaction_id="4200000001", amount_fen=10_000, refunds=refund.MAX_REFUNDS)
    ),
    "less is left": a_paid_trip,
    "less is left in each debit": lambda: a_paid_trip(
        Debit(transaction_id="4200000001", amount_fen=1_600), Debit(transaction_id="4200000002", amount_fen=1_600)
    ),
    "not told what each debit collected": lambda: a_paid_trip(
        Debit(transaction_id="4200000001"), Debit(transaction_id="4200000002")
    ),
}


def rows_about(reason: str, page: Path) -> list[str]:
    """Find what the tables of dead letters say about a reason; `#` in a row stands for what differs."""
    rows = re.findall(r"^\| `([^`]+)`", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [row for row in rows if re.match(re.escape(row).replace(r"\#", ".+"), reason)]


def asyncapi() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8"))
    return document


def examples(page: Path) -> list[dict[str, Any]]:
    blocks = re.findall(r"```json\n(.+?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [json.loads(block) for block in blocks]


def test_the_asyncapi_document_is_what_the_code_says_now() -> None:
    said_now = json.loads(json.dumps(script("asyncapi").document()))

    assert asyncapi() == said_now, "run `make docs`"


@pytest.mark.parametrize(("language", "name"), [("en", "settings.md"), ("zh-CN", "zh-CN/settings.md")])
def test_the_page_of_settings_is_what_the_code_says_now(language: str, name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")

    assert text.rstrip() == "\n".join(script("settings").page(language)).rstrip(), "run `make docs`"


@pytest.mark.parametrize(
    ("part", "setting", "says", "complaint"),
    [
        ("Moon", "webhook_port", "a port number; 0 for any free one", "Moon has no Chinese description"),
        ("Webhook", "webhook_moon", "a phase", "PAYSCORE_WEBHOOK_MOON has no Chinese description"),
        ("Webhook", "webhook_port", "no longer a port", "PAYSCORE_WEBHOOK_PORT is now described as"),
    ],
)
def test_there_is_no_chinese_page_of_settings_before_all_is_translated(
    part: str, setting: str, says: str, complaint: str
) -> None:
    text = Annotated[str, msgspec.Meta(description=says)]
    unheard_of = msgspec.defstruct(
        f"{part}Settings", [(setting, text)], bases=(Part,), namespace={"__doc__": WebhookSettings.__doc__}
    )

    with pytest.raises(Untranslated, match=complaint):
        list(script("settings").page("zh-CN", [unheard_of]))


def test_every_chinese_description_is_of_a_setting_that_there_is() -> None:
    words = script("settings").in_chinese()
    parts = {part.__name__.removesuffix("Settings") for part in PARTS}

    assert set(words.titles) == set(words.parts) == parts
    assert set(words.settings) == {field.encode_name for part in PARTS for field in msgspec.structs.fields(part)}


def test_the_chinese_page_of_metrics_is_what_the_code_says_now() -> None:
    text = (ROOT / "docs" / "zh-CN" / "metrics.md").read_text(encoding="utf-8")

    assert text.rstrip() == "\n".join(script("metrics").page("zh-CN")).rstrip(), "run `make docs`"


@pytest.mark.parametrize(
    ("heading", "name", "says", "complaint"),
    [
        ("Moon (worker)", "payscore_outbox_rows", "Rows.", r"^Moon \(worker\) has no Chinese heading"),
        ("Every role", "payscore_moon", "A phase.", "^payscore_moon has no Chinese description"),
        ("Every role", "payscore_outbox_rows", "No longer rows.", "^payscore_outbox_rows is now described as"),
    ],
)
def test_there_is_no_chinese_page_of_metrics_before_all_is_translated(
    heading: str, name: str, says: str, complaint: str
) -> None:
    unheard_of = Gauge(name, says, registry=None)

    with pytest.raises(Untranslated, match=complaint):
        list(script("metrics").page("zh-CN", {heading: (unheard_of,)}))


def test_every_chinese_description_is_of_a_metric_that_there_is() -> None:
    pages = script("metrics")
    words = pages.in_chinese()

    assert set(words.headings) == set(metrics.TABLE)
    assert set(words.metrics) == {pages.name_of(metric) for group in metrics.TABLE.values() for metric in group}


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()

    def follow(node: object) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = document
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                follow(value)
        elif isinstance(node, list):
            for value in node:
                follow(value)

    follow(document)


@pytest.mark.parametrize("type_", [*REFUND_MESSAGES])
def test_every_message_of_a_refund_has_an_example_that_the_schema_and_the_code_accept(type_: str) -> None:
    document = asyncapi()
    message = document["components"]["messages"][type_]
    (example,) = message["examples"]

    jsonschema.validate(example["payload"], {**message["payload"], "components": document["components"]})
    REFUND_MESSAGES[type_](example["payload"])


@pytest.mark.parametrize("page", DEAD_LETTER_PAGES, ids=lambda page: page.parent.name)
@pytest.mark.parametrize("trip", [*UNREFUNDABLE])
def test_the_page_of_dead_letters_tells_what_to_do_about_a_request_that_cannot_be_refunded(
    page: Path, trip: str
) -> None:
    asked = RefundRequested(trip_id="t1", refund_id="r1", amount_fen=3_201, reason="绕路")

    with pytest.raises(IllegalTransition) as dead:
        refund.request(UNREFUNDABLE[trip](), asked, NOW, mchid="1900000001")

    assert len(rows_about(str(dead.value), page)) == 1


@pytest.mark.parametrize("page", DEAD_LETTER_PAGES, ids=lambda page: page.parent.name)
def test_the_page_of_dead_letters_tells_what_to_do_about_a_request_that_says_otherwise_than_before(page: Path) -> None:
    asked = RefundRequested(trip_id="t1", refund_id="r1", amount_fen=3_200, reason="绕路")
    _, noted = refund.request(a_paid_trip(), asked, NOW, mchid="1900000001")

    with pytest.raises(ConflictingFact) as dead:
        refund.see_that_it_is_the_same(noted, replace(asked, amount_fen=100))

    assert len(rows_about(str(dead.value), page)) == 1


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_the_refund_that_the_readme_publishes_is_accepted_and_fits_its_trip(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    (published,) = re.findall(r"docs/publish\.py refund\.requested '(.+)'", text)
    _, ended = examples(readme)

    asked = RefundRequestedEvent.read(published.encode())

    assert asked.trip_id == ended["trip_id"]
    assert asked.amount_fen <= ended["total_fen"]


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_the_messages_of_the_readme_are_accepted_by_the_code_and_by_the_schema(readme: Path) -> None:
    started, ended = examples(readme)
    TripStarted.read(json.dumps(started).encode())
    TripEnded.read(json.dumps(ended).encode())
    document = asyncapi()

    for type_, example in (("trip.started", started), ("trip.ended", ended)):
        payload = document["components"]["messages"][type_]["payload"]
        envelope = {"specversion": "1.0", "id": "e1", "source": "ride", "type": type_, "data": example}
        for message in (example, envelope):
            jsonschema.validate(message, {**payload, "components": document["components"]})
        without = {name: value for name, value in example.items() if name != "trip_id"}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(without, {**payload, "components": document["components"]})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.+?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_every_command_that_the_readme_names_exists(readme: Path) -> None:
    named = set(re.findall(r"payscore-worker ([a-z]+)", readme.read_text(encoding="utf-8")))

    assert named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_the_readme_names_every_make_target_for_newcomers(readme: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z-]+)", readme.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


def test_every_queue_of_the_topology_is_in_the_asyncapi_document() -> None:
    channels = asyncapi()["channels"]

    for binding in QUEUES.values():
        for routing_key in binding.routing_keys:
            assert channels[routing_key]["bindings"]["amqp"]["exchange"]["name"] == binding.exchange


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")

    for page in (ROOT / "docs" / "adr").glob("0*.md"):
        assert page.name in listed


@pytest.mark.parametrize("page", CHINESE_PAGES, ids=lambda page: page.name)
def test_a_chinese_page_and_its_english_one_point_to_each_other(page: Path) -> None:
    english = english_page(page)
    pointed_to = re.findall(r"\[[^]]+\]\(([^)#\s]+)\)", english.read_text(encoding="utf-8"))

    assert page in {(english.parent / target).resolve() for target in pointed_to}, f"{english.name} has no link"


@pytest.mark.parametrize("page", CHINESE_PAGES, ids=lambda page: page.name)
def test_a_chinese_page_names_all_that_its_english_one_names(page: Path) -> None:
    missing = names(english_page(page)) - names(page)

    assert not missing


def english_page(page: Path) -> Path:
    link = re.search(r"\[English\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    assert link is not None, f"{page.name} has no [English] link"
    return (page.parent / link[1]).resolve()


def names(page: Path) -> set[str]:
    """Read what a page sets as code, in text and tables: commands, members, states, figures."""
    text = re.sub(r"```.+?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_rule_row_column_and_problem_of_the_state_table_is_explained_in_chinese() -> None:
    english = (ROOT / "docs" / "state-table.md").read_text(encoding="utf-8")
    chinese = (ROOT / "docs" / "zh-CN" / "state-table.md").read_text(encoding="utf-8")
    first_cells = [line.split("|")[1] for line in chinese.splitlines() if line.startswith("|")]
    explained = {word.strip(" `") for cell in first_cells for word in re.split("[、，]", cell)}

    _, rules, *tables = re.findall(r"(?:^\|.*\n?)+", english, re.MULTILINE)
    assert set(re.findall(r"^\| `([^`]+)` ", rules, re.MULTILINE)) <= explained
    for table in tables:
        header, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines())
        problems = set(re.findall(r"problem (\w+)", table)) - {"CODE"}
        assert {*header[1:], *(row[0] for row in rows), *problems} <= explained


def test_every_chinese_page_is_listed() -> None:
    listed = CHINESE_INDEX.read_text(encoding="utf-8")

    for page in CHINESE_PAGES:
        assert f"]({page.name})" in listed or f"](../../{page.name})" in listed, page.name
