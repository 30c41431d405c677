"""Prints the page of settings, made from the definitions by which they are read, in English or in Chinese."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from payscore_worker.settings import PARTS, Part, description

ENGLISH: Final = "en"
CHINESE: Final = "zh-CN"
TRANSLATION: Final = Path(__file__).with_name("settings.zh-CN.toml")


class Translated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text and the English that it stands for: where that has changed, it must be translated anew."""

    en: str
    zh: str


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a page says beside names and defaults."""

    introduction: str
    columns: tuple[str, str, str]
    required: str
    none: str
    titles: Mapping[str, str] = {}
    parts: Mapping[str, Translated] = {}
    settings: Mapping[str, Translated] = {}


class Untranslated(LookupError):
    """A text has no translation, or one of what it said before."""


IN_ENGLISH: Final = Words(
    introduction="""\
# Settings

[简体中文](zh-CN/settings.md)

Taken from the environment, or from a `.env` file in the working directory; the environment goes before the file. Each
setting can also be a file: `<NAME>_FILE` names it, which is how secrets are best given. A missing or malformed setting
stops the process at start with one line that names it, and exit code 2. Each command reads the parts it needs.

`payscore-worker simulator --print-env` prints settings that fit the simulator; `payscore-worker doctor` checks all.
""",
    columns=("name", "default", "what it should be"),
    required="required",
    none="none",
)


def in_chinese() -> Words:
    """Read the Chinese texts."""
    return msgspec.toml.decode(TRANSLATION.read_text(encoding="utf-8"), type=Words)


def page(language: str = ENGLISH, parts: Sequence[type[Part]] = PARTS) -> Iterator[str]:
    """Write the page, a part a heading.

    Raises:
        Untranslated: a part or a setting has no text in this language; the message names it.

    """
    words = IN_ENGLISH if language == ENGLISH else in_chinese()
    yield words.introduction
    for part in parts:
        name = part.__name__.removesuffix("Settings")
        yield f"## {words.titles.get(name, name)}\n"
        yield f"{_said(name, part.__doc__ or '', None if words is IN_ENGLISH else words.parts)}\n"
        yield f"| {' | '.join(words.columns)} |"
        yield "| --- | --- | --- |"
        yield from _rows(part, words)
        yield ""


def _rows(part: type[Part], words: Words) -> Iterator[str]:
    for field in msgspec.structs.fields(part):
        name = field.encode_name
        said = _said(name, description(part, name), None if words is IN_ENGLISH else words.settings)
        yield f"| `{name}` | {_default(field, words)} | {said} |"


def _said(name: str, english: str, translations: Mapping[str, Translated] | None) -> str:
    if translations is None:
        return english
    translated = translations.get(name)
    if translated is None:
        raise Untranslated(f"{name} has no Chinese description in docs/{TRANSLATION.name}; in English: {english}")
    if translated.en != english:
        raise Untranslated(f"{name} is now described as: {english}; translate it anew in docs/{TRANSLATION.name}")
    return translated.zh


def _default(field: msgspec.structs.FieldInfo, words: Words) -> str:
    if field.required:
        return f"**{words.required}**"
    if field.default in (None, ""):
        return words.none
    return f"`{field.default}`"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("language", nargs="?", choices=(ENGLISH, CHINESE), default=ENGLISH)
    sys.stdout.write("\n".join(page(parser.parse_args().language)))
