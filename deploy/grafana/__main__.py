"""Write the dashboards' JSON anew: `python -m deploy.grafana`."""

import json
from pathlib import Path

from deploy.grafana.panels import Dashboard
from deploy.grafana.queues import QUEUES
from deploy.grafana.settlement import SETTLEMENT

DASHBOARDS = Path(__file__).parent / "dashboards"


def text(dashboard: Dashboard) -> str:
    return json.dumps(dashboard.document(), indent=1, ensure_ascii=False) + "\n"


def file_of(dashboard: Dashboard) -> Path:
    return DASHBOARDS / f"{dashboard.uid.removeprefix('payscore-')}.json"


def main() -> None:
    for dashboard in (QUEUES, SETTLEMENT):
        file_of(dashboard).write_text(text(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
