"""Settles ride-hailing trips through WeChat PayScore."""

from importlib import metadata


def version() -> str:
    """Tell which version of us this is; 0 where we run from a checkout."""
    try:
        return metadata.version("payscore-worker")
    except metadata.PackageNotFoundError:
        return "0"
