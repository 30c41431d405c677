"""A dashboard as rows of panels, and as the JSON that Grafana reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

COLUMNS = 24  # Grafana's grid
SOURCE = {"type": "prometheus", "uid": "prometheus"}  # as provisioning/datasources names it


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a panel shows, and under which name."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture; `bad_from` is the value from which it turns red."""

    title: str
    about: str
    queries: Sequence[Query]
    kind: Literal["stat", "timeseries"] = "timeseries"
    unit: str = "short"
    stacked: bool = False
    bad_from: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side, under a heading."""

    title: str
    panels: Sequence[Panel]
    height: int = 8


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """One page."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]

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
                panels.append(_panel(panel, place, id_=len(panels) + 1))
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


def _panel(panel: Panel, place: dict[str, int], *, id_: int) -> dict[str, Any]:
    return {
        "id": id_,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend}
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
