"""What commands share that act: who acts, and on which database."""

import getpass

from payscore_worker.errors import StorageUnavailable
from payscore_worker.settlement.deciding import MAX_NAME
from payscore_worker.storage.url import Sqlite, read_url


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
