"""Everything the console says, it says in English and in Chinese."""

import re
from pathlib import Path
from string import Formatter
from typing import Final

import pytest

from payscore_worker.console import authorising, looking, screen
from payscore_worker.console.replays import Stage
from payscore_worker.console.verdict import Severity
from payscore_worker.console.words import WORDS, Language, preferred, say
from payscore_worker.domain.authorisation import AuthorisationState
from payscore_worker.domain.decisions import Verb
from payscore_worker.domain.refund import RefundState
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import FailureClass
from payscore_worker.oversight.explain_authorisation import BY_CALLBACK, BY_QUESTION
from payscore_worker.settlement import deciding, refunding
from payscore_worker.storage import CallOutcome
from payscore_worker.storage.actions import Outcome
from payscore_worker.storage.refunds import CLEAR, GIVE_UP, REQUEST

CONSOLE: Final = Path(screen.__file__).parent
TEMPLATES: Final = {page.name: page.read_text(encoding="utf-8") for page in (CONSOLE / "templates").glob("*.html")}
SOURCES: Final = "".join(module.read_text(encoding="utf-8") for module in CONSOLE.glob("*.py"))

THE_SAME_IN_BOTH: Final = {"product", "as_json"}
"""Names; and `other_language`, which is said in the other language."""

FAMILIES: Final = {
    "verdict_": [str(severity.value) for severity in Severity],
    "breaker_reason_": [reason.value for reason in FailureClass],
    "state_": [state.value for state in TripState],
    "outcome_": [outcome.value for outcome in CallOutcome],
    "kind_": ["heard", "notified", "called", "moved", "refund", "troubled", "announced", "decided"],
    "authorisation_state_": [state.value for state in AuthorisationState],
    "authorisations_": ["found", *authorising.LISTS],
    "learnt_by_": [BY_CALLBACK, BY_QUESTION],
    "refund_state_": [state.value for state in RefundState],
    "refund_outlook_": list(refunding.WORDS),
    "show_": list(looking.SHOWS),
    "age_": list(looking.AGES),
    "job_": [stage.value for stage in Stage],
    "action_": ["replay", "drop", "outbox replay", REQUEST, CLEAR, GIVE_UP, *(f"trip {verb}" for verb in Verb)],
    "verb_": [verb.value for verb in Verb],
    "verb_means_": [verb.value for verb in Verb],
    "outlook_": list(deciding.WORDS),
    "action_outcome_": [outcome.value for outcome in Outcome],
}
"""Words that pages name by what they show, and all there is to show."""

CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("key", WORDS)
def test_no_message_lacks_either_language(key: str) -> None:
    english, chinese = WORDS[key]

    assert english.strip()
    assert chinese.strip()
    if key == "other_language":
        english, chinese = chinese, english
    assert not CHINESE.search(english)
    if key in THE_SAME_IN_BOTH:
        assert english == chinese
    else:
        assert CHINESE.search(chinese)


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_have_the_same_places_for_values(key: str) -> None:
    places = [{name for _, name, _, _ in Formatter().parse(text) if name is not None} for text in WORDS[key]]

    assert places[0] == places[1]


@pytest.mark.parametrize("page", TEMPLATES)
def test_every_word_that_a_page_names_is_there(page: str) -> None:
    for key in re.findall(r'\bt\("([a-z0-9_]+)"[,)]', TEMPLATES[page]):
        assert key in WORDS
    for family in re.findall(r'\bt\("([a-z_]+_)" ~', TEMPLATES[page]):
        assert family in FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_of_a_family_is_there(family: str) -> None:
    for member in FAMILIES[family]:
        assert f"{family}{member}" in WORDS


def test_what_will_come_of_a_decision_is_said_as_on_the_command_line() -> None:
    for family, words in {"outlook": deciding.WORDS, "refund_outlook": refunding.WORDS}.items():
        for key, text in words.items():
            places = [
                {name for _, name, _, _ in Formatter().parse(one) if name} for one in (text, *WORDS[f"{family}_{key}"])
            ]
            assert places[0] == places[1] == places[2]


def test_pages_say_nothing_past_the_table() -> None:
    for name, page in TEMPLATES.items():
        shown = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "", page, flags=re.DOTALL)
        shown = re.sub(r"<code>.*?</code>", "", shown)  # commands are the same in both
        shown = re.sub(r'hx-\w+="[^"]*"', "", shown)
        texts = re.sub(r"<[^>]*>", " ", re.sub(r"<(style|script)[^>]*>.*?</\1>", "", shown, flags=re.DOTALL))
        words = set(re.findall(r"[A-Za-z\u4e00-\u9fff]{2,}", texts)) - {"out_order_no", "out", "order", "no"}
        assert not words, f"{name}: {words}"


def test_every_word_is_used() -> None:
    said = SOURCES.partition("WORDS: Final")[0] + SOURCES.partition("WORDS: Final")[2]
    for key in WORDS:
        named = any(f'"{key}"' in page for page in TEMPLATES.values()) or said.count(f'"{key}"') > 1
        assert named or any(key.startswith(family) for family in FAMILIES), key


@pytest.mark.parametrize(
    ("accepted", "spoken"),
    [
        ("", Language.ENGLISH),
        ("zh-CN,zh;q=0.9,en;q=0.8", Language.CHINESE),
        ("zh", Language.CHINESE),
        ("en-US,en;q=0.5,zh;q=0.4", Language.ENGLISH),
        ("fr,zh;q=0.3,en;q=0.2", Language.CHINESE),
        ("fr", Language.ENGLISH),
        ("zh;q=nonsense,en;q=0.1", Language.ENGLISH),
    ],
)
def test_the_browser_chooses_the_language(accepted: str, spoken: Language) -> None:
    assert preferred(accepted) is spoken


def test_values_stand_in_their_places() -> None:
    assert say("fen", Language.ENGLISH, {"fen": "1,200"}) == "1,200 fen"
    assert say("fen", Language.CHINESE, {"fen": "1,200"}) == "1,200 分"
