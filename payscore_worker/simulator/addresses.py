"""The address to which a merchant wants a callback sent."""

from typing import Final
from urllib.parse import urlsplit

from payscore_worker.simulator.refusals import bad_parameter, out_of_range

MAX_NOTIFY_URL: Final = 255
MAX_REFUND_NOTIFY_URL: Final = 256
"""Reference payscore-api G.1."""


def check_notify_url(url: str, *, longest: int = MAX_NOTIFY_URL) -> None:
    """An address with a path and no query (reference payscore-api D.1). Plain http will do for a receiver near by."""
    if len(url) > longest:
        raise out_of_range("/notify_url", f"longer than {longest} characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise bad_parameter("/notify_url", "not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(c.isspace() for c in url):
        raise bad_parameter("/notify_url", "expected https://host/path")
    if not parts.path.strip("/"):
        raise bad_parameter("/notify_url", "a path is required")
    if "?" in url or "#" in url:
        raise bad_parameter("/notify_url", "no query and no fragment allowed")
