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
    accounts: str
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
    accounts="""\
## The file of accounts

Local companies hold local licences, so one platform may have several merchant numbers, and one service several apps.
`PAYSCORE_ACCOUNTS_FILE` names a TOML file with a table for each; the settings of the merchant above are then not set
(both at once is an error).

```toml
[accounts.shanghai]
default = true                                  # else the first one is
mchid = "1900000101"
appids = ["wx8888888888888888", "wx9999999999999999"] # the first is the default
service_id = "00000000000000000000000000000101"
api_family = "serviceorder"
merchant_serial_no = "7D0AB5B5D9E2C4A1"
merchant_private_key_file = "shanghai/apiclient_key.pem"
apiv3_key_file = "shanghai/apiv3_key"
risk_amount_fen = 20000

[accounts.suzhou]
mchid = "1900000202"
appids = ["wx8888888888888888"]
service_id = "00000000000000000000000000000202"
merchant_serial_no = "5157F09EFDC096DE"
merchant_private_key_file = "suzhou/apiclient_key.pem"
apiv3_key_file = "suzhou/apiv3_key"
notify_url = "https://pay.example.com/notify/suzhou"
```

Members are the settings of the merchant in lower case without `PAYSCORE_`, and `service_introduction`,
`risk_amount_fen` and `out_order_no_prefix`, which are as set for all where an account does not say them. `appids` is
a list. Keys stand in files of their own, named by `<member>_file` and found from where the accounts' file is; a key
that is written here is refused. An account that names no `notify_url` is called under `PAYSCORE_NOTIFY_BASE_URL` +
`/notify/NAME`; the default one is called under `/notify/payscore`, too. A name has 1 to 32 letters, digits, `_` or
`-`; no two accounts have one mchid; there are at most 64. A member that is missing, wrong or not known stops the
process with a line that names file, account and member, and no key. `payscore-worker account list` shows them,
`doctor` checks each.

An order belongs to its mchid: an account may be renamed, and may be left out once none of its trips is under way;
till then they wait.
""",
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
    yield words.accounts


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
