"""The table of metrics keeps to Prometheus' conventions, and each role shows what it knows."""

import json
import math
import re
from collections.abc import Iterable

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from payscore_worker import metrics
from payscore_worker.webhook import _type_label
from payscore_worker.wechatpay.refusals import code_label
from tests.unit.test_docs import ROOT

ALL = [metric for group in metrics.TABLE.values() for metric in group]
UNITS = ("seconds", "fen", "links", "messages", "trips", "refunds", "rows", "ratio", "info", "total", "bytes")
OF_MANY = {"trip_id", "openid", "out_order_no", "message_id", "path", "request_id"}
STATES = {"open", "paused", "consuming", "late", "unanswered", "problem", "hand", "consumers"}
"""What counts or tells yes from no needs no unit."""


def family(metric: MetricWrapperBase) -> tuple[str, str, str]:
    (described,) = metric.describe()
    return described.name, described.type, described.documentation


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: family(metric)[0])
def test_a_metric_is_named_by_the_conventions(metric: MetricWrapperBase) -> None:
    name, kind, documentation = family(metric)

    assert re.fullmatch(r"payscore_[a-z_]+", name)
    assert documentation.endswith(".")
    assert not OF_MANY & set(metric._labelnames)
    if kind == "histogram":
        assert name.endswith("_seconds")
    elif kind == "gauge":
        assert name.rpartition("_")[2] in {*UNITS, *STATES}


def test_every_name_is_there_once() -> None:
    names = [family(metric)[0] for metric in ALL]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("group", "absent"),
    [
        (metrics.WEBHOOK, "payscore_consuming"),
        (metrics.WORKER, "payscore_notifications_total"),
        (metrics.SIMULATOR, "fen"),
    ],
)
def test_a_role_does_not_speak_of_what_is_not_its_own(group: Iterable[MetricWrapperBase], absent: str) -> None:
    text = generate_latest(metrics.registry(tuple(group))).decode()

    assert absent not in text
    assert "process_cpu_seconds_total" in text


def test_a_gauge_says_nothing_before_something_is_known() -> None:
    assert metrics.UNKNOWN != 0
    fresh = metrics._gauge("payscore_test_rows", "Rows.")

    ((sample,),) = (metric.samples for metric in fresh.collect())
    assert math.isnan(sample.value)


def test_the_child_of_a_metric_is_looked_up_once() -> None:
    assert metrics.of(metrics.SENDS, "default", "query") is metrics.of(metrics.SENDS, "default", "query")
    assert metrics.of(metrics.SENDS, "default", "query") is not metrics.of(metrics.SENDS, "default", "create")


@pytest.mark.parametrize(
    ("code", "label"),
    [("", ""), ("SIGN_ERROR", "SIGN_ERROR"), ("ORDER_NOT_ EXIST", "ORDER_NOT_EXIST"), ("NEW_IN_2027", "other")],
)
def test_the_codes_of_wechat_pay_are_few(code: str, label: str) -> None:
    assert code_label(code) == label


@pytest.mark.parametrize(
    ("event_type", "label"), [("PAYSCORE.USER_PAID", "payscore.user_paid"), ("MADE.UP.BY.SOMEBODY", "other")]
)
def test_the_types_of_notifications_are_few(event_type: str, label: str) -> None:
    assert _type_label(event_type) == label


def queried() -> set[str]:
    """Every metric of ours that a rule or a panel asks for."""
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text(encoding="utf-8")
    boards = [json.loads(file.read_text(encoding="utf-8")) for file in ROOT.glob("deploy/grafana/dashboards/*.json")]
    expressions = [
        target["expr"] for board in boards for panel in board["panels"] for target in panel.get("targets", [])
    ]
    return set(re.findall(r"\bpayscore_[a-z_]+\b", " ".join([rules, *expressions])))


def test_every_metric_that_is_asked_for_exists_and_every_metric_that_exists_is_looked_at() -> None:
    there = {
        f"{name}{suffix}": name
        for name, kind, _ in map(family, ALL)
        for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_count")}.get(kind, ("",))
    }

    assert queried() <= set(there)
    assert {name for name, _, _ in map(family, ALL)} - {there[one] for one in queried()} == UNSEEN


UNSEEN = {"payscore_build_info"}
"""Told apart by people, on the page of targets."""
