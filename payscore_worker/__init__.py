"""Settles ride-hailing trips through WeChat PayScore."""


def version() -> str:
    """Tell which version of us this is; 0 where we run from a checkout."""
    from importlib import metadata  # noqa: PLC0415 - it takes longer to import than signals may wait (stopping.py)

    try:
        return metadata.version("payscore-worker")
    except metadata.PackageNotFoundError:
        return "0"
