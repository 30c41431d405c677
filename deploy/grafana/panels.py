"""A dashboard as rows of panels: read from its table, written as the JSON that Grafana reads."""

import tomllib
from pathlib import Path
from string import Template
from typing import Any, Literal, Self

import msgspec

COLUMNS = 24  # Grafana's grid
SOURCE = {"type": "prometheus", "uid": "prometheus"}  # as provisioning/datasources names it


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a dashboard, as its table says it."""


class Query(Table, frozen=True, kw_only=True):
    """What a panel shows, and under which name."""

    expr: str
    legend: str = ""


class Panel(Table, frozen=True, kw_only=True):
    """One picture; `bad_from` is the value from which it turns red."""

    title: str
    about: str
    queries: list[Query]
    kind: Literal["stat", "timeseries"] = "timeseries"
    unit: str = "short"
    stacked: bool = False
    bad_from: int | float | None = None


class Row(Table, frozen=True, kw_only=True):
    """Panels side by side, under a heading."""

    title: str
    panels: list[Panel]
    height: int = 8


class Dashboard(Table, frozen=True, kw_only=True):
    """One page; `short` are names for what its expressions repeat, written there as $name."""

    uid: str
    title: str
    about: str
    rows: list[Row]
    short: dict[str, str] = {}

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read the table of a dashboard.

        Raises:
            msgspec.ValidationError: the table has a key that no dashboard has, or lacks one.

        """
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), cls)

    def document(self) -> dict[str, Any]:
        """Make the JSON."""
        panels: list[dict[str, Any]] = []
        top = 0
        for row in self.rows:
            panels.append(_heading(row, top=top, id_=len(panels) + 1))
            top += 1
            width = COLUMNS // len(row.panels)
            for number, panel in enumerate(row.panels):
                place = {"x": number * width, "y": top, "w": width, "h": row.height}
                panels.append(_panel(panel, place, self.short, id_=len(panels) + 1))
            top += row.height
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.about,
            "tags": ["payscore"],
            "schemaVersion": 38,
            "editable": False,
            "graphTooltip": 1,  # one crosshair through all panels
            "refresh": "15s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "links": [
                {"type": "dashboards", "tags": ["payscore"], "title": "PayScore", "asDropdown": False, "keepTime": True}
            ],
            "panels": panels,
        }


def _heading(row: Row, *, top: int, id_: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
    return {"id": id_, "type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": place}


def _panel(panel: Panel, place: dict[str, int], short: dict[str, str], *, id_: int) -> dict[str, Any]:
    return {
        "id": id_,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": Template(query.expr).safe_substitute(short),  # $__rate_interval is Grafana's own
                "legendFormat": query.legend,
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    field: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        field["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 60 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "off" if panel.bad_from is None else "dashed"},
        }
    return field


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area"}
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
