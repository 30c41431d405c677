"""The settings that a worker needs to talk to a simulator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from payscore_worker.simulator.config import SimulatorConfig

UNQUOTABLE: Final = ("'", "\\", "${", "\r", "\0")
"""What a POSIX shell and python-dotenv read differently inside single quotes."""


ACCOUNTS_FILE: Final = "accounts.toml"

IN_FILES: Final = frozenset({"merchant_private_key", "apiv3_key", "apiv2_key", "wechatpay_public_key"})
"""What is not written beside the rest."""


def environment(config: SimulatorConfig, *, base_url: str, family: str = "payafter") -> dict[str, str]:
    keys = config.keys
    settings = {
        "PAYSCORE_API_BASE_URLS": base_url,
        "PAYSCORE_API_FAMILY": family,
        "PAYSCORE_MCHID": keys.mchid,
        "PAYSCORE_APPID": keys.appid,
        "PAYSCORE_SERVICE_ID": keys.service_id,
        "PAYSCORE_MERCHANT_SERIAL_NO": keys.merchant.serial_no,
        "PAYSCORE_MERCHANT_PRIVATE_KEY": keys.merchant_private_key_pem,
        "PAYSCORE_APIV3_KEY": keys.apiv3_key,
        "PAYSCORE_APIV2_KEY": keys.apiv2_key,
        "PAYSCORE_NOTIFY_URL": config.notify_url,
    }
    if config.sign_with == "public_key":
        settings["PAYSCORE_WECHATPAY_PUBLIC_KEY_ID"] = keys.public_key_id
        settings["PAYSCORE_WECHATPAY_PUBLIC_KEY"] = keys.public_key_pem
    return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """One merchant of several, by the name under which a worker knows its account."""

    name: str
    config: SimulatorConfig
    family: str


def write_accounts(directory: Path, companies: Sequence[Company], *, base_url: str) -> dict[str, str]:
    """Write the file of accounts that a worker needs, and its keys beside it; returns the settings that name it.

    The first company is the default account.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    tables = [_table(directory, one, base_url=base_url) for one in companies]
    file = directory / ACCOUNTS_FILE
    file.write_text("\n".join(tables), encoding="utf-8")
    return {"PAYSCORE_ACCOUNTS_FILE": str(file.resolve())}


def _table(directory: Path, company: Company, *, base_url: str) -> str:
    settings = environment(company.config, base_url=base_url, family=company.family)
    lines = [f"[accounts.{company.name}]"]
    for name, value in settings.items():
        member = name.removeprefix("PAYSCORE_").lower()
        if member == "appid":
            lines.append(f'appids = ["{value}"]')
        elif member in IN_FILES:
            key = directory / f"{company.name}.{member}"
            key.touch(mode=0o600)
            key.write_text(value, encoding="utf-8")
            lines.append(f'{member}_file = "{key.name}"')
        else:
            lines.append(f'{member} = "{value}"')
    return "\n".join([*lines, ""])


def render_environment(environment: Mapping[str, str]) -> str:
    """Lines that python-dotenv and a POSIX shell (`set -a; . ./file`) read alike."""
    return "".join(f"{name}={_quoted(name, value)}\n" for name, value in environment.items())


def _quoted(name: str, value: str) -> str:
    for text in UNQUOTABLE:
        if text in value:
            raise ValueError(f"{name} contains {text!r}, which a shell and python-dotenv would read differently")
    return f"'{value}'"
