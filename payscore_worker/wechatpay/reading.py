"""Reads members of WeChat Pay's JSON: absent is fine, unknown is fine, another type than documented is not."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.times import read_time

Json = Mapping[str, Any]

FEN_DIGITS: Final = 15
"""Ten trillion yuan: more than anybody pays, and less than what a database's or JSON's whole numbers end at."""


def text(data: Json, member: str) -> str:
    """Read a string; empty when absent."""
    match data.get(member):
        case None:
            return ""
        case str(value):
            return value
        case value:
            raise _unexpected(member, "a string", value)


def fen(data: Json, member: str) -> int | None:
    """Read an amount, also one that is written as text of digits, as WeChat Pay does (reference payscore-api D.3).

    `4000.0`, `"+4000"` or `true` might mean anything: nothing is guessed about money.
    """
    match data.get(member):
        case None:
            return None
        case int(value) if 0 <= value < 10**FEN_DIGITS and not isinstance(value, bool):
            return value
        case str(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= FEN_DIGITS:
            return int(digits)
        case value:
            raise _unexpected(member, "an amount in whole fen", value)


def moment(data: Json, member: str) -> datetime | None:
    """Read a time, in either spelling; None when absent."""
    said = text(data, member)
    if not said:
        return None
    read = read_time(said)
    if read is None:
        raise MalformedMessage(f"{member}: is not a time between 2000 and 2099")
    return read


def member_of(data: Json, member: str) -> Json:
    """Read an object; empty when absent."""
    match data.get(member):
        case None:
            return {}
        case dict(value):
            return value
        case value:
            raise _unexpected(member, "an object", value)


def members_of(data: Json, member: str) -> list[Json]:
    """Read a list of objects; some samples print one object where a list is documented (reference payscore-api B.2)."""
    match data.get(member):
        case None:
            return []
        case dict(value):
            return [value]
        case list(values) if all(isinstance(value, dict) for value in values):
            return values
        case value:
            raise _unexpected(member, "a list of objects", value)


def printable(said: str, chars: int) -> str:
    """Take from a stranger's words their length, and the power to steer a terminal."""
    return ascii(said[:chars])[1:-1]


def _unexpected(member: str, expected: str, value: object) -> MalformedMessage:
    return MalformedMessage(f"{member}: expected {expected}, not {type(value).__name__}")  # never the value itself
