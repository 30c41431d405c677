"""The accounts: several merchant numbers out of one file, or the one of the single settings (contract 11, 13)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from payscore_worker.domain.account import DEFAULT, MAX_ACCOUNT_NAME, Account
from payscore_worker.settings import (
    PREFIX,
    AccountsSettings,
    Environment,
    MerchantSettings,
    OfferSettings,
    OrderSettings,
    Part,
    SettingsError,
    convert,
)

MAX_ACCOUNTS: Final = 64
"""Each has its connections, its keys, its breaker, and a label in the metrics; a platform has tens of companies."""

KEYS: Final = (
    "merchant_private_key",
    "apiv3_key",
    "apiv3_key_previous",
    "apiv2_key",
    "wechatpay_public_key",
)
"""Members whose value stands in a file of its own, which `<member>_file` names."""

RESERVED: Final = "payscore"
"""The path `/notify/payscore` is the default account's, whatever that is called."""

_NAME: Final = re.compile(rf"[0-9A-Za-z_-]{{1,{MAX_ACCOUNT_NAME}}}")

_P = TypeVar("_P", bound=Part)

_VARIABLE: Final = "PAYSCORE_ACCOUNTS_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """What is set of one account."""

    name: str
    merchant: MerchantSettings
    offer: OfferSettings
    place: str = ""
    """Where in which file; empty where it is the single settings."""

    def error(self, complaint: SettingsError) -> SettingsError:
        """Say of which account it is that a setting does not work."""
        variable, colon, what = str(complaint).partition(": ")
        if not self.place:
            return complaint
        return SettingsError(f"{self.place}.{_member(variable)}: {what}" if colon else f"{self.place}: {complaint}")

    @property
    def account(self) -> Account:
        """What the trips of this account go by."""
        return Account(
            name=self.name,
            mchid=self.merchant.mchid,
            family=self.merchant.api_family,
            risk_amount_fen=self.offer.risk_amount_fen,
            second_risk_amount_fen=self.offer.second_risk_amount_fen,
            need_user_confirm=self.merchant.need_user_confirm,
            introduction=self.offer.service_introduction,
            out_order_no_prefix=self.offer.out_order_no_prefix,
        )


Accounts = tuple[AccountSettings, ...]
"""At least one; the first is the default."""


def read_accounts(environment: Environment) -> Accounts:
    """Read every account, the default one first.

    Raises:
        SettingsError: names the setting, or file, account and member, that is missing or wrong.

    """
    settings = environment.read(AccountsSettings)
    offer = environment.read(OrderSettings)
    base = settings.notify_base_url
    if settings.accounts_file is not None:
        if both := environment.values_of(MerchantSettings):
            raise SettingsError(f"{next(iter(both))}: is set beside {_VARIABLE}, which names every account: unset one")
        return _File(Path(settings.accounts_file), offer, base).read()
    otherwise = {} if base is None else {f"{PREFIX}NOTIFY_URL": _notify_url(base, DEFAULT)}
    return (AccountSettings(name=DEFAULT, merchant=environment.read(MerchantSettings, **otherwise), offer=offer),)


def accounts_if_told(environment: Environment) -> Accounts:
    """Read every account, or none where the settings do not tell: what is stored can be shown without them."""
    try:
        return read_accounts(environment)
    except SettingsError:
        return ()


def names_of_accounts(environment: Environment) -> dict[str, str]:
    """Find out how the accounts are called now, by mchid; nothing where the settings do not tell."""
    return {one.merchant.mchid: one.name for one in accounts_if_told(environment)}


def _notify_url(base: str, name: str) -> str:
    return f"{base.removesuffix('/')}/notify/{name}"


class _File:
    """One file of accounts."""

    def __init__(self, path: Path, offer: OfferSettings, notify_base_url: str | None) -> None:
        self._path = path
        self._offer = offer
        self._base = notify_base_url

    def read(self) -> Accounts:
        tables = self._tables()
        accounts = [self._account(name, table) for name, table in tables.items()]
        self._see_that_each_mchid_is_anothers(accounts)
        defaults = [name for name, table in tables.items() if table.get("default", False)]
        if len(defaults) > 1:
            raise self._error(
                "default", f"is true here and in account {defaults[0]!r}: one is the default", defaults[1]
            )
        accounts.sort(key=lambda account: account.name not in defaults)
        return tuple(accounts)

    def _tables(self) -> dict[str, dict[str, Any]]:
        try:
            document = tomllib.loads(self._path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{_VARIABLE}: cannot be read: {error.strerror or type(error).__name__}") from None
        except tomllib.TOMLDecodeError as error:
            raise self._error("", f"is not TOML: {error}") from None
        except ValueError:
            raise self._error("", "is not UTF-8, or no name of a file") from None
        tables = document.pop("accounts", None)
        if document:
            raise self._error("", f"{next(iter(document))!r} is not known; there is [accounts.NAME] alone")
        if not isinstance(tables, dict) or not tables:
            raise self._error("", "names no account; each is a table [accounts.NAME]")
        if len(tables) > MAX_ACCOUNTS:
            raise self._error("", f"names {len(tables)} accounts, more than the {MAX_ACCOUNTS} allowed")
        for name, table in tables.items():
            if not _NAME.fullmatch(name) or name == RESERVED:
                why = "1 to 32 letters, digits, _ or -, and not payscore"
                raise self._error("", f"{name[:MAX_ACCOUNT_NAME]!r} cannot be the name of an account: {why}")
            if not isinstance(table, dict):
                raise self._error("", "is not a table", name)
        return tables

    def _account(self, name: str, table: Mapping[str, Any]) -> AccountSettings:
        self._see_that_all_is_known(name, table)
        stated = {**table, **self._secrets(name, table)}
        values = {_variable(member): value for member, value in stated.items()}
        if "appids" in table:
            values[f"{PREFIX}APPID"] = self._appids(name, table["appids"])
        if self._base is not None:
            values.setdefault(f"{PREFIX}NOTIFY_URL", _notify_url(self._base, name))
        offer = {_variable(member): value for member, value in msgspec.structs.asdict(self._offer).items()}
        return AccountSettings(
            name=name,
            merchant=self._convert(name, values, MerchantSettings),
            offer=self._convert(name, offer | values, OfferSettings),
            place=self._place(name),
        )

    def _see_that_all_is_known(self, name: str, table: Mapping[str, Any]) -> None:
        for member in table:
            if member in KEYS:
                raise self._error(member, f"a key is not written here: name its file in {member}_file", name)
            if member not in MEMBERS:
                raise self._error(member[:MAX_ACCOUNT_NAME], f"is not known; there are {', '.join(MEMBERS)}", name)
        if not isinstance(table.get("default", False), bool):
            raise self._error("default", "neither true nor false", name)

    def _secrets(self, name: str, table: Mapping[str, Any]) -> dict[str, str]:
        """Read the files that hold keys; their names are not told, since a key itself is easily put in their place."""
        return {
            secret: self._secret(name, f"{secret}_file", table[f"{secret}_file"])
            for secret in KEYS
            if f"{secret}_file" in table
        }

    def _secret(self, name: str, member: str, file: object) -> str:
        if not isinstance(file, str) or not file:
            raise self._error(member, "is not the name of a file", name)
        try:
            return (self._path.parent / file).read_text(encoding="utf-8").strip()
        except OSError as error:
            why = error.strerror or type(error).__name__
        except ValueError:
            why = "not UTF-8, or no name of a file"
        raise self._error(member, f"the file it should name cannot be read: {why}", name)

    def _appids(self, name: str, appids: object) -> str:
        if not isinstance(appids, list) or not appids or not all(isinstance(one, str) for one in appids):
            raise self._error(
                "appids", 'a list of app ids is expected, such as ["wx1", "wx2"]; the first is the default', name
            )
        if any("," in one for one in appids):
            raise self._error("appids", "an app id has letters and digits alone", name)
        return ",".join(appids)

    def _convert(self, name: str, values: Mapping[str, object], part: type[_P]) -> _P:
        known = {field.encode_name for field in msgspec.structs.fields(part)}
        try:
            return convert({one: value for one, value in values.items() if one in known}, part, strict=True)
        except SettingsError as error:
            variable, _, complaint = str(error).partition(": ")
            raise self._error(_member(variable), complaint, name) from None

    def _see_that_each_mchid_is_anothers(self, accounts: list[AccountSettings]) -> None:
        """An order's mchid tells whose it is; and one merchant's settings belong in one place."""
        seen: dict[str, str] = {}
        for one in accounts:
            other = seen.setdefault(one.merchant.mchid, one.name)
            if other != one.name:
                raise self._error("mchid", f"is the same as that of account {other!r}", one.name)

    def _error(self, member: str, complaint: str, account: str = "") -> SettingsError:
        place = self._place(account) if account else f"{_VARIABLE}: {self._path.name}"
        return SettingsError(f"{place}.{member}: {complaint}" if member else f"{place}: {complaint}")

    def _place(self, account: str) -> str:
        return f"{_VARIABLE}: {self._path.name}: accounts.{account}"


def _variable(member: str) -> str:
    return PREFIX + member.upper()


def _member(variable: str) -> str:
    """Name a setting as the file does."""
    member = variable.removeprefix(PREFIX).lower()
    if member == "appid":
        return "appids"
    return f"{member}_file" if member in KEYS else member


def _members() -> Iterator[str]:
    yield "default"
    for part in (MerchantSettings, OfferSettings):
        yield from (_member(field.encode_name) for field in msgspec.structs.fields(part))


MEMBERS: Final = tuple(_members())
"""What may be said of an account."""
