"""Settings from the environment or `.env`, each secret also as `<NAME>_FILE` (contract 6).

They come in parts, and each command reads the parts it needs: `queues` asks for no merchant key.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from dotenv import dotenv_values
from msgspec import Meta, Struct

from payscore_worker.domain.account import MAX_ACCOUNT_NAME
from payscore_worker.messaging.addresses import Malformed, broker_urls, check_files
from payscore_worker.storage.url import UnreadableUrl, UnusableParameter, read_url

PREFIX: Final = "PAYSCORE_"

_DURATION: Final = r"[0-9]{1,6}(?:ms|s|m|h|d)"
"""Six digits are enough for anybody, and all that the calendar can take."""

_TIME: Final = rf"(?!0+[a-z]){_DURATION}"
"""A duration that is one: a pause of nothing is a loop without a pause."""

_HTTP_URL: Final = r"https?://[^\s,?#]+"

_ORIGIN: Final = r"https?://(?:[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
"""A scheme, a host and perhaps a port: no user, no password."""

_PATH: Final = r"(?:/[0-9A-Za-z/._~!$&'()*+;=:@%-]*)?"
"""What a URL holds as it is (RFC 3986), but for a comma."""

MAX_NOTIFY_URL: Final = 255
"""What WeChat Pay takes (reference payscore-api B.3)."""

MAX_NOTIFY_PATH: Final = len("/notify/") + MAX_ACCOUNT_NAME
"""What is appended to the base of them."""

_APPID: Final = r"[0-9A-Za-z]{1,32}"

Text = Annotated[str, Meta(min_length=1, description="any text")]
Durations = Annotated[
    str,
    Meta(
        pattern=rf"^{_TIME}(?:,{_TIME})*\Z", description="durations such as 5s,30s,2m, comma between, each more than 0"
    ),
]
NotifyUrl = Annotated[
    str,
    Meta(
        pattern=rf"^{_ORIGIN}{_PATH}\Z",
        max_length=MAX_NOTIFY_URL,
        description="an http or https URL in ASCII, of 255 characters at most, without user, query or spaces",
    ),
]
Origins = Annotated[
    str,
    Meta(
        pattern=rf"^{_ORIGIN}/?(?:,{_ORIGIN}/?)*\Z",
        description="http or https URLs of a host and perhaps a port, comma between",
    ),
]
Host = Annotated[str, Meta(min_length=1, description="an address to listen on")]
Port = Annotated[int, Meta(ge=0, le=65535, description="a port number; 0 for any free one")]
Pem = Annotated[str, Meta(pattern=r"^-----BEGIN [A-Z ]+-----", description="a PEM text")]
Apiv3Key = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{32}\Z", description="the 32 characters of an APIv3 key")]

_POLL_DELAYS: Final = ",".join(["5s", "30s", "1m", "3m", "5m", "10m", "30m", *["1h"] * 23, "1d"])
"""Soon, then hourly for a day, then daily (reference payscore-api D.5)."""


class SettingsError(Exception):
    """A setting is missing or malformed; the text is one line that names it."""


def _variable(name: str) -> str:
    return PREFIX + name.upper()


class Part(Struct, frozen=True, kw_only=True, rename=_variable):
    """Some of the settings, named as in the environment."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # secrets are among them


class BrokerSettings(Part, frozen=True, kw_only=True):
    """RabbitMQ."""

    amqp_url: Annotated[
        str, Meta(pattern=r"^amqps?://\S*\Z", description="an amqp or amqps URL, or several with commas between")
    ] = "amqp://guest:guest@127.0.0.1:5672/"
    amqp_prefix: Annotated[
        str, Meta(pattern=r"^[0-9A-Za-z_.-]{0,64}\Z", description="a prefix of every name at the broker")
    ] = ""
    management_url: (
        Annotated[
            str,
            Meta(
                pattern=rf"^{_HTTP_URL}\Z",
                description="RabbitMQ's management API with user and password: tells what is unacked, "
                "and what policies do to our queues",
            ),
        ]
        | None
    ) = None
    retry_delays: Durations = "5s,30s,2m,10m,30m,2h,6h,12h"
    prefetch: Annotated[int, Meta(ge=1, le=1000, description="messages of one queue in hand at once, 1 to 1000")] = 64

    def __post_init__(self) -> None:
        """Refuse an address of RabbitMQ that no library could read, or would read otherwise than it looks."""
        try:
            check_files(broker_urls(self.amqp_url))
        except Malformed as error:
            raise SettingsError(f"{AMQP_URL}: {error}; it should be {description(type(self), AMQP_URL)}") from None


class DatabaseSettings(Part, frozen=True, kw_only=True):
    """PostgreSQL or SQLite."""

    database_url: Annotated[
        str,
        Meta(
            pattern=r"^(?:sqlite\+aiosqlite:///.|postgres(?:ql)?(?:\+asyncpg)?://.)",
            description="sqlite+aiosqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
        ),
    ] = "sqlite+aiosqlite:///payscore.db"


class MerchantSettings(Part, frozen=True, kw_only=True):
    """Who we are to WeChat Pay, and the keys."""

    api_family: Annotated[Literal["payafter", "serviceorder"], Meta(description="payafter or serviceorder")] = (
        "payafter"
    )
    api_base_urls: Origins = "https://api.mch.weixin.qq.com,https://api2.mch.weixin.qq.com"
    mchid: Annotated[str, Meta(pattern=r"^[0-9]{1,32}\Z", description="the merchant number, digits")]
    appid: Annotated[
        str,
        Meta(
            pattern=rf"^{_APPID}(?:,{_APPID})*\Z",
            description="the app id bound to the merchant, or several with commas between; the first is the default",
        ),
    ]
    service_id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{1,32}\Z", description="the PayScore service id")]
    merchant_serial_no: Annotated[
        str, Meta(pattern=r"^[0-9A-Fa-f]{8,64}\Z", description="the serial number of the merchant certificate, hex")
    ]
    merchant_private_key: Pem
    apiv3_key: Apiv3Key
    apiv3_key_previous: Apiv3Key | None = None
    apiv2_key: (
        Annotated[str, Meta(pattern=r"^[\x21-\x7e]{32}\Z", description="the 32 characters of an APIv2 key")] | None
    ) = None
    wechatpay_public_key_id: (
        Annotated[
            str,
            Meta(
                pattern=r"^PUB_KEY_ID_[0-9A-Za-z_-]{1,64}\Z",
                description="the id of the WeChat Pay public key: PUB_KEY_ID_ and digits",
            ),
        ]
        | None
    ) = None
    wechatpay_public_key: Pem | None = None
    notify_url: NotifyUrl
    need_user_confirm: Annotated[
        bool,
        Meta(
            description="true where the service is licensed for orders that the passenger confirms one by one; it has "
            "one mode, and each mode refuses the other's orders"
        ),
    ] = False

    @property
    def appids(self) -> tuple[str, ...]:
        """The app ids, the default one first."""
        return tuple(self.appid.split(","))


class AccountsSettings(Part, frozen=True, kw_only=True):
    """Several merchant numbers in place of one, and where the callbacks of each go."""

    accounts_file: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="a TOML file with a table [accounts.NAME] for each merchant number, in place of the "
                "settings of the merchant",
            ),
        ]
        | None
    ) = None
    notify_base_url: (
        Annotated[
            str,
            Meta(
                pattern=rf"^{_ORIGIN}/?\Z",
                max_length=MAX_NOTIFY_URL - MAX_NOTIFY_PATH,
                description="an http or https URL of a host and perhaps a port; /notify/ACCOUNT is appended for each "
                "account that names no notify_url",
            ),
        ]
        | None
    ) = None


class OfferSettings(Part, frozen=True, kw_only=True):
    """What we say in every order, of each account its own."""

    service_introduction: Annotated[str, Meta(min_length=1, max_length=20, description="at most 20 characters")] = (
        "网约车出行"
    )
    risk_amount_fen: Annotated[int, Meta(ge=1, le=100_000_000, description="money in whole fen")] = 20_000
    second_risk_amount_fen: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=100_000_000,
                description="money in whole fen; a trip refused for risk is asked for once more, for this amount",
            ),
        ]
        | None
    ) = None
    out_order_no_prefix: Annotated[
        str, Meta(pattern=r"^[0-9A-Za-z_-]{0,12}\Z", description="up to 12 letters, digits, _ or -")
    ] = ""


class OrderSettings(OfferSettings, frozen=True, kw_only=True):
    """What we say in every order, and when we ask about it."""

    service_state_ttl: Annotated[
        str,
        Meta(
            pattern=rf"^{_DURATION}\Z",
            description="how long to trust what is known of a passenger's service; 0s: ask for each trip",
        ),
    ] = "0s"
    start_time: Annotated[
        Literal["on_accept", "event"], Meta(description="on_accept (the moment WeChat Pay accepts the order) or event")
    ] = "on_accept"
    poll_delays: Durations = _POLL_DELAYS
    stale_after: Annotated[
        str,
        Meta(
            pattern=rf"^{_TIME}\Z", description="when a trip without its other half is announced as stale; more than 0"
        ),
    ] = "1d"
    overdue_after: Annotated[
        str,
        Meta(
            pattern=rf"^{_TIME}(?:,{_TIME})*\Z",
            description="at which ages an unpaid trip is announced as overdue, comma between, each more than 0",
        ),
    ] = "3d,7d,30d"
    confirm_expires: Annotated[
        str,
        Meta(
            pattern=rf"^{_TIME}\Z",
            description="when an order that the passenger has not confirmed is cancelled, more than 0; what the page "
            "opens with is good for an hour",
        ),
    ] = "55m"
    pay_after: (
        Annotated[
            str,
            Meta(
                pattern=rf"^{_TIME}(?:,{_TIME})*\Z",
                description="at which ages WeChat Pay is asked to collect for an unpaid trip at once (serviceorder "
                "only), comma between, each more than 0; absent: it tries when it likes",
            ),
        ]
        | None
    ) = None
    paid_twice: Annotated[
        Literal["problem", "refund"],
        Meta(
            description="what follows when a trip was paid elsewhere and WeChat Pay has collected as well: problem (a "
            "person decides) or refund (what WeChat Pay collected goes back)"
        ),
    ] = "problem"


class WebhookSettings(Part, frozen=True, kw_only=True):
    """Where the webhook listens."""

    webhook_host: Host = "127.0.0.1"
    webhook_port: Port = 8080


class OpsSettings(Part, frozen=True, kw_only=True):
    """Where worker and console answer health and metrics, and who may use the console."""

    ops_host: Host = "127.0.0.1"
    ops_port: Port = 9180
    ops_token: (
        Annotated[
            str,
            Meta(
                pattern=r"^[\x21-\x7e]{16,256}\Z",
                description="what people sign in to the console with, 16 to 256 characters; "
                "without it, the console is open on a loopback address and does not start on any other",
            ),
        ]
        | None
    ) = None


class LogSettings(Part, frozen=True, kw_only=True):
    """How logs look."""

    log_format: Annotated[Literal["console", "json"], Meta(description="console or json")] | None = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="debug, info, warning or error")
    ] = "info"

    @property
    def as_json(self) -> bool:
        """Whether logs are JSON: as set, else unless a person is watching."""
        return self.log_format == "json" if self.log_format else not sys.stderr.isatty()

    @property
    def level(self) -> int:
        """The level as a number."""
        return logging.getLevelNamesMapping()[self.log_level.upper()]


class TraceSettings(Part, frozen=True, kw_only=True):
    """Whether traces are kept; they need the extra `otel`."""

    traces: (
        Annotated[Literal["otlp"], Meta(description="otlp: send them by OTLP over HTTP, as the OTEL_* variables say")]
        | None
    ) = None


PARTS: Final = (
    BrokerSettings,
    DatabaseSettings,
    MerchantSettings,
    AccountsSettings,
    OrderSettings,
    WebhookSettings,
    OpsSettings,
    TraceSettings,
    LogSettings,
)

AMQP_URL: Final = "PAYSCORE_AMQP_URL"
DATABASE_URL: Final = "PAYSCORE_DATABASE_URL"
ADDRESSES: Final = frozenset({AMQP_URL, DATABASE_URL, "PAYSCORE_MANAGEMENT_URL"})
"""Those that have a password in them."""

_Part = TypeVar("_Part", bound=Part)


class Environment:
    """The variables of this process, and behind them those of a `.env` file."""

    def __init__(self, variables: Mapping[str, str] | None = None, *, env_file: Path = Path(".env")) -> None:
        from_file = {name: value for name, value in _read_env_file(env_file).items() if value is not None}
        self._variables = {**from_file, **(os.environ if variables is None else variables)}

    def read(self, part: type[_Part], **otherwise: str) -> _Part:
        """Read one part of the settings; `otherwise`: what holds in place of variables that are not set.

        Raises:
            SettingsError: a setting is missing or malformed; the text names it.

        """
        values = otherwise | self.values_of(part)
        settings = convert(values, part)
        _check_addresses(part, values)
        return settings

    def values_of(self, part: type[Part]) -> dict[str, str]:
        """Find those variables of a part that are set.

        Raises:
            SettingsError: the file of one cannot be read, or holds no text.

        """
        names = [field.encode_name for field in msgspec.structs.fields(part)]
        return {name: value for name in names if (value := self._value(name)) is not None}

    def _value(self, name: str) -> str | None:
        """Find a setting: the file that `<NAME>_FILE` names, else the variable; an empty one is as good as none."""
        file = self._variables.get(f"{name}_FILE")
        value = _read_file(f"{name}_FILE", file) if file else self._variables.get(name) or None
        if value and not _is_utf_8(value):
            raise SettingsError(f"{name}: is not UTF-8")
        return value.replace("\\n", "\n") if value and value.startswith("-----BEGIN") else value


def convert(values: Mapping[str, object], part: type[_Part], *, strict: bool = False) -> _Part:
    """Make a part of what is set, by the names of the variables; strictly: a number is no text, and no text a number.

    Raises:
        SettingsError: a setting is missing or malformed; the text names it.

    """
    try:
        return msgspec.convert(values, part, strict=strict)
    except msgspec.ValidationError as error:
        raise SettingsError(_name_it(part, str(error))) from error


def _check_addresses(part: type[Part], values: Mapping[str, str]) -> None:
    """Refuse an address that no library could read: theirs are tracebacks, and some tell what they stumbled upon."""
    for name in (ADDRESSES - {AMQP_URL}) & values.keys():  # that one its own part has read
        hint = "where user and password have %2F for /, %23 for # and %40 for @"
        try:
            if name == DATABASE_URL:
                read_url(values[name])
            else:
                _ = urlsplit(values[name]).port
        except UnusableParameter as error:
            raise SettingsError(f"{name}: {error}") from None
        except UnreadableUrl as error:
            raise SettingsError(f"{name}: {error}; it should be {description(part, name)}, {hint}") from None
        except ValueError:
            raise SettingsError(
                f"{name}: its host or port cannot be read; it should be {description(part, name)}, {hint}"
            ) from None


def _read_env_file(env_file: Path) -> Mapping[str, str | None]:
    try:
        return dotenv_values(env_file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{env_file.name}: cannot be read: {_cause(error)}") from None


def _read_file(name: str, file: str) -> str:
    """Read the file of a secret; its name is not told, since a secret itself is easily put in its place."""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: the file it should name cannot be read: {_cause(error)}") from None


def _cause(error: OSError | ValueError) -> str:
    """Say why a file cannot be read, without its name or content."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "not UTF-8" if isinstance(error, UnicodeError) else "no such name"


def _is_utf_8(value: str) -> bool:
    """Tell whether a variable was text: bytes that were not are half characters by now."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name_it(part: type[Part], complaint: str) -> str:
    """Say which setting is wrong, how, and what it should be."""
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", complaint):
        return f"{missing[1]}: missing; it should be {description(part, missing[1])}"
    what, _, path = complaint.rpartition(" - at `$.")
    name = path.rstrip("`")
    said, _, _ = what.partition(" '")  # the value itself stays out: it may be anything
    return f"{name}: {said}; it should be {description(part, name)}"


def description(part: type[Part], variable: str) -> str:
    """Say what a setting should be."""
    hints = get_type_hints(part, include_extras=True)
    hint = hints[variable.removeprefix(PREFIX).lower()]
    for meta in _metas(hint):
        if meta.description:
            return meta.description
    return "set"


def _metas(hint: object) -> list[Meta]:
    arguments = get_args(hint)
    return [meta for argument in arguments for meta in ([argument] if isinstance(argument, Meta) else _metas(argument))]


def duration(text: str) -> timedelta:
    """Read a duration that its setting's pattern has let through: 5s, 2m, 6h, 1d."""
    number, unit = re.fullmatch(r"([0-9]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def durations(text: str) -> tuple[timedelta, ...]:
    """Read durations with commas between."""
    return tuple(duration(item) for item in text.split(","))


_UNITS: Final[Mapping[str, timedelta]] = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
