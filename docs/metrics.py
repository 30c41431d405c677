"""Prints the page of metrics, made from the table in which they are declared, in English or in Chinese."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.metrics import MetricWrapperBase

from docs.translated import ENGLISH, Translated, Untranslated, said, write
from payscore_worker.metrics import TABLE, Group

TRANSLATION: Final = Path(__file__).with_name("metrics.zh-CN.toml")


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a page says beside names, types and labels."""

    introduction: str
    unlabelled: str
    labelled: str
    comma: str
    headings: Mapping[str, str] = {}
    metrics: Mapping[str, Translated] = {}


IN_ENGLISH: Final = Words(
    introduction="""\
# Metrics

[简体中文](zh-CN/metrics.md)

`GET /metrics` on each role's own port (worker and console 9180, webhook 8080, simulator 8090), in Prometheus' text
format, beside what Python and the system tell of the process (`process_*`, `python_*`). Money is in fen, time in
seconds. Every label has few values: no trip, no passenger and no order is one.

Gauges of the database and of the queues are the same in each worker. Take `max()` of them; a sum would count every trip
as often as there are workers. They are read now and then, in a twentieth of the time at most, and never for a message;
`payscore_look_age_seconds` says how old they are, and grows while database or broker are away.

`account` is the name of an account of the settings. In a gauge of the database it is told by the merchant number of the
order, or by the start before there is an order; `(unknown)` is whoever the settings do not have. The whole is
`sum(max by (account) (...))`. Not told apart is what would cost more the more trips are over, or due: trips that are
over, the books, the outbox, and for how long the first of all is due.

What to draw of them: `deploy/grafana/`. When to wake somebody: `deploy/prometheus/rules.yml`, and what to do then:
[the runbook](../deploy/runbook.md). Both expect the job names of `deploy/prometheus/prometheus.yml`: `payscore-worker`,
`payscore-webhook`, `payscore-console`, `rabbitmq`, and `rabbitmq-queues` for RabbitMQ's metrics by queue.
""",
    unlabelled=" ({type})",
    labelled=" ({type}; by {labels})",
    comma=", ",
)


def in_chinese() -> Words:
    """Read the Chinese texts."""
    return msgspec.toml.decode(TRANSLATION.read_text(encoding="utf-8"), type=Words)


def page(language: str = ENGLISH, table: Mapping[str, Group] = TABLE) -> Iterator[str]:
    """Write the page, a group a heading.

    Raises:
        Untranslated: a heading or a metric has no text in this language; the message names it.

    """
    words = IN_ENGLISH if language == ENGLISH else in_chinese()
    yield words.introduction
    for heading, group in table.items():
        yield f"## {_heading(heading, words)}\n"
        for metric in group:
            yield from _entry(metric, words)
        yield ""


def name_of(metric: MetricWrapperBase) -> str:
    """Name a metric as it is asked for."""
    (family,) = metric.describe()
    return f"{family.name}_total" if family.type == "counter" else family.name


def _heading(english: str, words: Words) -> str:
    if words is IN_ENGLISH:
        return english
    if english not in words.headings:
        raise Untranslated(f"{english} has no Chinese heading in docs/{TRANSLATION.name}")
    return words.headings[english]


def _entry(metric: MetricWrapperBase, words: Words) -> Iterator[str]:
    (family,) = metric.describe()
    names = metric._labelnames  # noqa: SLF001 - told by nothing else before there is a value
    labels = words.comma.join(f"`{label}`" for label in names)
    kind = (words.labelled if labels else words.unlabelled).format(type=family.type, labels=labels)
    yield f"- **`{name_of(metric)}`**{kind}  "
    if words is IN_ENGLISH:
        yield from _wrapped(family.documentation)
    else:  # in one line: a break would be shown as a space
        yield f"  {said(name_of(metric), family.documentation, words.metrics, TRANSLATION)}"


def _wrapped(text: str, width: int = 120) -> Iterator[str]:
    yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")


if __name__ == "__main__":
    write(page, __doc__)
