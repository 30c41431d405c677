"""What a role says in its log where it met what nobody had thought of: a fault may cost time, and never that."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from tests.crash.laws import Breach, Violation

ROLES: Final = ("worker", "webhook")

SURPRISES: Final = frozenset(
    {"message_surprised_us", "case_surprised_us", "notification_surprised_us", "message_left", "message_not_copied"}
)


def told_until_now(directory: Path) -> Mapping[str, int]:
    """Note how long the log of each role is."""
    return {role: len(_log(directory, role)) for role in ROLES}


def surprises_since(directory: Path, told: Mapping[str, int]) -> list[Violation]:
    """List the surprises of which the logs have told since."""
    found = []
    for role in ROLES:
        for line in _log(directory, role)[told[role] :].splitlines():
            with suppress(msgspec.DecodeError):
                entry = msgspec.json.decode(line, type=dict[str, object])
                if entry.get("event") in SURPRISES:
                    found.append(f"{role} {entry['event']}: {str(entry.get('exception', '')).splitlines()[-1:]}")
    return [Violation(Breach.STUCK, f"a surprise: {line}") for line in sorted(set(found))]


def _log(directory: Path, role: str) -> bytes:
    file = directory / f"{role}.log"
    return file.read_bytes() if file.exists() else b""
