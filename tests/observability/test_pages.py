"""The pages and files that are made from the code are what the code says now."""

import json
from pathlib import Path

import pytest

from deploy.grafana.__main__ import file_of, text
from deploy.grafana.panels import Dashboard
from deploy.grafana.queues import QUEUES
from deploy.grafana.settlement import SETTLEMENT
from payscore_worker import metrics
from tests.unit.test_docs import ROOT, script


def test_the_page_of_metrics_is_what_the_code_says_now() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert page.rstrip() == "\n".join(script("metrics").page()).rstrip(), "run `make docs`"


def test_every_metric_is_on_the_page() -> None:
    shown = {metric for group in metrics.TABLE.values() for metric in group}

    assert shown == {*metrics.WORKER, *metrics.WEBHOOK, *metrics.SIMULATOR}


@pytest.mark.parametrize("dashboard", [QUEUES, SETTLEMENT], ids=lambda dashboard: dashboard.uid)
def test_a_dashboard_is_what_the_code_says_now(dashboard: Dashboard) -> None:
    assert file_of(dashboard).read_text(encoding="utf-8") == text(dashboard), "run `make docs`"


@pytest.mark.parametrize("dashboard", [QUEUES, SETTLEMENT], ids=lambda dashboard: dashboard.uid)
def test_no_two_panels_of_a_dashboard_overlap(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file_of(dashboard).read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_dashboards_read_the_source_that_is_provisioned() -> None:
    provisioned = (Path(ROOT) / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    for dashboard in (QUEUES, SETTLEMENT):
        panels = [panel for panel in dashboard.document()["panels"] if panel["type"] != "row"]
        assert panels
        for panel in panels:
            assert f"uid: {panel['datasource']['uid']}\n" in provisioned
