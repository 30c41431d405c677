"""Where RabbitMQ is: one address or several, comma between, and whatever each name in them resolves to."""

import asyncio
import base64
import os
import random
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from yarl import URL

PORTS: Final = {"amqp": 5672, "amqps": 5671}

PARAMETERS: Final = frozenset(
    {"heartbeat", "auth", "cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl"}
)
"""What may stand behind the question mark; any other word would be passed over in silence."""

FILES: Final = ("cafile", "capath", "certfile", "keyfile")

LONGEST_HEARTBEAT: Final = 3600
"""Seconds; a longer one notices nothing that anybody waits for."""

RESOLVE_SECONDS: Final = 5.0
"""What a resolver's own patience with its first server comes to."""

MAX_ADDRESSES: Final = 16
"""Tried in one go; a cluster has three nodes, or five, perhaps each with two kinds of address."""

HOW_TO_WRITE: Final = "where user and password have %2F for /, %23 for #, %2C for comma and %40 for @"


class Malformed(ValueError):
    """No library could read it; the text says why, and has no password in it."""


@dataclass(frozen=True, slots=True)
class Address:
    """One place to connect to."""

    url: URL
    host: str
    """What the name in the URL resolved to; a certificate must be for the name."""


def broker_urls(text: str) -> list[URL]:
    """Read the addresses of one broker.

    Raises:
        Malformed: one of them cannot be read, or they do not lead to one broker.

    """
    urls = [_url(one) for one in re.split(r",(?=amqps?://)", text)]
    if len({vhost(url) for url in urls}) > 1:
        raise Malformed("its addresses name different virtual hosts")
    return urls


def vhost(url: URL) -> str:
    """Name the virtual host."""
    return url.path[1:].replace("%2F", "/") or "/"


def check_files(urls: Sequence[URL]) -> None:
    """See that the files which the addresses name are there.

    Raises:
        Malformed: one cannot be read.

    """
    for url in urls:
        for parameter in FILES:
            if parameter in url.query and not _is_readable(url.query[parameter]):
                raise Malformed(f"the {parameter} it names cannot be read")


def _is_readable(file: str) -> bool:
    try:
        return os.access(file, os.R_OK)
    except ValueError:  # a name that no file can have
        return False


async def resolve(text: str) -> list[Address]:
    """Find every place where RabbitMQ may be, in an order that differs each time: reconnections spread over them.

    Raises:
        OSError: no name of them resolves.

    """
    urls = broker_urls(text)
    answers = await asyncio.gather(*map(_resolve, urls), return_exceptions=True)
    found = [address for answer in answers if not isinstance(answer, BaseException) for address in answer]
    for answer in answers:
        if not found and isinstance(answer, BaseException):
            raise answer
    return random.sample(found, min(len(found), MAX_ADDRESSES))


async def _resolve(url: URL) -> Sequence[Address]:
    async with asyncio.timeout(RESOLVE_SECONDS):
        told = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    hosts = dict.fromkeys(str(place[0]) for *_, place in told)
    return [Address(url, host) for host in hosts]


# --- Reading ---


def _url(text: str) -> URL:
    try:
        url = URL(text)
        port = url.port or PORTS[url.scheme]
    except (ValueError, KeyError):
        raise Malformed(f"its host or port cannot be read ({HOW_TO_WRITE})") from None
    if not url.host or "," in url.authority.rpartition("@")[2]:
        raise Malformed(f"its host cannot be read ({HOW_TO_WRITE}); each further address is written out whole")
    _check_parameters(url)
    return url.with_port(port)


def _check_parameters(url: URL) -> None:
    if unknown := sorted(set(url.query) - PARAMETERS):
        raise Malformed(f"unknown parameter {unknown[0]!r}; there are {', '.join(sorted(PARAMETERS))}")
    heartbeat = url.query.get("heartbeat", "1")
    if not re.fullmatch(r"[0-9]{1,4}", heartbeat) or not 0 < int(heartbeat) <= LONGEST_HEARTBEAT:
        raise Malformed(f"heartbeat should be whole seconds, 1 to {LONGEST_HEARTBEAT}")
    if url.query.get("auth", "plain").lower() not in ("plain", "external"):
        raise Malformed("auth should be plain or external")
    if url.scheme == "amqp" and (tls := sorted(set(url.query) & {*FILES, "cadata", "no_verify_ssl"})):
        raise Malformed(f"{tls[0]} is for amqps, and this address is without TLS")
    try:
        base64.b64decode(url.query.get("cadata", ""))
    except ValueError:
        raise Malformed("cadata should be PEM or DER in base 64") from None
