"""Prints the page of settings, made from the definitions by which they are read, in English or in Chinese."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from docs.translated import ENGLISH, Translated, said, write
from payscore_worker.settings import PARTS, Part, description

TRANSLATION: Final = Path(__file__).with_name("settings.zh-CN.toml")


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a page says beside names and defaults."""

    introduction: str
    columns: tuple[str, str, str]
    required: str
    none: str
    titles: Mapping[str, str] = {}
    parts: Mapping[str, Translated] = {}
    settings: Mapping[str, Translated] = {}


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
        yield f"{said(name, part.__doc__ or '', None if words is IN_ENGLISH else words.parts, TRANSLATION)}\n"
        yield f"| {' | '.join(words.columns)} |"
        yield "| --- | --- | --- |"
        yield from _rows(part, words)
        yield ""


def _rows(part: type[Part], words: Words) -> Iterator[str]:
    for field in msgspec.structs.fields(part):
        name = field.encode_name
        text = said(name, description(part, name), None if words is IN_ENGLISH else words.settings, TRANSLATION)
        yield f"| `{name}` | {_default(field, words)} | {text} |"


def _default(field: msgspec.structs.FieldInfo, words: Words) -> str:
    if field.required:
        return f"**{words.required}**"
    if field.default in (None, ""):
        return words.none
    return f"`{field.default}`"


if __name__ == "__main__":
    write(page, __doc__)
