"""Prints the page of metrics, made from the table in which they are declared."""

import sys
import textwrap
from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from payscore_worker.metrics import TABLE

INTRODUCTION: Final = """\
# Metrics

`GET /metrics` on each role's own port (worker 9180, webhook 8080, simulator 8090), in Prometheus' text format, beside
what Python and the system tell of the process (`process_*`, `python_*`). Money is in fen, time in seconds. Every label
has few values: no trip, no passenger and no order is one.

Gauges of the database and of the queues are the same in each worker. Take `max()` of them; a sum would count every trip
as often as there are workers. They are read now and then, in a twentieth of the time at most, and never for a message;
`payscore_look_age_seconds` says how old they are, and grows while database or broker are away.

What to draw of them: `deploy/grafana/`. When to wake somebody: `deploy/prometheus/rules.yml`, and what to do then:
[the runbook](../deploy/runbook.md). Both expect the job names of `deploy/prometheus/prometheus.yml`: `payscore-worker`,
`payscore-webhook`, `rabbitmq`, and `rabbitmq-queues` for RabbitMQ's metrics by queue.
"""


def page() -> Iterator[str]:
    """Write the page, a group a heading."""
    yield INTRODUCTION
    for heading, group in TABLE.items():
        yield f"## {heading}\n"
        for metric in group:
            yield from _entry(metric)
        yield ""


def _entry(metric: MetricWrapperBase) -> Iterator[str]:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - told by nothing else before there is a value
    yield f"- **`{name}`** ({family.type}{'; by ' + labels if labels else ''})  "
    yield from _wrapped(family.documentation)


def _wrapped(text: str, width: int = 120) -> Iterator[str]:
    yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()))
