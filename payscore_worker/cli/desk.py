"""What commands share that act: who acts, on which database, why, and whether a person has said so once more."""

import getpass
import sys
from typing import Any, Final

import click

from payscore_worker.cli.arguments import Text
from payscore_worker.cli.output import NOT_FINE, WRONG_USE
from payscore_worker.errors import StorageUnavailable
from payscore_worker.settlement.deciding import MAX_NAME
from payscore_worker.storage.url import Sqlite, read_url

RECORDED: Final = "Why; it is recorded with your name"


def one_line(longest: int) -> Any:  # noqa: ANN401 - click's callbacks are not typed
    """Take an option as one line of so many characters at most, or refuse it."""

    def checked(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        text = value if value is None else value.strip()
        if text is not None and not (text and len(text) <= longest and text.isprintable()):
            raise click.BadParameter(f"say it in 1 to {longest} printable characters, on one line")
        return text

    return checked


yes_option = click.option("--yes", is_flag=True, help="Do not ask once more.")
as_option = click.option(
    "--as",
    "by",
    type=Text(),
    metavar="NAME",
    callback=one_line(MAX_NAME),
    help="Your name for the record; else your account's.",
)


def ask_once_more(question: str, *, as_json: bool) -> None:
    """Ask; where nobody is there to answer, nothing is done."""
    if not is_somebody_there():
        click.echo("error: nobody can be asked here, so nothing is done: look first, then say --yes", err=True)
        raise click.exceptions.Exit(WRONG_USE)
    if not click.confirm(question, err=as_json):
        click.echo("nothing is done", err=True)
        raise click.exceptions.Exit(NOT_FINE)


def is_somebody_there() -> bool:
    """Tell whether a person sits at a terminal."""
    return sys.stdin.isatty()


def who() -> str:
    """Name the account that types."""
    try:
        return getpass.getuser()[:MAX_NAME]
    except (KeyError, OSError):  # a container may run under a number without a name
        return "unknown"


def see_that_there_is(database_url: str) -> None:
    """Refuse to make an embedded database by asking it.

    Raises:
        StorageUnavailable: there is none.

    """
    url = read_url(database_url)
    if isinstance(url, Sqlite) and not url.file.exists():
        raise StorageUnavailable(f"there is no database {str(url.file)!r} to ask about the trips")
