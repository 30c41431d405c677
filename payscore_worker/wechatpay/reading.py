"""Reads members of WeChat Pay's JSON: absent is fine, unknown is fine, another type than documented is not."""

from collections.abc import Mapping
from typing import Any

from payscore_worker.errors import MalformedMessage

Json = Mapping[str, Any]


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
    """Read an amount. `4000.0` or `"4000"` might mean anything: nothing is guessed about money."""
    match data.get(member):
        case None:
            return None
        case int(value) if value >= 0 and not isinstance(value, bool):
            return value
        case value:
            raise _unexpected(member, "an amount in whole fen", value)


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


def _unexpected(member: str, expected: str, value: object) -> MalformedMessage:
    return MalformedMessage(f"{member}: expected {expected}, not {type(value).__name__}")  # never the value itself
