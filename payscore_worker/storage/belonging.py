"""Whose trip a row is: what its start said, and under which terms its order was opened, whatever release wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from payscore_worker.domain.account import DEFAULT

NOBODY: Final = "(unknown)"
"""Whose account the settings do not have, by number or by name; no account can be called so."""

_T = TypeVar("_T", bound=msgspec.Struct)


class _Start(msgspec.Struct):
    account: str = ""


class _Terms(msgspec.Struct):
    mchid: str = ""
    appid: str = ""
    family: str = ""


class Belonging(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a trip is. Empty, where it is not said."""

    account: str = ""
    """As its start names it."""
    mchid: str = ""
    """Of its order, as are the others."""
    appid: str = ""
    family: str = ""

    def name(self, names: Mapping[str, str]) -> str:
        """Name the account: by its merchant number, as the accounts are called now, or else as it was said."""
        return names.get(self.mchid) or self.account or self.mchid


def belonging(row: Mapping[str, Any]) -> Belonging:
    """Read whose trip a row is."""
    return belonging_of_order(row["terms"], account=_read(row["started"], _Start).account)


def belonging_of_order(terms: str | None, *, account: str = "") -> Belonging:
    """Read whose an order, or an authorisation, is by its terms alone."""
    read = _read(terms, _Terms)
    return Belonging(account=account, mchid=read.mchid, appid=read.appid, family=read.family)


def _read(text: str | None, kind: type[_T]) -> _T:
    try:
        return kind() if text is None else msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:  # a newer release's; nothing is known of it
        return kind()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """The accounts as the settings have them now, to tell whose a row is by a name of theirs alone."""

    default: str = DEFAULT
    names: Mapping[str, str] = field(default_factory=dict)
    """By mchid."""

    def name(self, mchid: str | None, said: str | None = None) -> str:
        """Name the account of an order's merchant number or, before there is one, of what the start said."""
        if mchid:
            return self.names.get(mchid, NOBODY)
        if not said:
            return self.default
        return said if said in self.names.values() else NOBODY
