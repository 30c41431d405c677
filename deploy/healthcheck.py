"""Asks the role in this container whether it is alive; for images without curl.

Alive, not ready: a supervisor restarts what is unhealthy, and no restart mends a broker that is away.
"""

import os
import sys
import urllib.request

TIMEOUT_SECONDS = 4.0  # less than the time-out of the health check, so that the reason is printed
PORTS = {"worker": "9180", "console": "9180", "webhook": "8080", "simulator": "8090"}


def main() -> int:
    """Exit 0 where the role answers, or where there is none that listens (a one-off command)."""
    url = os.environ.get("PAYSCORE_HEALTH_URL") or _usual_url()
    if url is None:
        return 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310  the address is the operator's own
            return 0
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


def _usual_url() -> str | None:
    """Tell the address by the command that the container's first process runs."""
    with open("/proc/1/cmdline", "rb") as file:  # noqa: PTH123  this starts every few seconds: import little
        words = file.read().decode(errors="replace").split("\0")
    for role, port in PORTS.items():
        if role in words:
            path = "/metrics" if role == "simulator" else "/healthz"
            return f"http://127.0.0.1:{port}{path}"
    return None


if __name__ == "__main__":
    sys.exit(main())
