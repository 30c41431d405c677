"""What people type is text, or one line says that it is not."""

from typing import Final

import pytest
from click.testing import CliRunner

from payscore_worker.cli import cli
from payscore_worker.cli.arguments import MAX_CHARACTERS

HALF: Final = "t\udced\udca0\udc80"
"""How Python reads the bytes ED A0 80, half a character, of a command line."""

QUEUE: Final = "payscore.trip-ended"

COMMANDS: Final = [
    (["trip", "show", HALF], "TRIP_ID"),
    (["trip", "explain", HALF], "TRIP_ID"),
    (["trip", "advance", HALF], "TRIP_ID"),
    (["trip", "clear-problem", HALF], "TRIP_ID"),
    (["refund", HALF, "--amount-fen", "1", "--reason", "x"], "TRIP_ID"),
    (["refund", "show", HALF], "REFUND_ID"),
    (["refund", "list", "--trip", HALF], "trip_id"),
    (["dead", "list", "--reason", HALF], "reason"),
    (["dead", "show", QUEUE, HALF], "MESSAGE_ID"),
    (["dead", "replay", QUEUE, "--id", HALF], "message_id"),
    (["dead", "replay", QUEUE, "--reason", HALF], "reason"),
    (["dead", "drop", QUEUE, HALF], "MESSAGE_ID"),
    (["dead", "drop", QUEUE, "m1", "--reason", HALF], "reason"),
    (["load", "--simulator-url", HALF], "simulator_url"),
    (["demo", "--database-url", HALF], "database_url"),
    (["simulator", "--host", HALF], "host"),
    (["simulator", "--notify-url", HALF], "notify_url"),
]


@pytest.mark.parametrize(("words", "name"), COMMANDS, ids=[" ".join(words[:-1]) for words, _ in COMMANDS])
def test_half_a_character_is_refused_in_one_line(words: list[str], name: str) -> None:
    done = CliRunner().invoke(cli, words)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"error: {name}: is not UTF-8; type or paste it again\n"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("t\0", "contains NUL"),
        ("t" * (MAX_CHARACTERS + 1), f"has {MAX_CHARACTERS + 1} characters; {MAX_CHARACTERS} are allowed"),
    ],
)
def test_what_no_name_has_is_refused(typed: str, why: str) -> None:
    done = CliRunner().invoke(cli, ["trip", "show", typed])

    assert (done.exit_code, done.stderr) == (2, f"error: TRIP_ID: {why}\n")
