"""Write the dashboards' JSON anew: `python -m deploy.grafana`."""

import json
from pathlib import Path

from deploy.grafana.panels import Dashboard

HERE = Path(__file__).parent
DASHBOARDS = HERE / "dashboards"
TABLES = (HERE / "queues.toml", HERE / "settlement.toml")


def text(table: Path) -> str:
    return json.dumps(Dashboard.read(table).document(), indent=1, ensure_ascii=False) + "\n"


def file_of(table: Path) -> Path:
    return DASHBOARDS / f"{table.stem}.json"


def main() -> None:
    for table in TABLES:
        file_of(table).write_text(text(table), encoding="utf-8")


if __name__ == "__main__":
    main()
