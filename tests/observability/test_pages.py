"""The pages and files that are made from the code are what the code says now."""

import json
from pathlib import Path

import pytest

from deploy.grafana.__main__ import TABLES, file_of, text
from deploy.grafana.panels import Dashboard
from payscore_worker import metrics
from tests.unit.test_docs import ROOT, script


def test_the_page_of_metrics_is_what_the_code_says_now() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert page.rstrip() == "\n".join(script("metrics").page()).rstrip(), "run `make docs`"


def test_every_metric_is_on_the_page() -> None:
    shown = {metric for group in metrics.TABLE.values() for metric in group}

    assert shown == {*metrics.WORKER, *metrics.WEBHOOK, *metrics.SIMULATOR}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)
def test_a_dashboard_is_what_its_table_says_now(table: Path) -> None:
    assert file_of(table).read_text(encoding="utf-8") == text(table), "run `make docs`"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)
def test_no_two_panels_of_a_dashboard_overlap(table: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file_of(table).read_text(encoding="utf-8"))["panels"]:
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
    for table in TABLES:
        panels = [panel for panel in Dashboard.read(table).document()["panels"] if panel["type"] != "row"]
        assert panels
        for panel in panels:
            assert f"uid: {panel['datasource']['uid']}\n" in provisioned
