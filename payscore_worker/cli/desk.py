"""What commands share that act: who acts, and on which database."""

import getpass
from pathlib import Path

from sqlalchemy import make_url

from payscore_worker.deciding import MAX_NAME
from payscore_worker.errors import StorageUnavailable


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
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise StorageUnavailable(f"there is no database {url.database!r} to ask about the trips")
