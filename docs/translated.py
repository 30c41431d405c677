"""What the pages have in common that are made from the code in English and in Chinese."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

ENGLISH: Final = "en"
CHINESE: Final = "zh-CN"


class Translated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text and the English that it stands for: where that has changed, it must be translated anew."""

    en: str
    zh: str


class Untranslated(LookupError):
    """A text has no translation, or one of what it said before."""


def said(name: str, english: str, translations: Mapping[str, Translated] | None, file: Path) -> str:
    """Say it in Chinese, by the translations of this file; in English where there are none to go by.

    Raises:
        Untranslated: it is not among the translations as it is now; the message names it.

    """
    if translations is None:
        return english
    translated = translations.get(name)
    if translated is None:
        raise Untranslated(f"{name} has no Chinese description in docs/{file.name}; in English: {english}")
    if translated.en != english:
        raise Untranslated(f"{name} is now described as: {english}; translate it anew in docs/{file.name}")
    return translated.zh


def write(page: Callable[[str], Iterable[str]], about: str | None) -> None:
    """Write the page in the language that the command line names."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("language", nargs="?", choices=(ENGLISH, CHINESE), default=ENGLISH)
    sys.stdout.write("\n".join(page(parser.parse_args().language)))
