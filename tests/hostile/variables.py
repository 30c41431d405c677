"""Settings as a person in a hurry leaves them; and what must be true of every complaint about them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from payscore_worker.settings import PARTS, Environment, Part, SettingsError, duration, durations
from tests.hostile import mangling

SECRET: Final = "hunter2"
"""Stands in every secret of these settings, and must stand in no complaint."""

SECRETS: Final = {
    "PAYSCORE_MERCHANT_PRIVATE_KEY": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
    "PAYSCORE_APIV3_KEY": f"0123456789{SECRET}0123456789abcde",
    "PAYSCORE_APIV3_KEY_PREVIOUS": f"1123456789{SECRET}0123456789abcde",
    "PAYSCORE_APIV2_KEY": f"2123456789{SECRET}0123456789abcde",
    "PAYSCORE_WECHATPAY_PUBLIC_KEY": f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----",
    "PAYSCORE_OPS_TOKEN": f"3123456789{SECRET}0123456789abcde",
    "PAYSCORE_AMQP_URL": f"amqp://guest:{SECRET}@127.0.0.1:5672/",
    "PAYSCORE_DATABASE_URL": f"postgresql+asyncpg://pay:{SECRET}@127.0.0.1/pay",
    "PAYSCORE_MANAGEMENT_URL": f"http://guest:{SECRET}@127.0.0.1:15672",
}

PLAIN: Final = {
    "PAYSCORE_MCHID": "1230000109",
    "PAYSCORE_APPID": "wxd678efh567hg6787",
    "PAYSCORE_SERVICE_ID": "500001",
    "PAYSCORE_MERCHANT_SERIAL_NO": "7D0AB5B5D9E2C4A1",
    "PAYSCORE_NOTIFY_URL": "https://pay.example.com/notify/payscore",
    "PAYSCORE_API_FAMILY": "serviceorder",
    "PAYSCORE_ACCOUNTS_FILE": "accounts.toml",
    "PAYSCORE_NOTIFY_BASE_URL": "https://pay.example.com",
    "PAYSCORE_API_BASE_URLS": "https://a.example.com,https://b.example.com",
    "PAYSCORE_WECHATPAY_PUBLIC_KEY_ID": "PUB_KEY_ID_0116",
    "PAYSCORE_AMQP_PREFIX": "test.",
    "PAYSCORE_RETRY_DELAYS": "5s,30s,2m",
    "PAYSCORE_POLL_DELAYS": "250ms,1h,1d",
    "PAYSCORE_PREFETCH": "64",
    "PAYSCORE_SERVICE_INTRODUCTION": "网约车出行",
    "PAYSCORE_RISK_AMOUNT_FEN": "20000",
    "PAYSCORE_SECOND_RISK_AMOUNT_FEN": "10000",
    "PAYSCORE_OUT_ORDER_NO_PREFIX": "t-",
    "PAYSCORE_SERVICE_STATE_TTL": "0s",
    "PAYSCORE_START_TIME": "event",
    "PAYSCORE_STALE_AFTER": "1d",
    "PAYSCORE_OVERDUE_AFTER": "3d",
    "PAYSCORE_NEED_USER_CONFIRM": "true",
    "PAYSCORE_CONFIRM_EXPIRES": "55m",
    "PAYSCORE_PAY_AFTER": "1d,3d",
    "PAYSCORE_PAID_TWICE": "refund",
    "PAYSCORE_WEBHOOK_HOST": "127.0.0.1",
    "PAYSCORE_WEBHOOK_PORT": "8080",
    "PAYSCORE_OPS_HOST": "127.0.0.1",
    "PAYSCORE_OPS_PORT": "9180",
    "PAYSCORE_LOG_FORMAT": "json",
    "PAYSCORE_LOG_LEVEL": "info",
    "PAYSCORE_TRACES": "otlp",
}

GOOD: Final = SECRETS | PLAIN
DURATIONS: Final = ("retry_delays", "poll_delays", "overdue_after")
IN_HEADERS: Final = ("mchid", "merchant_serial_no", "wechatpay_public_key_id", "notify_url", "appid", "service_id")
HEADER_TEXT: Final = re.compile(r"[\x21-\x7e]+")
DURATION: Final = ("service_state_ttl", "stale_after", "confirm_expires")

NAMES: Final = frozenset({".env"} | {field.encode_name for part in PARTS for field in msgspec.structs.fields(part)})

FILES: Final = ("/nowhere", "/", "/proc/self/mem", "a\0b", "a\nb", "\udcff", "x" * 5000, "~", ".")
NO_UTF_8: Final = "\udcff\udcfe"
"""How Python reads bytes of the environment that are not UTF-8."""


@dataclass(frozen=True, slots=True)
class Variables:
    """The environment of a process, and its .env file."""

    environment: Mapping[str, str]
    env_file: bytes | None = None


def mangled_variables(chance: Random) -> Variables:
    """Change some of the variables."""
    variables = dict(GOOD)
    for name in chance.sample(sorted(GOOD), chance.randint(1, 4)):
        variables[name] = _mangled(chance, variables[name])
        if chance.random() < 0.15:
            del variables[name]
    return Variables(variables)


def mangled_files(chance: Random) -> Variables:
    """Name files that are none; a secret itself in the place of its file's name, for one."""
    variables = dict(GOOD)
    for name in chance.sample(sorted(SECRETS), chance.randint(1, 2)):
        secret = variables.pop(name)
        variables[f"{name}_FILE"] = chance.choice([*FILES, secret, _mangled(chance, secret)])
    return Variables(variables)


def mangled_env_file(chance: Random) -> Variables:
    """Damage a .env file."""
    good = "\n".join(f"{name}='{value}'" for name, value in GOOD.items()).encode()
    return Variables({}, env_file=mangling.damaged(chance, good) if chance.random() < 0.9 else mangling.no_json(chance))


MAKERS: Final[Mapping[str, tuple[Callable[[Random], Variables], int]]] = {
    "settings mangled": (mangled_variables, 8),
    "secret files mangled": (mangled_files, 2),
    ".env damaged": (mangled_env_file, 1),
}


class Desk:
    """A directory with a .env file."""

    def __init__(self) -> None:
        self._directory = TemporaryDirectory(prefix="hostile-")
        self._env_file = Path(self._directory.name, ".env")

    def judge(self, variables: Variables) -> tuple[str, list[str]]:
        """Read all settings; returns what became of them, and what laws were broken."""
        self._env_file.unlink(missing_ok=True)
        if variables.env_file is not None:
            self._env_file.write_bytes(variables.env_file)
        complaints, broken = 0, []
        try:
            for one in _read_all(Environment(variables.environment, env_file=self._env_file)):
                complaints += isinstance(one, str)
                broken += _complaint_breaches(one) if isinstance(one, str) else _settings_breaches(one)
        except SettingsError as error:
            return "refused", _complaint_breaches(str(error))
        except Exception as error:  # noqa: BLE001 - whatever escapes is what is looked for
            return "unhandled", [f"unhandled: {error!r}"]
        return ("refused" if complaints else "read"), broken

    def close(self) -> None:
        self._directory.cleanup()


def _read_all(environment: Environment) -> Iterator[Part | str]:
    """Read part after part; a complaint about one leaves the others to be read."""
    for part in PARTS:
        try:
            yield environment.read(part)
        except SettingsError as error:
            yield str(error)


def _complaint_breaches(text: str) -> list[str]:
    broken = []
    if len(text.splitlines()) != 1 or not text.isprintable():
        broken.append(f"unhandled: not one line: {text!r}")
    name = text.partition(":")[0]
    if name not in NAMES and name.removesuffix("_FILE") not in NAMES:
        broken.append(f"unhandled: names no setting: {text!r}")
    if SECRET in text:
        broken.append("told: a complaint shows a secret")
    return broken


def _settings_breaches(settings: Part) -> list[str]:
    """Find what was let through and cannot be worked with."""
    broken = [] if SECRET not in repr(settings) else ["told: a repr shows a secret"]
    try:
        broken += [
            f"unhandled: a pause of nothing was let through: {name}"
            for name in DURATIONS
            if not all(durations(getattr(settings, name, "1s")))
        ]
        for name in DURATION:
            duration(getattr(settings, name, "1s"))
        for name in settings.__struct_fields__:
            str(getattr(settings, name)).encode()
        broken += [
            f"unhandled: {name} would break a header"
            for name in IN_HEADERS
            if not HEADER_TEXT.fullmatch(getattr(settings, name, None) or "x")
        ]
    except (ArithmeticError, AttributeError, ValueError) as error:
        broken.append(f"unhandled: was let through: {error!r}")
    return broken


def _mangled(chance: Random, value: str) -> str:
    match chance.randrange(8):
        case 0:
            return mangling.an_odd_text(chance)
        case 1:
            return value + chance.choice(mangling.ODD_TEXTS)
        case 2:
            return chance.choice(["\n", " ", "\t", "'", '"']) + value
        case 3:
            return value + NO_UTF_8
        case 4:
            return value.replace(chance.choice(value), chance.choice("0,9\n- x"), 1)
        case 5:
            return str(chance.choice(mangling.ODD_NUMBERS)) + chance.choice(["", "d", "s", "ms", "d\n"])
        case 6:
            return os.fsdecode(mangling.damaged(chance, os.fsencode(value)))
        case _:
            return chance.choice(list(GOOD.values()))
