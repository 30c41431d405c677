"""Prints the tables of the capacity page: inputs measured once, at the top, and the sums that follow from them.

docs/capacity.md holds them between two comments; a test compares. Measure your own and change the inputs.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one trip costs; docs/capacity.md says where and how it was measured."""

    worker_cpu_ms: float = 10.3
    """Of the worker process from its start on, `payafter` on PostgreSQL: the dearest of four."""
    webhook_cpu_ms: float = 0.75
    """One callback: verified, decrypted, published with a confirm."""
    events_in: float = 3.0
    """Start, end, callback."""
    messages: float = 6.0
    """Published: those three, and three announcements."""
    transactions: float = 13.4
    database_rows: float = 11.0
    wal_bytes: float = 19_096
    table_bytes: float = 8_241
    index_bytes: float = 1_581
    remembered_bytes: float = 393
    """Of a trip that is archived, with its indexes."""
    archive_bytes: float = 811
    message_bytes: float = 600


DAYS: Final[Sequence[tuple[str, int]]] = (("100,000", 100_000), ("1 million", 1_000_000), ("36 million", 36_000_000))
PEAK: Final = 4
"""The busiest minute against the average of the day."""

FILLED: Final = 0.6
"""Of a core, in that minute: what is above is for catching up and for a worker less."""

CONNECTIONS: Final = 16
"""Of a worker to PostgreSQL, at most (`storage/postgres.py`)."""

SECONDS: Final = 86_400


def page(measured: Measured) -> Iterator[str]:
    """Write the tables."""
    yield "| a trip costs | |"
    yield "| --- | ---: |"
    yield f"| processor time of the worker | {measured.worker_cpu_ms:.1f} ms |"
    yield f"| processor time of the webhook | {measured.webhook_cpu_ms:.2f} ms |"
    yield f"| messages published | {measured.messages:.0f} |"
    yield f"| transactions | {measured.transactions:.1f} |"
    yield f"| rows inserted | {measured.database_rows:.1f} |"
    yield f"| WAL | {measured.wal_bytes / 1000:.1f} kB |"
    yield f"| tables and indexes | {(measured.table_bytes + measured.index_bytes) / 1000:.1f} kB |"
    yield f"| once archived: remembered in the database | {measured.remembered_bytes:.0f} bytes |"
    yield f"| once archived: in a file | {measured.archive_bytes:.0f} bytes |"
    yield ""
    yield f"| at so many trips a day, peak factor {PEAK} | {' | '.join(name for name, _ in DAYS)} |"
    yield f"| --- |{' ---: |' * len(DAYS)}"
    columns = [_sums(trips, measured) for _, trips in DAYS]
    for name in columns[0]:
        yield f"| {name} | {' | '.join(column[name] for column in columns)} |"


def _sums(trips: int, measured: Measured) -> dict[str, str]:
    peak = trips / SECONDS * PEAK
    workers = max(2, math.ceil(peak * measured.worker_cpu_ms / 1000 / FILLED))
    webhooks = max(2, math.ceil(peak * measured.webhook_cpu_ms / 1000 / FILLED))
    stored = trips * (measured.table_bytes + measured.index_bytes)
    return {
        "trips a second, average": _number(trips / SECONDS),
        "trips a second, peak": _number(peak),
        "worker processes": _number(workers),
        "webhook processes": _number(webhooks),
        "PostgreSQL: transactions a second, peak": _number(peak * measured.transactions),
        "PostgreSQL: WAL a second, peak": _bytes(peak * measured.wal_bytes),
        "PostgreSQL: connections, at most": _number(workers * CONNECTIONS),
        "PostgreSQL: storage a day": _bytes(stored),
        "PostgreSQL: storage of 90 days": _bytes(stored * 90),
        "PostgreSQL: remembered, a year": _bytes(trips * measured.remembered_bytes * 365),
        "archive files a year": _bytes(trips * measured.archive_bytes * 365),
        "RabbitMQ: messages a second, peak": _number(peak * measured.messages),
        "RabbitMQ: bytes a second, peak": _bytes(peak * measured.messages * measured.message_bytes),
        "RabbitMQ: messages after an hour of outage at peak": _number(peak * measured.events_in * 3600),
        "WeChat Pay: calls a second, peak": _number(peak * 4),
    }


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 10 and value != int(value) else f"{value:,.0f}"  # noqa: PLR2004  a digit is enough


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004  decimal units
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB" if value < 1000 else f"{value:,.0f} TB"  # noqa: PLR2004  decimal units


if __name__ == "__main__":
    sys.stdout.write("\n".join(page(Measured())) + "\n")
