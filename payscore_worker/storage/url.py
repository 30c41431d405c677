"""Reads a database URL, once, for the bare driver of the hot path and for SQLAlchemy alike.

It takes what people have: `postgresql://`, `postgres://` or `postgresql+asyncpg://`, several hosts with commas between,
and the parameters of libpq that asyncpg knows. A parameter that we would not act on is refused: a misspelt `sslmode`
must not mean a connection in clear.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlencode

Told: TypeAlias = Callable[[], str]
"""Tells the URL as it is now: it may come from a file, and the file may hold another password tomorrow."""

CONNECT_SECONDS: Final = 10.0
"""For the one host there is: a handshake takes milliseconds, and a machine that is short of everything seconds."""

NEXT_HOST_SECONDS: Final = 4.0
"""For one of several: if one is frozen, the next is reached before whoever waits for a connection gives up."""

MAX_CONNECT_SECONDS: Final = 60
"""Of `connect_timeout`, for one host; whoever needs longer has another trouble."""

PORT: Final = 5432

MAX_PORT: Final = 65535

_SERVER_SETTINGS: Final = (
    "application_name",
    "search_path",
    "options",
    "role",
    "timezone",
    "work_mem",
    "jit",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
)
"""What goes to the server; whatever else it can be told, `options=-c NAME=VALUE` tells it."""

_TLS_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")

_DRIVERS: Final = (
    "sslmode",
    *_TLS_FILES,
    "sslpassword",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "passfile",
    "service",
    "krbsrvname",
    "gsslib",
)
"""What asyncpg reads as libpq does."""

_PLACES: Final = ("host", "port", "user", "password", "dbname", "database")
"""What the front of the URL says, or else its parameters."""

_OURS: Final = ("connect_timeout", "target_session_attrs", "pgbouncer")

PARAMETERS: Final = (*_PLACES, *_DRIVERS, *_OURS, *_SERVER_SETTINGS)

_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "primary", "read-write"),  # we write: a standby is of no use
    "pgbouncer": ("true", "false"),
}

_THROUGH_A_POOLER: Final = ("application_name", "timezone")
"""What PgBouncer carries from one server connection to the next; other settings it refuses, or forgets."""

_POSTGRESQL: Final = re.compile(
    r"postgres(?:ql)?(?:\+asyncpg)?://"
    r"(?:(?P<user>[^:/@?]*)(?::(?P<password>(?:(?!\?[0-9A-Za-z_.]+=)[^@])*))?@)?"
    r"(?P<hosts>[^/?@]*)(?:/(?P<database>[^?@]*))?(?:\?(?P<query>[^@]*))?",
    re.DOTALL,
)
"""A password may hold / ? # and : as they are, since many do; only @ ends it."""

_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[^\]]+)?)\]|(?P<name>[^:\[\]\s,]*))(?::(?P<port>[0-9]*))?")

_SQLITE: Final = re.compile(r"sqlite\+aiosqlite:///(?P<file>[^?]+)(?P<query>\?.*)?", re.DOTALL)


class UnreadableUrl(ValueError):
    """A database URL that cannot be used as it stands; says why in one line, without anything of it that is secret."""


class UnusableParameter(UnreadableUrl):
    """A parameter in it that we would not act on."""

    def __init__(self, complaint: str) -> None:
        super().__init__(f"parameter {complaint}")


@dataclass(frozen=True, slots=True)
class Sqlite:
    """A file."""

    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgresql:
    """A server, or several of which one is the primary."""

    hosts: tuple[tuple[str, int], ...]
    """Names, addresses or folders of a socket, each with its port; none: where asyncpg looks by itself."""
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    server_settings: Mapping[str, str]
    parameters: Mapping[str, str] = field(repr=False)
    """What asyncpg reads itself."""
    primary: str
    """What is asked of a server, as `target_session_attrs`."""
    connect_seconds: float
    is_pooled: bool
    """Whether PgBouncer in transaction mode stands between: two statements may reach two connections of the server."""

    @property
    def dsn(self) -> str:
        """The parameters, as asyncpg takes them."""
        return f"postgresql://?{urlencode(self.parameters)}" if self.parameters else "postgresql://"


def read_url(url: str) -> Sqlite | Postgresql:
    """Read a database URL.

    Raises:
        UnreadableUrl: it cannot be used.

    """
    if url.startswith("sqlite"):
        return _sqlite(url)
    match = _POSTGRESQL.fullmatch(url)
    if match is None:
        raise UnreadableUrl("its user, password and host cannot be told apart")
    parameters = _parameters(match["query"])
    user, password, database = (_said(match[name]) or parameters.get(name) for name in ("user", "password", "database"))
    hosts = _hosts(match["hosts"]) or _hosts_of_parameters(parameters)
    settings = {name: value for name, value in parameters.items() if name in _SERVER_SETTINGS}
    is_pooled = parameters.get("pgbouncer") == "true"
    if is_pooled:
        _see_that_they_pass(settings)
    return Postgresql(
        hosts=hosts,
        user=user,
        password=password,
        database=database or parameters.get("dbname"),
        server_settings={"application_name": "payscore-worker"} | settings,
        parameters={name: value for name, value in parameters.items() if name in _DRIVERS},
        primary=parameters.get("target_session_attrs", "read-write" if len(hosts) > 1 else "any"),
        connect_seconds=_connect_seconds(parameters.get("connect_timeout"), len(hosts)),
        is_pooled=is_pooled,
    )


def as_told(url: str | Told) -> Told:
    """Take a URL that does not change for one that may."""
    return (lambda: url) if isinstance(url, str) else url


def _sqlite(url: str) -> Sqlite:
    match = _SQLITE.fullmatch(url)
    if match is None:
        raise UnreadableUrl("it names no file")
    if match["query"]:
        raise UnreadableUrl("an SQLite URL takes no parameters")
    return Sqlite(Path(match["file"]))


def _said(quoted: str | None) -> str | None:
    return unquote(quoted) if quoted else None


def _parameters(query: str | None) -> dict[str, str]:
    if not query:
        return {}
    try:
        parameters = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict"))
    except ValueError:
        raise UnreadableUrl("its parameters cannot be read: they are NAME=VALUE, with & between") from None
    for name, value in parameters.items():
        _see_that_it_is_known(name)
        _see_that_it_may_be(name, value)
    return parameters


def _see_that_it_is_known(name: str) -> None:
    if name in PARAMETERS:
        return
    shown = name if re.fullmatch(r"[a-z_.]{1,64}", name) else "of another form"  # a piece of a password, perhaps
    raise UnusableParameter(f"{shown}: not one that we act on; {_instead(name)}")


def _instead(name: str) -> str:
    if name in ("statement_cache_size", "prepared_statement_cache_size", "prepared_statement_name_func"):
        return "for PgBouncer in transaction mode say pgbouncer=true"
    if near := difflib.get_close_matches(name, PARAMETERS, n=1):
        return f"did you mean {near[0]}?"
    return "leave it out, or, where it is a setting of the server, say options=-c%20NAME%3DVALUE"


def _see_that_it_may_be(name: str, value: str) -> None:
    known = _VALUES.get(name)
    if known is not None and value not in known:
        raise UnusableParameter(f"{name}: it should be {_either(known)}")
    if "\0" in value:
        raise UnusableParameter(f"{name}: it holds a NUL")
    if name == "sslrootcert" and value == "system":
        raise UnusableParameter("sslrootcert: name a file, for instance /etc/ssl/certs/ca-certificates.crt")
    if name in _TLS_FILES and not os.access(value, os.R_OK):
        raise UnusableParameter(f"{name}: the file that it names cannot be read")


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}"


def _connect_seconds(text: str | None, hosts: int) -> float:
    if text is None:
        return NEXT_HOST_SECONDS if hosts > 1 else CONNECT_SECONDS
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= MAX_CONNECT_SECONDS:
        raise UnusableParameter(f"connect_timeout: it should be seconds, 1 to {MAX_CONNECT_SECONDS}")
    return float(text)


def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    return tuple(_host(one) for one in text.split(",")) if text else ()


def _host(text: str) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    name = match and (match["ipv6"] or unquote(match["name"] or ""))
    if match is None or not name:
        raise UnreadableUrl("its host or port cannot be read")
    return name, _port(match["port"])


def _hosts_of_parameters(parameters: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Read hosts as libpq does where the front of the URL has none: the way to a socket."""
    if not parameters.get("host"):
        return ()
    hosts = parameters["host"].split(",")
    ports = parameters.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts) or not all(hosts):
        raise UnusableParameter("port: it should be one, or as many as there are hosts")
    return tuple((host, _port(port)) for host, port in zip(hosts, ports, strict=True))


def _port(text: str | None) -> int:
    if not text:
        return PORT
    if not text.isdecimal() or not text.isascii() or not 0 < int(text) <= MAX_PORT:
        raise UnreadableUrl("its host or port cannot be read")
    return int(text)


def _see_that_they_pass(settings: Iterable[str]) -> None:
    for name in settings:
        if name not in _THROUGH_A_POOLER:
            raise UnusableParameter(
                f"{name}: it does not pass PgBouncer in transaction mode; say it by ALTER ROLE … SET"
            )
